// Attention of many queries: keys and values of a head become the panels of two products. And what that of few shares
// with it. Included once per target, as Highway's own -inl.h files.
#include <cstring>
#include <limits>

#include "bertgen/ops/attention.hpp"
#include "kernels/kernels.hpp"
#include "kernels/vectors-inl.hpp"

#ifndef BERTGEN_KERNELS_ATTENTION_SIZES  // what no target changes
#define BERTGEN_KERNELS_ATTENTION_SIZES
namespace bertgen::kernels {
constexpr std::size_t widest_vector = 16;  // floats
// Queries whose scores are held at a time: a multiple of the panel kernels' rows, of floats and of pairs.
constexpr std::size_t query_block = 24;
constexpr std::size_t pair_query_block = 32;

/// Where a head's parts lie in scratch, in floats; all begin at a cache line.
struct HeadScratch {
  std::size_t scores, keys, values, tile, queries, weights, row, size;
};
/// For products of floats: scores [query_block, padded keys], keys in panels of [head_dim, 64], values in panels of
/// [keys, 64], and a tile [query_block, 64] for columns that are not a whole panel. Queries and the rows of 64 keys
/// have room where they must be widened.
inline HeadScratch float_scratch(std::size_t keys, std::size_t head_dim, bool widened) {
  const std::size_t padded = round_up(keys, panel_columns);
  const std::size_t row = widened ? round_up(head_dim, widest_vector) : 0;
  HeadScratch at{};
  at.keys = query_block * padded;
  at.values = at.keys + head_dim * padded;
  at.tile = at.values + keys * round_up(head_dim, panel_columns);
  at.queries = at.tile + query_block * panel_columns;
  at.row = at.queries + query_block * row;
  at.size = at.row + panel_columns * row;
  return at;
}
/// Pairs of bf16, a float's bytes each, that products are given for so many numbers.
constexpr std::size_t pairs_of(std::size_t count) { return round_up((count + 1) / 2, step_padding); }
/// For products of pairs: keys and values are in panels of pairs, queries, weights and the rows of 64 keys are rows of
/// pairs.
inline HeadScratch pair_scratch(std::size_t keys, std::size_t head_dim) {
  const std::size_t padded = round_up(keys, panel_columns);
  HeadScratch at{};
  at.keys = pair_query_block * padded;
  at.values = at.keys + pairs_of(head_dim) * padded;
  at.tile = at.values + pairs_of(keys) * round_up(head_dim, panel_columns);
  at.queries = at.tile + pair_query_block * panel_columns;
  at.weights = at.queries + pair_query_block * pairs_of(head_dim);
  at.row = at.weights + pair_query_block * pairs_of(keys);
  at.size = at.row + panel_columns * pairs_of(head_dim);
  return at;
}
}  // namespace bertgen::kernels
#endif

#if defined(BERTGEN_KERNELS_ATTENTION_MANY_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef BERTGEN_KERNELS_ATTENTION_MANY_INL_HPP_
#undef BERTGEN_KERNELS_ATTENTION_MANY_INL_HPP_
#else
#define BERTGEN_KERNELS_ATTENTION_MANY_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace bertgen::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Rows of floats or of bf16 bits that are read one after another, either adjacent or through an index.
template <class V>
struct RowList {
  const V* data;
  size_t stride;
  const int32_t* index;  ///< null: rows 0, 1, 2, …

  HWY_INLINE const V* operator[](size_t i) const {
    return data + (index != nullptr ? static_cast<size_t>(index[i]) : i) * stride;
  }
};

