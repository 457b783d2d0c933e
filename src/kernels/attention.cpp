#include "bertgen/ops/attention.hpp"

#include <limits>

#include "kernels/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cpp"
#include "hwy/foreach_target.h"
// After foreach_target, which includes this file once per target.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace bertgen::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Rows that are read one after another, either adjacent or through an index.
struct RowList {
  const float* data;
  size_t stride;
  const int32_t* index;  ///< null: rows 0, 1, 2, …

  HWY_INLINE const float* operator[](size_t i) const {
    return data + (index != nullptr ? static_cast<size_t>(index[i]) : i) * stride;
  }
};

/// out[r][c, c + vectors · lanes) = Σ_i weights[r][i] · rows[i][c, …) for kRows rows at once: each load of `rows`
/// serves kRows multiply-adds, and kRows × kVectors sums fit the registers of every target. The order of the sum does
/// not depend on kRows or kVectors, so a row's bits do not depend on which rows it is computed with.
template <size_t kRows, size_t kVectors>
HWY_INLINE void WeightedSumTile(const float* HWY_RESTRICT weights, size_t weight_stride, const RowList& rows,
                                size_t count, size_t column, float* HWY_RESTRICT out, size_t out_stride) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  V sums[kRows][kVectors];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(d);
  }
  for (size_t i = 0; i < count; ++i) {
    const float* row = rows[i] + column;
    V loaded[kVectors];
    for (size_t v = 0; v < kVectors; ++v) loaded[v] = hn::LoadU(d, row + v * lanes);
    for (size_t r = 0; r < kRows; ++r) {
      const V weight = hn::Set(d, weights[r * weight_stride + i]);
      for (size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(weight, loaded[v], sums[r][v]);
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) hn::StoreU(sums[r][v], d, out + r * out_stride + column + v * lanes);
  }
}

/// out[r][c] = Σ_i weights[r][i] · rows[i][c] for kRows rows and `columns` columns.
template <size_t kRows>
HWY_INLINE void WeightedSumRows(const float* weights, size_t weight_stride, const RowList& rows, size_t count,
                                size_t columns, float* out, size_t out_stride) {
  const size_t lanes = hn::Lanes(hn::ScalableTag<float>());
  size_t column = 0;
  for (; column + 4 * lanes <= columns; column += 4 * lanes) {
    WeightedSumTile<kRows, 4>(weights, weight_stride, rows, count, column, out, out_stride);
  }
  for (; column + lanes <= columns; column += lanes) {
    WeightedSumTile<kRows, 1>(weights, weight_stride, rows, count, column, out, out_stride);
  }
  for (; column < columns; ++column) {
    for (size_t r = 0; r < kRows; ++r) {
      float sum = 0.0f;
      for (size_t i = 0; i < count; ++i) sum += weights[r * weight_stride + i] * rows[i][column];
      out[r * out_stride + column] = sum;
    }
  }
}

HWY_INLINE void WeightedSum(const float* weights, size_t weight_stride, size_t weight_rows, const RowList& rows,
                            size_t count, size_t columns, float* out, size_t out_stride) {
  size_t r = 0;
  for (; r + 4 <= weight_rows; r += 4) {
    WeightedSumRows<4>(weights + r * weight_stride, weight_stride, rows, count, columns, out + r * out_stride,
                       out_stride);
  }
  for (; r < weight_rows; ++r) {
    WeightedSumRows<1>(weights + r * weight_stride, weight_stride, rows, count, columns, out + r * out_stride,
                       out_stride);
  }
}

