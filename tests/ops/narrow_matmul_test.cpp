// Products of narrower types than float.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "bertgen/core/isa.hpp"
#include "bertgen/ops/matmul.hpp"
#include "support/errors.hpp"
#include "support/numbers.hpp"

namespace bertgen {
namespace {

using test::random_tensor;

constexpr std::array backend_names = {"automatic", "panels", "onednn"};

/// Products of narrower types: what is multiplied is rounded first, so results are compared with sums of rounded
/// numbers.
class NarrowMatmulTest : public testing::TestWithParam<MatmulBackend> {
 protected:
  void SetUp() override {
    if (!matmul_backend_available(GetParam())) GTEST_SKIP() << "this build or CPU lacks the back end";
  }
  static Tensor<float> multiply(const PackedMatrix<float>& packed, const Tensor<float>& x, int threads = 1,
                                Activation activation = Activation::linear) {
    Workspace workspace(threads);
    Tensor<float> y({x.shape()[0], packed.out()}, std::vector<float>(x.shape()[0] * packed.out(), -7.0f));
    packed.multiply(x, y, workspace, activation);
    return y;
  }
};

INSTANTIATE_TEST_SUITE_P(BackEnds, NarrowMatmulTest,
                         testing::Values(MatmulBackend::automatic, MatmulBackend::panels, MatmulBackend::onednn),
                         [](const auto& backend) { return backend_names[std::size_t(backend.param)]; });

/// A row as int8 sees it: integers, and their scale.
struct QuantizedRow {
  std::vector<int> values;
  float scale = 0;
};
QuantizedRow quantized(const float* row, std::size_t count) {
  float largest = 0;
  for (std::size_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(row[i]));
  QuantizedRow result{{}, largest / 127.0f};
  const float inverse = 127.0f / largest;
  for (std::size_t i = 0; i < count; ++i) {
    result.values.push_back(largest == 0 ? 0 : static_cast<int>(std::nearbyint(row[i] * inverse)));
  }
  return result;
}

TEST_P(NarrowMatmulTest, Int8SumsIntegersExactly) {
  for (const auto& [in, out] : {std::pair{1u, 1u}, {3u, 65u}, {64u, 64u}, {77u, 200u}, {513u, 70u}, {4096u, 130u}}) {
    const auto weight = random_tensor<float>({out, in}, in);
    const auto bias = random_tensor<float>({out}, out);
    const PackedMatrix<float> packed({test::stored(weight)}, bias.values(), {GetParam(), DType::i8});
    std::vector<QuantizedRow> outputs;
    for (std::size_t column = 0; column < out; ++column) outputs.push_back(quantized(weight.data() + column * in, in));
    for (std::size_t rows : {1u, 2u, 5u, 64u, 131u}) {
      const auto x = random_tensor<float>({rows, in}, rows);
      const auto y = multiply(packed, x);
      for (std::size_t row = 0; row < rows; ++row) {
        const QuantizedRow input = quantized(x.data() + row * in, in);
        for (std::size_t column = 0; column < out; ++column) {
          const QuantizedRow& output = outputs[column];
          const int sum = std::inner_product(input.values.begin(), input.values.end(), output.values.begin(), 0);
          // Three roundings of the scaled sum, and one of the result, with or without a fused multiply-add.
          const double scaled = double(sum) * double(input.scale) * double(output.scale);
          const double expected = scaled + double(bias[column]);
          ASSERT_NEAR(y[row * out + column], expected,
                      test::rounding<float>(4) * (std::abs(scaled) + std::abs(expected)))
              << rows << " x " << in << " x " << out << ": row " << row << " column " << column;
        }
      }
    }
  }
}

/// Where an instruction adds pairs of products in 16 bits, as AVX2's does, these sums saturate: 2 · 127 · 255 > 32,767.
TEST_P(NarrowMatmulTest, Int8DoesNotSaturate) {
  for (float sign : {1.0f, -1.0f}) {
    const std::size_t in = 1000;
    const PackedMatrix<float> packed({test::stored(Tensor<float>({3, in}, std::vector<float>(3 * in, 127.0f * sign)))},
                                     {}, {GetParam(), DType::i8});
    for (std::size_t rows : {1u, 70u}) {
      const auto y = multiply(packed, Tensor<float>({rows, in}, std::vector<float>(rows * in, 127.0f)));
      for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], sign * 127.0f * 127.0f * in);
    }
  }
}

