#include <algorithm>

#include "bertgen/core/isa.hpp"
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

/// The columns that one walk along the steps of a panel takes.
HWY_INLINE size_t WalkColumns() { return kTileVectors * hn::Lanes(hn::ScalableTag<float>()); }

/// A panel's step of one float a column.
struct FloatSteps {
  using T = float;
  static constexpr size_t kInputs = 1;
  template <size_t kInput, class D>
  static HWY_INLINE hn::Vec<D> Load(D d, const float* HWY_RESTRICT step) {
    return hn::LoadU(d, step);
  }
};

/// Of two bf16 a column, the first in the lower bits. Widening is exact.
struct Bf16Steps {
  using T = uint32_t;
  static constexpr size_t kInputs = 2;
  template <size_t kInput, class D>
  static HWY_INLINE hn::Vec<D> Load(D d, const uint32_t* HWY_RESTRICT step) {
    const hn::Rebind<uint32_t, D> du;
    const auto pairs = hn::LoadU(du, step);
    return hn::BitCast(d, kInput == 0 ? hn::ShiftLeft<16>(pairs) : hn::And(pairs, hn::Set(du, 0xffff0000u)));
  }
};

/// sums[r][…] += x[r][kInput] · the weights of that input of a step.
template <class Steps, size_t kInput, size_t kRows, class D>
HWY_INLINE void AddProducts(D d, const float* HWY_RESTRICT x, size_t x_stride, const typename Steps::T* HWY_RESTRICT w,
                            hn::Vec<D> (&sums)[kRows][kTileVectors]) {
  hn::Vec<D> weights[kTileVectors];
  for (size_t v = 0; v < kTileVectors; ++v) {
    weights[v] = Steps::template Load<kInput>(d, w + v * hn::Lanes(d));
  }
  for (size_t r = 0; r < kRows; ++r) {
    const auto input = hn::Set(d, x[r * x_stride + kInput]);
    for (size_t v = 0; v < kTileVectors; ++v) sums[r][v] = hn::MulAdd(input, weights[v], sums[r][v]);
  }
}

/// y[r][0, kTileVectors · lanes) = start + Σ_k x[r][k] · w[k][…] for kRows rows, k in rising order, so that a row's
/// bits do not depend on the rows beside it. start: the bias, or with kContinue what y holds.
template <class Steps, size_t kRows, bool kContinue>
HWY_INLINE void PanelTile(const float* HWY_RESTRICT x, size_t x_stride, const typename Steps::T* HWY_RESTRICT w,
                          size_t steps, const float* HWY_RESTRICT bias, float* HWY_RESTRICT y, size_t y_stride,
                          WeightsAhead& ahead) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  hn::Vec<decltype(d)> sums[kRows][kTileVectors];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kTileVectors; ++v) {
      sums[r][v] = hn::LoadU(d, (kContinue ? y + r * y_stride : bias) + v * lanes);
      if (!kContinue) __builtin_prefetch(y + r * y_stride + v * lanes, 1);  // rows of y lie pages apart
    }
  }
  for (size_t step = 0; step < steps; ++step, x += Steps::kInputs, w += panel_columns) {
    ahead.ask(step);
    AddProducts<Steps, 0>(d, x, x_stride, w, sums);
    if constexpr (Steps::kInputs == 2) AddProducts<Steps, 1>(d, x, x_stride, w, sums);
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kTileVectors; ++v) hn::StoreU(sums[r][v], d, y + r * y_stride + v * lanes);
  }
}

/// All columns of one panel for kRows rows.
template <class Steps, size_t kRows, bool kContinue>
HWY_INLINE void PanelRows(const float* x, size_t x_stride, const typename Steps::T* panel, size_t steps,
                          const float* bias, float* y, size_t y_stride, WeightsAhead& ahead) {
  for (size_t column = 0; column < panel_columns; column += WalkColumns()) {
    PanelTile<Steps, kRows, kContinue>(x, x_stride, panel + column, steps, bias + column, y + column, y_stride, ahead);
  }
}

