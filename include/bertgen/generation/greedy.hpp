// Greedy search: at each step the likeliest token.
#pragma once

#include "bertgen/generation/stepper.hpp"

namespace bertgen {

/// Continues each item until an end token or its max_length; items that ended take no further part. One sequence an
/// item, in order. Among equal scores the lowest id wins (transformers' _sample without do_sample).
template <typename T>
std::vector<GeneratedSequence> greedy_search(Stepper<T>& stepper, std::span<const GenerationItem> items,
                                             const LogitsProcessors<T>& processors, const TokenIds& eos) {
  std::vector<GeneratedSequence> sequences(items.size());
  std::vector<std::size_t> live(items.size());  // the item of each row
  for (std::size_t i = 0; i < items.size(); ++i) {
    sequences[i].ids.reserve(items[i].max_length);
    sequences[i].ids = items[i].prompt;
    live[i] = i;
  }
  TokenIds chosen;
  std::vector<std::size_t> kept;
  TensorView<T> logits = stepper.prefill(items);
  while (true) {
    chosen.clear();
    kept.clear();
    for (std::size_t row = 0; row < live.size(); ++row) {
      const GenerationItem& item = items[live[row]];
      GeneratedSequence& sequence = sequences[live[row]];
      const std::span<T> scores(logits.row(row), logits.cols());
      process<T>(processors, {sequence.ids, item.encoder_ids, item.prompt.size(), item.max_length}, scores);
      const auto best = std::max_element(scores.begin(), scores.end());
      const auto id = static_cast<TokenId>(best - scores.begin());
      sequence.ids.push_back(id);
      sequence.token_log_probs.push_back(static_cast<double>(*best - log_sum_exp<T>(scores)));
      sequence.score += sequence.token_log_probs.back();
      if (ends(eos, id) || sequence.ids.size() >= item.max_length) continue;
      live[kept.size()] = live[row];
      kept.push_back(row);
      chosen.push_back(id);
    }
    if (kept.empty()) return sequences;
    if (kept.size() < live.size()) stepper.reorder(kept);
    live.resize(kept.size());
    logits = stepper.next(chosen);
  }
}

}  // namespace bertgen
