// What changes the scores of the next token before one is chosen, in transformers' order.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/core/tensor.hpp"
#include "bertgen/core/token.hpp"
#include "bertgen/generation/config.hpp"
#include "bertgen/ops/softmax.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// The row whose next token is being chosen.
struct LogitsContext {
  std::span<const TokenId> ids;          ///< the decoder's sequence so far, prompt included
  std::span<const TokenId> encoder_ids;  ///< the source's ids as given, hidden ones included
  std::size_t prompt_length = 1;         ///< of `ids`, given and not generated
  std::size_t max_length = 0;            ///< that `ids` may reach, prompt included
  std::size_t batch_id = 0;              ///< of the source in input_ids
  /// In group beam search: what the beams of earlier groups have chosen at this step.
  std::span<const TokenId> earlier_groups = {};
};

/// One rule. scores: [vocab], logits in greedy search, log-probabilities in beam search. Implementations are const and
/// thread-safe.
template <typename T>
class LogitsProcessor {
 public:
  virtual ~LogitsProcessor() = default;
  /// Changes the scores of the next token of one row, [vocab], in place. −∞ bans an id.
  virtual void process(const LogitsContext& context, std::span<T> scores) const = 0;
  /// All rows that one source has at a step, its beams; scores: [rows, vocab]. For rules that must see them together.
  virtual void process_rows(std::span<const LogitsContext> contexts, TensorView<T> scores) const {
    for (std::size_t i = 0; i < contexts.size(); ++i) process(contexts[i], {scores.row(i), scores.cols()});
  }
};

/// In the order in which they run.
template <typename T>
using LogitsProcessors = std::vector<std::shared_ptr<const LogitsProcessor<T>>>;

/// transformers' prefix_allowed_tokens_fn: the ids that may follow `ids`, of the source in row `batch_id` of input_ids.
using PrefixAllowedTokens = std::function<TokenIds(std::size_t batch_id, std::span<const TokenId> ids)>;

/// What generation options do to scores: a class each, and what these share.
namespace processors {

/// The score of what must not be chosen.
template <typename T>
inline constexpr T banned = -std::numeric_limits<T>::infinity();

/// Sets a score if the id is in the vocabulary: options may name ids that a smaller vocabulary lacks.
template <typename T>
void set(std::span<T> scores, TokenId id, T value) {
  if (id >= 0 && static_cast<std::size_t>(id) < scores.size()) scores[static_cast<std::size_t>(id)] = value;
}

/// Keeps these ids from being chosen.
template <typename T>
void ban(const TokenIds& ids, std::span<T> scores) {
  for (TokenId id : ids) set(scores, id, banned<T>);
}

/// Score 0 for these ids, none for the others.
template <typename T>
void allow_only(const TokenIds& ids, std::span<T> scores) {
  std::fill(scores.begin(), scores.end(), banned<T>);
  for (TokenId id : ids) set(scores, id, T(0));
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

/// sequence_bias: adds a bias to the last id of each sequence whose other ids were just generated.
template <typename T>
class SequenceBias : public LogitsProcessor<T> {
 public:
  /// `biases`: sequences of ids, and what is added to the last one's score.
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

/// bad_words_ids: the same with −∞. An end token alone is not banned: min_length is for that.
template <typename T>
class NoBadWords final : public SequenceBias<T> {
 public:
  /// `words`: sequences that may not appear. One that is an end token alone is left out.
  NoBadWords(const std::vector<TokenIds>& words, const TokenIds& eos) : SequenceBias<T>(biases(words, eos)) {}

 private:
  static std::vector<std::pair<TokenIds, double>> biases(const std::vector<TokenIds>& words, const TokenIds& eos) {
    std::vector<std::pair<TokenIds, double>> biases;
    for (const TokenIds& word : words) {
      const bool ends = word.size() == 1 && std::find(eos.begin(), eos.end(), word[0]) != eos.end();
      if (!ends) biases.emplace_back(word, -std::numeric_limits<double>::infinity());
    }
    return biases;
  }
};

/// diversity_penalty: takes it off a token once for each beam of an earlier group that has chosen it.
template <typename T>
class HammingDiversity final : public LogitsProcessor<T> {
 public:
  /// `penalty`: diversity_penalty, for each time an earlier group chose the id.
  explicit HammingDiversity(double penalty) : penalty_(static_cast<T>(penalty)) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    TokenIds ids(context.earlier_groups.begin(), context.earlier_groups.end());
    std::sort(ids.begin(), ids.end());
    for (auto first = ids.begin(); first != ids.end();) {
      const auto last = std::upper_bound(first, ids.end(), *first);
      scores[static_cast<std::size_t>(*first)] -= penalty_ * static_cast<T>(last - first);
      first = last;
    }
  }

 private:
  T penalty_;
};

/// Makes ids of the source more or less probable: transformers' EncoderRepetitionPenaltyLogitsProcessor.
template <typename T>
class EncoderRepetitionPenalty final : public LogitsProcessor<T> {
 public:
  /// Above 1 prefers them.
  explicit EncoderRepetitionPenalty(double penalty) : penalty_(1 / penalty) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    penalise(context.encoder_ids, penalty_, scores);
  }

 private:
  double penalty_;
};

/// Makes ids that are in the sequence less probable: transformers' RepetitionPenaltyLogitsProcessor (CTRL, Keskar et
/// al. 2019).
template <typename T>
class RepetitionPenalty final : public LogitsProcessor<T> {
 public:
  /// Above 1 avoids them.
  explicit RepetitionPenalty(double penalty) : penalty_(penalty) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    penalise(context.ids, penalty_, scores);
  }

