// Checkpoints in every layout: the same tensors as torch has, from whichever files, and errors for files that do not
// fit together.
#include <gtest/gtest.h>

#include "bertgen/generation/generate.hpp"
#include "bertgen/io/checkpoint.hpp"
#include "support/checkpoint.hpp"
#include "support/errors.hpp"
#include "support/fixture.hpp"
#include "support/torch_files.hpp"

namespace bertgen {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const fs::path files = test::data_directory() / "files";

std::vector<TokenIds> ids(const Weights& weights, const std::string& name) {
  const StoredTensor& stored = *weights.find(name);
  std::vector<TokenIds> rows(stored.shape[0]);
  for (std::size_t i = 0; i < stored.shape.size(); ++i) {
    std::int64_t id = 0;
    std::memcpy(&id, stored.data + i * sizeof id, sizeof id);
    rows[i / stored.shape[1]].push_back(static_cast<TokenId>(id));
  }
  return rows;
}

Tensor<double> logits(const fs::path& directory) {
  Weights inputs;
  read_safetensors(files / "forward.safetensors", inputs);
  Workspace workspace;
  const auto model = BasicEncoderDecoderModel<double>::from_pretrained(directory);
  return model
      .forward({.input_ids = ids(inputs, "input_ids"), .decoder_input_ids = ids(inputs, "decoder_input_ids")},
               workspace)
      .logits;
}

class LayoutsTest : public testing::TestWithParam<std::string> {};

TEST_P(LayoutsTest, GivesTheSameTensors) {
  const Weights expected = load_weights(find_checkpoint(files / "safetensors"));
  const Weights weights = load_weights(find_checkpoint(files / GetParam()));
  for (const auto& [name, tensor] : expected.tensors()) {
    const StoredTensor* found = weights.find(name);
    ASSERT_NE(found, nullptr) << name;
    EXPECT_EQ(found->dtype, DType::f32) << name;
    EXPECT_TRUE(test::same_bits(found->to<float>(), tensor.to<float>())) << name;
  }
}

TEST_P(LayoutsTest, GivesTheSameModel) {
  Weights expected;
  read_safetensors(files / "forward.safetensors", expected);
  const auto found = logits(files / GetParam());
  test::expect_near(found, expected.find("logits")->to<double>(), 1e-11, GetParam());
  EXPECT_TRUE(test::same_bits(found, logits(files / "safetensors")));
}

INSTANTIATE_TEST_SUITE_P(All, LayoutsTest,
                         testing::Values("safetensors", "safetensors-sharded", "zip", "zip-sharded", "legacy",
                                         "legacy-sharded"),
                         test::test_name);

TEST(LayoutTypesTest, HalvesGiveTheSameModelFromEitherKindOfFile) {
  for (const std::string type : {"f16", "bf16"}) {
    EXPECT_TRUE(test::same_bits(logits(files / ("zip-" + type)), logits(files / type))) << type;
  }
}

TEST(LayoutReportTest, SaysWhatWasMet) {
  WeightsReport report;
  load_weights(find_checkpoint(files / "zip"), &report);
  EXPECT_EQ(report.format, "torch zip");
  EXPECT_EQ(report.files, std::vector<fs::path>{files / "zip" / "pytorch_model.bin"});
  EXPECT_EQ(report.ignored, std::vector<std::string>{"decoder.bert.embeddings.position_ids"});
  EXPECT_TRUE(report.aliases.empty());
  load_weights(find_checkpoint(files / "legacy"), &report);
  EXPECT_EQ(report.format, "torch legacy");
  load_weights(find_checkpoint(files / "safetensors-sharded"), &report);
  EXPECT_EQ(report.format, "safetensors");
  ASSERT_EQ(report.files.size(), 3u);
  EXPECT_EQ(report.files[1].filename(), "model-00002-of-00003.safetensors");
  EXPECT_TRUE(report.ignored.empty());
  load_weights(find_checkpoint(test::data_directory() / "models" / "shared-aliases"), &report);
  EXPECT_FALSE(report.aliases.empty());
}

/// A directory with shards that a test damages.
class ShardsTest : public testing::Test {
 protected:
  void copy(const std::string& name) {
    for (const auto& entry : fs::directory_iterator(files / name)) fs::copy(entry.path(), directory_.path());
    for (const auto& entry : fs::directory_iterator(directory_.path())) {
      if (entry.path().string().find(".index.json") == std::string::npos) continue;
      index_ = entry.path().filename();
      std::ifstream file(entry.path());
      json_ = Json::parse(file);
    }
  }
  void expect_refused(std::initializer_list<std::string_view> parts) {
    directory_.write(index_, json_.dump());
    test::expect_error<CheckpointError>([this] { load_weights(find_checkpoint(directory_.path())); }, parts);
  }