template <class Steps, bool kContinue>
void PanelBlock(const float* x, size_t x_stride, size_t rows, const typename Steps::T* panel, size_t steps,
                const float* bias, float* y, size_t y_stride) {
  const size_t walks = (rows + kTileRows - 1) / kTileRows * (panel_columns / WalkColumns());
  WeightsAhead ahead(panel, steps, walks, panel_columns * sizeof(float));
  for (; rows >= kTileRows; rows -= kTileRows, x += kTileRows * x_stride, y += kTileRows * y_stride) {
    PanelRows<Steps, kTileRows, kContinue>(x, x_stride, panel, steps, bias, y, y_stride, ahead);
  }
  switch (rows) {
    case 5:
      return PanelRows<Steps, 5, kContinue>(x, x_stride, panel, steps, bias, y, y_stride, ahead);
    case 4:
      return PanelRows<Steps, 4, kContinue>(x, x_stride, panel, steps, bias, y, y_stride, ahead);
    case 3:
      return PanelRows<Steps, 3, kContinue>(x, x_stride, panel, steps, bias, y, y_stride, ahead);
    case 2:
      return PanelRows<Steps, 2, kContinue>(x, x_stride, panel, steps, bias, y, y_stride, ahead);
    case 1:
      return PanelRows<Steps, 1, kContinue>(x, x_stride, panel, steps, bias, y, y_stride, ahead);
    default:
      return;
  }
}

template <class Steps>
HWY_INLINE void AnyPanel(const float* x, size_t x_stride, size_t rows, const typename Steps::T* panel, size_t steps,
                         const float* bias, float* y, size_t y_stride) {
  if (bias != nullptr) {
    PanelBlock<Steps, false>(x, x_stride, rows, panel, steps, bias, y, y_stride);
  } else {
    PanelBlock<Steps, true>(x, x_stride, rows, panel, steps, y, y, y_stride);
  }
}

void Panel(const float* x, size_t x_stride, size_t rows, const float* panel, size_t depth, const float* bias, float* y,
           size_t y_stride) {
  AnyPanel<FloatSteps>(x, x_stride, rows, panel, depth, bias, y, y_stride);
}

void Bf16Panel(const float* x, size_t x_stride, size_t rows, const uint32_t* panel, size_t steps, const float* bias,
               float* y, size_t y_stride) {
  AnyPanel<Bf16Steps>(x, x_stride, rows, panel, steps, bias, y, y_stride);
}

#if HWY_TARGET == HWY_SCALAR
/// sums[r][c] (+)= Σ x[r][k] · w[k][c], four bytes of each a step, for kRows rows and one vector of columns.
template <size_t kRows>
HWY_INLINE void BytePanelTile(const uint8_t* HWY_RESTRICT x, size_t x_stride, const int8_t* HWY_RESTRICT w,
                              size_t steps, int32_t* HWY_RESTRICT sums, bool add, WeightsAhead& ahead) {
  for (size_t r = 0; r < kRows; ++r) {
    int32_t total = add ? sums[r * panel_columns] : 0;
    for (size_t step = 0; step < steps; ++step) {
      if (r == 0) ahead.ask(step);
      for (size_t i = 0; i < 4; ++i) total += x[r * x_stride + 4 * step + i] * w[4 * panel_columns * step + i];
    }
    sums[r * panel_columns] = total;
  }
}
#else
/// sums[r][c] (+)= Σ x[r][k] · w[k][c], four bytes of each a step, for kRows rows and one vector of columns. Bytes are
/// widened to 16 bits in two planes, even and odd, so that products of pairs add up in 32 bits: no step saturates.
template <size_t kRows>
HWY_INLINE void BytePanelTile(const uint8_t* HWY_RESTRICT x, size_t x_stride, const int8_t* HWY_RESTRICT w,
                              size_t steps, int32_t* HWY_RESTRICT sums, bool add, WeightsAhead& ahead) {
  const hn::ScalableTag<int32_t> d;
  const hn::Repartition<int16_t, decltype(d)> d16;
  const hn::Repartition<int8_t, decltype(d)> d8;
  using V = hn::Vec<decltype(d)>;
  V total[kRows], other[kRows];  // other: where the instruction set keeps odd pairs apart
  for (size_t r = 0; r < kRows; ++r) total[r] = other[r] = hn::Zero(d);
  for (size_t step = 0; step < steps; ++step, w += 4 * panel_columns) {
    ahead.ask(step);
    const auto bytes = hn::BitCast(d16, hn::LoadU(d8, w));
    const auto even = hn::ShiftRight<8>(hn::ShiftLeft<8>(bytes));
    const auto odd = hn::ShiftRight<8>(bytes);
    for (size_t r = 0; r < kRows; ++r) {
      int32_t four;
      hwy::CopyBytes<4>(x + r * x_stride + 4 * step, &four);
      const auto input_even = hn::BitCast(d16, hn::Set(d, four & 0x00ff00ff));
      const auto input_odd = hn::BitCast(d16, hn::Set(d, (four >> 8) & 0x00ff00ff));
      total[r] = hn::ReorderWidenMulAccumulate(d, input_even, even, total[r], other[r]);
      total[r] = hn::ReorderWidenMulAccumulate(d, input_odd, odd, total[r], other[r]);
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    int32_t* row = sums + r * panel_columns;
    const V pairs = hn::RearrangeToOddPlusEven(total[r], other[r]);
    hn::StoreU(add ? hn::Add(pairs, hn::LoadU(d, row)) : pairs, d, row);
  }
}
#endif

template <size_t kRows>
HWY_INLINE void BytePanelRows(const uint8_t* x, size_t x_stride, const int8_t* panel, size_t steps, int32_t* sums,
                              bool add, WeightsAhead& ahead) {
  const size_t lanes = hn::Lanes(hn::ScalableTag<int32_t>());
  for (size_t column = 0; column < panel_columns; column += lanes) {
    BytePanelTile<kRows>(x, x_stride, panel + 4 * column, steps, sums + column, add, ahead);
  }
}

void BytePanel(const uint8_t* x, size_t x_stride, size_t rows, const int8_t* panel, size_t steps, int32_t* sums,
               bool add) {
  const size_t walks = (rows / 4 + rows % 4) * (panel_columns / hn::Lanes(hn::ScalableTag<int32_t>()));
  WeightsAhead ahead(panel, steps, walks, panel_columns * sizeof(float));
  for (; rows >= 4; rows -= 4, x += 4 * x_stride, sums += 4 * panel_columns) {
    BytePanelRows<4>(x, x_stride, panel, steps, sums, add, ahead);
  }
  for (; rows != 0; --rows, x += x_stride, sums += panel_columns) {
    BytePanelRows<1>(x, x_stride, panel, steps, sums, add, ahead);
  }
}

}  // namespace bertgen::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bertgen::kernels {

