// What lies between the products of a model that multiplies in types narrower than float.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "bertgen/core/dtype.hpp"
#include "bertgen/core/export.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// torch.bfloat16.
struct BFloat16 {
  std::uint16_t bits;  ///< the upper 16 of the equal float, whose others are 0
  /// The equal float.
  explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

/// The DType of T, which is float, double or BFloat16.
template <typename T>
inline constexpr DType dtype_of = std::is_same_v<T, BFloat16> ? DType::bf16
                                  : std::is_same_v<T, float>  ? DType::f32
                                                              : DType::f64;

/// The type of what a model that computes in T keeps between products of these types, and as keys and values: bf16
/// where all of them are narrower than float, whose errors are larger than its own; else T's.
template <typename T>
constexpr DType between_dtype(std::initializer_list<DType> products) {
  if (!std::is_same_v<T, float>) return dtype_of<T>;
  return std::find(products.begin(), products.end(), DType::f32) == products.end() ? DType::bf16 : DType::f32;
}

/// Calls body(std::type_identity<V>()) for the V of DType `type`, which is BFloat16's or T's.
template <typename T, typename Body>
void with_type(DType type, Body&& body) {
  if constexpr (std::is_same_v<T, float>) {
    if (type == DType::bf16) return body(std::type_identity<BFloat16>());
  }
  body(std::type_identity<T>());
}

}  // namespace bertgen
