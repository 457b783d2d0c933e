// Beam search, as transformers 5 defines it (GenerationMixin._beam_search), and what all beam searches share.
#pragma once

#include <cmath>

#include "bertgen/core/export.hpp"
#include "bertgen/generation/random.hpp"
#include "bertgen/generation/score_rules.hpp"
#include "bertgen/generation/stepper.hpp"
#include "bertgen/generation/stopping_criteria.hpp"
#include "bertgen/generation/streamer.hpp"
#include "bertgen/ops/search.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// The settings of one beam search; all items of a batch share them.
struct BeamSettings {
  /// @{
  /// As in GenerationConfig.
  std::size_t num_beams = 2;
  std::size_t num_return_sequences = 1;
  double length_penalty = 1;
  EarlyStopping early_stopping = EarlyStopping::no;
  bool do_sample = false;
  /// @}
  std::size_t num_beam_groups = 1;  ///< of group_beam_search()
};

/// One item's search in a batch of them.
struct BeamSource {
  const GenerationItem* item;        ///< its prompt, limits and numbers
  std::size_t batch_id = 0;          ///< its place in the batch
  const RequestRandom* random = {};  ///< where candidates are drawn
};

/// transformers' stand-in for minus infinity.
template <typename T>
inline constexpr T worst_score = T(-1e9);

/// What one beam has generated, prompt included.
template <typename T>
struct Beam {
  TokenIds ids;  ///< prompt included
  T score = 0;   ///< sum of log-probabilities; of a finished one divided by length ^ length_penalty
  /// @{
  /// As in GeneratedSequence.
  std::vector<double> token_log_probs = {};
  std::vector<std::size_t> beam_indices = {};
  /// @}

  /// The beam and one token more. `row`: its own, among all beams of the batch.
  Beam extended(TokenId token, T total, T log_prob, std::size_t row) const {
    Beam beam{{}, total};
    append(ids, token, beam.ids);
    append(token_log_probs, static_cast<double>(log_prob), beam.token_log_probs);
    append(beam_indices, row, beam.beam_indices);
    return beam;
  }

 private:
  template <typename Value>
  static void append(const std::vector<Value>& from, Value value, std::vector<Value>& to) {
    to.reserve(from.size() + 1);
    to = from;
    to.push_back(value);
  }
};

/// A beam's continuation by one token.
template <typename T>
struct BeamCandidate {
  std::size_t beam;  ///< that it continues
  TokenId token;     ///< by which
  T score;           ///< of the beam and the token together
};

/// A row of the decoder's next step: which row of its item it continues, and by which token.
struct Continuation {
  std::size_t row;  ///< of the item, in the step before
  TokenId token;    ///< that it continues with
};

/// How many candidates a step takes: enough that as many as there are beams remain when all end tokens are among them.
inline std::size_t candidates_wanted(std::size_t beams, const StoppingCriteria& stopping) {
  return std::max<std::size_t>(2, 1 + stopping.eos().size()) * beams;
}

/// Log-probabilities of what follows the beams of one item: logits less a row's normaliser.
template <typename T>
struct LogProbs {
  TensorView<const T> rows;             ///< [beams, vocab], or one row for all beams
  std::span<const T> normalisers = {};  ///< [rows], or empty: zeros

  std::size_t vocab() const { return rows.cols(); }                                ///< tokens of a row
  std::size_t row(std::size_t beam) const { return rows.rows() == 1 ? 0 : beam; }  ///< of a beam
  /// Of a beam's row.
  T normaliser(std::size_t beam) const { return normalisers.empty() ? T(0) : normalisers[row(beam)]; }
  /// Of one token.
  T operator()(std::size_t beam, TokenId token) const { return rows.row(row(beam))[token] - normaliser(beam); }
};

/// The best continuations so far: of equal scores the lower beam, then the lower token is better.
template <typename T>
class BestCandidates {
 public:
  /// Keeps up to `count`.
  explicit BestCandidates(std::size_t count) : count_(count) { heap_.reserve(count + 1); }

  /// Offers all continuations of a beam with this score, one that comes after those offered before.
  void offer(std::size_t beam, T score, const LogProbs<T>& log_probs) {
    const std::span<const T> row(log_probs.rows.row(log_probs.row(beam)), log_probs.vocab());
    const T normaliser = log_probs.normaliser(beam);
    for (std::size_t token = 0; token < row.size(); ++token) {
      // Tokens come in rising order, so an equal score never displaces a kept one.
      if (heap_.size() == count_) token = find_above<T>(row, token, normaliser, score, heap_.front().score);
      if (token == row.size()) break;
      keep({beam, static_cast<TokenId>(token), score + (row[token] - normaliser)});
    }
  }
  /// Offers what others kept.
  void offer(const BestCandidates& others) {
    for (const BeamCandidate<T>& candidate : others.heap_) keep(candidate);
  }
  /// In falling order; nothing is left.
  std::vector<BeamCandidate<T>> take() {
    std::sort_heap(heap_.begin(), heap_.end(), better);
    return std::move(heap_);
  }

