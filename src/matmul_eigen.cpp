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
  EigenMatmul(TensorView<const T> weight, const T* bias) : weight_(weight.shape()) {
    weight_.view().matrix() = weight.matrix();
    if (bias != nullptr) bias_.assign(bias, bias + weight.rows());
  }

  void multiply(const T* x, std::size_t rows, T* y, Workspace& workspace) const override {
    const std::size_t out = weight_.shape()[0];
    const TensorView<const T> input(x, {rows, weight_.shape()[1]});
    const TensorView<T> output(y, {rows, out});
    const std::size_t tiles = (out + column_tile - 1) / column_tile;
    parallel_for(tiles, workspace.threads(), [&](std::size_t tile, std::size_t) {
      const std::size_t first = tile * column_tile;
      const std::size_t count = std::min(column_tile, out - first);
      auto result = output.middle_cols(first, count).matrix();
      result.noalias() = input.matrix() * weight_.view().middle_rows(first, count).matrix().transpose();
      if (!bias_.empty()) {
        result.rowwise() += TensorView<const T>(bias_.data() + first, {1, count}).matrix().row(0);
      }
    });
  }

  std::size_t bytes() const override { return (weight_.size() + bias_.size()) * sizeof(T); }

 private:
  Tensor<T> weight_;  // [out, in]
  std::vector<T> bias_;
};

}  // namespace

template <typename T>
std::unique_ptr<MatmulKernel<T>> make_eigen_matmul(TensorView<const T> weight, const T* bias) {
  return std::make_unique<EigenMatmul<T>>(weight, bias);
}

template std::unique_ptr<MatmulKernel<float>> make_eigen_matmul<float>(TensorView<const float>, const float*);
template std::unique_ptr<MatmulKernel<double>> make_eigen_matmul<double>(TensorView<const double>, const double*);

}  // namespace bertgen::detail
