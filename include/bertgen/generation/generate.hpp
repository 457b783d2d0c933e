// generate(): from source ids to generated ids, by the search that the configuration names.
#pragma once

#include "bertgen/core/export.hpp"
#include "bertgen/generation/assistant.hpp"
#include "bertgen/generation/constrained_beam_search.hpp"
#include "bertgen/generation/contrastive_search.hpp"
#include "bertgen/generation/generate_inputs.hpp"
#include "bertgen/generation/group_beam_search.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// The generated sequences: num_return_sequences for each input, in order, best first. Unlike transformers', rows are
/// not padded to one length.
template <typename T>
struct BasicGenerateOutput {
  std::vector<GeneratedSequence> sequences;  ///< num_return_sequences for each source, best first
  /// With output_scores and output_logits: of each step, counted from the end of a row's prompt, the processed scores
  /// and the logits before any processing, [sequences, vocab]; in beam search of each beam, and the scores are
  /// log-probabilities. Rows that took no part in a step are zero.
  std::vector<Tensor<T>> scores = {};
  std::vector<Tensor<T>> logits = {};  ///< see scores
  /// Options that had no effect: GenerationConfig::validate()'s, and those that only a call can tell.
  std::vector<std::string> warnings = {};
};

/// What only code can give to generate(), under transformers' names.
template <typename T>
struct GenerateArguments {
  /// The caller's own rules: applied behind the configuration's and before sampling's cut-offs, or in place of the one
  /// of the same class.
  LogitsProcessors<T> logits_processor = {};
  PrefixAllowedTokens prefix_allowed_tokens_fn = {};  ///< empty: all tokens may follow
  /// A smaller model with the same ids, whose guesses greedy search and sampling check several at a time. The answer is
  /// the same, and so is that of sampling, unlike transformers' with its same distribution only.
  const BasicEncoderDecoderModel<T>* assistant_model = nullptr;
  /// Rules beside the configuration's that complete a sequence; not in group and constrained beam search.
  std::vector<StoppingCriterion> stopping_criteria = {};
  /// What model.encode() gave for these input_ids, attention_mask and token_type_ids: the encoder does not run again.
  const EncoderOutput<T>* encoder_outputs = nullptr;
  TokenText token_text = {};  ///< what stop_strings are looked for in: the tokenizer's token_text()
  /// One a row of input_ids, or null; empty: none. A search that takes one token after another hands over each, beam
  /// searches what all their beams share, which the best sequence begins with.
  std::vector<BaseStreamer*> streamers = {};
  /// Requested, generate() returns at the next step what there is: in the middle of encoding the prompts alone.
  std::stop_token stop_token = {};
  /// Requested, generate() throws CancelledError between two layers of the encoder or at the next step.
  std::stop_token cancel_token = {};
};

namespace detail {

/// One call of generate(), checked.
template <typename T>
struct GenerateCall {
  const BasicEncoderDecoderModel<T>& model;
  const GenerateInputs& inputs;
  const GenerationConfig& config;
  const GenerateArguments<T>& arguments;
  Workspace& workspace;
  std::vector<GenerationItem> items;
  std::vector<RequestRandom> randoms;
  StoppingCriteria& stopping;
  Streams& streams;

