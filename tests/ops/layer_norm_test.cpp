#include "bertgen/ops/layer_norm.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support/numbers.hpp"

namespace bertgen {
namespace {

using test::random_tensor;
using test::rounding;
using test::roundoff;

constexpr double epsilon = 1e-12;

/// The definition in long double, from the same values.
template <typename T>
std::vector<double> reference(const std::vector<T>& x, const std::vector<T>& weight, const std::vector<T>& bias) {
  long double mean = 0;
  for (T value : x) mean += static_cast<long double>(value);
  mean /= static_cast<long double>(x.size());
  long double variance = 0;
  for (T value : x) variance += (static_cast<long double>(value) - mean) * (static_cast<long double>(value) - mean);
  variance /= static_cast<long double>(x.size());
  std::vector<double> y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const long double normal = (static_cast<long double>(x[i]) - mean) / std::sqrt(variance + epsilon);
    y.push_back(static_cast<double>(normal * static_cast<long double>(weight[i]) + static_cast<long double>(bias[i])));
  }
  return y;
}

template <typename T>
class LayerNormTest : public testing::Test {
 protected:
  /// Without scale and shift.
  static Tensor<T> normalise(const Tensor<T>& x, const Tensor<T>& residual = Tensor<T>(), double eps = epsilon) {
    const std::size_t hidden = x.shape().cols();
    const Tensor<T> ones({hidden}, std::vector<T>(hidden, T(1)));
    const Tensor<T> zeros({hidden});
    Tensor<T> y(x.shape());
    layer_norm<T>(x, residual, ones, zeros, eps, y, Workspace());
    return y;
  }
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(LayerNormTest, Scalars);

TYPED_TEST(LayerNormTest, MatchesValuesByHand) {
  // Mean 3, biased variance 4.
  const auto y = this->normalise(Tensor<TypeParam>({1, 2}, {1, 5}), {}, 0);
  EXPECT_NEAR(y[0], -1, 4 * roundoff<TypeParam>);
  EXPECT_NEAR(y[1], 1, 4 * roundoff<TypeParam>);
}

TYPED_TEST(LayerNormTest, EpsilonJoinsTheVariance) {
  const auto y = this->normalise(Tensor<TypeParam>({1, 2}, {-1, 1}), {}, 3);
  EXPECT_NEAR(y[1], 0.5, 4 * roundoff<TypeParam>);
}

TYPED_TEST(LayerNormTest, ResidualIsAddedFirst) {
  const auto y = this->normalise(Tensor<TypeParam>({1, 2}, {1, 1}), Tensor<TypeParam>({1, 2}, {0, 4}), 0);
  EXPECT_NEAR(y[0], -1, 4 * roundoff<TypeParam>);
  EXPECT_NEAR(y[1], 1, 4 * roundoff<TypeParam>);
}

TYPED_TEST(LayerNormTest, EqualValuesBecomeTheBias) {
  const Tensor<TypeParam> x({1, 8}, std::vector<TypeParam>(8, TypeParam(3)));
  const auto y = this->normalise(x);
  for (TypeParam value : y.values()) EXPECT_EQ(value, TypeParam(0));
}

TYPED_TEST(LayerNormTest, FollowsTheDefinitionAtEveryWidth) {
  for (std::size_t hidden = 2; hidden <= 70; ++hidden) {
    const auto x = random_tensor<TypeParam>({hidden}, hidden, -2, 2);
    const auto weight = random_tensor<TypeParam>({hidden}, 100 + hidden);
    const auto bias = random_tensor<TypeParam>({hidden}, 200 + hidden);
    Tensor<TypeParam> y({hidden});
    layer_norm<TypeParam>(x, {}, weight, bias, epsilon, y, Workspace());
    const auto expected = reference(x.values(), weight.values(), bias.values());
    // Mean and variance are sums of `hidden` terms, relative to deviations of about 1; then six operations on values
    // below √hidden.
    const double bound = (2 * rounding<TypeParam>(hidden) + rounding<TypeParam>(6)) * std::sqrt(double(hidden)) * 2;
    for (std::size_t i = 0; i < hidden; ++i) ASSERT_NEAR(y[i], expected[i], bound) << hidden << " " << i;
  }
}

TYPED_TEST(LayerNormTest, LargeMeanDoesNotDrownTheVariance) {
  constexpr std::size_t hidden = 1027;
  const auto x = random_tensor<TypeParam>({hidden}, 5, 1e4 - 1, 1e4 + 1);
  const std::vector<TypeParam> ones(hidden, 1);
  const auto expected = reference(x.values(), ones, std::vector<TypeParam>(hidden));
  // The mean is a sum of `hidden` terms of 1e4; its error moves deviations, whose standard deviation is 0.58.
  const double bound = 1e4 * rounding<TypeParam>(hidden) / 0.57;
  const auto y = this->normalise(x);
  for (std::size_t i = 0; i < hidden; ++i) ASSERT_NEAR(y[i], expected[i], bound) << i;
}

TYPED_TEST(LayerNormTest, ResultMayReplaceXOrTheResidual) {
  const auto x = random_tensor<TypeParam>({3, 37}, 1);
  const auto residual = random_tensor<TypeParam>({3, 37}, 2);
  const auto weight = random_tensor<TypeParam>({37}, 3);
  const auto bias = random_tensor<TypeParam>({37}, 4);
  Tensor<TypeParam> expected({3, 37});
  layer_norm<TypeParam>(x, residual, weight, bias, epsilon, expected, Workspace());
  Tensor<TypeParam> in_x = x;
  layer_norm<TypeParam>(in_x, residual, weight, bias, epsilon, in_x, Workspace());
  EXPECT_TRUE(test::same_bits(in_x, expected));
  Tensor<TypeParam> in_residual = residual;
  layer_norm<TypeParam>(x, in_residual, weight, bias, epsilon, in_residual, Workspace());
  EXPECT_TRUE(test::same_bits(in_residual, expected));
}

TYPED_TEST(LayerNormTest, RowsMayLieApart) {
  const auto wide = random_tensor<TypeParam>({3, 20}, 1);
  Tensor<TypeParam> narrow({3, 7});
  narrow.view().matrix() = wide.view().middle_cols(4, 7).matrix();
  const auto expected = this->normalise(narrow);
  const Tensor<TypeParam> ones({7}, std::vector<TypeParam>(7, 1));
  const Tensor<TypeParam> zeros({7});
  Tensor<TypeParam> result({3, 20});
  layer_norm<TypeParam>(wide.view().middle_cols(4, 7), {}, ones, zeros, epsilon, result.view().middle_cols(9, 7),
                        Workspace());
  EXPECT_EQ(result.view().middle_cols(9, 7).matrix(), expected.view().matrix());
  EXPECT_EQ(result.view().middle_cols(0, 9).matrix().norm(), 0);
  EXPECT_EQ(result.view().middle_cols(16, 4).matrix().norm(), 0);
}

TYPED_TEST(LayerNormTest, RowDoesNotDependOnItsMatesOrThreads) {
  const auto x = random_tensor<TypeParam>({301, 129}, 9);
  const Tensor<TypeParam> ones({129}, std::vector<TypeParam>(129, 1));
  const Tensor<TypeParam> zeros({129});
  const auto all = this->normalise(x);
  Tensor<TypeParam> threads(x.shape());
  layer_norm<TypeParam>(x, {}, ones, zeros, epsilon, threads, Workspace(3));
  EXPECT_TRUE(test::same_bits(all, threads));
  Tensor<TypeParam> alone({1, 129});
  layer_norm<TypeParam>(x.view().middle_rows(200, 1), {}, ones, zeros, epsilon, alone, Workspace());
  EXPECT_EQ(alone.view().matrix(), all.view().middle_rows(200, 1).matrix());
}

TYPED_TEST(LayerNormTest, NoRowsGiveNoRows) { EXPECT_TRUE(this->normalise(Tensor<TypeParam>({0, 5})).empty()); }

TYPED_TEST(LayerNormTest, NaNMakesItsRowNaNAndNoOther) {
  Tensor<TypeParam> x = random_tensor<TypeParam>({2, 35}, 1);
  x[34] = std::numeric_limits<TypeParam>::quiet_NaN();
  const auto y = this->normalise(x);
  for (std::size_t i = 0; i < 70; ++i) EXPECT_EQ(std::isnan(y[i]), i < 35) << i;
}

}  // namespace
}  // namespace bertgen
