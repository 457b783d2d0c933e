// Beam search, as transformers 5 defines it (GenerationMixin._beam_search).
#pragma once

#include <cmath>

#include "bertgen/generation/random.hpp"
#include "bertgen/generation/stepper.hpp"

namespace bertgen {

/// The settings of one beam search; all items of a batch share them.
struct BeamSettings {
  std::size_t num_beams = 2;
  std::size_t num_return_sequences = 1;
  double length_penalty = 1;
  EarlyStopping early_stopping = EarlyStopping::no;
  bool do_sample = false;
};

/// The search for one item: no item's result depends on another's.
template <typename T>
class BeamItem {
 public:
  struct Beam {
    TokenIds ids;
    T score = 0;  ///< sum of log-probabilities; of a finished one divided by length ^ length_penalty
  };
  /// A beam's continuation by one token.
  struct Candidate {
    std::size_t beam;
    TokenId token;
    T score;
  };

  BeamItem(const GenerationItem& item, const BeamSettings& settings, const TokenIds& eos)
      : item_(&item), settings_(&settings), eos_(&eos), running_(settings.num_beams) {
    for (Beam& beam : running_) beam = {item.prompt, worst};
    // Only the first counts at first: the others would be copies of it.
    running_[0].score = 0;
  }

  const GenerationItem& item() const { return *item_; }
  const std::vector<Beam>& running() const { return running_; }
  bool done() const { return done_; }
  /// How many candidates advance() needs: enough that num_beams remain when every end token is among them.
  std::size_t candidates_wanted() const { return std::max<std::size_t>(2, 1 + eos_->size()) * settings_->num_beams; }

  /// One step. candidates: the best, in falling order of score, or those drawn, in the order of their drawing. Sets
  /// `parents` to the beams that the new running ones continue.
  void advance(const std::vector<Candidate>& candidates, std::vector<std::size_t>& parents) {
    const std::size_t beams = settings_->num_beams;
    const std::size_t generated = running_[0].ids.size() + 1 - item_->prompt.size();
    std::vector<bool> hit;
    hit.reserve(candidates.size());
    for (const Candidate& candidate : candidates) {
      hit.push_back(ends(*eos_, candidate.token) || running_[0].ids.size() + 1 >= item_->max_length);
    }
    finish(candidates, hit, generated);
    // Candidates that hit run on only where nothing else is left.
    std::vector<std::size_t> order;
    for (const bool wanted : {false, true}) {
      const auto begin = static_cast<std::ptrdiff_t>(order.size());
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (hit[i] == wanted) order.push_back(i);
      }
      std::stable_sort(order.begin() + begin, order.end(),
                       [&](std::size_t a, std::size_t b) { return candidates[a].score > candidates[b].score; });
    }
    order.resize(beams);
    std::vector<Beam> next;
    parents.clear();
    for (std::size_t i : order) {
      next.push_back({extended(candidates[i]), candidates[i].score + (hit[i] ? worst : T(0))});
      parents.push_back(candidates[i].beam);
    }
    running_ = std::move(next);
    const bool all_hit = std::find(hit.begin(), hit.end(), false) == hit.end();
    done_ = all_hit || full() || !can_improve(generated);
  }

  /// The best finished hypotheses, best first.
  std::vector<GeneratedSequence> result() const {
    std::vector<GeneratedSequence> sequences;
    for (std::size_t i = 0; i < settings_->num_return_sequences; ++i) {
      sequences.push_back({finished_[i].ids, static_cast<double>(finished_[i].score), {}});
    }
    return sequences;
  }

 private:
  static constexpr T worst = T(-1e9);  // transformers' stand-in for minus infinity

  TokenIds extended(const Candidate& candidate) const {
    TokenIds ids;
    ids.reserve(running_[candidate.beam].ids.size() + 1);
    ids = running_[candidate.beam].ids;
    ids.push_back(candidate.token);
    return ids;
  }

  /// early_stopping with enough hypotheses: none is accepted any more.
  bool full() const {
    return settings_->early_stopping == EarlyStopping::yes && finished_.size() == settings_->num_beams;
  }