  std::size_t copies() const { return config.num_return_sequences.value_or(1); }
  /// Whether the search takes one token after another, so that guesses help.
  bool one_by_one() const {
    return config.mode() == GenerationMode::greedy_search || config.mode() == GenerationMode::sample;
  }
  bool looks_up() const { return config.source_lookup_num_tokens || config.prompt_lookup_num_tokens; }
  LogitsProcessors<T> processors() const {
    return make_logits_processors<T>(config, stopping.eos(), arguments.logits_processor,
                                     arguments.prefix_allowed_tokens_fn);
  }
  TokenChoice<T> choice() const { return randoms.empty() ? greedy_choice<T>() : sampling_choice<T>(copies(), randoms); }
};

/// What completes sequences, as the configuration and the caller say.
template <typename T>
StoppingCriteria make_stopping_criteria(const GenerationConfig& config, const GenerateArguments<T>& arguments) {
  std::vector<StoppingCriterion> criteria = arguments.stopping_criteria;
  if (config.stop_strings) {
    if (!arguments.token_text) throw ConfigError("stop_strings: expected a tokenizer's token_text with them, got none");
    criteria.emplace_back(StopStringCriteria(*config.stop_strings, arguments.token_text));
  }
  const GenerationMode mode = config.mode();
  if (!criteria.empty() &&
      (mode == GenerationMode::group_beam_search || mode == GenerationMode::constrained_beam_search)) {
    throw ConfigError("stopping_criteria: expected no num_beam_groups and force_words_ids with them, got one");
  }
  return StoppingCriteria(config.eos_token_id.value_or(TokenIds{}), std::move(criteria),
                          {config.max_time, arguments.stop_token, arguments.cancel_token});
}

/// Refuses streamers that do not fit the inputs.
template <typename T>
void check_streamers(const GenerateCall<T>& call) {
  const std::size_t count = call.arguments.streamers.size();
  if (count == 0) return;
  if (count != call.items.size()) {
    throw ShapeError("streamers: expected " + std::to_string(call.items.size()) + ", one a row of input_ids, got " +
                     std::to_string(count));
  }
  if (call.one_by_one() && call.copies() > 1) {
    throw ConfigError("num_return_sequences: expected 1 with streamers, got " + std::to_string(call.copies()));
  }
}

/// Makes the cache attend to the sources; false where the caller stopped the encoder.
template <typename T>
bool encode(const GenerateCall<T>& call, EncoderDecoderCache<T>& cache) {
  const PackedBatch sources = call.model.encoder().pack(call.inputs.input_ids, call.inputs.attention_mask,
                                                        HiddenPositions::drop, call.inputs.token_type_ids);
  if (call.arguments.encoder_outputs != nullptr) {
    // Their rows are those of all positions, hidden ones too.
    call.model.attend_to(*call.arguments.encoder_outputs, call.inputs.attention_mask, cache, call.workspace);
    return true;
  }
  std::stop_source either;
  const auto request = [&either] { either.request_stop(); };
  const std::stop_callback stop(call.arguments.stop_token, request);
  const std::stop_callback cancel(call.arguments.cancel_token, request);
  try {
    const Tensor<T> states = call.model.encoder().forward(sources, call.workspace, either.get_token());
    call.model.attend_to(sources, states, cache, call.workspace);
    return true;
  } catch (const CancelledError&) {
    if (call.arguments.cancel_token.stop_requested()) throw;
    return false;
  }
}

/// Refuses an encoder's outputs that are not of the inputs.
template <typename T>
void check_encoder_outputs(const GenerateCall<T>& call) {
  if (call.arguments.encoder_outputs == nullptr) return;
  const std::vector<std::size_t>& lengths = call.arguments.encoder_outputs->lengths;
  const std::vector<TokenIds>& ids = call.inputs.input_ids;
  const auto same = [](std::size_t length, const TokenIds& row) { return length == row.size(); };
  if (!std::equal(lengths.begin(), lengths.end(), ids.begin(), ids.end(), same)) {
    throw ShapeError("encoder_outputs: expected those of input_ids, got others by their lengths");
  }
}

/// The answers of a call that was stopped before its first step.
template <typename T>
std::vector<GeneratedSequence> prompts_alone(const GenerateCall<T>& call) {
  std::vector<GeneratedSequence> sequences;
  for (const GenerationItem& item : call.items) sequences.insert(sequences.end(), call.copies(), {item.prompt});
  return sequences;
}

/// Refuses an assistant that cannot guess for the model, and warns of options that only a call can tell to be idle.
template <typename T>
void check_assistant(const GenerateCall<T>& call, std::vector<std::string>& warnings) {
  const BasicEncoderDecoderModel<T>* assistant = call.arguments.assistant_model;
  if (assistant == nullptr) {
    const auto warn = [&](bool set, const char* name) {
      if (set) warnings.push_back(std::string("generation.") + name + ": has no effect without assistant_model");
    };
    warn(call.config.num_assistant_tokens.has_value(), "num_assistant_tokens");
    warn(call.config.num_assistant_tokens_schedule.has_value(), "num_assistant_tokens_schedule");
    warn(call.config.assistant_confidence_threshold.has_value(), "assistant_confidence_threshold");
  } else if (!call.one_by_one() || call.looks_up()) {
    warnings.push_back(std::string("assistant_model: has no effect beside ") +
                       (call.one_by_one() ? "a lookup" : "searches but greedy search and sampling"));
  } else {
    const std::size_t vocab = call.model.config().decoder.vocab_size;
    const std::size_t own = assistant->config().decoder.vocab_size;
    if (own != vocab) {
      throw ConfigError("assistant_model: expected a decoder with a vocabulary of " + std::to_string(vocab) +
                        ", as the model's, got one of " + std::to_string(own));
    }
    if (call.copies() > 1) {
      throw ConfigError("num_return_sequences: expected 1 with assistant_model, got " + std::to_string(call.copies()));
    }
    check_sources(call.inputs.input_ids, assistant->config().encoder, "assistant_model, ");
  }
}

/// What guesses how sequences go on; none unless asked for.
template <typename T>
std::unique_ptr<CandidateGenerator> make_candidates(const GenerateCall<T>& call) {
  const GenerationConfig& config = call.config;
  if (!call.one_by_one()) return nullptr;
  if (call.looks_up()) {
    return std::make_unique<LookupCandidates>(call.items, call.copies(), config.source_lookup_num_tokens.value_or(0),
                                              config.prompt_lookup_num_tokens.value_or(0),
                                              config.max_matching_ngram_size.value_or(2), call.stopping);
  }
  if (call.arguments.assistant_model == nullptr) return nullptr;
  const BasicEncoderDecoderModel<T>& assistant = *call.arguments.assistant_model;
  const GenerationConfig& own = assistant.generation_config();
  const AssistantSettings defaults;
  const auto first = [](const auto& a, const auto& b, auto otherwise) { return a ? *a : b.value_or(otherwise); };
  const AssistantSettings settings{
      first(config.num_assistant_tokens, own.num_assistant_tokens, defaults.num_assistant_tokens),
      first(config.num_assistant_tokens_schedule, own.num_assistant_tokens_schedule, defaults.schedule),
      first(config.assistant_confidence_threshold, own.assistant_confidence_threshold, defaults.confidence_threshold)};
  const PackedBatch sources = assistant.encoder().pack(call.inputs.input_ids, call.inputs.attention_mask,
                                                       HiddenPositions::drop, call.inputs.token_type_ids);
  return std::make_unique<AssistantCandidates<T>>(assistant, sources, call.items, settings,
                                                  ScoreRules<T>(call.processors()), call.stopping, call.choice(),
                                                  call.workspace, call.arguments.cancel_token);
}

/// The rows that a search has at a time.
template <typename T>
StepLimits step_limits(const GenerateCall<T>& call, const CandidateGenerator* candidates) {
  const std::size_t items = call.items.size();
  if (call.config.mode() == GenerationMode::contrastive_search) {
    return {.rows = items * call.config.top_k.value_or(50), .scored = items};
  }
  return {.rows = items * std::max(call.config.num_beams.value_or(1), call.copies()),
          .guesses = candidates == nullptr ? 0 : candidates->most_guesses()};
}

template <typename T>
BeamSettings beam_settings(const GenerateCall<T>& call) {
  const GenerationConfig& config = call.config;
  return {config.num_beams.value_or(1),
          call.copies(),
          config.length_penalty.value_or(1),
          config.early_stopping.value_or(EarlyStopping::no),
          config.mode() == GenerationMode::beam_sample,
          config.num_beam_groups.value_or(1)};
}

/// What a group of beams that is done counts as choosing.
template <typename T>
TokenId group_padding(const GenerateCall<T>& call) {
  const TokenIds& eos = call.stopping.eos();
  return call.config.pad_token_id.value_or(eos.empty() ? 0 : eos.front());
}

/// What is returned of each step.
template <typename T>
struct ScoreLogs {
  explicit ScoreLogs(std::size_t rows) : logits(rows), scores(rows) {}
  ScoreLog<T> logits;
  ScoreLog<T> scores;
};

/// The call's rules, which keep in `logs` what is to be returned.
template <typename T>
ScoreRules<T> make_score_rules(const GenerateCall<T>& call, ScoreLogs<T>& logs) {
  const GenerationConfig& config = call.config;
  return ScoreRules<T>(
      call.processors(),
      config.num_beams.value_or(1) > 1 ? ScoreRules<T>::Of::log_probabilities : ScoreRules<T>::Of::logits,
      config.output_logits.value_or(false) ? &logs.logits : nullptr,
      config.output_scores.value_or(false) ? &logs.scores : nullptr, call.workspace.threads());
}

/// The search that the configuration names.
template <typename T>
std::vector<GeneratedSequence> search(const GenerateCall<T>& call, Stepper<T>& stepper, const ScoreRules<T>& rules,
                                      CandidateGenerator* candidates) {
  const GenerationConfig& config = call.config;
  const std::vector<GenerationItem>& items = call.items;
  const BeamSettings beams = beam_settings(call);
  switch (config.mode()) {
    case GenerationMode::contrastive_search:
      return contrastive_search<T>(stepper, items, {config.top_k.value_or(50), *config.penalty_alpha}, rules,
                                   call.stopping, &call.streams);
    case GenerationMode::group_beam_search:
      return group_beam_search<T>(stepper, items, beams, rules, call.stopping, group_padding(call), &call.streams);
    case GenerationMode::constrained_beam_search:
      return constrained_beam_search<T>(stepper, items, beams, rules, call.stopping, *config.force_words_ids,
                                        &call.streams);
    case GenerationMode::beam_search:
    case GenerationMode::beam_sample:
      return beam_search<T>(stepper, items, beams, rules, call.stopping, call.randoms, &call.streams);
    case GenerationMode::greedy_search:
    case GenerationMode::sample:
      break;
  }
  return TokenSearch<T>(stepper, items, call.copies(), rules, call.stopping, call.choice(), candidates, &call.streams)
      .run();
}

/// generate() with streams that the caller has; they are told no end where it throws.
template <typename T>
BasicGenerateOutput<T> generate(const BasicEncoderDecoderModel<T>& model, const GenerateInputs& inputs,
                                const GenerationConfig& config, Workspace& workspace,
                                const GenerateArguments<T>& arguments, Streams& streams) {
  BasicGenerateOutput<T> output;
  output.warnings = config.validate();
  StoppingCriteria stopping = make_stopping_criteria(config, arguments);
  const GenerateCall<T> call{model,
                             inputs,
                             config,
                             arguments,
                             workspace,
                             make_items(inputs, config, model.config()),
                             make_randoms(inputs, config),
                             stopping,
                             streams};
  check_assistant(call, output.warnings);
  check_streamers(call);
  check_encoder_outputs(call);
  if (call.items.empty()) return output;
  std::size_t longest = 0;
  for (const GenerationItem& item : call.items) longest = std::max(longest, item.max_length);

  const auto candidates = make_candidates(call);
  const StepLimits limits = step_limits(call, candidates.get());
  EncoderDecoderCache<T> cache =
      model.decoder().make_cache(call.items.size(), limits.rows, longest, &workspace.page_pool());
  const bool encoded = encode(call, cache);
  for (std::size_t i = 0; i < call.items.size(); ++i) streams.put(i, call.items[i].prompt);
  if (!encoded) {
    output.sequences = prompts_alone(call);
    return output;
  }
  stopping.start_clock();
  Stepper<T> stepper(model.decoder(), cache, call.items, limits, workspace);

  ScoreLogs<T> logs(limits.scored == 0 ? limits.rows : limits.scored);
  const ScoreRules<T> rules = make_score_rules(call, logs);
  output.sequences = search(call, stepper, rules, candidates.get());
  output.scores = logs.scores.take();
  output.logits = logs.logits.take();
  return output;
}

}  // namespace detail

