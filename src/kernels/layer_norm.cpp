#include <cmath>

#include "kernels/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/layer_norm.cpp"
#include "hwy/foreach_target.h"
// After foreach_target, which includes this file once per target.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace bertgen::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Three passes over a row that the first level of cache holds: sum, squared deviations, result. Deviations from the
/// mean, rather than Σx² − n·mean², keep the variance accurate where the mean is large beside it.
void LayerNormRow(const float* x, const float* residual, const float* HWY_RESTRICT weight,
                  const float* HWY_RESTRICT bias, double epsilon, size_t hidden, float* y) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = hidden - hidden % lanes;
  const auto n = static_cast<float>(hidden);

  V sums = hn::Zero(d);
  float sum = 0.0f;
  if (residual != nullptr) {
    for (size_t i = 0; i < whole; i += lanes) {
      const V v = hn::Add(hn::LoadU(d, x + i), hn::LoadU(d, residual + i));
      hn::StoreU(v, d, y + i);
      sums = hn::Add(sums, v);
    }
    for (size_t i = whole; i < hidden; ++i) sum += y[i] = x[i] + residual[i];
  } else {
    for (size_t i = 0; i < whole; i += lanes) {
      const V v = hn::LoadU(d, x + i);
      hn::StoreU(v, d, y + i);
      sums = hn::Add(sums, v);
    }
    for (size_t i = whole; i < hidden; ++i) sum += y[i] = x[i];
  }
  const float mean = (hn::GetLane(hn::SumOfLanes(d, sums)) + sum) / n;

  const V means = hn::Set(d, mean);
  V squares = hn::Zero(d);
  float square = 0.0f;
  for (size_t i = 0; i < whole; i += lanes) {
    const V v = hn::Sub(hn::LoadU(d, y + i), means);
    squares = hn::MulAdd(v, v, squares);
  }
  for (size_t i = whole; i < hidden; ++i) square += (y[i] - mean) * (y[i] - mean);
  const float variance = (hn::GetLane(hn::SumOfLanes(d, squares)) + square) / n;
  const auto inverse = static_cast<float>(1.0 / std::sqrt(static_cast<double>(variance) + epsilon));

  const V inverses = hn::Set(d, inverse);
  for (size_t i = 0; i < whole; i += lanes) {
    const V v = hn::Mul(hn::Sub(hn::LoadU(d, y + i), means), inverses);
    hn::StoreU(hn::MulAdd(v, hn::LoadU(d, weight + i), hn::LoadU(d, bias + i)), d, y + i);
  }
  for (size_t i = whole; i < hidden; ++i) y[i] = (y[i] - mean) * inverse * weight[i] + bias[i];
}

}  // namespace bertgen::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bertgen::kernels {
HWY_EXPORT(LayerNormRow);

void layer_norm_row(const float* x, const float* residual, const float* weight, const float* bias, double epsilon,
                    std::size_t hidden, float* y) {
  HWY_DYNAMIC_DISPATCH(LayerNormRow)(x, residual, weight, bias, epsilon, hidden, y);
}

}  // namespace bertgen::kernels
#endif
