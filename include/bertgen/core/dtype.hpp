// Types a tensor can be stored in, and their conversion to the type computed in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "bertgen/core/export.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Element type of a stored tensor; the names are those of the safetensors format in lower case.
enum class DType : std::uint8_t { boolean, u8, i8, u16, i16, f16, bf16, u32, i32, f32, u64, i64, f64 };

/// Bytes per element.
constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::boolean:
    case DType::u8:
    case DType::i8:
      return 1;
    case DType::u16:
    case DType::i16:
    case DType::f16:
    case DType::bf16:
      return 2;
    case DType::u32:
    case DType::i32:
    case DType::f32:
      return 4;
    case DType::u64:
    case DType::i64:
    case DType::f64:
      return 8;
  }
  return 0;
}

/// The safetensors spelling: "F32", "BF16", "BOOL", …
std::string_view dtype_name(DType dtype);

/// True for the types weights may have: f16, bf16, f32, f64.
constexpr bool is_floating(DType dtype) {
  return dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f32 || dtype == DType::f64;
}

/// Converts `count` floating elements of type `dtype` at `source` (any alignment) to T (float or double).
/// Widening is exact; f64 to float rounds to nearest. Throws ArgumentError unless is_floating(dtype).
template <typename T>
void convert(DType dtype, const std::byte* source, std::size_t count, T* destination);

/// Stores `count` floats as type `dtype` (f32, bf16 or f16), rounded to nearest, ties to even; NaN stays NaN. Returns
/// the index of the first finite value that `dtype` cannot hold, or `count`. Throws ArgumentError for another type.
std::size_t narrow(const float* source, std::size_t count, DType dtype, std::byte* destination);

extern template void convert<float>(DType, const std::byte*, std::size_t, float*);
extern template void convert<double>(DType, const std::byte*, std::size_t, double*);

}  // namespace bertgen