 private:
  double penalty_;
};

/// Bans an id that would repeat an n-gram of the sequence: transformers' NoRepeatNGramLogitsProcessor.
template <typename T>
class NoRepeatNGram final : public LogitsProcessor<T> {
 public:
  /// `size`: n.
  explicit NoRepeatNGram(std::size_t size) : size_(size) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    ban_ngrams(context.ids, context.ids, size_, scores);
  }

 private:
  std::size_t size_;
};

/// Bans an id that would complete an n-gram of the source: transformers' EncoderNoRepeatNGramLogitsProcessor.
template <typename T>
class EncoderNoRepeatNGram final : public LogitsProcessor<T> {
 public:
  /// `size`: n.
  explicit EncoderNoRepeatNGram(std::size_t size) : size_(size) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    ban_ngrams(context.encoder_ids, context.ids, size_, scores);
  }

 private:
  std::size_t size_;
};

/// min_length: no end before the sequence has as many ids, prompt included.
template <typename T>
class MinLength final : public LogitsProcessor<T> {
 public:
  /// `length`: of the whole sequence. `eos`: ids that are banned until then.
  MinLength(std::size_t length, TokenIds eos) : length_(length), eos_(std::move(eos)) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    if (context.ids.size() < length_) ban(eos_, scores);
  }

 private:
  std::size_t length_;
  TokenIds eos_;
};

/// min_new_tokens: the same without the prompt.
template <typename T>
class MinNewTokensLength final : public LogitsProcessor<T> {
 public:
  /// `tokens`: after the prompt. `eos`: ids that are banned until then.
  MinNewTokensLength(std::size_t tokens, TokenIds eos) : tokens_(tokens), eos_(std::move(eos)) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    if (context.ids.size() - context.prompt_length < tokens_) ban(eos_, scores);
  }

 private:
  std::size_t tokens_;
  TokenIds eos_;
};

