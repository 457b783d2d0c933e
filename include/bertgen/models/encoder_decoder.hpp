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
  std::vector<TokenIds> input_ids = {};  ///< of the source; may be absent if encoder_outputs or inputs_embeds are given
  std::vector<AttentionMask> attention_mask = {};  ///< of the source; 0 hides a position
  std::vector<TokenIds> token_type_ids = {};       ///< of the source
  std::vector<PositionIds> position_ids = {};      ///< of the source
  std::vector<TokenIds> decoder_input_ids = {};    ///< unless given, they are made from the labels
  /// Of decoder_input_ids alone: what is hidden in past_key_values stays so.
  std::vector<AttentionMask> decoder_attention_mask = {};
  std::vector<TokenIds> decoder_token_type_ids = {};   ///< of the decoder
  std::vector<PositionIds> decoder_position_ids = {};  ///< of the decoder
  std::vector<TokenIds> labels = {};                   ///< −100 does not count
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

  const EncoderDecoderConfig& config() const { return config_; }  ///< as loaded
  /// @{
  /// The halves.
  const BasicEncoder<T>& encoder() const { return encoder_; }
  const BasicDecoder<T>& decoder() const { return decoder_; }
  /// @}
  /// The checkpoint's own defaults for generate().
  const GenerationConfig& generation_config() const { return *generation_config_; }
  /// Replaces generation_config(). Throws ConfigError as GenerationConfig::validate() does.
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

  /// Makes the decoder's cache attend to the encoder's states, one row a source.
  void attend_to(const PackedBatch& sources, TensorView<const T> states, EncoderDecoderCache<T>& cache,
                 Workspace& workspace) const {
    project(states, workspace,
            [&](TensorView<const T> projected) { decoder_.attend_to(projected, sources, cache, workspace); });
  }
  /// As BasicDecoder::attend_to_more().
  void attend_to_more(const PackedBatch& sources, TensorView<const T> states, EncoderDecoderCache<T>& cache,
                      Workspace& workspace) const {
    project(states, workspace,
            [&](TensorView<const T> projected) { decoder_.attend_to_more(projected, sources, cache, workspace); });
  }

  /// The encoder's part of forward(), for ForwardArguments::encoder_outputs: encode once, decode many times. Throws as
  /// forward() does.
  EncoderOutput<T> encode(const EncoderDecoderInputs& inputs, Workspace& workspace,
                          const ForwardArguments<T>& arguments = {}) const {
    if (!inputs.input_ids.empty() && !arguments.inputs_embeds.empty()) {
      throw ArgumentError("forward: expected input_ids or inputs_embeds, got both");
    }
    EncoderOutput<T> output;
    const Tensor<T> embeds =
        joined_embeds("inputs_embeds", arguments.inputs_embeds, config_.encoder.hidden_size, output.lengths);
    for (const TokenIds& row : inputs.input_ids) output.lengths.push_back(row.size());
    const PackedBatch sources =
        encoder_.pack(embeds.empty() ? inputs.input_ids : stand_in_ids(output.lengths, config_.encoder.padding_idx()),
                      inputs.attention_mask, HiddenPositions::keep, inputs.token_type_ids, inputs.position_ids);
    ForwardRecord<T> record{arguments.output_hidden_states, arguments.output_attentions};
    output.last_hidden_state = encoder_.forward(sources, workspace, {}, &record, embeds);
    output.hidden_states = std::move(record.hidden_states);
    output.attentions = std::move(record.attentions);
    return output;
  }

  /// Makes the decoder's cache attend to what encode() gave, one row a source; attention_mask as of input_ids, or
  /// empty. Throws ShapeError.
  void attend_to(const EncoderOutput<T>& states, std::span<const AttentionMask> attention_mask,
                 EncoderDecoderCache<T>& cache, Workspace& workspace) const {
    const PackedBatch sources = pack(stand_in_ids(states.lengths, {}), attention_mask, HiddenPositions::keep);
    if (states.last_hidden_state.shape() != Shape{sources.rows(), config_.encoder.hidden_size}) {
      throw ShapeError("encoder_outputs: expected " + to_string(Shape{sources.rows(), config_.encoder.hidden_size}) +
                       " by their lengths, got " + to_string(states.last_hidden_state.shape()));
    }
    attend_to(sources, states.last_hidden_state, cache, workspace);
  }

  /// One pass over whole sequences, or over what continues those in past_key_values. With labels and without
  /// decoder_input_ids these are the labels shifted right, with the mask that transformers gives them. Throws
  /// ShapeError, ArgumentError, and ConfigError if shifting needs an id that config() lacks; past_key_values are then
  /// as before.
  Seq2SeqLMOutput<T> forward(const EncoderDecoderInputs& inputs, Workspace& workspace,
                             const ForwardArguments<T>& arguments = {}) const {
    Seq2SeqLMOutput<T> output;
    std::optional<EncoderDecoderCache<T>> fresh;
    if (arguments.past_key_values == nullptr && arguments.encoder_outputs != nullptr) {
      fresh = decoder_.make_cache(arguments.encoder_outputs->lengths.size());
      attend_to(*arguments.encoder_outputs, inputs.attention_mask, *fresh, workspace);
    } else if (arguments.past_key_values == nullptr) {
      EncoderOutput<T> encoded = encode(inputs, workspace, arguments);
      fresh = decoder_.make_cache(encoded.lengths.size());
      attend_to(encoded, inputs.attention_mask, *fresh, workspace);
      output.encoder_last_hidden_state = std::move(encoded.last_hidden_state);
      output.encoder_hidden_states = std::move(encoded.hidden_states);
      output.encoder_attentions = std::move(encoded.attentions);
    }
    decode(inputs, arguments, fresh ? *fresh : *arguments.past_key_values, output, workspace);
    if (arguments.use_cache) output.past_key_values = std::move(fresh);
    return output;
  }

  /// Continues each row as `config` says; see generation/generate.hpp. decoder_input_ids: empty, or one a row.
  BasicGenerateOutput<T> generate(const std::vector<TokenIds>& input_ids, const GenerationConfig& config,
                                  const std::vector<AttentionMask>& attention_mask = {},
                                  const std::vector<TokenIds>& decoder_input_ids = {}) const;
  /// With the checkpoint's own generation_config().
  BasicGenerateOutput<T> generate(const std::vector<TokenIds>& input_ids) const;

 private:
  /// Calls use(states) with the states at the decoder's width.
  template <typename Use>
  void project(TensorView<const T> states, Workspace& workspace, Use use) const {
    if (!enc_to_dec_proj_) return use(states);
    Workspace::Scope scope(workspace);
    const auto projected = scope.template take<T>({states.rows(), config_.decoder.hidden_size});
    enc_to_dec_proj_->forward(states, projected, workspace);
    use(projected);
  }

  /// The decoder's part of forward().
  void decode(const EncoderDecoderInputs& inputs, const ForwardArguments<T>& arguments, EncoderDecoderCache<T>& cache,
              Seq2SeqLMOutput<T>& output, Workspace& workspace) const {
    std::vector<TokenIds> ids = inputs.decoder_input_ids;
    std::vector<AttentionMask> mask = inputs.decoder_attention_mask;
    std::vector<std::size_t> lengths;
    const Tensor<T> embeds =
        joined_embeds("decoder_inputs_embeds", arguments.decoder_inputs_embeds, config_.decoder.hidden_size, lengths);
    if (!lengths.empty()) {
      if (!ids.empty()) throw ArgumentError("forward: expected decoder_input_ids or decoder_inputs_embeds, got both");
      ids = stand_in_ids(lengths, config_.decoder.padding_idx());
    } else if (ids.empty()) {
      shift_right(inputs.labels, ids, mask);
    }
    if (ids.size() != cache.rows()) {
      throw ShapeError("decoder_input_ids: expected " + std::to_string(cache.rows()) +
                       " sequences, as in input_ids, got " + std::to_string(ids.size()));
    }
    if (!inputs.decoder_position_ids.empty()) {
      check_one_a_position("decoder_position_ids", std::span(inputs.decoder_position_ids), ids);
    }
    if (!inputs.labels.empty()) check_one_a_position("labels", std::span(inputs.labels), ids);
    TokenIds labels;
    for (const TokenIds& row : inputs.labels) labels.insert(labels.end(), row.begin(), row.end());
    check_labels(labels, config_.decoder.vocab_size);
    const AttentionMask flags = joined_mask(ids, mask, "decoder_attention_mask");
    const PackedBatch batch =
        pack(ids, {}, HiddenPositions::keep, inputs.decoder_token_type_ids, {}, inputs.decoder_position_ids);
    DecoderTokens<T> tokens{batch.input_ids, batch.offsets, flags, batch.token_type_ids, {}, embeds};
    if (!inputs.decoder_position_ids.empty()) tokens.position_ids = batch.position_ids;
    ForwardRecord<T> record{arguments.output_hidden_states, arguments.output_attentions};
    Tensor<T> hidden({batch.rows(), config_.decoder.hidden_size});
    decoder_.forward(tokens, cache, hidden, workspace, &record);
    PendingTokens<T> pending(cache);
    output.logits = Tensor<T>({batch.rows(), config_.decoder.vocab_size});
    decoder_.logits(hidden, output.logits, workspace);
    output.decoder_hidden_states = std::move(record.hidden_states);
    output.decoder_attentions = std::move(record.attentions);
    output.cross_attentions = std::move(record.cross_attentions);
    if (!labels.empty()) {
      output.label_log_probs = bertgen::label_log_probs<T>(output.logits, labels);
      output.loss = cross_entropy<T>(output.label_log_probs);
    }
    pending.keep();
  }

  template <typename Row>
  static void check_one_a_position(const char* field, std::span<const Row> rows, const std::vector<TokenIds>& ids) {
    for (std::size_t s = 0; s < std::max(rows.size(), ids.size()); ++s) {
      if (s < rows.size() && s < ids.size() && rows[s].size() == ids[s].size()) continue;
      throw ShapeError(std::string(field) + ": expected one a decoder position in sequence " + std::to_string(s));
    }
  }

  /// The vectors of all sequences, one after another, and how many each has.
  static Tensor<T> joined_embeds(const char* field, const std::vector<Tensor<T>>& rows, std::size_t hidden,
                                 std::vector<std::size_t>& lengths) {
    std::vector<T> values;
    for (const Tensor<T>& row : rows) {
      if (row.shape().rank() != 2 || row.shape()[1] != hidden) {
        throw ShapeError(std::string(field) + ": expected [length, " + std::to_string(hidden) + "] for sequence " +
                         std::to_string(lengths.size()) + ", got " + to_string(row.shape()));
      }
      values.insert(values.end(), row.values().begin(), row.values().end());
      lengths.push_back(row.shape()[0]);
    }
    const Shape shape{values.size() / hidden, hidden};
    return {shape, std::move(values)};
  }

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

/// Computes in float32, its products in BuildOptions::dtype.
using EncoderDecoderModel = BasicEncoderDecoderModel<float>;

}  // namespace bertgen
