#include "bertgen/core/dtype.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "bertgen/core/error.hpp"
#include "support/errors.hpp"

namespace bertgen {
namespace {

constexpr DType all[] = {DType::boolean, DType::u8,  DType::i8,  DType::u16, DType::i16, DType::f16, DType::bf16,
                         DType::u32,     DType::i32, DType::f32, DType::u64, DType::i64, DType::f64};

template <typename T, typename Stored>
T converted(DType dtype, Stored value) {
  T result{};
  convert(dtype, reinterpret_cast<const std::byte*>(&value), 1, &result);
  return result;
}

/// IEEE binary16 by its definition.
double half_value(std::uint16_t bits) {
  const int exponent = bits >> 10 & 0x1f;
  const int mantissa = bits & 0x3ff;
  const double sign = bits >> 15 != 0 ? -1 : 1;
  if (exponent == 31) return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

TEST(DTypeTest, NamesAndSizesAreThoseOfSafetensors) {
  std::string text;
  for (DType dtype : all) text += std::string(dtype_name(dtype)) + ":" + std::to_string(size_of(dtype)) + " ";
  EXPECT_EQ(text, "BOOL:1 U8:1 I8:1 U16:2 I16:2 F16:2 BF16:2 U32:4 I32:4 F32:4 U64:8 I64:8 F64:8 ");
}

TEST(DTypeTest, FourTypesAreFloating) {
  std::string text;
  for (DType dtype : all) text += is_floating(dtype) ? std::string(dtype_name(dtype)) + " " : "";
  EXPECT_EQ(text, "F16 BF16 F32 F64 ");
}

TEST(ConvertTest, WidensEveryHalf) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const double expected = half_value(static_cast<std::uint16_t>(bits));
    const float got = converted<float>(DType::f16, static_cast<std::uint16_t>(bits));
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(got)) << bits;
    } else {
      EXPECT_EQ(static_cast<double>(got), expected) << bits;
      EXPECT_EQ(std::signbit(got), std::signbit(expected)) << bits;
    }
  }
}

TEST(ConvertTest, WidensBfloat16ByAppendingZeros) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float got = converted<float>(DType::bf16, static_cast<std::uint16_t>(bits));
    EXPECT_EQ(std::bit_cast<std::uint32_t>(got), bits << 16);
  }
}

TEST(ConvertTest, HalvesAreExactInDouble) {
  EXPECT_EQ(converted<double>(DType::f16, std::uint16_t{0x3555}), 0.333251953125);
  EXPECT_EQ(converted<double>(DType::bf16, std::uint16_t{0x3eab}), 0.333984375);
  EXPECT_EQ(converted<double>(DType::f32, 0.1f), static_cast<double>(0.1f));
}

TEST(ConvertTest, DoubleRoundsToTheNearestFloat) {
  EXPECT_EQ(converted<float>(DType::f64, 1 + 0x1p-24 + 0x1p-40), std::nextafter(1.0f, 2.0f));
  EXPECT_EQ(converted<float>(DType::f64, 1 + 0x1p-24), 1.0f);  // a tie goes to the even one
}

TEST(ConvertTest, KeepsDenormals) {
  EXPECT_EQ(converted<float>(DType::f32, std::numeric_limits<float>::denorm_min()), 0x1p-149f);
  EXPECT_EQ(converted<float>(DType::f16, std::uint16_t{1}), 0x1p-24f);
}

TEST(ConvertTest, ReadsUnalignedBytes) {
  std::vector<std::byte> bytes(1 + 3 * sizeof(double));
  const double values[] = {1.5, -2.25, 1e-3};
  std::memcpy(bytes.data() + 1, values, sizeof values);
  std::vector<double> result(3);
  convert(DType::f64, bytes.data() + 1, 3, result.data());
  EXPECT_EQ(result, (std::vector<double>{1.5, -2.25, 1e-3}));
}

TEST(ConvertTest, ConvertsNothingOfNothing) { convert(DType::f16, nullptr, 0, static_cast<float*>(nullptr)); }

TEST(ConvertTest, RefusesWhatIsNotFloating) {
  for (DType dtype : all) {
    if (is_floating(dtype)) continue;
    test::expect_error<ArgumentError>([&] { converted<float>(dtype, std::uint64_t{0}); },
                                      {"expected a floating type", dtype_name(dtype)});
  }
}

}  // namespace
}  // namespace bertgen