/// prefix_allowed_tokens_fn: only what it answers may follow. Where every row of a source has all of these banned
/// already, they are made possible again.
template <typename T>
class PrefixConstrained final : public LogitsProcessor<T> {
 public:
  /// `allowed`: called for each row at each step.
  explicit PrefixConstrained(PrefixAllowedTokens allowed) : allowed_(std::move(allowed)) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    process_rows({&context, 1}, {scores.data(), {1, scores.size()}});
  }
  void process_rows(std::span<const LogitsContext> contexts, TensorView<T> scores) const override {
    std::vector<TokenIds> allowed;
    bool possible = false;
    for (std::size_t i = 0; i < contexts.size(); ++i) {
      allowed.push_back(allowed_(contexts[i].batch_id, contexts[i].ids));
      check(contexts[i], allowed[i], scores.cols());
      for (TokenId id : allowed[i]) possible = possible || !(scores.row(i)[id] == banned<T>);
    }
    for (std::size_t i = 0; i < contexts.size(); ++i) {
      std::vector<T> kept;
      for (TokenId id : allowed[i]) kept.push_back(possible ? scores.row(i)[id] : T(0));
      std::fill_n(scores.row(i), scores.cols(), banned<T>);
      for (std::size_t j = 0; j < kept.size(); ++j) scores.row(i)[allowed[i][j]] = kept[j];
    }
  }

 private:
  static void check(const LogitsContext& context, const TokenIds& allowed, std::size_t vocab) {
    const std::string where = "prefix_allowed_tokens_fn, row " + std::to_string(context.batch_id);
    if (allowed.empty()) throw ArgumentError(where + ": expected at least one id, got none");
    for (TokenId id : allowed) {
      if (id >= 0 && static_cast<std::size_t>(id) < vocab) continue;
      throw ArgumentError(where + ": expected ids of 0 to " + std::to_string(vocab - 1) + ", got " +
                          std::to_string(id));
    }
  }

  PrefixAllowedTokens allowed_;
};

/// forced_bos_token_id: after a one-token prompt nothing else is possible.
template <typename T>
class ForcedBOSToken final : public LogitsProcessor<T> {
 public:
  /// `id`: what the sequence goes on with.
  explicit ForcedBOSToken(TokenId id) : id_(id) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    if (context.ids.size() == 1) allow_only<T>({id_}, scores);
  }

 private:
  TokenId id_;
};

/// forced_eos_token_id: the same at the last position.
template <typename T>
class ForcedEOSToken final : public LogitsProcessor<T> {
 public:
  /// `ids`: what may be last.
  explicit ForcedEOSToken(TokenIds ids) : ids_(std::move(ids)) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    if (context.ids.size() + 1 == context.max_length) allow_only<T>(ids_, scores);
  }

 private:
  TokenIds ids_;
};

/// NaN becomes 0, infinity the largest number: transformers' InfNanRemoveLogitsProcessor.
template <typename T>
class RemoveInvalidValues final : public LogitsProcessor<T> {
 public:
  void process(const LogitsContext&, std::span<T> scores) const override {
    constexpr T largest = std::numeric_limits<T>::max();
    for (T& score : scores) score = std::isnan(score) ? T(0) : std::clamp(score, -largest, largest);
  }
};

/// Makes the end more probable from a step on: transformers' ExponentialDecayLengthPenalty.
template <typename T>
class ExponentialDecayLengthPenalty final : public LogitsProcessor<T> {
 public:
  /// `eos`: ids whose scores grow.
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

/// suppress_tokens.
template <typename T>
class SuppressTokens final : public LogitsProcessor<T> {
 public:
  /// `ids`: never chosen.
  explicit SuppressTokens(TokenIds ids) : ids_(std::move(ids)) {}
  void process(const LogitsContext&, std::span<T> scores) const override { ban(ids_, scores); }

 private:
  TokenIds ids_;
};

/// begin_suppress_tokens: at the first generated position. `forced_bos`: where that token is forced, at the second.
template <typename T>
class SuppressTokensAtBegin final : public LogitsProcessor<T> {
 public:
  /// `ids`: not chosen first. `forced_bos`: the first id is forced, so the second counts as first.
  SuppressTokensAtBegin(TokenIds ids, bool forced_bos) : ids_(std::move(ids)), forced_bos_(forced_bos) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    const std::size_t begin = context.prompt_length + (context.prompt_length == 1 && forced_bos_ ? 1 : 0);
    if (context.ids.size() == begin) ban(ids_, scores);
  }

 private:
  TokenIds ids_;
  bool forced_bos_;
};

}  // namespace processors
}  // namespace bertgen
