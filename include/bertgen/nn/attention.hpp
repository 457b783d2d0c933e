// Multi-head attention with its projections: BertGenerationAttention, for a layer's own rows and for the encoder's.
#pragma once

#include "bertgen/core/export.hpp"
#include "bertgen/nn/cache.hpp"
#include "bertgen/nn/layer_norm.hpp"
#include "bertgen/ops/attention.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Sizes and settings that all layers of an encoder or decoder share.
struct LayerConfig {
  std::size_t hidden = 0;                    ///< width of a row
  std::size_t heads = 0;                     ///< of attention; each is hidden / heads wide
  std::size_t intermediate = 0;              ///< width between the feed-forward's two products
  Activation activation = Activation::gelu;  ///< between them
  double layer_norm_eps = 1e-12;             ///< added to the variance
  BuildOptions build;                        ///< how matrices are packed
};

/// The weights of each layer's attention, where they are asked for.
template <typename T>
struct AttentionRecord {
  std::vector<AttentionRows> sequences;              ///< how they lie
  std::vector<std::vector<Tensor<T>>> weights = {};  ///< layer -> sequence -> [heads, queries, keys]

  /// Adds the weights of a layer.
  void keep(TensorView<const T> queries, TensorView<const T> keys, std::size_t heads) {
    weights.push_back(attention_weights<T>(queries, keys, sequences, heads));
  }
};

/// hidden = output(attention(query(hidden), key(hidden), value(hidden)), hidden). One product gives all three.
template <typename T>
class SelfAttention {
 public:
  SelfAttention() = default;
  /// Reads `self` and `output` of a layer's `attention`. Throws CheckpointError.
  SelfAttention(const WeightScope& scope, const LayerConfig& config)
      : query_key_value_({scope / "self" / "query", scope / "self" / "key", scope / "self" / "value"}, config.hidden,
                         config.hidden, config.build),
        output_(scope / "output", config.hidden, config.hidden, config.layer_norm_eps, config.build),
        heads_(config.heads) {}

  /// Bytes of packed weights.
  std::size_t bytes() const { return query_key_value_.bytes() + output_.bytes(); }

  /// The rows attend to one another as `groups` say. hidden: [rows, hidden], replaced.
  void forward(TensorView<T> hidden, std::span<const AttentionGroup> groups, Workspace& workspace,
               AttentionRecord<T>* record = nullptr) const {
    Workspace::Scope scope(workspace);
    const std::size_t size = hidden.cols();
    const auto projected = scope.take<T>({hidden.rows(), 3 * size});  // [rows, query | key | value]
    query_key_value_.forward(hidden, projected, workspace);
    const auto context = scope.take<T>(hidden.shape());  // [rows, hidden]
    attention<T>(projected.middle_cols(0, size), projected.middle_cols(size, size),
                 projected.middle_cols(2 * size, size), groups, heads_, context, workspace, query_key_value_.dtype());
    if (record != nullptr) record->keep(projected.middle_cols(0, size), projected.middle_cols(size, size), heads_);
    output_.forward(context, hidden, workspace);
  }

  /// The rows are the tokens last appended to `cache`; they attend to all tokens it shows them.
  void forward(TensorView<T> hidden, EncoderDecoderCache<T>& cache, std::size_t layer, Workspace& workspace,
               AttentionRecord<T>* record = nullptr) const {
    Workspace::Scope scope(workspace);
    const std::size_t size = hidden.cols();
    const auto projected = scope.take<T>({hidden.rows(), 3 * size});  // [rows, query | key | value]
    query_key_value_.forward(hidden, projected, workspace);
    cache.new_self(layer, hidden.rows()).matrix() = projected.middle_cols(size, 2 * size).matrix();
    const TensorView<const T> key_value = cache.self(layer);  // [slots, key | value]
    const auto context = scope.take<T>(hidden.shape());       // [rows, hidden]
    attention<T>(projected.middle_cols(0, size), key_value.middle_cols(0, size), key_value.middle_cols(size, size),
                 cache.self_groups(), heads_, context, workspace, query_key_value_.dtype());
    if (record != nullptr) record->keep(projected.middle_cols(0, size), key_value.middle_cols(0, size), heads_);
    output_.forward(context, hidden, workspace);
  }

 private:
  Linear<T> query_key_value_;
  ResidualOutput<T> output_;
  std::size_t heads_ = 1;
};

/// hidden = output(attention(query(hidden), key(states), value(states)), hidden), for encoder states.
template <typename T>
class CrossAttention {
 public:
  CrossAttention() = default;
  /// Reads `self` and `output` of a layer's `crossattention`. Throws CheckpointError.
  CrossAttention(const WeightScope& scope, const LayerConfig& config)
      : query_({scope / "self" / "query"}, config.hidden, config.hidden, config.build),
        key_value_({scope / "self" / "key", scope / "self" / "value"}, config.hidden, config.hidden, config.build),
        output_(scope / "output", config.hidden, config.hidden, config.layer_norm_eps, config.build),
        heads_(config.heads) {}

  /// Bytes of packed weights.
  std::size_t bytes() const { return query_.bytes() + key_value_.bytes() + output_.bytes(); }

  /// Keys and values of the encoder's states, once a source. states: [source rows, hidden] to
  /// key_value: [source rows, 2 · hidden].
  void project(TensorView<const T> states, TensorView<T> key_value, Workspace& workspace) const {
    key_value_.forward(states, key_value, workspace);
  }

  /// hidden: [rows, hidden], replaced; key_value as project() made it.
  void forward(TensorView<T> hidden, TensorView<const T> key_value, std::span<const AttentionGroup> groups,
               Workspace& workspace, AttentionRecord<T>* record = nullptr) const {
    Workspace::Scope scope(workspace);
    const std::size_t size = hidden.cols();
    const auto query = scope.take<T>(hidden.shape());    // [rows, hidden]
    const auto context = scope.take<T>(hidden.shape());  // [rows, hidden]
    query_.forward(hidden, query, workspace);
    attention<T>(query, key_value.middle_cols(0, size), key_value.middle_cols(size, size), groups, heads_, context,
                 workspace, query_.dtype());
    if (record != nullptr) record->keep(query, key_value.middle_cols(0, size), heads_);
    output_.forward(context, hidden, workspace);
  }

 private:
  Linear<T> query_;
  Linear<T> key_value_;
  ResidualOutput<T> output_;
  std::size_t heads_ = 1;
};

}  // namespace bertgen
