#include "bertgen/models/config.hpp"

#include <cmath>
#include <initializer_list>
#include <utility>

#include "bertgen/core/error.hpp"
#include "json.hpp"

namespace bertgen {
namespace {

// Sizes beyond this are no model's; the bound keeps products of two of them within 64 bits.
constexpr std::int64_t largest_size = std::int64_t{1} << 30;

void read(const JsonFields& fields, const char* key, std::size_t& value, std::int64_t least = 1) {
  if (const auto read = fields.integer(key, least, largest_size)) value = static_cast<std::size_t>(*read);
}
void read(const JsonFields& fields, const char* key, bool& value) { value = fields.boolean(key).value_or(value); }
void read(const JsonFields& fields, const char* key, double& value) { value = fields.number(key).value_or(value); }
void read(const JsonFields& fields, const char* key, std::string& value) {
  if (auto read = fields.string(key)) value = std::move(*read);
}

/// A null id is a choice of none; only an absent key keeps the default.
void read_ids(const Json& object, const JsonFields& fields, TransformerConfig& config) {
  if (object.contains("pad_token_id")) config.pad_token_id = fields.token("pad_token_id");
  if (object.contains("bos_token_id")) config.bos_token_id = fields.token("bos_token_id");
  if (object.contains("eos_token_id")) config.eos_token_id = fields.tokens("eos_token_id").value_or(TokenIds{});
}

/// What is left of an object without the fields that are read.
std::string without(Json object, std::initializer_list<const char*> read) {
  for (const char* key : read) object.erase(key);
  return object.dump();
}

/// A family's defaults, or ConfigError that names the place of the model_type.
TransformerConfig defaults_at(const std::string& where, std::string_view model_type) {
  try {
    return TransformerConfig::defaults(model_type);
  } catch (const ConfigError& error) {
    throw ConfigError(where + ": " + error.what());
  }
}

TransformerConfig transformer_from(const Json& object, const std::string& where, std::string_view model_type) {
  const JsonFields fields(object, where);
  const std::string stored_type = fields.string("model_type").value_or("bert-generation");
  TransformerConfig config = defaults_at(where, model_type.empty() ? stored_type : model_type);
  read(fields, "vocab_size", config.vocab_size);
  read(fields, "hidden_size", config.hidden_size);
  read(fields, "num_hidden_layers", config.num_hidden_layers, 0);
  read(fields, "num_attention_heads", config.num_attention_heads);
  read(fields, "intermediate_size", config.intermediate_size);
  read(fields, "hidden_act", config.hidden_act);
  read(fields, "max_position_embeddings", config.max_position_embeddings);
  if (config.family().token_types) read(fields, "type_vocab_size", config.type_vocab_size);
  read(fields, "layer_norm_eps", config.layer_norm_eps);
  read(fields, "initializer_range", config.initializer_range);
  read(fields, "is_decoder", config.is_decoder);
  read(fields, "add_cross_attention", config.add_cross_attention);
  read(fields, "tie_word_embeddings", config.tie_word_embeddings);
  read_ids(object, fields, config);
  if (const auto size = fields.integer("cross_attention_hidden_size", 1, largest_size)) {
    config.cross_attention_hidden_size = static_cast<std::size_t>(*size);
  }
  // transformers 4 computed relative positions here, 5 silently computes absolute ones from the same file.
  if (const auto type = fields.string("position_embedding_type"); type && *type != "absolute") {
    fields.fail("position_embedding_type", "\"absolute\" (relative positions are not supported)");
  }
  config.other_fields = without(
      object, {"model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
               "intermediate_size", "hidden_act", "max_position_embeddings", "type_vocab_size", "layer_norm_eps",
               "initializer_range", "is_decoder", "add_cross_attention", "tie_word_embeddings", "pad_token_id",
               "bos_token_id", "eos_token_id", "cross_attention_hidden_size"});
  try {
    config.validate();
  } catch (const ConfigError& error) {
    throw ConfigError(where + ": " + error.what());
  }
  return config;
}

template <typename Value>
void write(Json& object, const char* key, const std::optional<Value>& value) {
  if (value) object[key] = *value;
}
void write(Json& object, const char* key, const TokenIds& ids) {
  if (ids.size() == 1) object[key] = ids.front();
  if (ids.size() > 1) object[key] = ids;
}

Json parse(std::string_view text, std::string_view source) {
  try {
    return parse_json(text);
  } catch (const JsonError& error) {
    throw ConfigError(std::string(source) + ": " + error.what());
  }
}

/// An object that begins with the fields that no member holds.
Json begin_object(const std::string& other_fields) {
  Json object = parse(other_fields, "other_fields");
  if (!object.is_object()) throw ConfigError("other_fields: expected an object, got " + excerpt(object));
  return object;
}

Json to_object(const TransformerConfig& config) {
  Json object = begin_object(config.other_fields);
  object.update({
      {"model_type", config.model_type},
      {"vocab_size", config.vocab_size},
      {"hidden_size", config.hidden_size},
      {"num_hidden_layers", config.num_hidden_layers},
      {"num_attention_heads", config.num_attention_heads},
      {"intermediate_size", config.intermediate_size},
      {"hidden_act", config.hidden_act},
      {"max_position_embeddings", config.max_position_embeddings},
      {"layer_norm_eps", config.layer_norm_eps},
      {"initializer_range", config.initializer_range},
      {"is_decoder", config.is_decoder},
      {"add_cross_attention", config.add_cross_attention},
      {"tie_word_embeddings", config.tie_word_embeddings},
      {"pad_token_id", nullptr},
      {"bos_token_id", nullptr},
      {"eos_token_id", nullptr},
  });
  write(object, "pad_token_id", config.pad_token_id);
  write(object, "bos_token_id", config.bos_token_id);
  write(object, "eos_token_id", config.eos_token_id);
  write(object, "cross_attention_hidden_size", config.cross_attention_hidden_size);
  if (config.type_vocab_size != 0) object["type_vocab_size"] = config.type_vocab_size;
  return object;
}

}  // namespace

TransformerConfig TransformerConfig::defaults(std::string_view model_type) {
  TransformerConfig config;
  config.model_type = model_type;
  const Family& family = config.family();
  if (family.model_type == "bert-generation") return config;
  config.vocab_size = 30522;
  config.hidden_size = 768;
  config.num_hidden_layers = 12;
  config.num_attention_heads = 12;
  config.intermediate_size = 3072;
  config.type_vocab_size = 2;
  config.bos_token_id.reset();
  config.eos_token_id.clear();
  if (family.model_type == "roberta") {
    config.vocab_size = 50265;
    config.pad_token_id = 1;
    config.bos_token_id = 0;
    config.eos_token_id = {2};
  }
  return config;
}

TransformerConfig TransformerConfig::from_json(std::string_view text, std::string_view source,
                                               std::string_view model_type) {
  return transformer_from(parse(text, source), std::string(source), model_type);
}

std::string TransformerConfig::to_json() const { return to_object(*this).dump(2); }

void TransformerConfig::validate() const {
  if (family().token_types != (type_vocab_size != 0)) {
    throw ConfigError("type_vocab_size: expected " + std::string(family().token_types ? "1 or more" : "0") + " in a " +
                      model_type + " configuration, got " + std::to_string(type_vocab_size));
  }
  if (family().positions_from_padding) {
    if (!pad_token_id) throw ConfigError("pad_token_id: expected an id, from which positions count, got none");
    if (static_cast<std::size_t>(*pad_token_id) + 1 >= max_position_embeddings) {
      throw ConfigError("max_position_embeddings: expected more than pad_token_id + 1, " +
                        std::to_string(*pad_token_id + std::int64_t{1}) + ", got " +
                        std::to_string(max_position_embeddings));
    }
  }
  if (num_attention_heads == 0 || hidden_size % num_attention_heads != 0) {
    throw ConfigError("hidden_size: expected a multiple of num_attention_heads, " +
                      std::to_string(num_attention_heads) + ", got " + std::to_string(hidden_size));
  }
  if (!(layer_norm_eps >= 0) || !std::isfinite(layer_norm_eps)) {
    throw ConfigError("layer_norm_eps: expected a small positive number, got " + std::to_string(layer_norm_eps));
  }
  if (!(initializer_range >= 0) || !std::isfinite(initializer_range)) {
    throw ConfigError("initializer_range: expected a number of at least 0, got " + std::to_string(initializer_range));
  }
  if (add_cross_attention && !is_decoder) {
    throw ConfigError("add_cross_attention: expected is_decoder with it, got is_decoder false");
  }
  activation_from_name(hidden_act);
}

std::optional<TokenId> TransformerConfig::padding_idx() const {
  return family().positions_from_padding ? pad_token_id : std::nullopt;
}

std::size_t TransformerConfig::max_length() const {
  const std::optional<TokenId> padding = padding_idx();
  return max_position_embeddings - (padding ? static_cast<std::size_t>(*padding) + 1 : 0);
}

LayerConfig TransformerConfig::layer_config(const BuildOptions& build) const {
  return {hidden_size, num_attention_heads, intermediate_size, activation_from_name(hidden_act), layer_norm_eps, build};
}

EncoderDecoderConfig EncoderDecoderConfig::from_json(std::string_view text, std::string_view source) {
  const Json object = parse(text, source);
  const std::string where(source);
  const JsonFields fields(object, where);
  const std::string model_type = fields.string("model_type").value_or("");
  // Files of 2020 spell it with an underscore.
  if (model_type != "encoder-decoder" && model_type != "encoder_decoder") {
    throw ConfigError(where + ".model_type: expected \"encoder-decoder\", got \"" + model_type + "\"");
  }
  for (const char* half : {"encoder", "decoder"}) {
    if (!fields.has(half)) throw ConfigError(where + "." + half + ": expected the configuration of a half, got none");
  }
  EncoderDecoderConfig config;
  config.encoder = transformer_from(object["encoder"], where + ".encoder", {});
  config.decoder = transformer_from(object["decoder"], where + ".decoder", {});
  config.decoder_start_token_id = fields.token("decoder_start_token_id");
  config.pad_token_id = fields.token("pad_token_id");
  config.bos_token_id = fields.token("bos_token_id");
  config.eos_token_id = fields.tokens("eos_token_id").value_or(TokenIds{});
  read(fields, "tie_encoder_decoder", config.tie_encoder_decoder);
  read(fields, "tokenizer_class", config.tokenizer_class);
  config.other_fields = without(
      object, {"model_type", "is_encoder_decoder", "architectures", "encoder", "decoder", "decoder_start_token_id",
               "pad_token_id", "bos_token_id", "eos_token_id", "tie_encoder_decoder", "tokenizer_class"});
  try {
    config.validate();
  } catch (const ConfigError& error) {
    throw ConfigError(where + ": " + error.what());
  }
  return config;
}

std::string EncoderDecoderConfig::to_json() const {
  Json object = begin_object(other_fields);
  object.update({
      {"model_type", "encoder-decoder"},
      {"is_encoder_decoder", true},
      {"architectures", {"EncoderDecoderModel"}},
      {"encoder", to_object(encoder)},
      {"decoder", to_object(decoder)},
  });
  write(object, "decoder_start_token_id", decoder_start_token_id);
  write(object, "pad_token_id", pad_token_id);
  write(object, "bos_token_id", bos_token_id);
  write(object, "eos_token_id", eos_token_id);
  if (tie_encoder_decoder) object["tie_encoder_decoder"] = true;
  if (!tokenizer_class.empty()) object["tokenizer_class"] = tokenizer_class;
  return object.dump(2);
}

void EncoderDecoderConfig::validate() const {
  encoder.validate();
  decoder.validate();
  if (!decoder.is_decoder || !decoder.add_cross_attention) {
    throw ConfigError("decoder: expected is_decoder and add_cross_attention, got " +
                      std::string(decoder.is_decoder ? "no add_cross_attention" : "no is_decoder"));
  }
  if (encoder.is_decoder || encoder.add_cross_attention) {
    throw ConfigError("encoder: expected neither is_decoder nor add_cross_attention, got is_decoder");
  }
  // BERT-family layers ignore the field, and transformers fails at the first forward when it differs.
  if (decoder.cross_attention_hidden_size && *decoder.cross_attention_hidden_size != encoder.hidden_size) {
    throw ConfigError("decoder.cross_attention_hidden_size: expected the encoder's hidden_size, " +
                      std::to_string(encoder.hidden_size) + ", got " +
                      std::to_string(*decoder.cross_attention_hidden_size));
  }
}

}  // namespace bertgen
