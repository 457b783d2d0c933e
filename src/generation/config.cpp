#include "bertgen/generation/config.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "bertgen/core/error.hpp"
#include "generation/idle_options.hpp"
#include "json.hpp"

namespace bertgen {
namespace {

constexpr std::int64_t longest = 1 << 30;

/// Calls visit(key, field) for each field of a GenerationConfig: the one list of them.
template <typename Config, typename Visitor>
void for_each_field(Config& config, Visitor&& visit) {
  visit("max_length", config.max_length);
  visit("max_new_tokens", config.max_new_tokens);
  visit("min_length", config.min_length);
  visit("min_new_tokens", config.min_new_tokens);
  visit("max_time", config.max_time);
  visit("stop_strings", config.stop_strings);
  visit("num_beams", config.num_beams);
  visit("num_return_sequences", config.num_return_sequences);
  visit("length_penalty", config.length_penalty);
  visit("early_stopping", config.early_stopping);
  visit("num_beam_groups", config.num_beam_groups);
  visit("diversity_penalty", config.diversity_penalty);
  visit("force_words_ids", config.force_words_ids);
  visit("penalty_alpha", config.penalty_alpha);
  visit("prompt_lookup_num_tokens", config.prompt_lookup_num_tokens);
  visit("source_lookup_num_tokens", config.source_lookup_num_tokens);
  visit("max_matching_ngram_size", config.max_matching_ngram_size);
  visit("num_assistant_tokens", config.num_assistant_tokens);
  visit("num_assistant_tokens_schedule", config.num_assistant_tokens_schedule);
  visit("assistant_confidence_threshold", config.assistant_confidence_threshold);
  visit("do_sample", config.do_sample);
  visit("temperature", config.temperature);
  visit("top_h", config.top_h);
  visit("top_k", config.top_k);
  visit("top_p", config.top_p);
  visit("min_p", config.min_p);
  visit("typical_p", config.typical_p);
  visit("epsilon_cutoff", config.epsilon_cutoff);
  visit("eta_cutoff", config.eta_cutoff);
  visit("seed", config.seed);
  visit("sequence_bias", config.sequence_bias);
  visit("encoder_repetition_penalty", config.encoder_repetition_penalty);
  visit("repetition_penalty", config.repetition_penalty);
  visit("no_repeat_ngram_size", config.no_repeat_ngram_size);
  visit("encoder_no_repeat_ngram_size", config.encoder_no_repeat_ngram_size);
  visit("bad_words_ids", config.bad_words_ids);
  visit("forced_bos_token_id", config.forced_bos_token_id);
  visit("forced_eos_token_id", config.forced_eos_token_id);
  visit("remove_invalid_values", config.remove_invalid_values);
  visit("exponential_decay_length_penalty", config.exponential_decay_length_penalty);
  visit("suppress_tokens", config.suppress_tokens);
  visit("begin_suppress_tokens", config.begin_suppress_tokens);
  visit("renormalize_logits", config.renormalize_logits);
  visit("output_scores", config.output_scores);
  visit("output_logits", config.output_logits);
  visit("decoder_start_token_id", config.decoder_start_token_id);
  visit("bos_token_id", config.bos_token_id);
  visit("pad_token_id", config.pad_token_id);
  visit("eos_token_id", config.eos_token_id);
}

// Reading: one overload a field type. Each leaves the field empty if the key is null.

void read(const JsonFields& fields, const char* key, std::optional<std::size_t>& field) {
  const auto value = fields.integer(key, 0, longest);
  field = value ? std::optional(static_cast<std::size_t>(*value)) : std::nullopt;
}
void read(const JsonFields& fields, const char* key, std::optional<std::int64_t>& field) {
  field = fields.integer(key, 0, std::numeric_limits<std::int64_t>::max());
}
void read(const JsonFields& fields, const char* key, std::optional<double>& field) {
  field = fields.number(key);
  if (field && !std::isfinite(*field)) fields.fail(key, "a finite number");
}
void read(const JsonFields& fields, const char* key, std::optional<bool>& field) { field = fields.boolean(key); }
void read(const JsonFields& fields, const char* key, std::optional<TokenId>& field) { field = fields.token(key); }
void read(const JsonFields& fields, const char* key, std::optional<TokenIds>& field) { field = fields.tokens(key); }

void read(const JsonFields& fields, const char* key, std::optional<std::vector<std::string>>& field) {
  field.reset();
  if (!fields.has(key)) return;
  const Json& value = fields.raw(key);
  field.emplace();
  for (const Json& text : value.is_array() ? value : Json::array({value})) {
    if (!text.is_string()) fields.fail(key, "a text or a list of texts");
    field->push_back(text.get<std::string>());
  }
}

void read(const JsonFields& fields, const char* key, std::optional<EarlyStopping>& field) {
  field.reset();
  if (!fields.has(key)) return;
  const Json& value = fields.raw(key);
  if (value.is_boolean()) {
    field = value.get<bool>() ? EarlyStopping::yes : EarlyStopping::no;
  } else if (value == "never") {
    field = EarlyStopping::never;
  } else {
    fields.fail(key, "true, false or \"never\"");
  }
}

constexpr std::array schedules = {std::pair{"constant", AssistantSchedule::constant},
                                  std::pair{"heuristic", AssistantSchedule::heuristic},
                                  std::pair{"heuristic_transient", AssistantSchedule::heuristic_transient}};

void read(const JsonFields& fields, const char* key, std::optional<AssistantSchedule>& field) {
  field.reset();
  if (!fields.has(key)) return;
  for (const auto& [name, schedule] : schedules) {
    if (fields.raw(key) == name) field = schedule;
  }
  if (!field) fields.fail(key, "\"constant\", \"heuristic\" or \"heuristic_transient\"");
}

void read(const JsonFields& fields, const char* key, std::optional<ExponentialDecay>& field) {
  field.reset();
  if (!fields.has(key)) return;
  const Json& value = fields.raw(key);
  if (!value.is_array() || value.size() != 2 || !value[0].is_number_unsigned() ||
      value[0].get<std::uint64_t>() > std::uint64_t{longest} || !value[1].is_number()) {
    fields.fail(key, "[start, factor]");
  }
  field = ExponentialDecay{value[0].get<std::size_t>(), value[1].get<double>()};
}

TokenIds read_sequence(const JsonFields& fields, const char* key, const Json& value) {
  const Json object = {{key, value}};
  const JsonFields item(object, fields.where());
  TokenIds ids = value.is_array() ? item.tokens(key).value_or(TokenIds{}) : TokenIds{};
  if (ids.empty()) fields.fail(key, "non-empty lists of token ids");
  return ids;
}

void read(const JsonFields& fields, const char* key, std::optional<std::vector<TokenIds>>& field) {
  field.reset();
  if (!fields.has(key)) return;
  if (!fields.raw(key).is_array()) fields.fail(key, "a list of lists of token ids");
  field.emplace();
  for (const Json& value : fields.raw(key)) field->push_back(read_sequence(fields, key, value));
}

/// A word is a list of ids, or a list of such lists of which one is wanted.
void read(const JsonFields& fields, const char* key, std::optional<std::vector<ForcedWord>>& field) {
  field.reset();
  if (!fields.has(key)) return;
  if (!fields.raw(key).is_array()) fields.fail(key, "a list of words, each a list of token ids or of such lists");
  field.emplace();
  for (const Json& word : fields.raw(key)) {
    ForcedWord& alternatives = field->emplace_back();
    if (word.is_array() && !word.empty() && word[0].is_array()) {
      for (const Json& ids : word) alternatives.push_back(read_sequence(fields, key, ids));
    } else {
      alternatives.push_back(read_sequence(fields, key, word));
    }
  }
}

void read(const JsonFields& fields, const char* key, std::optional<std::vector<std::pair<TokenIds, double>>>& field) {
  field.reset();
  if (!fields.has(key)) return;
  if (!fields.raw(key).is_array()) fields.fail(key, "a list of [token ids, bias]");
  field.emplace();
  for (const Json& value : fields.raw(key)) {
    if (!value.is_array() || value.size() != 2 || !value[1].is_number())
      fields.fail(key, "a list of [token ids, bias]");
    field->emplace_back(read_sequence(fields, key, value[0]), value[1].get<double>());
  }
}

// Writing.

template <typename Value>
Json written(const Value& value) {
  return value;
}
Json written(EarlyStopping value) {
  return value == EarlyStopping::never ? Json("never") : Json(value == EarlyStopping::yes);
}
Json written(AssistantSchedule value) { return schedules[static_cast<std::size_t>(value)].first; }
Json written(const std::vector<ForcedWord>& words) {
  Json list = Json::array();
  for (const ForcedWord& word : words) list.push_back(word.size() == 1 ? Json(word[0]) : Json(word));
  return list;
}
Json written(const ExponentialDecay& value) { return Json::array({value.start, value.factor}); }

/// A key that is no field, with the values that ask for nothing which is not done anyway; null is one always.
struct OtherKey {
  const char* name;
  std::vector<Json> neutral;
  const char* why = "";  ///< other values have no effect; empty: they would change the result, and are refused
};
const std::vector<OtherKey>& other_keys() {
  constexpr const char* caching = "has no effect here: there is one kind of cache, and nothing to compile";
  constexpr const char* other_tokenizer = "has no effect here: assistants share the model's tokenizer";
  constexpr const char* not_returned = "has no effect here: generate() returns none";
  static const std::vector<OtherKey> keys = {
      {"constraints", {}},
      {"dola_layers", {}},
      {"guidance_scale", {1.0}},
      {"watermarking_config", {}},
      {"assistant_early_exit", {}},
      {"assistant_ensemble_weight", {}},
      {"token_healing", {false}},
      {"use_mtp", {false}},
      {"speculation_type", {}},
      {"output_attentions", {false}, not_returned},
      {"output_hidden_states", {false}, not_returned},
      {"use_cache", {true}, "has no effect here: there is always a cache"},
      {"cache_implementation", {}, caching},
      {"cache_config", {}, caching},
      {"max_cache_len", {}, caching},
      {"prefill_chunk_size", {}, caching},
      {"compile_config", {}, caching},
      {"disable_compile", {false, true}, caching},
      {"low_memory", {false}, caching},
      {"continuous_batching_config", {}, caching},
      {"is_assistant", {false}, "has no effect here: a model is told to assist by the call"},
      {"assistant_lookbehind", {10}, other_tokenizer},
      {"target_lookbehind", {10}, other_tokenizer}};
  return keys;
}

/// Keys of files that say nothing about generation.
constexpr std::array metadata_keys = {"_from_model_config",      "_commit_hash",        "transformers_version",
                                      "return_dict_in_generate", "return_legacy_cache", "generation_kwargs"};

/// Refuses or warns of the keys of `fields` that are no field of GenerationConfig.
void check_other_keys(const JsonFields& fields, const Json& object, GenerationConfig::UnknownKeys unknown_keys,
                      std::vector<std::string>& warnings) {
  const std::vector<std::string> known = GenerationConfig::keys();
  for (const auto& [key, value] : object.items()) {
    if (detail::lists(known, key) || detail::lists(metadata_keys, key)) continue;
    const auto other = std::find_if(other_keys().begin(), other_keys().end(),
                                    [&name = key](const OtherKey& entry) { return name == entry.name; });
    if (other == other_keys().end()) {
      if (unknown_keys == GenerationConfig::UnknownKeys::refuse) {
        throw ConfigError(fields.where() + "." + key + ": expected an option of generate(), got an unknown name");
      }
      if (!value.is_null()) warnings.push_back(fields.where() + "." + key + ": unknown option, ignored");
      continue;
    }
    if (value.is_null() || detail::lists(other->neutral, value)) continue;
    if (*other->why == '\0') {
      fields.fail(other->name, "no value that changes the result (the option is not supported)");
    }
    warnings.push_back(fields.where() + "." + key + ": " + other->why);
  }
}

/// Sets the fields of `config` that `object` names; returns warnings of those without effect.
std::vector<std::string> update_from(GenerationConfig& config, const Json& object, const std::string& source,
                                     GenerationConfig::UnknownKeys unknown_keys) {
  const JsonFields fields(object, source);
  std::vector<std::string> warnings;
  check_other_keys(fields, object, unknown_keys, warnings);
  GenerationConfig updated = config;
  for_each_field(updated, [&](const char* key, auto& field) {
    if (object.contains(key)) read(fields, key, field);
  });
  for (const auto& [key, rows] :
       {std::pair{"num_beams", updated.num_beams}, {"num_return_sequences", updated.num_return_sequences}}) {
    if (rows > GenerationConfig::most_rows) {
      throw ConfigError(source + "." + key + ": expected at most " + std::to_string(GenerationConfig::most_rows) +
                        ", got " + std::to_string(*rows));
    }
  }
  updated.validate();
  for (const detail::Idle& idle : detail::idle_options(updated)) {
    if (fields.has(idle.key)) warnings.push_back(source + "." + idle.key + ": " + idle.why);
  }
  config = std::move(updated);
  return warnings;
}

Json parse(std::string_view text, std::string_view source) {
  try {
    return parse_json(text);
  } catch (const JsonError& error) {
    throw ConfigError(std::string(source) + ": " + error.what());
  }
}

}  // namespace

std::vector<std::string> GenerationConfig::update(std::string_view json, std::string_view source,
                                                  UnknownKeys unknown_keys) {
  return update_from(*this, parse(json, source), std::string(source), unknown_keys);
}

std::vector<std::string> GenerationConfig::keys() {
  std::vector<std::string> names;
  GenerationConfig config;
  for_each_field(config, [&names](const char* key, const auto&) { names.emplace_back(key); });
  return names;
}

GenerationMode GenerationConfig::mode() const {
  const bool samples = do_sample.value_or(false);
  if (force_words_ids) return GenerationMode::constrained_beam_search;
  if (num_beams.value_or(1) == 1) {
    if (samples) return GenerationMode::sample;
    const bool contrasts = penalty_alpha.value_or(0) > 0 && top_k.value_or(50) > 1;
    return contrasts ? GenerationMode::contrastive_search : GenerationMode::greedy_search;
  }
  if (num_beam_groups.value_or(1) > 1) return GenerationMode::group_beam_search;
  return samples ? GenerationMode::beam_sample : GenerationMode::beam_search;
}

std::string GenerationConfig::to_json() const {
  Json object = Json::object();
  for_each_field(*this, [&object](const char* key, const auto& field) {
    if (field) object[key] = written(*field);
  });
  return object.dump(2);
}

GenerationConfig generation_config_from_model(std::string_view config_json, std::string_view source,
                                              std::vector<std::string>& warnings) {
  const Json model = parse(config_json, source);
  const Json decoder = model.is_object() ? model.value("decoder", Json::object()) : Json::object();
  Json options = Json::object();
  const auto take = [&](const char* key) {
    for (const Json* level : {&model, &decoder}) {
      if (level->is_object() && level->contains(key) && !(*level)[key].is_null()) {
        options[key] = (*level)[key];
        return;
      }
    }
  };
  GenerationConfig config;
  for_each_field(config, [&take](const char* key, const auto&) { take(key); });
  for (const OtherKey& other : other_keys()) take(other.name);
  const auto found = update_from(config, options, std::string(source), GenerationConfig::UnknownKeys::refuse);
  warnings.insert(warnings.end(), found.begin(), found.end());
  return config;
}

}  // namespace bertgen