TEST_P(NarrowMatmulTest, Int8TakesRowsOfZerosAndOfWhatIsNotFinite) {
  const PackedMatrix<float> packed({test::stored(random_tensor<float>({5, 9}, 1))}, {1, 2, 3, 4, 5},
                                   {GetParam(), DType::i8});
  Tensor<float> x({4, 9});
  x[9] = std::numeric_limits<float>::quiet_NaN();
  x[18] = -std::numeric_limits<float>::infinity();
  x[27] = 1e-41f;
  const auto y = multiply(packed, x);
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(y[i], static_cast<float>(i + 1));
    EXPECT_TRUE(std::isnan(y[5 + i]));
    EXPECT_TRUE(std::isnan(y[10 + i]));
    EXPECT_EQ(y[15 + i], static_cast<float>(i + 1));
  }
}

/// The same numbers, rounded to bf16.
Tensor<float> to_bf16(const Tensor<float>& tensor) {
  std::vector<std::byte> bytes(tensor.size() * size_of(DType::bf16));
  narrow(tensor.data(), tensor.size(), DType::bf16, bytes.data());
  Tensor<float> rounded(tensor.shape());
  convert(DType::bf16, bytes.data(), rounded.size(), rounded.data());
  return rounded;
}

TEST_P(NarrowMatmulTest, Bf16RoundsWhatItMultiplies) {
  for (const auto& [in, out] : {std::pair{1u, 1u}, {3u, 65u}, {64u, 64u}, {77u, 200u}, {1025u, 70u}}) {
    const auto weight = random_tensor<float>({out, in}, in);
    const auto bias = random_tensor<float>({out}, out);
    const PackedMatrix<float> packed({test::stored(weight)}, bias.values(), {GetParam(), DType::bf16});
    const auto rounded_weight = to_bf16(weight);
    for (std::size_t rows : {1u, 2u, 5u, 64u, 131u}) {
      const auto x = random_tensor<float>({rows, in}, rows);
      const auto rounded_x = to_bf16(x);
      const auto y = multiply(packed, x);
      for (std::size_t row = 0; row < rows; ++row) {
        for (std::size_t column = 0; column < out; ++column) {
          double sum = double(bias[column]);
          double magnitude = std::abs(sum);
          for (std::size_t i = 0; i < in; ++i) {
            const double product = double(rounded_x[row * in + i]) * double(rounded_weight[column * in + i]);
            sum += product;
            magnitude += std::abs(product);
          }
          ASSERT_NEAR(y[row * out + column], sum, test::rounding<float>(2 * in + 2) * magnitude)
              << rows << " x " << in << " x " << out << ": row " << row << " column " << column;
        }
      }
    }
  }
}

// Seen to fail with inputs taken for floats, with rows of them a float's size apart, with all results in the first
// rows, and with the columns behind the last whole vector rounded once more.
TEST_P(NarrowMatmulTest, ReadsAndWritesBFloat16) {
  for (DType dtype : {DType::bf16, DType::i8}) {
    for (const auto& [in, out] : {std::pair{1u, 1u}, {3u, 65u}, {64u, 64u}, {77u, 200u}, {128u, 70u}, {1088u, 130u}}) {
      const auto weight = random_tensor<float>({out, in}, in);
      const PackedMatrix<float> packed({test::stored(weight)}, random_tensor<float>({out}, out).values(),
                                       {GetParam(), dtype});
      for (std::size_t rows : {1u, 5u, 64u, 131u}) {
        const auto x = random_tensor<float>({rows, in}, rows);
        Tensor<BFloat16> narrow_x({rows, in}), narrow_y({rows, out}), expected({rows, out});
        const auto round = [](const Tensor<float>& from, Tensor<BFloat16>& to) {
          narrow(from.data(), from.size(), DType::bf16, reinterpret_cast<std::byte*>(to.data()));
        };
        round(x, narrow_x);
        Workspace workspace(2);
        Tensor<float> y({rows, out});
        packed.multiply(narrow_x, y, workspace);
        EXPECT_TRUE(test::same_bits(y, multiply(packed, to_bf16(x)))) << rows << " x " << in << " x " << out;

        for (Activation activation : {Activation::linear, Activation::gelu}) {
          packed.multiply(x, narrow_y, workspace, activation);
          round(multiply(packed, x, 1, activation), expected);
          for (std::size_t i = 0; i < expected.size(); ++i) {
            ASSERT_EQ(narrow_y[i].bits, expected[i].bits) << rows << " x " << in << " x " << out << ": " << i;
          }
        }
      }
    }
  }
}

