#include <limits>

#include "kernels/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quantize.cpp"
#include "hwy/foreach_target.h"
// After foreach_target, which includes this file once per target.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace bertgen::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// max |x|, or infinity if an element is not finite.
HWY_INLINE float LargestMagnitude(const float* HWY_RESTRICT x, size_t count) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = count - count % lanes;
  const auto infinity = hn::Set(d, kInfinity);
  auto largest = hn::Zero(d);
  for (size_t i = 0; i < whole; i += lanes) {
    const auto magnitude = hn::Abs(hn::LoadU(d, x + i));
    // Max may drop a NaN: what is not below infinity counts as infinity.
    largest = hn::Max(largest, hn::IfThenElse(hn::Lt(magnitude, infinity), magnitude, infinity));
  }
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (size_t i = whole; i < count; ++i) {
    const float magnitude = x[i] < 0.0f ? -x[i] : x[i];
    if (!(magnitude < kInfinity)) return kInfinity;
    result = HWY_MAX(result, magnitude);
  }
  return result;
}

float QuantizeRow(const float* HWY_RESTRICT x, size_t count, uint8_t* HWY_RESTRICT q) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<int32_t, decltype(d)> di;
  const hn::Rebind<uint8_t, decltype(d)> du8;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = count - count % lanes;
  const float largest = LargestMagnitude(x, count);
  const float inverse = 127.0f / largest;
  // Where there is nothing to divide by (zeros, and subnormals, which vanish beside any bias) or nothing finite, the
  // scale alone decides the result.
  if (!(largest < kInfinity) || !(inverse < kInfinity)) {
    for (size_t i = 0; i < count; ++i) q[i] = 128;
    return largest < kInfinity ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  }
  const auto inverses = hn::Set(d, inverse);
  const auto zero = hn::Set(di, 128);
  for (size_t i = 0; i < whole; i += lanes) {
    const auto rounded = hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), inverses));
    hn::StoreU(hn::DemoteTo(du8, hn::Add(rounded, zero)), du8, q + i);
  }
  for (size_t i = whole; i < count; ++i) {
    // Adding and taking away 1.5 · 2²³ rounds to the nearest integer, ties to even, as NearestInt does.
    const float shifted = x[i] * inverse + 12582912.0f;
    q[i] = static_cast<uint8_t>(static_cast<int32_t>(shifted - 12582912.0f) + 128);
  }
  return largest / 127.0f;
}

void Dequantize(const int32_t* HWY_RESTRICT sums, size_t sums_stride, size_t rows, size_t count,
                const float* HWY_RESTRICT row_scales, const int32_t* HWY_RESTRICT offsets,
                const float* HWY_RESTRICT scales, const float* HWY_RESTRICT bias, float* HWY_RESTRICT y,
                size_t y_stride) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<int32_t, decltype(d)> di;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = count - count % lanes;
  for (size_t i = 0; i < whole; i += lanes) {
    const auto offset = hn::LoadU(di, offsets + i);
    const auto scale = hn::LoadU(d, scales + i);
    const auto start = hn::LoadU(d, bias + i);
    for (size_t r = 0; r < rows; ++r) {
      const auto sum = hn::ConvertTo(d, hn::Sub(hn::LoadU(di, sums + r * sums_stride + i), offset));
      const auto both = hn::Mul(hn::Set(d, row_scales[r]), scale);
      hn::StoreU(hn::Add(hn::Mul(sum, both), start), d, y + r * y_stride + i);
    }
  }
  for (size_t i = whole; i < count; ++i) {
    for (size_t r = 0; r < rows; ++r) {
      const int32_t sum = sums[r * sums_stride + i] - offsets[i];
      y[r * y_stride + i] = static_cast<float>(sum) * (row_scales[r] * scales[i]) + bias[i];
    }
  }
}

void RoundToBf16(const float* HWY_RESTRICT x, size_t count, uint16_t* HWY_RESTRICT y) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<uint32_t, decltype(d)> du;
  const hn::Rebind<uint16_t, decltype(d)> du16;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = count - count % lanes;
  const auto half = hn::Set(du, 0x7fffu);
  const auto one = hn::Set(du, 1u);
  for (size_t i = 0; i < whole; i += lanes) {
    const auto v = hn::LoadU(d, x + i);
    const auto bits = hn::BitCast(du, v);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), one);
    const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(half, odd)));
    const auto quiet = hn::Set(du, 0x7fc0u);
    const auto result = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), quiet, rounded);
    hn::StoreU(hn::DemoteTo(du16, hn::BitCast(hn::Rebind<int32_t, decltype(d)>(), result)), du16, y + i);
  }
  for (size_t i = whole; i < count; ++i) {
    uint32_t bits;
    hwy::CopyBytes<4>(x + i, &bits);
    y[i] = x[i] != x[i] ? uint16_t{0x7fc0} : static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
  }
}

}  // namespace bertgen::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bertgen::kernels {
HWY_EXPORT(QuantizeRow);
HWY_EXPORT(Dequantize);
HWY_EXPORT(RoundToBf16);

float quantize_row(const float* x, std::size_t count, std::uint8_t* q) {
  return HWY_DYNAMIC_DISPATCH(QuantizeRow)(x, count, q);
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
void round_to_bf16(const float* x, std::size_t count, std::uint16_t* y) {
  HWY_DYNAMIC_DISPATCH(RoundToBf16)(x, count, y);
}

}  // namespace bertgen::kernels
#endif
