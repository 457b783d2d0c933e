// Softmax and its logarithm over one row of scores.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>

#include "bertgen/core/export.hpp"
#include "bertgen/core/tensor.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// log Σ exp(x), computed around the largest element. −∞ for an empty row and for one of −∞ only; NaN if x has one.
template <typename T>
T log_sum_exp(std::span<const T> x) {
  T largest = -std::numeric_limits<T>::infinity();
  for (T value : x) largest = std::isnan(value) ? value : std::max(largest, value);
  if (!std::isfinite(largest)) return largest;
  T sum = 0;
  for (T value : x) sum += std::exp(value - largest);
  return largest + std::log(sum);
}
template <>
float log_sum_exp<float>(std::span<const float> x);

/// sums[i] = log_sum_exp() of row rows[i] of x, [rows, cols], on up to `threads` threads.
template <typename T>
void log_sum_exp_rows(TensorView<const T> x, std::span<const std::size_t> rows, std::span<T> sums, int) {
  for (std::size_t i = 0; i < rows.size(); ++i) sums[i] = log_sum_exp<T>({x.row(rows[i]), x.cols()});
}
template <>
void log_sum_exp_rows<float>(TensorView<const float> x, std::span<const std::size_t> rows, std::span<float> sums,
                             int threads);

/// x ← x − log Σ exp(x).
template <typename T>
void log_softmax(std::span<T> x) {
  const T normaliser = log_sum_exp<T>(x);
  for (T& value : x) value -= normaliser;
}

/// log_softmax() of each row of x, [rows, cols], on up to `threads` threads.
template <typename T>
void log_softmax_rows(TensorView<T> x, int) {
  for (std::size_t row = 0; row < x.rows(); ++row) log_softmax<T>({x.row(row), x.cols()});
}
template <>
void log_softmax_rows<float>(TensorView<float> x, int threads);

/// x ← exp(x) / Σ exp(x); a row with nothing above −∞ becomes zero.
template <typename T>
void softmax(std::span<T> x) {
  const T normaliser = log_sum_exp<T>(x);
  const bool nothing = normaliser == -std::numeric_limits<T>::infinity();
  for (T& value : x) value = nothing ? T(0) : std::exp(value - normaliser);
}

}  // namespace bertgen
