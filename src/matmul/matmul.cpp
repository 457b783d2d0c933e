// Chooses who multiplies.
#include "bertgen/ops/matmul.hpp"

#include "backends.hpp"

namespace bertgen {

bool matmul_backend_available(MatmulBackend backend) {
#ifdef BERTGEN_WITH_ONEDNN
  return backend != MatmulBackend::onednn || detail::onednn_available();
#else
  return backend != MatmulBackend::onednn;
#endif
}

namespace detail {

MatrixRows::MatrixRows(std::vector<StoredTensor> parts) : parts_(std::move(parts)) {
  for (const StoredTensor& part : parts_) {
    if (in_ == 0) in_ = part.shape.cols();
    if (part.shape.cols() != in_) {
      throw ShapeError("matmul: expected matrices of width " + std::to_string(in_) + ", got " + to_string(part.shape));
    }
    out_ += part.shape.rows();
  }
}

template <typename T>
void MatrixRows::read(std::size_t first, std::size_t count, T* rows) const {
  for (const StoredTensor& part : parts_) {
    if (count == 0) return;
    if (first >= part.shape.rows()) {
      first -= part.shape.rows();
      continue;
    }
    const std::size_t here = std::min(count, part.shape.rows() - first);
    convert(part.dtype, part.data + first * in_ * size_of(part.dtype), here * in_, rows);
    rows += here * in_;
    count -= here;
    first = 0;
  }
}

template void MatrixRows::read<float>(std::size_t, std::size_t, float*) const;
template void MatrixRows::read<double>(std::size_t, std::size_t, double*) const;

template <>
std::unique_ptr<MatmulKernel<float>> make_matmul<float>(const MatrixRows& weight, std::vector<float> bias,
                                                        const BuildOptions& options) {
  switch (options.matmul) {
    case MatmulBackend::eigen:
      return make_eigen_matmul<float>(weight, std::move(bias));
    case MatmulBackend::onednn:
#ifdef BERTGEN_WITH_ONEDNN
      if (onednn_available()) return make_onednn_matmul(weight, std::move(bias));
#endif
      throw ArgumentError("matmul: expected a back end that is available, got onednn, which this build or CPU lacks");
    default:
      return make_panel_matmul(weight, std::move(bias), options.threads);
  }
}

template <>
std::unique_ptr<MatmulKernel<double>> make_matmul<double>(const MatrixRows& weight, std::vector<double> bias,
                                                          const BuildOptions& options) {
  if (options.matmul != MatmulBackend::automatic && options.matmul != MatmulBackend::eigen) {
    throw ArgumentError("matmul: expected a back end for double, eigen, got one that multiplies float only");
  }
  return make_eigen_matmul<double>(weight, std::move(bias));
}

}  // namespace detail
}  // namespace bertgen