 private:
  static bool better(const BeamCandidate<T>& a, const BeamCandidate<T>& b) {
    if (a.score != b.score) return a.score > b.score;
    return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
  }
  void keep(const BeamCandidate<T>& candidate) {
    heap_.push_back(candidate);
    std::push_heap(heap_.begin(), heap_.end(), better);
    if (heap_.size() <= count_) return;
    std::pop_heap(heap_.begin(), heap_.end(), better);
    heap_.pop_back();
  }

  std::size_t count_;
  std::vector<BeamCandidate<T>> heap_;  // its top is the worst
};

/// Throws ArgumentError unless `beams` beams have `count` continuations.
inline void check_candidates(std::size_t beams, std::size_t vocab, std::size_t count) {
  if (count <= beams * vocab) return;
  throw ArgumentError("num_beams: expected at most " + std::to_string(vocab) +
                      " candidates a beam, the vocabulary's size, got " + std::to_string(count / beams));
}

/// The `count` best continuations of beams with these scores, in falling order; among equal ones the lower beam, then
/// the lower token comes first. Throws ArgumentError if there are fewer.
template <typename T>
std::vector<BeamCandidate<T>> best_candidates(std::span<const Beam<T>> beams, const LogProbs<T>& log_probs,
                                              std::size_t count) {
  check_candidates(beams.size(), log_probs.vocab(), count);
  BestCandidates<T> best(count);
  for (std::size_t beam = 0; beam < beams.size(); ++beam) best.offer(beam, beams[beam].score, log_probs);
  return best.take();
}

/// Of the same continuations `count` drawn without replacement, by the softmax of their scores, in the order of their
/// drawing: that is the order of score + Gumbel noise. Throws ArgumentError if fewer have a probability.
template <typename T>
std::vector<BeamCandidate<T>> drawn_candidates(std::span<const Beam<T>> beams, TensorView<const T> log_probs,
                                               std::size_t count, const RequestRandom& random, std::size_t step) {
  std::vector<BeamCandidate<T>> candidates;
  T largest = processors::banned<T>;
  for (std::size_t beam = 0; beam < beams.size(); ++beam) {
    const T* row = log_probs.row(log_probs.rows() == 1 ? 0 : beam);
    for (std::size_t token = 0; token < log_probs.cols(); ++token) {
      const T score = beams[beam].score + row[token];
      if (!(score > processors::banned<T>)) continue;
      candidates.push_back({beam, static_cast<TokenId>(token), score});
      largest = std::max(largest, score);
    }
  }
  std::erase_if(candidates, [largest](const auto& c) { return std::exp(c.score - largest) == 0; });
  if (candidates.size() < count) {
    throw ArgumentError("do_sample with num_beams: expected the cut-offs to leave " + std::to_string(count) +
                        " candidates, got " + std::to_string(candidates.size()));
  }
  std::vector<std::pair<double, std::size_t>> keys;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const std::size_t index = candidates[i].beam * log_probs.cols() + static_cast<std::size_t>(candidates[i].token);
    const double uniform = 1 - random.uniform(step, index);  // in (0, 1]
    keys.emplace_back(static_cast<double>(candidates[i].score) - std::log(-std::log(uniform)), i);
  }
  std::partial_sort(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(count), keys.end(), std::greater<>());
  std::vector<BeamCandidate<T>> drawn;
  for (std::size_t i = 0; i < count; ++i) drawn.push_back(candidates[keys[i].second]);
  return drawn;
}

/// The search for one item: no item's result depends on another's.
template <typename T>
class BeamItem {
 public:
  /// Begins with the prompt. The arguments must outlive it.
  BeamItem(const BeamSource& source, const BeamSettings& settings, const StoppingCriteria& stopping)
      : source_(source), settings_(&settings), stopping_(&stopping) {
    running_.assign(settings.num_beams, {source.item->prompt, worst_score<T>});
    // Only the first counts at first: the others would be copies of it.
    running_[0].score = 0;
    finished_.assign(settings.num_beams, {{source.item->prompt, worst_score<T>}, false});
  }

