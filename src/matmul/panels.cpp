// Weights in panels of 64 outputs (kernels/kernels.hpp), of float, bf16 or int8; multiplied by this library's kernels,
// or by oneDNN where it is asked for.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "backends.hpp"
#include "bertgen/core/isa.hpp"
#include "bertgen/core/pages.hpp"
#include "kernels/kernels.hpp"
#include "parallel.hpp"

namespace bertgen::detail {
namespace {

using kernels::cache_line;
using kernels::Lines;
using kernels::panel_columns;
using kernels::PanelLayout;
using kernels::round_up;
using kernels::step_padding;

/// A block is up to `most` rows by 512 steps of one panel: 128 KB of weights, which the second-level cache keeps while
/// all rows pass by them, and up to 240 KB of input beside it; by AMX, whose CPUs have 2 MB, 256 steps and 256 KB.
struct RowBlock {
  std::size_t kernel;  ///< rows that the kernels multiply at a time
  std::size_t most;    ///< a multiple of them
};
constexpr RowBlock vector_rows = {6, 20 * 6};
constexpr RowBlock tile_rows = {32, 8 * 32};
constexpr std::size_t whole_step_block = 512;
// Rows of a panel's results that are scaled, activated and rounded before the next: the first-level cache holds them.
constexpr std::size_t finished_rows = 32;
// Rows that oneDNN multiplies at a time. It runs at full speed from about 16 rows on, so the size only bounds how many
// primitives a matrix needs: one for whole tiles, one for each remainder that occurs.
[[maybe_unused]] constexpr std::size_t onednn_rows = 64;
// Work below which a second thread costs more than it saves (about 2 µs): multiply-adds, and elements passed over.
constexpr std::size_t product_grain = 65536;
constexpr std::size_t element_grain = 8192;
// A product walks through all of a matrix; small ones share pages.
constexpr std::size_t huge_weights = std::size_t{2} << 20;
// Packed bytes after which what they were read from is released.
constexpr std::size_t release_bytes = std::size_t{4} << 20;

class PanelMatmul final : public MatmulKernel<float> {
 public:
  PanelMatmul(const MatrixRows& weight, std::vector<float> bias, DType dtype, MatmulBackend backend, int threads)
      : dtype_(dtype),
        in_(weight.in()),
        out_(weight.out()),
        panels_(round_up(out_, panel_columns) / panel_columns),
        steps_(round_up(in_, inputs_padding()) / per_step()),
        panel_bytes_(round_up(steps_, step_padding) * panel_columns * sizeof(std::uint32_t)),
        layout_(dtype != DType::f32 && backend != MatmulBackend::onednn && active_isa() >= Isa::amx
                    ? PanelLayout::halves
                    : PanelLayout::whole),
        weight_(allocate_pages(panels_ * panel_bytes_, huge_weights)),
        bias_(std::move(bias)) {
    bias_.resize(panels_ * panel_columns);
    if (dtype_ == DType::i8) {
      scales_.resize(bias_.size());
      offsets_.resize(bias_.size());
    }
    pack_all(weight, threads);
    use_onednn(backend);
  }

  void multiply(MatmulInput x, std::size_t rows, MatmulOutput y, Activation activation,
                Workspace& workspace) const override {
    if (rows == 0) return;
    Workspace::Scope scope(workspace);
    const Input input = prepare(x, rows, scope, workspace.threads());
#ifdef BERTGEN_WITH_ONEDNN
    if (onednn_ != nullptr) return multiply_by_onednn(input, rows, y, activation, workspace);
#endif
    const RowBlock& limit = dtype_ != DType::f32 && active_isa() >= Isa::amx ? tile_rows : vector_rows;
    const std::size_t blocks = round_up(rows, limit.most) / limit.most;
    // As good as equal, lest the thread with the last of them have less to do.
    const std::size_t block = round_up((rows + blocks - 1) / blocks, limit.kernel);
    const std::size_t tasks = blocks * panels_;
    const std::size_t least =
        std::max<std::size_t>(1, product_grain * tasks / std::max<std::size_t>(1, rows * in_ * out_));
    parallel_ranges(tasks, least, workspace.threads(), [&](std::size_t first, std::size_t last) {
      kernels::Tiles tiles;
      for (std::size_t task = first; task < last; ++task) {
        const std::size_t row = task / panels_ * block;
        multiply_panel(input.from(row), std::min(block, rows - row), task % panels_,
                       of_panel(task % panels_, from_row(y, row)), activation, tiles);
      }
    });
  }

