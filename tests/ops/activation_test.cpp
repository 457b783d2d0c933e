#include "bertgen/ops/activation.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/errors.hpp"
#include "support/numbers.hpp"

namespace bertgen {
namespace {

constexpr std::array all = {
    Activation::linear,     Activation::gelu,      Activation::gelu_tanh, Activation::gelu_10,
    Activation::quick_gelu, Activation::relu,      Activation::relu2,     Activation::relu6,
    Activation::leaky_relu, Activation::silu,      Activation::mish,      Activation::tanh,
    Activation::sigmoid,    Activation::hardswish, Activation::laplace,   Activation::sqrtsoftplus,
};

template <typename T>
T one(Activation activation, T x) {
  Tensor<T> value({1, 1}, {x});
  activate<T>(activation, value.view(), Workspace());
  return value[0];
}

/// Values of transformers' ACT2FN at −2, −0.5, 0.5, 2, printed with six digits.
struct Golden {
  const char* name;
  std::array<double, 4> values;
};
const std::vector<Golden> golden = {
    {"gelu", {-0.0455, -0.154269, 0.345731, 1.9545}},
    {"gelu_python", {-0.0455, -0.154269, 0.345731, 1.9545}},
    {"gelu_new", {-0.045402, -0.154286, 0.345714, 1.954598}},
    {"gelu_fast", {-0.045402, -0.154286, 0.345714, 1.954598}},
    {"gelu_pytorch_tanh", {-0.045402, -0.154286, 0.345714, 1.954598}},
    {"gelu_python_tanh", {-0.045402, -0.154286, 0.345714, 1.954598}},
    {"gelu_accurate", {-0.045402, -0.154286, 0.345714, 1.954598}},
    {"gelu_10", {-0.0455, -0.154269, 0.345731, 1.9545}},
    {"quick_gelu", {-0.064341, -0.149612, 0.350388, 1.935659}},
    {"relu", {0, 0, 0.5, 2}},
    {"relu2", {0, 0, 0.25, 4}},
    {"relu6", {0, 0, 0.5, 2}},
    {"leaky_relu", {-0.02, -0.005, 0.5, 2}},
    {"silu", {-0.238406, -0.18877, 0.31123, 1.761594}},
    {"swish", {-0.238406, -0.18877, 0.31123, 1.761594}},
    {"mish", {-0.252501, -0.220744, 0.375245, 1.943959}},
    {"tanh", {-0.964028, -0.462117, 0.462117, 0.964028}},
    {"sigmoid", {0.119203, 0.377541, 0.622459, 0.880797}},
    {"linear", {-2, -0.5, 0.5, 2}},
    {"hardswish", {-0.333333, -0.208333, 0.291667, 1.666667}},
};

TEST(ActivationTest, MatchesTheValuesOfTransformers) {
  constexpr double half_digit = 0.5e-6 + 4 * 0x1p-23;  // the last printed digit, and float's rounding of values below 4
  for (const Golden& entry : golden) {
    const Activation activation = activation_from_name(entry.name);
    for (std::size_t i = 0; i < 4; ++i) {
      const double x = std::array{-2.0, -0.5, 0.5, 2.0}[i];
      EXPECT_NEAR(one(activation, x), entry.values[i], half_digit) << entry.name << " " << x;
      EXPECT_NEAR(one(activation, static_cast<float>(x)), entry.values[i], half_digit) << entry.name << " " << x;
    }
  }
}

TEST(ActivationTest, LaplaceIsHalfAtItsMean) {
  EXPECT_NEAR(one(Activation::laplace, 0.707107), 0.5, 1e-15);
  EXPECT_NEAR(one(Activation::laplace, 0.707107 + 0.282095), 0.841344746068543, 1e-12);  // Φ(1)
}

TEST(ActivationTest, SqrtsoftplusIsTheRootOfSoftplus) {
  EXPECT_NEAR(one(Activation::sqrtsoftplus, 0.0), std::sqrt(std::log(2.0)), 1e-15);
  EXPECT_NEAR(one(Activation::sqrtsoftplus, 25.0), 5.0, 1e-11);  // log(1 + e^25) = 25 + 1.4e-11
}

TEST(ActivationTest, Gelu10IsClipped) {
  EXPECT_EQ(one(Activation::gelu_10, 40.0f), 10.0f);
  EXPECT_EQ(one(Activation::gelu_10, 40.0), 10.0);
}

TEST(ActivationTest, UnknownNamesAndThoseWithParametersAreRefused) {
  for (const char* name : {"prelu", "xielu", "GELU", "", "gelu "}) {
    test::expect_error<ConfigError>([name] { activation_from_name(name); },
                                    {"hidden_act: expected one of ", "gelu_new", "got \"" + std::string(name) + "\""});
  }
}

/// How far float may be from the exact value. The functions multiply x, or its square, by a factor of at most 1 whose
/// absolute error is that of erf's approximation (1.5e-7), of exp or tanh (4 units in the last place) or, for mish and
/// the square root, of a chain of three of them; each of up to six operations then rounds once more.
double tolerance(Activation activation, double x, double value) {
  const double factor = activation == Activation::relu2 ? 0 : std::max(1.0, std::abs(x));
  const double factor_error = 1.5e-7 + 12 * test::roundoff<float>;
  return factor * factor_error + test::rounding<float>(6) * std::abs(value) + std::numeric_limits<float>::min();
}

TEST(ActivationTest, FloatFollowsTheDefinitionFromMinus40To40) {
  std::vector<float> points = {0.0f, -0.0f, 1e-20f, -1e-20f, std::numeric_limits<float>::denorm_min()};
  for (int i = -40 * 256; i <= 40 * 256; ++i) points.push_back(static_cast<float>(i) / 256.0f);
  for (Activation activation : all) {
    Tensor<float> values({1, points.size()}, points);
    activate<float>(activation, values, Workspace());
    for (std::size_t i = 0; i < points.size(); ++i) {
      const double x = points[i];
      const double expected = activate<double>(activation, x);
      ASSERT_NEAR(values[i], expected, tolerance(activation, x, expected))
          << "activation " << static_cast<int>(activation) << " at " << x;
    }
  }
}

TEST(ActivationTest, InfinitiesHaveTheirLimits) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (Activation activation : {Activation::gelu, Activation::relu, Activation::silu, Activation::mish,
                                Activation::gelu_tanh, Activation::quick_gelu, Activation::relu2}) {
    EXPECT_EQ(one(activation, infinity), infinity) << static_cast<int>(activation);
  }
  EXPECT_EQ(one(Activation::tanh, infinity), 1.0f);
  EXPECT_EQ(one(Activation::tanh, -infinity), -1.0f);
  EXPECT_EQ(one(Activation::sigmoid, infinity), 1.0f);
  EXPECT_NEAR(one(Activation::sigmoid, -infinity), 0.0f, 1e-30f);
}

TEST(ActivationTest, NaNStaysNaN) {
  for (Activation activation : all) {
    EXPECT_TRUE(std::isnan(one(activation, std::nanf("")))) << static_cast<int>(activation);
    EXPECT_TRUE(std::isnan(one(activation, std::nan("")))) << static_cast<int>(activation);
  }
}

TEST(ActivationTest, ResultDoesNotDependOnThePlaceInTheRow) {
  for (Activation activation : all) {
    const float alone = one(activation, 0.7310547f);
    for (std::size_t length = 1; length <= 67; ++length) {
      Tensor<float> row({1, length}, std::vector<float>(length, 0.7310547f));
      activate<float>(activation, row, Workspace());
      for (float value : row.values()) ASSERT_EQ(value, alone) << static_cast<int>(activation) << " " << length;
    }
  }
}

template <typename T>
void expect_gaps_untouched() {
  Tensor<T> wide({3, 10}, std::vector<T>(30, T(-1)));
  activate<T>(Activation::relu, wide.view().middle_cols(2, 5), Workspace());
  for (std::size_t i = 0; i < 30; ++i) EXPECT_EQ(wide[i], i % 10 >= 2 && i % 10 < 7 ? T(0) : T(-1)) << i;
}

TEST(ActivationTest, LeavesWhatLiesBetweenTheRows) {
  expect_gaps_untouched<float>();
  expect_gaps_untouched<double>();
}

TEST(ActivationTest, EmptyTensorsStayEmpty) {
  Tensor<float> none({0, 5});
  activate<float>(Activation::gelu, none, Workspace());
  Tensor<double> narrow({5, 0});
  activate<double>(Activation::gelu, narrow, Workspace());
}

TEST(ActivationTest, ThreadsDoNotChangeBits) {
  const auto x = test::random_tensor<float>({97, 1031}, 3, -6, 6);
  for (Activation activation : all) {
    Tensor<float> one_thread = x;
    Tensor<float> three_threads = x;
    activate<float>(activation, one_thread, Workspace(1));
    activate<float>(activation, three_threads, Workspace(3));
    EXPECT_TRUE(test::same_bits(one_thread, three_threads)) << static_cast<int>(activation);
  }
}

}  // namespace
}  // namespace bertgen
