// The decoder as the searches see it: rows of ids in, scores of the next id out.
#pragma once

#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

#include "bertgen/generation/logits_processor.hpp"
#include "bertgen/models/encoder_decoder.hpp"

namespace bertgen {

/// One source to generate from, with what its search starts from.
struct GenerationItem {
  TokenIds encoder_ids;        ///< as given, hidden positions included
  TokenIds prompt;             ///< the decoder's first ids, start token included
  std::size_t max_length = 0;  ///< ids at which its sequences end
};

/// One generated sequence.
struct GeneratedSequence {
  TokenIds ids;  ///< prompt, generated ids, and the end token if it ended by one
  /// Beam search: transformers' sequences_scores. Greedy: the sum of token_log_probs.
  double score = 0;
  std::vector<double> token_log_probs;  ///< greedy: log softmax of the processed scores of each generated id
};

/// Runs the decoder step by step over rows that each continue one item. Holds its buffers in `workspace` while it
/// lives.
template <typename T>
class Stepper {
 public:
  /// `cache` attends to the items' sources, one row each. At most `most_rows` rows will be alive at a time.
  Stepper(const BasicDecoder<T>& decoder, EncoderDecoderCache<T>& cache, std::span<const GenerationItem> items,
          std::size_t most_rows, Workspace& workspace)
      : decoder_(decoder), cache_(cache), workspace_(workspace), scope_(workspace) {
    std::size_t tokens = 0;
    for (const GenerationItem& item : items) tokens += item.prompt.size();
    const std::size_t rows = std::max(most_rows, items.size());
    hidden_ = scope_.template take<T>({std::max(tokens, rows), decoder.config().hidden_size});
    last_ = scope_.template take<T>({rows, decoder.config().hidden_size});
    logits_ = scope_.template take<T>({rows, decoder.config().vocab_size});
    offsets_.resize(rows + 1);
    std::iota(offsets_.begin(), offsets_.end(), std::size_t{0});
  }

  /// Runs the prompts. Result: [items, vocab], valid until the next call.
  TensorView<T> prefill(std::span<const GenerationItem> items) {
    TokenIds ids;
    std::vector<std::size_t> offsets = {0};
    for (const GenerationItem& item : items) {
      ids.insert(ids.end(), item.prompt.begin(), item.prompt.end());
      offsets.push_back(ids.size());
    }
    decoder_.forward(ids, offsets, {}, cache_, hidden_.middle_rows(0, ids.size()), workspace_);
    for (std::size_t i = 0; i < items.size(); ++i) {
      std::copy_n(hidden_.row(offsets[i + 1] - 1), hidden_.cols(), last_.row(i));
    }
    return scores(last_, items.size());
  }

  /// Gives every row its next id. Result: [rows, vocab], valid until the next call.
  TensorView<T> next(std::span<const TokenId> ids) {
    decoder_.forward(ids, {offsets_.data(), ids.size() + 1}, {}, cache_, hidden_.middle_rows(0, ids.size()),
                     workspace_);
    return scores(hidden_, ids.size());
  }

  /// Row i continues what was row parents[i].
  void reorder(std::span<const std::size_t> parents) { cache_.reorder(parents); }

 private:
  TensorView<T> scores(TensorView<T> hidden, std::size_t rows) {
    const TensorView<T> logits = logits_.middle_rows(0, rows);
    decoder_.logits(hidden.middle_rows(0, rows), logits, workspace_);
    return logits;
  }

  const BasicDecoder<T>& decoder_;
  EncoderDecoderCache<T>& cache_;
  Workspace& workspace_;
  Workspace::Scope scope_;
  TensorView<T> hidden_;  // [tokens of the longest step, hidden]
  TensorView<T> last_;    // [rows, hidden]
  TensorView<T> logits_;  // [rows, vocab]
  std::vector<std::size_t> offsets_;
};

/// Applies every rule to one row of scores.
template <typename T>
void process(const LogitsProcessors<T>& processors, const LogitsContext& context, std::span<T> scores) {
  for (const auto& processor : processors) processor->process(context, scores);
}

inline bool ends(const TokenIds& eos, TokenId id) { return std::find(eos.begin(), eos.end(), id) != eos.end(); }

}  // namespace bertgen