/// Softmax of scale · scores[0, count), in place; `padded` is count rounded up to whole vectors, and the floats between
/// are overwritten.
HWY_INLINE void SoftmaxScores(float* HWY_RESTRICT scores, size_t count, float scale) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  const size_t padded = (count + lanes - 1) / lanes * lanes;
  for (size_t i = count; i < padded; ++i) scores[i] = -std::numeric_limits<float>::infinity();
  V maxima = hn::LoadU(d, scores);
  for (size_t i = lanes; i < padded; i += lanes) maxima = hn::Max(maxima, hn::LoadU(d, scores + i));
  const V shift = hn::MaxOfLanes(d, maxima);
  const V factor = hn::Set(d, scale * kLog2E);
  V sums = hn::Zero(d);
  for (size_t i = 0; i < padded; i += lanes) {
    const V x = hn::Sub(hn::LoadU(d, scores + i), shift);
    const V e = hn::IfThenElse(hn::IsNaN(x), x, ExpOfProduct(d, x, factor));
    hn::StoreU(e, d, scores + i);
    sums = hn::Add(sums, e);
  }
  const V inverse = hn::Div(hn::Set(d, 1.0f), hn::SumOfLanes(d, sums));
  for (size_t i = 0; i < padded; i += lanes) hn::StoreU(hn::Mul(hn::LoadU(d, scores + i), inverse), d, scores + i);
}

/// What all of attend()'s parts need.
template <class N>
struct Task {
  const AttentionGroup& group;
  RowList<N> queries, keys, values;
  size_t heads, head_dim;
  float scale;
  N* context;
  size_t context_stride;

  size_t Seen(size_t query) const {
    return group.visible != nullptr ? static_cast<size_t>(group.visible[query]) : group.key_count;
  }
};

/// x[0, count) as floats: where they lie, or in `scratch`.
HWY_INLINE const float* AsFloats(const float* x, size_t, float*) { return x; }
HWY_INLINE const float* AsFloats(const uint16_t* x, size_t count, float* scratch) {
  WidenRow(x, count, scratch);
  return scratch;
}

/// Keys as columns, in panels of [head_dim, 64], zeros beyond the last. `scratch`: room for 64 rows that are widened.
template <class N>
HWY_INLINE void PackKeys(const RowList<N>& keys, size_t count, size_t offset, size_t head_dim, float* scratch,
                         float* panels) {
  const size_t stride = sizeof(N) == sizeof(float) ? 0 : round_up(head_dim, widest_vector);
  for (size_t begin = 0; begin < count; begin += panel_columns, panels += head_dim * panel_columns) {
    const size_t here = HWY_MIN(panel_columns, count - begin);
    const uint32_t* rows[panel_columns];
    for (size_t key = 0; key < here; ++key) {
      const float* row = AsFloats(keys[begin + key] + offset, head_dim, scratch + key * stride);
      rows[key] = reinterpret_cast<const uint32_t*>(row);
    }
    pack_panel(rows, here, head_dim, reinterpret_cast<uint32_t*>(panels));
  }
}

/// Values in panels of [count, 64], zeros beyond the last column.
template <class N>
HWY_INLINE void PackValues(const RowList<N>& values, size_t count, size_t offset, size_t head_dim,
                           float* HWY_RESTRICT panels) {
  for (size_t begin = 0; begin < head_dim; begin += panel_columns) {
    const size_t here = HWY_MIN(panel_columns, head_dim - begin);
    for (size_t key = 0; key < count; ++key, panels += panel_columns) {
      const float* row = AsFloats(values[key] + offset + begin, here, panels);
      if (row != panels) std::memcpy(panels, row, here * sizeof(float));
      for (size_t i = here; i < panel_columns; ++i) panels[i] = 0.0f;
    }
  }
}

/// Softmax of a block's scores of `count` keys, zero for keys that a query does not see; returns how many the block
/// sees at most.
template <class N>
HWY_INLINE size_t SoftmaxBlock(const Task<N>& task, size_t begin, size_t rows, size_t count, float* scores,
                               size_t padded) {
  size_t longest = 0;
  for (size_t r = 0; r < rows; ++r) {
    const size_t seen = task.Seen(begin + r);
    float* row = scores + r * padded;
    if (seen != 0) SoftmaxScores(row, seen, task.scale);
    for (size_t key = seen; key < count; ++key) row[key] = 0.0f;
    longest = HWY_MAX(longest, seen);
  }
  return longest;
}

