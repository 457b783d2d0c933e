// The two dense layers of a block: BertIntermediate and BertOutput.
#pragma once

#include "bertgen/core/export.hpp"
#include "bertgen/nn/layer_norm.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// hidden = LayerNorm(output(act(intermediate(hidden))) + hidden).
template <typename T>
class FeedForward {
 public:
  FeedForward() = default;
  /// Reads `intermediate.dense` [intermediate, hidden] and `output` of a layer. Throws CheckpointError.
  FeedForward(const WeightScope& layer, std::size_t hidden, std::size_t intermediate, Activation activation,
              double epsilon, const BuildOptions& options)
      : intermediate_({layer / "intermediate" / "dense"}, hidden, intermediate, options),
        output_(layer / "output", intermediate, hidden, epsilon, options),
        activation_(activation) {}

  /// Bytes of packed weights.
  std::size_t bytes() const { return intermediate_.bytes() + output_.bytes(); }

  /// hidden: [rows, hidden], replaced.
  void forward(TensorView<T> hidden, Workspace& workspace) const {
    const DType between = between_dtype<T>({intermediate_.dtype(), output_.dtype()});
    with_type<T>(between, [&]<typename V>(std::type_identity<V>) {
      Workspace::Scope scope(workspace);
      const auto widened = scope.take<V>({hidden.rows(), intermediate_.out()});  // [rows, intermediate]
      if constexpr (std::is_same_v<V, T>) {
        intermediate_.forward(hidden, widened, workspace, activation_);
        output_.forward(widened, hidden, workspace);
      } else {
        const bool tiles = intermediate_.row_layout() == RowLayout::tiles && output_.row_layout() == RowLayout::tiles;
        const RowLayout layout = tiles ? RowLayout::tiles : RowLayout::rows;
        intermediate_.forward(hidden, widened, workspace, activation_, layout);
        output_.forward(widened, hidden, workspace, layout);
      }
    });
  }

 private:
  Linear<T> intermediate_;
  ResidualOutput<T> output_;
  Activation activation_ = Activation::linear;
};

}  // namespace bertgen
