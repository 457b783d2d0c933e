// The kernels that are compiled once per instruction set and chosen at run time. Pointers and sizes only, so
// that nothing with inline code of its own (std, Eigen) is compiled under an instruction set's flags.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bertgen {
enum class Activation : std::uint8_t;
struct AttentionGroup;
}  // namespace bertgen

namespace bertgen::kernels {

/// `count` and what is missing to the next multiple.
constexpr std::size_t round_up(std::size_t count, std::size_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

/// Bytes that a cache holds or asks for together.
inline constexpr std::size_t cache_line = 64;

/// Asks for the cache lines of a row. The CPU does not look ahead by itself in rows that lie pages apart. Inlined at
/// once, for else GCC takes what only prefetches for a function without effect, and drops its calls.
[[gnu::always_inline]] inline void prefetch(const void* row, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += cache_line) __builtin_prefetch(static_cast<const char*>(row) + i);
}

/// The Highway target whose code runs: "AVX3", "AVX2", "SSE4", "NEON", and "EMU128" or "SCALAR".
const char* target_name();

/// x[0, count) ← activation(x).
void activate(Activation activation, float* x, std::size_t count);

/// One row of layer_norm; residual may be null; y may be x or residual.
void layer_norm_row(const float* x, const float* residual, const float* weight, const float* bias, double epsilon,
                    std::size_t hidden, float* y);

/// log Σ exp(x), as ops/softmax.hpp defines it.
float log_sum_exp(const float* x, std::size_t count);

/// As ops/search.hpp defines them.
std::size_t find_above(const float* x, std::size_t begin, std::size_t count, float less, float base, float bound);
std::size_t arg_max(const float* x, std::size_t count);

/// Columns of a panel: 64 outputs of a matrix, [steps, 64] of four bytes: one float, two bf16 or four int8 inputs of
/// each. A product streams through it.
inline constexpr std::size_t panel_columns = 64;
/// Steps that AMX takes at a time, a line of them, and that the products which may use it are given a multiple of.
inline constexpr std::size_t step_padding = 16;
/// Rows that it takes at a time.
inline constexpr std::size_t tile_height = 16;

/// How the columns of a panel lie in memory: side by side, or as two halves of 32, [steps, 32] one after the other. AMX
/// multiplies halves one after the other; the first-level cache keeps the steps_of_half of one that many rows pass by,
/// but of columns side by side it would use half of its sets.
enum class PanelLayout : bool { whole, halves };
inline constexpr std::size_t half_columns = panel_columns / 2;
/// Steps of a half that fill 32 KB.
inline constexpr std::size_t steps_of_half = 256;

/// Asks the second-level cache for weights while a block of them is walked along, a number of steps. Walked along more
/// than once, the block that follows in memory, of which each walk asks for a share: by itself the CPU would wait for
/// memory in the first walk, and leave memory idle in the others. Walked along once, what comes soon.
class WeightsAhead {
 public:
  /// step_bytes: of a step of the walk.
  WeightsAhead(const void* block, std::size_t steps, std::size_t walks, std::size_t step_bytes);

  /// To be called at each step of a walk. Inlined as prefetch() is.
  [[gnu::always_inline]] void ask(std::size_t step) {
    if (step >= steps_ || (step & between_) != 0) return;
    for (std::size_t i = 0; i < lines_; ++i, next_ += cache_line) __builtin_prefetch(next_, 0, 2);
  }

 private:
  const char* next_ = nullptr;
  std::size_t lines_ = 0;    // each time
  std::size_t steps_ = 0;    // of a walk, that ask
  std::size_t between_ = 0;  // a power of two less one: steps that do not ask after one that does
};

/// What AMX's tiles are set up for, so that one product after another need not do it anew, which takes as long as some
/// tiles' work. Of one thread; without AMX it does nothing.
class Tiles {
 public:
  Tiles() = default;
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
  ~Tiles();

  /// Sets the tiles up for so many rows, up to 16.
  void set_up(std::size_t rows);

