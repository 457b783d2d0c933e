// An encoder and a decoder that attends to it: what turns one text into another.
#pragma once

#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/models/decoder.hpp"
#include "bertgen/models/encoder.hpp"
#include "bertgen/ops/cross_entropy.hpp"

namespace BERTGEN_PUBLIC bertgen {

struct GenerationConfig;
template <typename T>
struct BasicGenerateOutput;

/// What goes into EncoderDecoderModel::forward, under transformers' names. Each is one vector a sequence; sequences may
/// differ in length. Empty where not given.
struct EncoderDecoderInputs {
  std::vector<TokenIds> input_ids = {};
  std::vector<AttentionMask> attention_mask = {};
  std::vector<TokenIds> token_type_ids = {};  ///< of the source
  std::vector<TokenIds> decoder_input_ids = {};
  std::vector<AttentionMask> decoder_attention_mask = {};
  std::vector<TokenIds> labels = {};  ///< −100 does not count
};

/// What comes out of it.
template <typename T>
struct Seq2SeqLMOutput {
  std::optional<T> loss;                ///< with labels: mean −log-probability of those that count
  std::vector<T> label_log_probs;       ///< with labels: of each that counts, in order
  Tensor<T> logits;                     ///< [decoder rows, vocab_size], row after row of each sequence
  Tensor<T> encoder_last_hidden_state;  ///< [encoder rows, encoder hidden_size]
};

/// Hugging Face's EncoderDecoderModel. Immutable; all methods are const and thread-safe, given a Workspace a thread.
template <typename T>
class BasicEncoderDecoderModel {
 public:
  /// Loads a directory that transformers saved: config.json, model.safetensors and, if there, generation_config.json.
  /// Throws ConfigError and CheckpointError; ArgumentError for options that only a half has.
  static BasicEncoderDecoderModel from_pretrained(const std::filesystem::path& directory,
                                                  const LoadOptions& options = {});
  /// Warm start: two directories of the BERT line, encoders or models with a head, become the halves, as in Hugging
  /// Face's method. `config` has the ids of the whole; the halves' flags are set as the pair needs them. What they lack
  /// (see LoadOptions::seed; enc_to_dec_proj) is drawn from the seed of `decoder_options`, which is needed then. Throws
  /// ConfigError and CheckpointError.
  static BasicEncoderDecoderModel from_encoder_decoder_pretrained(const std::filesystem::path& encoder,
                                                                  const std::filesystem::path& decoder,
                                                                  LoadOptions encoder_options = {},
                                                                  LoadOptions decoder_options = {},
                                                                  EncoderDecoderConfig config = {});
  /// From two halves. Throws ConfigError if the decoder has no cross-attention, or if the sizes differ and
  /// enc_to_dec_proj is missing. The ids of `config` are used, its halves replaced by those of the models.
  BasicEncoderDecoderModel(BasicEncoder<T> encoder, BasicDecoder<T> decoder, EncoderDecoderConfig config = {},
                           std::optional<Linear<T>> enc_to_dec_proj = std::nullopt)
      : config_(std::move(config)),
        encoder_(std::move(encoder)),
        decoder_(std::move(decoder)),
        enc_to_dec_proj_(std::move(enc_to_dec_proj)),
        generation_config_(ids_for_generation(config_)) {
    config_.encoder = encoder_.config();
    config_.decoder = decoder_.config();
    config_.validate();
    if (config_.encoder.hidden_size != config_.decoder.hidden_size && !enc_to_dec_proj_) {
      throw ConfigError("encoder-decoder: expected enc_to_dec_proj between hidden sizes " +
                        std::to_string(config_.encoder.hidden_size) + " and " +
                        std::to_string(config_.decoder.hidden_size) + ", got none");
    }
  }

  const EncoderDecoderConfig& config() const { return config_; }
  const BasicEncoder<T>& encoder() const { return encoder_; }
  const BasicDecoder<T>& decoder() const { return decoder_; }
  /// The checkpoint's own defaults for generate().
  const GenerationConfig& generation_config() const { return *generation_config_; }
  void set_generation_config(GenerationConfig config);
  /// What the loader noticed and did without: files left out, tensors not used.
  const std::vector<std::string>& warnings() const { return warnings_; }
  /// Bytes of packed weights.
  std::size_t bytes() const {
    return encoder_.bytes() + decoder_.bytes() + (enc_to_dec_proj_ ? enc_to_dec_proj_->bytes() : 0);
  }

  /// The weights of all parts as they are stored, by the names of Hugging Face's class.
  NamedTensors tensors() const {
    NamedTensors all = projection_tensors_;
    for (const auto& [name, tensor] : encoder_.tensors()) all.emplace("encoder." + name, tensor);
    for (const auto& [name, tensor] : decoder_.tensors()) all.emplace("decoder." + name, tensor);
    return all;
  }
  /// As BasicEncoder::save_pretrained(), with generation_config.json.
  void save_pretrained(const std::filesystem::path& directory, const SaveOptions& options = {}) const;