// Seen to fail as its counterpart of floats.
TEST_P(NarrowMatmulTest, PutsResultsInTwoPlaces) {
  constexpr std::size_t in = 96, out = 200;
  const auto check = [&]<typename Y>(const PackedMatrix<float>& packed, std::type_identity<Y>) {
    for (std::size_t rows : {1u, 7u, 64u, 300u}) {
      const auto x = random_tensor<float>({rows, in}, 3);
      Workspace workspace(2);
      Tensor<Y> expected({rows, out});
      packed.multiply(x, expected, workspace);
      for (std::size_t columns : {64u, 128u, 10u}) {
        Tensor<Y> y({rows, columns}), rest({rows, out - columns});
        packed.multiply_split<Y>(x, y, rest, workspace);
        for (std::size_t row = 0; row < rows; ++row) {
          std::vector<Y> both(y.view().row(row), y.view().row(row) + columns);
          both.insert(both.end(), rest.view().row(row), rest.view().row(row) + out - columns);
          ASSERT_TRUE(test::same_bits<Y>(both, {expected.data() + row * out, out})) << row << ", " << columns;
        }
      }
    }
  };
  for (DType dtype : {DType::bf16, DType::i8}) {
    const PackedMatrix<float> packed({test::stored(random_tensor<float>({out, in}, 1))},
                                     random_tensor<float>({out}, 2).values(), {GetParam(), dtype});
    check(packed, std::type_identity<float>());
    check(packed, std::type_identity<BFloat16>());
  }
}

// Seen to fail with tiles rearranged once more, with lines written where those of a row would be, and with tiles taken
// by oneDNN.
TEST_P(NarrowMatmulTest, HandsRowsOnInTiles) {
  for (const auto& [in, between, out] : {std::tuple{64u, 32u, 32u}, {32u, 96u, 64u}, {96u, 2080u, 96u}}) {
    const BuildOptions options{GetParam(), DType::bf16};
    const PackedMatrix<float> first({test::stored(random_tensor<float>({between, in}, in))},
                                    random_tensor<float>({between}, between).values(), options);
    const PackedMatrix<float> second({test::stored(random_tensor<float>({out, between}, out))}, {}, options);
    const bool tiles = first.row_layout() == RowLayout::tiles && second.row_layout() == RowLayout::tiles;
    EXPECT_EQ(tiles, active_isa() == Isa::amx && GetParam() != MatmulBackend::onednn);
    if (!tiles) continue;
    for (std::size_t rows : {1u, 2u, 15u, 16u, 17u, 32u, 47u, 64u, 300u}) {
      const auto x = random_tensor<float>({rows, in}, rows);
      Tensor<BFloat16> handed({rows, between});
      Tensor<float> expected({rows, out}), y({rows, out});
      Workspace workspace(2);
      first.multiply(x, handed, workspace, Activation::gelu);
      second.multiply(handed, expected, workspace);
      first.multiply(x, handed, workspace, Activation::gelu, RowLayout::tiles);
      second.multiply(handed, y, workspace, Activation::linear, RowLayout::tiles);
      EXPECT_TRUE(test::same_bits(y, expected)) << rows << " x " << in << " x " << between << " x " << out;
    }
  }
}

// Seen to fail with tiles taken by int8, and of lines that are not whole.
TEST_P(NarrowMatmulTest, RefusesTilesThatItDoesNotTake) {
  for (const auto& [size, dtype] : {std::pair{40u, DType::bf16}, {64u, DType::i8}}) {  // 40: not of whole lines
    const PackedMatrix<float> packed({test::stored(random_tensor<float>({size, size}, 1))}, {}, {GetParam(), dtype});
    EXPECT_EQ(packed.row_layout(), RowLayout::rows);
    Workspace workspace;
    Tensor<BFloat16> narrow({2, size});
    Tensor<float> wide({2, size});
    test::expect_error<ArgumentError>(
        [&] { packed.multiply(wide, narrow, workspace, Activation::linear, RowLayout::tiles); },
        {"one row after another", "got tiles"});
    test::expect_error<ArgumentError>(
        [&] { packed.multiply(narrow, wide, workspace, Activation::linear, RowLayout::tiles); },
        {"one row after another", "got tiles"});
  }
}

