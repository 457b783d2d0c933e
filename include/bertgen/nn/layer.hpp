// One Transformer layer, post-norm: self-attention, cross-attention where there is an encoder, feed-forward
// (BertGenerationLayer).
#pragma once

#include <optional>

#include "bertgen/core/export.hpp"
#include "bertgen/nn/attention.hpp"
#include "bertgen/nn/feed_forward.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// An encoder's layer, or with `crossattention` a decoder's. Immutable.
template <typename T>
class Layer {
 public:
  /// Reads `attention`, `crossattention` if asked for, `intermediate` and `output`. Throws CheckpointError.
  Layer(const WeightScope& scope, const LayerConfig& config, bool add_cross_attention)
      : attention_(scope / "attention", config),
        feed_forward_(scope, config.hidden, config.intermediate, config.activation, config.layer_norm_eps,
                      config.build) {
    if (add_cross_attention) crossattention_.emplace(scope / "crossattention", config);
  }

  bool has_cross_attention() const { return crossattention_.has_value(); }  ///< a decoder's layer that reads an encoder
  /// Bytes of packed weights.
  std::size_t bytes() const {
    return attention_.bytes() + (crossattention_ ? crossattention_->bytes() : 0) + feed_forward_.bytes();
  }

  /// The type of the best cache: bf16 if it is that of both attentions.
  DType cache_dtype() const {
    const DType cross = crossattention_ ? crossattention_->cache_dtype() : attention_.cache_dtype();
    return between_dtype<T>({attention_.cache_dtype(), cross});
  }

  /// In an encoder. hidden: [rows, hidden], replaced. `record`: takes its attention weights.
  void forward(TensorView<T> hidden, std::span<const AttentionGroup> groups, Workspace& workspace,
               AttentionRecord<T>* record = nullptr) const {
    attention_.forward(hidden, groups, workspace, record);
    feed_forward_.forward(hidden, workspace);
  }

  /// In a decoder, as its layer number `layer`; `cache` holds the past, and takes these rows' keys and values.
  void forward(TensorView<T> hidden, EncoderDecoderCache<T>& cache, std::size_t layer, Workspace& workspace,
               AttentionRecord<T>* record = nullptr, AttentionRecord<T>* cross_record = nullptr) const {
    attention_.forward(hidden, cache, layer, workspace, record);
    if (crossattention_ && !cache.cross_groups().empty()) {
      crossattention_->forward(hidden, cache, layer, workspace, cross_record);
    }
    feed_forward_.forward(hidden, workspace);
  }

  /// Fills the cache with this layer's keys and values of the encoder's states, [source rows, hidden].
  void project_states(TensorView<const T> states, EncoderDecoderCache<T>& cache, std::size_t layer,
                      Workspace& workspace) const {
    crossattention_->project(states, cache, layer, workspace);
  }

 private:
  SelfAttention<T> attention_;
  std::optional<CrossAttention<T>> crossattention_;
  FeedForward<T> feed_forward_;
};

}  // namespace bertgen