  test::TemporaryDirectory directory_;
  std::string index_;
  Json json_;
};

constexpr const char* bias = "decoder.lm_head.bias";

TEST_F(ShardsTest, MissingShardIsNamed) {
  for (const std::string kind : {"safetensors-sharded", "zip-sharded"}) {
    copy(kind);
    const std::string shard = json_["weight_map"][bias];
    fs::remove(directory_.path() / shard);
    expect_refused({index_ + ": expected the file " + shard + " beside it, found none"});
    fs::remove(directory_.path() / index_);
    for (const auto& entry : fs::directory_iterator(directory_.path())) fs::remove(entry.path());
  }
}

TEST_F(ShardsTest, TensorThatItsShardLacksIsNamed) {
  copy("safetensors-sharded");
  const Json whole = json_;
  const std::string first = "model-00001-of-00003.safetensors";
  const std::string second = "model-00002-of-00003.safetensors";
  json_["weight_map"]["decoder.extra"] = first;
  expect_refused({index_ + ": decoder.extra: expected it in " + first + ", found none"});
  json_ = whole;
  for (auto& [name, file] : json_["weight_map"].items()) {
    if (file == first) {
      file = second;
      expect_refused({index_ + ": ", ": expected it in " + second + ", found "});
      return;
    }
  }
}

TEST_F(ShardsTest, TensorInTwoShardsIsNamed) {
  copy("safetensors-sharded");
  test::SafetensorsBuilder extra;
  extra.add(bias, "F32", {1}, std::vector<float>{1});
  extra.add("decoder.extra", "F32", {1}, std::vector<float>{1});
  directory_.write("more.safetensors", extra.bytes());
  json_["weight_map"]["decoder.extra"] = "more.safetensors";
  expect_refused({"more.safetensors: ", std::string(bias) + ": expected a name that no other file has"});
}

TEST_F(ShardsTest, OnlyNamesOfFilesBesideTheIndexAreRead) {
  copy("safetensors-sharded");
  for (const char* name : {"../model.safetensors", "/etc/model.safetensors", "x/../model.safetensors",
                           "..\\model.safetensors", "..", ".", "", "config.json", "pytorch_model.bin"}) {
    json_["weight_map"][bias] = name;
    expect_refused(
        {index_ + ": weight_map." + bias + ": expected the name of a .safetensors file beside the index, got"});
  }
  json_["weight_map"][bias] = std::string("a\0.safetensors", 14);
  expect_refused({"expected the name of a .safetensors file beside the index"});
  json_["weight_map"][bias] = 3;
  expect_refused({index_ + ": weight_map." + bias + ": expected the name of a file, got 3"});
}

TEST_F(ShardsTest, IndexThatIsNoneIsRefused) {
  copy("zip-sharded");
  for (const Json& index :
       {Json::array(), Json::object(), Json{{"weight_map", 3}}, Json{{"weight_map", Json::array()}}}) {
    json_ = index;
    expect_refused({index_ + ": expected an object with a weight_map, got "});
  }
  for (const std::string text : {"", "{", R"({"weight_map": {"a": "x.bin", "a": "y.bin"}})"}) {
    directory_.write(index_, text);
    test::expect_error<CheckpointError>([this] { load_weights(find_checkpoint(directory_.path())); }, {index_ + ": "});
  }
}

TEST_F(ShardsTest, MetadataOfEveryShardNamesAliases) {
  test::SafetensorsBuilder first;
  first.add("a", "F32", {1}, std::vector<float>{1});
  first.add_metadata("x", "b");
  test::SafetensorsBuilder second;
  second.add("b", "F32", {1}, std::vector<float>{2});
  second.add_metadata("format", "pt");
  directory_.write("config.json", "{}");
  directory_.write("1.safetensors", first.bytes());
  directory_.write("2.safetensors", second.bytes());
  directory_.write("model.safetensors.index.json", R"({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}})");
  WeightsReport report;
  const Weights weights = load_weights(find_checkpoint(directory_.path()), &report);
  EXPECT_EQ(weights.find("x")->data, weights.find("b")->data);
  EXPECT_EQ(report.aliases, (std::map<std::string, std::string>{{"x", "b"}}));
}

TEST(FindCheckpointTest, ChoosesTheFileThatTransformersReads) {
  const test::TemporaryDirectory directory;
  directory.write("config.json", "{}");
  for (const char* name :
       {"pytorch_model.bin.index.json", "pytorch_model.bin", "model.safetensors.index.json", "model.safetensors"}) {
    directory.write(name, "");
    EXPECT_EQ(find_checkpoint(directory.path()).weights.filename(), name);
  }
}

/// A folder of a hub's cache.
class CacheTest : public testing::Test {
 protected:
  void write_model(const std::string& folder, const std::string& commit) {
    fs::create_directories(directory_.path() / folder / "refs");
    fs::create_directories(directory_.path() / folder / "snapshots" / "0a1b");
    directory_.write(folder + "/refs/main", commit);
  }
  void expect_refused(const std::string& name, std::initializer_list<std::string_view> parts) {
    test::expect_error<CheckpointError>([&] { resolve_checkpoint(name, directory_.path()); }, parts);
  }

