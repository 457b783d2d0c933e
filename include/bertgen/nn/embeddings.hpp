// What enters the first layer: word, token type and position, normalised (BertGenerationEmbeddings, BertEmbeddings).
#pragma once

#include <span>

#include "bertgen/core/token.hpp"
#include "bertgen/nn/layer_norm.hpp"
#include "bertgen/ops/embedding.hpp"

namespace bertgen {

/// hidden = LayerNorm((word_embeddings[id] + token_type_embeddings[type]) + position_embeddings[position]), without the
/// types where the family has none.
template <typename T>
class Embeddings {
 public:
  Embeddings() = default;
  /// Reads `word_embeddings`, `position_embeddings`, `token_type_embeddings` unless `types` is 0, and `LayerNorm`; the
  /// tables stay where they are stored. Throws CheckpointError.
  Embeddings(const WeightScope& scope, std::size_t vocab, std::size_t positions, std::size_t types, std::size_t hidden,
             double epsilon)
      : word_embeddings_((scope / "word_embeddings").get("weight", {vocab, hidden})),
        position_embeddings_((scope / "position_embeddings").get("weight", {positions, hidden})),
        layer_norm_(scope / "LayerNorm", hidden, epsilon) {
    if (types != 0) token_type_embeddings_ = (scope / "token_type_embeddings").get("weight", {types, hidden});
  }

  /// [vocab, hidden], as stored.
  const StoredTensor& word_embeddings() const { return word_embeddings_; }

  /// hidden: [ids, hidden]. types: one an id, or empty: all 0; a family without types ignores them, as transformers
  /// does. inputs_embeds: [ids, hidden] in place of the words' embeddings, or empty. Throws ArgumentError for an id
  /// outside the vocabulary, a type or a position outside its table.
  void forward(std::span<const TokenId> ids, std::span<const std::int32_t> types,
               std::span<const std::int32_t> positions, TensorView<T> hidden, Workspace& workspace,
               TensorView<const T> inputs_embeds = {}) const {
    if (inputs_embeds.size() != 0) {
      hidden.matrix() = inputs_embeds.matrix();
    } else {
      std::fill_n(hidden.data(), hidden.size(), T(0));
      add_embedding<T>(word_embeddings_, ids, "token id", hidden, workspace);
    }
    if (token_type_embeddings_.data != nullptr) {
      Workspace::Scope scope(workspace);
      const auto zeros = scope.take<std::int32_t>({ids.size()});
      std::fill_n(zeros.data(), zeros.size(), 0);
      const std::span<const std::int32_t> first(zeros.data(), zeros.size());
      add_embedding<T>(token_type_embeddings_, types.empty() ? first : types, "token type id", hidden, workspace);
    }
    add_embedding<T>(position_embeddings_, positions, "position (max_position_embeddings)", hidden, workspace);
    layer_norm_.forward(hidden, {}, hidden, workspace);
  }

 private:
  StoredTensor word_embeddings_;        // [vocab, hidden]
  StoredTensor position_embeddings_;    // [positions, hidden]
  StoredTensor token_type_embeddings_;  // [types, hidden], or no data
  LayerNorm<T> layer_norm_;
};

}  // namespace bertgen
