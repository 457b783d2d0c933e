// Files with damage of every kind: each is read or refused, and no reader crashes or changes anything before it knows.
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "bertgen/io/checkpoint.hpp"
#include "bertgen/io/safetensors.hpp"
#include "bertgen/io/torch_pickle.hpp"
#include "support/fixture.hpp"
#include "support/torch_files.hpp"

namespace bertgen {
namespace {

constexpr int mutants = 4000;

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// `bytes` with a few changes of the kinds that find faults: bits, runs, lengths, cuts, pieces moved.
std::string mutant(std::string bytes, std::mt19937_64& random) {
  const auto below = [&random](std::size_t limit) { return static_cast<std::size_t>(random() % limit); };
  for (std::size_t change = 1 + below(4); change-- > 0 && !bytes.empty();) {
    const std::size_t place = below(bytes.size());
    const std::size_t length = 1 + below(std::min<std::size_t>(bytes.size() - place, 16));
    switch (below(7)) {
      case 0:
        bytes[place] = static_cast<char>(bytes[place] ^ (1 << below(8)));
        break;
      case 1:
        bytes[place] = static_cast<char>(random());
        break;
      case 2:
        bytes.replace(place, length, length, below(2) == 0 ? '\0' : '\xff');
        break;
      case 3:
        bytes.erase(place, length);
        break;
      case 4:
        bytes.insert(place, bytes.substr(below(bytes.size()), length));
        break;
      case 5:
        bytes.resize(place);
        break;
      default:
        bytes.replace(place, std::min<std::size_t>(8, bytes.size() - place),
                      test::number(random() >> below(64), std::min<std::size_t>(8, bytes.size() - place)));
    }
  }
  return bytes;
}

/// Sum over all bytes of all tensors: reads what a tensor says it has.
unsigned touch(const Weights& weights) {
  unsigned sum = 0;
  for (const auto& [name, tensor] : weights.tensors()) {
    const std::size_t size = tensor.shape.size() * size_of(tensor.dtype);
    for (std::size_t i = 0; i < size; ++i) sum += std::to_integer<unsigned>(tensor.data[i]);
  }
  return sum;
}

using Read = std::function<void(const std::filesystem::path&, Weights&)>;

class DamagedFileTest : public testing::Test {
 protected:
  /// True if the file is read.
  bool attempt(const std::string& bytes, const Read& read) {
    Weights weights;
    try {
      read(directory_.write("damaged", bytes), weights);
    } catch (const CheckpointError& error) {
      EXPECT_NE(std::string_view(error.what()).find("damaged"), std::string_view::npos) << error.what();
      EXPECT_TRUE(weights.tensors().empty());
      return false;
    }
    touch(weights);
    return true;
  }
  void expect_no_crash(const std::filesystem::path& path, const Read& read) {
    const std::string whole = content_of(path);
    ASSERT_TRUE(attempt(whole, read)) << path;
    std::mt19937_64 random(20);
    int read_ones = 0;
    for (int i = 0; i < mutants; ++i) read_ones += attempt(mutant(whole, random), read) ? 1 : 0;
    EXPECT_LT(read_ones, mutants) << "no damage was noticed";
  }
  /// Every beginning of a file is refused.
  void expect_prefixes_refused(const std::string& whole, const Read& read) {
    ASSERT_TRUE(attempt(whole, read));
    for (std::size_t length = 0; length < whole.size(); ++length) {
      EXPECT_FALSE(attempt(whole.substr(0, length), read)) << length << " of " << whole.size();
    }
  }

  const std::filesystem::path tensors_ = test::data_directory() / "files" / "tensors";
  const Read torch_ = [](const std::filesystem::path& path, Weights& weights) { read_torch_pickle(path, weights); };
  const Read safetensors_ = [](const std::filesystem::path& path, Weights& weights) {
    read_safetensors(path, weights);
  };
  test::TemporaryDirectory directory_;
};

TEST_F(DamagedFileTest, TorchArchives) { expect_no_crash(tensors_ / "zip-2.bin", torch_); }
TEST_F(DamagedFileTest, TorchArchivesOfProtocol5) { expect_no_crash(tensors_ / "zip-5.bin", torch_); }
TEST_F(DamagedFileTest, LegacyFiles) { expect_no_crash(tensors_ / "legacy-2.bin", torch_); }
TEST_F(DamagedFileTest, LegacyFilesOfProtocol4) { expect_no_crash(tensors_ / "legacy-4.bin", torch_); }
TEST_F(DamagedFileTest, Safetensors) { expect_no_crash(tensors_ / "expected.safetensors", safetensors_); }

TEST_F(DamagedFileTest, SmallArchiveOfOneTensor) {
  directory_.write("small.bin", test::torch_archive(test::TensorCode{}));
  expect_no_crash(directory_.path() / "small.bin", torch_);
}

TEST_F(DamagedFileTest, PicklesInSoundArchives) {
  const std::string code = test::pickle(test::joined({"}", test::text("a"), test::TensorCode{}.code(), "s"}));
  std::mt19937_64 random(21);
  for (int i = 0; i < mutants; ++i) attempt(test::torch_archive(mutant(code, random)), torch_);
}

TEST_F(DamagedFileTest, EveryBeginningOfATorchFileIsRefused) {
  expect_prefixes_refused(test::torch_archive(test::TensorCode{}), torch_);
  for (const char* name : {"zip-2.bin", "legacy-2.bin", "legacy-5.bin"}) {
    expect_prefixes_refused(content_of(tensors_ / name), torch_);
  }
}

TEST_F(DamagedFileTest, EveryBeginningOfAPickleIsRefused) {
  const std::string code = test::pickle(test::joined({"}", test::text("a"), test::TensorCode{}.code(), "s"}));
  for (std::size_t length = 0; length < code.size(); ++length) {
    EXPECT_FALSE(attempt(test::torch_archive(code.substr(0, length)), torch_)) << length;
  }
}

TEST_F(DamagedFileTest, IndexOfShards) {
  const std::filesystem::path source = test::data_directory() / "files" / "safetensors-sharded";
  for (const auto& entry : std::filesystem::directory_iterator(source)) {
    std::filesystem::copy(entry.path(), directory_.path());
  }
  const std::string name = "model.safetensors.index.json";
  const std::string whole = content_of(source / name);
  std::mt19937_64 random(22);
  for (int i = 0; i < mutants / 4; ++i) {
    directory_.write(name, mutant(whole, random));
    try {
      touch(load_weights(find_checkpoint(directory_.path())));
    } catch (const CheckpointError&) {
    }
  }
}

}  // namespace
}  // namespace bertgen