  /// Encodes the sources and makes the decoder's cache attend to them, one row a source.
  void attend_to(const PackedBatch& sources, TensorView<const T> states, EncoderDecoderCache<T>& cache,
                 Workspace& workspace) const {
    if (!enc_to_dec_proj_) return decoder_.attend_to(states, sources, cache, workspace);
    Workspace::Scope scope(workspace);
    const auto projected = scope.template take<T>({states.rows(), config_.decoder.hidden_size});
    enc_to_dec_proj_->forward(states, projected, workspace);
    decoder_.attend_to(projected, sources, cache, workspace);
  }

  /// One pass over whole sequences. With labels and without decoder_input_ids these are the labels shifted right,
  /// with the mask that transformers gives them. Throws ShapeError, ArgumentError, and ConfigError if shifting needs
  /// an id that config() lacks.
  Seq2SeqLMOutput<T> forward(const EncoderDecoderInputs& inputs, Workspace& workspace) const {
    const PackedBatch sources =
        encoder_.pack(inputs.input_ids, inputs.attention_mask, HiddenPositions::keep, inputs.token_type_ids);
    std::vector<TokenIds> decoder_ids = inputs.decoder_input_ids;
    std::vector<AttentionMask> decoder_mask = inputs.decoder_attention_mask;
    if (decoder_ids.empty()) shift_right(inputs.labels, decoder_ids, decoder_mask);
    if (decoder_ids.size() != inputs.input_ids.size()) {
      throw ShapeError("decoder_input_ids: expected " + std::to_string(inputs.input_ids.size()) +
                       " sequences, as in input_ids, got " + std::to_string(decoder_ids.size()));
    }
    Seq2SeqLMOutput<T> output;
    output.encoder_last_hidden_state = encoder_.forward(sources, workspace);
    EncoderDecoderCache<T> cache = decoder_.make_cache(sources.size());
    attend_to(sources, output.encoder_last_hidden_state, cache, workspace);
    output.logits = decoder_.forward(decoder_ids, decoder_mask, cache, workspace);
    if (!inputs.labels.empty()) {
      TokenIds labels;
      for (std::size_t s = 0; s < inputs.labels.size(); ++s) {
        if (s >= decoder_ids.size() || inputs.labels[s].size() != decoder_ids[s].size()) {
          throw ShapeError("labels: expected one a decoder position in sequence " + std::to_string(s));
        }
        labels.insert(labels.end(), inputs.labels[s].begin(), inputs.labels[s].end());
      }
      output.label_log_probs = bertgen::label_log_probs<T>(output.logits, labels);
      output.loss = cross_entropy<T>(output.label_log_probs);
    }
    return output;
  }

  /// Continues each row as `config` says; see generation/generate.hpp. decoder_input_ids: empty, or one a row.
  BasicGenerateOutput<T> generate(const std::vector<TokenIds>& input_ids, const GenerationConfig& config,
                                  const std::vector<AttentionMask>& attention_mask = {},
                                  const std::vector<TokenIds>& decoder_input_ids = {}) const;
  /// With the checkpoint's own generation_config().
  BasicGenerateOutput<T> generate(const std::vector<TokenIds>& input_ids) const;

 private:
  /// transformers' shift_tokens_right: the start token, then the labels without their last, −100 become padding, which
  /// the mask hides.
  void shift_right(const std::vector<TokenIds>& labels, std::vector<TokenIds>& ids,
                   std::vector<AttentionMask>& mask) const {
    if (labels.empty()) throw ArgumentError("forward: expected decoder_input_ids or labels, got neither");
    if (!config_.decoder_start_token_id || !config_.pad_token_id) {
      throw ConfigError(std::string("labels: expected ") +
                        (config_.decoder_start_token_id ? "pad_token_id" : "decoder_start_token_id") +
                        " in config.json to shift them, got none");
    }
    const bool make_mask = mask.empty();
    for (const TokenIds& row : labels) {
      TokenIds shifted;
      for (std::size_t i = 0; i < row.size(); ++i) {
        shifted.push_back(i == 0 ? *config_.decoder_start_token_id : row[i - 1]);
        if (shifted.back() == ignored_label) shifted.back() = *config_.pad_token_id;
      }
      if (make_mask) {
        AttentionMask visible;
        for (TokenId id : shifted) visible.push_back(id != *config_.pad_token_id);
        mask.push_back(std::move(visible));
      }
      ids.push_back(std::move(shifted));
    }
  }

  /// Halves and, between different hidden sizes, the projection at `weights`' enc_to_dec_proj.
  static BasicEncoderDecoderModel join(BasicEncoder<T> encoder, BasicDecoder<T> decoder, EncoderDecoderConfig config,
                                       const Weights& weights, const BuildOptions& build);
  /// The defaults of a model that comes with none: the special ids of its configuration.
  static std::shared_ptr<const GenerationConfig> ids_for_generation(const EncoderDecoderConfig& config);

  EncoderDecoderConfig config_;
  BasicEncoder<T> encoder_;
  BasicDecoder<T> decoder_;
  std::optional<Linear<T>> enc_to_dec_proj_;
  NamedTensors projection_tensors_;
  std::shared_ptr<const GenerationConfig> generation_config_;
  std::vector<std::string> warnings_;
};

extern template class BasicEncoderDecoderModel<float>;
extern template class BasicEncoderDecoderModel<double>;

using EncoderDecoderModel = BasicEncoderDecoderModel<float>;

}  // namespace bertgen
