// What changes the scores of the next token before one is chosen, in transformers' order.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "bertgen/core/token.hpp"
#include "bertgen/generation/config.hpp"
#include "bertgen/ops/softmax.hpp"

namespace bertgen {

/// The row whose next token is being chosen.
struct LogitsContext {
  std::span<const TokenId> ids;          ///< the decoder's sequence so far, prompt included
  std::span<const TokenId> encoder_ids;  ///< the source's ids as given, hidden ones included
  std::size_t prompt_length = 1;
  std::size_t max_length = 0;
};

/// One rule. scores: [vocab], logits in greedy search, log-probabilities in beam search. Implementations are const and
/// thread-safe.
template <typename T>
class LogitsProcessor {
 public:
  virtual ~LogitsProcessor() = default;
  virtual void process(const LogitsContext& context, std::span<T> scores) const = 0;
};

template <typename T>
using LogitsProcessors = std::vector<std::unique_ptr<LogitsProcessor<T>>>;

namespace processors {

template <typename T>
inline constexpr T banned = -std::numeric_limits<T>::infinity();

/// Sets a score if the id is in the vocabulary: options may name ids that a smaller vocabulary lacks.
template <typename T>
void set(std::span<T> scores, TokenId id, T value) {
  if (id >= 0 && static_cast<std::size_t>(id) < scores.size()) scores[static_cast<std::size_t>(id)] = value;
}

/// A multiplicative penalty on each distinct id of a list: towards less likely for `penalty` > 1, whatever the sign.
template <typename T>
void penalise(std::span<const TokenId> ids, double penalty, std::span<T> scores) {
  TokenIds distinct(ids.begin(), ids.end());
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  for (TokenId id : distinct) {
    if (id < 0 || static_cast<std::size_t>(id) >= scores.size()) continue;
    T& score = scores[static_cast<std::size_t>(id)];
    score = score < 0 ? score * static_cast<T>(penalty) : score / static_cast<T>(penalty);
  }
}

/// Bans every id that would complete, after `ids`, an n-gram that `seen` has.
template <typename T>
void ban_ngrams(std::span<const TokenId> seen, std::span<const TokenId> ids, std::size_t n, std::span<T> scores) {
  if (ids.size() + 1 < n || seen.size() < n) return;
  const auto prefix = ids.last(n - 1);
  for (std::size_t i = 0; i + n <= seen.size(); ++i) {
    if (std::equal(prefix.begin(), prefix.end(), seen.begin() + static_cast<std::ptrdiff_t>(i))) {
      set(scores, seen[i + n - 1], banned<T>);
    }
  }
}

/// sequence_bias: adds a bias to the last id of each sequence whose other ids were just generated. bad_words_ids is the
/// same with −∞.
template <typename T>
class SequenceBias final : public LogitsProcessor<T> {
 public:
  explicit SequenceBias(std::vector<std::pair<TokenIds, double>> biases) : biases_(std::move(biases)) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    for (const auto& [sequence, bias] : biases_) {
      const auto last = static_cast<std::size_t>(sequence.back());
      const std::size_t prefix = sequence.size() - 1;
      // transformers wants as many ids as the whole sequence has, not only as its prefix.
      if (last >= scores.size() || (prefix > 0 && sequence.size() > context.ids.size())) continue;
      if (!std::equal(sequence.begin(), sequence.end() - 1, context.ids.last(prefix).begin())) continue;
      scores[last] += static_cast<T>(bias);
    }
  }

 private:
  std::vector<std::pair<TokenIds, double>> biases_;
};

template <typename T>
class EncoderRepetitionPenalty final : public LogitsProcessor<T> {
 public:
  explicit EncoderRepetitionPenalty(double penalty) : penalty_(1 / penalty) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    penalise(context.encoder_ids, penalty_, scores);
  }

 private:
  double penalty_;
};

template <typename T>
class RepetitionPenalty final : public LogitsProcessor<T> {
 public:
  explicit RepetitionPenalty(double penalty) : penalty_(penalty) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    penalise(context.ids, penalty_, scores);
  }

 private:
  double penalty_;
};

template <typename T>
class NoRepeatNGram final : public LogitsProcessor<T> {
 public:
  explicit NoRepeatNGram(std::size_t size) : size_(size) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    ban_ngrams(context.ids, context.ids, size_, scores);
  }

 private:
  std::size_t size_;
};

template <typename T>
class EncoderNoRepeatNGram final : public LogitsProcessor<T> {
 public:
  explicit EncoderNoRepeatNGram(std::size_t size) : size_(size) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    ban_ngrams(context.encoder_ids, context.ids, size_, scores);
  }

 private:
  std::size_t size_;
};

/// min_length and min_new_tokens: no end before `tokens` ids, of which `after_prompt` says if the prompt counts.
template <typename T>
class MinLength final : public LogitsProcessor<T> {
 public:
  MinLength(std::size_t tokens, bool after_prompt, TokenIds eos)
      : tokens_(tokens), after_prompt_(after_prompt), eos_(std::move(eos)) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    const std::size_t skipped = after_prompt_ ? context.prompt_length : 0;
    if (context.ids.size() - skipped >= tokens_) return;
    for (TokenId id : eos_) set(scores, id, banned<T>);
  }

 private:
  std::size_t tokens_;
  bool after_prompt_;
  TokenIds eos_;
};

