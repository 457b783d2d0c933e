// Numbers for tests: the same on every machine, with bounds on what rounding may do to them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

#include "bertgen/core/bfloat16.hpp"
#include "bertgen/core/tensor.hpp"
#include "bertgen/core/weights.hpp"

namespace bertgen::test {

/// splitmix64.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double uniform(double low, double high) { return low + (high - low) * static_cast<double>(bits() >> 11) * 0x1p-53; }
  /// 0 to count − 1.
  std::size_t below(std::size_t count) { return static_cast<std::size_t>(bits() % count); }

 private:
  std::uint64_t state_;
};

template <typename T>
Tensor<T> random_tensor(Shape shape, std::uint64_t seed, double low = -1, double high = 1) {
  Random random(seed);
  Tensor<T> tensor(shape);
  for (std::size_t i = 0; i < tensor.size(); ++i) tensor[i] = static_cast<T>(random.uniform(low, high));
  return tensor;
}

/// A copy of a tensor, as a checkpoint would store it.
template <typename T>
StoredTensor stored(const Tensor<T>& tensor) {
  const auto copy = std::make_shared<const Tensor<T>>(tensor);
  return {dtype_of<T>, tensor.shape(), reinterpret_cast<const std::byte*>(copy->data()), copy};
}

/// Unit roundoff: the largest relative error of one rounded operation.
template <typename T>
inline constexpr double roundoff = static_cast<double>(std::numeric_limits<T>::epsilon()) / 2;

/// The largest relative error of a sum or product of `terms` rounded operations, in any order (Higham's γ).
template <typename T>
constexpr double rounding(std::size_t terms) {
  return static_cast<double>(terms) * roundoff<T> / (1 - static_cast<double>(terms) * roundoff<T>);
}

/// True if both hold the same bits: 0 and −0 differ, a NaN equals itself.
template <typename T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}
template <typename T>
bool same_bits(const Tensor<T>& a, const Tensor<T>& b) {
  return same_bits<T>({a.data(), a.size()}, {b.data(), b.size()});
}

/// max |a − b| over tensors of one shape.
template <typename T, typename U>
double largest_difference(const Tensor<T>& a, const Tensor<U>& b) {
  double largest = a.size() == b.size() ? 0 : std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

}  // namespace bertgen::test
