// Scaled dot-product attention over rows packed without padding.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <span>
#include <vector>

#include "bertgen/core/bfloat16.hpp"
#include "bertgen/core/export.hpp"
#include "bertgen/core/tensor.hpp"
#include "bertgen/core/workspace.hpp"
#include "bertgen/ops/softmax.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Consecutive query rows that look at one list of keys: a source sentence, a decoder row with its history, or the
/// beams of one source. What a mask would hide is left out of the list, so no mask is needed.
struct AttentionGroup {
  std::size_t query_begin = 0;  ///< first row of the queries
  std::size_t query_count = 0;  ///< rows of the queries
  std::size_t key_begin = 0;    ///< row of the first key, unless key_index says where each key is
  std::size_t key_count = 0;    ///< keys that there are; `visible` says how many a query sees
  /// [key_count] rows of the keys, or null: the key_count rows from key_begin.
  const std::int32_t* key_index = nullptr;
  /// [query_count] how many keys, counted from the first, each query sees; or null: all of them.
  const std::int32_t* visible = nullptr;

  /// Row of the key-th key.
  std::size_t key_row(std::size_t key) const {
    return key_index != nullptr ? static_cast<std::size_t>(key_index[key]) : key_begin + key;
  }
  /// How many keys, counted from the first, a query of the group sees.
  std::size_t keys_of(std::size_t query) const {
    return visible != nullptr ? static_cast<std::size_t>(visible[query]) : key_count;
  }
};

/// For each group, each query row q in it and each head: context = Σ_k softmax_k(q·k / √head_dim) v_k.
/// queries, context: [rows, heads · head_dim]; keys, values: [key rows, heads · head_dim]. A query that sees no key
/// gets zero, as torch's scaled_dot_product_attention gives. A row's result depends on its group alone. Sums and
/// softmax are of T, or for BFloat16 of float, and the result is rounded to T. Of BFloat16, so are the weights of
/// groups of more than eight queries, where the CPU has instructions for its products that are faster than those for
/// floats.
template <typename T>
void attention(TensorView<const T> queries, TensorView<const T> keys, TensorView<const T> values,
               std::span<const AttentionGroup> groups, std::size_t heads, TensorView<T> context, Workspace& workspace) {
  const std::size_t head_dim = queries.cols() / heads;
  const T scale = T(1) / std::sqrt(static_cast<T>(head_dim));
  for (const AttentionGroup& group : groups) {
    Workspace::Scope scope(workspace);
    const auto scores = scope.take<T>({1, group.key_count});
    for (std::size_t head = 0; head < heads; ++head) {
      const auto q = queries.middle_cols(head * head_dim, head_dim);
      const auto k = keys.middle_cols(head * head_dim, head_dim);
      const auto v = values.middle_cols(head * head_dim, head_dim);
      for (std::size_t query = 0; query < group.query_count; ++query) {
        const auto q_row = q.middle_rows(group.query_begin + query, 1).matrix();  // [1, head_dim]
        const std::size_t seen = group.keys_of(query);
        for (std::size_t key = 0; key < seen; ++key) {
          const auto k_row = k.middle_rows(group.key_row(key), 1).matrix();  // [1, head_dim]
          scores.data()[key] = q_row.row(0).dot(k_row.row(0)) * scale;
        }
        softmax<T>({scores.data(), seen});
        auto out = context.middle_cols(head * head_dim, head_dim).middle_rows(group.query_begin + query, 1).matrix();
        out.setZero();
        for (std::size_t key = 0; key < seen; ++key) {
          out += scores.data()[key] * v.middle_rows(group.key_row(key), 1).matrix();
        }
      }
    }
  }
}
/// One sequence's part of an attention, with the place of each key among all positions of its sequence.
struct AttentionRows {
  AttentionGroup group;                  ///< its queries and keys
  std::size_t positions = 0;             ///< keys, hidden ones included
  std::vector<std::int32_t> place = {};  ///< [key_count]; empty: 0, 1, 2, …
};

/// What attention() weights the values by, once more and for looking at only: of each sequence
/// [heads, queries, positions], 0 where a query does not see a key.
template <typename T, typename V>
std::vector<Tensor<T>> attention_weights(TensorView<const V> queries, TensorView<const V> keys,
                                         std::span<const AttentionRows> sequences, std::size_t heads) {
  const std::size_t head_dim = queries.cols() / heads;
  const T scale = T(1) / std::sqrt(static_cast<T>(head_dim));
  std::vector<Tensor<T>> all;
  for (const auto& [group, positions, place] : sequences) {
    Tensor<T> weights({heads, group.query_count, positions});
    std::vector<T> scores;
    for (std::size_t i = 0; i < heads * group.query_count; ++i) {
      const std::size_t query = i % group.query_count;
      const std::size_t first = i / group.query_count * head_dim;  // column of its head
      const V* q = queries.row(group.query_begin + query) + first;
      scores.clear();
      for (std::size_t key = 0; key < group.keys_of(query); ++key) {
        const V* k = keys.row(group.key_row(key)) + first;
        const auto times = [](V x, V y) { return static_cast<T>(x) * static_cast<T>(y); };
        scores.push_back(std::inner_product(q, q + head_dim, k, T(0), std::plus<>(), times) * scale);
      }
      softmax<T>(scores);
      for (std::size_t key = 0; key < scores.size(); ++key) {
        weights[i * positions + (place.empty() ? key : static_cast<std::size_t>(place[key]))] = scores[key];
      }
    }
    all.push_back(std::move(weights));
  }
  return all;
}

template <>
void attention<float>(TensorView<const float> queries, TensorView<const float> keys, TensorView<const float> values,
                      std::span<const AttentionGroup> groups, std::size_t heads, TensorView<float> context,
                      Workspace& workspace);
/// The same of BFloat16.
template <>
void attention<BFloat16>(TensorView<const BFloat16> queries, TensorView<const BFloat16> keys,
                         TensorView<const BFloat16> values, std::span<const AttentionGroup> groups, std::size_t heads,
                         TensorView<BFloat16> context, Workspace& workspace);

}  // namespace bertgen
