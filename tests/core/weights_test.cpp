#include "bertgen/core/weights.hpp"

#include <gtest/gtest.h>

#include "support/errors.hpp"

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
