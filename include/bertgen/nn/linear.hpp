// torch.nn.Linear.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/core/weights.hpp"
#include "bertgen/ops/matmul.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// y = x · weightᵀ + bias; several layers that read the same input are one product whose outputs lie side by side.
template <typename T>
class Linear {
 public:
  Linear() = default;
  /// Reads `weight` [out, in] and `bias` [out] of each scope; the results of the scopes follow one another in a row
  /// of y. Throws CheckpointError.
  Linear(std::initializer_list<WeightScope> scopes, std::size_t in, std::size_t out, const BuildOptions& options) {
    std::vector<StoredTensor> weights;
    std::vector<T> bias;  // grows as sizes prove true: a configuration may lie
    for (const WeightScope& scope : scopes) {
      weights.push_back(scope.get("weight", {out, in}));
      const StoredTensor& stored = scope.get("bias", {out});
      bias.resize(weights.size() * out);
      convert(stored.dtype, stored.data, out, bias.data() + (weights.size() - 1) * out);
    }
    packed_ = PackedMatrix<T>(std::move(weights), std::move(bias), options);
  }
  /// From a matrix and a bias with names of their own.
  Linear(const StoredTensor& weight, std::vector<T> bias, const BuildOptions& options)
      : packed_({weight}, std::move(bias), options) {}

  /// @{
  /// Sizes of the weight, [out, in].
  std::size_t in() const { return packed_.in(); }
  std::size_t out() const { return packed_.out(); }
  /// @}
  /// Bytes of packed weights.
  std::size_t bytes() const { return packed_.bytes(); }
  /// The type that it multiplies in.
  DType dtype() const { return packed_.dtype(); }
  /// As PackedMatrix's.
  RowLayout row_layout() const { return packed_.row_layout(); }

  /// @{
  /// x: [rows, in], y: [rows, out]. BFloat16 and its layout as PackedMatrix::multiply() says.
  void forward(TensorView<const T> x, TensorView<T> y, Workspace& workspace,
               Activation activation = Activation::linear) const {
    packed_.multiply(x, y, workspace, activation);
  }
  void forward(TensorView<const T> x, TensorView<BFloat16> y, Workspace& workspace,
               Activation activation = Activation::linear, RowLayout layout = RowLayout::rows) const {
    packed_.multiply(x, y, workspace, activation, layout);
  }
  void forward(TensorView<const BFloat16> x, TensorView<T> y, Workspace& workspace,
               Activation activation = Activation::linear, RowLayout layout = RowLayout::rows) const {
    packed_.multiply(x, y, workspace, activation, layout);
  }
  /// @}
  /// As PackedMatrix::multiply_split().
  template <typename Y>
  void forward_split(TensorView<const T> x, TensorView<Y> y, TensorView<Y> rest, Workspace& workspace) const {
    packed_.multiply_split(x, y, rest, workspace);
  }

 private:
  PackedMatrix<T> packed_;
};

}  // namespace bertgen
