#include "bertgen/ops/matmul.hpp"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "bertgen/core/isa.hpp"
#include "support/errors.hpp"
#include "support/numbers.hpp"

namespace bertgen {
namespace {

using test::random_tensor;

/// A scalar type and who multiplies it.
template <typename Scalar, MatmulBackend Who>
struct Way {
  using T = Scalar;
  static constexpr MatmulBackend backend = Who;
};

template <typename Way>
class MatmulTest : public testing::Test {
 protected:
  using Scalar = typename Way::T;

  void SetUp() override {
    if (!matmul_backend_available(Way::backend)) GTEST_SKIP() << "this build or CPU lacks the back end";
  }
  static PackedMatrix<Scalar> pack(const Tensor<Scalar>& weight, const Tensor<Scalar>& bias = Tensor<Scalar>()) {
    return {{test::stored(weight)}, bias.values(), {Way::backend}};
  }
  static Tensor<Scalar> multiply(const PackedMatrix<Scalar>& packed, TensorView<const Scalar> x, int threads = 1,
                                 Activation activation = Activation::linear) {
    Workspace workspace(threads);
    Tensor<Scalar> y({x.rows(), packed.out()}, std::vector<Scalar>(x.rows() * packed.out(), Scalar(-7)));
    packed.multiply(x, y, workspace, activation);
    return y;
  }

