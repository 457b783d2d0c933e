// One token after another: greedy search takes the likeliest, sampling draws (GenerationMixin._sample).
#pragma once

#include "bertgen/generation/random.hpp"
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

/// Continues each item `copies` times until an end token or its max_length; sequences that ended take no further part.
/// The copies of an item follow one another. choose(sequence, step, scores): the index of the next token, step counted
/// from 0 behind the prompt.
template <typename T, typename Choose>
std::vector<GeneratedSequence> token_search(Stepper<T>& stepper, std::span<const GenerationItem> items,
                                            std::size_t copies, const LogitsProcessors<T>& processors,
                                            const TokenIds& eos, Choose choose) {
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
      const GenerationItem& item = items[live[i] / copies];
      GeneratedSequence& sequence = sequences[live[i]];
      const std::span<T> scores(logits.row(rows[i]), logits.cols());
      if (i == 0 || rows[i] != rows[i - 1]) {
        process<T>(processors, {sequence.ids, item.encoder_ids, item.prompt.size(), item.max_length}, scores);
      }
      const std::size_t best = choose(live[i], sequence.ids.size() - item.prompt.size(), std::span<const T>(scores));
      const auto id = static_cast<TokenId>(best);
      sequence.ids.push_back(id);
      sequence.token_log_probs.push_back(static_cast<double>(scores[best] - log_sum_exp<T>(scores)));
      sequence.score += sequence.token_log_probs.back();
      if (ends(eos, id) || sequence.ids.size() >= item.max_length) continue;
      live[kept.size()] = live[i];
      kept.push_back(rows[i]);
      chosen.push_back(id);
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
                                             const LogitsProcessors<T>& processors, const TokenIds& eos) {
  return token_search<T>(stepper, items, 1, processors, eos,
                         [](std::size_t, std::size_t, std::span<const T> scores) { return likeliest<T>(scores); });
}

/// `copies` independent samples an item. randoms: one an item.
template <typename T>
std::vector<GeneratedSequence> sample(Stepper<T>& stepper, std::span<const GenerationItem> items, std::size_t copies,
                                      std::span<const RequestRandom> randoms, const LogitsProcessors<T>& processors,
                                      const TokenIds& eos) {
  return token_search<T>(stepper, items, copies, processors, eos,
                         [&](std::size_t sequence, std::size_t step, std::span<const T> scores) {
                           const double uniform = randoms[sequence / copies].uniform(step, sequence % copies);
                           return draw<T>(scores, uniform);
                         });
}

}  // namespace bertgen
