#include "bertgen/core/isa.hpp"
#include "cli/program.hpp"

namespace bertgen::test {
namespace {

void expect_says(const std::string& model, std::initializer_list<const char*> words) {
  const Result result = run({"inspect", model});
  EXPECT_EQ(result.status, all_answered) << result.err;
  for (const char* word : words) EXPECT_NE(result.out.find(word), std::string::npos) << word << " in\n" << result.out;
}

/// The report without padding, and without the lines of the directory and the CPU.
std::string report_of(const std::string& model) {
  const Result result = run({"inspect", model});
  EXPECT_EQ(result.status, all_answered) << result.err;
  std::string report = "\n";
  for (const std::string& line : lines_of(result.out)) {
    const std::size_t end = line.find(':') + 1;
    const std::string name = line.substr(0, end);
    if (name == "directory:" || name == "cpu:") continue;
    report.append(name).append(" ").append(line.substr(line.find_first_not_of(' ', end))).append("\n");
  }
  return report;
}

TEST(Inspect, SaysAllOfAPairOfFamilies) {
  EXPECT_EQ(report_of(fixture("pair-bert-roberta")), R"(
model: encoder-decoder, bert to roberta; 9860 parameters
encoder: bert: 1 layer, hidden 20, 2 heads, intermediate 24, gelu, vocabulary 40, 32 positions, 2 token types; 4704 parameters
decoder: roberta: 1 layer, hidden 16, 2 heads, intermediate 24, gelu, vocabulary 44, 40 positions behind padding id 1, 1 token type, causal, cross-attention; 4820 parameters
projection: from hidden 20 to 16
halves: stored separately
output matrix: tied to the word embeddings
decoder_start_token_id: 0 (generation_config.json)
bos_token_id: 0 (generation_config.json)
eos_token_id: 2 (generation_config.json)
pad_token_id: 1 (generation_config.json)
generation defaults: {"bos_token_id":0,"decoder_start_token_id":0,"eos_token_id":[2],"pad_token_id":1}
files: model.safetensors (safetensors)
tensors: 61, F32 39.4 kB
tokenizer: none: ids only
memory: 29.2 kB of weights in f32, 11.4 kB of embeddings mapped from the file, 0.1 kB of cache for each token of a beam and of a source
)");
}

TEST(Inspect, SaysWhichHalvesShare) {
  EXPECT_EQ(report_of(fixture("roberta-shared")), R"(
model: encoder-decoder, roberta to roberta; 12588 parameters
encoder: roberta: 2 layers, hidden 20, 4 heads, intermediate 32, gelu, vocabulary 64, 34 positions behind padding id 1, 1 token type; 8624 parameters
decoder: roberta: 2 layers, hidden 20, 4 heads, intermediate 32, gelu, vocabulary 64, 34 positions behind padding id 1, 1 token type, causal, cross-attention; 12168 parameters
halves: shared: one stored copy serves both
output matrix: tied to the word embeddings
decoder_start_token_id: 0 (generation_config.json)
bos_token_id: 0 (generation_config.json)
eos_token_id: 2 (generation_config.json)
pad_token_id: 1 (generation_config.json)
generation defaults: {"bos_token_id":0,"decoder_start_token_id":0,"eos_token_id":[2],"pad_token_id":1}
files: model.safetensors (safetensors)
tensors: 101, F32 50.4 kB
aliases in its metadata: 37: encoder.embeddings.LayerNorm.bias = decoder.roberta.embeddings.LayerNorm.bias, encoder.embeddings.LayerNorm.weight = decoder.roberta.embeddings.LayerNorm.weight, encoder.embeddings.position_embeddings.weight = decoder.roberta.embeddings.position_embeddings.weight, …
tokenizer: none: ids only
memory: 70.8 kB of weights in f32, 7.9 kB of embeddings mapped from the file, 0.3 kB of cache for each token of a beam and of a source
)");
}

TEST(Inspect, SaysWhatWasTiedAndIgnored) {
  EXPECT_EQ(report_of(fixture("../files/zip")), R"(
model: encoder-decoder, bert-generation to bert-generation; 1798 parameters
encoder: bert-generation: 1 layer, hidden 8, 2 heads, intermediate 12, gelu, vocabulary 14, 10 positions; 740 parameters
decoder: bert-generation: 1 layer, hidden 8, 2 heads, intermediate 12, gelu, vocabulary 14, 10 positions, causal, cross-attention; 1058 parameters
halves: stored separately
output matrix: tied to the word embeddings
decoder_start_token_id: 2 (generation_config.json)
bos_token_id: 2 (generation_config.json)
eos_token_id: 1 (generation_config.json)
pad_token_id: 0 (generation_config.json)
generation defaults: {"bos_token_id":2,"decoder_start_token_id":2,"eos_token_id":[1],"pad_token_id":0}
files: pytorch_model.bin (torch zip)
tensors: 54, F32 7.2 kB
tied in the file: 2: decoder.lm_head.decoder.bias = decoder.lm_head.bias, decoder.lm_head.decoder.weight = decoder.bert.embeddings.word_embeddings.weight
ignored: 1: decoder.bert.embeddings.position_ids
tokenizer: none: ids only
memory: 6.2 kB of weights in f32, 1.5 kB of embeddings mapped from the file, 0.1 kB of cache for each token of a beam and of a source
)");
}

TEST(Inspect, SaysAllOfALanguageModel) {
  EXPECT_EQ(report_of(fixture("roberta-decoder")), R"(
model: language model; 6194 parameters
decoder: roberta: 2 layers, hidden 16, 2 heads, intermediate 32, relu, vocabulary 50, 34 positions behind padding id 1, 1 token type, causal
output matrix: tied to the word embeddings
bos_token_id: 0 (config.json)
eos_token_id: 2 (config.json)
pad_token_id: 1 (config.json)
files: model.safetensors (safetensors)
tensors: 42, F32 24.8 kB
tokenizer: none: ids only
memory: 22.5 kB of weights in f32, 5.4 kB of embeddings mapped from the file, 0.3 kB of cache for each token of a beam
)");
}

TEST(Inspect, SaysAllOfAnEncoder) {
  EXPECT_EQ(report_of(fixture("encoder-only-bf16")), R"(
model: encoder; 24456 parameters
encoder: bert-generation: 2 layers, hidden 40, 5 heads, intermediate 48, gelu_new, vocabulary 45, 32 positions
bos_token_id: 2 (config.json)
eos_token_id: 1 (config.json)
pad_token_id: 0 (config.json)
files: model.safetensors (safetensors)
tensors: 36, BF16 48.9 kB
tokenizer: none: ids only
memory: 85.5 kB of weights in f32, 6.2 kB of embeddings mapped from the file
)");
}

TEST(Inspect, SaysWhereItLooksAndWhatComputes) {
  const std::vector<std::string> lines = lines_of(run({"inspect", fixture("../models/plain")}).out);
  EXPECT_EQ(lines.front(), "directory:              " + fixture("plain"));
  EXPECT_EQ(lines.back().rfind("cpu:                    ", 0), 0u) << lines.back();
  const auto fastest = [](const std::string& isa) {
    const Result result = run({"inspect", fixture("plain")}, {}, {.environment = {{"BERTGEN_FORCE_ISA", isa}}});
    return result.out.substr(result.out.rfind("; "));
  };
  EXPECT_EQ(fastest("portable"), "; fastest supported type: bf16 for few rows at a time, f32 for many\n");
  for (const Isa isa : supported_isas()) {
    if (isa < Isa::sse4) continue;
    EXPECT_EQ(fastest(std::string(isa_name(isa))),
              isa >= Isa::avx512_vnni ? "; fastest supported type: int8\n"
                                      : "; fastest supported type: int8 for few rows at a time, bf16 for many\n");
  }
}

TEST(Inspect, SaysWhatOtherCheckpointsAreLike) {
  expect_says(fixture("no-generation-config"), {"decoder_start_token_id: 5 (config.json)"});
  expect_says(fixture("decoder-ids"), {"pad_token_id:           0 (config.json, decoder)"});
  expect_says(fixture("start-is-bos"), {"decoder_start_token_id: none: bos_token_id stands for it"});
  expect_says(fixture("no-pad"), {"pad_token_id:           none\n"});
  expect_says(fixture("three-eos"), {"eos_token_id:           [3,1,9] (generation_config.json)"});
  expect_says(fixture("bert-shared"), {"shared: one stored copy serves both",
                                       "taken from the other half: 37: encoder.embeddings.LayerNorm.bias, "});
  expect_says(fixture("shared-both"), {"stored separately"});
  expect_says(fixture("untied"), {"output matrix:          its own"});
  expect_says(fixture("f16"), {"F16"});
  expect_says(fixture("../files/safetensors-sharded"), {"model.safetensors.index.json, 3 files (safetensors)"});
  expect_says(fixture("../files/legacy"), {"pytorch_model.bin (torch legacy)"});
  expect_says(fixture("../files/legacy-sharded"), {"pytorch_model.bin.index.json, 3 files (torch legacy)"});
  expect_says(fixture("../files/zip-bf16"), {"BF16"});
}

TEST(Inspect, SaysWhichTokenizersThereAre) {
  expect_says(shipped(),
              {"tokenizer:              BertGenerationTokenizer, ", " pieces, ", "; special: <s> 2 </s> 1 "});
  const TemporaryDirectory directory;
  const std::string model = copy_of("plain", directory);
  const std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n";
  for (const char* half : {"encoder", "decoder"}) {
    std::filesystem::create_directory(directory.path() / half);
    directory.write(std::string(half) + "/vocab.txt", vocabulary + half + "\n[MASK]\n");
  }
  directory.write("decoder/tokenizer_config.json", R"({"bos_token": "<s>"})");
  expect_says(model, {"encoder's tokenizer:    BertTokenizer, 7 pieces, 7 with added tokens; special: [UNK] 1 [SEP] 3 "
                      "[PAD] 0 [CLS] 2 [MASK] 6\n",
                      "decoder's tokenizer:    BertTokenizer, 7 pieces, 8 with added tokens; special: <s> 7 "});
}

TEST(Inspect, WritesAFile) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() / "report";
  const Result result = run({"inspect", fixture("plain"), "--output", path});
  EXPECT_EQ(result.status, all_answered);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(content_of(path), run({"inspect", fixture("plain")}).out);
  const std::string missing = directory.path() / "missing";
  expect_could_not_run(run({"inspect", missing, "--output", path}), {missing});
  EXPECT_NE(content_of(path), "") << "nothing replaces it";
}

TEST(Inspect, RefusesWeightsThatAreNotThoseOfTheConfiguration) {
  for (const char* name : {"plain", "encoder-only", "decoder-causal"}) {
    const TemporaryDirectory directory;
    const std::string model = copy_of(name, directory);
    Json config = Json::parse(content_of(directory.path() / "config.json"));
    Json& half = config.contains("encoder") ? config["encoder"] : config;
    half["vocab_size"] = half["vocab_size"].get<int>() + 1;
    directory.write("config.json", config.dump());
    expect_could_not_run(run({"inspect", model}), {"word_embeddings.weight: expected", "model.safetensors"});
  }
}

}  // namespace
}  // namespace bertgen::test
