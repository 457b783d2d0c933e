#include "bertgen/io/convert.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <set>

#include "bertgen/io/checkpoint.hpp"
#include "bertgen/io/safetensors.hpp"
#include "bertgen/models/encoder_decoder.hpp"
#include "support/checkpoint.hpp"
#include "support/errors.hpp"
#include "support/fixture.hpp"

namespace bertgen {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using test::content_of;
using test::contents_of;

const fs::path files = test::data_directory() / "files";
const fs::path models = test::data_directory() / "models";

class ConvertCheckpointTest : public testing::Test {
 protected:
  std::set<std::string> entries() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_.path())) names.insert(entry.path().filename().string());
    return names;
  }
  Json config() const { return Json::parse(content_of(to_ / "config.json")); }
  void expect_refused(const fs::path& from, const fs::path& to, bool replace,
                      std::initializer_list<std::string_view> parts) {
    test::expect_error<CheckpointError>([&] { convert_checkpoint(from, to, {.replace = replace}); }, parts);
  }

  test::TemporaryDirectory directory_;
  const fs::path to_ = directory_.path() / "out";
};

TEST_F(ConvertCheckpointTest, EveryLayoutBecomesTheFilesThatTransformersWrites) {
  for (const char* name : {"safetensors", "safetensors-sharded", "zip", "zip-sharded", "legacy", "legacy-sharded"}) {
    convert_checkpoint(files / name, directory_.path() / name);
    EXPECT_TRUE(contents_of(directory_.path() / name) == contents_of(files / "safetensors")) << name;
  }
  EXPECT_EQ(entries().size(), 6u) << "nothing else is left";
}

TEST_F(ConvertCheckpointTest, HalvesAreThoseThatTorchRounds) {
  for (const std::string type : {"f16", "bf16"}) {
    const DType dtype = type == "f16" ? DType::f16 : DType::bf16;
    for (const char* name : {"safetensors", "legacy"}) {
      convert_checkpoint(files / name, to_, {.dtype = dtype, .replace = true});
      EXPECT_TRUE(content_of(to_ / "model.safetensors") == content_of(files / type / "model.safetensors")) << name;
      EXPECT_EQ(config()["dtype"], type == "f16" ? "float16" : "bfloat16");
      EXPECT_FALSE(config()["encoder"].contains("dtype")) << "where none was";
    }
    convert_checkpoint(files / ("zip-" + type), to_, {.dtype = DType::f32, .replace = true});
    EXPECT_EQ(config()["dtype"], "float32");
    EXPECT_EQ(load_weights(find_checkpoint(to_)).find("decoder.lm_head.bias")->dtype, DType::f32);
  }
}

/// The type that a tensor of a floating checkpoint has in an int8 one: matrices that are multiplied, and words.
DType type_in_int8(const std::string& name, const StoredTensor& tensor) {
  const bool table =
      name.find("position_embeddings") != std::string::npos || name.find("token_type_embeddings") != std::string::npos;
  return tensor.shape.rank() == 2 && !table ? DType::i8 : tensor.dtype;
}

TEST_F(ConvertCheckpointTest, Int8IsTheNearestOf255StepsOfEachRow) {
  for (const char* name : {"pair-bert-roberta", "untied", "bf16"}) {
    convert_checkpoint(models / name, to_, {.dtype = DType::i8, .replace = true});
    EXPECT_EQ(config()["quantization_config"], (Json{{"bits", 8}, {"quantized_by", "bertgen"}}));
    const Weights before = load_weights(find_checkpoint(models / name));
    const Weights after = load_weights(find_checkpoint(to_));
    for (const auto& [tensor_name, tensor] : after.tensors()) {
      const StoredTensor& original = *before.find(tensor_name);
      EXPECT_EQ(tensor.dtype, type_in_int8(tensor_name, original)) << tensor_name;
      const auto expected = original.to<double>();
      const auto actual = tensor.to<double>();
      for (std::size_t row = 0; row < expected.view().rows(); ++row) {
        double largest = 0;
        for (std::size_t i = 0; i < expected.view().cols(); ++i) {
          largest = std::max(largest, std::abs(expected.view().row(row)[i]));
        }
        // Half a step, and what the float scale and product round.
        const double bound = tensor.dtype == DType::i8 ? largest / 127 / 2 * (1 + 1e-4) : 0;
        for (std::size_t i = 0; i < expected.view().cols(); ++i) {
          ASSERT_NEAR(actual.view().row(row)[i], expected.view().row(row)[i], bound) << tensor_name << " " << row;
        }
      }
    }
  }
}