/// forced_bos_token_id after a one-token prompt, forced_eos_token_id at the last position: nothing else is possible.
template <typename T>
class ForcedTokens final : public LogitsProcessor<T> {
 public:
  enum class At : bool { first, last };
  ForcedTokens(At at, TokenIds ids) : at_(at), ids_(std::move(ids)) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    const std::size_t position = at_ == At::first ? 1 : context.max_length - 1;
    if (context.ids.size() != position) return;
    std::fill(scores.begin(), scores.end(), banned<T>);
    for (TokenId id : ids_) set(scores, id, T(0));
  }

 private:
  At at_;
  TokenIds ids_;
};

template <typename T>
class RemoveInvalidValues final : public LogitsProcessor<T> {
 public:
  void process(const LogitsContext&, std::span<T> scores) const override {
    constexpr T largest = std::numeric_limits<T>::max();
    for (T& score : scores) score = std::isnan(score) ? T(0) : std::clamp(score, -largest, largest);
  }
};

template <typename T>
class ExponentialDecayLengthPenalty final : public LogitsProcessor<T> {
 public:
  ExponentialDecayLengthPenalty(ExponentialDecay decay, TokenIds eos) : decay_(decay), eos_(std::move(eos)) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    const std::size_t start = decay_.start + context.prompt_length;
    if (context.ids.size() <= start) return;
    const double growth = std::pow(decay_.factor, static_cast<double>(context.ids.size() - start)) - 1;
    for (TokenId id : eos_) {
      if (id < 0 || static_cast<std::size_t>(id) >= scores.size()) continue;
      T& score = scores[static_cast<std::size_t>(id)];
      if (std::isfinite(score)) score += std::abs(score) * static_cast<T>(growth);
    }
  }

 private:
  ExponentialDecay decay_;
  TokenIds eos_;
};

/// suppress_tokens at every position; begin_suppress_tokens at the first generated one only.
template <typename T>
class SuppressTokens final : public LogitsProcessor<T> {
 public:
  enum class When : bool { always, at_begin };
  /// `forced_bos`: the first generated token is forced, and what begins is the second.
  SuppressTokens(When when, TokenIds ids, bool forced_bos = false)
      : when_(when), ids_(std::move(ids)), forced_bos_(forced_bos) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    const std::size_t begin = context.prompt_length + (context.prompt_length == 1 && forced_bos_ ? 1 : 0);
    if (when_ == When::at_begin && context.ids.size() != begin) return;
    for (TokenId id : ids_) set(scores, id, banned<T>);
  }

 private:
  When when_;
  TokenIds ids_;
  bool forced_bos_;
};

}  // namespace processors

/// Appends the rules of this file that `config` asks for. `eos`: the end tokens in force.
template <typename T>
void add_logits_processors(const GenerationConfig& config, const TokenIds& eos, LogitsProcessors<T>& list) {
  using namespace processors;
  const auto add = [&list](auto processor) {
    list.push_back(std::make_unique<decltype(processor)>(std::move(processor)));
  };
  if (config.sequence_bias) add(SequenceBias<T>(*config.sequence_bias));
  if (config.encoder_repetition_penalty.value_or(1) != 1) {
    add(EncoderRepetitionPenalty<T>(*config.encoder_repetition_penalty));
  }
  if (config.repetition_penalty.value_or(1) != 1) add(RepetitionPenalty<T>(*config.repetition_penalty));
  if (config.no_repeat_ngram_size.value_or(0) > 0) add(NoRepeatNGram<T>(*config.no_repeat_ngram_size));
  if (config.encoder_no_repeat_ngram_size.value_or(0) > 0) {
    add(EncoderNoRepeatNGram<T>(*config.encoder_no_repeat_ngram_size));
  }
  if (config.bad_words_ids) {
    std::vector<std::pair<TokenIds, double>> biases;
    for (const TokenIds& word : *config.bad_words_ids) {
      // An end token alone is not banned: min_length is for that.
      const bool ends = word.size() == 1 && std::find(eos.begin(), eos.end(), word[0]) != eos.end();
      if (!ends) biases.emplace_back(word, -std::numeric_limits<double>::infinity());
    }
    add(SequenceBias<T>(std::move(biases)));
  }
  if (!eos.empty()) {
    if (!config.min_new_tokens && config.min_length.value_or(0) > 0) add(MinLength<T>(*config.min_length, false, eos));
    if (config.min_new_tokens.value_or(0) > 0) add(MinLength<T>(*config.min_new_tokens, true, eos));
  }
  if (config.forced_bos_token_id) {
    add(ForcedTokens<T>(ForcedTokens<T>::At::first, {*config.forced_bos_token_id}));
  }
  if (config.forced_eos_token_id) add(ForcedTokens<T>(ForcedTokens<T>::At::last, *config.forced_eos_token_id));
  if (config.remove_invalid_values.value_or(false)) add(RemoveInvalidValues<T>());
  if (config.exponential_decay_length_penalty && !eos.empty()) {
    add(ExponentialDecayLengthPenalty<T>(*config.exponential_decay_length_penalty, eos));
  }
  if (config.suppress_tokens) add(SuppressTokens<T>(SuppressTokens<T>::When::always, *config.suppress_tokens));
  if (config.begin_suppress_tokens) {
    add(SuppressTokens<T>(SuppressTokens<T>::When::at_begin, *config.begin_suppress_tokens,
                          config.forced_bos_token_id.has_value()));
  }
}

}  // namespace bertgen
