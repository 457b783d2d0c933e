// Beam search for answers that have given words (force_words_ids), as transformers 4 defines it
// (GenerationMixin._constrained_beam_search).
#pragma once

#include "bertgen/core/export.hpp"
#include "bertgen/generation/beam_hypotheses.hpp"
#include "bertgen/generation/constraints.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// The search for one item: beside the best continuations stand those that are progress with the words, and of all
/// these the best of each degree of progress go on.
template <typename T>
class ConstrainedBeamItem {
 public:
  /// The arguments must outlive it.
  ConstrainedBeamItem(const BeamSource& source, const BeamSettings& settings, const StoppingCriteria& stopping,
                      const std::vector<ForcedWord>& words)
      : source_(source),
        settings_(&settings),
        stopping_(&stopping),
        words_(&words),
        finished_(settings.num_beams, settings, *source.item) {
    running_.assign(settings.num_beams, {source.item->prompt, worst_score<T>});
    running_[0].score = 0;
  }

  /// As BeamItem::step().
  void step(TensorView<T> logits, const ScoreRules<T>& rules, std::vector<Continuation>& next) {
    const GenerationItem& item = *source_.item;
    std::vector<LogitsContext> contexts;
    for (std::size_t i = 0; i < logits.rows(); ++i) {
      contexts.push_back({running_[i].ids, item.encoder_ids, item.prompt.size(), item.max_length, source_.batch_id});
    }
    rules.apply(contexts, logits, first_beam(), running_.size() / logits.rows());
    const std::size_t beams = settings_->num_beams;
    const std::size_t generated = ++steps_;
    const auto candidates = best_candidates<T>(running_, {logits}, candidates_wanted(beams, *stopping_));
    auto going_on = run_on<T>(candidates, beams, *stopping_, [&](const BeamCandidate<T>& candidate) {
      if (!has_words(running_[candidate.beam].ids)) return;
      Beam<T> beam = extended(candidate, logits);
      beam.ids.pop_back();  // the end token is added to what is returned
      finished_.add(std::move(beam), generated);
    });
    spread_over_banks(logits, going_on);
    std::vector<Beam<T>> running;
    next.clear();
    for (const BeamCandidate<T>& candidate : going_on) {
      running.push_back(extended(candidate, logits));
      next.push_back({logits.rows() == 1 ? 0 : candidate.beam, candidate.token});
    }
    running_ = std::move(running);
    const bool done = finished_.done(candidates.front().score, generated);
    const bool at_end = std::all_of(next.begin(), next.end(), [&](const Continuation& continuation) {
      // An end token runs on where it is part of a word.
      return item.prompt.size() + generated == item.max_length || stopping_->is_eos(continuation.token);
    });
    const bool over = at_end || stopping_->over();
    if (!done && over) finish_all();
    if (done || over) next.clear();
  }

  /// As BeamItem::for_each_beam().
  template <typename Visitor>
  void for_each_beam(Visitor visit) const {
    for (const Beam<T>& beam : running_) visit(beam.ids);
    for (const auto& hypothesis : finished_.list()) visit(hypothesis.beam.ids);
  }

  /// The best num_return_sequences, best first.
  std::vector<GeneratedSequence> result() const {
    return best_hypotheses<T>(finished_.list(), settings_->num_return_sequences, *source_.item, *stopping_, steps_);
  }

 private:
  std::size_t first_beam() const { return source_.batch_id * settings_->num_beams; }
  bool has_words(const TokenIds& ids) const { return ConstraintState(*words_, ids).completed(); }
  T log_prob(std::size_t beam, TokenId token, TensorView<const T> log_probs) const {
    return log_probs.row(log_probs.rows() == 1 ? 0 : beam)[token];
  }
  Beam<T> extended(const BeamCandidate<T>& candidate, TensorView<const T> log_probs) const {
    return running_[candidate.beam].extended(candidate.token, candidate.score,
                                             log_prob(candidate.beam, candidate.token, log_probs),
                                             first_beam() + candidate.beam);
  }
  bool same_ids(const BeamCandidate<T>& a, const BeamCandidate<T>& b) const {
    return a.token == b.token && running_[a.beam].ids == running_[b.beam].ids;
  }