  std::size_t bytes() const override {
    return panels_ * panel_bytes_ + (bias_.size() + scales_.size() + offsets_.size()) * sizeof(float);
  }
  DType dtype() const override { return dtype_; }
  bool splits_at(std::size_t columns) const override {
#ifdef BERTGEN_WITH_ONEDNN
    if (onednn_ != nullptr) return false;
#endif
    return columns % panel_columns == 0;
  }
  RowLayout row_layout() const override {
    const bool whole_lines = in_ == steps_ * per_step() && out_ * sizeof(std::uint16_t) % cache_line == 0;
    return dtype_ == DType::bf16 && tiles() && whole_lines ? RowLayout::tiles : RowLayout::rows;
  }

 private:
  /// Rows in the type that the weights are multiplied with.
  struct Input {
    const std::byte* values;
    std::size_t stride;      ///< elements of a row, which is how far apart rows lie unless they are in tiles
    std::size_t size;        ///< bytes of an element
    std::size_t step_bytes;  ///< bytes of a step
    const float* scales;     ///< [rows], of int8

    Input from(std::size_t row) const {
      return {values + row * stride * size, stride, size, step_bytes, scales == nullptr ? nullptr : scales + row};
    }
    template <typename T>
    const T* at(std::size_t step) const {
      return reinterpret_cast<const T*>(values + step * step_bytes);
    }
  };

  /// Inputs of a step: what fits four bytes.
  std::size_t per_step() const { return dtype_ == DType::f32 ? 1 : dtype_ == DType::bf16 ? 2 : 4; }
  /// Inputs are filled up to a multiple of this.
  std::size_t inputs_padding() const { return dtype_ == DType::f32 ? 1 : per_step() * step_padding; }

  /// Whether AMX multiplies, to which inputs come in tiles.
  bool tiles() const { return layout_ == PanelLayout::halves; }

  /// Whether inputs of bf16 are multiplied as pairs, or else as floats.
  bool pairs() const {
#ifdef BERTGEN_WITH_ONEDNN
    if (onednn_ != nullptr) return true;
#endif
    return active_isa() >= Isa::avx512_bf16;
  }

  Input prepare(MatmulInput x, std::size_t rows, Workspace::Scope& scope, int threads) const {
    const auto* given = static_cast<const std::byte*>(x.data);
    if (dtype_ == DType::f32) return {given, in_, sizeof(float), sizeof(float), nullptr};
    const bool floats = dtype_ == DType::bf16 && !pairs();
    const std::size_t size = floats ? sizeof(float) : size_of(dtype_);
    const std::size_t stride = steps_ * per_step();
    const bool ready = x.layout == RowLayout::tiles || !tiles() || rows == 1;  // one row is a tile as it is
    if (x.type == dtype_ && !floats && ready && stride == in_) return {given, in_, size, size * per_step(), nullptr};
    const auto values = scope.take<std::byte>({rows, stride * size});
    const auto scales = scope.take<float>({dtype_ == DType::i8 ? rows : 0});
    const std::size_t grain = std::max<std::size_t>(1, element_grain / std::max<std::size_t>(1, in_));
    parallel_ranges(rows, grain, threads, [&](std::size_t first, std::size_t last) {
      for (std::size_t row = first; row < last; ++row) {
        const Lines encoded = tiles() ? kernels::lines_of(values.data(), stride * size / cache_line, row, rows)
                                      : Lines{values.row(row), cache_line};
        const std::byte* from = given + row * in_ * size_of(x.type);
        const float scale = x.type == DType::bf16
                                ? encode_row(reinterpret_cast<const std::uint16_t*>(from), floats, encoded)
                                : encode_row(reinterpret_cast<const float*>(from), floats, encoded);
        if (dtype_ == DType::i8) scales.data()[row] = scale;
        pad(encoded, size);
      }
    });
    return {values.data(), stride, size, size * per_step(), dtype_ == DType::i8 ? scales.data() : nullptr};
  }

