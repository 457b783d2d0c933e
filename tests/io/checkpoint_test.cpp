#include "bertgen/io/checkpoint.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "bertgen/io/mapped_file.hpp"
#include "support/checkpoint.hpp"
#include "support/errors.hpp"

namespace bertgen {
namespace {

using test::Checkpoint;
using Json = nlohmann::json;

/// A directory with a checkpoint that tests damage.
class CheckpointTest : public testing::Test {
 protected:
  void write(const Checkpoint& checkpoint) { directory_.write("model.safetensors", checkpoint.file().bytes()); }
  void write(const Json& config) { directory_.write("config.json", config.dump()); }
  void write_generation(const std::string& text) { directory_.write("generation_config.json", text); }
  /// Writes the checkpoint as it stands.
  EncoderDecoderModel load() {
    write(config_);
    write(checkpoint_);
    return EncoderDecoderModel::from_pretrained(directory_.path());
  }
  template <typename Exception>
  void expect_refused(std::initializer_list<std::string_view> parts) {
    test::expect_error<Exception>([this] { load(); }, parts);
  }
  Tensor<float> logits(const EncoderDecoderModel& model) {
    Workspace workspace;
    return model.forward({.input_ids = {{3, 4}}, .decoder_input_ids = {{2, 5}}}, workspace).logits;
  }
  /// Renames every tensor whose name begins with `prefix`.
  void move_tensors(const std::string& prefix, const std::string& to) {
    std::map<std::string, Tensor<float>> moved;
    for (auto& [name, tensor] : checkpoint_.tensors()) {
      moved[name.rfind(prefix, 0) == 0 ? to + name.substr(prefix.size()) : name] = std::move(tensor);
    }
    checkpoint_.tensors() = std::move(moved);
  }
  /// Gives both halves the same weights; then the file holds them under one half's names only.
  void share(const std::string& dropped) {
    for (auto& [name, tensor] : checkpoint_.tensors()) {
      if (name.rfind("encoder.", 0) == 0) tensor = checkpoint_.tensors().at("decoder.bert." + name.substr(8));
    }
    shared_ = logits(load());
    std::vector<std::string> names;
    for (const auto& [name, tensor] : checkpoint_.tensors()) {
      const bool only_decoders = name.find("crossattention") != std::string::npos;
      if (name.rfind(dropped, 0) == 0 && !only_decoders) names.push_back(name);
    }
    for (const std::string& name : names) checkpoint_.tensors().erase(name);
  }

