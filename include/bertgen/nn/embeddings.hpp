// What enters the first layer: word and position, normalised (BertGenerationEmbeddings).
#pragma once

#include <span>

#include "bertgen/core/token.hpp"
#include "bertgen/nn/layer_norm.hpp"
#include "bertgen/ops/embedding.hpp"

namespace bertgen {

/// hidden = LayerNorm(word_embeddings[id] + position_embeddings[position]).
template <typename T>
class Embeddings {
 public:
  Embeddings() = default;
  /// Reads `word_embeddings`, `position_embeddings` and `LayerNorm`; the tables stay where they are stored. Throws
  /// CheckpointError.
  Embeddings(const WeightScope& scope, std::size_t vocab, std::size_t positions, std::size_t hidden, double epsilon)
      : word_embeddings_((scope / "word_embeddings").get("weight", {vocab, hidden})),
        position_embeddings_((scope / "position_embeddings").get("weight", {positions, hidden})),
        layer_norm_(scope / "LayerNorm", hidden, epsilon) {}

  /// [vocab, hidden], as stored.
  const StoredTensor& word_embeddings() const { return word_embeddings_; }

  /// hidden: [ids, hidden]. Throws ArgumentError for an id outside the vocabulary or a position outside the table.
  void forward(std::span<const TokenId> ids, std::span<const std::int32_t> positions, TensorView<T> hidden,
               Workspace& workspace) const {
    std::fill_n(hidden.data(), hidden.size(), T(0));
    add_embedding<T>(word_embeddings_, ids, "token id", hidden, workspace);
    add_embedding<T>(position_embeddings_, positions, "position (max_position_embeddings)", hidden, workspace);
    layer_norm_.forward(hidden, {}, hidden, workspace);
  }

 private:
  StoredTensor word_embeddings_;      // [vocab, hidden]
  StoredTensor position_embeddings_;  // [positions, hidden]
  LayerNorm<T> layer_norm_;
};

}  // namespace bertgen
