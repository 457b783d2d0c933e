// Products of bf16 and of bytes by the instructions of AVX-512 BF16, VNNI and AMX, which Highway 1.0 does not have:
// each adds the products of four bytes' worth of inputs, exactly those of a panel's step, to a sum.
#include <algorithm>

#include "bertgen/core/isa.hpp"
#include "kernels/kernels.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>
#include <type_traits>
#endif

namespace bertgen::kernels {

#if defined(__x86_64__)
namespace {

// Functions that are inlined into one another must agree on the set. No compiler uses either of the two unasked, so a
// CPU that has one of them runs its half.
#define BERTGEN_DOT __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16")))
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

/// Where the inputs of a tile of AMX lie: rows of 64 bytes.
struct InputTile {
  const std::byte* at;
  std::size_t stride;  ///< bytes from row to row
  std::size_t next;    ///< bytes to the tile of the next steps
};

/// What a product reads and where it goes. Strides count elements of the pointers' types.
template <typename Sum>
struct DotProduct {
  const std::byte* x;
  std::size_t x_stride;
  bool x_tiles;       ///< x is in tiles, and x_stride that of their rows
  std::size_t first;  ///< step of x
  const std::byte* panel;
  std::size_t steps;
  const Sum* start;  ///< what the sums begin with: one row for all, or a row each
  std::size_t start_stride;
  Sum* y;
  std::size_t y_stride;