/// Calls multiply(panel, y, stride) for the columns of each panel of values; those of one that is not whole, and those
/// that are to be rounded, go through `tile`.
template <class N, class Multiply>
HWY_INLINE void SumValues(const Task<N>& task, size_t begin, size_t rows, size_t head, float* tile,
                          const Multiply& multiply) {
  const size_t head_dim = task.head_dim;
  N* context = task.context + begin * task.context_stride + head * head_dim;
  for (size_t column = 0; column < head_dim; column += panel_columns) {
    const size_t panel = column / panel_columns;
    const size_t here = HWY_MIN(panel_columns, head_dim - column);
    if constexpr (sizeof(N) != sizeof(float)) {
      multiply(panel, tile, panel_columns);
      round_to_bf16(tile, panel_columns, rows, here, context + column, task.context_stride);
    } else if (here == panel_columns) {
      multiply(panel, context + column, task.context_stride);
    } else {
      multiply(panel, tile, panel_columns);
      for (size_t r = 0; r < rows; ++r) {
        std::memcpy(context + column + r * task.context_stride, tile + r * panel_columns, here * sizeof(float));
      }
    }
  }
}

/// Many queries: arithmetic is the limit. Keys and values of a head become the panels of two products.
template <class N>
HWY_INLINE void AttendMany(const Task<N>& task, float* scratch) {
  const size_t count = task.group.key_count;
  const size_t head_dim = task.head_dim;
  const size_t padded = round_up(count, panel_columns);
  alignas(64) constexpr float kZeros[panel_columns] = {};
  const HeadScratch at = float_scratch(count, head_dim, sizeof(N) != sizeof(float));
  float* scores = scratch + at.scores;
  for (size_t head = 0; head < task.heads; ++head) {
    PackKeys(task.keys, count, head * head_dim, head_dim, scratch + at.row, scratch + at.keys);
    PackValues(task.values, count, head * head_dim, head_dim, scratch + at.values);
    for (size_t begin = 0; begin < task.group.query_count; begin += query_block) {
      const size_t rows = HWY_MIN(query_block, task.group.query_count - begin);
      RowList<float> queries{scratch + at.queries, round_up(head_dim, widest_vector), nullptr};
      if constexpr (sizeof(N) == sizeof(float)) {
        queries = {task.queries[begin] + head * head_dim, task.queries.stride, nullptr};
      } else {
        for (size_t r = 0; r < rows; ++r) {
          WidenRow(task.queries[begin + r] + head * head_dim, head_dim, scratch + at.queries + r * queries.stride);
        }
      }
      for (size_t key = 0; key < count; key += panel_columns) {
        panel_product(queries.data, queries.stride, rows, scratch + at.keys + head_dim * key, head_dim, kZeros,
                      scores + key, padded);
      }
      const size_t longest = SoftmaxBlock(task, begin, rows, count, scores, padded);
      SumValues(task, begin, rows, head, scratch + at.tile, [&](size_t panel, float* y, size_t stride) {
        panel_product(scores, padded, rows, scratch + at.values + panel * panel_columns * count, longest, kZeros, y,
                      stride);
      });
    }
  }
}

/// x[0, count), and zeros up to `pairs` pairs.
HWY_INLINE void PadRow(const uint16_t* x, size_t count, size_t pairs, uint16_t* y) {
  std::memcpy(y, x, count * sizeof(uint16_t));
  std::memset(y + count, 0, (2 * pairs - count) * sizeof(uint16_t));
}

/// Keys as columns of pairs. `rows`: room for 64 of them.
HWY_INLINE void PackKeyPairs(const RowList<uint16_t>& keys, size_t count, size_t offset, size_t head_dim,
                             uint32_t* rows, uint32_t* panels) {
  const size_t pairs = pairs_of(head_dim);
  const uint32_t* columns[panel_columns];
  for (size_t i = 0; i < panel_columns; ++i) columns[i] = rows + i * pairs;
  for (size_t begin = 0; begin < count; begin += panel_columns, panels += pairs * panel_columns) {
    const size_t here = HWY_MIN(panel_columns, count - begin);
    for (size_t key = 0; key < here; ++key) {
      PadRow(keys[begin + key] + offset, head_dim, pairs, reinterpret_cast<uint16_t*>(rows + key * pairs));
    }
    pack_panel(columns, here, pairs, panels);
  }
}

