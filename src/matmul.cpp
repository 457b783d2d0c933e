#include "bertgen/ops/matmul.hpp"

#include "matmul_backends.hpp"

namespace bertgen {

bool matmul_backend_available(MatmulBackend backend) {
#ifdef BERTGEN_WITH_ONEDNN
  return backend != MatmulBackend::onednn || detail::onednn_available();
#else
  return backend != MatmulBackend::onednn;
#endif
}

namespace detail {

template <>
std::unique_ptr<MatmulKernel<float>> make_matmul<float>(TensorView<const float> weight, const float* bias,
                                                        MatmulBackend backend) {
#ifdef BERTGEN_WITH_ONEDNN
  if (backend != MatmulBackend::eigen && onednn_available()) return make_onednn_matmul(weight, bias);
#endif
  if (backend == MatmulBackend::onednn) {
    throw ArgumentError("matmul: expected a back end that is available, got onednn, which this build or CPU lacks");
  }
  return make_eigen_matmul<float>(weight, bias);
}

template <>
std::unique_ptr<MatmulKernel<double>> make_matmul<double>(TensorView<const double> weight, const double* bias,
                                                          MatmulBackend backend) {
  if (backend == MatmulBackend::onednn) {
    throw ArgumentError("matmul: expected a back end for double, got onednn, which multiplies float only");
  }
  return make_eigen_matmul<double>(weight, bias);
}

}  // namespace detail
}  // namespace bertgen
