#include <cmath>
#include <limits>

#include "kernels/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/softmax.cpp"
#include "hwy/foreach_target.h"
// After foreach_target, which includes this file once per target.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace bertgen::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Sum in double lanes would halve the speed; float lanes over 50,000 terms below 1 stay within 1e-6 of it.
float LogSumExp(const float* HWY_RESTRICT x, size_t count) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = count - count % lanes;
  const float infinity = std::numeric_limits<float>::infinity();

  V maxima = hn::Set(d, -infinity);
  for (size_t i = 0; i < whole; i += lanes) maxima = hn::Max(maxima, hn::LoadU(d, x + i));
  float largest = hn::GetLane(hn::MaxOfLanes(d, maxima));
  for (size_t i = whole; i < count; ++i) largest = x[i] > largest ? x[i] : largest;
  // The vector maximum may drop a NaN; the sum below keeps it.
  if (largest == infinity) return infinity;
  if (largest == -infinity) largest = 0.0f;

  const V shift = hn::Set(d, largest);
  V sums = hn::Zero(d);
  for (size_t i = 0; i < whole; i += lanes) sums = hn::Add(sums, hn::Exp(d, hn::Sub(hn::LoadU(d, x + i), shift)));
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (size_t i = whole; i < count; ++i) sum += std::exp(x[i] - largest);
  return sum == 0.0f ? -infinity : largest + std::log(sum);
}

}  // namespace bertgen::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bertgen::kernels {
HWY_EXPORT(LogSumExp);

float log_sum_exp(const float* x, std::size_t count) { return HWY_DYNAMIC_DISPATCH(LogSumExp)(x, count); }

}  // namespace bertgen::kernels
#endif
