// Products of bf16 by AVX-512 BF16's own instruction, which Highway 1.0 does not have. Pairs of inputs are multiplied
// and added to a float sum; subnormals count as zero.
#include "kernels/kernels.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>
#endif

#include "bertgen/core/isa.hpp"

namespace bertgen::kernels {

bool bf16_panels_available() { return active_isa() >= Isa::avx512_bf16; }

#if defined(__x86_64__)
namespace {

#define BERTGEN_AVX512_BF16 __attribute__((target("avx512f,avx512bf16"), always_inline)) inline

constexpr std::size_t tile_rows = 6;  // × 4 vectors of sums, as in panels.cpp

/// As PanelTile of panels.cpp.
template <std::size_t rows>
BERTGEN_AVX512_BF16 void tile(const std::uint16_t* x, std::size_t x_stride, const std::uint16_t* w, std::size_t steps,
                              const float* bias, float* y, std::size_t y_stride) {
  __m512 sums[rows][4];
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t v = 0; v < 4; ++v) {
      sums[r][v] = _mm512_loadu_ps((bias == nullptr ? y + r * y_stride : bias) + 16 * v);
    }
  }
  for (std::size_t step = 0; step < steps; ++step, w += 2 * panel_columns) {
    __m512i weights[4];
    for (std::size_t v = 0; v < 4; ++v) weights[v] = _mm512_loadu_si512(w + 32 * v);
    for (std::size_t r = 0; r < rows; ++r) {
      int pair;
      std::memcpy(&pair, x + r * x_stride + 2 * step, sizeof pair);
      const auto input = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
      for (std::size_t v = 0; v < 4; ++v) {
        sums[r][v] = _mm512_dpbf16_ps(sums[r][v], input, reinterpret_cast<__m512bh>(weights[v]));
      }
    }
  }
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t v = 0; v < 4; ++v) _mm512_storeu_ps(y + r * y_stride + 16 * v, sums[r][v]);
  }
}

__attribute__((target("avx512f,avx512bf16"))) void product(const std::uint16_t* x, std::size_t x_stride,
                                                           std::size_t rows, const std::uint16_t* panel,
                                                           std::size_t steps, const float* bias, float* y,
                                                           std::size_t y_stride) {
  for (; rows >= tile_rows; rows -= tile_rows, x += tile_rows * x_stride, y += tile_rows * y_stride) {
    tile<tile_rows>(x, x_stride, panel, steps, bias, y, y_stride);
  }
  switch (rows) {
    case 5:
      return tile<5>(x, x_stride, panel, steps, bias, y, y_stride);
    case 4:
      return tile<4>(x, x_stride, panel, steps, bias, y, y_stride);
    case 3:
      return tile<3>(x, x_stride, panel, steps, bias, y, y_stride);
    case 2:
      return tile<2>(x, x_stride, panel, steps, bias, y, y_stride);
    case 1:
      return tile<1>(x, x_stride, panel, steps, bias, y, y_stride);
    default:
      return;
  }
}

}  // namespace

void bf16_panel_product(const std::uint16_t* x, std::size_t x_stride, std::size_t rows, const std::uint16_t* panel,
                        std::size_t steps, const float* bias, float* y, std::size_t y_stride) {
  product(x, x_stride, rows, panel, steps, bias, y, y_stride);
}
#else
void bf16_panel_product(const std::uint16_t*, std::size_t, std::size_t, const std::uint16_t*, std::size_t, const float*,
                        float*, std::size_t) {}
#endif

}  // namespace bertgen::kernels