WeightsAhead::WeightsAhead(const void* block, std::size_t steps, std::size_t walks, std::size_t step_bytes) {
  const std::size_t step_lines = step_bytes / cache_line;
  constexpr std::size_t distance = 8192;
  const auto* begin = static_cast<const char*>(block);
  if (walks == 1) {
    // AMD's CPUs, which alone have BF16 but not AMX, read ahead far enough and lose by it.
    if (active_isa() == Isa::avx512_bf16) return;
    next_ = begin + distance;
    lines_ = step_lines;
    steps_ = steps;
    return;
  }
  next_ = begin + steps * step_lines * cache_line;
  lines_ = (step_lines + walks - 1) / walks;
  // Evenly: the first-level cache can wait for 16 lines at a time, those of this block among them.
  std::size_t period = 1;
  while (2 * period * step_lines <= walks) period *= 2;
  between_ = period - 1;
  steps_ = std::min(steps, (steps * step_lines + walks * lines_ - 1) / (walks * lines_) * period);
}

HWY_EXPORT(Panel);
HWY_EXPORT(Bf16Panel);
HWY_EXPORT(BytePanel);

void panel_product(const float* x, std::size_t x_stride, std::size_t rows, const float* panel, std::size_t depth,
                   const float* bias, float* y, std::size_t y_stride) {
  HWY_DYNAMIC_DISPATCH(Panel)(x, x_stride, rows, panel, depth, bias, y, y_stride);
}
void bf16_panel_product(const float* x, std::size_t x_stride, std::size_t rows, const std::uint32_t* panel,
                        std::size_t steps, const float* bias, float* y, std::size_t y_stride) {
  HWY_DYNAMIC_DISPATCH(Bf16Panel)(x, x_stride, rows, panel, steps, bias, y, y_stride);
}
void byte_panel_product(const std::uint8_t* x, std::size_t x_stride, std::size_t rows, const std::int8_t* panel,
                        PanelLayout layout, std::size_t first, std::size_t steps, std::int32_t* sums, bool add,
                        Tiles& tiles) {
  if (active_isa() >= Isa::avx512_vnni) {
    return dot_byte_panel_product(x, x_stride, rows, panel, layout, first, steps, sums, add, tiles);
  }
  HWY_DYNAMIC_DISPATCH(BytePanel)(x + 4 * first, x_stride, rows, panel, steps, sums, add);
}

}  // namespace bertgen::kernels
#endif