  /// A row in the type that is multiplied; bf16 as `floats`, one line after the other, or as bits. Returns the scale of
  /// int8.
  template <typename X>
  float encode_row(const X* x, bool floats, Lines encoded) const {
    if (dtype_ == DType::i8) {
      return kernels::quantize_row(x, in_, reinterpret_cast<std::uint8_t*>(encoded.first), encoded.next);
    }
    if (floats) {
      auto* wide = reinterpret_cast<float*>(encoded.first);
      if constexpr (std::is_same_v<X, float>) {
        kernels::round_to_bf16(x, in_, wide);
      } else {
        kernels::widen(x, in_, wide);
      }
      return 1.0f;
    }
    constexpr std::size_t line = cache_line / sizeof(std::uint16_t);
    const std::size_t whole = in_ / line;
    std::byte* last = encoded.first + whole * encoded.next;
    if constexpr (std::is_same_v<X, float>) {
      auto* bits = reinterpret_cast<std::uint16_t*>(encoded.first);
      kernels::round_to_bf16(x, line, whole, line, bits, encoded.next / sizeof *bits);
      kernels::round_to_bf16(x + whole * line, in_ % line, reinterpret_cast<std::uint16_t*>(last));
    } else {
      for (std::size_t i = 0; i < whole; ++i) std::memcpy(encoded.first + i * encoded.next, x + i * line, cache_line);
      std::memcpy(last, x + whole * line, in_ % line * sizeof *x);
    }
    return 1.0f;
  }

  /// What completes the last line of a row, of inputs or of weights of `size` bytes each.
  void pad(Lines encoded, std::size_t size) const {
    if (steps_ * per_step() == in_) return;
    const std::size_t whole = in_ * size / cache_line, filled = in_ * size % cache_line;
    std::memset(encoded.first + whole * encoded.next + filled, 0, (steps_ * per_step() - in_) * size);
  }

  std::byte* panel(std::size_t index) const { return weight_.get() + index * panel_bytes_; }

  void pack_all(const MatrixRows& weight, int threads) {
    // Panels between two releases of what they were read from, which takes a call of the system.
    const std::size_t run = std::max<std::size_t>(1, release_bytes / std::max<std::size_t>(1, panel_bytes_));
    const std::size_t runs = round_up(panels_, run) / run;
    const std::size_t workers =
        std::clamp<std::size_t>(static_cast<std::size_t>(threads), 1, std::max<std::size_t>(1, runs));
    // Scratch of each thread: 64 rows as floats, and encoded.
    Tensor<float> rows({workers, panel_columns * in_});
    Tensor<std::uint32_t> encoded({workers, dtype_ == DType::f32 ? 0 : panel_columns * steps_});
    parallel_for(runs, static_cast<int>(workers), [&](std::size_t index, std::size_t thread) {
      const std::size_t first = index * run;
      const std::size_t last = std::min(panels_, first + run);
      for (std::size_t i = first; i < last; ++i) {
        pack(weight, i, rows.view().row(thread), encoded.view().row(thread));
      }
      const std::size_t row = first * panel_columns;
      weight.release(row, std::min(out_, last * panel_columns) - row);
    });
  }

  void pack(const MatrixRows& weight, std::size_t index, float* scratch, std::uint32_t* encoded) {
    const std::size_t first = index * panel_columns;
    const std::size_t count = std::min(panel_columns, out_ - first);
    const std::uint32_t* steps = encoded;
    if (dtype_ == DType::i8 && weight.quantized()) {
      for (std::size_t column = 0; column < count; ++column) {
        auto* row = reinterpret_cast<std::int8_t*>(encoded + column * steps_);
        weight.read_quantized(first + column, row, &scales_[first + column]);
      }
    } else {
      const float* rows = weight.read(first, count, scratch);
      if (dtype_ == DType::f32) steps = reinterpret_cast<const std::uint32_t*>(rows);
      for (std::size_t column = 0; dtype_ != DType::f32 && column < count; ++column) {
        encode(rows + column * in_, first + column, encoded + column * steps_);
      }
    }
    for (std::size_t column = 0; dtype_ != DType::f32 && column < count; ++column) {
      auto* row = reinterpret_cast<std::byte*>(encoded + column * steps_);
      pad({row, cache_line}, size_of(dtype_));
      if (dtype_ == DType::i8) offsets_[first + column] = 128 * sum_of(row);
    }
    auto* packed = reinterpret_cast<std::uint32_t*>(panel(index));
    arrange(steps, count, packed);
    const std::size_t written = steps_ * panel_columns * sizeof(std::uint32_t);
    std::memset(panel(index) + written, 0, panel_bytes_ - written);
  }

