#include "kernels/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/panels.cpp"
#include "hwy/foreach_target.h"
// After foreach_target, which includes this file once per target.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace bertgen::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Sums that a tile holds in registers: kTileRows × kTileVectors, beside kTileVectors of weights and one of input. With
// 32 registers that is 24 + 4 + 1, and 24 multiply-adds between 10 loads keep two multiply-add units busy; with 16
// registers it is 12 + 2 + 1.
constexpr size_t kTileRows = 6;
#if HWY_TARGET <= HWY_AVX3 || HWY_TARGET == HWY_NEON
constexpr size_t kTileVectors = 4;
#else
constexpr size_t kTileVectors = 2;
#endif

/// y[r][0, kTileVectors · lanes) = start + Σ_k x[r][k] · w[k][…] for kRows rows, k in rising order, so that a row's
/// bits do not depend on the rows beside it. start: the bias, or with kContinue what y holds.
template <size_t kRows, bool kContinue>
HWY_INLINE void PanelTile(const float* HWY_RESTRICT x, size_t x_stride, const float* HWY_RESTRICT w, size_t depth,
                          const float* HWY_RESTRICT bias, float* HWY_RESTRICT y, size_t y_stride) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  V sums[kRows][kTileVectors];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kTileVectors; ++v) {
      sums[r][v] = hn::LoadU(d, (kContinue ? y + r * y_stride : bias) + v * lanes);
    }
  }
  for (size_t k = 0; k < depth; ++k, w += panel_columns) {
    V weights[kTileVectors];
    for (size_t v = 0; v < kTileVectors; ++v) weights[v] = hn::LoadU(d, w + v * lanes);
    for (size_t r = 0; r < kRows; ++r) {
      const V input = hn::Set(d, x[r * x_stride + k]);
      for (size_t v = 0; v < kTileVectors; ++v) sums[r][v] = hn::MulAdd(input, weights[v], sums[r][v]);
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kTileVectors; ++v) hn::StoreU(sums[r][v], d, y + r * y_stride + v * lanes);
  }
}

/// All column groups of one panel for kRows rows.
template <size_t kRows, bool kContinue>
HWY_INLINE void PanelRows(const float* x, size_t x_stride, const float* panel, size_t depth, const float* bias,
                          float* y, size_t y_stride) {
  const size_t step = kTileVectors * hn::Lanes(hn::ScalableTag<float>());
  for (size_t column = 0; column < panel_columns; column += step) {
    PanelTile<kRows, kContinue>(x, x_stride, panel + column, depth, bias + column, y + column, y_stride);
  }
}

template <bool kContinue>
void PanelBlock(const float* x, size_t x_stride, size_t rows, const float* panel, size_t depth, const float* bias,
                float* y, size_t y_stride) {
  for (; rows >= kTileRows; rows -= kTileRows, x += kTileRows * x_stride, y += kTileRows * y_stride) {
    PanelRows<kTileRows, kContinue>(x, x_stride, panel, depth, bias, y, y_stride);
  }
  switch (rows) {
    case 5:
      return PanelRows<5, kContinue>(x, x_stride, panel, depth, bias, y, y_stride);
    case 4:
      return PanelRows<4, kContinue>(x, x_stride, panel, depth, bias, y, y_stride);
    case 3:
      return PanelRows<3, kContinue>(x, x_stride, panel, depth, bias, y, y_stride);
    case 2:
      return PanelRows<2, kContinue>(x, x_stride, panel, depth, bias, y, y_stride);
    case 1:
      return PanelRows<1, kContinue>(x, x_stride, panel, depth, bias, y, y_stride);
    default:
      return;
  }
}

void Panel(const float* x, size_t x_stride, size_t rows, const float* panel, size_t depth, const float* bias, float* y,
           size_t y_stride) {
  if (bias != nullptr) {
    PanelBlock<false>(x, x_stride, rows, panel, depth, bias, y, y_stride);
  } else {
    PanelBlock<true>(x, x_stride, rows, panel, depth, y, y, y_stride);
  }
}

}  // namespace bertgen::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bertgen::kernels {
HWY_EXPORT(Panel);

void panel_product(const float* x, std::size_t x_stride, std::size_t rows, const float* panel, std::size_t depth,
                   const float* bias, float* y, std::size_t y_stride) {
  HWY_DYNAMIC_DISPATCH(Panel)(x, x_stride, rows, panel, depth, bias, y, y_stride);
}

}  // namespace bertgen::kernels
#endif