  const std::vector<Beam<T>>& running() const { return running_; }  ///< best first
  bool done() const { return done_; }                               ///< no step is needed any more

  /// One step, by the logits of the rows that the last one asked for; at first one row serves all beams. Sets `next`;
  /// empty when the search is over.
  void step(TensorView<T> logits, const ScoreRules<T>& rules, std::vector<Continuation>& next) {
    rules.apply(contexts(logits.rows()), logits, first_row(), running_.size() / logits.rows());
    const std::size_t generated = running_[0].ids.size() - source_.item->prompt.size();
    advance(settings_->do_sample ? drawn_candidates<T>(running_, logits, wanted(), *source_.random, generated)
                                 : best_candidates<T>(running_, {logits}, wanted()),
            {logits}, next);
  }

  /// Whether a step is process(), best_of_row() and advance().
  bool takes_best(const ScoreRules<T>& rules) const { return rules.normalises_first() && !settings_->do_sample; }
  /// ScoreRules::process() of this item's rows.
  void process(TensorView<T> log_probs, const ScoreRules<T>& rules) const {
    rules.process(contexts(log_probs.rows()), log_probs, first_row(), running_.size() / log_probs.rows());
  }
  /// The best continuations of the beams of one row of logits. Throws ArgumentError if all have fewer than are wanted.
  BestCandidates<T> best_of_row(std::size_t row, const LogProbs<T>& log_probs) const {
    check_candidates(running_.size(), log_probs.vocab(), wanted());
    BestCandidates<T> best(wanted());
    for (std::size_t beam = 0; beam < running_.size(); ++beam) {
      if (log_probs.row(beam) == row) best.offer(beam, running_[beam].score, log_probs);
    }
    return best;
  }

