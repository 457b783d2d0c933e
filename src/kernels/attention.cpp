#include "bertgen/ops/attention.hpp"

#include "kernels/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cpp"
#include "hwy/foreach_target.h"
// After foreach_target, which includes this file once per target.
#include "hwy/highway.h"
#include "kernels/attention_many-inl.hpp"
#include "kernels/vectors-inl.hpp"

#ifndef BERTGEN_ATTENTION_FEW  // this file is read once per target
#define BERTGEN_ATTENTION_FEW
namespace bertgen::kernels {
namespace {
// Up to so many queries go key by key; for more, packing keys and values costs less than it saves.
constexpr std::size_t few_queries = 8;
}  // namespace
}  // namespace bertgen::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace bertgen::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR
/// The sum of a vector's 128-bit blocks.
template <class D>
HWY_INLINE auto SumOfBlocks(D d, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(d) <= 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return SumOfBlocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}
#endif

/// dots[0, 4) = x · y[i]: the four sums are added up across lanes together.
template <class N>
HWY_INLINE void FourDots(const N* HWY_RESTRICT x, const N* const* y, size_t offset, size_t count,
                         float* HWY_RESTRICT dots) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = count - count % lanes;
  V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  for (size_t i = 0; i < whole; i += lanes) {
    const V v = LoadFloats(d, x + i);
    s0 = hn::MulAdd(v, LoadFloats(d, y[0] + offset + i), s0);
    s1 = hn::MulAdd(v, LoadFloats(d, y[1] + offset + i), s1);
    s2 = hn::MulAdd(v, LoadFloats(d, y[2] + offset + i), s2);
    s3 = hn::MulAdd(v, LoadFloats(d, y[3] + offset + i), s3);
  }
#if HWY_TARGET == HWY_SCALAR
  const V sums[] = {s0, s1, s2, s3};
  for (size_t k = 0; k < 4; ++k) dots[k] = hn::GetLane(sums[k]);
#else
  const V even = hn::Add(hn::InterleaveLower(d, s0, s2), hn::InterleaveUpper(d, s0, s2));
  const V odd = hn::Add(hn::InterleaveLower(d, s1, s3), hn::InterleaveUpper(d, s1, s3));
  const V all = hn::Add(hn::InterleaveLower(d, even, odd), hn::InterleaveUpper(d, even, odd));
  hn::StoreU(SumOfBlocks(d, all), hn::CappedTag<float, 4>(), dots);
#endif
  for (size_t k = 0; k < 4; ++k) {
    for (size_t i = whole; i < count; ++i) dots[k] += FloatOf(x[i]) * FloatOf(y[k][offset + i]);
  }
}

/// out[c] (+)= Σ_i weights[i] · rows[i][c], kVectors vectors of columns at a time.
template <size_t kVectors, class N>
HWY_INLINE void AddWeighted(const float* HWY_RESTRICT weights, const N* const* rows, size_t count, size_t column,
                            bool add, float* HWY_RESTRICT out) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  hn::Vec<decltype(d)> sums[kVectors];
  for (size_t v = 0; v < kVectors; ++v) sums[v] = add ? hn::LoadU(d, out + column + v * lanes) : hn::Zero(d);
  for (size_t i = 0; i < count; ++i) {
    const auto weight = hn::Set(d, weights[i]);
    for (size_t v = 0; v < kVectors; ++v) {
      sums[v] = hn::MulAdd(weight, LoadFloats(d, rows[i] + column + v * lanes), sums[v]);
    }
  }
  for (size_t v = 0; v < kVectors; ++v) hn::StoreU(sums[v], d, out + column + v * lanes);
}

template <class N>
HWY_INLINE void AddWeightedRow(const float* weights, const N* const* rows, size_t count, size_t columns, bool add,
                               float* out) {
  const size_t lanes = hn::Lanes(hn::ScalableTag<float>());
  size_t column = 0;
  for (; column + 4 * lanes <= columns; column += 4 * lanes) {
    AddWeighted<4>(weights, rows, count, column, add, out);
  }
  for (; column + lanes <= columns; column += lanes) AddWeighted<1>(weights, rows, count, column, add, out);
  for (; column < columns; ++column) {
    float sum = add ? out[column] : 0.0f;
    for (size_t i = 0; i < count; ++i) sum += weights[i] * FloatOf(rows[i][column]);
    out[column] = sum;
  }
}

