#include "kernels/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/pack.cpp"
#include "hwy/foreach_target.h"
// After foreach_target, which includes this file once per target.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace bertgen::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR
/// Stores the 128-bit blocks of v one below another, `stride` elements apart.
template <class D>
HWY_INLINE void StoreBlocks(D d, hn::Vec<D> v, size_t stride, uint32_t* HWY_RESTRICT to) {
  if constexpr (hn::MaxLanes(d) <= 4) {
    hn::StoreU(v, d, to);
  } else {
    const hn::Half<D> half;
    StoreBlocks(half, hn::LowerHalf(half, v), stride, to);
    StoreBlocks(half, hn::UpperHalf(half, v), stride, to + hn::MaxLanes(d) / 8 * stride);
  }
}

/// Four columns of a panel of `columns` from as many rows, a vector of steps at a time; returns how many steps.
HWY_INLINE size_t PackFour(const uint32_t* const* rows, size_t begin, size_t steps, size_t columns,
                           uint32_t* HWY_RESTRICT panel) {
  const hn::ScalableTag<uint32_t> d;
  const hn::RepartitionToWide<decltype(d)> d64;
  const size_t lanes = hn::Lanes(d);
  size_t step = 0;
  for (; step + lanes <= steps; step += lanes, panel += lanes * columns) {
    const auto r0 = hn::LoadU(d, rows[0] + begin + step), r1 = hn::LoadU(d, rows[1] + begin + step);
    const auto r2 = hn::LoadU(d, rows[2] + begin + step), r3 = hn::LoadU(d, rows[3] + begin + step);
    // In each block of four steps: pairs of rows, then fours. Vector i has step i of each block.
    const auto low01 = hn::BitCast(d64, hn::InterleaveLower(d, r0, r1));
    const auto low23 = hn::BitCast(d64, hn::InterleaveLower(d, r2, r3));
    const auto high01 = hn::BitCast(d64, hn::InterleaveUpper(d, r0, r1));
    const auto high23 = hn::BitCast(d64, hn::InterleaveUpper(d, r2, r3));
    const size_t four = 4 * columns;
    StoreBlocks(d, hn::BitCast(d, hn::InterleaveLower(d64, low01, low23)), four, panel);
    StoreBlocks(d, hn::BitCast(d, hn::InterleaveUpper(d64, low01, low23)), four, panel + columns);
    StoreBlocks(d, hn::BitCast(d, hn::InterleaveLower(d64, high01, high23)), four, panel + 2 * columns);
    StoreBlocks(d, hn::BitCast(d, hn::InterleaveUpper(d64, high01, high23)), four, panel + 3 * columns);
  }
  return step;
}
#else
HWY_INLINE size_t PackFour(const uint32_t* const*, size_t, size_t, size_t, uint32_t*) { return 0; }
#endif

void PackPanel(const uint32_t* const* rows, size_t count, size_t steps, uint32_t* HWY_RESTRICT panel, size_t columns) {
  // So many steps of all rows at a time: some lines of each row, and a part of the panel that the first-level cache
  // keeps.
  constexpr size_t kSteps = 64;
  for (size_t begin = 0; begin < steps; begin += kSteps) {
    const size_t here = HWY_MIN(kSteps, steps - begin);
    uint32_t* to = panel + begin * columns;
    const bool whole_next = begin + 2 * kSteps <= steps;
    size_t column = 0;
    for (; column + 4 <= count; column += 4) {
      for (size_t i = 0; whole_next && i < 4; ++i) {
        prefetch(rows[column + i] + begin + kSteps, kSteps * sizeof(uint32_t));
      }
      for (size_t step = PackFour(rows + column, begin, here, columns, to + column); step < here; ++step) {
        for (size_t i = 0; i < 4; ++i) to[step * columns + column + i] = rows[column + i][begin + step];
      }
    }
    for (; column < columns; ++column) {
      for (size_t step = 0; step < here; ++step) {
        to[step * columns + column] = column < count ? rows[column][begin + step] : 0;
      }
    }
  }
}

}  // namespace bertgen::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bertgen::kernels {
HWY_EXPORT(PackPanel);

void pack_panel(const std::uint32_t* const* rows, std::size_t count, std::size_t steps, std::uint32_t* panel,
                std::size_t columns) {
  HWY_DYNAMIC_DISPATCH(PackPanel)(rows, count, steps, panel, columns);
}

}  // namespace bertgen::kernels
#endif
