// This library's own back end: panels of 64 outputs, each multiplied from start to end by one kernel.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>

#include "backends.hpp"
#include "kernels/kernels.hpp"
#include "parallel.hpp"

namespace bertgen::detail {
namespace {

using kernels::panel_columns;

// A block is `row_block` rows by `depth_block` inputs of one panel: 128 KB of weights, which the second-level cache
// keeps while all rows pass by them, and up to 240 KB of input beside it. A multiple of the kernel's 6 rows.
constexpr std::size_t row_block = 120;
constexpr std::size_t depth_block = 512;
// Multiply-adds below which a second thread costs more than it saves: about 2 µs.
constexpr std::size_t grain = 65536;

/// Memory for packed weights: on huge pages where the system has them, since a product walks through all of it.
struct FreePages {
  void operator()(float* memory) const { std::free(memory); }
};
using Pages = std::unique_ptr<float[], FreePages>;

Pages allocate_pages(std::size_t count) {
  constexpr std::size_t huge = std::size_t{2} << 20;
  const std::size_t bytes = count * sizeof(float);
  // Small matrices share pages with others; what is left of a large one's last page is not touched.
  const std::size_t alignment = bytes < huge ? 64 : huge;
  void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (bytes >= huge) madvise(memory, bytes, MADV_HUGEPAGE);  // advice: it may fail
#endif
  return Pages(static_cast<float*>(memory));
}

class PanelMatmul final : public MatmulKernel<float> {
 public:
  PanelMatmul(const MatrixRows& weight, std::vector<float> bias, int threads)
      : in_(weight.in()),
        out_(weight.out()),
        panels_((out_ + panel_columns - 1) / panel_columns),
        weight_(allocate_pages(std::max<std::size_t>(1, panels_ * in_ * panel_columns))),
        bias_(std::move(bias)) {
    bias_.resize(panels_ * panel_columns);
    parallel_ranges(panels_, 1, threads, [&](std::size_t first, std::size_t last) {
      std::vector<float> rows(panel_columns * in_);
      for (std::size_t panel = first; panel < last; ++panel) pack(weight, panel, rows);
    });
  }

  void multiply(const float* x, std::size_t rows, float* y, Activation activation,
                Workspace& workspace) const override {
    const std::size_t blocks = (rows + row_block - 1) / row_block;
    const std::size_t tasks = blocks * panels_;
    const std::size_t least = std::max<std::size_t>(1, grain * tasks / std::max<std::size_t>(1, rows * in_ * out_));
    parallel_ranges(tasks, least, workspace.threads(), [&](std::size_t first, std::size_t last) {
      for (std::size_t task = first; task < last; ++task) {
        const std::size_t row = task / panels_ * row_block;
        multiply_panel(x + row * in_, std::min(row_block, rows - row), task % panels_, y + row * out_, activation);
      }
    });
  }

  std::size_t bytes() const override { return (panels_ * in_ * panel_columns + bias_.size()) * sizeof(float); }

 private:
  float* panel(std::size_t index) const { return weight_.get() + index * in_ * panel_columns; }

  /// Transposes 64 rows of the weight; `rows` is scratch for them.
  void pack(const MatrixRows& weight, std::size_t index, std::vector<float>& rows) {
    const std::size_t first = index * panel_columns;
    const std::size_t count = std::min(panel_columns, out_ - first);
    weight.read(first, count, rows.data());
    std::fill(rows.begin() + static_cast<std::ptrdiff_t>(count * in_), rows.end(), 0.0f);
    constexpr std::size_t line = 16;  // inputs transposed at a time: a cache line of each row
    for (std::size_t begin = 0; begin < in_; begin += line) {
      const std::size_t end = std::min(in_, begin + line);
      for (std::size_t column = 0; column < panel_columns; ++column) {
        for (std::size_t k = begin; k < end; ++k) panel(index)[k * panel_columns + column] = rows[column * in_ + k];
      }
    }
  }

  /// The columns of one panel for up to row_block rows.
  void multiply_panel(const float* x, std::size_t rows, std::size_t index, float* y, Activation activation) const {
    const std::size_t first = index * panel_columns;
    const std::size_t count = std::min(panel_columns, out_ - first);
    alignas(64) float narrow[row_block * panel_columns];  // the last panel's, which may be wider than y
    float* result = count == panel_columns ? y + first : narrow;
    const std::size_t stride = count == panel_columns ? out_ : panel_columns;
    std::size_t k = 0;
    do {  // once where there is no input: y is the bias then
      kernels::panel_product(x + k, in_, rows, panel(index) + k * panel_columns, std::min(depth_block, in_ - k),
                             k == 0 ? bias_.data() + first : nullptr, result, stride);
      k += depth_block;
    } while (k < in_);
    for (std::size_t row = 0; row < rows; ++row) {
      float* values = y + row * out_ + first;
      if (result == narrow) std::copy_n(narrow + row * panel_columns, count, values);
      if (activation != Activation::linear) kernels::activate(activation, values, count);
    }
  }

  std::size_t in_;
  std::size_t out_;
  std::size_t panels_;
  Pages weight_;             // [panels, in, 64]; outputs past the last are zero
  std::vector<float> bias_;  // [panels, 64]
};

}  // namespace

std::unique_ptr<MatmulKernel<float>> make_panel_matmul(const MatrixRows& weight, std::vector<float> bias, int threads) {
  return std::make_unique<PanelMatmul>(weight, std::move(bias), threads);
}

}  // namespace bertgen::detail
