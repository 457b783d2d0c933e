// What a search starts from, when it ends, and what it gives.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "bertgen/core/token.hpp"

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
  /// Beam search: transformers' sequences_scores. Otherwise the sum of token_log_probs.
  double score = 0;
  /// Of each generated id: in beam search its processed log-probability, whose sum divided by length ^ length_penalty
  /// is the score; otherwise the log softmax of the processed scores.
  std::vector<double> token_log_probs = {};
  /// Beam search: of each generated id the beam that it continued, as a row of GenerateOutput::scores.
  std::vector<std::size_t> beam_indices = {};
  std::size_t steps = 0;  ///< decoder passes of its search; fewer than its generated ids where guesses came true
};

/// When a sequence is complete (transformers' StoppingCriteriaList): at max_length, or by an end token.
class StoppingCriteria {
 public:
  explicit StoppingCriteria(TokenIds eos = {}) : eos_(std::move(eos)) {}

  const TokenIds& eos() const { return eos_; }
  bool is_eos(TokenId id) const { return std::find(eos_.begin(), eos_.end(), id) != eos_.end(); }
  /// Whether `token` behind `ids` completes a sequence of the item.
  bool operator()(const GenerationItem& item, std::span<const TokenId> ids, TokenId token) const {
    return ids.size() + 1 >= item.max_length || is_eos(token);
  }

 private:
  TokenIds eos_;
};

}  // namespace bertgen
