// Several sequences laid one after another, without padding between them.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "bertgen/core/error.hpp"
#include "bertgen/core/token.hpp"
#include "bertgen/ops/attention.hpp"

namespace bertgen {

/// The rows of a batch: sequence s has rows [offsets[s], offsets[s + 1]).
struct PackedBatch {
  TokenIds input_ids;                                // [rows]
  std::vector<std::int32_t> position_ids;            // [rows]
  std::vector<std::size_t> offsets = {0};            // [batch + 1]
  std::vector<std::vector<std::int32_t>> key_lists;  // [batch] rows that attention may see, or empty: all

  std::size_t rows() const { return input_ids.size(); }
  std::size_t size() const { return offsets.size() - 1; }
};

/// What becomes of positions whose mask is 0. Attention sees them in neither case.
enum class HiddenPositions : bool {
  keep,  ///< they are rows of the batch, so results have the shape of the input
  drop,  ///< they are left out, which changes no other row; their positions stay counted
};

/// Throws ShapeError unless `attention_mask` is empty or has the shape of `input_ids`.
inline void check_mask(std::span<const TokenIds> input_ids, std::span<const AttentionMask> attention_mask) {
  if (attention_mask.empty()) return;
  if (attention_mask.size() != input_ids.size()) {
    throw ShapeError("attention_mask: expected " + std::to_string(input_ids.size()) + " rows, as in input_ids, got " +
                     std::to_string(attention_mask.size()));
  }
  for (std::size_t s = 0; s < input_ids.size(); ++s) {
    if (attention_mask[s].empty() || attention_mask[s].size() == input_ids[s].size()) continue;
    throw ShapeError("attention_mask: expected " + std::to_string(input_ids[s].size()) + " values in row " +
                     std::to_string(s) + ", one an id, got " + std::to_string(attention_mask[s].size()));
  }
}

/// Lays sequences one after another. Positions count from 0 in each, hidden ones included
/// (BertGenerationEmbeddings). Throws ShapeError as check_mask does.
inline PackedBatch pack(std::span<const TokenIds> input_ids, std::span<const AttentionMask> attention_mask,
                        HiddenPositions hidden) {
  check_mask(input_ids, attention_mask);
  PackedBatch batch;
  bool any_hidden = false;
  for (std::size_t s = 0; s < input_ids.size(); ++s) {
    const bool masked = !attention_mask.empty() && !attention_mask[s].empty();
    std::vector<std::int32_t> keys;
    for (std::size_t i = 0; i < input_ids[s].size(); ++i) {
      const bool visible = !masked || attention_mask[s][i] != 0;
      if (!visible && hidden == HiddenPositions::drop) continue;
      if (visible) keys.push_back(static_cast<std::int32_t>(batch.rows()));
      any_hidden = any_hidden || !visible;
      batch.input_ids.push_back(input_ids[s][i]);
      batch.position_ids.push_back(static_cast<std::int32_t>(i));
    }
    batch.offsets.push_back(batch.rows());
    batch.key_lists.push_back(std::move(keys));
  }
  if (!any_hidden) batch.key_lists.clear();
  return batch;
}

/// Groups in which each sequence attends to all of itself that is visible. Refers to the batch.
inline std::vector<AttentionGroup> self_attention_groups(const PackedBatch& batch) {
  std::vector<AttentionGroup> groups;
  groups.reserve(batch.size());
  for (std::size_t s = 0; s < batch.size(); ++s) {
    const std::size_t begin = batch.offsets[s];
    const std::size_t count = batch.offsets[s + 1] - begin;
    AttentionGroup group{begin, count, begin, count, nullptr, nullptr};
    if (!batch.key_lists.empty()) {
      group.key_index = batch.key_lists[s].data();
      group.key_count = batch.key_lists[s].size();
    }
    groups.push_back(group);
  }
  return groups;
}

}  // namespace bertgen
