// Contrastive search (Su et al., https://arxiv.org/abs/2202.06417), as transformers 4 defines it
// (GenerationMixin._contrastive_search).
#pragma once

#include "bertgen/core/export.hpp"
#include "bertgen/generation/sample.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Options of contrastive search, by transformers' names.
struct ContrastiveSettings {
  std::size_t top_k = 50;    ///< candidates a step
  double penalty_alpha = 0;  ///< share of the penalty for likeness, 0 to 1
};

/// Which of several candidates to take: the best by (1 − α) · its probability − α · its likeness to what is there, the
/// largest cosine between its hidden state and earlier ones.
template <typename T>
class ContrastiveChoice {
 public:
  /// `alpha`: ContrastiveSettings::penalty_alpha.
  explicit ContrastiveChoice(double alpha) : alpha_(static_cast<T>(alpha)) {}

  /// A hidden state, of the prompt or of the token that was taken.
  void remember(std::span<const T> hidden) {
    states_.insert(states_.end(), hidden.begin(), hidden.end());
    const T length = norm(hidden);
    for (auto it = states_.end() - static_cast<std::ptrdiff_t>(hidden.size()); it != states_.end(); ++it) *it /= length;
  }
  /// The score of a candidate with this probability and hidden state.
  T operator()(T probability, std::span<const T> hidden) const {
    const T length = norm(hidden);
    T likeness = -std::numeric_limits<T>::infinity();
    for (auto state = states_.begin(); state != states_.end(); state += static_cast<std::ptrdiff_t>(hidden.size())) {
      likeness = std::max(likeness, std::inner_product(hidden.begin(), hidden.end(), state, T(0)) / length);
    }
    return (1 - alpha_) * probability - alpha_ * likeness;
  }

 private:
  static T norm(std::span<const T> x) { return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), T(0))); }

  T alpha_;
  std::vector<T> states_;  // of length 1, one after another
};

/// The ids of the `count` largest probabilities, largest first; of equal ones the lower id first.
template <typename T>
std::vector<std::size_t> likeliest_tokens(std::span<const T> probabilities, std::size_t count) {
  if (count > probabilities.size()) {
    throw ArgumentError("top_k: expected at most " + std::to_string(probabilities.size()) +
                        ", the vocabulary's size, got " + std::to_string(count));
  }
  std::vector<std::size_t> ids(probabilities.size());
  std::iota(ids.begin(), ids.end(), std::size_t{0});
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(),
                    [&](std::size_t a, std::size_t b) {
                      return probabilities[a] != probabilities[b] ? probabilities[a] > probabilities[b] : a < b;
                    });
  ids.resize(count);
  return ids;
}

/// One sequence an item. Each step runs the top_k likeliest tokens of each, and goes on from one of them.
template <typename T>
std::vector<GeneratedSequence> contrastive_search(Stepper<T>& stepper, std::span<const GenerationItem> items,
                                                  const ContrastiveSettings& settings, const ScoreRules<T>& rules,
                                                  StoppingCriteria& stopping, detail::Streams* streams = nullptr) {
  const std::size_t k = settings.top_k;
  std::vector<GeneratedSequence> sequences(items.size());
  std::vector<ContrastiveChoice<T>> choices(items.size(), ContrastiveChoice<T>(settings.penalty_alpha));
  std::vector<std::size_t> live(items.size());
  std::iota(live.begin(), live.end(), std::size_t{0});
  TensorView<T> logits = stepper.prefill(items);  // [live, vocab]
  for (std::size_t i = 0, token = 0; i < items.size(); ++i) {
    sequences[i].ids = items[i].prompt;
    for (std::size_t p = 0; p < items[i].prompt.size(); ++p, ++token) {
      choices[i].remember({stepper.hidden().row(token), stepper.hidden().cols()});
    }
  }
  while (true) {
    stopping.begin_step();
    // The candidates: k rows of each sequence.
    TokenIds candidates;
    std::vector<T> probabilities;
    std::vector<double> log_probs;
    std::vector<std::size_t> parents;
    for (std::size_t i = 0; i < live.size(); ++i) {
      const GenerationItem& item = items[live[i]];
      const LogitsContext context{sequences[live[i]].ids, item.encoder_ids, item.prompt.size(), item.max_length,
                                  live[i]};
      rules.apply({&context, 1}, logits.middle_rows(i, 1), live[i]);
      std::vector<T> row(logits.row(i), logits.row(i) + logits.cols());
      const T normaliser = log_sum_exp<T>(row);
      softmax<T>(row);
      for (std::size_t token : likeliest_tokens<T>(row, k)) {
        candidates.push_back(static_cast<TokenId>(token));
        probabilities.push_back(row[token]);
        log_probs.push_back(static_cast<double>(logits.row(i)[token] - normaliser));
        parents.push_back(i);
      }
    }
    stepper.reorder(parents);
    const TensorView<const T> hidden = stepper.run(candidates);  // [live · k, hidden]
    std::vector<std::size_t> kept;
    std::size_t still = 0;
    for (std::size_t i = 0; i < live.size(); ++i) {
      ContrastiveChoice<T>& choice = choices[live[i]];
      std::vector<T> scores;
      for (std::size_t j = i * k; j < (i + 1) * k; ++j) {
        scores.push_back(choice(probabilities[j], {hidden.row(j), hidden.cols()}));
      }
      const std::size_t best = i * k + likeliest<T>(scores);
      GeneratedSequence& sequence = sequences[live[i]];
      const bool complete = stopping(items[live[i]], sequence.ids, candidates[best]);
      sequence.ids.push_back(candidates[best]);
      sequence.token_log_probs.push_back(log_probs[best]);
      sequence.score += log_probs[best];
      ++sequence.steps;
      if (streams != nullptr) {
        streams->put(live[i], sequence.ids);
        if (complete) streams->end(live[i]);
      }
      if (complete) continue;
      choice.remember({hidden.row(best), hidden.cols()});
      live[still++] = live[i];
      kept.push_back(best);
    }
    live.resize(still);
    if (live.empty()) return sequences;
    logits = stepper.scores(kept);
    stepper.reorder(kept);
  }
}

}  // namespace bertgen
