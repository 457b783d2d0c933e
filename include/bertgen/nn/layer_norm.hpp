// torch.nn.LayerNorm, alone and behind the dense layer that ends every BERT block.
#pragma once

#include "bertgen/core/export.hpp"
#include "bertgen/nn/linear.hpp"
#include "bertgen/ops/layer_norm.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Layer normalisation with its weights.
template <typename T>
class LayerNorm {
 public:
  LayerNorm() = default;
  /// Reads `weight` and `bias`, [hidden]. Throws CheckpointError.
  LayerNorm(const WeightScope& scope, std::size_t hidden, double epsilon)
      : weight_(scope.get("weight", {hidden}).template to<T>()),
        bias_(scope.get("bias", {hidden}).template to<T>()),
        epsilon_(epsilon) {}

  /// y = LN(x + residual); x, residual, y: [rows, hidden], residual may be empty, y may be either of them.
  void forward(TensorView<const T> x, TensorView<const T> residual, TensorView<T> y, Workspace& workspace) const {
    layer_norm<T>(x, residual, weight_, bias_, epsilon_, y, workspace);
  }

 private:
  Tensor<T> weight_;  // [hidden]
  Tensor<T> bias_;    // [hidden]
  double epsilon_ = 0;
};

/// BertSelfOutput and BertOutput: hidden = LayerNorm(dense(x) + hidden).
template <typename T>
class ResidualOutput {
 public:
  ResidualOutput() = default;
  /// Reads `dense` [hidden, in] and `LayerNorm`. Throws CheckpointError.
  ResidualOutput(const WeightScope& scope, std::size_t in, std::size_t hidden, double epsilon,
                 const BuildOptions& options)
      : dense_({scope / "dense"}, in, hidden, options), layer_norm_(scope / "LayerNorm", hidden, epsilon) {}

  /// Bytes of packed weights.
  std::size_t bytes() const { return dense_.bytes(); }

  /// The type that it multiplies in.
  DType dtype() const { return dense_.dtype(); }

  /// As PackedMatrix's.
  RowLayout row_layout() const { return dense_.row_layout(); }

  /// x: [rows, in], of T or, if dtype() is narrower than float, of BFloat16, and that in `layout`; hidden: [rows,
  /// hidden], replaced.
  template <typename V>
  void forward(TensorView<V> x, TensorView<T> hidden, Workspace& workspace, RowLayout layout = RowLayout::rows) const {
    Workspace::Scope scope(workspace);
    const auto projected = scope.take<T>({x.rows(), dense_.out()});  // [rows, hidden]
    if constexpr (std::is_same_v<V, T>) {
      dense_.forward(x, projected, workspace);
    } else {
      dense_.forward(x, projected, workspace, Activation::linear, layout);
    }
    layer_norm_.forward(projected, hidden, hidden, workspace);
  }

 private:
  Linear<T> dense_;
  LayerNorm<T> layer_norm_;
};

}  // namespace bertgen
