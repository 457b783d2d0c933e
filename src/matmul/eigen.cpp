// The portable back end: Eigen, compiled for the baseline instruction set.
#include <algorithm>

#include "bertgen/ops/matmul.hpp"
#include "parallel.hpp"

namespace bertgen::detail {
namespace {

// Rows and output columns multiplied at a time. Fixed, and the same for a row alone as in a batch where the columns
// are concerned; 256 columns of a 1,024-wide float weight are 1 MB, about a second-level cache.
constexpr std::size_t column_tile = 256;

template <typename T>
class EigenMatmul final : public MatmulKernel<T> {
 public:
  EigenMatmul(const MatrixRows& weight, std::vector<T> bias)
      : weight_({weight.out(), weight.in()}), bias_(std::move(bias)) {
    const T* rows = weight.read(0, weight.out(), weight_.data());
    if (rows != weight_.data()) std::copy_n(rows, weight_.size(), weight_.data());
    weight.release(0, weight.out());
  }

  void multiply(MatmulInput x, std::size_t rows, MatmulOutput y, Activation activation,
                Workspace& workspace) const override {
    const std::size_t out = weight_.shape()[0];
    const TensorView<const T> input(static_cast<const T*>(x.data), {rows, weight_.shape()[1]});
    const TensorView<T> output(static_cast<T*>(y.data), {rows, out});
    const std::size_t tiles = (out + column_tile - 1) / column_tile;
    parallel_for(tiles, workspace.threads(), [&](std::size_t tile, std::size_t) {
      const std::size_t first = tile * column_tile;
      const std::size_t count = std::min(column_tile, out - first);
      auto result = output.middle_cols(first, count).matrix();
      result.noalias() = input.matrix() * weight_.view().middle_rows(first, count).matrix().transpose();
      result.rowwise() += TensorView<const T>(bias_.data() + first, {1, count}).matrix().row(0);
    });
    activate<T>(activation, output, workspace);
  }

  std::size_t bytes() const override { return (weight_.size() + bias_.size()) * sizeof(T); }
  DType dtype() const override { return dtype_of<T>; }

 private:
  Tensor<T> weight_;     // [out, in]
  std::vector<T> bias_;  // [out]
};

}  // namespace

template <typename T>
std::unique_ptr<MatmulKernel<T>> make_eigen_matmul(const MatrixRows& weight, std::vector<T> bias) {
  return std::make_unique<EigenMatmul<T>>(weight, std::move(bias));
}

template std::unique_ptr<MatmulKernel<float>> make_eigen_matmul<float>(const MatrixRows&, std::vector<float>);
template std::unique_ptr<MatmulKernel<double>> make_eigen_matmul<double>(const MatrixRows&, std::vector<double>);

}  // namespace bertgen::detail