// Seen to fail without the check.
TEST(NarrowTypesTest, FloatsAreNotRounded) {
  const PackedMatrix<float> packed({test::stored(random_tensor<float>({2, 3}, 1))}, {});
  Workspace workspace;
  Tensor<BFloat16> narrow_x({1, 3}), narrow_y({1, 2});
  Tensor<float> x({1, 3}), y({1, 2});
  test::expect_error<ArgumentError>([&] { packed.multiply(narrow_x, y, workspace); }, {"rows of F32", "got BF16"});
  test::expect_error<ArgumentError>([&] { packed.multiply(x, narrow_y, workspace); }, {"rows of F32", "got BF16"});
  Tensor<BFloat16> none({1, 0});
  test::expect_error<ArgumentError>([&] { packed.multiply_split<BFloat16>(x, none, narrow_y, workspace); },
                                    {"rows of F32", "got BF16"});
}

TEST_P(NarrowMatmulTest, RowDependsNeitherOnItsMatesNorOnThreads) {
  for (DType dtype : {DType::bf16, DType::i8}) {
    if (dtype == DType::bf16 && active_isa() == Isa::amx && GetParam() == MatmulBackend::onednn) continue;  // sums do
    const std::size_t in = 1500, out = 300;
    const PackedMatrix<float> packed({test::stored(random_tensor<float>({out, in}, 1))},
                                     random_tensor<float>({out}, 2).values(), {GetParam(), dtype});
    const auto x = random_tensor<float>({131, in}, 3);
    const auto together = multiply(packed, x, 1, Activation::gelu);
    EXPECT_TRUE(test::same_bits(together, multiply(packed, x, 3, Activation::gelu)));
    for (std::size_t row : {0u, 63u, 64u, 130u}) {
      Tensor<float> alone({1, in});
      std::copy_n(x.data() + row * in, in, alone.data());
      const auto y = multiply(packed, alone, 1, Activation::gelu);
      EXPECT_TRUE(test::same_bits<float>({y.data(), out}, {together.data() + row * out, out})) << row;
    }
  }
}

TEST(NarrowTypesTest, TakeLessMemory) {
  const auto weight = random_tensor<float>({512, 512}, 1);
  const auto bytes = [&](DType dtype) { return PackedMatrix<float>({test::stored(weight)}, {}, {{}, dtype}).bytes(); };
  EXPECT_LT(bytes(DType::i8), bytes(DType::f32) * 3 / 10);
  EXPECT_EQ(bytes(DType::f16), bytes(DType::f32));
  EXPECT_LT(bytes(DType::bf16), bytes(DType::f32) * 6 / 10);
}

TEST(NarrowTypesTest, AreThoseThatAreThere) {
  EXPECT_EQ(compute_dtype(DType::f32, true), DType::f32);
  EXPECT_EQ(compute_dtype({}, false), DType::f32);
  EXPECT_EQ(compute_dtype({}, true), DType::i8);
  EXPECT_EQ(compute_dtype(DType::f16, false), DType::f32);
  EXPECT_EQ(compute_dtype(DType::i8, false), DType::i8);
  EXPECT_EQ(compute_dtype(DType::bf16, false), DType::bf16);
  test::expect_error<ArgumentError>([] { compute_dtype(DType::i16, false); },
                                    {"expected F32, BF16, F16 or I8", "got I16"});
  test::expect_error<ArgumentError>(
      [] {
        PackedMatrix<float>({test::stored(Tensor<float>({1, 1}))}, {}, {MatmulBackend::eigen, DType::i8});
      },
      {"back end eigen", "got I8"});
  test::expect_error<ArgumentError>(
      [] {
        PackedMatrix<double>({test::stored(Tensor<double>({1, 1}))}, {}, {MatmulBackend::automatic, DType::bf16});
      },
      {"back end eigen", "got BF16"});
}

}  // namespace
}  // namespace bertgen
