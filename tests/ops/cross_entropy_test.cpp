#include "bertgen/ops/cross_entropy.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support/errors.hpp"
#include "support/numbers.hpp"

namespace bertgen {
namespace {

/// Row 0 is uniform over three, row 1 has probabilities ½, ¼, ¼, row 2 as row 1.
template <typename T>
Tensor<T> logits() {
  const T half = static_cast<T>(std::log(2.0));
  return Tensor<T>({3, 3}, {5, 5, 5, half, 0, 0, half, 0, 0});
}

template <typename T>
class CrossEntropyTest : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(CrossEntropyTest, Scalars);

TYPED_TEST(CrossEntropyTest, IsMinusTheMeanLogProbabilityOfTheLabels) {
  const TokenIds labels = {2, 0, 1};
  const auto log_probs = label_log_probs<TypeParam>(logits<TypeParam>(), labels);
  const double bound = 16 * test::roundoff<TypeParam>;  // values below 8, rounded
  ASSERT_EQ(log_probs.size(), 3u);
  EXPECT_NEAR(log_probs[0], -std::log(3.0), bound);
  EXPECT_NEAR(log_probs[1], -std::log(2.0), bound);
  EXPECT_NEAR(log_probs[2], -std::log(4.0), bound);
  EXPECT_NEAR(cross_entropy<TypeParam>(log_probs), std::log(24.0) / 3, bound);
}

TYPED_TEST(CrossEntropyTest, IgnoredLabelsDoNotCount) {
  const TokenIds labels = {ignored_label, 0, ignored_label};
  const auto log_probs = label_log_probs<TypeParam>(logits<TypeParam>(), labels);
  ASSERT_EQ(log_probs.size(), 1u);
  EXPECT_NEAR(cross_entropy<TypeParam>(log_probs), std::log(2.0), 4 * test::roundoff<TypeParam>);
}

TYPED_TEST(CrossEntropyTest, NothingThatCountsIsNotANumber) {
  const TokenIds labels(3, ignored_label);
  const auto log_probs = label_log_probs<TypeParam>(logits<TypeParam>(), labels);
  EXPECT_TRUE(log_probs.empty());
  EXPECT_TRUE(std::isnan(cross_entropy<TypeParam>(log_probs)));
}

TYPED_TEST(CrossEntropyTest, WantsOneLabelARow) {
  const TokenIds labels = {0, 1};
  test::expect_error<ShapeError>([&] { label_log_probs<TypeParam>(logits<TypeParam>(), labels); },
                                 {"labels: expected 3", "got 2"});
}

TYPED_TEST(CrossEntropyTest, RefusesLabelsOutsideTheVocabulary) {
  for (TokenId label : {-1, 3, -101, 1 << 30}) {
    const TokenIds labels = {0, label, 0};
    test::expect_error<ArgumentError>([&] { label_log_probs<TypeParam>(logits<TypeParam>(), labels); },
                                      {"labels: expected -100 or 0 to 2", "got " + std::to_string(label)});
  }
}

}  // namespace
}  // namespace bertgen