  /// Of `height` rows, the first steps.
  InputTile inputs(std::size_t row, std::size_t height) const {
    const std::byte* begin = x + row * x_stride;
    if (!x_tiles) return {begin + first * sizeof(std::uint32_t), x_stride, cache_line};
    return {begin + first / step_padding * height * cache_line, cache_line, height * cache_line};
  }
};

constexpr std::size_t step_bytes = 4;
constexpr std::size_t lanes = 16;
constexpr std::size_t tile_rows = 6;  // × 4 vectors of sums, as in panels.cpp
constexpr std::size_t tile_vectors = panel_columns / lanes;

/// As PanelTile of panels.cpp.
template <typename Dot, std::size_t rows>
BERTGEN_DOT_INLINE void tile(const DotProduct<typename Dot::Sum>& product, std::size_t row, WeightsAhead& ahead) {
  const std::byte* x = product.x + row * product.x_stride + step_bytes * product.first;
  const std::byte* w = product.panel;
  typename Dot::Sums sums[rows][tile_vectors];
  for (std::size_t r = 0; r < rows; ++r) {
    const auto* start = product.start + (row + r) * product.start_stride;
    for (std::size_t v = 0; v < tile_vectors; ++v) sums[r][v] = Dot::load(start + lanes * v);
  }
  for (std::size_t step = 0; step < product.steps; ++step, w += step_bytes * panel_columns) {
    ahead.ask(step);
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
  WeightsAhead ahead(product.panel, product.steps, (rows + tile_rows - 1) / tile_rows, panel_columns * step_bytes);
  std::size_t row = 0;
  for (; row + tile_rows <= rows; row += tile_rows) tile<Dot, tile_rows>(product, row, ahead);
  switch (rows - row) {
    case 5:
      return tile<Dot, 5>(product, row, ahead);
    case 4:
      return tile<Dot, 4>(product, row, ahead);
    case 3:
      return tile<Dot, 3>(product, row, ahead);
    case 2:
      return tile<Dot, 2>(product, row, ahead);
    case 1:
      return tile<Dot, 1>(product, row, ahead);
    default:
      return;
  }
}

#define BERTGEN_TILES \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16,amx-tile,amx-bf16,amx-int8")))
#define BERTGEN_TILES_INLINE BERTGEN_TILES __attribute__((always_inline)) inline

/// How many rows each of AMX's tiles has, as the instruction LDTILECFG reads it; all are 64 bytes wide.
struct TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16];
};

// Rows of a tile, its columns of four bytes, and a panel's steps in one of weights.
constexpr std::size_t tile_side = tile_height;

BERTGEN_TILES void load_configuration(const TileConfig& config) {
  __asm__ volatile("" : : "r"(&config) : "memory");  // GCC's intrinsic does not say that all of it is read
  _tile_loadconfig(&config);
}
BERTGEN_TILES void release_tiles() { _tile_release(); }

// Where two threads share a core, AMX's unit gives each half of its registers: as many as there are tiles by name. Then
// only a product that leaves some names unused may load a tile while another that it replaces is still read, and not
// wait; all eight tiles would take up to twice as long. These products use six, and four.

// Tiles are named by number in the source text, so these cannot be functions.
#define BERTGEN_TILE_ADD(sums, inputs, weights) \
  if constexpr (std::is_same_v<Sum, float>) {   \
    _tile_dpbf16ps(sums, inputs, weights);      \
  } else {                                      \
    _tile_dpbusd(sums, inputs, weights);        \
  }
#define BERTGEN_TILE_LOAD(tile, from, stride) _tile_loadd(tile, from, static_cast<long>(stride))
// What is loaded once should not take the place of weights in the first-level cache.
#define BERTGEN_TILE_LOAD_ONCE(tile, from, stride) _tile_stream_loadd(tile, from, static_cast<long>(stride))
#define BERTGEN_TILE_STORE(tile, to, stride) _tile_stored(tile, to, static_cast<long>(stride))

constexpr std::size_t tile_width = step_bytes * tile_side;  // bytes of a row

/// The weights of 32 columns of a panel.
struct HalfPanel {
  const std::byte* weights;
  std::size_t stride;  ///< bytes from step to step
};

/// 32 rows by 32 columns, the first of which is `column`. Tiles 0 to 3 are sums, 4 inputs, 5 weights.
template <typename Sum>
BERTGEN_TILES_INLINE void two_by_two(const DotProduct<Sum>& product, std::size_t row, std::size_t column,
                                     HalfPanel half, WeightsAhead& ahead) {
  const std::size_t start_stride = product.start_stride * sizeof(Sum), y_stride = product.y_stride * sizeof(Sum);
  const Sum* start = product.start + row * product.start_stride + column;
  const Sum* start2 = start + tile_side * product.start_stride;
  BERTGEN_TILE_LOAD(0, start, start_stride);
  BERTGEN_TILE_LOAD(1, start + tile_side, start_stride);
  BERTGEN_TILE_LOAD(2, start2, start_stride);
  BERTGEN_TILE_LOAD(3, start2 + tile_side, start_stride);
  InputTile x = product.inputs(row, tile_side), x2 = product.inputs(row + tile_side, tile_side);
  const std::byte* w = half.weights;
  for (std::size_t step = 0; step < product.steps / tile_side; ++step) {
    ahead.ask(step);
    BERTGEN_TILE_LOAD_ONCE(4, x.at, x.stride);
    BERTGEN_TILE_LOAD(5, w, half.stride);
    BERTGEN_TILE_ADD(0, 4, 5);
    BERTGEN_TILE_LOAD(5, w + tile_width, half.stride);
    BERTGEN_TILE_ADD(1, 4, 5);
    BERTGEN_TILE_LOAD_ONCE(4, x2.at, x2.stride);
    BERTGEN_TILE_ADD(3, 4, 5);
    BERTGEN_TILE_LOAD(5, w, half.stride);
    BERTGEN_TILE_ADD(2, 4, 5);
    x.at += x.next;
    x2.at += x2.next;
    w += tile_side * half.stride;
  }
  Sum* y = product.y + row * product.y_stride + column;
  Sum* y2 = y + tile_side * product.y_stride;
  BERTGEN_TILE_STORE(0, y, y_stride);
  BERTGEN_TILE_STORE(1, y + tile_side, y_stride);
  BERTGEN_TILE_STORE(2, y2, y_stride);
  BERTGEN_TILE_STORE(3, y2 + tile_side, y_stride);
}

/// Up to 16 rows, as many as the tiles have, by 32 columns. Tiles 0 and 1 are sums, 4 inputs, 5 weights.
template <typename Sum>
BERTGEN_TILES_INLINE void one_by_two(const DotProduct<Sum>& product, std::size_t row, std::size_t rows,
                                     std::size_t column, HalfPanel half) {
  const std::size_t start_stride = product.start_stride * sizeof(Sum), y_stride = product.y_stride * sizeof(Sum);
  const Sum* start = product.start + row * product.start_stride + column;
  BERTGEN_TILE_LOAD(0, start, start_stride);
  BERTGEN_TILE_LOAD(1, start + tile_side, start_stride);
  InputTile x = product.inputs(row, rows);
  const std::byte* w = half.weights;
  for (std::size_t step = 0; step < product.steps; step += tile_side) {
    BERTGEN_TILE_LOAD(4, x.at, x.stride);
    BERTGEN_TILE_LOAD(5, w, half.stride);
    BERTGEN_TILE_ADD(0, 4, 5);
    BERTGEN_TILE_LOAD(5, w + tile_width, half.stride);
    BERTGEN_TILE_ADD(1, 4, 5);
    x.at += x.next;
    w += tile_side * half.stride;
  }
  Sum* y = product.y + row * product.y_stride + column;
  BERTGEN_TILE_STORE(0, y, y_stride);
  BERTGEN_TILE_STORE(1, y + tile_side, y_stride);
}

/// By AMX: float sums of bf16, or integer sums of bytes. `steps` of the product is a multiple of 16.
template <typename Sum>
BERTGEN_TILES void multiply_tiles(const DotProduct<Sum>& product, PanelLayout layout, std::size_t rows, Tiles& tiles) {
  const std::size_t width = step_bytes * half_columns;
  const std::size_t blocks = rows / (2 * tile_side);
  for (std::size_t column = 0; column < panel_columns; column += half_columns) {
    const HalfPanel half = layout == PanelLayout::whole
                               ? HalfPanel{product.panel + column * step_bytes, 2 * width}
                               : HalfPanel{product.panel + column * step_bytes * product.steps, width};
    std::size_t row = 0;
    if (blocks != 0) {
      tiles.set_up(tile_side);
      WeightsAhead ahead(half.weights, product.steps / tile_side, blocks, tile_side * width);
      for (; row < blocks * 2 * tile_side; row += 2 * tile_side) two_by_two(product, row, column, half, ahead);
    }
    for (; row < rows; row += tile_side) {
      const std::size_t here = std::min(tile_side, rows - row);
      tiles.set_up(here);
      one_by_two(product, row, here, column, half);
    }
  }
}

#undef BERTGEN_TILE_ADD
#undef BERTGEN_TILE_LOAD
#undef BERTGEN_TILE_LOAD_ONCE
#undef BERTGEN_TILE_STORE

BERTGEN_DOT_INLINE void round_vectors(const float* x, std::size_t count, std::uint16_t* y) {
  std::size_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    const __m512bh pair = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + lanes), _mm512_loadu_ps(x + i));
    _mm512_storeu_si512(y + i, reinterpret_cast<__m512i>(pair));
  }
  for (; i < count; i += lanes) {
    const auto mask = static_cast<__mmask16>(count - i < lanes ? (1u << (count - i)) - 1 : 0xffffu);
    const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x + i));
    _mm256_mask_storeu_epi16(y + i, mask, reinterpret_cast<__m256i>(rounded));
  }
}
BERTGEN_DOT void round_rows(const float* x, std::size_t x_stride, std::size_t rows, std::size_t count, std::uint16_t* y,
                            std::size_t y_stride) {
  for (std::size_t row = 0; row < rows; ++row) round_vectors(x + row * x_stride, count, y + row * y_stride);
}

}  // namespace