/// Continues each sequence as `config` says; what it leaves unset has transformers' default. A result depends on its
/// own row alone. Throws ConfigError for options that contradict each other, ArgumentError for ids outside the
/// vocabularies, for sequences that would pass the position table and for empty ones, ShapeError for lists that do not
/// fit together; CancelledError; and what the caller's own functions throw. After any of these model and workspace are
/// as good as before.
template <typename T>
BasicGenerateOutput<T> generate(const BasicEncoderDecoderModel<T>& model, const GenerateInputs& inputs,
                                const GenerationConfig& config, Workspace& workspace,
                                const GenerateArguments<T>& arguments = {}) {
  detail::Streams streams(arguments.streamers);  // they are told the end whatever is thrown
  return detail::generate(model, inputs, config, workspace, arguments, streams);
}

extern template BasicGenerateOutput<float> generate<float>(const BasicEncoderDecoderModel<float>&,
                                                           const GenerateInputs&, const GenerationConfig&, Workspace&,
                                                           const GenerateArguments<float>&);
extern template BasicGenerateOutput<double> generate<double>(const BasicEncoderDecoderModel<double>&,
                                                             const GenerateInputs&, const GenerationConfig&, Workspace&,
                                                             const GenerateArguments<double>&);

/// What a float model gives.
using GenerateOutput = BasicGenerateOutput<float>;

}  // namespace bertgen
