// Several sequences laid one after another, without padding between them.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bertgen/core/error.hpp"
#include "bertgen/core/export.hpp"
#include "bertgen/core/token.hpp"
#include "bertgen/ops/attention.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// The rows of a batch: sequence s has rows [offsets[s], offsets[s + 1]).
struct PackedBatch {
  TokenIds input_ids;                                ///< [rows]
  TokenIds token_type_ids;                           ///< [rows], or empty: all 0
  std::vector<std::int32_t> position_ids;            ///< [rows]
  std::vector<std::size_t> offsets = {0};            ///< [batch + 1]
  std::vector<std::vector<std::int32_t>> key_lists;  ///< [batch] rows that attention may see, or empty: all

  std::size_t rows() const { return input_ids.size(); }    ///< of all sequences
  std::size_t size() const { return offsets.size() - 1; }  ///< sequences
};

/// The places of one sequence in the position table.
using PositionIds = std::vector<std::int32_t>;

/// What becomes of positions whose mask is 0. Attention sees them in neither case.
enum class HiddenPositions : bool {
  keep,  ///< they are rows of the batch, so results have the shape of the input
  drop,  ///< they are left out, which changes no other row; their positions stay counted
};

/// Throws ShapeError unless `rows`, named `field`, is empty or has the shape of `input_ids`; a row of it may be empty.
template <typename Row>
void check_parallel(const char* field, std::span<const TokenIds> input_ids, std::span<const Row> rows) {
  if (rows.empty()) return;
  if (rows.size() != input_ids.size()) {
    throw ShapeError(std::string(field) + ": expected " + std::to_string(input_ids.size()) +
                     " rows, as in input_ids, got " + std::to_string(rows.size()));
  }
  for (std::size_t s = 0; s < input_ids.size(); ++s) {
    if (rows[s].empty() || rows[s].size() == input_ids[s].size()) continue;
    throw ShapeError(std::string(field) + ": expected " + std::to_string(input_ids[s].size()) + " values in row " +
                     std::to_string(s) + ", one an id, got " + std::to_string(rows[s].size()));
  }
}

/// The positions of ids that continue a sequence of `past_length`. BERT counts from 0. With `padding_idx` they are
/// RobertaEmbeddings': padding stands at padding_idx, other ids count on behind it, over the past's padding too.
inline void write_positions(std::span<const TokenId> ids, std::size_t past_length, std::optional<TokenId> padding_idx,
                            std::int32_t* positions) {
  auto next = static_cast<std::int32_t>(past_length);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (!padding_idx) {
      positions[i] = next++;
    } else {
      positions[i] = *padding_idx + (ids[i] == *padding_idx ? 0 : ++next);
    }
  }
}

/// Lays sequences one after another. Positions are those of write_positions(), hidden ids counted too, unless
/// position_ids has them. A row of token_type_ids or position_ids may be empty: all 0, and as counted. Throws
/// ShapeError as check_parallel does.
inline PackedBatch pack(std::span<const TokenIds> input_ids, std::span<const AttentionMask> attention_mask,
                        HiddenPositions hidden, std::span<const TokenIds> token_type_ids = {},
                        std::optional<TokenId> padding_idx = std::nullopt,
                        std::span<const PositionIds> position_ids = {}) {
  check_parallel("attention_mask", input_ids, attention_mask);
  check_parallel("token_type_ids", input_ids, token_type_ids);
  check_parallel("position_ids", input_ids, position_ids);
  PackedBatch batch;
  bool any_hidden = false;
  std::vector<std::int32_t> positions;
  for (std::size_t s = 0; s < input_ids.size(); ++s) {
    const bool masked = !attention_mask.empty() && !attention_mask[s].empty();
    const bool typed = !token_type_ids.empty() && !token_type_ids[s].empty();
    std::vector<std::int32_t> keys;
    positions.resize(input_ids[s].size());
    write_positions(input_ids[s], 0, padding_idx, positions.data());
    if (!position_ids.empty() && !position_ids[s].empty()) positions = position_ids[s];
    for (std::size_t i = 0; i < input_ids[s].size(); ++i) {
      const bool visible = !masked || attention_mask[s][i] != 0;
      if (!visible && hidden == HiddenPositions::drop) continue;
      if (visible) keys.push_back(static_cast<std::int32_t>(batch.rows()));
      any_hidden = any_hidden || !visible;
      batch.input_ids.push_back(input_ids[s][i]);
      batch.position_ids.push_back(positions[i]);
      if (!token_type_ids.empty()) batch.token_type_ids.push_back(typed ? token_type_ids[s][i] : 0);
    }
    batch.offsets.push_back(batch.rows());
    batch.key_lists.push_back(std::move(keys));
  }
  if (!any_hidden) batch.key_lists.clear();
  return batch;
}

