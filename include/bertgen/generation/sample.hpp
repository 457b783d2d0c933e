// One token after another: greedy search takes the likeliest, sampling draws (GenerationMixin._sample).
#pragma once

#include <functional>

#include "bertgen/core/export.hpp"
#include "bertgen/generation/candidate_generator.hpp"
#include "bertgen/generation/random.hpp"
#include "bertgen/generation/score_rules.hpp"
#include "bertgen/generation/stepper.hpp"
#include "bertgen/generation/streamer.hpp"
#include "bertgen/ops/search.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// The likeliest token; among equal scores the lowest id.
template <typename T>
std::size_t likeliest(std::span<const T> scores) {
  return arg_max<T>(scores);
}

/// The token at `uniform` of [0, 1) on the scale of summed softmax probabilities.
template <typename T>
std::size_t draw(std::span<const T> scores, double uniform) {
  const T largest = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  for (T score : scores) total += std::exp(static_cast<double>(score - largest));
  double rest = uniform * total;
  std::size_t last = 0;  // rounding must not lead past the last token that has a probability
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const double probability = std::exp(static_cast<double>(scores[i] - largest));
    if (!(probability > 0)) continue;
    last = i;
    rest -= probability;
    if (rest < 0) break;
  }
  return last;
}

/// Chooses a token: (sequence, step, scores) -> index. Steps count from 0 behind the prompt.
template <typename T>
using TokenChoice = std::function<std::size_t(std::size_t, std::size_t, std::span<const T>)>;

/// Appends the token of a sequence that `choose` takes by the scores; whether it completes the sequence. index: the
/// sequence's, for `choose`. append_log_prob() is left to do.
template <typename T>
bool append_choice(std::span<const T> scores, const GenerationItem& item, const StoppingCriteria& stopping,
                   std::size_t index, const TokenChoice<T>& choose, GeneratedSequence& sequence) {
  const std::size_t best = choose(index, sequence.ids.size() - item.prompt.size(), scores);
  const bool complete = stopping(item, sequence.ids, static_cast<TokenId>(best));
  sequence.ids.push_back(static_cast<TokenId>(best));
  return complete;
}

/// Appends the log-probability of a token of a sequence, among scores whose log_sum_exp() is `sum`.
template <typename T>
void append_log_prob(T score, T sum, GeneratedSequence& sequence) {
  sequence.token_log_probs.push_back(static_cast<double>(score - sum));
  sequence.score += sequence.token_log_probs.back();
}

