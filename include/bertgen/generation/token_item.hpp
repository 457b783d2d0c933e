// Greedy search and sampling of one item, a token a step, in the shape of the beam searches: for batches of items that
// are searched in different ways.
#pragma once

#include "bertgen/core/export.hpp"
#include "bertgen/generation/beam_search.hpp"
#include "bertgen/generation/sample.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// As TokenSearch without guesses, with the step(), for_each_beam() and result() of BeamItem.
template <typename T>
class TokenItem {
 public:
  /// `copies`: sequences that are sampled from the item. The arguments must outlive it.
  TokenItem(const GenerationItem& item, std::size_t copies, TokenChoice<T> choose, const StoppingCriteria& stopping)
      : item_(&item), choose_(std::move(choose)), stopping_(&stopping), sequences_(copies), live_(copies) {
    for (GeneratedSequence& sequence : sequences_) sequence.ids = item.prompt;
    std::iota(live_.begin(), live_.end(), std::size_t{0});
  }

  /// Chooses a token for each live row of logits, [live rows, vocab]; `next` becomes the rows that go on.
  void step(TensorView<T> logits, const ScoreRules<T>& rules, std::vector<Continuation>& next) {
    next.clear();
    const bool first = steps_++ == 0;  // copies still share their row
    std::vector<std::size_t> live;
    for (std::size_t i = 0; i < live_.size(); ++i) {
      GeneratedSequence& sequence = sequences_[live_[i]];
      const std::size_t row = first ? 0 : i;
      const TensorView<T> scores = logits.middle_rows(row, 1);
      if (!first || i == 0) {
        const LogitsContext context{sequence.ids, item_->encoder_ids, item_->prompt.size(), item_->max_length, 0};
        rules.apply({&context, 1}, scores, live_[i], first ? live_.size() : 1);
      }
      ++sequence.steps;
      const std::span<const T> chosen_from(scores.data(), scores.cols());
      const bool complete = append_choice<T>(chosen_from, *item_, *stopping_, live_[i], choose_, sequence);
      append_log_prob(chosen_from[static_cast<std::size_t>(sequence.ids.back())], log_sum_exp<T>(chosen_from),
                      sequence);
      if (complete) continue;
      live.push_back(live_[i]);
      next.push_back({row, sequence.ids.back()});
    }
    live_ = std::move(live);
  }

  /// visit(ids) of each sequence.
  template <typename Visitor>
  void for_each_beam(Visitor visit) const {
    for (const GeneratedSequence& sequence : sequences_) visit(sequence.ids);
  }
  /// The sequences, as they are now.
  std::vector<GeneratedSequence> result() const { return sequences_; }

 private:
  const GenerationItem* item_;
  TokenChoice<T> choose_;
  const StoppingCriteria* stopping_;
  std::vector<GeneratedSequence> sequences_;
  std::vector<std::size_t> live_;
  std::size_t steps_ = 0;
};

}  // namespace bertgen
