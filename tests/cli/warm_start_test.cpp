// warm-start: two pretrained checkpoints become a directory that training begins with.
#include "cli/program.hpp"

namespace bertgen::test {
namespace {

namespace fs = std::filesystem;

/// The vocabulary of a BERT of 50 pieces.
std::string vocabulary(const std::string& last = "w49") {
  std::string text = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (int i = 5; i < 49; ++i) text.append("w").append(std::to_string(i)).append("\n");
  return text + last + "\n";
}

class WarmStart : public testing::Test {
 protected:
  /// A copy of a fixture's checkpoint, to add files to.
  fs::path checkpoint(const std::string& name, const std::string& fixture_name) const {
    const fs::path copy = directory_.path() / name;
    fs::create_directory(copy);
    for (const char* file : {"config.json", "model.safetensors"})
      fs::copy(fs::path(fixture(fixture_name)) / file, copy);
    return copy;
  }
  /// A BERT as it is published: with a vocabulary, without bos and eos.
  fs::path bert(const std::string& name = "bert", const std::string& vocab = vocabulary()) const {
    const fs::path copy = checkpoint(name, "warm-start");
    directory_.write(name + "/vocab.txt", vocab);
    return copy;
  }
  Result start(const fs::path& encoder, const fs::path& decoder, const Arguments& more = {}) const {
    Arguments arguments = {"warm-start", "--encoder", encoder, "--decoder", decoder, to_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
  void expect_started(const fs::path& encoder, const fs::path& decoder, const Arguments& more = {}) const {
    fs::remove_all(to_);
    const Result result = start(encoder, decoder, more);
    EXPECT_EQ(result.status, all_answered) << result.err;
    EXPECT_EQ(result.out + result.err, "");
  }
  Json json(const std::string& file) const { return Json::parse(content_of(to_ / file)); }
  std::vector<std::string> entries(const fs::path& directory) const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }

  TemporaryDirectory directory_;
  const fs::path to_ = directory_.path() / "out";
};

TEST_F(WarmStart, JoinsABertWithItself) {
  const fs::path source = bert();
  expect_started(source, source);
  EXPECT_EQ(entries(to_),
            (std::vector<std::string>{"config.json", "generation_config.json", "model.safetensors", "vocab.txt"}));
  EXPECT_EQ(content_of(to_ / "vocab.txt"), vocabulary());
  const Json config = json("config.json");
  for (const auto& [key, id] : {std::pair{"bos_token_id", 2}, {"eos_token_id", 3}, {"pad_token_id", 0}}) {
    EXPECT_EQ(config[key], id) << key;
    EXPECT_EQ(config["encoder"][key], id) << key;
    EXPECT_EQ(config["decoder"][key], id) << key;
  }
  EXPECT_EQ(config["decoder_start_token_id"], 2);
  EXPECT_EQ(config["decoder"]["is_decoder"], true);
  EXPECT_EQ(config["decoder"]["add_cross_attention"], true);
  EXPECT_EQ(config["tokenizer_class"], "BertTokenizer");
  EXPECT_EQ(config["dtype"], "float32");
  EXPECT_EQ(json("generation_config.json")["decoder_start_token_id"], 2);
  const Result result = run({"generate", "--model", to_, "--max-new-tokens", "3", "w7 w8"});
  EXPECT_EQ(result.status, all_answered) << result.err;
  EXPECT_EQ(lines_of(result.out).size(), 1u);
}

TEST_F(WarmStart, SeedSaysWhatIsDrawn) {
  const fs::path source = bert();
  std::vector<std::string> files;
  for (const char* seed : {"0", "0", "1"}) {
    expect_started(source, source, {"--seed", seed});
    files.push_back(content_of(to_ / "model.safetensors"));
  }
  EXPECT_TRUE(files[0] == files[1]);
  EXPECT_FALSE(files[0] == files[2]);
  expect_started(source, source);
  EXPECT_TRUE(content_of(to_ / "model.safetensors") == files[0]) << "0 is the default";
}

TEST_F(WarmStart, ReadsABertAsBertGeneration) {
  const fs::path source = bert();
  expect_started(source, source, {"--model-type", "bert-generation"});
  const Json config = json("config.json");
  for (const char* half : {"encoder", "decoder"}) {
    EXPECT_EQ(config[half]["model_type"], "bert-generation");
    EXPECT_FALSE(config[half].contains("type_vocab_size"));
    EXPECT_EQ(config[half]["bos_token_id"], 2) << "BERT's, not those of a BertGenerationConfig";
    EXPECT_EQ(config[half]["eos_token_id"], 3);
  }
  EXPECT_EQ(config["tokenizer_class"], "BertTokenizer") << "the family's own is another";
  const Json answer = ask("tokenize", to_, {{{"text", "w7"}}})[0];
  EXPECT_EQ(answer["tokens"], (Json{"w7"}));
}

TEST_F(WarmStart, IdsAreTheConfigurationsThenTheTokenizersUnlessGiven) {
  expect_started(fixture("encoder-only"), fixture("roberta-encoder"));
  EXPECT_EQ(json("config.json")["decoder_start_token_id"], 0);
  EXPECT_EQ(json("config.json")["eos_token_id"], 2);
  EXPECT_EQ(json("config.json")["pad_token_id"], 1);
  EXPECT_EQ(json("config.json")["encoder"]["bos_token_id"], 2) << "the encoder's own";
  EXPECT_TRUE(json("config.json")["tokenizer_class"].is_null());
  const fs::path source = bert();
  expect_started(
      source, source,
      {"--bos-token-id", "5", "--eos-token-id", "6", "--pad-token-id", "7", "--decoder-start-token-id", "8"});
  EXPECT_EQ(json("config.json")["bos_token_id"], 5);
  EXPECT_EQ(json("config.json")["eos_token_id"], 6);
  EXPECT_EQ(json("config.json")["pad_token_id"], 7);
  EXPECT_EQ(json("config.json")["decoder_start_token_id"], 8);
}

TEST_F(WarmStart, IdsThatAreMissingOrTooLargeAreNamed) {
  const std::string source = fixture("bert-encoder");
  expect_could_not_run(start(source, source), {source + ": expected bos_token_id in config.json or such a token of a "
                                                        "tokenizer, found neither (--bos-token-id gives it)"});
  expect_could_not_run(start(source, source, {"--bos-token-id", "2"}), {"expected eos_token_id"});
  expect_could_not_run(start(source, source, {"--bos-token-id", "2", "--eos-token-id", "60"}),
                       {source + ": eos_token_id: expected an id below vocab_size, 60, got 60"});
  EXPECT_FALSE(fs::exists(to_));
  expect_started(source, source, {"--bos-token-id", "2", "--eos-token-id", "3"});
}

TEST_F(WarmStart, DifferentTokenizersGoToFoldersOfTheirOwn) {
  const fs::path one = bert();
  const fs::path other = bert("other", vocabulary("last"));
  expect_started(one, other);
  EXPECT_EQ(entries(to_), (std::vector<std::string>{"config.json", "decoder", "encoder", "generation_config.json",
                                                    "model.safetensors"}));
  EXPECT_EQ(content_of(to_ / "encoder" / "vocab.txt"), vocabulary());
  EXPECT_EQ(content_of(to_ / "decoder" / "vocab.txt"), vocabulary("last"));
  EXPECT_EQ(run({"tokenize", "--model", to_, "last"}).out, "2 1 3\n") << "sources are the encoder's";
  const fs::path bare = checkpoint("bare", "warm-start");
  expect_started(bare, other);
  EXPECT_EQ(content_of(to_ / "vocab.txt"), vocabulary("last")) << "the only one serves both";
}

TEST_F(WarmStart, HalvesOfDifferentWidthGetAProjection) {
  expect_started(fixture("encoder-only"), fixture("decoder-causal"), {"--dtype", "bf16"});
  const Json answer = ask("generate", to_, {{{"input_ids", {4, 5}}, {"generation", {{"max_new_tokens", 2}}}}})[0];
  EXPECT_TRUE(answer.contains("sequences")) << answer;
  EXPECT_EQ(json("config.json")["dtype"], "bfloat16");
  EXPECT_NE(content_of(to_ / "model.safetensors").find("enc_to_dec_proj.weight"), std::string::npos);
}

TEST_F(WarmStart, PlacesWithFilesAreReplacedOnlyWhenForced) {
  const fs::path source = bert();
  fs::create_directory(to_);
  directory_.write("out/x", "");
  expect_could_not_run(start(source, source), {to_.string() + ": expected an empty directory, or none"});
  EXPECT_EQ(entries(to_), std::vector<std::string>{"x"});
  EXPECT_EQ(start(source, source, {"--force"}).status, all_answered);
  EXPECT_FALSE(fs::exists(to_ / "x"));
}

TEST_F(WarmStart, SourcesAreNeverReplaced) {
  const fs::path source = bert();
  const fs::path other = bert("other");
  for (const auto& [encoder, decoder] : {std::pair{source, other}, {other, source}}) {
    const Result result =
        run({"warm-start", "--encoder", encoder, "--decoder", decoder, source.string() + "/", "--force"});
    expect_could_not_run(result, {"expected a directory that does not hold the source, " + source.string()});
  }
}

TEST_F(WarmStart, OnlyHalvesOfTheseFamiliesAreJoined) {
  const fs::path source = bert();
  expect_could_not_run(start(fixture("plain"), source), {"plain/config.json", "got \"encoder-decoder\""});
  const fs::path gpt2 = checkpoint("gpt2", "warm-start");
  directory_.write("gpt2/config.json", R"({"model_type": "gpt2"})");
  expect_could_not_run(start(source, gpt2),
                       {(gpt2 / "config.json").string() +
                        ": model_type: expected one of \"bert-generation\", \"bert\", \"roberta\", got \"gpt2\" (not "
                        "supported yet)"});
  expect_could_not_run(start("org/none", source), {"org/none: expected a checkpoint directory"});
  EXPECT_FALSE(fs::exists(to_));
}

}  // namespace
}  // namespace bertgen::test