/// Scores of a single query: a dot product a key.
HWY_INLINE void DotScores(const float* HWY_RESTRICT query, const RowList& keys, size_t count, size_t head_dim,
                          float* HWY_RESTRICT scores) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = head_dim - head_dim % lanes;
  for (size_t key = 0; key < count; ++key) {
    const float* row = keys[key];
    hn::Vec<decltype(d)> sums = hn::Zero(d);
    for (size_t i = 0; i < whole; i += lanes) sums = hn::MulAdd(hn::LoadU(d, query + i), hn::LoadU(d, row + i), sums);
    float sum = hn::GetLane(hn::SumOfLanes(d, sums));
    for (size_t i = whole; i < head_dim; ++i) sum += query[i] * row[i];
    scores[key] = sum;
  }
}

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
  const V scales = hn::Set(d, scale);
  V sums = hn::Zero(d);
  for (size_t i = 0; i < padded; i += lanes) {
    const V x = hn::Mul(hn::Sub(hn::LoadU(d, scores + i), shift), scales);
    const auto nan = hn::IsNaN(x);  // Exp drops it, or, on the portable target, converts it to an integer
    const V e = hn::IfThenElse(nan, x, hn::Exp(d, hn::IfThenZeroElse(nan, x)));
    hn::StoreU(e, d, scores + i);
    sums = hn::Add(sums, e);
  }
  const V inverse = hn::Div(hn::Set(d, 1.0f), hn::SumOfLanes(d, sums));
  for (size_t i = 0; i < padded; i += lanes) hn::StoreU(hn::Mul(hn::LoadU(d, scores + i), inverse), d, scores + i);
}

/// Keys as columns, [head_dim, padded]: scores of many queries are then sums along rows, without horizontal adds.
HWY_INLINE void TransposeKeys(const RowList& keys, size_t count, size_t padded, size_t head_dim,
                              float* HWY_RESTRICT transposed) {
  for (size_t key = 0; key < count; ++key) {
    const float* row = keys[key];
    for (size_t i = 0; i < head_dim; ++i) transposed[i * padded + key] = row[i];
  }
  for (size_t i = 0; i < head_dim; ++i) {
    for (size_t key = count; key < padded; ++key) transposed[i * padded + key] = 0.0f;
  }
}

void Attend(const AttentionGroup& group, HeadRows queries, HeadRows keys, HeadRows values, size_t head_dim, float scale,
            float* context, size_t context_stride, float* scratch) {
  const size_t lanes = hn::Lanes(hn::ScalableTag<float>());
  const size_t padded = (group.key_count + lanes - 1) / lanes * lanes;
  const size_t first = group.key_index != nullptr ? 0 : group.key_begin;
  const RowList key_rows{keys.data + first * keys.stride, keys.stride, group.key_index};
  const RowList value_rows{values.data + first * values.stride, values.stride, group.key_index};
  const float* query = queries.data + group.query_begin * queries.stride;
  float* out = context + group.query_begin * context_stride;

  constexpr size_t kBlock = 16;  // queries whose scores are held at a time
  float* scores = scratch;       // [kBlock, padded]
  float* transposed = scratch + kBlock * padded;
  const bool single = group.query_count == 1;
  if (!single) TransposeKeys(key_rows, group.key_count, padded, head_dim, transposed);

  for (size_t begin = 0; begin < group.query_count; begin += kBlock) {
    const size_t block = HWY_MIN(kBlock, group.query_count - begin);
    const float* block_queries = query + begin * queries.stride;
    if (single) {
      DotScores(block_queries, key_rows, group.key_count, head_dim, scores);
    } else {
      WeightedSum(block_queries, queries.stride, block, {transposed, padded, nullptr}, head_dim, padded, scores,
                  padded);
    }
    size_t longest = 0;
    for (size_t i = 0; i < block; ++i) {
      const size_t seen = group.visible != nullptr ? static_cast<size_t>(group.visible[begin + i]) : group.key_count;
      float* row = scores + i * padded;
      if (seen != 0) SoftmaxScores(row, seen, scale);
      for (size_t key = seen; key < group.key_count; ++key) row[key] = 0.0f;
      longest = HWY_MAX(longest, seen);
    }
    WeightedSum(scores, padded, block, value_rows, longest, head_dim, out + begin * context_stride, context_stride);
  }
}

}  // namespace bertgen::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bertgen::kernels {
HWY_EXPORT(Attend);

std::size_t attend_scratch(std::size_t queries, std::size_t keys, std::size_t head_dim) {
  constexpr std::size_t widest = 16;  // floats of the widest vector
  const std::size_t padded = (keys + widest - 1) / widest * widest;
  return 16 * padded + (queries > 1 ? head_dim * padded : 0);
}

void attend(const AttentionGroup& group, HeadRows queries, HeadRows keys, HeadRows values, std::size_t head_dim,
            float scale, float* context, std::size_t context_stride, float* scratch) {
  HWY_DYNAMIC_DISPATCH(Attend)(group, queries, keys, values, head_dim, scale, context, context_stride, scratch);
}

}  // namespace bertgen::kernels
#endif
