// From logits to the scores that a search chooses by: the rules of a configuration, in transformers' order.
#pragma once

#include <typeinfo>

#include "bertgen/core/export.hpp"
#include "bertgen/generation/logits_warper.hpp"

namespace BERTGEN_PUBLIC bertgen {
namespace detail {

template <typename T>
class ProcessorList {
 public:
  template <typename Processor>
  void add(Processor processor) {
    list.push_back(std::make_shared<const Processor>(std::move(processor)));
  }
  /// Those of `own` that have the class of one in the list take its place; the others come behind it.
  void merge(const LogitsProcessors<T>& own) {
    const auto same_class = [](const auto& a, const auto& b) { return typeid(*a) == typeid(*b); };
    for (auto& processor : list) {
      const auto found = std::find_if(own.begin(), own.end(), [&](const auto& o) { return same_class(o, processor); });
      if (found != own.end()) processor = *found;
    }
    for (const auto& processor : own) {
      if (std::find(list.begin(), list.end(), processor) == list.end()) list.push_back(processor);
    }
  }

  LogitsProcessors<T> list;
};

/// The rules that every search applies.
template <typename T>
void add_logits_processors(const GenerationConfig& config, const TokenIds& eos, PrefixAllowedTokens allowed,
                           ProcessorList<T>& rules) {
  using namespace processors;
  if (config.sequence_bias) rules.add(SequenceBias<T>(*config.sequence_bias));
  if (config.mode() == GenerationMode::group_beam_search) rules.add(HammingDiversity<T>(*config.diversity_penalty));
  if (config.encoder_repetition_penalty.value_or(1) != 1) {
    rules.add(EncoderRepetitionPenalty<T>(*config.encoder_repetition_penalty));
  }
  if (config.repetition_penalty.value_or(1) != 1) rules.add(RepetitionPenalty<T>(*config.repetition_penalty));
  if (config.no_repeat_ngram_size.value_or(0) > 0) rules.add(NoRepeatNGram<T>(*config.no_repeat_ngram_size));
  if (config.encoder_no_repeat_ngram_size.value_or(0) > 0) {
    rules.add(EncoderNoRepeatNGram<T>(*config.encoder_no_repeat_ngram_size));
  }
  if (config.bad_words_ids) rules.add(NoBadWords<T>(*config.bad_words_ids, eos));
  if (!eos.empty()) {
    if (!config.min_new_tokens && config.min_length.value_or(0) > 0) rules.add(MinLength<T>(*config.min_length, eos));
    if (config.min_new_tokens.value_or(0) > 0) rules.add(MinNewTokensLength<T>(*config.min_new_tokens, eos));
  }
  if (allowed) rules.add(PrefixConstrained<T>(std::move(allowed)));
  if (config.forced_bos_token_id) rules.add(ForcedBOSToken<T>(*config.forced_bos_token_id));
  if (config.forced_eos_token_id) rules.add(ForcedEOSToken<T>(*config.forced_eos_token_id));
  if (config.remove_invalid_values.value_or(false)) rules.add(RemoveInvalidValues<T>());
  if (config.exponential_decay_length_penalty && !eos.empty()) {
    rules.add(ExponentialDecayLengthPenalty<T>(*config.exponential_decay_length_penalty, eos));
  }
  if (config.suppress_tokens) rules.add(SuppressTokens<T>(*config.suppress_tokens));
  if (config.begin_suppress_tokens) {
    rules.add(SuppressTokensAtBegin<T>(*config.begin_suppress_tokens, config.forced_bos_token_id.has_value()));
  }
}

/// Sampling's temperature and cut-offs. `keep`: how many tokens each leaves at least.
template <typename T>
void add_logits_warpers(const GenerationConfig& config, std::size_t keep, ProcessorList<T>& rules) {
  using namespace warpers;
  const auto cuts = [](const std::optional<double>& value) { return value && *value > 0 && *value < 1; };
  if (config.temperature.value_or(1) != 1) rules.add(Temperature<T>(*config.temperature));
  if (config.top_h) rules.add(TopH<T>(*config.top_h));
  if (config.top_k.value_or(50) != 0) rules.add(TopK<T>(config.top_k.value_or(50), keep));
  if (config.top_p.value_or(1) < 1) rules.add(TopP<T>(*config.top_p, keep));
  if (config.min_p) rules.add(MinP<T>(*config.min_p, keep));
  if (config.typical_p.value_or(1) < 1) rules.add(Typical<T>(*config.typical_p, keep));
  if (cuts(config.epsilon_cutoff)) rules.add(Cutoff<T>(Cutoff<T>::Kind::epsilon, *config.epsilon_cutoff, keep));
  if (cuts(config.eta_cutoff)) rules.add(Cutoff<T>(Cutoff<T>::Kind::eta, *config.eta_cutoff, keep));
}

}  // namespace detail

/// All rules that `config` asks for, in the order transformers applies them, with a caller's own among them: behind the
/// processors and before sampling's cut-offs, or in place of the processor of the same class. `eos`: the end tokens in
/// force.
template <typename T>
LogitsProcessors<T> make_logits_processors(const GenerationConfig& config, const TokenIds& eos,
                                           const LogitsProcessors<T>& own = {}, PrefixAllowedTokens allowed = {}) {
  detail::ProcessorList<T> rules;
  detail::add_logits_processors<T>(config, eos, std::move(allowed), rules);
  rules.merge(own);
  if (config.do_sample.value_or(false)) {
    // Beams must find something to run on with when all end tokens are drawn.
    const bool beams = config.num_beams.value_or(1) > 1;
    detail::add_logits_warpers<T>(config, beams ? std::max<std::size_t>(2, eos.size() + 1) : 1, rules);
  }
  if (config.renormalize_logits.value_or(false)) rules.add(warpers::Renormalize<T>());
  return std::move(rules.list);
}

/// What searches chose by, kept where it is asked for: one tensor a step, counted from the end of each row's prompt.
template <typename T>
class ScoreLog {
 public:
  /// `rows`: of each tensor.
  explicit ScoreLog(std::size_t rows) : rows_(rows) {}
  /// Keeps one row of scores as rows [row, row + copies) of a step.
  void keep(std::size_t step, std::size_t row, std::size_t copies, std::span<const T> scores) {
    while (steps_.size() <= step) steps_.emplace_back(Shape{rows_, scores.size()});
    for (std::size_t i = row; i < row + copies; ++i) {
      std::copy(scores.begin(), scores.end(), steps_[step].data() + i * scores.size());
    }
  }
  /// The steps so far; nothing is left.
  std::vector<Tensor<T>> take() { return std::move(steps_); }

