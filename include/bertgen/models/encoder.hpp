// The encoder: token ids to hidden states.
#pragma once

#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/io/checkpoint.hpp"
#include "bertgen/models/batch.hpp"
#include "bertgen/models/config.hpp"
#include "bertgen/models/outputs.hpp"
#include "bertgen/nn/embeddings.hpp"
#include "bertgen/nn/layer.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// How a checkpoint is loaded. What is set replaces what the directory's config.json says, as keywords of Hugging
/// Face's from_pretrained do.
struct LoadOptions {
  BuildOptions build = {};  ///< types and back end of products
  /// The family to read the checkpoint as: "bert-generation" takes a BERT's weights, without its token types.
  std::optional<std::string> model_type = {};
  /// @{
  /// As config.json names them.
  std::optional<TokenId> pad_token_id = {};
  std::optional<TokenId> bos_token_id = {};
  std::optional<TokenId> eos_token_id = {};
  std::optional<bool> is_decoder = {};
  std::optional<bool> add_cross_attention = {};
  /// @}
  /// Draws what a pretrained encoder's checkpoint lacks from this seed, so that it can be trained: a decoder's
  /// cross-attention and head, an encoder's pooler, as transformers initialises them (matrices N(0, initializer_range),
  /// biases 0, norms 1). Without it, weights that are missing are an error.
  std::optional<std::uint64_t> seed = {};
  FileAccess file_access = FileAccess::map;  ///< copy: the weight files may change while the model lives
};

/// Embeddings and layers: what encoder and decoder have in common (BertGenerationEncoder without its mode). Immutable.
template <typename T>
class TransformerStack {
 public:
  /// Reads `embeddings` and `encoder.layer.N`. Throws CheckpointError and ConfigError.
  TransformerStack(const WeightScope& scope, const TransformerConfig& config, const BuildOptions& build)
      : embeddings_(scope / "embeddings", config.vocab_size, config.max_position_embeddings, config.type_vocab_size,
                    config.hidden_size, config.layer_norm_eps) {
    config.validate();
    const LayerConfig layer_config = config.layer_config(build);
    for (std::size_t i = 0; i < config.num_hidden_layers; ++i) {
      layers_.emplace_back(scope / "encoder" / "layer" / i, layer_config, config.add_cross_attention);
    }
  }

  const Embeddings<T>& embeddings() const { return embeddings_; }  ///< of words, positions and token types
  const std::vector<Layer<T>>& layers() const { return layers_; }  ///< first to last
  /// Bytes of packed weights.
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Layer<T>& layer : layers_) sum += layer.bytes();
    return sum;
  }
  /// Layer::cache_dtype() of all layers together: bf16 if it is each one's.
  DType cache_dtype() const {
    const bool narrow = std::all_of(layers_.begin(), layers_.end(),
                                    [](const Layer<T>& layer) { return layer.cache_dtype() == DType::bf16; });
    return narrow && !layers_.empty() ? DType::bf16 : dtype_of<T>;
  }

 private:
  Embeddings<T> embeddings_;
  std::vector<Layer<T>> layers_;
};

/// The encoder of any family, as Hugging Face's AutoModel (BertGenerationEncoder, BertModel, RobertaModel, without
/// pooler). All methods are const and thread-safe, given a Workspace a thread.
template <typename T>
class BasicEncoder {
 public:
  /// Loads a directory with config.json and weights of an encoder; a language model's file serves too. Throws
  /// ConfigError and CheckpointError.
  static BasicEncoder from_pretrained(const std::filesystem::path& directory, const LoadOptions& options = {});
  /// Reads the encoder's weights at `scope`, a model's with a head or without. Throws CheckpointError and ConfigError.
  BasicEncoder(const WeightScope& scope, const TransformerConfig& config, const BuildOptions& build = {})
      : config_(config), stack_(base_scope(scope, config.family()), config, build) {
    const WeightScope base = base_scope(scope, config.family());
    const WeightScope pooler = base / "pooler" / "dense";
    if (config.family().pooler && pooler.contains("weight")) {  // only kept, for save_pretrained
      pooler.get("weight", {config.hidden_size, config.hidden_size});
      pooler.get("bias", {config.hidden_size});
    }
    tensors_ = scope.weights().read_under(base.path(""));
  }

  const TransformerConfig& config() const { return config_; }  ///< as loaded
  /// Bytes of packed weights.
  std::size_t bytes() const { return stack_.bytes(); }
  /// The weights as they are stored, by the names of Hugging Face's class; its pooler too, if the checkpoint has it.
  const NamedTensors& tensors() const { return tensors_; }
  /// Writes config.json and model.safetensors, which from_pretrained and Hugging Face's class read. The directory
  /// appears whole or not at all; the same model gives the same bytes. Throws CheckpointError, also for a directory
  /// that has files in it.
  void save_pretrained(const std::filesystem::path& directory, const SaveOptions& options = {}) const;