/// Values in panels of [pairs of keys, 64], zeros beyond the last key and the last column.
HWY_INLINE void PackValuePairs(const RowList<uint16_t>& values, size_t count, size_t offset, size_t head_dim,
                               uint32_t* HWY_RESTRICT panels) {
  alignas(64) uint16_t even[panel_columns], odd[panel_columns];
  const size_t pairs = pairs_of(count);
  for (size_t begin = 0; begin < head_dim; begin += panel_columns) {
    const size_t here = HWY_MIN(panel_columns, head_dim - begin);
    for (size_t key = 0; key < 2 * pairs; key += 2, panels += panel_columns) {
      PadRow(values[HWY_MIN(key, count - 1)] + offset + begin, key < count ? here : 0, panel_columns / 2, even);
      PadRow(values[HWY_MIN(key + 1, count - 1)] + offset + begin, key + 1 < count ? here : 0, panel_columns / 2, odd);
      for (size_t i = 0; i < panel_columns; ++i) panels[i] = even[i] | static_cast<uint32_t>(odd[i]) << 16;
    }
  }
}

/// The same by products of pairs: weights are rounded to bf16, sums and softmax are of floats.
HWY_INLINE void AttendManyPairs(const Task<uint16_t>& task, float* scratch) {
  size_t count = 0;  // keys that some query sees: products run over a few more, which must be finite
  for (size_t query = 0; query < task.group.query_count; ++query) count = HWY_MAX(count, task.Seen(query));
  const size_t head_dim = task.head_dim;
  const size_t padded = round_up(count, panel_columns);
  const size_t key_pairs = pairs_of(head_dim), value_pairs = pairs_of(count);
  alignas(64) constexpr float kZeros[panel_columns] = {};
  const HeadScratch at = pair_scratch(count, head_dim);
  float* scores = scratch + at.scores;
  const auto pairs_at = [scratch](size_t place) { return reinterpret_cast<uint32_t*>(scratch + place); };
  const auto numbers_at = [scratch](size_t place) { return reinterpret_cast<uint16_t*>(scratch + place); };
  uint16_t* queries = numbers_at(at.queries);
  uint16_t* weights = numbers_at(at.weights);
  Tiles tiles;
  for (size_t head = 0; head < task.heads; ++head) {
    PackKeyPairs(task.keys, count, head * head_dim, head_dim, pairs_at(at.row), pairs_at(at.keys));
    PackValuePairs(task.values, count, head * head_dim, head_dim, pairs_at(at.values));
    for (size_t begin = 0; begin < task.group.query_count; begin += pair_query_block) {
      const size_t rows = HWY_MIN(pair_query_block, task.group.query_count - begin);
      for (size_t r = 0; r < rows; ++r) {
        PadRow(task.queries[begin + r] + head * head_dim, head_dim, key_pairs, queries + r * 2 * key_pairs);
      }
      for (size_t key = 0; key < count; key += panel_columns) {
        bf16_panel_product(queries, 2 * key_pairs, rows, numbers_at(at.keys + key_pairs * key), PanelLayout::whole, 0,
                           key_pairs, kZeros, scores + key, padded, tiles);
      }
      const size_t longest = SoftmaxBlock(task, begin, rows, count, scores, padded);
      const size_t pairs = pairs_of(longest);
      round_to_bf16(scores, padded, rows, longest, weights, 2 * value_pairs);
      for (size_t r = 0; r < rows; ++r) {
        std::memset(weights + r * 2 * value_pairs + longest, 0, (2 * pairs - longest) * sizeof(uint16_t));
      }
      SumValues(task, begin, rows, head, scratch + at.tile, [&](size_t panel, float* y, size_t stride) {
        bf16_panel_product(weights, 2 * value_pairs, rows, numbers_at(at.values + panel * panel_columns * value_pairs),
                           PanelLayout::whole, 0, pairs, kZeros, y, stride, tiles);
      });
    }
  }
}

}  // namespace bertgen::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
