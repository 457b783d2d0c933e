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

std::uint16_t narrowed(float value, DType dtype) {
  std::uint16_t bits = 0;
  narrow(&value, 1, dtype, reinterpret_cast<std::byte*>(&bits));
  return bits;
}

TEST(NarrowTest, KeepsEveryHalf) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
      const auto half = static_cast<std::uint16_t>(bits);
      const float value = converted<float>(dtype, half);
      const std::uint16_t again = narrowed(value, dtype);
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(converted<float>(dtype, again))) << bits;
      } else {
        EXPECT_EQ(again, half) << dtype_name(dtype);
      }
    }
  }
}

TEST(NarrowTest, RoundsToTheNearestAndTiesToEven) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    const std::uint32_t infinity = dtype == DType::f16 ? 0x7c00 : 0x7f80;
    for (std::uint32_t bits = 0; bits + 1 < infinity; ++bits) {  // each finite neighbours below and above
      const auto below = converted<double>(dtype, static_cast<std::uint16_t>(bits));
      const auto above = converted<double>(dtype, static_cast<std::uint16_t>(bits + 1));
      const auto middle = static_cast<float>((below + above) / 2);
      if (static_cast<double>(middle) != (below + above) / 2) continue;  // a float cannot hold it
      const std::uint32_t even = bits % 2 == 0 ? bits : bits + 1;
      for (const std::uint16_t sign : {std::uint16_t{0}, std::uint16_t{0x8000}}) {
        const float tie = sign == 0 ? middle : -middle;
        ASSERT_EQ(narrowed(tie, dtype), sign | even) << tie;
        ASSERT_EQ(narrowed(std::nextafter(tie, 0.0f), dtype), sign | bits) << tie;
        ASSERT_EQ(narrowed(std::nextafter(tie, 2 * tie), dtype), sign | (bits + 1)) << tie;
      }
    }
  }
}

TEST(NarrowTest, SaysWhatIsTooLarge) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  std::vector<std::byte> bytes(32);
  const std::vector<float> fits = {65519.996f, -65519.996f, infinity, -infinity, std::nanf("")};
  EXPECT_EQ(narrow(fits.data(), fits.size(), DType::f16, bytes.data()), fits.size());
  const std::vector<float> large = {1, 65520, 1e30f};
  EXPECT_EQ(narrow(large.data(), large.size(), DType::f16, bytes.data()), 1u);
  EXPECT_EQ(narrow(large.data(), large.size(), DType::bf16, bytes.data()), large.size());
  const float most = std::numeric_limits<float>::max();
  EXPECT_EQ(narrow(&most, 1, DType::bf16, bytes.data()), 0u);
  EXPECT_EQ(narrow(&most, 1, DType::f32, bytes.data()), 1u);
  EXPECT_EQ(std::memcmp(bytes.data(), &most, sizeof most), 0);
  test::expect_error<ArgumentError>([&] { narrow(&most, 1, DType::f64, bytes.data()); },
                                    {"expected F32, BF16 or F16, got F64"});
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