  /// Candidates of rank below num_beams that hit become hypotheses; the best num_beams of all stay, older ones before
  /// newer ones of the same score.
  void finish(const std::vector<Candidate>& candidates, const std::vector<bool>& hit, std::size_t generated) {
    const T divisor = static_cast<T>(std::pow(static_cast<double>(generated), settings_->length_penalty));
    for (std::size_t i = 0; i < std::min(settings_->num_beams, candidates.size()); ++i) {
      if (hit[i]) finished_.push_back({extended(candidates[i]), candidates[i].score / divisor});
    }
    std::stable_sort(finished_.begin(), finished_.end(),
                     [](const Beam& a, const Beam& b) { return a.score > b.score; });
    if (finished_.size() > settings_->num_beams) finished_.resize(settings_->num_beams);
  }

  /// Whether the best running beam may still beat the worst hypothesis, by transformers' estimate.
  bool can_improve(std::size_t generated) const {
    if (finished_.size() < settings_->num_beams) return true;
    const bool any_length = settings_->early_stopping == EarlyStopping::never && settings_->length_penalty > 0;
    const std::size_t length = any_length ? item_->max_length - item_->prompt.size() : generated;
    const T divisor = static_cast<T>(std::pow(static_cast<double>(length), settings_->length_penalty));
    return running_[0].score / divisor > finished_.back().score;
  }

  const GenerationItem* item_;
  const BeamSettings* settings_;
  const TokenIds* eos_;
  std::vector<Beam> running_;   // num_beams, best first
  std::vector<Beam> finished_;  // at most num_beams, best first
  bool done_ = false;
};

/// The `count` best continuations of beams whose log-probabilities are rows of `scores`, in falling order; among equal
/// ones the lower beam, then the lower token comes first. row_of: the row of each beam.
template <typename T, typename RowOf>
std::vector<typename BeamItem<T>::Candidate> best_candidates(const BeamItem<T>& item, TensorView<const T> scores,
                                                             RowOf row_of, std::size_t count) {
  using Candidate = typename BeamItem<T>::Candidate;
  const auto better = [](const Candidate& a, const Candidate& b) {
    if (a.score != b.score) return a.score > b.score;
    return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
  };
  // A heap whose top is the worst kept candidate.
  std::vector<Candidate> heap;
  heap.reserve(count + 1);
  for (std::size_t beam = 0; beam < item.running().size(); ++beam) {
    const T* row = scores.row(row_of(beam));
    const T base = item.running()[beam].score;
    for (std::size_t token = 0; token < scores.cols(); ++token) {
      const T score = base + row[token];
      // Tokens come in rising order, so an equal score never displaces a kept one.
      if (heap.size() == count && !(score > heap.front().score)) continue;
      heap.push_back({beam, static_cast<TokenId>(token), score});
      std::push_heap(heap.begin(), heap.end(), better);
      if (heap.size() <= count) continue;
      std::pop_heap(heap.begin(), heap.end(), better);
      heap.pop_back();
    }
  }
  std::sort_heap(heap.begin(), heap.end(), better);
  return heap;
}

