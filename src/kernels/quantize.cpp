#include <limits>

#include "bertgen/core/isa.hpp"
#include "kernels/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quantize.cpp"
#include "hwy/foreach_target.h"
// After foreach_target, which includes this file once per target.
#include "hwy/highway.h"
#include "kernels/vectors-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace bertgen::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// max |x|, or infinity if an element is not finite.
template <class X>
HWY_INLINE float LargestMagnitude(const X* HWY_RESTRICT x, size_t count) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = count - count % lanes;
  const auto infinity = hn::Set(d, kInfinity);
  auto largest = hn::Zero(d);
  for (size_t i = 0; i < whole; i += lanes) {
    const auto magnitude = hn::Abs(LoadFloats(d, x + i));
    // Max may drop a NaN: what is not below infinity counts as infinity.
    largest = hn::Max(largest, hn::IfThenElse(hn::Lt(magnitude, infinity), magnitude, infinity));
  }
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (size_t i = whole; i < count; ++i) {
    const float value = FloatOf(x[i]);
    const float magnitude = value < 0.0f ? -value : value;
    if (!(magnitude < kInfinity)) return kInfinity;
    result = HWY_MAX(result, magnitude);
  }
  return result;
}

/// As many of x · inverse as D has lanes, to the nearest integer (ties to even), 128 too high.
template <class D, class X>
HWY_INLINE void QuantizeVector(D d, const X* HWY_RESTRICT x, float inverse, uint8_t* HWY_RESTRICT q) {
  const hn::Rebind<int32_t, D> di;
  const hn::Rebind<uint8_t, D> du8;
  const auto rounded = hn::NearestInt(hn::Mul(LoadFloats(d, x), hn::Set(d, inverse)));
  hn::StoreU(hn::DemoteTo(du8, hn::Add(rounded, hn::Set(di, 128))), du8, q);
}

template <class X>
HWY_INLINE float Quantize(const X* HWY_RESTRICT x, size_t count, uint8_t* HWY_RESTRICT q, size_t next) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> one;
  const size_t lanes = hn::Lanes(d);
  const float largest = LargestMagnitude(x, count);
  const float inverse = 127.0f / largest;
  // Where there is nothing to divide by (zeros, and subnormals, which vanish beside any bias) or nothing finite, the
  // scale alone decides the result.
  if (!(largest < kInfinity) || !(inverse < kInfinity)) {
    for (size_t i = 0; i < count; ++i) q[i / cache_line * next + i % cache_line] = 128;
    return largest < kInfinity ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  }
  for (size_t begin = 0; begin < count; begin += cache_line, q += next) {
    const size_t here = HWY_MIN(cache_line, count - begin);
    const size_t whole = here - here % lanes;
    for (size_t i = 0; i < whole; i += lanes) QuantizeVector(d, x + begin + i, inverse, q + i);
    for (size_t i = whole; i < here; ++i) QuantizeVector(one, x + begin + i, inverse, q + i);
  }
  return largest / 127.0f;
}
float QuantizeFloats(const float* x, size_t count, uint8_t* q, size_t next) { return Quantize(x, count, q, next); }
float QuantizeBf16(const uint16_t* x, size_t count, uint8_t* q, size_t next) { return Quantize(x, count, q, next); }

/// kVectors neighbouring vectors of columns of all rows.
template <size_t kVectors, class D>
HWY_INLINE void DequantizeVectors(D d, const int32_t* HWY_RESTRICT sums, size_t sums_stride, size_t rows,
                                  const float* HWY_RESTRICT row_scales, const int32_t* HWY_RESTRICT offsets,
                                  const float* HWY_RESTRICT scales, const float* HWY_RESTRICT bias,
                                  float* HWY_RESTRICT y, size_t y_stride) {
  const hn::Rebind<int32_t, D> di;
  const size_t lanes = hn::Lanes(d);
  hn::Vec<decltype(di)> offset[kVectors];
  hn::Vec<D> scale[kVectors], start[kVectors];
  for (size_t v = 0; v < kVectors; ++v) {
    offset[v] = hn::LoadU(di, offsets + v * lanes);
    scale[v] = hn::LoadU(d, scales + v * lanes);
    start[v] = hn::LoadU(d, bias + v * lanes);
  }
  for (size_t r = 0; r < rows; ++r) {
    const auto row_scale = hn::Set(d, row_scales[r]);
    for (size_t v = 0; v < kVectors; ++v) {
      const auto sum = hn::ConvertTo(d, hn::Sub(hn::LoadU(di, sums + r * sums_stride + v * lanes), offset[v]));
      hn::StoreU(hn::MulAdd(sum, hn::Mul(row_scale, scale[v]), start[v]), d, y + r * y_stride + v * lanes);
    }
  }
}

