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
  template <typename V>
  void keep(TensorView<V> queries, TensorView<V> keys, std::size_t heads) {
    weights.push_back(attention_weights<T, V>(queries, keys, sequences, heads));
  }
};

namespace detail {

/// What both attentions of a layer end with: hidden = output(attention(query, key, value), hidden). query: of V, as
/// wide as hidden; key_value: [rows, key | value].
template <typename T, typename V>
void attend(TensorView<const V> query, TensorView<const V> key_value, std::span<const AttentionGroup> groups,
            std::size_t heads, const ResidualOutput<T>& output, TensorView<T> hidden, Workspace& workspace,
            AttentionRecord<T>* record) {
  Workspace::Scope scope(workspace);
  const std::size_t size = hidden.cols();
  const auto context = scope.take<V>(hidden.shape());  // [rows, hidden]
  const auto key = key_value.middle_cols(0, size);
  attention<V>(query, key, key_value.middle_cols(size, size), groups, heads, context, workspace);
  if (record != nullptr) record->keep(query, key, heads);
  output.forward(context, hidden, workspace);
}

}  // namespace detail

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

  /// The type of its queries, keys and values, and that of the best cache.
  DType cache_dtype() const { return between_dtype<T>({query_key_value_.dtype(), output_.dtype()}); }

  /// The rows attend to one another as `groups` say. hidden: [rows, hidden], replaced.
  void forward(TensorView<T> hidden, std::span<const AttentionGroup> groups, Workspace& workspace,
               AttentionRecord<T>* record = nullptr) const {
    with_type<T>(cache_dtype(), [&]<typename V>(std::type_identity<V>) {
      Workspace::Scope scope(workspace);
      const std::size_t size = hidden.cols();
      const auto projected = scope.take<V>({hidden.rows(), 3 * size});  // [rows, query | key | value]
      query_key_value_.forward(hidden, projected, workspace);
      detail::attend<T, V>(projected.middle_cols(0, size), projected.middle_cols(size, 2 * size), groups, heads_,
                           output_, hidden, workspace, record);
    });
  }

  /// The rows are the tokens last appended to `cache`; they attend to all tokens it shows them. Throws ArgumentError
  /// for a cache of BFloat16 if this multiplies in no narrower type than float.
  void forward(TensorView<T> hidden, EncoderDecoderCache<T>& cache, std::size_t layer, Workspace& workspace,
               AttentionRecord<T>* record = nullptr) const {
    with_type<T>(cache.dtype(), [&]<typename V>(std::type_identity<V>) {
      Workspace::Scope scope(workspace);
      const auto query = scope.take<V>(hidden.shape());  // [rows, hidden]
      query_key_value_.forward_split(hidden, query, cache.template new_self<V>(layer, hidden.rows()), workspace);
      detail::attend<T, V>(query, cache.template self<V>(layer), cache.self_groups(), heads_, output_, hidden,
                           workspace, record);
    });
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

  /// The type of its queries, keys and values, and that of the best cache.
  DType cache_dtype() const { return between_dtype<T>({query_.dtype(), key_value_.dtype(), output_.dtype()}); }

  /// Keys and values of the encoder's states, once a source. states: [source rows, hidden], those that came last to
  /// `cache`. Throws ArgumentError as forward().
  void project(TensorView<const T> states, EncoderDecoderCache<T>& cache, std::size_t layer,
               Workspace& workspace) const {
    with_type<T>(cache.dtype(), [&]<typename V>(std::type_identity<V>) {
      key_value_.forward(states, cache.template new_cross<V>(layer), workspace);
    });
  }

  /// hidden: [rows, hidden], replaced: the tokens last appended to `cache`. Throws ArgumentError as SelfAttention's.
  void forward(TensorView<T> hidden, const EncoderDecoderCache<T>& cache, std::size_t layer, Workspace& workspace,
               AttentionRecord<T>* record = nullptr) const {
    with_type<T>(cache.dtype(), [&]<typename V>(std::type_identity<V>) {
      Workspace::Scope scope(workspace);
      const auto query = scope.take<V>(hidden.shape());  // [rows, hidden]
      query_.forward(hidden, query, workspace);
      detail::attend<T, V>(query, cache.template cross<V>(layer), cache.cross_groups(), heads_, output_, hidden,
                           workspace, record);
    });
  }

 private:
  Linear<T> query_;
  Linear<T> key_value_;
  ResidualOutput<T> output_;
  std::size_t heads_ = 1;
};

}  // namespace bertgen