/// Of the same continuations `count` drawn without replacement, by the softmax of their scores, in the order of their
/// drawing: that is the order of score + Gumbel noise. Throws ArgumentError if fewer have a probability.
template <typename T, typename RowOf>
std::vector<typename BeamItem<T>::Candidate> drawn_candidates(const BeamItem<T>& item, TensorView<const T> scores,
                                                              RowOf row_of, std::size_t count,
                                                              const RequestRandom& random) {
  using Candidate = typename BeamItem<T>::Candidate;
  std::vector<Candidate> candidates;
  T largest = processors::banned<T>;
  for (std::size_t beam = 0; beam < item.running().size(); ++beam) {
    const T* row = scores.row(row_of(beam));
    for (std::size_t token = 0; token < scores.cols(); ++token) {
      const T score = item.running()[beam].score + row[token];
      if (!(score > processors::banned<T>)) continue;
      candidates.push_back({beam, static_cast<TokenId>(token), score});
      largest = std::max(largest, score);
    }
  }
  std::erase_if(candidates, [largest](const Candidate& c) { return std::exp(c.score - largest) == 0; });
  if (candidates.size() < count) {
    throw ArgumentError("do_sample with num_beams: expected the cut-offs to leave " + std::to_string(count) +
                        " candidates, got " + std::to_string(candidates.size()));
  }
  const std::size_t step = item.running()[0].ids.size() - item.item().prompt.size();
  std::vector<std::pair<double, std::size_t>> keys;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const std::size_t index = candidates[i].beam * scores.cols() + static_cast<std::size_t>(candidates[i].token);
    const double uniform = 1 - random.uniform(step, index);  // in (0, 1]
    keys.emplace_back(static_cast<double>(candidates[i].score) - std::log(-std::log(uniform)), i);
  }
  std::partial_sort(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(count), keys.end(), std::greater<>());
  std::vector<Candidate> drawn;
  for (std::size_t i = 0; i < count; ++i) drawn.push_back(candidates[keys[i].second]);
  return drawn;
}

/// Searches all items together; an item that is done takes no further part. num_return_sequences sequences an item, in
/// order, best first. randoms: one an item, where settings say to sample. Throws ArgumentError if the vocabulary has
/// fewer tokens than a step needs candidates.
template <typename T>
std::vector<GeneratedSequence> beam_search(Stepper<T>& stepper, std::span<const GenerationItem> items,
                                           const BeamSettings& settings, const LogitsProcessors<T>& processors,
                                           const TokenIds& eos, std::span<const RequestRandom> randoms = {}) {
  const std::size_t beams = settings.num_beams;
  std::vector<BeamItem<T>> searches;
  std::vector<std::size_t> live;  // searches that are not done
  for (const GenerationItem& item : items) {
    live.push_back(searches.size());
    searches.emplace_back(item, settings, eos);
  }
  TensorView<T> logits = stepper.prefill(items);  // one row an item: its beams are still the same
  std::size_t rows_per_item = 1;
  if (searches.front().candidates_wanted() > beams * logits.cols()) {
    throw ArgumentError("num_beams: expected at most " + std::to_string(logits.cols()) + " candidates a beam, got " +
                        std::to_string(searches.front().candidates_wanted() / beams));
  }
  TokenIds chosen;
  std::vector<std::size_t> parents;      // of one item, as beams
  std::vector<std::size_t> parent_rows;  // of all rows
  while (true) {
    std::size_t kept = 0;
    chosen.clear();
    parent_rows.clear();
    for (std::size_t i = 0; i < live.size(); ++i) {
      BeamItem<T>& search = searches[live[i]];
      const GenerationItem& item = search.item();
      for (std::size_t r = 0; r < rows_per_item; ++r) {
        const std::span<T> scores(logits.row(i * rows_per_item + r), logits.cols());
        log_softmax<T>(scores);
        process<T>(processors, {search.running()[r].ids, item.encoder_ids, item.prompt.size(), item.max_length},
                   scores);
      }
      const auto row_of = [&](std::size_t beam) { return i * rows_per_item + (rows_per_item == 1 ? 0 : beam); };
      const std::size_t wanted = search.candidates_wanted();
      search.advance(settings.do_sample ? drawn_candidates<T>(search, logits, row_of, wanted, randoms[live[i]])
                                        : best_candidates<T>(search, logits, row_of, wanted),
                     parents);
      if (search.done()) continue;
      for (std::size_t beam = 0; beam < beams; ++beam) {
        parent_rows.push_back(row_of(parents[beam]));
        chosen.push_back(search.running()[beam].ids.back());
      }
      live[kept++] = live[i];
    }
    live.resize(kept);
    if (live.empty()) break;
    stepper.reorder(parent_rows);
    rows_per_item = beams;
    logits = stepper.next(chosen);
  }
  std::vector<GeneratedSequence> sequences;
  for (const BeamItem<T>& search : searches) {
    for (GeneratedSequence& sequence : search.result()) sequences.push_back(std::move(sequence));
  }
  return sequences;
}

}  // namespace bertgen
