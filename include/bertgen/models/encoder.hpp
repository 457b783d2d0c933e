// The encoder: token ids to hidden states.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "bertgen/models/batch.hpp"
#include "bertgen/models/config.hpp"
#include "bertgen/nn/embeddings.hpp"
#include "bertgen/nn/layer.hpp"

namespace bertgen {

/// How a checkpoint is loaded.
struct LoadOptions {
  BuildOptions build;
};

/// Embeddings and layers: what encoder and decoder have in common (BertGenerationEncoder without its mode). Immutable.
template <typename T>
class TransformerStack {
 public:
  /// Reads `embeddings` and `encoder.layer.N`. Throws CheckpointError and ConfigError.
  TransformerStack(const WeightScope& scope, const TransformerConfig& config, const BuildOptions& build)
      : embeddings_(scope / "embeddings", config.vocab_size, config.max_position_embeddings, config.hidden_size,
                    config.layer_norm_eps) {
    config.validate();
    const LayerConfig layer_config = config.layer_config(build);
    layers_.reserve(config.num_hidden_layers);
    for (std::size_t i = 0; i < config.num_hidden_layers; ++i) {
      layers_.emplace_back(scope / "encoder" / "layer" / i, layer_config, config.add_cross_attention);
    }
  }

  const Embeddings<T>& embeddings() const { return embeddings_; }
  const std::vector<Layer<T>>& layers() const { return layers_; }
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Layer<T>& layer : layers_) sum += layer.bytes();
    return sum;
  }

 private:
  Embeddings<T> embeddings_;
  std::vector<Layer<T>> layers_;
};

/// BertGenerationEncoder. All methods are const and thread-safe, given a Workspace a thread.
template <typename T>
class BasicEncoder {
 public:
  /// Loads a directory with config.json and weights of an encoder; a language model's file serves too. Throws
  /// ConfigError and CheckpointError.
  static BasicEncoder from_pretrained(const std::filesystem::path& directory, const LoadOptions& options = {});
  /// Reads the encoder's weights at `scope`. Throws CheckpointError and ConfigError.
  BasicEncoder(const WeightScope& scope, const TransformerConfig& config, const BuildOptions& build = {})
      : config_(config), stack_(scope, config, build) {}

  const TransformerConfig& config() const { return config_; }
  /// Bytes of packed weights.
  std::size_t bytes() const { return stack_.bytes(); }

  /// The last layer's output. Result: [rows, hidden_size], for sequences of equal length that is
  /// [batch, length, hidden_size]. Throws ArgumentError for an id outside the vocabulary or a sequence longer than
  /// max_position_embeddings.
  Tensor<T> forward(const PackedBatch& batch, Workspace& workspace) const {
    Tensor<T> hidden({batch.rows(), config_.hidden_size});
    stack_.embeddings().forward(batch.input_ids, batch.position_ids, hidden, workspace);
    const std::vector<AttentionGroup> groups = self_attention_groups(batch);
    for (const Layer<T>& layer : stack_.layers()) layer.forward(hidden.view(), groups, workspace);
    return hidden;
  }
  /// As transformers' forward: a row for every id, hidden by the mask or not. attention_mask: as input_ids, or empty.
  Tensor<T> forward(std::span<const TokenIds> input_ids, std::span<const AttentionMask> attention_mask,
                    Workspace& workspace) const {
    return forward(pack(input_ids, attention_mask, HiddenPositions::keep), workspace);
  }

 private:
  TransformerConfig config_;
  TransformerStack<T> stack_;
};

extern template class BasicEncoder<float>;
extern template class BasicEncoder<double>;

using BertGenerationEncoder = BasicEncoder<float>;

}  // namespace bertgen
