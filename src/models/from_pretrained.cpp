// Directories to models, and the members whose headers must not know of files or of generation.
#include "bertgen/generation/generate.hpp"
#include "bertgen/io/checkpoint.hpp"
#include "bertgen/io/mapped_file.hpp"
#include "bertgen/models/encoder_decoder.hpp"
#include "bertgen/runtime/session.hpp"

namespace bertgen {
namespace {

constexpr std::string_view word_embeddings = "embeddings.word_embeddings.weight";

bool begins_with(std::string_view name, std::string_view prefix) { return name.substr(0, prefix.size()) == prefix; }

/// For every weight under `from` without a namesake under `to`: the same tensor under that name. Cross-attention is the
/// decoder's alone; buffers (position_ids) are no weights.
void alias(Weights& weights, std::string_view from, std::string_view to) {
  std::vector<std::pair<std::string, StoredTensor>> added;
  for (const auto& [name, tensor] : weights.tensors()) {
    if (!begins_with(name, from) || name.find(".crossattention.") != std::string::npos) continue;
    if (!is_floating(tensor.dtype)) continue;
    std::string other = std::string(to) + name.substr(from.size());
    if (!weights.contains(other)) added.emplace_back(std::move(other), tensor);
  }
  for (auto& [name, tensor] : added) weights.add(std::move(name), std::move(tensor));
}

/// A file of a shared encoder-decoder has each shared tensor under one half's name only.
void complete_shared_halves(Weights& weights, const EncoderDecoderConfig& config) {
  const std::string encoder = "encoder.";
  const std::string decoder = "decoder.bert.";
  const bool half_missing = !weights.contains(encoder + std::string(word_embeddings)) ||
                            !weights.contains(decoder + std::string(word_embeddings));
  if (!config.tie_encoder_decoder && !half_missing) return;
  alias(weights, encoder, decoder);
  alias(weights, decoder, encoder);
}

/// Marks the tensors of heads that an encoder does not have.
void ignore_heads(const Weights& weights) {
  for (const auto& [name, tensor] : weights.tensors()) {
    if (begins_with(name, "lm_head.") || begins_with(name, "cls.")) weights.mark_used(name);
  }
}

}  // namespace

template <typename T>
BasicEncoder<T> BasicEncoder<T>::from_pretrained(const std::filesystem::path& directory, const LoadOptions& options) {
  const CheckpointFiles files = find_checkpoint(directory);
  const auto config = TransformerConfig::from_json(read_text_file(files.config), files.config.string());
  const Weights weights = load_weights(files);
  const WeightScope all(weights);
  const bool language_model = weights.contains("bert." + std::string(word_embeddings));
  BasicEncoder encoder(language_model ? all / "bert" : all, config, options.build);
  ignore_heads(weights);
  weights.require_all_used();
  return encoder;
}

template <typename T>
BasicDecoder<T> BasicDecoder<T>::from_pretrained(const std::filesystem::path& directory, const LoadOptions& options) {
  const CheckpointFiles files = find_checkpoint(directory);
  const auto config = TransformerConfig::from_json(read_text_file(files.config), files.config.string());
  const Weights weights = load_weights(files);
  BasicDecoder decoder(weights, config, options.build);
  weights.require_all_used();
  return decoder;
}

template <typename T>
BasicEncoderDecoderModel<T> BasicEncoderDecoderModel<T>::from_pretrained(const std::filesystem::path& directory,
                                                                         const LoadOptions& options) {
  const CheckpointFiles files = find_checkpoint(directory);
  const std::string config_text = read_text_file(files.config);
  auto config = EncoderDecoderConfig::from_json(config_text, files.config.string());
  std::vector<std::string> warnings;
  GenerationConfig generation;
  if (files.generation_config.empty()) {
    generation = generation_config_from_model(config_text, files.config.string());
  } else {
    warnings = generation.update(read_text_file(files.generation_config), files.generation_config.string(),
                                 GenerationConfig::UnknownKeys::warn);
  }

  Weights weights = load_weights(files);
  complete_shared_halves(weights, config);
  const WeightScope all(weights);
  BasicEncoder<T> encoder(all / "encoder", config.encoder, options.build);
  BasicDecoder<T> decoder(all / "decoder", config.decoder, options.build);
  std::optional<Linear<T>> projection;
  if (config.encoder.hidden_size != config.decoder.hidden_size) {
    projection.emplace(std::initializer_list<WeightScope>{all / "enc_to_dec_proj"}, config.encoder.hidden_size,
                       config.decoder.hidden_size, options.build);
  }
  weights.require_all_used();

  BasicEncoderDecoderModel model(std::move(encoder), std::move(decoder), std::move(config), std::move(projection));
  model.set_generation_config(std::move(generation));
  model.warnings_ = std::move(warnings);
  return model;
}

template <typename T>
std::shared_ptr<const GenerationConfig> BasicEncoderDecoderModel<T>::ids_for_generation(
    const EncoderDecoderConfig& config) {
  GenerationConfig generation;
  generation.decoder_start_token_id = config.decoder_start_token_id;
  generation.bos_token_id = config.bos_token_id;
  generation.pad_token_id = config.pad_token_id;
  if (!config.eos_token_id.empty()) generation.eos_token_id = config.eos_token_id;
  return std::make_shared<const GenerationConfig>(std::move(generation));
}

template <typename T>
void BasicEncoderDecoderModel<T>::set_generation_config(GenerationConfig config) {
  config.validate();
  generation_config_ = std::make_shared<const GenerationConfig>(std::move(config));
}

template <typename T>
GenerateOutput BasicEncoderDecoderModel<T>::generate(const std::vector<TokenIds>& input_ids,
                                                     const GenerationConfig& config,
                                                     const std::vector<AttentionMask>& attention_mask,
                                                     const std::vector<TokenIds>& decoder_input_ids) const {
  Workspace workspace(physical_cores());
  return bertgen::generate(*this, {input_ids, attention_mask, decoder_input_ids}, config, workspace);
}

template <typename T>
GenerateOutput BasicEncoderDecoderModel<T>::generate(const std::vector<TokenIds>& input_ids) const {
  return generate(input_ids, generation_config());
}

template class BasicEncoder<float>;
template class BasicEncoder<double>;
template class BasicDecoder<float>;
template class BasicDecoder<double>;
template class BasicEncoderDecoderModel<float>;
template class BasicEncoderDecoderModel<double>;
template GenerateOutput generate<float>(const BasicEncoderDecoderModel<float>&, const GenerateInputs&,
                                        const GenerationConfig&, Workspace&);
template GenerateOutput generate<double>(const BasicEncoderDecoderModel<double>&, const GenerateInputs&,
                                         const GenerationConfig&, Workspace&);

}  // namespace bertgen
