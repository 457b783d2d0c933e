#include "cli/program.hpp"

namespace bertgen::test {
namespace {

void expect_says(const std::string& model, std::initializer_list<const char*> words) {
  const Result result = run({"inspect", model});
  EXPECT_EQ(result.status, all_answered) << result.err;
  for (const char* word : words) EXPECT_NE(result.out.find(word), std::string::npos) << word << " in\n" << result.out;
}

TEST(Inspect, SaysWhatIsInACheckpoint) {
  expect_says(fixture("plain"),
              {"encoder-decoder", "1 layers", "hidden 24", "vocabulary 60", "32 positions", "cross-attention", "tied",
               "stored separately", "F32", "decoder_start_token_id: 2 (generation_config.json)", "memory", "packed",
               "tokenizer:", "none", "cpu:", "fastest"});
  expect_says(fixture("no-generation-config"), {"(config.json"});
  expect_says(fixture("shared"), {"one half is stored"});
  expect_says(fixture("untied"), {"its own"});
  expect_says(fixture("bf16"), {"BF16"});
  expect_says(fixture("f16"), {"F16"});
  expect_says(fixture("encoder-only"), {"bert-generation", "memory"});
  expect_says(fixture("decoder-causal"), {"bert-generation", "decoder", "memory"});
  expect_says(shipped(), {"encoder-decoder", "tokenizer:", "BertGenerationTokenizer"});
}

TEST(Inspect, SaysWhichFilesAndNamesThereAre) {
  expect_says(fixture("plain"), {"files:", "model.safetensors (safetensors)"});
  expect_says(fixture("../files/safetensors-sharded"), {"model.safetensors.index.json, 3 files (safetensors)"});
  expect_says(fixture("../files/zip"),
              {"pytorch_model.bin (torch zip)",
               "tied in the file:", "decoder.lm_head.decoder.weight = decoder.bert.embeddings.word_embeddings.weight",
               "ignored:", "1: decoder.bert.embeddings.position_ids", "F32"});
  expect_says(fixture("../files/legacy"), {"pytorch_model.bin (torch legacy)"});
  expect_says(fixture("../files/legacy-sharded"), {"pytorch_model.bin.index.json, 3 files (torch legacy)"});
  expect_says(fixture("../files/zip-bf16"), {"BF16"});
  expect_says(fixture("shared-aliases"), {"aliases in its metadata:", "encoder.", " = decoder.bert."});
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