void dot_round_to_bf16(const float* x, std::size_t x_stride, std::size_t rows, std::size_t count, std::uint16_t* y,
                       std::size_t y_stride) {
  round_rows(x, x_stride, rows, count, y, y_stride);
}

Tiles::~Tiles() {
  if (rows_ != 0) release_tiles();
}

void Tiles::set_up(std::size_t rows) {
  if (rows == rows_) return;
  const auto few = static_cast<std::uint8_t>(rows);
  load_configuration({.rows = {few, few, few, few, few, static_cast<std::uint8_t>(tile_side)}});
  rows_ = rows;
}

void bf16_panel_product(const std::uint16_t* x, std::size_t x_stride, std::size_t rows, const std::uint16_t* panel,
                        PanelLayout layout, std::size_t first, std::size_t steps, const float* bias, float* y,
                        std::size_t y_stride, Tiles& tiles) {
  const DotProduct<float> product{reinterpret_cast<const std::byte*>(x),
                                  x_stride * sizeof *x,
                                  layout == PanelLayout::halves,
                                  first,
                                  reinterpret_cast<const std::byte*>(panel),
                                  steps,
                                  bias == nullptr ? y : bias,
                                  bias == nullptr ? y_stride : 0,
                                  y,
                                  y_stride};
  if (active_isa() >= Isa::amx) return multiply_tiles(product, layout, rows, tiles);
  multiply<Bf16Pairs>(product, rows);
}

void dot_byte_panel_product(const std::uint8_t* x, std::size_t x_stride, std::size_t rows, const std::int8_t* panel,
                            PanelLayout layout, std::size_t first, std::size_t steps, std::int32_t* sums, bool add,
                            Tiles& tiles) {
  constexpr std::int32_t zeros[panel_columns] = {};
  const DotProduct<std::int32_t> product{reinterpret_cast<const std::byte*>(x),
                                         x_stride,
                                         layout == PanelLayout::halves,
                                         first,
                                         reinterpret_cast<const std::byte*>(panel),
                                         steps,
                                         add ? sums : zeros,
                                         add ? panel_columns : 0,
                                         sums,
                                         panel_columns};
  if (active_isa() >= Isa::amx) return multiply_tiles(product, layout, rows, tiles);
  multiply<ByteFours>(product, rows);
}
#else
void dot_round_to_bf16(const float*, std::size_t, std::size_t, std::size_t, std::uint16_t*, std::size_t) {}
Tiles::~Tiles() {}
void Tiles::set_up(std::size_t) {}
void bf16_panel_product(const std::uint16_t*, std::size_t, std::size_t, const std::uint16_t*, PanelLayout, std::size_t,
                        std::size_t, const float*, float*, std::size_t, Tiles&) {}
void dot_byte_panel_product(const std::uint8_t*, std::size_t, std::size_t, const std::int8_t*, PanelLayout, std::size_t,
                            std::size_t, std::int32_t*, bool, Tiles&) {}
#endif

}  // namespace bertgen::kernels
