// Vectors of floats from floats and from bf16 bits. Included once per target, as Highway's own -inl.h files.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"

#if defined(BERTGEN_KERNELS_LOAD_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef BERTGEN_KERNELS_LOAD_INL_HPP_
#undef BERTGEN_KERNELS_LOAD_INL_HPP_
#else
#define BERTGEN_KERNELS_LOAD_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace bertgen::kernels::HWY_NAMESPACE {

/// As many neighbours as D has lanes.
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

/// One of them.
HWY_INLINE float FloatOf(float x) { return x; }
HWY_INLINE float FloatOf(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace bertgen::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
