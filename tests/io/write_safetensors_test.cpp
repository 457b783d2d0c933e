#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <limits>

#include "bertgen/io/safetensors.hpp"
#include "support/errors.hpp"
#include "support/files.hpp"
#include "support/fixture.hpp"
#include "support/numbers.hpp"

namespace bertgen {
namespace {

using Tensors = std::map<std::string, StoredTensor, std::less<>>;

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Largest file that this process may write, for as long as this lives: what a full disk is like.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const struct rlimit limit = {bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileLimit(const FileLimit&) = delete;
  FileLimit& operator=(const FileLimit&) = delete;
  ~FileLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  struct rlimit before_ {};
};

class WriteSafetensorsTest : public testing::Test {
 protected:
  void add(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    auto owner = std::make_shared<const std::vector<float>>(values);
    const auto* data = reinterpret_cast<const std::byte*>(owner->data());
    tensors_[name] = {DType::f32, shape, data, owner};
  }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(directory_.path()), {}));
  }

  test::TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_.path() / "model.safetensors";
  Tensors tensors_;
};

TEST_F(WriteSafetensorsTest, WritesTheFormat) {
  add("b", {2}, {1, 2});
  add("a", {}, {3});
  write_safetensors(path_, tensors_);
  std::string header = R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                       R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::vector<float> values = {3, 1, 2};
  EXPECT_EQ(content_of(path_), test::safetensors(header, {reinterpret_cast<const char*>(values.data()), 12}));
  EXPECT_EQ(files(), 1u);
}

TEST_F(WriteSafetensorsTest, WritesTheBytesOfTheReferenceImplementation) {
  const auto files = test::data_directory() / "files";
  for (const auto& file : {files / "tensors" / "expected.safetensors", files / "safetensors" / "model.safetensors",
                           files / "bf16" / "model.safetensors", files / "forward.safetensors"}) {
    Weights weights;
    const SafetensorsMetadata metadata = read_safetensors(file, weights);
    write_safetensors(path_, weights.tensors(), metadata);
    EXPECT_TRUE(content_of(path_) == content_of(file)) << file;
  }
}

TEST_F(WriteSafetensorsTest, RoundsFloatingTensors) {
  add("a", {3}, {1, 1.00390625f, -70000});  // the second is halfway between two of bf16
  const std::int64_t integer = 5;
  tensors_["i"] = {DType::i64, {1}, reinterpret_cast<const std::byte*>(&integer), nullptr};
  write_safetensors(path_, tensors_, {}, DType::bf16);
  Weights weights;
  read_safetensors(path_, weights);
  EXPECT_EQ(weights.find("a")->dtype, DType::bf16);
  EXPECT_EQ(weights.find("i")->dtype, DType::i64);
  const Tensor<float> values = weights.find("a")->to<float>();
  EXPECT_EQ(values[1], 1.0f);
  EXPECT_EQ(values[2], -70144.0f);
}

TEST_F(WriteSafetensorsTest, WritesTensorsOfManyPieces) {
  const auto large = test::random_tensor<float>({300, 1000}, 5, -1.0, 1.0);
  add("a", large.shape(), {large.values().begin(), large.values().end()});
  write_safetensors(path_, tensors_, {}, DType::f16);
  Weights weights;
  read_safetensors(path_, weights);
  const Tensor<float> values = weights.find("a")->to<float>();
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i], large[i], 0x1p-12) << i;
}

TEST_F(WriteSafetensorsTest, RefusesValuesBeyondTheType) {
  directory_.write("model.safetensors", "before");
  add("a", {2}, {1, 1e6f});
  test::expect_error<CheckpointError>(
      [this] { write_safetensors(path_, tensors_, {}, DType::f16); },
      {"a: expected values that F16 can hold, got 1000000.0", "at element 1", "model.safetensors"});
  EXPECT_EQ(content_of(path_), "before");
  EXPECT_EQ(files(), 1u);
}

TEST_F(WriteSafetensorsTest, RefusesWhatTheFormatCannotHold) {
  test::expect_error<ArgumentError>([this] { write_safetensors(path_, tensors_, {}, DType::i8); }, {"got I8"});
  test::expect_error<ArgumentError>([this] { write_safetensors(path_, tensors_, {{"x", "\xff"}}); }, {"UTF-8"});
  add("__metadata__", {1}, {1});
  test::expect_error<ArgumentError>([this] { write_safetensors(path_, tensors_); }, {"__metadata__"});
  tensors_.clear();
  add("a\xff", {1}, {1});
  test::expect_error<ArgumentError>([this] { write_safetensors(path_, tensors_); }, {"UTF-8"});
  EXPECT_EQ(files(), 0u);
}

// Seen to fail with the file written in its place, and with the hidden one left behind.
TEST_F(WriteSafetensorsTest, FailureLeavesWhatWasThere) {
  directory_.write("model.safetensors", "before");
  add("a", {100'000}, std::vector<float>(100'000));
  {
    const FileLimit limit(10'000);
    test::expect_error<CheckpointError>([this] { write_safetensors(path_, tensors_); },
                                        {path_.string() + ": cannot be written: File too large"});
  }
  EXPECT_EQ(content_of(path_), "before");
  EXPECT_EQ(files(), 1u);
  const auto missing = directory_.path() / "missing" / "model.safetensors";
  test::expect_error<CheckpointError>([&] { write_safetensors(missing, tensors_); },
                                      {missing.string() + ": cannot be written: No such file or directory"});
  const auto folder = directory_.path() / "folder";
  std::filesystem::create_directory(folder);
  test::expect_error<CheckpointError>([&] { write_safetensors(folder, tensors_); }, {"folder: cannot be written: "});
  EXPECT_EQ(files(), 2u);
}

}  // namespace
}  // namespace bertgen