  /// Chooses among candidates: the best, in falling order of score, or those drawn, in the order of their drawing.
  void advance(std::span<const BeamCandidate<T>> candidates, const LogProbs<T>& log_probs,
               std::vector<Continuation>& next) {
    const auto beams = static_cast<std::ptrdiff_t>(settings_->num_beams);
    const std::size_t generated = running_[0].ids.size() + 1 - source_.item->prompt.size();
    ++steps_;
    std::vector<T> scores;  // of running on; what is complete does only where nothing else is possible
    bool all_complete = true;
    for (const BeamCandidate<T>& candidate : candidates) {
      const bool complete = (*stopping_)(*source_.item, running_[candidate.beam].ids, candidate.token);
      if (complete && static_cast<std::ptrdiff_t>(scores.size()) < beams) {
        finish(extended(candidate, candidate.score / divisor(generated), log_probs));
      }
      scores.push_back(candidate.score + (complete ? worst_score<T> : T(0)));
      all_complete = all_complete && complete;
    }
    std::vector<std::size_t> order(candidates.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
    order.resize(settings_->num_beams);
    std::vector<Beam<T>> running;
    next.clear();
    for (std::size_t i : order) {
      running.push_back(extended(candidates[i], scores[i], log_probs));
      next.push_back({log_probs.row(candidates[i].beam), candidates[i].token});
    }
    running_ = std::move(running);
    done_ = all_complete || full() || !can_improve(generated);
    if (done_) next.clear();
  }

  /// Calls visit(ids) for everything that the best answer may begin with.
  template <typename Visitor>
  void for_each_beam(Visitor visit) const {
    for (const Beam<T>& beam : running_) visit(beam.ids);
    for (const Hypothesis& hypothesis : finished_) {
      if (hypothesis.complete) visit(hypothesis.beam.ids);
    }
  }

  /// The best finished hypotheses, best first. Where there are too few, as when all tokens are suppressed, the prompt
  /// stands for one.
  std::vector<GeneratedSequence> result() const {
    std::vector<GeneratedSequence> sequences;
    for (std::size_t i = 0; i < settings_->num_return_sequences; ++i) {
      const Beam<T>& beam = finished_[i].beam;
      sequences.push_back({beam.ids, static_cast<double>(beam.score), beam.token_log_probs, beam.beam_indices, steps_});
    }
    return sequences;
  }

 private:
  struct Hypothesis {
    Beam<T> beam;
    bool complete;  // otherwise it only holds a place, as in transformers
  };

  std::size_t first_row() const { return source_.batch_id * settings_->num_beams; }
  T divisor(std::size_t generated) const {
    return static_cast<T>(std::pow(static_cast<double>(generated), settings_->length_penalty));
  }
  std::vector<LogitsContext> contexts(std::size_t rows) const {
    std::vector<LogitsContext> contexts;
    const GenerationItem& item = *source_.item;
    for (std::size_t i = 0; i < rows; ++i) {
      contexts.push_back({running_[i].ids, item.encoder_ids, item.prompt.size(), item.max_length, source_.batch_id});
    }
    return contexts;
  }
  std::size_t wanted() const { return candidates_wanted(running_.size(), *stopping_); }
  Beam<T> extended(const BeamCandidate<T>& candidate, T score, const LogProbs<T>& log_probs) const {
    return running_[candidate.beam].extended(candidate.token, score, log_probs(candidate.beam, candidate.token),
                                             first_row() + candidate.beam);
  }

  /// The best num_beams stay, older ones before newer ones of the same score.
  void finish(Beam<T> beam) {
    const auto place = std::upper_bound(finished_.begin(), finished_.end(), beam.score,
                                        [](T score, const Hypothesis& other) { return score > other.beam.score; });
    finished_.insert(place, {std::move(beam), true});
    finished_.pop_back();
  }

  bool all_finished() const {
    return std::all_of(finished_.begin(), finished_.end(), [](const Hypothesis& h) { return h.complete; });
  }
  /// early_stopping with enough hypotheses: none is accepted any more.
  bool full() const { return settings_->early_stopping == EarlyStopping::yes && all_finished(); }

  /// Whether the best running beam may still beat the worst hypothesis, by transformers' estimate.
  bool can_improve(std::size_t generated) const {
    const bool any_length = settings_->early_stopping == EarlyStopping::never && settings_->length_penalty > 0;
    const std::size_t length = any_length ? source_.item->max_length - source_.item->prompt.size() : generated;
    const T to_beat = all_finished() ? finished_.back().beam.score : worst_score<T>;
    return running_[0].score / divisor(length) > to_beat;
  }

  BeamSource source_;
  const BeamSettings* settings_;
  const StoppingCriteria* stopping_;
  std::vector<Beam<T>> running_;      // num_beams, best first
  std::vector<Hypothesis> finished_;  // num_beams, best first
  std::size_t steps_ = 0;
  bool done_ = false;
};

/// What all beams of a search share.
template <typename Search>
TokenIds shared_prefix(const Search& search) {
  std::optional<TokenIds> shared;
  search.for_each_beam([&shared](const TokenIds& ids) {
    if (!shared) shared = ids;
    shared->erase(std::mismatch(shared->begin(), shared->end(), ids.begin(), ids.end()).first, shared->end());
  });
  return *shared;
}

/// The best continuations of every row of a step, found on several threads, and each item's among them.
template <typename T>
class StepCandidates {
 public:
  /// live: the searches that take part, with so many rows each, of logits in their order; these may be replaced.
  /// Throws as best_of_row() and the rules.
  template <typename Search>
  void find(Stepper<T>& stepper, TensorView<T> logits, std::span<const Search> searches,
            std::span<const std::size_t> live, std::span<const std::size_t> counts, const ScoreRules<T>& rules) {
    rows_ = logits;
    normalisers_.assign(rules.plain() ? logits.rows() : 0, T(0));
    places_.clear();
    if (!rules.plain()) log_softmax_rows<T>(logits, stepper.threads());
    for (std::size_t i = 0, first = 0; i < live.size(); first += counts[i++]) {
      if (!rules.plain()) searches[live[i]].process(logits.middle_rows(first, counts[i]), rules);
      places_.insert(places_.end(), counts[i], {live[i], first, counts[i]});
    }
    best_.assign(logits.rows(), BestCandidates<T>(0));
    const std::size_t parts = std::min(logits.rows(), static_cast<std::size_t>(stepper.threads()));
    stepper.for_each(parts, [&](std::size_t part) {
      // The last of the rows that this thread has normalised are still in its core's cache, the first no more.
      for (std::size_t row = logits.rows() * (part + 1) / parts; row-- > logits.rows() * part / parts;) {
        const Place& place = places_[row];
        // Of plain logits, a row is read again while the core has it, and not written.
        if (!normalisers_.empty()) normalisers_[row] = log_sum_exp<T>({logits.row(row), logits.cols()});
        best_[row] = searches[place.search].best_of_row(row - place.first, of(place.first, place.count));
      }
    });
  }
  /// Of the rows [first, first + count) of logits.
  LogProbs<T> of(std::size_t first, std::size_t count) const {
    const std::span<const T> all(normalisers_);
    return {rows_.middle_rows(first, count), all.empty() ? all : all.subspan(first, count)};
  }
  /// The best continuations of one item's rows, in falling order. Once a step.
  std::vector<BeamCandidate<T>> best(std::size_t first, std::size_t count) {
    for (std::size_t row = first + 1; row < first + count; ++row) best_[first].offer(best_[row]);
    return best_[first].take();
  }