  test::TemporaryDirectory directory_;
  EncoderDecoderConfig pair_ = test::tiny_pair();
  Checkpoint checkpoint_ = test::make_checkpoint(pair_);
  Json config_ = Json::parse(pair_.to_json());
  Tensor<float> shared_;
};

TEST_F(CheckpointTest, LoadsWhatWasWritten) {
  const auto model = load();
  EXPECT_TRUE(model.warnings().empty());
  EXPECT_TRUE(test::same_bits(logits(model), logits(test::make_model<float>(pair_))));
  EXPECT_EQ(model.config().to_json(), pair_.to_json());
}

TEST_F(CheckpointTest, FindsTheFilesOfADirectory) {
  load();
  EXPECT_EQ(find_checkpoint(directory_.path()).weights, directory_.path() / "model.safetensors");
  EXPECT_TRUE(find_checkpoint(directory_.path()).generation_config.empty());
  write_generation("{}");
  EXPECT_EQ(find_checkpoint(directory_.path()).generation_config, directory_.path() / "generation_config.json");
}

TEST_F(CheckpointTest, MissingFilesAreNamedWithTheirDirectory) {
  const std::string name = directory_.path().string();
  test::expect_error<CheckpointError>([this] { find_checkpoint(directory_.path()); },
                                      {name + ": expected config.json in it, found none"});
  write(config_);
  test::expect_error<CheckpointError>(
      [this] { find_checkpoint(directory_.path()); },
      {name + ": expected model.safetensors, model.safetensors.index.json, pytorch_model.bin or "
              "pytorch_model.bin.index.json in it, found none"});
  test::expect_error<CheckpointError>([this] { find_checkpoint(directory_.path() / "x"); },
                                      {"x: expected a checkpoint directory, found nothing"});
  test::expect_error<CheckpointError>([this] { find_checkpoint(directory_.path() / "config.json"); },
                                      {"config.json: expected a checkpoint directory, found a file"});
}

TEST_F(CheckpointTest, MissingTensorIsNamedWithItsShapeAndFile) {
  for (const auto& [name, shape] : {std::pair<const char*, const char*>{"encoder.embeddings.LayerNorm.bias", "[15]"},
                                    {"encoder.encoder.layer.1.attention.self.query.weight", "[15, 15]"},
                                    {"decoder.bert.encoder.layer.0.crossattention.output.dense.bias", "[15]"},
                                    {"decoder.bert.embeddings.position_embeddings.weight", "[16, 15]"}}) {
    Checkpoint whole = checkpoint_;
    checkpoint_.tensors().erase(name);
    expect_refused<CheckpointError>(
        {std::string(name) + ": expected a tensor of shape " + shape + ", found none", "model.safetensors"});
    checkpoint_ = whole;
  }
}

TEST_F(CheckpointTest, UnknownTensorIsNamed) {
  checkpoint_.add("encoder.encoder.layer.2.attention.self.query.weight", {15, 15});
  expect_refused<CheckpointError>({"got 1 others: encoder.encoder.layer.2.attention.self.query.weight [15, 15]"});
}

TEST_F(CheckpointTest, TensorOfRelativePositionsIsNamed) {
  checkpoint_.add("encoder.encoder.layer.0.attention.self.distance_embedding.weight", {31, 5});
  expect_refused<CheckpointError>({"distance_embedding.weight"});
}

TEST_F(CheckpointTest, WrongShapeIsNamedWithBoth) {
  checkpoint_.add("decoder.bert.encoder.layer.0.intermediate.dense.weight", {20, 15});
  expect_refused<CheckpointError>(
      {"decoder.bert.encoder.layer.0.intermediate.dense.weight: expected [21, 15], got [20, 15]", "model.safetensors"});
  config_["encoder"]["vocab_size"] = 20;
  expect_refused<CheckpointError>({"encoder.embeddings.word_embeddings.weight: expected [20, 15], got [19, 15]"});
}

TEST_F(CheckpointTest, IntegersAreNoWeights) {
  write(config_);
  checkpoint_.tensors().erase("encoder.embeddings.LayerNorm.bias");
  auto file = checkpoint_.file();
  file.add("encoder.embeddings.LayerNorm.bias", "I32", {15}, std::vector<std::int32_t>(15));
  directory_.write("model.safetensors", file.bytes());
  test::expect_error<CheckpointError>(
      [this] { EncoderDecoderModel::from_pretrained(directory_.path()); },
      {"encoder.embeddings.LayerNorm.bias: expected one of F16, BF16, F32, F64, got I32"});
}

TEST_F(CheckpointTest, HalvesAreWidened) {
  const auto expected = logits(load());
  auto file = test::SafetensorsBuilder();
  for (const auto& [name, tensor] : checkpoint_.tensors()) {
    const std::vector<double> values(tensor.values().begin(), tensor.values().end());
    file.add(name, "F64", {tensor.shape().begin(), tensor.shape().end()}, values);
  }
  directory_.write("model.safetensors", file.bytes());
  EXPECT_TRUE(test::same_bits(logits(EncoderDecoderModel::from_pretrained(directory_.path())), expected));
}

TEST_F(CheckpointTest, OldNamesOfLayerNormsAreRead) {
  const auto expected = logits(load());
  std::map<std::string, Tensor<float>> renamed;
  for (auto& [name, tensor] : checkpoint_.tensors()) {
    std::string old = name;
    for (const auto& [now, before] :
         {std::pair{"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}}) {
      if (const auto at = old.find(now); at != std::string::npos) old.replace(at, std::string::npos, before);
    }
    renamed[old] = tensor;
  }
  checkpoint_.tensors() = renamed;
  EXPECT_TRUE(test::same_bits(logits(load()), expected));
}

TEST_F(CheckpointTest, OldAndNewNameTogetherAreRefused) {
  checkpoint_.add("encoder.embeddings.LayerNorm.gamma", {15});
  expect_refused<CheckpointError>({"encoder.embeddings.LayerNorm.weight: stored twice"});
}

TEST_F(CheckpointTest, BuffersWithoutWeightsAreIgnored) {
  load();
  auto file = checkpoint_.file();
  for (const char* half : {"encoder.", "decoder.bert."}) {
    file.add(half + std::string("embeddings.position_ids"), "I64", {1, 2}, std::vector<std::int64_t>{0, 1});
    file.add(half + std::string("embeddings.token_type_ids"), "I64", {1, 2}, std::vector<std::int64_t>{0, 0});
  }
  directory_.write("model.safetensors", file.bytes());
  EncoderDecoderModel::from_pretrained(directory_.path());
}

TEST_F(CheckpointTest, SharedHalvesAreReadFromEither) {
  for (const char* dropped : {"encoder.", "decoder.bert."}) {
    for (const bool flag : {true, false}) {
      checkpoint_ = test::make_checkpoint(pair_);
      config_["tie_encoder_decoder"] = flag;
      share(dropped);
      EXPECT_TRUE(test::same_bits(logits(load()), shared_)) << dropped << flag;
    }
  }
}

TEST_F(CheckpointTest, BufferOfASharedHalfIsIgnoredToo) {
  share("encoder.");
  write(config_);
  auto file = checkpoint_.file();
  file.add("decoder.bert.embeddings.position_ids", "I64", {1, 2}, std::vector<std::int64_t>{0, 1});
  directory_.write("model.safetensors", file.bytes());
  EXPECT_TRUE(test::same_bits(logits(EncoderDecoderModel::from_pretrained(directory_.path())), shared_));
}

TEST_F(CheckpointTest, AliasesOfTheMetadataAreRead) {
  const std::string kept = "decoder.bert.embeddings.LayerNorm.bias";
  const std::string dropped = "encoder.embeddings.LayerNorm.bias";
  checkpoint_.tensors()[dropped] = checkpoint_.tensors()[kept];
  const auto expected = logits(load());
  checkpoint_.tensors().erase(dropped);
  expect_refused<CheckpointError>({dropped});
  auto file = checkpoint_.file();
  file.add_metadata("format", "pt");
  file.add_metadata(dropped, kept);
  directory_.write("model.safetensors", file.bytes());
  EXPECT_TRUE(test::same_bits(logits(EncoderDecoderModel::from_pretrained(directory_.path())), expected));
}

TEST_F(CheckpointTest, ProjectionIsReadWhereSizesDiffer) {
  pair_.encoder.hidden_size = 12;
  checkpoint_ = test::make_checkpoint(pair_);
  config_ = Json::parse(pair_.to_json());
  EXPECT_TRUE(test::same_bits(logits(load()), logits(test::make_model<float>(pair_))));
  checkpoint_.tensors().erase("enc_to_dec_proj.bias");
  expect_refused<CheckpointError>({"enc_to_dec_proj.bias: expected a tensor of shape [15], found none"});
}

TEST_F(CheckpointTest, ErrorsOfTheConfigurationNameTheFile) {
  config_.erase("encoder");
  expect_refused<ConfigError>({directory_.path().string(), "config.json.encoder: expected"});
  config_ = Json::parse(pair_.to_json());
  config_["decoder"]["hidden_act"] = "geglu";
  expect_refused<ConfigError>({"config.json.decoder: hidden_act: expected one of"});
  config_ = Json::parse(pair_.to_json());
  config_["decoder"]["model_type"] = "gpt2";
  expect_refused<ConfigError>({"config.json.decoder: model_type", "\"gpt2\""});
}

TEST_F(CheckpointTest, ConfigurationThatIsNoTextFileIsRefused) {
  load();
  std::filesystem::remove(directory_.path() / "config.json");
  std::filesystem::create_directory(directory_.path() / "config.json");
  test::expect_error<ConfigError>([this] { EncoderDecoderModel::from_pretrained(directory_.path()); },
                                  {"config.json: expected a readable file"});
  directory_.write("generation_config.json", "{");
  std::filesystem::remove(directory_.path() / "config.json");
  write(config_);
  test::expect_error<ConfigError>([this] { EncoderDecoderModel::from_pretrained(directory_.path()); },
                                  {"generation_config.json: "});
}

TEST_F(CheckpointTest, GenerationConfigComesFromItsFile) {
  config_["max_length"] = 7;
  write_generation(R"({"num_beams": 3, "eos_token_id": null, "temperature": 0.5, "no_such_option": 1})");
  const auto model = load();
  EXPECT_EQ(model.generation_config().num_beams, 3u);
  EXPECT_FALSE(model.generation_config().max_length);
  ASSERT_EQ(model.warnings().size(), 2u);
  EXPECT_NE(model.warnings()[0].find("generation_config.json.no_such_option: unknown"), std::string::npos);
  EXPECT_NE(model.warnings()[1].find("generation_config.json.temperature: has no effect"), std::string::npos);
}

TEST_F(CheckpointTest, WithoutThatFileItComesFromTheConfiguration) {
  config_["max_length"] = 7;
  config_["decoder"]["num_beams"] = 2;
  const auto model = load();
  EXPECT_EQ(model.generation_config().max_length, 7u);
  EXPECT_EQ(model.generation_config().num_beams, 2u);
  EXPECT_EQ(model.generation_config().decoder_start_token_id, 2);
}

TEST_F(CheckpointTest, CheckpointThatSearchesInAnUnsupportedWayIsRefused) {
  write_generation(R"({"dola_layers": "high"})");
  expect_refused<ConfigError>({"generation_config.json.dola_layers", "not supported", "got \"high\""});
}

TEST_F(CheckpointTest, EncoderAloneLoadsFromABareFileOrALanguageModels) {
  const TransformerConfig config = test::tiny_config();
  Checkpoint bare(3);
  bare.add_stack("", config);
  directory_.write("config.json", config.to_json());
  write(bare);
  Workspace workspace;
  const std::vector<TokenIds> ids = {{3, 4, 5}};
  const auto expected = BertGenerationEncoder::from_pretrained(directory_.path()).forward(ids, {}, workspace);
  Checkpoint language_model(3);
  language_model.add_language_model("", config);
  write(language_model);
  const auto encoder = BertGenerationEncoder::from_pretrained(directory_.path());
  EXPECT_TRUE(test::same_bits(encoder.forward(ids, {}, workspace), expected));
  language_model.add("bert.encoder.scale", {1});
  write(language_model);
  test::expect_error<CheckpointError>([this] { BertGenerationEncoder::from_pretrained(directory_.path()); },
                                      {"got 1 others: bert.encoder.scale [1]"});
}

TEST_F(CheckpointTest, DecoderAloneLoads) {
  const TransformerConfig config = test::tiny_decoder_config(false);
  Checkpoint checkpoint;
  checkpoint.add_language_model("", config);
  directory_.write("config.json", config.to_json());
  write(checkpoint);
  Workspace workspace;
  const std::vector<TokenIds> ids = {{3, 4, 5}};
  EXPECT_TRUE(test::same_bits(BertGenerationDecoder::from_pretrained(directory_.path()).forward(ids, {}, workspace),
                              test::make_decoder<float>(config).forward(ids, {}, workspace)));
  checkpoint.add("lm_head.scale", {1});
  write(checkpoint);
  test::expect_error<CheckpointError>([this] { BertGenerationDecoder::from_pretrained(directory_.path()); },
                                      {"got 1 others: lm_head.scale [1]"});
}

/// What is loaded by copy does not see the file again. Without `options.file_access` in from_pretrained(), both models
/// die.
TEST_F(CheckpointTest, LoadsByCopyWhatMayShrink) {
  const auto mapped = load();
  const auto copied = EncoderDecoderModel::from_pretrained(directory_.path(), {.file_access = FileAccess::copy});
  const Tensor<float> before = logits(mapped);
  std::filesystem::resize_file(directory_.path() / "model.safetensors", 0);
  EXPECT_TRUE(test::same_bits(logits(copied), before));
  EXPECT_DEATH(logits(mapped), "");  // SIGBUS, which a sanitizer reports in its own way
}

TEST(MappedFileTest, CopiesAllBytes) {
  const test::TemporaryDirectory directory;
  const std::string text(100'000, 'x');
  for (const std::string& content : {text, std::string()}) {
    const auto copied = MappedFile::open(directory.write("file", content), FileAccess::copy);
    ASSERT_EQ(copied->bytes().size(), content.size());
    directory.write("file", "other");
    EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(copied->bytes().data()), content.size()), content);
  }
}

TEST(ReadTextFileTest, ReadsAllBytes) {
  const test::TemporaryDirectory directory;
  const std::string text("a\0b\r\n\xff", 6);
  EXPECT_EQ(read_text_file(directory.write("x", text)), text);
  EXPECT_EQ(read_text_file(directory.write("empty", "")), "");
}

TEST(ReadTextFileTest, RefusesWhatIsNoTextFile) {
  const test::TemporaryDirectory directory;
  test::expect_error<ConfigError>([&] { read_text_file(directory.path() / "none"); },
                                  {"none: expected a readable file"});
  test::expect_error<ConfigError>([&] { read_text_file(directory.path()); }, {"expected a readable file"});
  const auto pipe = directory.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  test::expect_error<ConfigError>([&] { read_text_file(pipe); }, {"pipe: expected a readable file"});
  const auto large = directory.write("large", "");
  std::filesystem::resize_file(large, (64 << 20) + 1);
  test::expect_error<ConfigError>([&] { read_text_file(large); }, {"large: expected at most 64 MB, got 67108865"});
}

}  // namespace
}  // namespace bertgen