  /// Every element against a sum in double, within the error of a sum of in + 1 products of its own magnitudes.
  static void expect_product(const Tensor<Scalar>& x, const Tensor<Scalar>& weight, const Tensor<Scalar>& bias,
                             const Tensor<Scalar>& y) {
    const std::size_t in = weight.shape()[1];
    const std::size_t out = weight.shape()[0];
    for (std::size_t row = 0; row < x.shape()[0]; ++row) {
      for (std::size_t column = 0; column < out; ++column) {
        double sum = bias.empty() ? 0 : double(bias[column]);
        double magnitude = std::abs(sum);
        for (std::size_t i = 0; i < in; ++i) {
          const double product = double(x[row * in + i]) * double(weight[column * in + i]);
          sum += product;
          magnitude += std::abs(product);
        }
        ASSERT_NEAR(y[row * out + column], sum, test::rounding<Scalar>(in + 2) * magnitude)
            << x.shape()[0] << " rows of " << in << " x " << out << ": row " << row << " column " << column;
      }
    }
  }
};

using Ways = testing::Types<Way<float, MatmulBackend::panels>, Way<float, MatmulBackend::onednn>,
                            Way<float, MatmulBackend::eigen>, Way<double, MatmulBackend::eigen>>;
TYPED_TEST_SUITE(MatmulTest, Ways);

TYPED_TEST(MatmulTest, MatchesValuesByHand) {
  using T = typename TypeParam::T;
  const Tensor<T> weight({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto packed = this->pack(weight, Tensor<T>({2}, {10, 20}));
  EXPECT_EQ(packed.in(), 3u);
  EXPECT_EQ(packed.out(), 2u);
  const Tensor<T> x({2, 3}, {1, 0, 0, 1, 1, 1});
  EXPECT_EQ(this->multiply(packed, x).values(), (std::vector<T>{11, 24, 16, 35}));
}

TYPED_TEST(MatmulTest, BiasMayBeAbsent) {
  using T = typename TypeParam::T;
  const auto packed = this->pack(Tensor<T>({2, 1}, {3, -4}));
  EXPECT_EQ(this->multiply(packed, Tensor<T>({1, 1}, {2})).values(), (std::vector<T>{6, -8}));
}

TYPED_TEST(MatmulTest, FollowsTheDefinitionFrom1To130Rows) {
  using T = typename TypeParam::T;
  const auto weight = random_tensor<T>({23, 37}, 1);
  const auto bias = random_tensor<T>({23}, 2);
  const auto packed = this->pack(weight, bias);
  for (std::size_t rows = 1; rows <= 130; ++rows) {
    const auto x = random_tensor<T>({rows, 37}, rows + 10);
    this->expect_product(x, weight, bias, this->multiply(packed, x));
  }
}

TYPED_TEST(MatmulTest, FollowsTheDefinitionAtOddSizes) {
  using T = typename TypeParam::T;
  for (std::size_t in : {1u, 2u, 3u, 15u, 16u, 17u, 63u, 65u, 129u}) {
    for (std::size_t out : {1u, 2u, 5u, 16u, 31u, 33u, 255u, 257u, 513u}) {
      const auto weight = random_tensor<T>({out, in}, in * 1000 + out);
      const auto bias = random_tensor<T>({out}, in * 1000 + out + 1);
      const auto packed = this->pack(weight, bias);
      for (std::size_t rows : {1u, 4u, 67u}) {
        const auto x = random_tensor<T>({rows, in}, rows);
        this->expect_product(x, weight, bias, this->multiply(packed, x));
      }
    }
  }
}

TYPED_TEST(MatmulTest, WideSumsStayWithinTheirBound) {
  using T = typename TypeParam::T;
  const auto weight = random_tensor<T>({9, 4096}, 1);
  const auto x = random_tensor<T>({3, 4096}, 2);
  this->expect_product(x, weight, Tensor<T>(), this->multiply(this->pack(weight), x));
}

TYPED_TEST(MatmulTest, PacksMatricesOneBelowAnother) {
  using T = typename TypeParam::T;
  const auto weight = random_tensor<T>({200, 13}, 1);
  std::vector<StoredTensor> parts;
  for (std::size_t first : {0u, 1u, 70u}) {
    const std::size_t count = (first == 0 ? 1 : first == 1 ? 70 : 200) - first;
    Tensor<T> part({count, 13});
    part.view().matrix() = weight.view().middle_rows(first, count).matrix();
    parts.push_back(test::stored(part));
  }
  const auto x = random_tensor<T>({5, 13}, 2);
  const PackedMatrix<T> packed(parts, {}, {TypeParam::backend});
  EXPECT_TRUE(test::same_bits(this->multiply(packed, x), this->multiply(this->pack(weight), x)));
}

TYPED_TEST(MatmulTest, ThreadsThatPackDoNotChangeBits) {
  using T = typename TypeParam::T;
  const auto weight = random_tensor<T>({300, 70}, 1);
  const auto x = random_tensor<T>({3, 70}, 2);
  const PackedMatrix<T> packed({test::stored(weight)}, {}, {TypeParam::backend, DType::f32, 3});
  EXPECT_TRUE(test::same_bits(this->multiply(packed, x), this->multiply(this->pack(weight), x)));
}

TYPED_TEST(MatmulTest, KeepsACopyOfWeightAndBias) {
  using T = typename TypeParam::T;
  Tensor<T> weight({1, 1}, {2});
  Tensor<T> bias({1}, {3});
  const auto packed = this->pack(weight, bias);
  weight[0] = bias[0] = 100;
  EXPECT_EQ(this->multiply(packed, Tensor<T>({1, 1}, {5}))[0], T(13));
  EXPECT_GE(packed.bytes(), 2 * sizeof(T));
}

TYPED_TEST(MatmulTest, AppliesTheActivationAfterTheBias) {
  using T = typename TypeParam::T;
  const auto packed = this->pack(Tensor<T>({2, 1}, {1, 1}), Tensor<T>({2}, {-3, 3}));
  const Tensor<T> x({1, 1}, {1});
  EXPECT_EQ(this->multiply(packed, x, 1, Activation::relu).values(), (std::vector<T>{0, 4}));
}

TYPED_TEST(MatmulTest, NoRowsGiveNoRows) {
  using T = typename TypeParam::T;
  const auto packed = this->pack(Tensor<T>({2, 3}));
  EXPECT_TRUE(this->multiply(packed, Tensor<T>({0, 3})).empty());
}

// Seen to fail with the rest of a later block of rows put with the first, and with its columns counted as those of the
// whole.
TYPED_TEST(MatmulTest, PutsResultsInTwoPlaces) {
  using T = typename TypeParam::T;
  constexpr std::size_t in = 33, out = 200;
  const auto packed = this->pack(random_tensor<T>({out, in}, 1), random_tensor<T>({out}, 2));
  for (std::size_t rows : {0u, 1u, 7u, 131u}) {
    const auto x = random_tensor<T>({rows, in}, 3);
    const auto expected = this->multiply(packed, x);
    for (std::size_t columns : {64u, 128u, 10u, 199u}) {
      Workspace workspace(2);
      Tensor<T> y({rows, columns}), rest({rows, out - columns});
      packed.template multiply_split<T>(x, y, rest, workspace);
      for (std::size_t row = 0; row < rows; ++row) {
        std::vector<T> both(y.view().row(row), y.view().row(row) + columns);
        both.insert(both.end(), rest.view().row(row), rest.view().row(row) + out - columns);
        ASSERT_TRUE(test::same_bits<T>(both, {expected.data() + row * out, out})) << row << ", " << columns;
      }
    }
  }
}

TYPED_TEST(MatmulTest, ThreadsDoNotChangeBits) {
  using T = typename TypeParam::T;
  const auto weight = random_tensor<T>({512, 512}, 1);
  const auto packed = this->pack(weight, random_tensor<T>({512}, 2));
  for (std::size_t rows : {1u, 7u, 64u, 100u}) {
    const auto x = random_tensor<T>({rows, 512}, rows);
    const auto once = this->multiply(packed, x, 1);
    for (int threads : {2, 5}) {
      const auto parallel = this->multiply(packed, x, threads);
      EXPECT_TRUE(test::same_bits(once, parallel)) << rows << " rows, " << threads << " threads";
    }
  }
}

TYPED_TEST(MatmulTest, ThreadsOfTheProgramMayShareAMatrix) {
  using T = typename TypeParam::T;
  const auto weight = random_tensor<T>({33, 65}, 1);
  const auto packed = this->pack(weight);
  std::vector<Tensor<T>> results(4);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      for (std::size_t rows = 1; rows <= 70; ++rows) {
        results[i] = this->multiply(packed, random_tensor<T>({rows, 65}, rows));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Tensor<T>& result : results) EXPECT_TRUE(test::same_bits(result, results[0]));
  this->expect_product(random_tensor<T>({70, 65}, 70), weight, Tensor<T>(), results[0]);
}

TYPED_TEST(MatmulTest, LeavesTheProgramsOpenMPSettingAlone) {
  using T = typename TypeParam::T;
  const auto most = reinterpret_cast<int (*)()>(::dlsym(RTLD_DEFAULT, "omp_get_max_threads"));
  if (most == nullptr) GTEST_SKIP() << "no OpenMP";
  const int before = most();
  this->multiply(this->pack(Tensor<T>({5, 5})), Tensor<T>({3, 5}), before + 3);
  EXPECT_EQ(most(), before);
}

TYPED_TEST(MatmulTest, RefusesShapesThatDoNotFit) {
  using T = typename TypeParam::T;
  test::expect_error<ShapeError>(
      [this] {
        this->pack(Tensor<T>({2, 3}), Tensor<T>({3}));
      },
      {"matmul: expected a bias of 2, got 3"});
  const auto packed = this->pack(Tensor<T>({2, 3}));
  Workspace workspace;
  Tensor<T> y({4, 2});
  for (const Tensor<T>& x : {Tensor<T>({4, 2}), Tensor<T>({5, 3}), Tensor<T>({3, 4})}) {
    test::expect_error<ShapeError>([&] { packed.multiply(x, y, workspace); },
                                   {"[rows, 3] -> [rows, 2]", "got " + to_string(x.shape()) + " -> [4, 2]"});
  }
  Tensor<T> narrow({4, 1});
  EXPECT_THROW(packed.multiply(Tensor<T>({4, 3}), narrow, workspace), ShapeError);
  Tensor<T> rest({3, 1});
  test::expect_error<ShapeError>(
      [&] {
        packed.template multiply_split<T>(Tensor<T>({4, 3}), narrow, rest, workspace);
      },
      {"[rows, 2] in two parts", "got [4, 3] -> [4, 1] and [3, 1]"});
  EXPECT_THROW(packed.template multiply_split<T>(Tensor<T>({4, 3}), y, narrow, workspace), ShapeError);
}

TYPED_TEST(MatmulTest, RefusesRowsThatLieApart) {
  using T = typename TypeParam::T;
  const auto packed = this->pack(Tensor<T>({2, 3}));
  Tensor<T> wide({4, 9});
  Tensor<T> y({4, 2});
  Workspace workspace;
  EXPECT_THROW(packed.multiply(wide.view().middle_cols(1, 3), y, workspace), ShapeError);
  EXPECT_THROW(packed.multiply(Tensor<T>({4, 3}), wide.view().middle_cols(1, 2), workspace), ShapeError);
}

TYPED_TEST(MatmulTest, NaNAndInfinityReachTheirRowOnly) {
  using T = typename TypeParam::T;
  const auto packed = this->pack(random_tensor<T>({5, 9}, 1));
  auto x = random_tensor<T>({3, 9}, 2);
  x[0] = std::numeric_limits<T>::quiet_NaN();
  x[9] = std::numeric_limits<T>::infinity();
  const auto y = this->multiply(packed, x);
  for (std::size_t i = 0; i < 15; ++i) {
    EXPECT_EQ(std::isnan(y[i]), i < 5) << i;
    EXPECT_EQ(std::isfinite(y[i]), i >= 10) << i;
  }
}

TYPED_TEST(MatmulTest, RowDoesNotDependOnItsMates) {
  using T = typename TypeParam::T;
  // Eigen chooses how to sum by the number of rows, and a row stays within twice the error of its sum.
  const bool same = TypeParam::backend != MatmulBackend::eigen;
  for (const auto& [in, out] : {std::pair{37u, 23u}, {64u, 512u}, {1023u, 100u}}) {
    const auto packed = this->pack(random_tensor<T>({out, in}, in), random_tensor<T>({out}, out));
    const auto x = random_tensor<T>({131, in}, 3);
    const auto together = this->multiply(packed, x);
    for (std::size_t rows : {1u, 2u, 3u, 5u, 16u, 63u, 64u, 65u}) {
      const auto apart = this->multiply(packed, x.view().middle_rows(131 - rows, rows));
      Tensor<T> mates({rows, out});
      mates.view().matrix() = together.view().middle_rows(131 - rows, rows).matrix();
      if (same) {
        EXPECT_TRUE(test::same_bits(apart, mates)) << in << " x " << out << ", " << rows << " rows";
      } else {
        EXPECT_LE(test::largest_difference(apart, mates), 2 * test::rounding<T>(in + 2) * (in + 1));
      }
    }
  }
}

TEST(MatmulBackendTest, OneDnnDoesNotMultiplyDouble) {
  test::expect_error<ArgumentError>(
      [] {
        PackedMatrix<double>({test::stored(Tensor<double>({1, 1}))}, {}, {MatmulBackend::onednn});
      },
      {"expected a back end for double", "float only"});
}

TEST(MatmulBackendTest, RefusesMatricesOfDifferentWidths) {
  test::expect_error<ShapeError>(
      [] {
        PackedMatrix<float>({test::stored(Tensor<float>({2, 3})), test::stored(Tensor<float>({2, 4}))}, {});
      },
      {"matmul: expected matrices of width 3, got [2, 4]"});
}

TEST(MatmulBackendTest, UnavailableBackEndIsRefused) {
  EXPECT_TRUE(matmul_backend_available(MatmulBackend::automatic));
  EXPECT_TRUE(matmul_backend_available(MatmulBackend::panels));
  EXPECT_TRUE(matmul_backend_available(MatmulBackend::eigen));
  if (matmul_backend_available(MatmulBackend::onednn)) GTEST_SKIP() << "it is available";
  test::expect_error<ArgumentError>(
      [] {
        PackedMatrix<float>({test::stored(Tensor<float>({1, 1}))}, {}, {MatmulBackend::onednn});
      },
      {"expected a back end that is available", "got onednn"});
}

TEST(MatmulBackendTest, PortableIsaDoesNotCallOneDnn) {
  if (active_isa() != Isa::portable) GTEST_SKIP() << "only under --isa=portable";
  EXPECT_FALSE(matmul_backend_available(MatmulBackend::onednn));
}

}  // namespace
}  // namespace bertgen
