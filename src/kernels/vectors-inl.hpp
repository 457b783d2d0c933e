// What several kernels do with vectors of floats. Included once per target, as Highway's own -inl.h files.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"

#if defined(BERTGEN_KERNELS_VECTORS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef BERTGEN_KERNELS_VECTORS_INL_HPP_
#undef BERTGEN_KERNELS_VECTORS_INL_HPP_
#else
#define BERTGEN_KERNELS_VECTORS_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace bertgen::kernels::HWY_NAMESPACE {

/// As many floats as D has lanes, from floats or from bf16 bits.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> LoadFloats(D d, const float* x) {
  return hwy::HWY_NAMESPACE::LoadU(d, x);
}
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> LoadFloats(D d, const uint16_t* x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Rebind<uint32_t, D> du32;
  const hn::Rebind<uint16_t, D> du16;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du32, hn::LoadU(du16, x))));
}

/// One float of either.
HWY_INLINE float FloatOf(float x) { return x; }
HWY_INLINE float FloatOf(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// bf16 bits x[0, count) as floats.
HWY_INLINE void WidenRow(const uint16_t* HWY_RESTRICT x, size_t count, float* HWY_RESTRICT y) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = count - count % lanes;
  for (size_t i = 0; i < whole; i += lanes) hn::StoreU(LoadFloats(d, x + i), d, y + i);
  for (size_t i = whole; i < count; ++i) y[i] = FloatOf(x[i]);
}

/// log₂ e: what ExpOfProduct() is given with differences, for powers of e.
constexpr float kLog2E = 1.44269504f;

/// 2^(x · factor), where that is not above 1; below 2⁻¹²⁶, 0 or a subnormal. Off by up to 1.6e-7 of itself, and by
/// 1e-7 of that for every 1 of x · factor. Half as long as hn::Exp, which is right to the last place and takes what is
/// above 1 too. What it makes of NaN is undefined.
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V ExpOfProduct(D d, V x, V factor) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Rebind<uint32_t, D> du;
  // Added to 1.5 · 2²³, a number is rounded to an integer, which the lowest bits then hold.
  const V magic = hn::Set(d, 12582912.0f);
  const V shifted = hn::MulAdd(x, factor, magic);
  const V rest = hn::MulSub(x, factor, hn::Sub(shifted, magic));  // from −½ to ½
  // 2^rest, of least relative error among polynomials that are 1 at 0.
  V power = hn::Set(d, 0.0013264727f);
  power = hn::MulAdd(power, rest, hn::Set(d, 0.009671513f));
  power = hn::MulAdd(power, rest, hn::Set(d, 0.055507336f));
  power = hn::MulAdd(power, rest, hn::Set(d, 0.24022242f));
  power = hn::MulAdd(power, rest, hn::Set(d, 0.693147f));
  power = hn::MulAdd(power, rest, hn::Set(d, 1.0f));
  const V scaled = hn::BitCast(d, hn::Add(hn::BitCast(du, power), hn::ShiftLeft<23>(hn::BitCast(du, shifted))));
  return hn::IfThenZeroElse(hn::Lt(shifted, hn::Set(d, 12582912.0f - 126.0f)), scaled);
}

}  // namespace bertgen::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
