#include "bertgen/ops/softmax.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "support/numbers.hpp"

namespace bertgen {
namespace {

template <typename T>
class SoftmaxTest : public testing::Test {
 protected:
  static constexpr T infinity = std::numeric_limits<T>::infinity();
  static constexpr T nan = std::numeric_limits<T>::quiet_NaN();

  static T log_sum(const std::vector<T>& x) { return log_sum_exp<T>(x); }
  static std::vector<T> soft(std::vector<T> x) {
    softmax<T>(x);
    return x;
  }
  static std::vector<T> log_soft(std::vector<T> x) {
    log_softmax<T>(x);
    return x;
  }
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(SoftmaxTest, Scalars);

/// In double, shifted by the largest.
template <typename T>
double log_sum_reference(const std::vector<T>& x) {
  double largest = -std::numeric_limits<double>::infinity();
  for (T value : x) largest = std::max(largest, static_cast<double>(value));
  double sum = 0;
  for (T value : x) sum += std::exp(static_cast<double>(value) - largest);
  return largest + std::log(sum);
}

TYPED_TEST(SoftmaxTest, MatchesValuesByHand) {
  const double bound = 4 * test::roundoff<TypeParam>;
  EXPECT_NEAR(this->log_sum({0, 0}), std::log(2.0), bound);
  const auto probabilities = this->soft({static_cast<TypeParam>(std::log(3.0)), 0});
  EXPECT_NEAR(probabilities[0], 0.75, bound);
  EXPECT_NEAR(probabilities[1], 0.25, bound);
  EXPECT_NEAR(this->log_soft({0, 0})[1], -std::log(2.0), bound);
}

/// Sums of exponentials of every size: all alike, and beside 1. An exponential may be off by 5 roundings of itself, a
/// sum of 16 in any order by 15, and what is far from the largest by 2 for every 1 of its distance. Seen to fail with
/// the polynomial's third coefficient off by a six-hundredth, and with exponentials below 2⁻²⁰ cut off.
TYPED_TEST(SoftmaxTest, ExponentialsOfEverySizeAreAdded) {
  for (TypeParam x = 0; x > TypeParam(-200); x -= TypeParam(0.0625)) {
    const double bound = 20 * test::roundoff<TypeParam>;
    ASSERT_NEAR(this->log_sum(std::vector<TypeParam>(16, x)), double(x) + std::log(16.0), bound * (1 - double(x))) << x;
    std::vector<TypeParam> scores(16, x);
    scores[7] = 0;
    const double others = 15 * std::exp(double(x));
    const double far = 2 * test::roundoff<TypeParam> * -double(x) * others / (1 + others);
    ASSERT_NEAR(this->log_sum(scores), std::log1p(others), bound * (1 + std::log1p(others)) + far) << x;
  }
}

TYPED_TEST(SoftmaxTest, OneScoreIsCertain) {
  EXPECT_EQ(this->log_sum({TypeParam(-3.5)}), TypeParam(-3.5));
  EXPECT_EQ(this->soft({TypeParam(-3.5)})[0], TypeParam(1));
  EXPECT_EQ(this->log_soft({TypeParam(-3.5)})[0], TypeParam(0));
}

TYPED_TEST(SoftmaxTest, EveryLengthIsSummedWhole) {
  for (std::size_t length = 1; length <= 131; ++length) {
    const auto x = test::random_tensor<TypeParam>({length}, length, -5, 5).values();
    // The sum has `length` rounded terms of at most 2 units error each; its logarithm has that as absolute error.
    const double bound = test::rounding<TypeParam>(length + 8) + 8 * test::roundoff<TypeParam>;
    ASSERT_NEAR(this->log_sum(x), log_sum_reference(x), bound) << length;
  }
}

TYPED_TEST(SoftmaxTest, OneTermMovesTheSumWhereverItStands) {
  for (std::size_t place = 0; place < 67; ++place) {
    std::vector<TypeParam> x(67, TypeParam(-100));
    x[place] = 7;
    ASSERT_EQ(this->log_sum(x), TypeParam(7)) << place;
  }
}

TYPED_TEST(SoftmaxTest, HugeScoresDoNotOverflow) {
  const TypeParam huge = std::numeric_limits<TypeParam>::max() / 4;
  EXPECT_EQ(this->log_sum({huge, -huge, 0}), huge);
  EXPECT_EQ(this->soft({huge, -huge, 0}), (std::vector<TypeParam>{1, 0, 0}));
  EXPECT_NEAR(this->log_sum({-1000, -1000}), -1000 + std::log(2.0), 2000 * test::roundoff<TypeParam>);
}

TYPED_TEST(SoftmaxTest, NothingAboveMinusInfinityGivesZero) {
  for (std::size_t length : {1u, 3u, 16u, 37u}) {
    const std::vector<TypeParam> x(length, -this->infinity);
    EXPECT_EQ(this->log_sum(x), -this->infinity);
    EXPECT_EQ(this->soft(x), std::vector<TypeParam>(length, 0));
  }
  EXPECT_EQ(this->log_sum({}), -this->infinity);
  EXPECT_TRUE(this->soft({}).empty());
}

TYPED_TEST(SoftmaxTest, BannedScoresHaveNoPart) {
  std::vector<TypeParam> x(33, -this->infinity);
  x[5] = x[32] = TypeParam(0.5);
  EXPECT_NEAR(this->log_sum(x), 0.5 + std::log(2.0), 4 * test::roundoff<TypeParam>);
  const auto probabilities = this->soft(x);
  EXPECT_EQ(probabilities[0], TypeParam(0));
  EXPECT_NEAR(probabilities[32], 0.5, 4 * test::roundoff<TypeParam>);
  EXPECT_EQ(this->log_soft(x)[0], -this->infinity);
}

TYPED_TEST(SoftmaxTest, PlusInfinityIsTheSum) {
  for (std::size_t place : {0u, 3u, 18u}) {
    std::vector<TypeParam> x(19, TypeParam(1));
    x[place] = this->infinity;
    EXPECT_EQ(this->log_sum(x), this->infinity) << place;
  }
}

TYPED_TEST(SoftmaxTest, NaNIsNotHidden) {
  for (std::size_t place = 0; place < 37; ++place) {
    std::vector<TypeParam> x(37, TypeParam(1));
    x[place] = this->nan;
    EXPECT_TRUE(std::isnan(this->log_sum(x))) << place;
    EXPECT_TRUE(std::isnan(this->soft(x)[0])) << place;
    x[36 - place] = place == 18 ? this->nan : this->infinity;
    EXPECT_TRUE(std::isnan(this->log_sum(x))) << place << " beside infinity";
  }
  EXPECT_TRUE(std::isnan(this->log_sum({this->nan})));
}

TYPED_TEST(SoftmaxTest, DenormalScoresCountAsZero) {
  const TypeParam tiny = std::numeric_limits<TypeParam>::denorm_min();
  EXPECT_NEAR(this->log_sum({tiny, -tiny, 0}), std::log(3.0), 4 * test::roundoff<TypeParam>);
}

TYPED_TEST(SoftmaxTest, LargeVocabulariesStayWithin1e6) {
  for (double other : {0.0, -0.1, -1.7, -6.9}) {  // equal terms: their roundings do not cancel
    std::vector<TypeParam> x(50358, static_cast<TypeParam>(other));
    x[0] = 0;
    EXPECT_NEAR(this->log_sum(x), log_sum_reference(x), 1e-6 + 16 * test::roundoff<TypeParam>) << other;
  }
  const auto x = test::random_tensor<TypeParam>({50358}, 7, -8, 8).values();
  EXPECT_NEAR(this->log_sum(x), log_sum_reference(x), 1e-6 + 20 * test::roundoff<TypeParam>);
}

TYPED_TEST(SoftmaxTest, SumsOfChosenRowsAreThoseOfEachAlone) {
  const auto x = test::random_tensor<TypeParam>({5, 9000}, 4, -5, 5);
  const std::vector<std::size_t> rows = {4, 0, 3, 3};
  for (int threads : {1, 2, 8}) {
    std::vector<TypeParam> sums(rows.size());
    log_sum_exp_rows<TypeParam>(x.view(), rows, sums, threads);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const TypeParam* row = x.view().row(rows[i]);
      EXPECT_EQ(sums[i], this->log_sum({row, row + 9000})) << i << ", " << threads;
    }
  }
}

TYPED_TEST(SoftmaxTest, RowsAreNormalisedAsEachAlone) {
  const auto x = test::random_tensor<TypeParam>({5, 9000}, 3, -5, 5);
  for (int threads : {1, 2, 8}) {
    Tensor<TypeParam> rows = x;
    log_softmax_rows<TypeParam>(rows.view(), threads);
    for (std::size_t i = 0; i < 5; ++i) {
      const std::span<const TypeParam> row(x.view().row(i), 9000);
      const auto expected = this->log_soft({row.begin(), row.end()});
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), rows.view().row(i))) << i << ", " << threads;
    }
  }
}

}  // namespace
}  // namespace bertgen
