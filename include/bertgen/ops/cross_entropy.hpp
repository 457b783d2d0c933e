// Log-probabilities of given targets, and the loss that is their mean.
#pragma once

#include <limits>
#include <span>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/core/tensor.hpp"
#include "bertgen/core/token.hpp"
#include "bertgen/ops/softmax.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// The label of a position that does not count (torch's ignore_index).
inline constexpr TokenId ignored_label = -100;

/// Throws ArgumentError for a label that is neither ignored nor one of `vocab_size` ids.
inline void check_labels(std::span<const TokenId> labels, std::size_t vocab_size) {
  for (TokenId label : labels) {
    if (label == ignored_label || (label >= 0 && static_cast<std::size_t>(label) < vocab_size)) continue;
    throw ArgumentError("labels: expected -100 or 0 to " + std::to_string(vocab_size - 1) + ", got " +
                        std::to_string(label));
  }
}

/// log softmax(logits[i])[labels[i]] of each label that is not ignored, in order. logits: [rows, vocab].
/// Throws ShapeError unless there is one label a row, ArgumentError for a label outside the vocabulary.
template <typename T>
std::vector<T> label_log_probs(TensorView<const T> logits, std::span<const TokenId> labels) {
  if (labels.size() != logits.rows()) {
    throw ShapeError("labels: expected " + std::to_string(logits.rows()) + ", one a position, got " +
                     std::to_string(labels.size()));
  }
  check_labels(labels, logits.cols());
  std::vector<T> log_probs;
  log_probs.reserve(labels.size());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == ignored_label) continue;
    const T* row = logits.row(i);
    log_probs.push_back(row[labels[i]] - log_sum_exp<T>({row, logits.cols()}));
  }
  return log_probs;
}

/// Mean of −log-probability over the labels that are not ignored (torch.nn.CrossEntropyLoss); NaN if all are.
template <typename T>
T cross_entropy(std::span<const T> log_probs) {
  if (log_probs.empty()) return std::numeric_limits<T>::quiet_NaN();
  T sum = 0;
  for (T log_prob : log_probs) sum -= log_prob;
  return sum / static_cast<T>(log_probs.size());
}

}  // namespace bertgen