  /// Rows [count, steps] as columns of a panel, whose halves, if it has them, lie one after the other in each block.
  void arrange(const std::uint32_t* rows, std::size_t count, std::uint32_t* packed) const {
    const std::size_t width = layout_ == PanelLayout::whole ? panel_columns : kernels::half_columns;
    for (std::size_t begin = 0; begin < steps_; begin += step_block()) {
      const std::size_t here = std::min(step_block(), steps_ - begin);
      for (std::size_t left = 0; left < panel_columns; left += width) {
        const std::size_t filled = std::min(width, count - std::min(count, left));
        const std::uint32_t* columns[panel_columns];
        for (std::size_t i = 0; i < filled; ++i) columns[i] = rows + (left + i) * steps_ + begin;
        kernels::pack_panel(columns, filled, here, packed + begin * panel_columns + left * here, width);
      }
    }
  }

  /// One output's weights in the packed type, bf16 or int8.
  void encode(const float* row, std::size_t output, std::uint32_t* encoded) {
    if (dtype_ == DType::i8) {
      scales_[output] = kernels::quantize_row(row, in_, reinterpret_cast<std::int8_t*>(encoded));
    } else {
      kernels::round_to_bf16(row, in_, reinterpret_cast<std::uint16_t*>(encoded));
    }
  }
  std::int32_t sum_of(const std::byte* bytes) const {
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < in_; ++i) sum += static_cast<std::int8_t>(bytes[i]);
    return sum;
  }

  static void* shifted(void* data, std::size_t bytes) {
    return data == nullptr ? nullptr : static_cast<std::byte*>(data) + bytes;
  }
  MatmulOutput from_row(MatmulOutput y, std::size_t row) const {
    const std::size_t size = row * size_of(y.type);
    return {shifted(y.data, size * y.columns), y.type, y.layout, y.columns, shifted(y.rest, size * (out_ - y.columns))};
  }

  /// Where the results of a panel go: columns of a row-major matrix, or of tiles.
  struct PanelOutput {
    void* data;
    DType type;
    RowLayout layout;
    std::size_t columns;  ///< of all the matrix
    std::size_t first;    ///< of the panel's
    std::size_t count;    ///< that the panel has

    PanelOutput from(std::size_t row) const {
      return {shifted(data, row * columns * size_of(type)), type, layout, columns, first, count};
    }
    template <typename T>
    T* rows() const {
      return static_cast<T*>(data) + first;
    }
  };
  PanelOutput of_panel(std::size_t index, const MatmulOutput& y) const {
    const std::size_t first = index * panel_columns;
    const std::size_t count = std::min(panel_columns, out_ - first);
    if (first < y.columns) return {y.data, y.type, y.layout, y.columns, first, count};
    return {y.rest, y.type, y.layout, out_ - y.columns, first - y.columns, count};
  }

  /// The columns of one panel for up to a block of rows.
  void multiply_panel(const Input& input, std::size_t rows, std::size_t index, const PanelOutput& y,
                      Activation activation, kernels::Tiles& tiles) const {
    alignas(64) std::byte block[tile_rows.most * panel_columns * sizeof(float)];
    if (dtype_ == DType::i8) {
      auto* sums = reinterpret_cast<std::int32_t*>(block);
      add_products(input, rows, index, nullptr, sums, panel_columns, tiles);
      if (y.type == DType::f32) {
        finish(sums, panel_columns, rows, index * panel_columns, y.count, input.scales, y.rows<float>(), y.columns,
               activation);
      } else {
        finish_bf16(sums, rows, index * panel_columns, input.scales, y, activation);
      }
      return;
    }
    if (y.type == DType::f32 && y.count == panel_columns) {
      auto* result = y.rows<float>();
      add_products(input, rows, index, result, nullptr, y.columns, tiles);
      for (std::size_t row = 0; activation != Activation::linear && row < rows; ++row) {
        kernels::activate(activation, result + row * y.columns, y.count);
      }
      return;
    }
    auto* result = reinterpret_cast<float*>(block);  // the last panel may be wider than y
    add_products(input, rows, index, result, nullptr, panel_columns, tiles);
    for (std::size_t row = 0; row < rows; row += finished_rows) {
      const std::size_t here = std::min(finished_rows, rows - row);
      store(result + row * panel_columns, here, y.from(row), activation);
    }
  }

