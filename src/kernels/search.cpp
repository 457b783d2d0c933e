#include <limits>

#include "kernels/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/search.cpp"
#include "hwy/foreach_target.h"
// After foreach_target, which includes this file once per target.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace bertgen::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

size_t FindAbove(const float* HWY_RESTRICT x, size_t begin, size_t count, float less, float base, float bound) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto subtrahends = hn::Set(d, less);
  const auto bases = hn::Set(d, base);
  const auto bounds = hn::Set(d, bound);
  const auto above = [&](size_t i) {
    return hn::Gt(hn::Add(bases, hn::Sub(hn::LoadU(d, x + i), subtrahends)), bounds);
  };
  size_t i = begin;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    const auto low = hn::Or(above(i), above(i + lanes));
    const auto high = hn::Or(above(i + 2 * lanes), above(i + 3 * lanes));
    if (!hn::AllFalse(d, hn::Or(low, high))) break;
  }
  for (; i + lanes <= count; i += lanes) {
    const intptr_t lane = hn::FindFirstTrue(d, above(i));
    if (lane >= 0) return i + static_cast<size_t>(lane);
  }
  while (i < count && !(base + (x[i] - less) > bound)) ++i;
  return i;
}

size_t ArgMax(const float* HWY_RESTRICT x, size_t count) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  constexpr size_t kChains = 4;  // comparisons that do not wait for one another
  auto maxima = hn::Set(d, -std::numeric_limits<float>::infinity());
  auto m1 = maxima, m2 = maxima, m3 = maxima;
  const auto larger = [&](auto m, size_t at) {
    const auto v = hn::LoadU(d, x + at);
    return hn::IfThenElse(hn::Gt(v, m), v, m);  // Max may take a NaN
  };
  size_t i = 0;
  for (; i + kChains * lanes <= count; i += kChains * lanes) {
    maxima = larger(maxima, i);
    m1 = larger(m1, i + lanes);
    m2 = larger(m2, i + 2 * lanes);
    m3 = larger(m3, i + 3 * lanes);
  }
  for (; i + lanes <= count; i += lanes) maxima = larger(maxima, i);
  maxima = hn::Max(hn::Max(maxima, m1), hn::Max(m2, m3));
  float largest = hn::GetLane(hn::MaxOfLanes(d, maxima));
  for (; i < count; ++i) largest = x[i] > largest ? x[i] : largest;
  const auto wanted = hn::Set(d, largest);
  for (i = 0; i + lanes <= count; i += lanes) {
    const intptr_t lane = hn::FindFirstTrue(d, hn::Eq(hn::LoadU(d, x + i), wanted));
    if (lane >= 0) return i + static_cast<size_t>(lane);
  }
  while (i < count && x[i] != largest) ++i;
  return i < count ? i : 0;
}

}  // namespace bertgen::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bertgen::kernels {
HWY_EXPORT(FindAbove);
HWY_EXPORT(ArgMax);

std::size_t find_above(const float* x, std::size_t begin, std::size_t count, float less, float base, float bound) {
  return HWY_DYNAMIC_DISPATCH(FindAbove)(x, begin, count, less, base, bound);
}
std::size_t arg_max(const float* x, std::size_t count) { return HWY_DYNAMIC_DISPATCH(ArgMax)(x, count); }

}  // namespace bertgen::kernels
#endif