TEST_F(ConvertCheckpointTest, Int8AgainIsTheSameAndCanBeUndone) {
  convert_checkpoint(models / "plain", to_, {.dtype = DType::i8});
  for (const std::optional<DType> dtype : {std::optional<DType>(), std::optional(DType::i8)}) {
    convert_checkpoint(to_, directory_.path() / "again", {.dtype = dtype, .replace = true});
    EXPECT_TRUE(contents_of(directory_.path() / "again") == contents_of(to_));
  }
  const Weights rounded = load_weights(find_checkpoint(to_));
  convert_checkpoint(to_, directory_.path() / "floats", {.dtype = DType::f32});
  EXPECT_FALSE(Json::parse(content_of(directory_.path() / "floats" / "config.json")).contains("quantization_config"));
  const Weights floats = load_weights(find_checkpoint(directory_.path() / "floats"));
  EXPECT_EQ(floats.tensors().size(), rounded.tensors().size());
  for (const auto& [name, tensor] : floats.tensors()) {
    EXPECT_EQ(tensor.dtype, DType::f32) << name;
    EXPECT_TRUE(test::same_bits(tensor.to<float>(), rounded.find(name)->to<float>())) << name;
  }
}

TEST_F(ConvertCheckpointTest, Int8ComputesAsItsFloatsDo) {
  convert_checkpoint(models / "pair-bert-roberta", to_, {.dtype = DType::i8});
  convert_checkpoint(to_, directory_.path() / "floats", {.dtype = DType::f32});
  const std::vector<TokenIds> sources = {{3, 4, 5, 6, 7}};
  Workspace workspace(1);
  const auto states = [&](const fs::path& from, const LoadOptions& options) {
    const auto model = EncoderDecoderModel::from_pretrained(from, options);
    return model.encoder().forward(sources, {}, workspace);
  };
  const auto expected = states(directory_.path() / "floats", {{.dtype = DType::i8}});
  EXPECT_LT(test::largest_difference(states(to_, {}), expected), 1e-4) << "int8 unless told otherwise";
  EXPECT_GT(test::largest_difference(states(to_, {{.dtype = DType::f32}}), expected), 1e-4);
}

TEST_F(ConvertCheckpointTest, Int8WithoutItsScalesIsRefused) {
  convert_checkpoint(models / "plain", to_, {.dtype = DType::i8});
  const std::string name = "decoder.bert.encoder.layer.0.output.dense.weight";
  const auto expect_refused_after = [&](auto&& change, std::initializer_list<std::string_view> parts) {
    Weights weights;
    read_safetensors(to_ / "model.safetensors", weights);
    NamedTensors tensors = weights.tensors();
    change(tensors);
    const fs::path damaged = directory_.path() / "damaged";
    fs::remove_all(damaged);
    fs::copy(to_, damaged);
    write_safetensors(damaged / "model.safetensors", tensors, {});
    test::expect_error<CheckpointError>([&] { EncoderDecoderModel::from_pretrained(damaged); }, parts);
  };
  expect_refused_after([&](NamedTensors& tensors) { tensors.erase(name + "_scale"); },
                       {name + ": expected one of F16, BF16, F32, F64, got I8"});
  expect_refused_after([&](NamedTensors& tensors) { tensors.at(name + "_scale").dtype = DType::f16; },
                       {name + "_scale: expected F32 [", "], got F16 ["});
  expect_refused_after([&](NamedTensors& tensors) { tensors.at(name + "_scale").shape = {3}; },
                       {name + "_scale: expected F32 ["});
}