  /// Activates a whole panel's results, [rows, 64], and puts them where they belong.
  static void store(float* results, std::size_t rows, const PanelOutput& y, Activation activation) {
    if (activation != Activation::linear) kernels::activate(activation, results, rows * panel_columns);
    if (y.layout == RowLayout::tiles) return store_tiles(results, rows, y);
    if (y.type == DType::bf16) {
      return kernels::round_to_bf16(results, panel_columns, rows, y.count, y.rows<std::uint16_t>(), y.columns);
    }
    auto* to = y.rows<float>();
    for (std::size_t row = 0; row < rows; ++row) {
      std::copy_n(results + row * panel_columns, y.count, to + row * y.columns);
    }
  }

  /// Results as the next product's inputs. `rows` begin with a tile.
  static void store_tiles(const float* results, std::size_t rows, const PanelOutput& y) {
    constexpr std::size_t line = cache_line / sizeof(std::uint16_t);
    for (std::size_t row = 0; row < rows; row += kernels::tile_height) {
      const std::size_t here = std::min(kernels::tile_height, rows - row);
      const Lines lines = kernels::lines_of(static_cast<std::byte*>(y.data), y.columns / line, row, rows);
      for (std::size_t column = 0; column < y.count; column += line) {
        std::byte* to = lines.first + (y.first + column) / line * lines.next;
        kernels::round_to_bf16(results + row * panel_columns + column, panel_columns, here, line,
                               reinterpret_cast<std::uint16_t*>(to), line);
      }
    }
  }

  /// finish() with results in bf16.
  void finish_bf16(const std::int32_t* sums, std::size_t rows, std::size_t first, const float* row_scales,
                   const PanelOutput& y, Activation activation) const {
    alignas(64) float results[finished_rows * panel_columns];
    for (std::size_t row = 0; row < rows; row += finished_rows) {
      const std::size_t here = std::min(finished_rows, rows - row);
      finish(sums + row * panel_columns, panel_columns, here, first, panel_columns, row_scales + row, results,
             panel_columns, Activation::linear);
      store(results, here, y.from(row), activation);
    }
  }

  /// Steps that are multiplied at a time.
  std::size_t step_block() const { return layout_ == PanelLayout::whole ? whole_step_block : kernels::steps_of_half; }

  /// All steps of one panel, a block at a time; into `y`, or for int8 into `sums`.
  void add_products(const Input& input, std::size_t rows, std::size_t index, float* y, std::int32_t* sums,
                    std::size_t stride, kernels::Tiles& tiles) const {
    std::size_t step = 0;
    do {  // once where there is no input: y is the bias then
      const std::size_t steps = std::min(step_block(), steps_ - step);
      const std::byte* weights = panel(index) + step * panel_columns * sizeof(std::uint32_t);
      const float* bias = step == 0 ? bias_.data() + index * panel_columns : nullptr;
      if (dtype_ == DType::f32) {
        kernels::panel_product(input.at<float>(step), input.stride, rows, reinterpret_cast<const float*>(weights),
                               steps, bias, y, stride);
      } else if (dtype_ == DType::bf16) {
        if (input.size == sizeof(float)) {
          kernels::bf16_panel_product(input.at<float>(step), input.stride, rows,
                                      reinterpret_cast<const std::uint32_t*>(weights), steps, bias, y, stride);
        } else {
          kernels::bf16_panel_product(input.at<std::uint16_t>(0), input.stride, rows,
                                      reinterpret_cast<const std::uint16_t*>(weights), layout_, step, steps, bias, y,
                                      stride, tiles);
        }
      } else {
        kernels::byte_panel_product(input.at<std::uint8_t>(0), input.stride, rows,
                                    reinterpret_cast<const std::int8_t*>(weights), layout_, step, steps, sums,
                                    step != 0, tiles);
      }
      step += steps;
    } while (step < steps_);
  }