 private:
  std::size_t rows_;
  std::vector<Tensor<T>> steps_;
};

/// Turns logits into the scores that a search chooses by.
template <typename T>
class ScoreRules {
 public:
  /// Beam searches add up log-probabilities, the others compare logits.
  enum class Of : bool { logits, log_probabilities };
  /// threads: that normalise the rows of a source; processors run on the caller's alone.
  explicit ScoreRules(LogitsProcessors<T> processors, Of of = Of::logits, ScoreLog<T>* logits = nullptr,
                      ScoreLog<T>* scores = nullptr, int threads = 1)
      : processors_(std::move(processors)), of_(of), logits_(logits), scores_(scores), threads_(threads) {}

  /// Whether nothing but normalising makes scores of logits, and nobody asks for either.
  bool plain() const {
    return of_ == Of::log_probabilities && processors_.empty() && logits_ == nullptr && scores_ == nullptr;
  }
  /// Whether rows may be normalised all together, before process(): nobody asks for logits.
  bool normalises_first() const { return of_ == Of::log_probabilities && logits_ == nullptr; }

  /// The rows of one source. logits: [rows, vocab], replaced. row: the place of the first in the logs, `copies` of
  /// each there.
  void apply(std::span<const LogitsContext> contexts, TensorView<T> logits, std::size_t row,
             std::size_t copies = 1) const {
    keep(logits_, contexts, logits, row, copies);
    if (of_ == Of::log_probabilities) log_softmax_rows<T>(logits, threads_);
    process(contexts, logits, row, copies);
  }
  /// What apply() does behind normalising.
  void process(std::span<const LogitsContext> contexts, TensorView<T> scores, std::size_t row,
               std::size_t copies) const {
    for (const auto& processor : processors_) processor->process_rows(contexts, scores);
    keep(scores_, contexts, scores, row, copies);
  }

 private:
  static void keep(ScoreLog<T>* log, std::span<const LogitsContext> contexts, TensorView<const T> rows, std::size_t row,
                   std::size_t copies) {
    for (std::size_t i = 0; log != nullptr && i < contexts.size(); ++i) {
      const std::size_t step = contexts[i].ids.size() - contexts[i].prompt_length;
      log->keep(step, row + i * copies, copies, {rows.row(i), rows.cols()});
    }
  }

  LogitsProcessors<T> processors_;
  Of of_;
  ScoreLog<T>* logits_;
  ScoreLog<T>* scores_;
  int threads_;
};

}  // namespace bertgen