TEST_F(ConvertCheckpointTest, Int8OfWhatIsNotFiniteIsRefused) {
  fs::copy(models / "plain", directory_.path() / "source");
  Weights weights;
  read_safetensors(models / "plain" / "model.safetensors", weights);
  NamedTensors tensors = weights.tensors();
  const std::string name = "encoder.encoder.layer.0.output.dense.weight";
  auto values = std::make_shared<Tensor<float>>(tensors.at(name).to<float>());
  (*values)[values->view().cols()] = std::numeric_limits<float>::infinity();
  tensors.at(name) = {DType::f32, values->shape(), reinterpret_cast<const std::byte*>(values->data()), values};
  write_safetensors(directory_.path() / "source" / "model.safetensors", tensors, {});
  test::expect_error<CheckpointError>(
      [&] { convert_checkpoint(directory_.path() / "source", to_, {.dtype = DType::i8}); },
      {name + ": expected finite values to round to I8, got others in row 1"});
  EXPECT_FALSE(fs::exists(to_));
}

TEST_F(ConvertCheckpointTest, ConvertedTwiceIsConvertedOnce) {
  for (const char* name : {"v4", "shared", "shared-aliases", "shared-both", "untied", "bf16", "encoder-only"}) {
    convert_checkpoint(models / name, to_, {.replace = true});
    convert_checkpoint(to_, directory_.path() / name);
    EXPECT_TRUE(contents_of(directory_.path() / name) == contents_of(to_)) << name;
  }
}

TEST_F(ConvertCheckpointTest, SharedHalvesAreWrittenOut) {
  for (const char* name : {"shared", "shared-aliases", "shared-both"}) {
    convert_checkpoint(models / name, to_, {.replace = true});
    const Weights weights = load_weights(find_checkpoint(to_));
    for (const char* rest : {"embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.weight"}) {
      const StoredTensor* encoder = weights.find(std::string("encoder.") + rest);
      const StoredTensor* decoder = weights.find(std::string("decoder.bert.") + rest);
      ASSERT_TRUE(encoder != nullptr && decoder != nullptr) << name << " " << rest;
      EXPECT_TRUE(test::same_bits(encoder->to<float>(), decoder->to<float>()));
    }
    EXPECT_FALSE(weights.contains("decoder.lm_head.decoder.weight"));
    EncoderDecoderModel::from_pretrained(to_);
  }
}

TEST_F(ConvertCheckpointTest, HeadOfItsOwnIsKept) {
  convert_checkpoint(models / "untied", to_);
  EXPECT_TRUE(load_weights(find_checkpoint(to_)).contains("decoder.lm_head.decoder.weight"));
  // A tied matrix is written where the configuration says that it is not: transformers would look for it.
  const fs::path source = directory_.path() / "source";
  fs::create_directory(source);
  fs::copy(files / "zip" / "pytorch_model.bin", source);
  Json config = Json::parse(content_of(files / "zip" / "config.json"));
  config["decoder"]["tie_word_embeddings"] = false;
  directory_.write("source/config.json", config.dump());
  convert_checkpoint(source, to_, {.replace = true});
  EXPECT_TRUE(load_weights(find_checkpoint(to_)).contains("decoder.lm_head.decoder.weight"));
}

TEST_F(ConvertCheckpointTest, ConfigurationIsBroughtUpToDate) {
  convert_checkpoint(models / "v4-both", to_, {.dtype = DType::bf16});
  EXPECT_EQ(config()["model_type"], "encoder-decoder") << "not the early spelling";
  const Json before = Json::parse(content_of(models / "v4-both" / "config.json"));
  const char* key = before.contains("torch_dtype") ? "torch_dtype" : "dtype";
  EXPECT_EQ(config()[key], "bfloat16");
  EXPECT_EQ(config()["decoder"]["torch_dtype"], before["decoder"]["torch_dtype"]);
}

