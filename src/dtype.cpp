#include "bertgen/core/dtype.hpp"

#include <bit>
#include <cstring>
#include <string>

#include "bertgen/core/error.hpp"

namespace bertgen {
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

template void convert<float>(DType, const std::byte*, std::size_t, float*);
template void convert<double>(DType, const std::byte*, std::size_t, double*);

}  // namespace bertgen
