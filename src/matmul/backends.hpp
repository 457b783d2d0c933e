// The back ends that a build may have; included by them and by the factory that chooses.
#pragma once

#include <memory>
#include <vector>

#include "bertgen/ops/matmul.hpp"

namespace bertgen::detail {

/// As make_matmul for float and all types of weights, in panels (kernels/kernels.hpp).
std::unique_ptr<MatmulKernel<float>> make_panel_matmul(const MatrixRows& weight, std::vector<float> bias,
                                                       const BuildOptions& options);

#ifdef BERTGEN_WITH_ONEDNN
/// oneDNN's product with a matrix in panels. Immutable and thread-safe; refers to the panels and the bias.
class OneDnnProduct {
 public:
  virtual ~OneDnnProduct() = default;
  /// x: [rows, in] of float, bf16 or u8, `x_stride` elements from row to row; y: [rows, out] of float, bias added, or
  /// of the bare int32 sums.
  virtual void multiply(const void* x, std::size_t x_stride, std::size_t rows, void* y, Workspace& workspace) const = 0;
};

/// dtype: of the panels: f32, bf16 or i8. bias: [out] floats; null for i8. Null where oneDNN has no fast kernel for
/// this type, these sizes and this CPU, as capped by set_isa().
std::unique_ptr<OneDnnProduct> make_onednn_product(DType dtype, std::size_t in, std::size_t out, const void* panels,
                                                   const float* bias);
/// True if oneDNN reads panels on this CPU: from AVX-512 on.
bool onednn_available();
#endif

}  // namespace bertgen::detail