  /// int8's sums of columns [first, first + count) to floats in rows of `stride`, and their activation.
  void finish(const std::int32_t* sums, std::size_t sums_stride, std::size_t rows, std::size_t first, std::size_t count,
              const float* row_scales, float* y, std::size_t stride, Activation activation) const {
    kernels::dequantize(sums, sums_stride, rows, count, row_scales, offsets_.data() + first, scales_.data() + first,
                        bias_.data() + first, y, stride);
    if (activation == Activation::linear) return;
    for (std::size_t row = 0; row < rows; ++row) kernels::activate(activation, y + row * stride, count);
  }

#ifdef BERTGEN_WITH_ONEDNN
  void use_onednn(MatmulBackend backend) {
    if (backend != MatmulBackend::onednn) return;
    if (dtype_ == DType::bf16 && active_isa() < Isa::avx512_bf16) return;  // it only emulates it
    onednn_ = make_onednn_product(dtype_, in_, out_, weight_.get(), dtype_ == DType::i8 ? nullptr : bias_.data());
  }

  void multiply_by_onednn(const Input& input, std::size_t rows, MatmulOutput y, Activation activation,
                          Workspace& workspace) const {
    Workspace::Scope scope(workspace);
    const std::size_t most = std::min(rows, onednn_rows);
    const bool bf16 = y.type == DType::bf16;
    const auto sums = scope.take<std::int32_t>({dtype_ == DType::i8 ? most : 0, out_});
    const auto floats = scope.take<float>({bf16 ? most : 0, out_});
    const std::size_t grain = std::max<std::size_t>(1, element_grain / std::max<std::size_t>(1, out_));
    for (std::size_t first = 0; first < rows; first += onednn_rows) {
      const std::size_t tile = std::min(onednn_rows, rows - first);
      const Input part = input.from(first);
      void* to = from_row(y, first).data;
      float* result = bf16 ? floats.data() : static_cast<float*>(to);
      if (dtype_ != DType::i8) {
        onednn_->multiply(part.values, part.stride, tile, result, workspace);
        activate<float>(activation, {result, { tile, out_ }}, workspace);
      } else {
        onednn_->multiply(part.values, part.stride, tile, sums.data(), workspace);
      }
      if (dtype_ != DType::i8 && !bf16) continue;
      parallel_ranges(tile, grain, workspace.threads(), [&](std::size_t begin, std::size_t end) {
        const std::size_t count = end - begin;
        float* here = result + begin * out_;
        if (dtype_ == DType::i8) {
          finish(sums.row(begin), out_, count, 0, out_, part.scales + begin, here, out_, activation);
        }
        if (bf16) {
          kernels::round_to_bf16(here, out_, count, out_, static_cast<std::uint16_t*>(to) + begin * out_, out_);
        }
      });
    }
  }
#else
  void use_onednn(MatmulBackend) {}
#endif

  DType dtype_;
  std::size_t in_;
  std::size_t out_;
  std::size_t panels_;
  std::size_t steps_;
  std::size_t panel_bytes_;
  PanelLayout layout_;                 // of each step_block() of a panel
  Pages weight_;                       // [panels, steps, 64] of four bytes; what is past `in` or `out` is zero
  std::vector<float> bias_;            // [panels, 64]
  std::vector<float> scales_;          // [panels, 64], of int8
  std::vector<std::int32_t> offsets_;  // [panels, 64], of int8: 128 times the sum of an output's weights
#ifdef BERTGEN_WITH_ONEDNN
  std::unique_ptr<OneDnnProduct> onednn_;  // or null: this library's kernels
#endif
};

}  // namespace

std::unique_ptr<MatmulKernel<float>> make_panel_matmul(const MatrixRows& weight, std::vector<float> bias,
                                                       const BuildOptions& options) {
  return std::make_unique<PanelMatmul>(weight, std::move(bias), compute_dtype(options.dtype, weight.quantized()),
                                       options.matmul, options.threads);
}

}  // namespace bertgen::detail