  test::TemporaryDirectory directory_;
};

TEST_F(CacheTest, FindsTheSnapshotOfTheMainBranch) {
  write_model("models--org--my.model-1", "0a1b\n");
  EXPECT_EQ(resolve_checkpoint("org/my.model-1", directory_.path()),
            directory_.path() / "models--org--my.model-1" / "snapshots" / "0a1b");
  write_model("models--alone", "0a1b");
  EXPECT_EQ(resolve_checkpoint("alone", directory_.path()), directory_.path() / "models--alone" / "snapshots" / "0a1b");
}

TEST_F(CacheTest, DirectoryComesFirst) {
  const std::string name = (files / "zip").string();
  EXPECT_EQ(resolve_checkpoint(name, directory_.path()), files / "zip");
}

TEST_F(CacheTest, SaysWhereItLooked) {
  const std::string root = directory_.path().string();
  expect_refused("org/none",
                 {"org/none: expected a checkpoint directory, or a model in the cache, found nothing; looked for " +
                  root + "/models--org--none/refs/main"});
  write_model("models--org--gone", "ffff");
  expect_refused("org/gone", {"looked in " + root + "/models--org--gone/snapshots/ffff"});
  write_model("models--org--odd", "../../x");
  expect_refused("org/odd", {"refs/main: expected a commit, got \"../../x\""});
}

TEST_F(CacheTest, LooksForNamesOfModelsOnly) {
  for (const char* name :
       {"/no/such", "./no", "../no", "no/such/model", "no such", "org/", "/org", "org/..", "no\n", ""}) {
    expect_refused(name, {std::string(name) + ": expected a checkpoint directory, found nothing"});
  }
  expect_refused(directory_.write("file", ""), {"expected a checkpoint directory, found a file"});
}

}  // namespace
}  // namespace bertgen
