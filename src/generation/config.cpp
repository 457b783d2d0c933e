#include "bertgen/generation/config.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "bertgen/core/error.hpp"
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

template <typename List, typename Key>
bool lists(const List& keys, const Key& key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

/// Names an option and says why it has no effect.
struct Idle {
  const char* key;
  std::string why;
};

/// The fields that are set to something and have no effect beside the others.
std::vector<Idle> idle_options(const GenerationConfig& config) {
  std::vector<Idle> idle;
  const auto check = [&idle](bool is_idle, const char* key, const std::string& why) {
    if (is_idle) idle.push_back({key, why});
  };
  const auto outside = [](const std::optional<double>& value) { return value && (*value < 0 || *value >= 1); };
  // The values that every configuration of transformers 4 has are the neutral ones.
  const auto check_sampling = [&](const char* key, bool set) {
    check(set && !config.do_sample.value_or(false), key, "has no effect without do_sample");
  };
  check_sampling("temperature", config.temperature.value_or(1) != 1);
  check_sampling("top_h", config.top_h.has_value());
  check_sampling("top_k", config.top_k.value_or(50) != 50 && config.penalty_alpha.value_or(0) <= 0);
  check_sampling("top_p", config.top_p.value_or(1) != 1);
  check_sampling("min_p", config.min_p.has_value());
  check_sampling("typical_p", config.typical_p.value_or(1) != 1);
  check_sampling("epsilon_cutoff", config.epsilon_cutoff.value_or(0) != 0);
  check_sampling("eta_cutoff", config.eta_cutoff.value_or(0) != 0);
  check_sampling("seed", config.seed.value_or(0) != 0);
  if (config.do_sample.value_or(false)) {
    check(config.typical_p.value_or(1) > 1, "typical_p", "has no effect above 1");
    check(outside(config.epsilon_cutoff), "epsilon_cutoff", "has no effect outside 0 to 1");
    check(outside(config.eta_cutoff), "eta_cutoff", "has no effect outside 0 to 1");
  }
  const bool one_beam = config.num_beams.value_or(1) == 1;
  check(one_beam && config.early_stopping.value_or(EarlyStopping::no) != EarlyStopping::no, "early_stopping",
        "has no effect without num_beams above 1");
  check(one_beam && config.length_penalty.value_or(1) != 1, "length_penalty",
        "has no effect without num_beams above 1");
  check(one_beam && config.num_beam_groups.value_or(1) != 1, "num_beam_groups",
        "has no effect without num_beams above 1");
  check(one_beam && config.diversity_penalty.value_or(0) != 0, "diversity_penalty",
        "has no effect without num_beams above 1");
  check(config.penalty_alpha.value_or(0) != 0 && config.mode() != GenerationMode::contrastive_search, "penalty_alpha",
        "has no effect with num_beams, do_sample or a top_k up to 1");
  const bool one_by_one = config.mode() == GenerationMode::greedy_search || config.mode() == GenerationMode::sample;
  check(config.prompt_lookup_num_tokens && !one_by_one, "prompt_lookup_num_tokens",
        "has no effect beside greedy search and sampling");
  check(config.source_lookup_num_tokens && !one_by_one, "source_lookup_num_tokens",
        "has no effect beside greedy search and sampling");
  check(config.max_matching_ngram_size.value_or(2) != 2 && !config.prompt_lookup_num_tokens, "max_matching_ngram_size",
        "has no effect without prompt_lookup_num_tokens");
  check(config.max_length && config.max_new_tokens, "max_length", "has no effect beside max_new_tokens");
  check(config.min_length.value_or(0) > 0 && config.min_new_tokens, "min_length",
        "has no effect beside min_new_tokens");
  check(config.min_length && config.max_length && *config.min_length > *config.max_length && !config.max_new_tokens,
        "min_length", "cannot be reached: it is above max_length");
  check(config.min_new_tokens && config.max_new_tokens && *config.min_new_tokens > *config.max_new_tokens,
        "min_new_tokens", "cannot be reached: it is above max_new_tokens");
  if (config.eos_token_id.value_or(TokenIds{}).empty()) {
    check(config.min_length.value_or(0) > 0, "min_length", "has no effect without eos_token_id");
    check(config.min_new_tokens.value_or(0) > 0, "min_new_tokens", "has no effect without eos_token_id");
    check(config.exponential_decay_length_penalty.has_value(), "exponential_decay_length_penalty",
          "has no effect without eos_token_id");
  }
  return idle;
}

/// Refuses or warns of the keys of `fields` that are no field of GenerationConfig.
void check_other_keys(const JsonFields& fields, const Json& object, GenerationConfig::UnknownKeys unknown_keys,
                      std::vector<std::string>& warnings) {
  const std::vector<std::string> known = GenerationConfig::keys();
  for (const auto& [key, value] : object.items()) {
    if (lists(known, key) || lists(metadata_keys, key)) continue;
    const auto other = std::find_if(other_keys().begin(), other_keys().end(),
                                    [&name = key](const OtherKey& entry) { return name == entry.name; });
    if (other == other_keys().end()) {
      if (unknown_keys == GenerationConfig::UnknownKeys::refuse) {
        throw ConfigError(fields.where() + "." + key + ": expected an option of generate(), got an unknown name");
      }
      if (!value.is_null()) warnings.push_back(fields.where() + "." + key + ": unknown option, ignored");
      continue;
    }
    if (value.is_null() || lists(other->neutral, value)) continue;
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
  for (const Idle& idle : idle_options(updated)) {
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

bool within(const TokenIds& ids, const TokenIds& set) {
  return !ids.empty() && std::all_of(ids.begin(), ids.end(), [&set](TokenId id) { return lists(set, id); });
}

[[noreturn]] void fail(const std::string& what) { throw ConfigError("generation: " + what); }

/// Whether one of the sequences begins another, or is it.
bool any_begins_another(const ForcedWord& word) {
  for (std::size_t i = 0; i < word.size(); ++i) {
    for (std::size_t j = 0; j < word.size(); ++j) {
      if (i == j || word[i].size() > word[j].size()) continue;
      if (std::equal(word[i].begin(), word[i].end(), word[j].begin())) return true;
    }
  }
  return false;
}

/// Options of group and constrained beam search.
void validate_beam_modes(const GenerationConfig& config) {
  const std::size_t beams = config.num_beams.value_or(1);
  const std::size_t groups = config.num_beam_groups.value_or(1);
  const double diversity = config.diversity_penalty.value_or(0);
  if (groups == 0) fail("num_beam_groups: expected at least 1, got 0");
  if (beams > 1 && (groups > 1 || diversity != 0)) {
    if (groups == 1) fail("diversity_penalty: expected num_beam_groups above 1 with it, got 1");
    if (config.do_sample.value_or(false)) fail("num_beam_groups: expected do_sample false with them, got true");
    if (beams % groups != 0) {
      fail("num_beams: expected a multiple of num_beam_groups, " + std::to_string(groups) + ", got " +
           std::to_string(beams));
    }
    if (!(diversity > 0)) {
      fail("diversity_penalty: expected a number above 0 with num_beam_groups, got " + std::to_string(diversity));
    }
  }
  if (!config.force_words_ids) return;
  if (config.force_words_ids->empty()) fail("force_words_ids: expected at least one word, got none");
  for (const ForcedWord& word : *config.force_words_ids) {
    if (word.empty() || lists(word, TokenIds{})) {
      fail("force_words_ids: expected non-empty lists of token ids, got an empty one");
    }
    if (any_begins_another(word)) fail("force_words_ids: expected alternatives that do not begin each other");
  }
  if (beams == 1) fail("force_words_ids: expected num_beams above 1 with it, got 1");
  if (config.do_sample.value_or(false)) fail("force_words_ids: expected do_sample false with it, got true");
  if (groups > 1) fail("force_words_ids: expected num_beam_groups 1 with it, got " + std::to_string(groups));
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

std::vector<std::string> GenerationConfig::validate() const {
  validate_beam_modes(*this);
  if (max_new_tokens == 0u) fail("max_new_tokens: expected at least 1, got 0");
  if (num_beams == 0u) fail("num_beams: expected at least 1, got 0");
  if (num_return_sequences == 0u) fail("num_return_sequences: expected at least 1, got 0");
  const bool samples = do_sample.value_or(false);
  const std::size_t beams = num_beams.value_or(1);
  if (num_return_sequences.value_or(1) > beams && !(samples && beams == 1)) {
    fail("num_return_sequences: expected at most num_beams, " + std::to_string(num_beams.value_or(1)) + ", got " +
         std::to_string(*num_return_sequences));
  }
  for (const auto& [name, count] : {std::pair{"prompt_lookup_num_tokens", prompt_lookup_num_tokens},
                                    {"source_lookup_num_tokens", source_lookup_num_tokens},
                                    {"max_matching_ngram_size", max_matching_ngram_size},
                                    {"num_assistant_tokens", num_assistant_tokens}}) {
    if (count == 0u) fail(std::string(name) + ": expected at least 1, got 0");
  }
  if (prompt_lookup_num_tokens && beams == 1 && num_return_sequences.value_or(1) > 1) {
    fail("num_return_sequences: expected 1 with prompt_lookup_num_tokens, got " +
         std::to_string(*num_return_sequences));
  }
  for (const auto& [name, penalty] : {std::pair{"repetition_penalty", repetition_penalty},
                                      {"encoder_repetition_penalty", encoder_repetition_penalty}}) {
    if (penalty && !(*penalty > 0)) {
      fail(std::string(name) + ": expected a number above 0, got " + std::to_string(*penalty));
    }
  }
  const auto require = [&](const char* name, const std::optional<double>& value, bool good, const char* expected) {
    if (value && !good) fail(std::string(name) + ": expected " + expected + ", got " + std::to_string(*value));
  };
  if (samples) {
    require("temperature", temperature, temperature > 0.0, "a number above 0 (do_sample false is greedy search)");
    require("top_h", top_h, top_h > 0.0 && top_h <= 1.0, "a number above 0 and up to 1");
    require("top_p", top_p, top_p >= 0.0 && top_p <= 1.0, "a number from 0 to 1");
    require("min_p", min_p, min_p >= 0.0 && min_p <= 1.0, "a number from 0 to 1");
    require("typical_p", typical_p, typical_p > 0.0, "a number above 0");
  }
  if (stop_strings) {
    if (stop_strings->empty() || lists(*stop_strings, std::string())) {
      fail("stop_strings: expected texts that are not empty, got none or an empty one");
    }
    const GenerationMode search = mode();
    if (search == GenerationMode::group_beam_search || search == GenerationMode::constrained_beam_search) {
      fail("stop_strings: expected no num_beam_groups and force_words_ids with them, got one");
    }
  }
  if (bad_words_ids && (bad_words_ids->empty() || lists(*bad_words_ids, TokenIds{}))) {
    fail("bad_words_ids: expected non-empty lists of token ids, got an empty one");
  }
  if (sequence_bias && (sequence_bias->empty() || std::any_of(sequence_bias->begin(), sequence_bias->end(),
                                                              [](const auto& entry) { return entry.first.empty(); }))) {
    fail("sequence_bias: expected non-empty lists of token ids, got an empty one");
  }
  if (suppress_tokens) {
    if (forced_bos_token_id && lists(*suppress_tokens, *forced_bos_token_id)) {
      fail("forced_bos_token_id: expected an id that suppress_tokens leaves, got " +
           std::to_string(*forced_bos_token_id));
    }
    if (forced_eos_token_id && within(*forced_eos_token_id, *suppress_tokens)) {
      fail("forced_eos_token_id: expected an id that suppress_tokens leaves, got none");
    }
  }
  std::vector<std::string> warnings;
  for (const Idle& idle : idle_options(*this)) {
    warnings.push_back(std::string("generation.") + idle.key + ": " + idle.why);
  }
  return warnings;
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
