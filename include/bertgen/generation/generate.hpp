// generate(): from source ids to generated ids, by the search that the configuration names.
#pragma once

#include "bertgen/generation/constrained_beam_search.hpp"
#include "bertgen/generation/contrastive_search.hpp"
#include "bertgen/generation/group_beam_search.hpp"

namespace bertgen {

/// The generated sequences: num_return_sequences for each input, in order, best first. Unlike transformers', rows are
/// not padded to one length.
template <typename T>
struct BasicGenerateOutput {
  std::vector<GeneratedSequence> sequences;
  /// With output_scores and output_logits: of each step, counted from the end of a row's prompt, the processed scores
  /// and the logits before any processing, [sequences, vocab]; in beam search of each beam, and the scores are
  /// log-probabilities. Rows that took no part in a step are zero.
  std::vector<Tensor<T>> scores = {};
  std::vector<Tensor<T>> logits = {};
};

/// What goes into generate(), under transformers' names; one vector a sequence.
struct GenerateInputs {
  std::vector<TokenIds> input_ids = {};
  std::vector<AttentionMask> attention_mask = {};  ///< empty: all ids are visible, padding too
  std::vector<TokenIds> decoder_input_ids = {};    ///< empty: the start token
  std::vector<TokenIds> token_type_ids = {};       ///< of the source; empty: all 0
  /// With do_sample: the number of each row's request, by which its random numbers are told from those of others; so a
  /// request gets the same answer in whatever batch. Empty: 0, 1, 2, …
  std::vector<std::uint64_t> requests = {};
};

/// What only code can give to generate(), under transformers' names.
template <typename T>
struct GenerateArguments {
  /// The caller's own rules: applied behind the configuration's and before sampling's cut-offs, or in place of the one
  /// of the same class.
  LogitsProcessors<T> logits_processor = {};
  PrefixAllowedTokens prefix_allowed_tokens_fn = {};  ///< empty: all tokens may follow
};

namespace detail {

/// transformers prepends the start token if no row begins with it; if one does, all are taken as they are.
inline std::vector<TokenIds> prompts(const GenerateInputs& inputs, TokenId start) {
  if (inputs.decoder_input_ids.empty()) return std::vector<TokenIds>(inputs.input_ids.size(), TokenIds{start});
  if (inputs.decoder_input_ids.size() != inputs.input_ids.size()) {
    throw ShapeError("decoder_input_ids: expected " + std::to_string(inputs.input_ids.size()) +
                     " sequences, as in input_ids, got " + std::to_string(inputs.decoder_input_ids.size()));
  }
  std::vector<TokenIds> prompts = inputs.decoder_input_ids;
  const bool some_begin = std::any_of(prompts.begin(), prompts.end(),
                                      [start](const TokenIds& row) { return !row.empty() && row.front() == start; });
  for (TokenIds& row : prompts) {
    if (row.empty()) throw ArgumentError("decoder_input_ids: expected at least one id in each row, got none");
    if (!some_begin) row.insert(row.begin(), start);
  }
  return prompts;
}

/// Throws ArgumentError unless every id is in the vocabulary. `where` is the field, "input_ids, row 3".
inline void check_ids(const std::string& where, const TokenIds& ids, std::size_t vocab) {
  for (TokenId id : ids) {
    if (id >= 0 && static_cast<std::size_t>(id) < vocab) continue;
    throw ArgumentError(where + ": expected ids of 0 to " + std::to_string(vocab - 1) + ", got " + std::to_string(id));
  }
}

/// Refuses a source that is empty or longer than the position table, or has an id that is in no vocabulary.
inline void check_sources(const std::vector<TokenIds>& input_ids, const TransformerConfig& encoder) {
  for (std::size_t s = 0; s < input_ids.size(); ++s) {
    if (input_ids[s].empty() || input_ids[s].size() > encoder.max_length()) {
      throw ArgumentError("input_ids: expected 1 to " + std::to_string(encoder.max_length()) +
                          " ids (the encoder's max_position_embeddings) in row " + std::to_string(s) + ", got " +
                          std::to_string(input_ids[s].size()));
    }
    check_ids("input_ids, row " + std::to_string(s), input_ids[s], encoder.vocab_size);
  }
}

/// Refuses ids that options force or look for and that are in no vocabulary, as transformers does; suppressing such an
/// id, or never ending by it, changes nothing.
inline void check_option_ids(const GenerationConfig& config, std::size_t vocab) {
  if (config.forced_bos_token_id) check_ids("forced_bos_token_id", {*config.forced_bos_token_id}, vocab);
  if (config.forced_eos_token_id) check_ids("forced_eos_token_id", *config.forced_eos_token_id, vocab);
  for (const TokenIds& word : config.bad_words_ids.value_or(std::vector<TokenIds>{})) {
    check_ids("bad_words_ids", word, vocab);
  }
  for (const ForcedWord& word : config.force_words_ids.value_or(std::vector<ForcedWord>{})) {
    for (const TokenIds& alternative : word) check_ids("force_words_ids", alternative, vocab);
  }
  if (!config.sequence_bias) return;
  for (const auto& [sequence, bias] : *config.sequence_bias) check_ids("sequence_bias", sequence, vocab);
}

/// The length at which a row ends. The last id is never read back, so it needs no position.
inline std::size_t row_limit(const GenerationConfig& config, std::size_t prompt_length, std::size_t positions) {
  const std::size_t limit =
      config.max_new_tokens ? prompt_length + *config.max_new_tokens : config.max_length.value_or(prompt_length + 20);
  if (limit <= prompt_length) {
    throw ArgumentError("max_length: expected more than the decoder prompt's " + std::to_string(prompt_length) +
                        " ids, got " + std::to_string(limit));
  }
  if (limit > positions + 1) {
    throw ArgumentError("max_length: expected at most " + std::to_string(positions + 1) +
                        " ids (the decoder's max_position_embeddings, and one that is not read back), got " +
                        std::to_string(limit) + " with a prompt of " + std::to_string(prompt_length));
  }
  return limit;
}

/// The rows of a call as the searches take them. Throws as generate() does.
inline std::vector<GenerationItem> make_items(const GenerateInputs& inputs, const GenerationConfig& config,
                                              const EncoderDecoderConfig& model) {
  const std::optional<TokenId> start =
      config.decoder_start_token_id ? config.decoder_start_token_id : config.bos_token_id;
  if (!start) throw ConfigError("decoder_start_token_id: expected it or bos_token_id to be set, got neither");
  check_sources(inputs.input_ids, model.encoder);
  check_option_ids(config, model.decoder.vocab_size);
  std::vector<TokenIds> starts = prompts(inputs, *start);
  std::vector<GenerationItem> items;
  for (std::size_t s = 0; s < inputs.input_ids.size(); ++s) {
    check_ids("decoder_input_ids, row " + std::to_string(s), starts[s], model.decoder.vocab_size);
    const std::size_t limit = row_limit(config, starts[s].size(), model.decoder.max_length());
    items.push_back({inputs.input_ids[s], std::move(starts[s]), limit});
  }
  return items;
}

/// The random numbers of each row, with do_sample.
inline std::vector<RequestRandom> make_randoms(const GenerateInputs& inputs, const GenerationConfig& config) {
  const std::size_t rows = inputs.input_ids.size();
  if (!inputs.requests.empty() && inputs.requests.size() != rows) {
    throw ShapeError("requests: expected " + std::to_string(rows) + " numbers, one a row of input_ids, got " +
                     std::to_string(inputs.requests.size()));
  }
  std::vector<RequestRandom> randoms;
  for (std::size_t s = 0; config.do_sample.value_or(false) && s < rows; ++s) {
    randoms.emplace_back(config.seed.value_or(0), inputs.requests.empty() ? s : inputs.requests[s]);
  }
  return randoms;
}

/// The search that `config` names, over encoded sources.
template <typename T>
std::vector<GeneratedSequence> search(Stepper<T>& stepper, std::span<const GenerationItem> items,
                                      std::span<const RequestRandom> randoms, const GenerationConfig& config,
                                      const ScoreRules<T>& rules) {
  const StoppingCriteria stopping(config.eos_token_id.value_or(TokenIds{}));
  const std::size_t returned = config.num_return_sequences.value_or(1);
  const GenerationMode mode = config.mode();
  const BeamSettings beams{config.num_beams.value_or(1),        returned,
                           config.length_penalty.value_or(1),   config.early_stopping.value_or(EarlyStopping::no),
                           mode == GenerationMode::beam_sample, config.num_beam_groups.value_or(1)};
  switch (mode) {
    case GenerationMode::sample:
      return sample<T>(stepper, items, returned, randoms, rules, stopping);
    case GenerationMode::contrastive_search:
      return contrastive_search<T>(stepper, items, {config.top_k.value_or(50), *config.penalty_alpha}, rules, stopping);
    case GenerationMode::group_beam_search: {
      const TokenIds& eos = stopping.eos();
      const TokenId pad = config.pad_token_id.value_or(eos.empty() ? 0 : eos.front());
      return group_beam_search<T>(stepper, items, beams, rules, stopping, pad);
    }
    case GenerationMode::constrained_beam_search:
      return constrained_beam_search<T>(stepper, items, beams, rules, stopping, *config.force_words_ids);
    case GenerationMode::beam_search:
    case GenerationMode::beam_sample:
      return beam_search<T>(stepper, items, beams, rules, stopping, randoms);
    case GenerationMode::greedy_search:
      break;
  }
  return greedy_search<T>(stepper, items, rules, stopping);
}

/// The rows of all items that a search has at a time.
inline StepLimits step_limits(const GenerationConfig& config, std::size_t items) {
  if (config.mode() == GenerationMode::contrastive_search) {
    return {.rows = items * config.top_k.value_or(50), .scored = items};
  }
  return {.rows = items * std::max(config.num_beams.value_or(1), config.num_return_sequences.value_or(1))};
}

}  // namespace detail

/// Continues each sequence as `config` says; what it leaves unset has transformers' default. A result depends on its
/// own row alone. Throws ConfigError for options that contradict each other, ArgumentError for ids outside the
/// vocabularies, for sequences that would pass the position table and for empty ones, ShapeError for lists that do not
/// fit together.
template <typename T>
BasicGenerateOutput<T> generate(const BasicEncoderDecoderModel<T>& model, const GenerateInputs& inputs,
                                const GenerationConfig& config, Workspace& workspace,
                                const GenerateArguments<T>& arguments = {}) {
  config.validate();
  const std::vector<GenerationItem> items = detail::make_items(inputs, config, model.config());
  const std::vector<RequestRandom> randoms = detail::make_randoms(inputs, config);
  if (items.empty()) return {};
  std::size_t longest = 0;
  for (const GenerationItem& item : items) longest = std::max(longest, item.max_length);
  const StepLimits limits = detail::step_limits(config, items.size());

  const PackedBatch sources =
      model.encoder().pack(inputs.input_ids, inputs.attention_mask, HiddenPositions::drop, inputs.token_type_ids);
  EncoderDecoderCache<T> cache = model.decoder().make_cache(items.size(), limits.rows, longest);
  model.attend_to(sources, model.encoder().forward(sources, workspace), cache, workspace);
  Stepper<T> stepper(model.decoder(), cache, items, limits, workspace);

  const std::size_t logged = limits.scored == 0 ? limits.rows : limits.scored;
  ScoreLog<T> logits(logged);
  ScoreLog<T> scores(logged);
  const ScoreRules<T> rules(
      make_logits_processors<T>(config, config.eos_token_id.value_or(TokenIds{}), arguments.logits_processor,
                                arguments.prefix_allowed_tokens_fn),
      config.num_beams.value_or(1) > 1 ? ScoreRules<T>::Of::log_probabilities : ScoreRules<T>::Of::logits,
      config.output_logits.value_or(false) ? &logits : nullptr,
      config.output_scores.value_or(false) ? &scores : nullptr);
  BasicGenerateOutput<T> output{detail::search<T>(stepper, items, randoms, config, rules)};
  output.scores = scores.take();
  output.logits = logits.take();
  return output;
}

extern template BasicGenerateOutput<float> generate<float>(const BasicEncoderDecoderModel<float>&,
                                                           const GenerateInputs&, const GenerationConfig&, Workspace&,
                                                           const GenerateArguments<float>&);
extern template BasicGenerateOutput<double> generate<double>(const BasicEncoderDecoderModel<double>&,
                                                             const GenerateInputs&, const GenerationConfig&, Workspace&,
                                                             const GenerateArguments<double>&);

using GenerateOutput = BasicGenerateOutput<float>;

}  // namespace bertgen
