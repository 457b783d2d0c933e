// The options of generate(), under transformers' names.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/core/token.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// When a beam search with enough finished hypotheses ends.
enum class EarlyStopping : std::uint8_t {
  no,     ///< when the best running beam, penalised at its present length, is no better than the worst finished one
  yes,    ///< at once
  never,  ///< when it could not become better at any length up to max_length either
};

/// Factor `factor`^n on the end token's score from the n-th token after `start` on.
struct ExponentialDecay {
  std::size_t start = 0;                                     ///< generated tokens
  double factor = 1;                                         ///< 1: no change
  bool operator==(const ExponentialDecay&) const = default;  ///< equal in both
};

/// How many tokens an assistant guesses, from num_assistant_tokens on.
enum class AssistantSchedule : std::uint8_t {
  constant,
  heuristic,            ///< two more when all came true, up to twice as many, else one fewer; anew in each call
  heuristic_transient,  ///< the same
};

/// What an answer must have: one of several sequences of ids, none of which begins another.
using ForcedWord = std::vector<TokenIds>;

/// Which search a configuration names.
enum class GenerationMode : std::uint8_t {
  greedy_search,
  sample,
  contrastive_search,
  beam_search,
  beam_sample,
  group_beam_search,
  constrained_beam_search,
};

/// Hugging Face's GenerationConfig. An unset field has the default named beside it; lengths count the decoder's prompt,
/// the start token included, unless they say "new".
struct GenerationConfig {
  // Length
  std::optional<std::size_t> max_length;      ///< prompt + 20 new tokens
  std::optional<std::size_t> max_new_tokens;  ///< wins over max_length
  std::optional<std::size_t> min_length;      ///< 0
  std::optional<std::size_t> min_new_tokens;  ///< wins over min_length
  std::optional<double> max_time;             ///< none; seconds from the end of encoding after which a step is the last
  std::optional<std::vector<std::string>> stop_strings;  ///< none; texts that end a sequence, and stay in it
  // Search
  std::optional<std::size_t> num_beams;             ///< 1: greedy
  std::optional<std::size_t> num_return_sequences;  ///< 1; at most num_beams, without do_sample
  std::optional<double> length_penalty;             ///< 1; scores are divided by length ^ length_penalty
  std::optional<EarlyStopping> early_stopping;      ///< no
  std::optional<std::size_t> num_beam_groups;       ///< 1; above it, groups of beams that avoid each other's tokens
  std::optional<double> diversity_penalty;          ///< 0; by how much: taken off a token's score for each beam
  std::optional<std::vector<ForcedWord>> force_words_ids;  ///< beam search for answers that have all of these
  std::optional<double> penalty_alpha;                     ///< 0; above it and with top_k above 1 contrastive search
  // Guesses that greedy search and sampling check several at a time: the answer is the same, in fewer steps
  std::optional<std::size_t> prompt_lookup_num_tokens;  ///< none; ids to take from where the sequence read alike before
  std::optional<std::size_t> source_lookup_num_tokens;  ///< none; from where the source does; this project's own
  std::optional<std::size_t> max_matching_ngram_size;   ///< 2; ids that must read alike, at most, in prompt lookup
  std::optional<std::size_t> num_assistant_tokens;      ///< the assistant's own, 20
  std::optional<AssistantSchedule> num_assistant_tokens_schedule;  ///< the assistant's own, constant
  std::optional<double>
      assistant_confidence_threshold;  ///< the assistant's own, 0.4; a less probable guess is the last
  // Sampling; the others but temperature drop tokens
  std::optional<bool> do_sample;         ///< false
  std::optional<double> temperature;     ///< 1
  std::optional<double> top_h;           ///< none; share of the entropy that is kept, in (0, 1]
  std::optional<std::size_t> top_k;      ///< 50; 0: all
  std::optional<double> top_p;           ///< 1
  std::optional<double> min_p;           ///< none; in [0, 1]
  std::optional<double> typical_p;       ///< 1
  std::optional<double> epsilon_cutoff;  ///< 0
  std::optional<double> eta_cutoff;      ///< 0
  std::optional<std::int64_t> seed;      ///< 0; this project's own
  // What is changed in the scores, in transformers' order
  /// None; what is added to the score of a sequence's last id where the others stand before it.
  std::optional<std::vector<std::pair<TokenIds, double>>> sequence_bias;
  std::optional<double> encoder_repetition_penalty;                  ///< 1
  std::optional<double> repetition_penalty;                          ///< 1
  std::optional<std::size_t> no_repeat_ngram_size;                   ///< 0: repeats are allowed
  std::optional<std::size_t> encoder_no_repeat_ngram_size;           ///< 0
  std::optional<std::vector<TokenIds>> bad_words_ids;                ///< none; sequences that never appear
  std::optional<TokenId> forced_bos_token_id;                        ///< none; the first id after the start
  std::optional<TokenIds> forced_eos_token_id;                       ///< none; any of them ends at max_length
  std::optional<bool> remove_invalid_values;                         ///< false
  std::optional<ExponentialDecay> exponential_decay_length_penalty;  ///< none
  std::optional<TokenIds> suppress_tokens;                           ///< none; never chosen
  std::optional<TokenIds> begin_suppress_tokens;                     ///< none; not chosen first
  std::optional<bool> renormalize_logits;                            ///< false
  // What is returned beside the sequences
  std::optional<bool> output_scores;  ///< false
  std::optional<bool> output_logits;  ///< false
  // Special ids
  std::optional<TokenId> decoder_start_token_id;  ///< bos_token_id
  std::optional<TokenId> bos_token_id;            ///< none; starts where decoder_start_token_id is unset
  std::optional<TokenId> pad_token_id;            ///< none
  std::optional<TokenIds> eos_token_id;           ///< none: only length ends a sequence

  /// Which search the options ask for, by transformers' rules; validate() says whether they fit together.
  GenerationMode mode() const;

  /// The most beams and sequences of one source that update() takes: a few bytes must not ask for all memory.
  static constexpr std::size_t most_rows = 65536;

  /// What update() does with a key that is no option of generate().
  enum class UnknownKeys : bool { refuse, warn };

  /// Reads the keys of a JSON object into their fields; a null unsets its field. Result: warnings, each naming `source`
  /// and the key, of those in the object that have no effect, beside the other options or at all. Throws ConfigError: a
  /// wrong type or range, an unknown key unless told to warn, an option that is not supported and not at its neutral
  /// value, and what validate() refuses. On an error nothing has changed.
  std::vector<std::string> update(std::string_view json, std::string_view source,
                                  UnknownKeys unknown_keys = UnknownKeys::refuse);
  /// The names of all fields, as update() knows them.
  static std::vector<std::string> keys();
  /// The fields that are set, keys in alphabetical order.
  std::string to_json() const;
  /// Throws ConfigError where transformers does: values out of range, num_return_sequences beyond num_beams, forced and
  /// suppressed ids that leave nothing. Result: warnings of the fields that are set and have no effect beside the
  /// others.
  std::vector<std::string> validate() const;

  bool operator==(const GenerationConfig&) const = default;  ///< the same options, set and unset
};

/// The defaults of a checkpoint that has no generation_config.json: the generation keys of config.json's top level,
/// then those of its decoder, as transformers 5 reads them. Appends to `warnings` as update() returns them. Throws
/// ConfigError.
GenerationConfig generation_config_from_model(std::string_view config_json, std::string_view source,
                                              std::vector<std::string>& warnings);

}  // namespace bertgen
