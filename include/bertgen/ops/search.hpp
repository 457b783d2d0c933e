// Where the large scores of a row are.
#pragma once

#include <cstddef>
#include <limits>
#include <span>

#include "bertgen/core/export.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// The first of the largest elements; 0 if nothing is above −∞. NaN is above nothing.
template <typename T>
std::size_t arg_max(std::span<const T> x) {
  std::size_t best = 0;
  T largest = -std::numeric_limits<T>::infinity();
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!(x[i] > largest)) continue;
    largest = x[i];
    best = i;
  }
  return best;
}
template <>
std::size_t arg_max<float>(std::span<const float> x);

/// The first index from `begin` on where base + (x − less) is above `bound`, or the size of x.
template <typename T>
std::size_t find_above(std::span<const T> x, std::size_t begin, T less, T base, T bound) {
  while (begin < x.size() && !(base + (x[begin] - less) > bound)) ++begin;
  return begin;
}
template <>
std::size_t find_above<float>(std::span<const float> x, std::size_t begin, float less, float base, float bound);

}  // namespace bertgen
