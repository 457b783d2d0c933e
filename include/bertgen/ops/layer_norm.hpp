// Layer normalisation over the last dimension, with the residual sum in front of it that post-norm layers have.
#pragma once

#include <cmath>

#include "bertgen/core/export.hpp"
#include "bertgen/core/tensor.hpp"
#include "bertgen/core/workspace.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// y = (x + residual − mean) / √(variance + epsilon) · weight + bias, row by row, with the biased variance
/// (torch.nn.LayerNorm). x, y: [rows, hidden]; weight, bias: [hidden]; residual: as x, or empty for none.
/// y may be x or residual.
template <typename T>
void layer_norm(TensorView<const T> x, TensorView<const T> residual, TensorView<const T> weight,
                TensorView<const T> bias, double epsilon, TensorView<T> y, const Workspace&) {
  const auto scale = weight.matrix().row(0);  // [1, hidden]
  const auto shift = bias.matrix().row(0);    // [1, hidden]
  typename TensorView<T>::Matrix row;         // [1, hidden]
  for (std::size_t i = 0; i < x.rows(); ++i) {
    row = x.middle_rows(i, 1).matrix();
    if (residual.size() != 0) row += residual.middle_rows(i, 1).matrix();
    row.array() -= row.mean();
    const T variance = row.squaredNorm() / static_cast<T>(row.size());
    y.middle_rows(i, 1).matrix() = (row / std::sqrt(variance + static_cast<T>(epsilon))).cwiseProduct(scale) + shift;
  }
}
template <>
void layer_norm<float>(TensorView<const float> x, TensorView<const float> residual, TensorView<const float> weight,
                       TensorView<const float> bias, double epsilon, TensorView<float> y, const Workspace& workspace);

}  // namespace bertgen
