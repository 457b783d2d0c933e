// From hidden states to one score a vocabulary entry (BertGenerationOnlyLMHead, BertLMPredictionHead, RobertaLMHead).
#pragma once

#include <optional>
#include <string_view>

#include "bertgen/core/export.hpp"
#include "bertgen/nn/attention.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Where a family keeps its head, and what stands before the product.
struct LMHeadNames {
  std::string_view head;        ///< the scope of `decoder` and `bias`
  std::string_view dense;       ///< of the transformation, within the head; empty if there is none
  std::string_view layer_norm;  ///< of the transformation
  /// RoBERTa's, whatever hidden_act says; none: the layers' own.
  std::optional<Activation> activation = {};
};

/// logits = t · decoder.weightᵀ + bias with t = LayerNorm(activation(dense(hidden))) where there is a transformation,
/// else hidden.
template <typename T>
class LMHead {
 public:
  LMHead() = default;
  /// Reads the head of a model with one at `model`. What a file may leave out is replaced as transformers does:
  /// `decoder.weight` by the word embeddings if `tied`, `decoder.bias` by `bias`, and that by zero. Throws
  /// CheckpointError.
  LMHead(const WeightScope& model, const LMHeadNames& names, const LayerConfig& layers,
         const StoredTensor& word_embeddings, bool tied) {
    const WeightScope scope = model / names.head;
    if (!names.dense.empty()) {
      transform_.emplace(Linear<T>({scope / names.dense}, layers.hidden, layers.hidden, layers.build),
                         LayerNorm<T>(scope / names.layer_norm, layers.hidden, layers.layer_norm_eps),
                         names.activation.value_or(layers.activation));
    }
    const Shape& shape = word_embeddings.shape;
    const WeightScope decoder = scope / "decoder";
    std::vector<T> bias(shape[0]);
    // `bias` is read even where `decoder.bias` wins: files hold both.
    if (scope.contains("bias")) bias = scope.get("bias", {shape[0]}).template to<T>().values();
    if (decoder.contains("bias")) bias = decoder.get("bias", {shape[0]}).template to<T>().values();
    const bool own = decoder.contains("weight") || !tied;
    decoder_ = Linear<T>(own ? decoder.get("weight", shape) : word_embeddings, std::move(bias), layers.build);
  }

  std::size_t vocab() const { return decoder_.out(); }  ///< columns of the logits
  /// Bytes of packed weights.
  std::size_t bytes() const { return decoder_.bytes() + (transform_ ? transform_->dense.bytes() : 0); }

  /// hidden: [rows, hidden], logits: [rows, vocab].
  void forward(TensorView<const T> hidden, TensorView<T> logits, Workspace& workspace) const {
    if (!transform_) return decoder_.forward(hidden, logits, workspace);
    Workspace::Scope scope(workspace);
    const auto transformed = scope.template take<T>(hidden.shape());  // [rows, hidden]
    transform_->dense.forward(hidden, transformed, workspace, transform_->activation);
    transform_->layer_norm.forward(transformed, {}, transformed, workspace);
    decoder_.forward(transformed, logits, workspace);
  }

 private:
  struct Transform {
    Transform(Linear<T> dense_, LayerNorm<T> layer_norm_, Activation activation_)
        : dense(std::move(dense_)), layer_norm(std::move(layer_norm_)), activation(activation_) {}
    Linear<T> dense;
    LayerNorm<T> layer_norm;
    Activation activation;
  };

  std::optional<Transform> transform_;
  Linear<T> decoder_;
};

}  // namespace bertgen