  /// Adds the candidates that are progress, and keeps as many as there were: the best of each bank in turn, banks of
  /// more progress first. A bank's lead is worth a difference of 100 in scores, not all.
  void spread_over_banks(TensorView<const T> log_probs, std::vector<BeamCandidate<T>>& candidates) const {
    const std::size_t count = candidates.size();
    std::vector<std::size_t> banks;
    for (const BeamCandidate<T>& candidate : candidates) {
      ConstraintState state(*words_, running_[candidate.beam].ids);
      state.add(candidate.token);
      banks.push_back(state.bank());
    }
    for (std::size_t beam = 0; beam < running_.size(); ++beam) {
      const ConstraintState state(*words_, running_[beam].ids);
      if (state.completed()) continue;
      const TokenIds tokens = state.advance();
      const std::vector<ConstraintState> branches = state.branches();
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        const BeamCandidate<T> candidate{beam, tokens[i], running_[beam].score + log_prob(beam, tokens[i], log_probs)};
        const auto same = [&](const BeamCandidate<T>& other) { return same_ids(candidate, other); };
        if (std::any_of(candidates.begin(), candidates.end(), same)) continue;
        candidates.push_back(candidate);
        banks.push_back(branches[i].bank());
      }
    }
    if (candidates.size() == count) return;  // nothing new: the order stays, too
    const auto rank = [&](std::size_t i) { return static_cast<T>(banks[i] * 100) + candidates[i].score; };
    std::vector<std::size_t> order(candidates.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return rank(a) > rank(b); });
    // The first of each run of one bank, then the second of each, and so on.
    std::vector<std::size_t> place(candidates.size());
    for (std::size_t i = 1; i < order.size(); ++i) {
      place[order[i]] = banks[order[i]] == banks[order[i - 1]] ? place[order[i - 1]] + 1 : 0;
    }
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return place[a] < place[b]; });
    std::vector<BeamCandidate<T>> kept;
    for (std::size_t i = 0; i < count; ++i) kept.push_back(candidates[order[i]]);
    candidates = std::move(kept);
  }

  /// Running beams become hypotheses: those with all words, and if these are fewer than are wanted the others, too.
  void finish_all() {
    std::vector<Beam<T>*> others;
    for (Beam<T>& beam : running_) {
      if (has_words(beam.ids)) {
        finished_.add(beam, steps_);
      } else {
        others.push_back(&beam);
      }
    }
    if (running_.size() - others.size() >= settings_->num_return_sequences) return;
    for (Beam<T>* beam : others) finished_.add(*beam, steps_);
  }

  BeamSource source_;
  const BeamSettings* settings_;
  const StoppingCriteria* stopping_;
  const std::vector<ForcedWord>* words_;
  std::vector<Beam<T>> running_;
  BeamHypotheses<T> finished_;
  std::size_t steps_ = 0;
};

/// num_return_sequences sequences an item, in order, best first. One that has not all words, as when there is no room
/// for them, is returned where there are too few others, or where it is better.
template <typename T>
std::vector<GeneratedSequence> constrained_beam_search(Stepper<T>& stepper, std::span<const GenerationItem> items,
                                                       const BeamSettings& settings, const ScoreRules<T>& rules,
                                                       StoppingCriteria& stopping, const std::vector<ForcedWord>& words,
                                                       detail::Streams* streams = nullptr) {
  std::vector<ConstrainedBeamItem<T>> searches;
  for (const BeamSource& source : beam_sources(items)) searches.emplace_back(source, settings, stopping, words);
  return run_beams<T>(stepper, items, searches, rules, stopping, streams);
}

}  // namespace bertgen