/// Few queries: memory is the limit. Each key and each value is read once, all heads of it, where it lies.
template <class N>
HWY_INLINE void AttendFew(const Task<N>& task, float* scores) {
  const size_t rows = task.group.query_count;
  const size_t count = task.group.key_count;
  const size_t padded = round_up(count, widest_vector);
  const size_t head_dim = task.head_dim;
  // Sums are of floats: where they belong, or behind the scores.
  float* context = scores + task.heads * rows * padded;
  size_t stride = task.heads * head_dim;
  if constexpr (sizeof(N) == sizeof(float)) {
    context = task.context;
    stride = task.context_stride;
  }
  constexpr size_t kKeys = 4;  // FourDots of the last ones count one several times; scores has room for them
  for (size_t key = 0; key < count; key += kKeys) {
    const N* keys[kKeys];
    for (size_t i = 0; i < kKeys; ++i) keys[i] = task.keys[HWY_MIN(key + i, count - 1)];
    for (size_t head = 0; head < task.heads; ++head) {
      for (size_t i = 0; key + kKeys + i < count && i < kKeys; ++i) {
        prefetch(task.keys[key + kKeys + i] + head * head_dim, head_dim * sizeof(N));
      }
      for (size_t r = 0; r < rows; ++r) {
        FourDots(task.queries[r] + head * head_dim, keys, head * head_dim, head_dim,
                 scores + (head * rows + r) * padded + key);
      }
    }
  }
  size_t longest = 0;
  for (size_t r = 0; r < rows; ++r) {
    const size_t seen = task.Seen(r);
    longest = HWY_MAX(longest, seen);
    for (size_t head = 0; head < task.heads; ++head) {
      float* row = scores + (head * rows + r) * padded;
      if (seen != 0) SoftmaxScores(row, seen, task.scale);
      for (size_t key = seen; key < count; ++key) row[key] = 0.0f;
    }
  }
  constexpr size_t kBlock = 8;  // values whose heads are gone through together
  size_t begin = 0;
  do {  // once where nothing is seen: the context is zero then
    const size_t block = HWY_MIN(kBlock, longest - begin);
    const N* values[kBlock];
    for (size_t head = 0; head < task.heads; ++head) {
      for (size_t i = 0; i < block; ++i) {
        values[i] = task.values[begin + i] + head * head_dim;
        if (begin + i + kBlock < longest) {
          prefetch(task.values[begin + i + kBlock] + head * head_dim, head_dim * sizeof(N));
        }
      }
      for (size_t r = 0; r < rows; ++r) {
        AddWeightedRow(scores + (head * rows + r) * padded + begin, values, block, head_dim, begin != 0,
                       context + r * stride + head * head_dim);
      }
    }
    begin += block;
  } while (begin < longest);
  if constexpr (sizeof(N) != sizeof(float)) {
    round_to_bf16(context, stride, rows, stride, task.context, task.context_stride);
  }
}

template <class N>
HWY_INLINE void AttendTo(const AttentionGroup& group, HeadRows queries, HeadRows keys, HeadRows values, size_t heads,
                         size_t head_dim, float scale, [[maybe_unused]] bool pairs, void* context,
                         size_t context_stride, float* scratch) {
  const size_t first = group.key_index != nullptr ? 0 : group.key_begin;
  const auto row = [](const HeadRows& rows, size_t index) {
    return static_cast<const N*>(rows.data) + index * rows.stride;
  };
  const Task<N> task{group,
                     {row(queries, group.query_begin), queries.stride, nullptr},
                     {row(keys, first), keys.stride, group.key_index},
                     {row(values, first), values.stride, group.key_index},
                     heads,
                     head_dim,
                     scale,
                     static_cast<N*>(context) + group.query_begin * context_stride,
                     context_stride};
  if (group.query_count <= few_queries) return AttendFew(task, scratch);
  if constexpr (sizeof(N) == sizeof(uint16_t)) {
    if (pairs) return AttendManyPairs(task, scratch);
  }
  AttendMany(task, scratch);
}

void AttendFloats(const AttentionGroup& group, HeadRows queries, HeadRows keys, HeadRows values, size_t heads,
                  size_t head_dim, float scale, void* context, size_t context_stride, float* scratch) {
  AttendTo<float>(group, queries, keys, values, heads, head_dim, scale, false, context, context_stride, scratch);
}
void AttendBf16(const AttentionGroup& group, HeadRows queries, HeadRows keys, HeadRows values, size_t heads,
                size_t head_dim, float scale, bool pairs, void* context, size_t context_stride, float* scratch) {
  AttendTo<uint16_t>(group, queries, keys, values, heads, head_dim, scale, pairs, context, context_stride, scratch);
}

}  // namespace bertgen::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bertgen::kernels {
HWY_EXPORT(AttendFloats);
HWY_EXPORT(AttendBf16);

std::size_t attend_scratch(std::size_t queries, std::size_t keys, std::size_t heads, std::size_t head_dim,
                           HeadType type) {
  if (queries <= few_queries) {
    return heads * queries * (round_up(keys, widest_vector) + (type == HeadType::f32 ? 0 : head_dim));
  }
  if (type == HeadType::bf16_pairs) return pair_scratch(keys, head_dim).size;
  return float_scratch(keys, head_dim, type == HeadType::bf16).size;
}

void attend(const AttentionGroup& group, HeadRows queries, HeadRows keys, HeadRows values, std::size_t heads,
            std::size_t head_dim, float scale, HeadType type, void* context, std::size_t context_stride,
            float* scratch) {
  if (type == HeadType::f32) {
    HWY_DYNAMIC_DISPATCH(AttendFloats)
    (group, queries, keys, values, heads, head_dim, scale, context, context_stride, scratch);
  } else {
    HWY_DYNAMIC_DISPATCH(AttendBf16)
    (group, queries, keys, values, heads, head_dim, scale, type == HeadType::bf16_pairs, context, context_stride,
     scratch);
  }
}

}  // namespace bertgen::kernels
#endif
