#include "bertgen/core/weights.hpp"

#include <gtest/gtest.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "bertgen/io/mapped_file.hpp"
#include "support/errors.hpp"
#include "support/files.hpp"

namespace bertgen {
namespace {

TEST(StoredTensorTest, HasTheSameContentWhereTypeShapeAndBytesAreTheSame) {
  const float one[] = {1, 2};
  const float equal[] = {1, 2};
  const float other[] = {1, 3};
  const auto stored = [](const float* values, Shape shape, DType dtype = DType::f32) {
    return StoredTensor{dtype, shape, reinterpret_cast<const std::byte*>(values), nullptr};
  };
  EXPECT_TRUE(same_content(stored(one, {2}), stored(one, {2})));
  EXPECT_TRUE(same_content(stored(one, {2}), stored(equal, {2})));
  EXPECT_FALSE(same_content(stored(one, {2}), stored(other, {2})));
  EXPECT_FALSE(same_content(stored(one, {2}), stored(equal, {1, 2})));
  EXPECT_FALSE(same_content(stored(one, {2}), stored(equal, {2}, DType::i32)));
}

/// Kilobytes of the map at `address` that the process holds.
std::size_t resident_kilobytes(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  bool here = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) == 2) {
      here = begin <= reinterpret_cast<std::uintptr_t>(address) && reinterpret_cast<std::uintptr_t>(address) < end;
    }
    if (here && line.starts_with("Rss:")) return std::stoul(line.substr(4));
  }
  return 0;
}

TEST(StoredTensorTest, ReleasedRowsTakeNoMemoryUntilTheyAreRead) {
  constexpr std::size_t rows = 256, cols = 1024;  // 4 KB a row
  const test::TemporaryDirectory directory;
  const std::vector<float> values(rows * cols, 1.5f);
  {
    std::ofstream file(directory.path() / "weights", std::ios::binary);
    file.write(reinterpret_cast<const char*>(values.data()),
               static_cast<std::streamsize>(values.size() * sizeof(float)));
  }
  const auto file = MappedFile::open(directory.path() / "weights");
  const StoredTensor tensor{
      .dtype = DType::f32, .shape = {rows, cols}, .data = file->bytes().data(), .owner = file, .mapped = true};
  EXPECT_EQ(tensor.to<float>().values(), values);
  EXPECT_EQ(resident_kilobytes(tensor.data), 4 * rows);
  tensor.release(64, 128);
  EXPECT_EQ(resident_kilobytes(tensor.data), 4 * (rows - 128));
  EXPECT_EQ(tensor.to<float>().values(), values);
  EXPECT_EQ(resident_kilobytes(tensor.data), 4 * rows);
}

TEST(StoredTensorTest, MemoryThatIsNotMappedIsNotReleased) {
  const std::vector<float> values(64 * 1024, 1.5f);
  const StoredTensor tensor{DType::f32, {64, 1024}, reinterpret_cast<const std::byte*>(values.data()), nullptr};
  tensor.release(0, 64);
  EXPECT_EQ(tensor.to<float>().values(), values);
}

class WeightsTest : public testing::Test {
 protected:
  void add(const std::string& name, Shape shape, DType dtype = DType::f32) {
    weights_.add(name, {dtype, shape, reinterpret_cast<const std::byte*>(values_), nullptr});
  }

  const float values_[6] = {1, 2, 3, 4, 5, 6};
  Weights weights_{"file"};
};