/// An element's result does not depend on where in the row it stands: single columns go the vectors' way too.
void Dequantize(const int32_t* HWY_RESTRICT sums, size_t sums_stride, size_t rows, size_t count,
                const float* HWY_RESTRICT row_scales, const int32_t* HWY_RESTRICT offsets,
                const float* HWY_RESTRICT scales, const float* HWY_RESTRICT bias, float* HWY_RESTRICT y,
                size_t y_stride) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> one;
  // Rows lie pages apart: as much of one as fits the registers is written at a time.
  constexpr size_t kVectors = 4;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + kVectors * lanes <= count; i += kVectors * lanes) {
    DequantizeVectors<kVectors>(d, sums + i, sums_stride, rows, row_scales, offsets + i, scales + i, bias + i, y + i,
                                y_stride);
  }
  for (; i + lanes <= count; i += lanes) {
    DequantizeVectors<1>(d, sums + i, sums_stride, rows, row_scales, offsets + i, scales + i, bias + i, y + i,
                         y_stride);
  }
  for (; i < count; ++i) {
    DequantizeVectors<1>(one, sums + i, sums_stride, rows, row_scales, offsets + i, scales + i, bias + i, y + i,
                         y_stride);
  }
}

/// The bits of bf16, in the upper halves.
template <class D>
HWY_INLINE hn::Vec<hn::Rebind<uint32_t, D>> Bf16Bits(D d, const float* HWY_RESTRICT x) {
  const hn::Rebind<uint32_t, D> du;
  const auto v = hn::LoadU(d, x);
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
  const auto rounded = hn::And(hn::Add(bits, hn::Add(hn::Set(du, 0x7fffu), odd)), hn::Set(du, 0xffff0000u));
  return hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), hn::Set(du, 0x7fc00000u), rounded);
}

HWY_INLINE void RoundToBf16(const float* HWY_RESTRICT x, size_t count, uint16_t* HWY_RESTRICT y) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> one;
  const hn::Rebind<uint16_t, decltype(d)> du16;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = count - count % lanes;
  for (size_t i = 0; i < whole; i += lanes) {
    const auto bits = hn::ShiftRight<16>(Bf16Bits(d, x + i));
    hn::StoreU(hn::DemoteTo(du16, hn::BitCast(hn::Rebind<int32_t, decltype(d)>(), bits)), du16, y + i);
  }
  for (size_t i = whole; i < count; ++i) y[i] = static_cast<uint16_t>(hn::GetLane(Bf16Bits(one, x + i)) >> 16);
}

void RoundRowsToBf16(const float* x, size_t x_stride, size_t rows, size_t count, uint16_t* y, size_t y_stride) {
  for (size_t row = 0; row < rows; ++row) RoundToBf16(x + row * x_stride, count, y + row * y_stride);
}

void Widen(const uint16_t* x, size_t count, float* y) { WidenRow(x, count, y); }

void RoundToBf16Floats(const float* HWY_RESTRICT x, size_t count, float* HWY_RESTRICT y) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> one;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = count - count % lanes;
  for (size_t i = 0; i < whole; i += lanes) hn::StoreU(hn::BitCast(d, Bf16Bits(d, x + i)), d, y + i);
  for (size_t i = whole; i < count; ++i) hn::StoreU(hn::BitCast(one, Bf16Bits(one, x + i)), one, y + i);
}

}  // namespace bertgen::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bertgen::kernels {
HWY_EXPORT(QuantizeFloats);
HWY_EXPORT(QuantizeBf16);
HWY_EXPORT(Dequantize);
HWY_EXPORT(RoundRowsToBf16);
HWY_EXPORT(RoundToBf16Floats);
HWY_EXPORT(Widen);

float quantize_row(const float* x, std::size_t count, std::uint8_t* q, std::size_t next) {
  return HWY_DYNAMIC_DISPATCH(QuantizeFloats)(x, count, q, next);
}
float quantize_row(const std::uint16_t* x, std::size_t count, std::uint8_t* q, std::size_t next) {
  return HWY_DYNAMIC_DISPATCH(QuantizeBf16)(x, count, q, next);
}
float quantize_row(const float* x, std::size_t count, std::int8_t* q) {
  auto* bytes = reinterpret_cast<std::uint8_t*>(q);
  const float scale = quantize_row(x, count, bytes);
  for (std::size_t i = 0; i < count; ++i) bytes[i] ^= 128;  // from 128 too high to signed
  return scale;
}
void dequantize(const std::int32_t* sums, std::size_t sums_stride, std::size_t rows, std::size_t count,
                const float* row_scales, const std::int32_t* offsets, const float* scales, const float* bias, float* y,
                std::size_t y_stride) {
  HWY_DYNAMIC_DISPATCH(Dequantize)
  (sums, sums_stride, rows, count, row_scales, offsets, scales, bias, y, y_stride);
}
void round_to_bf16(const float* x, std::size_t count, std::uint16_t* y) { round_to_bf16(x, count, 1, count, y, count); }
void round_to_bf16(const float* x, std::size_t x_stride, std::size_t rows, std::size_t count, std::uint16_t* y,
                   std::size_t y_stride) {
  if (active_isa() >= Isa::avx512_bf16) return dot_round_to_bf16(x, x_stride, rows, count, y, y_stride);
  HWY_DYNAMIC_DISPATCH(RoundRowsToBf16)(x, x_stride, rows, count, y, y_stride);
}
void widen(const std::uint16_t* x, std::size_t count, float* y) { HWY_DYNAMIC_DISPATCH(Widen)(x, count, y); }
void round_to_bf16(const float* x, std::size_t count, float* y) {
  HWY_DYNAMIC_DISPATCH(RoundToBf16Floats)(x, count, y);
}

}  // namespace bertgen::kernels
#endif
