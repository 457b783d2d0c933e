// Which options of a GenerationConfig contradict each other, and which have no effect.
#include <algorithm>

#include "bertgen/core/error.hpp"
#include "bertgen/generation/config.hpp"
#include "generation/idle_options.hpp"

namespace bertgen {
namespace detail {

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

}  // namespace detail

namespace {

using detail::Idle;
using detail::lists;

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
  for (const Idle& idle : detail::idle_options(*this)) {
    warnings.push_back(std::string("generation.") + idle.key + ": " + idle.why);
  }
  return warnings;
}

}  // namespace bertgen