TEST_F(WeightsTest, ReturnsWhatWasAdded) {
  add("a.weight", {2, 3});
  EXPECT_TRUE(weights_.contains("a.weight"));
  EXPECT_FALSE(weights_.contains("a.bias"));
  EXPECT_EQ(weights_.get("a.weight", {2, 3}).to<double>().values(), (std::vector<double>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(weights_.find("a.bias"), nullptr);
}

TEST_F(WeightsTest, RefusesANameTwice) {
  add("a", {1});
  test::expect_error<CheckpointError>([this] { add("a", {1}); }, {"a: stored twice", "(file)"});
}

// Seen to fail with tensors added one by one.
TEST_F(WeightsTest, TakesAllOfAFileOrNothing) {
  add("b", {1});
  const StoredTensor tensor = *weights_.find("b");
  test::expect_error<CheckpointError>(
      [&] {
        weights_.add({{"a", tensor}, {"b", tensor}, {"c", tensor}}, "more");
      },
      {"more: b: expected a name that no other file has"});
  EXPECT_EQ(weights_.tensors().size(), 1u);
  weights_.add({{"a", tensor}, {"c", tensor}}, "more");
  EXPECT_EQ(weights_.tensors().size(), 3u);
}

TEST_F(WeightsTest, MissingTensorNamesItselfItsShapeAndTheFile) {
  test::expect_error<CheckpointError>(
      [this] {
        weights_.get("layer.0.bias", {4, 5});
      },
      {"layer.0.bias: expected a tensor of shape [4, 5], found none (file)"});
}

TEST_F(WeightsTest, WrongShapeNamesBoth) {
  add("a", {2, 3});
  test::expect_error<CheckpointError>([this] { weights_.get("a", {3, 2}); }, {"a: expected [3, 2], got [2, 3] (file)"});
  test::expect_error<CheckpointError>([this] { weights_.get("a", {6}); }, {"a: expected [6], got [2, 3]"});
}

TEST_F(WeightsTest, IntegerTensorIsNoWeight) {
  add("a", {6}, DType::i8);
  test::expect_error<CheckpointError>([this] { weights_.get("a", {6}); },
                                      {"a: expected one of F16, BF16, F32, F64, got I8 (file)"});
}

TEST_F(WeightsTest, AllUsedOnceEachIsRead) {
  add("a", {1});
  add("b", {1});
  weights_.get("a", {1});
  test::expect_error<CheckpointError>([this] { weights_.require_all_used(); }, {"got 1 others: b [1] (file)"});
  weights_.ignore("b");
  weights_.require_all_used();
}

TEST_F(WeightsTest, FailedReadDoesNotCountAsUse) {
  add("a", {2});
  EXPECT_THROW(weights_.get("a", {3}), CheckpointError);
  EXPECT_THROW(weights_.require_all_used(), CheckpointError);
}

TEST_F(WeightsTest, FindDoesNotCountAsUse) {
  add("a", {2});
  weights_.find("a");
  EXPECT_THROW(weights_.require_all_used(), CheckpointError);
}

TEST_F(WeightsTest, NamesUpToFiveUnusedTensors) {
  for (const char* name : {"a", "b", "c", "d", "e"}) add(name, {1});
  test::expect_error<CheckpointError>([this] { weights_.require_all_used(); },
                                      {"got 5 others: a [1], b [1], c [1], d [1], e [1] (file)"});
  add("f", {1});
  test::expect_error<CheckpointError>([this] { weights_.require_all_used(); }, {"got 6 others", "e [1], … (file)"});
}

TEST_F(WeightsTest, ScopePrependsItsPath) {
  add("encoder.layer.3.bias", {6});
  const WeightScope layer = WeightScope(weights_) / "encoder" / "layer" / 3;
  EXPECT_EQ(layer.path("bias"), "encoder.layer.3.bias");
  EXPECT_TRUE(layer.contains("bias"));
  EXPECT_FALSE(layer.contains("weight"));
  EXPECT_EQ(layer.get("bias", {6}).shape, Shape{6});
  test::expect_error<CheckpointError>([&] { layer.get("weight", {1}); }, {"encoder.layer.3.weight: expected"});
}

TEST_F(WeightsTest, StoredIntegersDoNotConvert) {
  add("a", {1}, DType::i32);
  EXPECT_THROW(weights_.find("a")->to<float>(), Error);
}

}  // namespace
}  // namespace bertgen
