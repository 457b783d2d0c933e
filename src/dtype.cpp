#include "bertgen/core/dtype.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "bertgen/core/error.hpp"

// g++ gives a function template the visibility of the namespace that its definition stands in.
namespace BERTGEN_PUBLIC bertgen {
namespace {

template <typename Stored>
Stored load(const std::byte* source) {
  Stored value;
  std::memcpy(&value, source, sizeof value);
  return value;
}

float bf16_to_float(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

float f16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: mantissa · 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  // An exponent of 31 (infinity, NaN) becomes float's 255; others are re-biased from 15 to 127.
  const std::uint32_t widened = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | (widened << 23) | (mantissa << 13));
}

std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);  // a quiet NaN
  // Half of the last bit that stays, less what makes a tie go to the even neighbour.
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

std::uint16_t float_to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x1ffu));
  constexpr std::uint32_t too_large = 0x477ff000;  // 65520 = 2^16 - 2^4, halfway from the largest to the next
  if (magnitude >= too_large) return static_cast<std::uint16_t>(sign | 0x7c00u);
  constexpr std::uint32_t least_normal = 0x38800000;  // 2^-14
  if (magnitude < least_normal) {
    // Adding 1/2, whose last bit is 2^-24, rounds to a multiple of the least subnormal, as the hardware rounds.
    const float rounded = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(rounded) - 0x3f000000u));
  }
  // Re-biased from 127 to 15; a carry of the mantissa goes into the exponent.
  const std::uint32_t rebiased = magnitude - (112u << 23);
  return static_cast<std::uint16_t>(sign | ((rebiased + 0xfffu + ((rebiased >> 13) & 1u)) >> 13));
}

template <typename Round>
std::size_t narrow_each(const float* source, std::size_t count, std::byte* destination, std::uint16_t infinity,
                        Round round) {
  std::size_t lost = count;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint16_t bits = round(source[i]);
    if ((bits & 0x7fffu) == infinity && std::isfinite(source[i]) && lost == count) lost = i;
    std::memcpy(destination + i * sizeof bits, &bits, sizeof bits);
  }
  return lost;
}

template <typename Stored, typename T, typename Widen>
void convert_each(const std::byte* source, std::size_t count, T* destination, Widen widen) {
  for (std::size_t i = 0; i < count; ++i) {
    destination[i] = static_cast<T>(widen(load<Stored>(source + i * sizeof(Stored))));
  }
}

}  // namespace

std::string_view dtype_name(DType dtype) {
  switch (dtype) {
    case DType::boolean:
      return "BOOL";
    case DType::u8:
      return "U8";
    case DType::i8:
      return "I8";
    case DType::u16:
      return "U16";
    case DType::i16:
      return "I16";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    case DType::u32:
      return "U32";
    case DType::i32:
      return "I32";
    case DType::f32:
      return "F32";
    case DType::u64:
      return "U64";
    case DType::i64:
      return "I64";
    case DType::f64:
      return "F64";
  }
  return "?";
}

template <typename T>
void convert(DType dtype, const std::byte* source, std::size_t count, T* destination) {
  const auto same = [](auto value) { return value; };
  switch (dtype) {
    case DType::f16:
      return convert_each<std::uint16_t>(source, count, destination, f16_to_float);
    case DType::bf16:
      return convert_each<std::uint16_t>(source, count, destination, bf16_to_float);
    case DType::f32:
      return convert_each<float>(source, count, destination, same);
    case DType::f64:
      return convert_each<double>(source, count, destination, same);
    default:
      throw ArgumentError("convert: expected a floating type, got " + std::string(dtype_name(dtype)));
  }
}

std::size_t narrow(const float* source, std::size_t count, DType dtype, std::byte* destination) {
  switch (dtype) {
    case DType::f32:
      if (count > 0) std::memcpy(destination, source, count * sizeof *source);
      return count;
    case DType::bf16:
      return narrow_each(source, count, destination, 0x7f80, float_to_bf16);
    case DType::f16:
      return narrow_each(source, count, destination, 0x7c00, float_to_f16);
    default:
      throw ArgumentError("narrow: expected F32, BF16 or F16, got " + std::string(dtype_name(dtype)));
  }
}

template void convert<float>(DType, const std::byte*, std::size_t, float*);
template void convert<double>(DType, const std::byte*, std::size_t, double*);

}  // namespace bertgen
