// Directories to models, and the members whose headers must not know of files or of generation.
#include "bertgen/generation/generate.hpp"
#include "bertgen/io/checkpoint.hpp"
#include "bertgen/io/mapped_file.hpp"
#include "bertgen/models/encoder_decoder.hpp"
#include "bertgen/runtime/session.hpp"
#include "initialize.hpp"
#include "io/shared_halves.hpp"

namespace bertgen {
namespace {

/// A file of a shared encoder-decoder has each shared tensor under one half's name only.
void complete_shared_halves(Weights& weights, bool tied) {
  for (auto& [name, tensor] : shared_tensors(weights.tensors(), tied)) weights.add(name, tensor);
}

/// Marks the tensors at `scope` that nothing reads: a decoder's pooler, heads of another kind than `head` (none: all of
/// them), token types where the family has none.
void ignore_extras(const Weights& weights, const std::string& scope, const Family& family, std::string_view head) {
  const std::string base = base_scope(WeightScope(weights, scope), family).path("");
  std::vector<std::string> extras = {base + "pooler.", scope + "cls.seq_relationship."};
  for (std::string_view other : {"cls.predictions", "lm_head"}) {
    if (other != head) extras.push_back(scope + std::string(other) + ".");
  }
  if (!family.token_types) extras.push_back(base + "embeddings.token_type_embeddings.");
  for (const auto& [name, tensor] : weights.tensors()) {
    for (const std::string& extra : extras) {
      if (name.starts_with(extra)) weights.ignore(name);
    }
  }
}

/// The ids of a pair and the flags of its halves are config.json's.
void refuse_options_of_a_half(const LoadOptions& options) {
  const std::pair<const char*, bool> given[] = {
      {"model_type", options.model_type.has_value()},
      {"pad_token_id", options.pad_token_id.has_value()},
      {"bos_token_id", options.bos_token_id.has_value()},
      {"eos_token_id", options.eos_token_id.has_value()},
      {"is_decoder", options.is_decoder.has_value()},
      {"add_cross_attention", options.add_cross_attention.has_value()},
      {"seed", options.seed.has_value()},
  };
  for (const auto& [name, is_given] : given) {
    if (is_given) throw ArgumentError(std::string(name) + ": expected none for an encoder-decoder, only for a half");
  }
}

/// What `options` say instead of the configuration.
void apply(const LoadOptions& options, TransformerConfig& config) {
  if (options.pad_token_id) config.pad_token_id = options.pad_token_id;
  if (options.bos_token_id) config.bos_token_id = options.bos_token_id;
  if (options.eos_token_id) config.eos_token_id = {*options.eos_token_id};
  config.is_decoder = options.is_decoder.value_or(config.is_decoder);
  config.add_cross_attention = options.add_cross_attention.value_or(config.add_cross_attention);
  config.validate();
}

/// A half by itself: its configuration and its weights.
struct Half {
  TransformerConfig config;
  Weights weights;
};

Half load_half(const std::filesystem::path& directory, const LoadOptions& options) {
  const CheckpointFiles files = find_checkpoint(directory);
  Half half{TransformerConfig::from_json(read_text_file(files.config), files.config.string(),
                                         options.model_type.value_or("")),
            load_weights(files, nullptr, options.file_access)};
  apply(options, half.config);
  return half;
}

}  // namespace

template <typename T>
BasicEncoder<T> BasicEncoder<T>::from_pretrained(const std::filesystem::path& directory, const LoadOptions& options) {
  Half half = load_half(directory, options);
  if (options.seed) initialize_missing_encoder(half.weights, half.config, *options.seed);
  BasicEncoder encoder(half.weights, half.config, options.build);
  ignore_extras(half.weights, "", half.config.family(), "");
  half.weights.require_all_used();
  return encoder;
}

template <typename T>
BasicDecoder<T> BasicDecoder<T>::from_pretrained(const std::filesystem::path& directory, const LoadOptions& options) {
  Half half = load_half(directory, options);
  if (options.seed) initialize_missing_decoder(half.weights, half.config, *options.seed);
  BasicDecoder decoder(half.weights, half.config, options.build);
  ignore_extras(half.weights, "", half.config.family(), half.config.family().lm_head.head);
  half.weights.require_all_used();
  return decoder;
}

template <typename T>
BasicEncoderDecoderModel<T> BasicEncoderDecoderModel<T>::from_pretrained(const std::filesystem::path& directory,
                                                                         const LoadOptions& options) {
  refuse_options_of_a_half(options);
  const CheckpointFiles files = find_checkpoint(directory);
  const std::string config_text = read_text_file(files.config);
  auto config = EncoderDecoderConfig::from_json(config_text, files.config.string());
  std::vector<std::string> warnings;
  GenerationConfig generation;
  if (files.generation_config.empty()) {
    generation = generation_config_from_model(config_text, files.config.string(), warnings);
  } else {
    warnings = generation.update(read_text_file(files.generation_config), files.generation_config.string(),
                                 GenerationConfig::UnknownKeys::warn);
  }

  Weights weights = load_weights(files, nullptr, options.file_access);
  complete_shared_halves(weights, config.tie_encoder_decoder);
  const WeightScope all(weights);
  BasicEncoder<T> encoder(all / "encoder", config.encoder, options.build);
  BasicDecoder<T> decoder(all / "decoder", config.decoder, options.build);
  ignore_extras(weights, "encoder.", config.encoder.family(), "");
  ignore_extras(weights, "decoder.", config.decoder.family(), config.decoder.family().lm_head.head);
  BasicEncoderDecoderModel model =
      join(std::move(encoder), std::move(decoder), std::move(config), weights, options.build);
  weights.require_all_used();
  model.set_generation_config(std::move(generation));
  model.warnings_ = std::move(warnings);
  return model;
}

template <typename T>
BasicEncoderDecoderModel<T> BasicEncoderDecoderModel<T>::from_encoder_decoder_pretrained(
    const std::filesystem::path& encoder_directory, const std::filesystem::path& decoder_directory,
    LoadOptions encoder_options, LoadOptions decoder_options, EncoderDecoderConfig config) {
  encoder_options.is_decoder = encoder_options.add_cross_attention = false;
  decoder_options.is_decoder = decoder_options.add_cross_attention = true;
  if (!encoder_options.seed) encoder_options.seed = decoder_options.seed;
  auto encoder = BasicEncoder<T>::from_pretrained(encoder_directory, encoder_options);
  auto decoder = BasicDecoder<T>::from_pretrained(decoder_directory, decoder_options);
  Weights weights("the projection between the halves");
  const std::size_t from = encoder.config().hidden_size;
  const std::size_t to = decoder.config().hidden_size;
  if (from != to && decoder_options.seed) {
    initialize_projection(weights, from, decoder.config(), *decoder_options.seed);
  }
  return join(std::move(encoder), std::move(decoder), std::move(config), weights, decoder_options.build);
}

template <typename T>
BasicEncoderDecoderModel<T> BasicEncoderDecoderModel<T>::join(BasicEncoder<T> encoder, BasicDecoder<T> decoder,
                                                              EncoderDecoderConfig config, const Weights& weights,
                                                              const BuildOptions& build) {
  std::optional<Linear<T>> projection;
  const std::size_t from = encoder.config().hidden_size;
  const std::size_t to = decoder.config().hidden_size;
  const WeightScope scope = WeightScope(weights) / "enc_to_dec_proj";
  if (from != to) projection.emplace(std::initializer_list<WeightScope>{scope}, from, to, build);
  BasicEncoderDecoderModel model(std::move(encoder), std::move(decoder), std::move(config), std::move(projection));
  for (auto& [name, tensor] : weights.read_under(scope.path(""))) {
    model.projection_tensors_.emplace(scope.path(name), tensor);
  }
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
BasicGenerateOutput<T> BasicEncoderDecoderModel<T>::generate(const std::vector<TokenIds>& input_ids,
                                                             const GenerationConfig& config,
                                                             const std::vector<AttentionMask>& attention_mask,
                                                             const std::vector<TokenIds>& decoder_input_ids) const {
  Workspace workspace(physical_cores());
  return bertgen::generate<T>(*this, {input_ids, attention_mask, decoder_input_ids}, config, workspace);
}

template <typename T>
BasicGenerateOutput<T> BasicEncoderDecoderModel<T>::generate(const std::vector<TokenIds>& input_ids) const {
  return generate(input_ids, generation_config());
}

template class BasicEncoder<float>;
template class BasicEncoder<double>;
template class BasicDecoder<float>;
template class BasicDecoder<double>;
template class BasicEncoderDecoderModel<float>;
template class BasicEncoderDecoderModel<double>;

}  // namespace bertgen
