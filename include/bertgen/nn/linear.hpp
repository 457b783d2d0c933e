// torch.nn.Linear.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "bertgen/core/weights.hpp"
#include "bertgen/ops/matmul.hpp"

namespace bertgen {

/// How the layers of a model are built; the same for all of them.
struct BuildOptions {
  MatmulBackend matmul = MatmulBackend::automatic;
};

/// y = x · weightᵀ + bias; several layers that read the same input are one product whose outputs lie side by side.
template <typename T>
class Linear {
 public:
  Linear() = default;
  /// Reads `weight` [out, in] and `bias` [out] of each scope; the results of the scopes follow one another in a row
  /// of y. Throws CheckpointError.
  Linear(std::initializer_list<WeightScope> scopes, std::size_t in, std::size_t out, const BuildOptions& options) {
    Tensor<T> weight({scopes.size() * out, in});
    Tensor<T> bias({scopes.size() * out});
    std::size_t row = 0;
    for (const WeightScope& scope : scopes) {
      const StoredTensor& stored = scope.get("weight", {out, in});
      convert(stored.dtype, stored.data, out * in, weight.data() + row * in);
      const StoredTensor& stored_bias = scope.get("bias", {out});
      convert(stored_bias.dtype, stored_bias.data, out, bias.data() + row);
      row += out;
    }
    packed_ = PackedMatrix<T>(weight, bias, options.matmul);
  }
  /// From a matrix and a bias with names of their own.
  Linear(const StoredTensor& weight, TensorView<const T> bias, const BuildOptions& options)
      : packed_(weight.to<T>(), bias, options.matmul) {}

  std::size_t in() const { return packed_.in(); }
  std::size_t out() const { return packed_.out(); }
  std::size_t bytes() const { return packed_.bytes(); }

  /// x: [rows, in], y: [rows, out].
  void forward(TensorView<const T> x, TensorView<T> y, Workspace& workspace,
               Activation activation = Activation::linear) const {
    packed_.multiply(x, y, workspace, activation);
  }

 private:
  PackedMatrix<T> packed_;
};

}  // namespace bertgen