/// Sequences [first, last) of a batch, by themselves.
inline PackedBatch middle_sequences(const PackedBatch& batch, std::size_t first, std::size_t last) {
  const std::size_t begin = batch.offsets[first], end = batch.offsets[last];
  const auto rows = [&](const auto& list) {
    using List = std::decay_t<decltype(list)>;
    if (list.empty()) return List();
    return List(list.begin() + static_cast<std::ptrdiff_t>(begin), list.begin() + static_cast<std::ptrdiff_t>(end));
  };
  PackedBatch part{rows(batch.input_ids), rows(batch.token_type_ids), rows(batch.position_ids), {}, {}};
  for (std::size_t s = first; s <= last; ++s) part.offsets.push_back(batch.offsets[s] - begin);
  for (std::size_t s = first; !batch.key_lists.empty() && s < last; ++s) {
    part.key_lists.push_back(batch.key_lists[s]);
    for (std::int32_t& key : part.key_lists.back()) key -= static_cast<std::int32_t>(begin);
  }
  return part;
}

/// Where a batch is best divided for `threads` threads that take part after part: the sequences that parts begin with,
/// and the batch's size. Parts of some 256 rows, between whose products what is computed fits a core's second-level
/// cache. Only one part, in which the threads are to share each product, where more would leave a thread idle for a
/// tenth of the time, or have so few rows that each thread would wait for the weights.
inline std::vector<std::size_t> divide(const PackedBatch& batch, std::size_t threads) {
  constexpr std::size_t most_rows = 256, least_rows = 128;
  std::size_t parts = (batch.rows() + most_rows - 1) / most_rows;
  parts = (parts + threads - 1) / threads * threads;
  if (threads > 1) parts = std::min(parts, batch.rows() / least_rows / threads * threads);
  std::vector<std::size_t> begins = {0};
  std::vector<std::size_t> busy(threads);  // rows of each thread
  for (std::size_t part = 1; part <= parts; ++part) {
    const std::size_t wanted = batch.rows() * part / parts;
    auto end = std::lower_bound(batch.offsets.begin(), batch.offsets.end(), wanted);
    if (part == parts) {
      end = std::prev(batch.offsets.end());
    } else if (*end - wanted > wanted - *std::prev(end)) {
      --end;
    }
    const auto sequence = static_cast<std::size_t>(end - batch.offsets.begin());
    if (sequence <= begins.back()) continue;
    *std::min_element(busy.begin(), busy.end()) += *end - batch.offsets[begins.back()];
    begins.push_back(sequence);
  }
  const bool idle = *std::max_element(busy.begin(), busy.end()) * threads * 10 > batch.rows() * 11;
  if (begins.size() < 3 || idle) return {0, batch.size()};
  return begins;
}

/// The flags of all ids, one after another; empty if there are none. Throws ShapeError as check_parallel does.
inline AttentionMask joined_mask(std::span<const TokenIds> input_ids, std::span<const AttentionMask> attention_mask,
                                 const char* field = "attention_mask") {
  check_parallel(field, input_ids, attention_mask);
  AttentionMask mask;
  for (std::size_t s = 0; s < attention_mask.size(); ++s) {
    AttentionMask row = attention_mask[s];
    row.resize(input_ids[s].size(), 1);
    mask.insert(mask.end(), row.begin(), row.end());
  }
  return mask;
}

/// Ids in place of those of sequences with these lengths that are given as vectors: none is `padding_idx`.
inline std::vector<TokenIds> stand_in_ids(std::span<const std::size_t> lengths, std::optional<TokenId> padding_idx) {
  std::vector<TokenIds> ids;
  for (std::size_t length : lengths) ids.emplace_back(length, padding_idx == 0 ? 1 : 0);
  return ids;
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

/// The same groups, with the positions of their keys.
inline std::vector<AttentionRows> self_attention_rows(const PackedBatch& batch) {
  std::vector<AttentionRows> rows;
  for (const AttentionGroup& group : self_attention_groups(batch)) {
    std::vector<std::int32_t> places;
    for (std::size_t key = 0; group.key_index != nullptr && key < group.key_count; ++key) {
      places.push_back(group.key_index[key] - static_cast<std::int32_t>(group.query_begin));
    }
    rows.push_back({group, group.query_count, std::move(places)});
  }
  return rows;
}

}  // namespace bertgen