  /// The last layer's output. Result: [rows, hidden_size], for sequences of equal length that is
  /// [batch, length, hidden_size]. `record`: takes what it asks for. inputs_embeds: [rows, hidden_size] in place of the
  /// ids' embeddings, or empty. Throws ArgumentError for an id outside the vocabulary or a sequence longer than
  /// max_position_embeddings; CancelledError where `cancel` is requested between two layers.
  Tensor<T> forward(const PackedBatch& batch, Workspace& workspace, const std::stop_token& cancel = {},
                    ForwardRecord<T>* record = nullptr, TensorView<const T> inputs_embeds = {}) const {
    Tensor<T> hidden({batch.rows(), config_.hidden_size});
    const std::vector<Part> parts = parts_of(batch, hidden, record == nullptr ? workspace.threads() : 0);
    workspace.for_each(parts.size(), [&](std::size_t index, Workspace& own) {
      const auto& [begin, sequences, rows, groups] = parts[index];
      const TensorView<const T> given =
          inputs_embeds.size() == 0 ? inputs_embeds : inputs_embeds.middle_rows(begin, rows.rows());
      stack_.embeddings().forward(sequences.input_ids, sequences.token_type_ids, sequences.position_ids, rows, own,
                                  given);
    });
    if (record != nullptr) record->keep(hidden);
    std::optional<AttentionRecord<T>> attentions;
    if (record != nullptr && record->output_attentions) {
      attentions = AttentionRecord<T>{self_attention_rows(batch)};
    }
    // A layer's weights stay in the last-level cache while the parts pass by, which those of all layers need not do.
    for (const Layer<T>& layer : stack_.layers()) {
      if (cancel.stop_requested()) throw CancelledError("encoder: cancelled");
      workspace.for_each(parts.size(), [&](std::size_t index, Workspace& own) {
        layer.forward(parts[index].rows, parts[index].groups, own, attentions ? &*attentions : nullptr);
      });
      if (record != nullptr) record->keep(hidden);
    }
    if (record != nullptr && attentions) record->attentions = std::move(attentions->weights);
    return hidden;
  }
  /// As transformers' forward: a row for every id, hidden by the mask or not. attention_mask and token_type_ids: as
  /// input_ids, or empty.
  Tensor<T> forward(std::span<const TokenIds> input_ids, std::span<const AttentionMask> attention_mask,
                    Workspace& workspace, std::span<const TokenIds> token_type_ids = {}) const {
    return forward(pack(input_ids, attention_mask, HiddenPositions::keep, token_type_ids), workspace);
  }
  /// Lays sequences one after another, with this family's positions. Throws ShapeError as bertgen::pack does.
  PackedBatch pack(std::span<const TokenIds> input_ids, std::span<const AttentionMask> attention_mask,
                   HiddenPositions hidden, std::span<const TokenIds> token_type_ids = {},
                   std::span<const PositionIds> position_ids = {}) const {
    return bertgen::pack(input_ids, attention_mask, hidden, token_type_ids, config_.padding_idx(), position_ids);
  }

 private:
  /// Sequences that pass through a layer together, and their rows.
  struct Part {
    std::size_t begin;  ///< of its rows in the batch
    PackedBatch sequences;
    TensorView<T> rows;
    std::vector<AttentionGroup> groups;  ///< of its rows
  };
  /// As divide() says for so many threads; for none, all that the batch has is one part.
  static std::vector<Part> parts_of(const PackedBatch& batch, TensorView<T> hidden, int threads) {
    const std::vector<std::size_t> begins =
        threads == 0 ? std::vector<std::size_t>{0, batch.size()} : divide(batch, static_cast<std::size_t>(threads));
    std::vector<Part> parts;
    parts.reserve(begins.size());  // groups refer to sequences
    for (std::size_t i = 0; i + 1 < begins.size(); ++i) {
      const std::size_t begin = batch.offsets[begins[i]];
      PackedBatch sequences = middle_sequences(batch, begins[i], begins[i + 1]);
      const TensorView<T> rows = hidden.middle_rows(begin, sequences.rows());
      parts.push_back({begin, std::move(sequences), rows, {}});
      parts.back().groups = self_attention_groups(parts.back().sequences);
    }
    return parts;
  }

  TransformerConfig config_;
  TransformerStack<T> stack_;
  NamedTensors tensors_;
};

extern template class BasicEncoder<float>;
extern template class BasicEncoder<double>;

/// Computes in float32, its products as BuildOptions::dtype says.
using Encoder = BasicEncoder<float>;

/// Reads every checkpoint of the BERT line as its own family, as Hugging Face's class of this name does: a BERT's
/// weights without the token types, the first step of a warm start.
struct BertGenerationEncoder : Encoder {
  using Encoder::Encoder;
  /// From an encoder of this family.
  explicit BertGenerationEncoder(Encoder encoder) : Encoder(std::move(encoder)) {}
  /// As Encoder::from_pretrained(), with model_type "bert-generation".
  static BertGenerationEncoder from_pretrained(const std::filesystem::path& directory, LoadOptions options = {}) {
    options.model_type = "bert-generation";
    return BertGenerationEncoder(Encoder::from_pretrained(directory, options));
  }
};

}  // namespace bertgen
