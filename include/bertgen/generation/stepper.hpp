// The decoder as the searches see it: rows of ids in, scores of the next id out.
#pragma once

#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/generation/sequence.hpp"
#include "bertgen/models/encoder_decoder.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// What a search needs room for.
struct StepLimits {
  std::size_t rows = 1;     ///< alive at a time
  std::size_t guesses = 0;  ///< ids that a row takes in a step beside one
  std::size_t scored = 0;   ///< ids that are scored in a step; 0: all
};

/// Runs the decoder step by step over rows that each continue one item. Holds its buffers in `workspace` while it
/// lives; hidden states are valid until the next run, scores until the next scores.
template <typename T>
class Stepper {
 public:
  /// `cache` attends to the items' sources, one row each.
  Stepper(const BasicDecoder<T>& decoder, EncoderDecoderCache<T>& cache, std::span<const GenerationItem> items,
          StepLimits limits, Workspace& workspace)
      : decoder_(decoder), cache_(cache), workspace_(workspace), scope_(workspace) {
    const std::size_t rows = std::max(limits.rows, items.size());
    const std::size_t tokens = rows * (1 + limits.guesses);
    const std::size_t scored = limits.scored == 0 ? tokens : limits.scored;
    std::size_t prompts = items.size() * limits.guesses;
    for (const GenerationItem& item : items) prompts += item.prompt.size();
    hidden_ = scope_.template take<T>({std::max(tokens, prompts), decoder.config().hidden_size});
    chosen_ = scope_.template take<T>({scored, decoder.config().hidden_size});
    logits_ = scope_.template take<T>({scored, decoder.config().vocab_size});
    offsets_.resize(rows + 1);
    std::iota(offsets_.begin(), offsets_.end(), std::size_t{0});
  }

  const TransformerConfig& config() const { return decoder_.config(); }  ///< of the decoder
  int threads() const { return workspace_.threads(); }                   ///< that its computations may use
  /// Calls body(index) for every index below `count`, on these threads. Throws as Workspace::for_each().
  template <typename Body>
  void for_each(std::size_t count, const Body& body) {
    workspace_.for_each(count, [&body](std::size_t index, Workspace&) { body(index); });
  }

  /// Gives row r the ids at [offsets[r], offsets[r + 1]). Result: the decoder's last hidden states, [ids, hidden].
  TensorView<const T> run(std::span<const TokenId> ids, std::span<const std::size_t> offsets) {
    tokens_ = ids.size();
    decoder_.forward(ids, offsets, {}, cache_, hidden_.middle_rows(0, tokens_), workspace_);
    return hidden();
  }
  /// Gives every row one id.
  TensorView<const T> run(std::span<const TokenId> ids) { return run(ids, {offsets_.data(), ids.size() + 1}); }

  /// What the last run returned.
  TensorView<const T> hidden() const { return hidden_.middle_rows(0, tokens_); }

  /// Scores of what follows each id of the last run, [ids, vocab].
  TensorView<T> scores() { return scores_of(hidden_.middle_rows(0, tokens_)); }
  /// Of what follows some of them, counted as they were given: [chosen, vocab].
  TensorView<T> scores(std::span<const std::size_t> chosen) {
    for (std::size_t i = 0; i < chosen.size(); ++i) std::copy_n(hidden_.row(chosen[i]), hidden_.cols(), chosen_.row(i));
    return scores_of(chosen_.middle_rows(0, chosen.size()));
  }

  /// Runs the prompts. Result: scores of what follows each, [items, vocab].
  TensorView<T> prefill(std::span<const GenerationItem> items) {
    TokenIds ids;
    std::vector<std::size_t> offsets = {0};
    std::vector<std::size_t> last;
    for (const GenerationItem& item : items) {
      ids.insert(ids.end(), item.prompt.begin(), item.prompt.end());
      offsets.push_back(ids.size());
      last.push_back(ids.size() - 1);
    }
    run(ids, offsets);
    return scores(last);
  }
  /// Gives every row its next id. Result: [rows, vocab].
  TensorView<T> next(std::span<const TokenId> ids) {
    run(ids);
    return scores();
  }

  /// Row i continues what was row parents[i].
  void reorder(std::span<const std::size_t> parents) { cache_.reorder(parents); }
  /// Takes back the last counts[r] ids of each row r.
  void drop_last(std::span<const std::size_t> counts) { cache_.drop_last(counts); }

 private:
  TensorView<T> scores_of(TensorView<T> hidden) {
    const TensorView<T> logits = logits_.middle_rows(0, hidden.rows());
    decoder_.logits(hidden, logits, workspace_);
    return logits;
  }

  const BasicDecoder<T>& decoder_;
  EncoderDecoderCache<T>& cache_;
  Workspace& workspace_;
  Workspace::Scope scope_;
  TensorView<T> hidden_;  // [ids of the longest step, hidden]
  TensorView<T> chosen_;  // [scored ids, hidden]
  TensorView<T> logits_;  // [scored ids, vocab]
  std::size_t tokens_ = 0;
  std::vector<std::size_t> offsets_;  // 0, 1, 2, …
};

}  // namespace bertgen