/// Continues each item `copies` times, one token after another, until it is complete; sequences that are take no
/// further part. The copies of an item follow one another. Where a generator guesses how a sequence goes on, the
/// guesses run together with its last token, and as many of them count as it would have chosen anyway.
template <typename T>
class TokenSearch {
 public:
  /// Reads nothing yet. `copies`: sequences of each item. The arguments must outlive it.
  TokenSearch(Stepper<T>& stepper, std::span<const GenerationItem> items, std::size_t copies,
              const ScoreRules<T>& rules, StoppingCriteria& stopping, TokenChoice<T> choose,
              CandidateGenerator* generator = nullptr, detail::Streams* streams = nullptr)
      : stepper_(stepper),
        items_(items),
        copies_(copies),
        rules_(rules),
        stopping_(stopping),
        choose_(std::move(choose)),
        generator_(generator),
        streams_(streams),
        sequences_(items.size() * copies),
        live_(sequences_.size()),
        guesses_(items.size()) {
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      sequences_[i].ids.reserve(items[i / copies].max_length);
      sequences_[i].ids = items[i / copies].prompt;
    }
    std::iota(live_.begin(), live_.end(), std::size_t{0});
  }

  /// Steps until all sequences are complete; they come in the order of the items.
  std::vector<GeneratedSequence> run() {
    rows_.resize(live_.size());
    for (std::size_t i = 0; i < live_.size(); ++i) rows_[i] = i / copies_;  // copies are still the same
    feed(items_.size(), true);
    while (true) {
      const std::size_t before = guesses_.size();
      take();
      if (live_.empty()) return std::move(sequences_);
      if (generator_ != nullptr) stepper_.drop_last(wrong_);
      guesses_.resize(live_.size());
      std::vector<std::size_t> unchanged(live_.size());
      std::iota(unchanged.begin(), unchanged.end(), std::size_t{0});
      if (live_.size() != before || rows_ != unchanged) stepper_.reorder(rows_);
      rows_ = std::move(unchanged);
      feed(live_.size(), false);
    }
  }

 private:
  /// Runs what is new of each row, at first its prompt, and the guesses behind it.
  void feed(std::size_t rows, bool first) {
    const bool shared = first && copies_ > 1;  // copies that share a row may go on differently
    if (generator_ != nullptr && !shared) generator_->propose(sequences_, live_, guesses_);
    ids_.clear();
    offsets_.assign(1, 0);
    scored_.clear();
    first_scores_.clear();
    for (std::size_t row = 0; row < rows; ++row) {
      const std::size_t index = live_[first ? row * copies_ : row];
      const TokenIds& known = sequences_[index].ids;
      const auto begin = first ? known.begin() : known.end() - 1;
      ids_.insert(ids_.end(), begin, known.end());
      cut(items_[index / copies_].max_length - 1 - known.size(), {begin, known.end()}, guesses_[row]);
      first_scores_.push_back(scored_.size());
      for (std::size_t i = 0; i <= guesses_[row].size(); ++i) scored_.push_back(ids_.size() - 1 + i);
      ids_.insert(ids_.end(), guesses_[row].begin(), guesses_[row].end());
      offsets_.push_back(ids_.size());
    }
    stepper_.run(ids_, offsets_);
    logits_ = scored_.size() == ids_.size() ? stepper_.scores() : stepper_.scores(scored_);
  }

  /// Leaves of the guesses what there is room for, is in the vocabulary, and gets the scores behind the ids `known`
  /// that it would get one after another: nothing behind padding, whose positions RoBERTa counts by the pass.
  void cut(std::size_t room, std::span<const TokenId> known, TokenIds& guesses) const {
    const TransformerConfig& config = stepper_.config();
    if (guesses.size() > room) guesses.resize(room);
    const auto foreign = [&](TokenId id) { return id < 0 || static_cast<std::size_t>(id) >= config.vocab_size; };
    guesses.erase(std::find_if(guesses.begin(), guesses.end(), foreign), guesses.end());
    const std::optional<TokenId> padding = config.padding_idx();
    if (padding && std::find(known.begin(), known.end(), *padding) != known.end()) guesses.clear();
    const auto pad = padding ? std::find(guesses.begin(), guesses.end(), *padding) : guesses.end();
    if (pad != guesses.end()) guesses.erase(pad + 1, guesses.end());
  }

  /// Chooses for every sequence, on as long as its guesses come true. What is left is in live_ and, by its row, in
  /// rows_; the guesses that did not come true are counted in wrong_.
  void take() {
    stopping_.begin_step();
    wrong_.assign(guesses_.size(), 0);
    chosen_sequences_.clear();
    chosen_scores_.clear();
    chosen_rows_.clear();
    std::size_t kept = 0;
    for (std::size_t i = 0; i < live_.size(); ++i) {
      GeneratedSequence& sequence = sequences_[live_[i]];
      const TokenIds& guesses = guesses_[rows_[i]];
      ++sequence.steps;
      std::size_t taken = 0;
      bool complete = choose_token(i, 0);
      while (!complete && taken < guesses.size() && sequence.ids.back() == guesses[taken]) {
        complete = choose_token(i, ++taken);
      }
      wrong_[rows_[i]] = guesses.size() - taken;
      if (streams_ != nullptr) {  // there is one copy then
        streams_->put(live_[i], sequence.ids);
        if (complete) streams_->end(live_[i]);
      }
      if (complete) continue;
      live_[kept] = live_[i];
      rows_[kept++] = rows_[i];
    }
    live_.resize(kept);
    rows_.resize(kept);
    append_log_probs();
  }

  /// Of all tokens of a step at once: the sums are most of what is left to do, and can be shared by threads.
  void append_log_probs() {
    sums_.resize(chosen_rows_.size());
    log_sum_exp_rows<T>(logits_, chosen_rows_, sums_, stepper_.threads());
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      append_log_prob(chosen_scores_[i], sums_[i], sequences_[chosen_sequences_[i]]);
    }
  }

  /// Appends a token by the scores behind `guess` guesses; whether it completes the sequence.
  bool choose_token(std::size_t index, std::size_t guess) {
    const std::size_t source = live_[index] / copies_;
    const GenerationItem& item = items_[source];
    GeneratedSequence& sequence = sequences_[live_[index]];
    const std::size_t step = sequence.ids.size() - item.prompt.size();
    const std::size_t scored = first_scores_[rows_[index]] + guess;
    const TensorView<T> row = logits_.middle_rows(scored, 1);
    if (step > 0 || live_[index] % copies_ == 0) {  // at first copies share their row
      const LogitsContext context{sequence.ids, item.encoder_ids, item.prompt.size(), item.max_length, source};
      rules_.apply({&context, 1}, row, live_[index], step == 0 ? copies_ : 1);
    }
    const bool complete = append_choice<T>({row.data(), row.cols()}, item, stopping_, live_[index], choose_, sequence);
    chosen_sequences_.push_back(live_[index]);
    chosen_scores_.push_back(row.data()[sequence.ids.back()]);
    chosen_rows_.push_back(scored);
    return complete;
  }

  Stepper<T>& stepper_;
  std::span<const GenerationItem> items_;
  std::size_t copies_;
  const ScoreRules<T>& rules_;
  StoppingCriteria& stopping_;
  TokenChoice<T> choose_;
  CandidateGenerator* generator_;
  detail::Streams* streams_;
  std::vector<GeneratedSequence> sequences_;
  std::vector<std::size_t> live_;  // the sequences that are chosen for
  std::vector<std::size_t> rows_;  // and the row of each
  // Of each row
  std::vector<TokenIds> guesses_;
  std::vector<std::size_t> wrong_;
  std::vector<std::size_t> first_scores_;  // its first row of logits_
  // Of a step
  TokenIds ids_;
  std::vector<std::size_t> offsets_;
  std::vector<std::size_t> scored_;  // the ids with a row of logits_
  TensorView<T> logits_;
  // Of each token that it chose: the sequence, the score, and the row of logits_ with the log_sum_exp() of it
  std::vector<std::size_t> chosen_sequences_;
  std::vector<T> chosen_scores_;
  std::vector<std::size_t> chosen_rows_;
  std::vector<T> sums_;
};

/// The choice of greedy search.
template <typename T>
TokenChoice<T> greedy_choice() {
  return [](std::size_t, std::size_t, std::span<const T> scores) { return likeliest<T>(scores); };
}

/// The choice of sampling, `copies` of each item independently. randoms: one an item.
template <typename T>
TokenChoice<T> sampling_choice(std::size_t copies, std::span<const RequestRandom> randoms) {
  return [copies, randoms](std::size_t sequence, std::size_t step, std::span<const T> scores) {
    return draw<T>(scores, randoms[sequence / copies].uniform(step, sequence % copies));
  };
}

}  // namespace bertgen
