// From hidden states to one score a vocabulary entry (BertGenerationOnlyLMHead).
#pragma once

#include "bertgen/nn/linear.hpp"

namespace bertgen {

/// logits = hidden · decoder.weightᵀ + bias.
template <typename T>
class LMHead {
 public:
  LMHead() = default;
  /// Reads `lm_head` under `decoder`, a LM class's scope. What a file may leave out is replaced as transformers does:
  /// `decoder.weight` by the word embeddings if `tied`, `decoder.bias` by `bias`, and that by zero. Throws
  /// CheckpointError.
  LMHead(const WeightScope& scope, const StoredTensor& word_embeddings, bool tied, const BuildOptions& options) {
    const Shape& shape = word_embeddings.shape;
    const WeightScope decoder = scope / "decoder";
    Tensor<T> bias({shape[0]});
    // `bias` is read even where `decoder.bias` wins: files hold both.
    if (scope.contains("bias")) bias = scope.get("bias", {shape[0]}).template to<T>();
    if (decoder.contains("bias")) bias = decoder.get("bias", {shape[0]}).template to<T>();
    const bool own = decoder.contains("weight") || !tied;
    decoder_ = Linear<T>(own ? decoder.get("weight", shape) : word_embeddings, bias, options);
  }

  std::size_t vocab() const { return decoder_.out(); }
  std::size_t bytes() const { return decoder_.bytes(); }

  /// hidden: [rows, hidden], logits: [rows, vocab].
  void forward(TensorView<const T> hidden, TensorView<T> logits, Workspace& workspace) const {
    decoder_.forward(hidden, logits, workspace);
  }

 private:
  Linear<T> decoder_;
};

}  // namespace bertgen
