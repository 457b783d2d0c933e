// Products of bf16 and of bytes by the instructions of AVX-512 BF16 and VNNI, which Highway 1.0 does not have: each
// adds the products of four bytes' worth of inputs, exactly those of a panel's step, to a sum.
#include <algorithm>

#include "bertgen/core/isa.hpp"
#include "kernels/kernels.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>
#endif

namespace bertgen::kernels {

#if defined(__x86_64__)
namespace {

// Functions that are inlined into one another must agree on the set. No compiler uses either of the two unasked, so a
// CPU that has one of them runs its half.
#define BERTGEN_DOT __attribute__((target("avx512f,avx512vnni,avx512bf16")))
#define BERTGEN_DOT_INLINE BERTGEN_DOT __attribute__((always_inline)) inline

/// Pairs of bf16 to float sums; subnormals count as zero.
struct Bf16Pairs {
  using Sum = float;
  using Sums = __m512;
  BERTGEN_DOT_INLINE static Sums load(const Sum* sums) { return _mm512_loadu_ps(sums); }
  BERTGEN_DOT_INLINE static void store(Sums sums, Sum* to) { _mm512_storeu_ps(to, sums); }
  BERTGEN_DOT_INLINE static Sums add(Sums sums, __m512i input, __m512i weights) {
    return _mm512_dpbf16_ps(sums, reinterpret_cast<__m512bh>(input), reinterpret_cast<__m512bh>(weights));
  }
};

/// Fours of unsigned inputs and signed weights to integer sums: 4 · 255 · 128 cannot saturate there.
struct ByteFours {
  using Sum = std::int32_t;
  using Sums = __m512i;
  BERTGEN_DOT_INLINE static Sums load(const Sum* sums) { return _mm512_loadu_si512(sums); }
  BERTGEN_DOT_INLINE static void store(Sums sums, Sum* to) { _mm512_storeu_si512(to, sums); }
  BERTGEN_DOT_INLINE static Sums add(Sums sums, __m512i input, __m512i weights) {
    return _mm512_dpbusd_epi32(sums, input, weights);
  }
};

/// What a product reads and where it goes. Strides count elements of the pointers' types.
template <typename Sum>
struct DotProduct {
  const std::byte* x;
  std::size_t x_stride;
  const std::byte* panel;
  std::size_t steps;
  const Sum* start;  ///< what the sums begin with: one row for all, or a row each
  std::size_t start_stride;
  Sum* y;
  std::size_t y_stride;
};

constexpr std::size_t step_bytes = 4;
constexpr std::size_t lanes = 16;
constexpr std::size_t tile_rows = 6;  // × 4 vectors of sums, as in panels.cpp
constexpr std::size_t tile_vectors = panel_columns / lanes;

/// As PanelTile of panels.cpp.
template <typename Dot, std::size_t rows>
BERTGEN_DOT_INLINE void tile(const DotProduct<typename Dot::Sum>& product, std::size_t row) {
  const std::byte* x = product.x + row * product.x_stride;
  const std::byte* w = product.panel;
  typename Dot::Sums sums[rows][tile_vectors];
  for (std::size_t r = 0; r < rows; ++r) {
    const auto* start = product.start + (row + r) * product.start_stride;
    for (std::size_t v = 0; v < tile_vectors; ++v) sums[r][v] = Dot::load(start + lanes * v);
  }
  for (std::size_t step = 0; step < product.steps; ++step, w += step_bytes * panel_columns) {
    __m512i weights[tile_vectors];
    for (std::size_t v = 0; v < tile_vectors; ++v) weights[v] = _mm512_loadu_si512(w + step_bytes * lanes * v);
    for (std::size_t r = 0; r < rows; ++r) {
      int inputs;
      std::memcpy(&inputs, x + r * product.x_stride + step_bytes * step, sizeof inputs);
      const __m512i input = _mm512_set1_epi32(inputs);
      for (std::size_t v = 0; v < tile_vectors; ++v) sums[r][v] = Dot::add(sums[r][v], input, weights[v]);
    }
  }
  for (std::size_t r = 0; r < rows; ++r) {
    auto* y = product.y + (row + r) * product.y_stride;
    for (std::size_t v = 0; v < tile_vectors; ++v) Dot::store(sums[r][v], y + lanes * v);
  }
}

template <typename Dot>
BERTGEN_DOT void multiply(const DotProduct<typename Dot::Sum>& product, std::size_t rows) {
  std::size_t row = 0;
  for (; row + tile_rows <= rows; row += tile_rows) tile<Dot, tile_rows>(product, row);
  switch (rows - row) {
    case 5:
      return tile<Dot, 5>(product, row);
    case 4:
      return tile<Dot, 4>(product, row);
    case 3:
      return tile<Dot, 3>(product, row);
    case 2:
      return tile<Dot, 2>(product, row);
    case 1:
      return tile<Dot, 1>(product, row);
    default:
      return;
  }
}

}  // namespace

void bf16_panel_product(const std::uint16_t* x, std::size_t x_stride, std::size_t rows, const std::uint16_t* panel,
                        std::size_t steps, const float* bias, float* y, std::size_t y_stride) {
  multiply<Bf16Pairs>(
      {reinterpret_cast<const std::byte*>(x), x_stride * sizeof *x, reinterpret_cast<const std::byte*>(panel), steps,
       bias == nullptr ? y : bias, bias == nullptr ? y_stride : 0, y, y_stride},
      rows);
}

void vnni_panel_product(const std::uint8_t* x, std::size_t x_stride, std::size_t rows, const std::int8_t* panel,
                        std::size_t steps, std::int32_t* sums, bool add) {
  constexpr std::int32_t zeros[panel_columns] = {};
  multiply<ByteFours>({reinterpret_cast<const std::byte*>(x), x_stride, reinterpret_cast<const std::byte*>(panel),
                       steps, add ? sums : zeros, add ? panel_columns : 0, sums, panel_columns},
                      rows);
}
#else
void bf16_panel_product(const std::uint16_t*, std::size_t, std::size_t, const std::uint16_t*, std::size_t, const float*,
                        float*, std::size_t) {}
void vnni_panel_product(const std::uint8_t*, std::size_t, std::size_t, const std::int8_t*, std::size_t, std::int32_t*,
                        bool) {}
#endif

}  // namespace bertgen::kernels
