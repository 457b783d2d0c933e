// Group, or diverse, beam search (Vijayakumar et al., https://arxiv.org/abs/1610.02424), as transformers 4 defines it
// (GenerationMixin._group_beam_search).
#pragma once

#include "bertgen/core/export.hpp"
#include "bertgen/generation/beam_hypotheses.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// The search for one item: groups of beams that each search by themselves, one after the other within a step, so that
/// a later one can be told what earlier ones chose (LogitsContext::earlier_groups).
template <typename T>
class GroupBeamItem {
 public:
  /// pad: what a group that is done counts as choosing.
  GroupBeamItem(const BeamSource& source, const BeamSettings& settings, const StoppingCriteria& stopping, TokenId pad)
      : source_(source),
        settings_(&settings),
        stopping_(&stopping),
        pad_(pad),
        size_(settings.num_beams / settings.num_beam_groups) {
    Group group{{}, BeamHypotheses<T>(size_, settings, *source.item)};
    group.running.assign(size_, {source.item->prompt, worst_score<T>});
    group.running[0].score = 0;
    groups_.assign(settings.num_beam_groups, group);
  }

  /// As BeamItem::step().
  void step(TensorView<T> logits, const ScoreRules<T>& rules, std::vector<Continuation>& next) {
    next.clear();
    const bool first = steps_++ == 0;
    TokenIds chosen;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      Group& group = groups_[g];
      if (group.done) {
        chosen.insert(chosen.end(), size_, pad_);
        continue;
      }
      Tensor<T> copy;  // the first row is every group's
      if (first) copy = Tensor<T>(logits.shape(), {logits.data(), logits.data() + logits.size()});
      const TensorView<T> rows = first ? copy.view() : logits.middle_rows(group.row, size_);
      const std::vector<BeamCandidate<T>> running = advance(g, rows, rules, chosen);
      for (const BeamCandidate<T>& candidate : running) chosen.push_back(candidate.token);
      if (group.done) continue;
      const std::size_t row = next.size();
      for (const BeamCandidate<T>& candidate : running) {
        next.push_back({first ? 0 : group.row + candidate.beam, candidate.token});
      }
      group.row = row;
    }
    if (length() == source_.item->max_length || stopping_->over()) {
      finish_all();
      next.clear();
    }
  }

  /// As BeamItem::for_each_beam().
  template <typename Visitor>
  void for_each_beam(Visitor visit) const {
    for (const Group& group : groups_) {
      for (std::size_t i = 0; !group.done && i < group.running.size(); ++i) visit(group.running[i].ids);
      for (const auto& hypothesis : group.finished.list()) visit(hypothesis.beam.ids);
    }
  }

  /// The best num_return_sequences of all groups, best first.
  std::vector<GeneratedSequence> result() const {
    std::vector<typename BeamHypotheses<T>::Hypothesis> all;
    for (const Group& group : groups_) {
      all.insert(all.end(), group.finished.list().begin(), group.finished.list().end());
    }
    return best_hypotheses<T>(std::move(all), settings_->num_return_sequences, *source_.item, *stopping_, steps_);
  }

 private:
  struct Group {
    std::vector<Beam<T>> running;
    BeamHypotheses<T> finished;
    std::size_t row = 0;  ///< of its first beam among the decoder's rows of this item
    bool done = false;
  };

  std::size_t length() const { return source_.item->prompt.size() + steps_; }

  /// One group's part of a step; returns how its beams go on.
  std::vector<BeamCandidate<T>> advance(std::size_t index, TensorView<T> rows, const ScoreRules<T>& rules,
                                        const TokenIds& chosen) {
    Group& group = groups_[index];
    const GenerationItem& item = *source_.item;
    std::vector<LogitsContext> contexts;
    for (std::size_t i = 0; i < rows.rows(); ++i) {
      contexts.push_back(
          {group.running[i].ids, item.encoder_ids, item.prompt.size(), item.max_length, source_.batch_id, chosen});
    }
    const std::size_t first_beam = source_.batch_id * settings_->num_beams + index * size_;
    rules.apply(contexts, rows, first_beam, size_ / rows.rows());
    const auto candidates = best_candidates<T>(group.running, {rows}, candidates_wanted(size_, *stopping_));
    const std::size_t generated = length() - item.prompt.size();
    const auto extended = [&](const BeamCandidate<T>& candidate, TokenId token) {
      const T log_prob = rows.row(rows.rows() == 1 ? 0 : candidate.beam)[candidate.token];
      return group.running[candidate.beam].extended(token, candidate.score, log_prob, first_beam + candidate.beam);
    };
    auto running = run_on<T>(candidates, size_, *stopping_, [&](const BeamCandidate<T>& candidate) {
      Beam<T> beam = extended(candidate, candidate.token);
      beam.ids.pop_back();  // the end token is added to what is returned
      group.finished.add(std::move(beam), generated);
    });
    std::vector<Beam<T>> beams;
    beams.reserve(running.size());
    for (const BeamCandidate<T>& candidate : running) beams.push_back(extended(candidate, candidate.token));
    group.running = std::move(beams);
    group.done = group.finished.done(candidates.front().score, generated);
    return running;
  }

  /// At max_length running beams are hypotheses, too.
  void finish_all() {
    for (Group& group : groups_) {
      if (group.done) continue;
      for (Beam<T>& beam : group.running) group.finished.add(std::move(beam), steps_);
    }
  }

  BeamSource source_;
  const BeamSettings* settings_;
  const StoppingCriteria* stopping_;
  TokenId pad_;
  std::size_t size_;  ///< beams of a group
  std::vector<Group> groups_;
  std::size_t steps_ = 0;
};

/// num_return_sequences sequences an item, in order, best first of all groups.
template <typename T>
std::vector<GeneratedSequence> group_beam_search(Stepper<T>& stepper, std::span<const GenerationItem> items,
                                                 const BeamSettings& settings, const ScoreRules<T>& rules,
                                                 StoppingCriteria& stopping, TokenId pad,
                                                 detail::Streams* streams = nullptr) {
  std::vector<GroupBeamItem<T>> searches;
  for (const BeamSource& source : beam_sources(items)) searches.emplace_back(source, settings, stopping, pad);
  return run_beams<T>(stepper, items, searches, rules, stopping, streams);
}

}  // namespace bertgen
