// What a search starts from, and what it gives.
#pragma once

#include <cstddef>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/core/token.hpp"

namespace BERTGEN_PUBLIC bertgen {

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

}  // namespace bertgen
