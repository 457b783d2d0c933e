#include <cmath>
#include <limits>

#include "kernels/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/softmax.cpp"
#include "hwy/foreach_target.h"
// After foreach_target, which includes this file once per target.
#include "hwy/highway.h"
#include "kernels/vectors-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace bertgen::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Sum in double lanes would halve the speed, and one float sum of 50,000 terms drifts by up to 5e-4. Short float sums,
/// added up in double, stay within 1e-6 at full speed.
float LogSumExp(const float* HWY_RESTRICT x, size_t count) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = count - count % lanes;
  const float infinity = std::numeric_limits<float>::infinity();

  V maxima = hn::Set(d, -infinity);
  auto nans = hn::IsNaN(maxima);  // Max and Exp may both drop a NaN
  for (size_t i = 0; i < whole; i += lanes) {
    const V v = hn::LoadU(d, x + i);
    maxima = hn::Max(maxima, v);
    nans = hn::Or(nans, hn::IsNaN(v));
  }
  if (!hn::AllFalse(d, nans)) return std::numeric_limits<float>::quiet_NaN();
  float largest = hn::GetLane(hn::MaxOfLanes(d, maxima));
  for (size_t i = whole; i < count; ++i) {
    if (x[i] != x[i]) return x[i];
    largest = x[i] > largest ? x[i] : largest;
  }
  if (largest == infinity) return infinity;
  if (largest == -infinity) largest = 0.0f;

  const V shift = hn::Set(d, largest), factor = hn::Set(d, kLog2E);
  constexpr size_t kRun = 32;  // vectors summed in float
  double sum = 0.0;
  for (size_t i = 0; i < whole;) {
    const size_t end = HWY_MIN(whole, i + kRun * lanes);
    V sums = hn::Zero(d);
    for (; i < end; i += lanes) {
      sums = hn::Add(sums, ExpOfProduct(d, hn::Sub(hn::LoadU(d, x + i), shift), factor));
    }
    sum += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sums)));
  }
  for (size_t i = whole; i < count; ++i) sum += static_cast<double>(std::exp(x[i] - largest));
  return sum == 0.0 ? -infinity : static_cast<float>(static_cast<double>(largest) + std::log(sum));
}

}  // namespace bertgen::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bertgen::kernels {
HWY_EXPORT(LogSumExp);

float log_sum_exp(const float* x, std::size_t count) { return HWY_DYNAMIC_DISPATCH(LogSumExp)(x, count); }

}  // namespace bertgen::kernels
#endif