TEST_F(ConvertCheckpointTest, OtherFilesAreCopiedAsTheyAre) {
  const fs::path source = directory_.path() / "source";
  fs::copy(files / "zip", source);
  for (const char* name : {"spiece.model", "tokenizer_config.json", "vocab.txt", "merges.txt", "generation_config.json",
                           "README.md", "optimizer.pt"}) {
    directory_.write(std::string("source/") + name, std::string("\0\xff", 2) + name);
  }
  directory_.write("source/added_tokens.json", "");
  for (const char* half : {"encoder", "decoder"}) {
    fs::create_directory(source / half);
    directory_.write(std::string("source/") + half + "/vocab.txt", half);
    directory_.write(std::string("source/") + half + "/README.md", half);
  }
  convert_checkpoint(source, to_);
  for (const char* half : {"encoder", "decoder"}) {
    EXPECT_EQ(contents_of(to_ / half), (std::map<std::string, std::string>{{"vocab.txt", half}}));
  }
  auto contents = contents_of(to_);
  for (const char* name :
       {"spiece.model", "tokenizer_config.json", "vocab.txt", "merges.txt", "generation_config.json"}) {
    EXPECT_EQ(contents.at(name), std::string("\0\xff", 2) + name);
  }
  EXPECT_EQ(contents.at("added_tokens.json"), "");
  EXPECT_EQ(contents.count("README.md") + contents.count("optimizer.pt") + contents.count("pytorch_model.bin"), 0u);
}

TEST_F(ConvertCheckpointTest, OnlyAnEmptyPlaceIsWrittenUnlessToldSo) {
  fs::create_directory(to_);
  convert_checkpoint(files / "zip", to_);
  directory_.write("out/more", "x");
  const auto before = contents_of(to_);
  expect_refused(files / "zip", to_, false, {to_.string() + ": expected an empty directory, or none, found one with"});
  EXPECT_TRUE(contents_of(to_) == before);
  convert_checkpoint(files / "zip", to_ / "", {.replace = true});
  EXPECT_EQ(contents_of(to_).count("more"), 0u);
  expect_refused(files / "zip", directory_.write("file", ""), true,
                 {"expected a directory to write, or none, found a file"});
  expect_refused(files / "zip", directory_.path() / "no" / "out", false, {"out: cannot be written: No such file"});
  EXPECT_EQ(entries(), (std::set<std::string>{"file", "out"}));
}

TEST_F(ConvertCheckpointTest, SourceIsNeverReplaced) {
  const fs::path source = directory_.path() / "out" / "source";
  fs::create_directories(source);
  fs::copy(files / "zip", source);
  for (const fs::path& to : {source, source / "", source / ".", to_, directory_.path()}) {
    expect_refused(source, to, true, {"expected a directory that does not hold the source"});
  }
  fs::create_directory_symlink(source, directory_.path() / "link");
  expect_refused(directory_.path() / "link", source, true, {"does not hold the source"});
  expect_refused(source, directory_.path() / "link", true, {"does not hold the source"});
  EXPECT_TRUE(contents_of(source) == contents_of(files / "zip"));
  convert_checkpoint(source, source / "inner");
  convert_checkpoint(source, directory_.path() / "out" / "source-2");
}

// Seen to fail with the hidden directory left behind, and with an error of write() not looked at.
TEST_F(ConvertCheckpointTest, FailureLeavesWhatWasThere) {
  fs::copy(files / "zip", to_);
  const auto before = contents_of(to_);
  {
    std::signal(SIGXFSZ, SIG_IGN);
    struct rlimit old {};
    ::getrlimit(RLIMIT_FSIZE, &old);
    const struct rlimit limit = {4000, old.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    expect_refused(files / "legacy", to_, true, {"model.safetensors: cannot be written: File too large"});
    expect_refused(files / "legacy", directory_.path() / "new", false, {"cannot be written: File too large"});
    ::setrlimit(RLIMIT_FSIZE, &old);
  }
  EXPECT_TRUE(contents_of(to_) == before);
  EXPECT_EQ(entries(), std::set<std::string>{"out"});
  const test::TemporaryDirectory damaged;
  damaged.write("config.json", "[]");
  damaged.write("model.safetensors", content_of(files / "safetensors" / "model.safetensors"));
  test::expect_error<ConfigError>([&] { convert_checkpoint(damaged.path(), to_, {.replace = true}); },
                                  {"config.json: expected an object, got []"});
  damaged.write("config.json", "{}");
  damaged.write("model.safetensors", "x");
  expect_refused(damaged.path(), to_, true, {"model.safetensors: expected a safetensors file"});
  EXPECT_TRUE(contents_of(to_) == before);
  EXPECT_EQ(entries(), std::set<std::string>{"out"});
}

}  // namespace
}  // namespace bertgen