 private:
  std::size_t rows_ = 0;
};

/// y[r][c] = bias[c] + Σ_k x[r][k] · panel[k][c] for all 64 columns c and k < depth; without a bias (null), y[r][c] +=
/// the sum. Each sum runs over k in rising order, so a row's bits depend neither on the rows beside it nor on how depth
/// is divided into calls. Strides count elements.
void panel_product(const float* x, std::size_t x_stride, std::size_t rows, const float* panel, std::size_t depth,
                   const float* bias, float* y, std::size_t y_stride);
/// The same for a panel of pairs of bf16 bits and inputs that bf16 holds; `steps` counts pairs.
void bf16_panel_product(const float* x, std::size_t x_stride, std::size_t rows, const std::uint32_t* panel,
                        std::size_t steps, const float* bias, float* y, std::size_t y_stride);
/// The same over steps [first, first + steps) of the inputs, bits too, `first` and `steps` multiples of step_padding;
/// `panel` has these steps. Needs AVX-512 BF16 or AMX, which add the products of a pair, or of 32 inputs, in one
/// instruction. AMX alone takes halves, each of as many steps, and with them inputs in tiles (lines_of()).
void bf16_panel_product(const std::uint16_t* x, std::size_t x_stride, std::size_t rows, const std::uint16_t* panel,
                        PanelLayout layout, std::size_t first, std::size_t steps, const float* bias, float* y,
                        std::size_t y_stride, Tiles& tiles);
/// sums[r][c] (+)= Σ x[r][k] · panel[k][c], exactly, over steps of four inputs, as above; sums: [rows, 64]. AMX alone
/// takes halves, and inputs in tiles.
void byte_panel_product(const std::uint8_t* x, std::size_t x_stride, std::size_t rows, const std::int8_t* panel,
                        PanelLayout layout, std::size_t first, std::size_t steps, std::int32_t* sums, bool add,
                        Tiles& tiles);
/// The same. Needs AVX-512 VNNI or AMX.
void dot_byte_panel_product(const std::uint8_t* x, std::size_t x_stride, std::size_t rows, const std::int8_t* panel,
                            PanelLayout layout, std::size_t first, std::size_t steps, std::int32_t* sums, bool add,
                            Tiles& tiles);

/// How the 64-byte lines of a row lie.
struct Lines {
  std::byte* first;
  std::size_t next;  ///< bytes from one to the next: 64, but for inputs in tiles
};
/// Rows whose lines lie in tiles: those of 16 rows, or of what remains of them, that AMX takes at a time are
/// neighbours, so that the CPU reads one stretch ahead where rows would lie pages apart. `rows`: of all, each of
/// `lines`.
inline Lines lines_of(std::byte* x, std::size_t lines, std::size_t row, std::size_t rows) {
  const std::size_t above = row / tile_height * tile_height;
  const std::size_t height = rows - above < tile_height ? rows - above : tile_height;
  return {x + above * lines * cache_line + (row - above) * cache_line, height * cache_line};
}

/// [steps, columns] from `count` rows, up to as many as columns; zero where there is no row. columns: 64 or 32.
void pack_panel(const std::uint32_t* const* rows, std::size_t count, std::size_t steps, std::uint32_t* panel,
                std::size_t columns = panel_columns);

/// x[0, count) to bf16 bits, to nearest, ties to even; NaN stays NaN. Subnormals may become zero.
void round_to_bf16(const float* x, std::size_t count, std::uint16_t* y);
/// The same of rows.
void round_to_bf16(const float* x, std::size_t x_stride, std::size_t rows, std::size_t count, std::uint16_t* y,
                   std::size_t y_stride);
/// The same. Needs AVX-512 BF16.
void dot_round_to_bf16(const float* x, std::size_t x_stride, std::size_t rows, std::size_t count, std::uint16_t* y,
                       std::size_t y_stride);
/// As round_to_bf16(), as floats.
void round_to_bf16(const float* x, std::size_t count, float* y);
/// bf16 bits x[0, count) as floats.
void widen(const std::uint16_t* x, std::size_t count, float* y);
/// q = 128 + round(x / scale), 1 to 255, with scale = max |x| / 127, which it returns: 0 for zeros, NaN where an
/// element is not finite. The same on every instruction set. next: bytes from one line of 64 of q to the next.
float quantize_row(const float* x, std::size_t count, std::uint8_t* q, std::size_t next = cache_line);
/// The same of bf16 bits.
float quantize_row(const std::uint16_t* x, std::size_t count, std::uint8_t* q, std::size_t next = cache_line);
/// The same as signed bytes, round(x / scale): a row of weights.
float quantize_row(const float* x, std::size_t count, std::int8_t* q);
/// y[r][i] = (sums[r][i] − offsets[i]) · (row_scales[r] · scales[i]) + bias[i]; [rows, count].
void dequantize(const std::int32_t* sums, std::size_t sums_stride, std::size_t rows, std::size_t count,
                const float* row_scales, const std::int32_t* offsets, const float* scales, const float* bias, float* y,
                std::size_t y_stride);

/// What attend() is given, and multiplies.
enum class HeadType : std::uint8_t {
  f32,
  bf16,        ///< bf16 bits, multiplied as floats
  bf16_pairs,  ///< bf16 bits; the products of many queries are of pairs, as bf16_panel_product() of bits needs
};
/// Where the first head's numbers lie: rows of heads · head_dim of them, `stride` numbers from one row to the next.
struct HeadRows {
  const void* data;
  std::size_t stride;
};

/// Floats of scratch, aligned to 64 bytes, that attend() needs for a group of so many queries and keys.
std::size_t attend_scratch(std::size_t queries, std::size_t keys, std::size_t heads, std::size_t head_dim,
                           HeadType type);

/// `heads` neighbouring heads of one group of ops/attention.hpp. `context`: of floats or of bf16 bits, as the heads
/// are, context_stride of them from row to row.
void attend(const AttentionGroup& group, HeadRows queries, HeadRows keys, HeadRows values, std::size_t heads,
            std::size_t head_dim, float scale, HeadType type, void* context, std::size_t context_stride,
            float* scratch);

}  // namespace bertgen::kernels