 private:
  struct Place {
    std::size_t search;
    std::size_t first;  ///< row of the same search
    std::size_t count;  ///< of its rows
  };
  TensorView<const T> rows_;
  std::vector<T> normalisers_;           // [rows], or empty where the rows are normalised
  std::vector<Place> places_;            // [rows]
  std::vector<BestCandidates<T>> best_;  // [rows]
};

/// Runs the searches of all items together; one that is done takes no further part. Each has the step(),
/// for_each_beam() and result() of BeamItem. Result: their sequences, in order. `streams`: get what all beams of an
/// item share, in the end the rest of the best sequence.
template <typename T, typename Search>
std::vector<GeneratedSequence> run_beams(Stepper<T>& stepper, std::span<const GenerationItem> items,
                                         std::vector<Search>& searches, const ScoreRules<T>& rules,
                                         StoppingCriteria& stopping, detail::Streams* streams) {
  std::vector<std::size_t> live(searches.size());  // searches that are not done
  std::iota(live.begin(), live.end(), std::size_t{0});
  std::vector<std::size_t> counts(live.size(), 1);  // rows of each of them; at first its beams are still the same
  TensorView<T> logits = stepper.prefill(items);
  std::vector<Continuation> next;
  TokenIds chosen;
  std::vector<std::size_t> parents;
  StepCandidates<T> candidates;
  constexpr bool may_take_best = requires(const Search& search) { search.takes_best(rules); };
  while (!live.empty()) {
    stopping.begin_step();
    bool found = false;
    if constexpr (may_take_best) {
      // One thread finds an item's candidates sooner behind normalising its rows than behind all of them.
      found = searches[live[0]].takes_best(rules) && (rules.plain() || stepper.threads() > 1);
      if (found) candidates.template find<Search>(stepper, logits, searches, live, counts, rules);
    }
    chosen.clear();
    parents.clear();
    std::size_t kept = 0;
    std::size_t row = 0;
    for (std::size_t i = 0; i < live.size(); ++i) {
      Search& search = searches[live[i]];
      if constexpr (may_take_best) {
        if (found) search.advance(candidates.best(row, counts[i]), candidates.of(row, counts[i]), next);
      }
      if (!found) search.step(logits.middle_rows(row, counts[i]), rules, next);
      if (streams != nullptr && streams->wanted(live[i])) {
        streams->put(live[i], next.empty() ? search.result().front().ids : shared_prefix(search));
        if (next.empty()) streams->end(live[i]);
      }
      for (const Continuation& continuation : next) {
        parents.push_back(row + continuation.row);
        chosen.push_back(continuation.token);
      }
      row += counts[i];
      if (next.empty()) continue;
      live[kept] = live[i];
      counts[kept++] = next.size();
    }
    live.resize(kept);
    counts.resize(kept);
    if (live.empty()) break;
    stepper.reorder(parents);
    logits = stepper.next(chosen);
  }
  std::vector<GeneratedSequence> sequences;
  for (const Search& search : searches) {
    for (GeneratedSequence& sequence : search.result()) sequences.push_back(std::move(sequence));
  }
  return sequences;
}

/// One BeamSource an item. randoms: one an item, where candidates are drawn, else empty.
inline std::vector<BeamSource> beam_sources(std::span<const GenerationItem> items,
                                            std::span<const RequestRandom> randoms = {}) {
  std::vector<BeamSource> sources;
  for (std::size_t i = 0; i < items.size(); ++i) {
    sources.push_back({&items[i], i, randoms.empty() ? nullptr : &randoms[i]});
  }
  return sources;
}

/// num_return_sequences sequences an item, in order, best first. Throws ArgumentError if a step has fewer candidates
/// than it needs.
template <typename T>
std::vector<GeneratedSequence> beam_search(Stepper<T>& stepper, std::span<const GenerationItem> items,
                                           const BeamSettings& settings, const ScoreRules<T>& rules,
                                           StoppingCriteria& stopping, std::span<const RequestRandom> randoms = {},
                                           detail::Streams* streams = nullptr) {
  std::vector<BeamItem<T>> searches;
  for (const BeamSource& source : beam_sources(items, randoms)) searches.emplace_back(source, settings, stopping);
  return run_beams<T>(stepper, items, searches, rules, stopping, streams);
}

}  // namespace bertgen
