// What the beam searches share that transformers 4 had and 5 has not: its pool of finished hypotheses
// (BeamSearchScorer, BeamHypotheses), whose rules differ a little from BeamItem's.
#pragma once

#include "bertgen/core/export.hpp"
#include "bertgen/generation/beam_search.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// The best finished hypotheses of one search.
template <typename T>
class BeamHypotheses {
 public:
  /// A finished sequence and its rank.
  struct Hypothesis {
    double score;  ///< divided by length ^ length_penalty
    Beam<T> beam;  ///< with its sum of log-probabilities
  };

  /// Keeps up to `size`.
  BeamHypotheses(std::size_t size, const BeamSettings& settings, const GenerationItem& item)
      : size_(size),
        length_penalty_(settings.length_penalty),
        early_stopping_(settings.early_stopping),
        most_tokens_(item.max_length - item.prompt.size()) {}

  /// In the order in which they came.
  const std::vector<Hypothesis>& list() const { return list_; }

  /// Takes a beam with the sum of its log-probabilities as score. generated: its tokens, an end token included.
  void add(Beam<T> beam, std::size_t generated) {
    const double score = penalised(beam.score, generated);
    if (list_.size() >= size_ && !(score > worst()->score)) return;
    list_.push_back({score, std::move(beam)});
    if (list_.size() > size_) list_.erase(worst());
  }

  /// Whether there are enough and no running beam, the best of them with this sum, may become better than the worst.
  bool done(T best, std::size_t generated) const {
    if (list_.size() < size_) return false;
    if (early_stopping_ == EarlyStopping::yes) return true;
    const bool any_length = early_stopping_ == EarlyStopping::never && length_penalty_ > 0;
    return worst()->score >= penalised(best, any_length ? most_tokens_ : generated);
  }

 private:
  double penalised(T sum, std::size_t generated) const {
    return static_cast<double>(sum) / std::pow(static_cast<double>(generated), length_penalty_);
  }
  /// Of equal ones the oldest.
  typename std::vector<Hypothesis>::const_iterator worst() const {
    return std::min_element(list_.begin(), list_.end(),
                            [](const Hypothesis& a, const Hypothesis& b) { return a.score < b.score; });
  }

  std::size_t size_;
  double length_penalty_;
  EarlyStopping early_stopping_;
  std::size_t most_tokens_;
  std::vector<Hypothesis> list_;
};

/// Which candidates, in falling order, run on: the first `beams` that do not end. finish(candidate) is called for those
/// before them that end and rank among the first `beams`.
template <typename T, typename Finish>
std::vector<BeamCandidate<T>> run_on(std::span<const BeamCandidate<T>> candidates, std::size_t beams,
                                     const StoppingCriteria& stopping, Finish finish) {
  std::vector<BeamCandidate<T>> running;
  for (std::size_t rank = 0; rank < candidates.size() && running.size() < beams; ++rank) {
    if (!stopping.is_eos(candidates[rank].token)) {
      running.push_back(candidates[rank]);
    } else if (rank < beams) {
      finish(candidates[rank]);
    }
  }
  return running;
}

/// The best `count` of the hypotheses, of equal ones the last first. Whatever end token it had, one that is shorter
/// than max_length ends by the first, also where the call was over before it ended.
template <typename T>
std::vector<GeneratedSequence> best_hypotheses(std::vector<typename BeamHypotheses<T>::Hypothesis> list,
                                               std::size_t count, const GenerationItem& item,
                                               const StoppingCriteria& stopping, std::size_t steps) {
  std::reverse(list.begin(), list.end());
  std::stable_sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
  std::vector<GeneratedSequence> sequences;
  for (std::size_t i = 0; i < count; ++i) {
    const Beam<T>& beam = list[i].beam;
    sequences.push_back({beam.ids, list[i].score, beam.token_log_probs, beam.beam_indices, steps});
    if (beam.ids.size() < item.max_length && !stopping.eos().empty()) {
      sequences.back().ids.push_back(stopping.eos().front());
    }
  }
  return sequences;
}

}  // namespace bertgen
