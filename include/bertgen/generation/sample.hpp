// One token after another: greedy search takes the likeliest, sampling draws (GenerationMixin._sample).
#pragma once

#include "bertgen/generation/random.hpp"
#include "bertgen/generation/score_rules.hpp"
#include "bertgen/generation/stepper.hpp"

namespace bertgen {

/// The likeliest token; among equal scores the lowest id.
template <typename T>
std::size_t likeliest(std::span<const T> scores) {
  return static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
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

/// Continues each item `copies` times until it is complete; sequences that are take no further part. The copies of an
/// item follow one another. choose(sequence, step, scores): the index of the next token, step counted from 0 behind the
/// prompt.
template <typename T, typename Choose>
std::vector<GeneratedSequence> token_search(Stepper<T>& stepper, std::span<const GenerationItem> items,
                                            std::size_t copies, const ScoreRules<T>& rules,
                                            const StoppingCriteria& stopping, Choose choose) {
  std::vector<GeneratedSequence> sequences(items.size() * copies);
  std::vector<std::size_t> live(sequences.size());  // the sequence of each row to be chosen for
  std::vector<std::size_t> rows(sequences.size());  // and its row of scores
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const GenerationItem& item = items[i / copies];
    sequences[i].ids.reserve(item.max_length);
    sequences[i].ids = item.prompt;
    live[i] = i;
    rows[i] = i / copies;  // copies are still the same
  }
  TokenIds chosen;
  std::vector<std::size_t> kept;
  TensorView<T> logits = stepper.prefill(items);
  while (true) {
    chosen.clear();
    kept.clear();
    for (std::size_t i = 0; i < live.size(); ++i) {
      const std::size_t source = live[i] / copies;
      const GenerationItem& item = items[source];
      GeneratedSequence& sequence = sequences[live[i]];
      const TensorView<T> row = logits.middle_rows(rows[i], 1);
      const bool first = sequence.ids.size() == item.prompt.size();
      if (!first || i == 0 || rows[i] != rows[i - 1]) {
        const LogitsContext context{sequence.ids, item.encoder_ids, item.prompt.size(), item.max_length, source};
        rules.apply({&context, 1}, row, live[i], first ? copies : 1);
      }
      const std::span<const T> scores(row.data(), row.cols());
      const std::size_t best = choose(live[i], sequence.ids.size() - item.prompt.size(), scores);
      const bool complete = stopping(item, sequence.ids, static_cast<TokenId>(best));
      sequence.ids.push_back(static_cast<TokenId>(best));
      sequence.token_log_probs.push_back(static_cast<double>(scores[best] - log_sum_exp<T>(scores)));
      sequence.score += sequence.token_log_probs.back();
      ++sequence.steps;
      if (complete) continue;
      live[kept.size()] = live[i];
      kept.push_back(rows[i]);
      chosen.push_back(sequence.ids.back());
    }
    if (kept.empty()) return sequences;
    live.resize(kept.size());
    rows.resize(kept.size());
    std::iota(rows.begin(), rows.end(), std::size_t{0});
    if (kept.size() != logits.rows() || kept != rows) stepper.reorder(kept);
    logits = stepper.next(chosen);
  }
}

/// One sequence an item, of the likeliest tokens.
template <typename T>
std::vector<GeneratedSequence> greedy_search(Stepper<T>& stepper, std::span<const GenerationItem> items,
                                             const ScoreRules<T>& rules, const StoppingCriteria& stopping) {
  return token_search<T>(stepper, items, 1, rules, stopping,
                         [](std::size_t, std::size_t, std::span<const T> scores) { return likeliest<T>(scores); });
}

/// `copies` independent samples an item. randoms: one an item.
template <typename T>
std::vector<GeneratedSequence> sample(Stepper<T>& stepper, std::span<const GenerationItem> items, std::size_t copies,
                                      std::span<const RequestRandom> randoms, const ScoreRules<T>& rules,
                                      const StoppingCriteria& stopping) {
  return token_search<T>(stepper, items, copies, rules, stopping,
                         [&](std::size_t sequence, std::size_t step, std::span<const T> scores) {
                           const double uniform = randoms[sequence / copies].uniform(step, sequence % copies);
                           return draw<T>(scores, uniform);
                         });
}

}  // namespace bertgen
