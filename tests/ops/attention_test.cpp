#include "bertgen/ops/attention.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "bertgen/core/isa.hpp"
#include "kernels/kernels.hpp"
#include "support/numbers.hpp"

namespace bertgen {
namespace {

using test::random_tensor;
using test::rounding;
using test::roundoff;

template <typename T>
struct Inputs {
  Tensor<T> queries, keys, values;
  std::size_t heads;
};

template <typename T>
Inputs<T> random_inputs(std::size_t queries, std::size_t keys, std::size_t heads, std::size_t head_dim,
                        std::uint64_t seed = 1) {
  return {random_tensor<T>({queries, heads * head_dim}, seed), random_tensor<T>({keys, heads * head_dim}, seed + 1),
          random_tensor<T>({keys, heads * head_dim}, seed + 2), heads};
}

/// What attention over V computes in.
template <typename V>
using Computed = std::conditional_t<std::is_same_v<V, BFloat16>, float, V>;

template <typename T>
Tensor<T> attend(const Inputs<T>& inputs, std::span<const AttentionGroup> groups, int threads = 1) {
  Workspace workspace(threads);
  {
    Workspace::Scope scope(workspace);  // what scratch held before must not count
    const auto scratch = scope.take<float>({4096, 16});
    std::fill_n(scratch.data(), scratch.size(), -7.0f);
  }
  Tensor<T> context(inputs.queries.shape());
  if constexpr (std::is_same_v<T, BFloat16>) {
    std::fill_n(context.data(), context.size(), BFloat16{0xc0e0});  // −7
  } else {
    std::fill_n(context.data(), context.size(), T(-7));
  }
  attention<T>(inputs.queries, inputs.keys, inputs.values, groups, inputs.heads, context, workspace);
  return context;
}

template <typename T>
Tensor<T> attend(const Inputs<T>& inputs, const AttentionGroup& group) {
  return attend<T>(inputs, std::span(&group, 1));
}

Tensor<BFloat16> in_bf16(const Tensor<float>& x) {
  Tensor<BFloat16> rounded(x.shape());
  narrow(x.data(), x.size(), DType::bf16, reinterpret_cast<std::byte*>(rounded.data()));
  return rounded;
}
Inputs<BFloat16> in_bf16(const Inputs<float>& inputs) {
  return {in_bf16(inputs.queries), in_bf16(inputs.keys), in_bf16(inputs.values), inputs.heads};
}
Tensor<float> in_floats(const Tensor<BFloat16>& x) {
  Tensor<float> floats(x.shape());
  std::transform(x.data(), x.data() + x.size(), floats.data(), [](BFloat16 value) { return float(value); });
  return floats;
}
Inputs<float> in_floats(const Inputs<BFloat16>& inputs) {
  return {in_floats(inputs.queries), in_floats(inputs.keys), in_floats(inputs.values), inputs.heads};
}

/// A group of all queries and all keys.
template <typename T>
AttentionGroup all_of(const Inputs<T>& inputs) {
  return {0, inputs.queries.shape().rows(), 0, inputs.keys.shape().rows(), nullptr, nullptr};
}

/// One head of a query's row of the result, by the definition and in double.
template <typename T>
std::vector<double> reference(const Inputs<T>& inputs, const AttentionGroup& group, std::size_t query,
                              std::size_t head) {
  const std::size_t head_dim = inputs.queries.shape().cols() / inputs.heads;
  const auto part_of = [&](const Tensor<T>& tensor, std::size_t row) {
    return tensor.data() + (row * inputs.heads + head) * head_dim;
  };
  const T* query_part = part_of(inputs.queries, group.query_begin + query);
  std::vector<double> scores;
  for (std::size_t key = 0; key < group.keys_of(query); ++key) {
    const T* key_part = part_of(inputs.keys, group.key_row(key));
    double score = 0;
    for (std::size_t i = 0; i < head_dim; ++i) {
      score += double(Computed<T>(query_part[i])) * double(Computed<T>(key_part[i]));
    }
    scores.push_back(score / std::sqrt(double(head_dim)));
  }
  softmax<double>(scores);
  std::vector<double> sums(head_dim);
  for (std::size_t key = 0; key < scores.size(); ++key) {
    const T* value_part = part_of(inputs.values, group.key_row(key));
    for (std::size_t i = 0; i < head_dim; ++i) sums[i] += scores[key] * double(Computed<T>(value_part[i]));
  }
  return sums;
}

/// Of inputs below 1: scores are sums of head_dim terms, divided by √head_dim; an error of a score moves each weight by
/// twice that part of itself; weights are divided by a sum of `keys` terms, and summed up over the keys again.
template <typename T>
double tolerance(std::size_t keys, std::size_t head_dim) {
  return 2 * std::sqrt(double(head_dim)) * rounding<T>(head_dim + 1) + 2 * rounding<T>(keys) + 12 * roundoff<T>;
}

/// Over bf16 the same, as products of its numbers are exact in float; but the result is rounded to it, and so are the
/// weights of many queries where the CPU multiplies pairs, each by up to 2⁻⁸ of itself.
template <>
double tolerance<BFloat16>(std::size_t keys, std::size_t head_dim) {
  return 2 * std::ldexp(1.01, -8) + tolerance<float>(keys, head_dim);
}

template <typename T>
void expect_definition(const Inputs<T>& inputs, std::span<const AttentionGroup> groups) {
  const auto context = attend<T>(inputs, groups);
  const std::size_t head_dim = inputs.queries.shape().cols() / inputs.heads;
  for (const AttentionGroup& group : groups) {
    const double bound = tolerance<T>(group.key_count, head_dim);
    for (std::size_t query = 0; query < group.query_count; ++query) {
      for (std::size_t head = 0; head < inputs.heads; ++head) {
        const std::vector<double> expected = reference(inputs, group, query, head);
        const auto* got = context.view().row(group.query_begin + query) + head * head_dim;
        for (std::size_t i = 0; i < head_dim; ++i) {
          ASSERT_NEAR(Computed<T>(got[i]), expected[i], bound)
              << "query " << query << " head " << head << " element " << i << " keys " << group.key_count
              << " head_dim " << head_dim;
        }
      }
    }
  }
}

template <typename T>
class AttentionTest : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(AttentionTest, Scalars);

TYPED_TEST(AttentionTest, EqualKeysAverageTheValues) {
  const Inputs<TypeParam> inputs{Tensor<TypeParam>({1, 2}, {3, -1}), Tensor<TypeParam>({4, 2}),
                                 Tensor<TypeParam>({4, 2}, {1, 10, 2, 20, 3, 30, 4, 40}), 1};
  const auto context = attend(inputs, all_of(inputs));
  EXPECT_NEAR(context[0], 2.5, 8 * roundoff<TypeParam>);
  EXPECT_NEAR(context[1], 25, 80 * roundoff<TypeParam>);
}

TYPED_TEST(AttentionTest, ScoresAreDividedByTheRootOfTheHeadSize) {
  // Head size 4: scores 2·log 3 and 0 become log 3 and 0, weights ¾ and ¼.
  const auto log3 = static_cast<TypeParam>(std::log(3.0));
  const Inputs<TypeParam> inputs{Tensor<TypeParam>({1, 4}, {2, 0, 0, 0}),
                                 Tensor<TypeParam>({2, 4}, {log3, 5, 5, 5, 0, 7, 7, 7}),
                                 Tensor<TypeParam>({2, 4}, {4, 0, 0, 8, 0, 4, 0, 0}), 1};
  const auto context = attend(inputs, all_of(inputs));
  const double expected[] = {3, 1, 0, 6};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(context[i], expected[i], 64 * roundoff<TypeParam>);
}

TYPED_TEST(AttentionTest, HeadsDoNotMix) {
  // The first head prefers the first key, the second head the second.
  const Inputs<TypeParam> inputs{Tensor<TypeParam>({1, 2}, {100, 100}), Tensor<TypeParam>({2, 2}, {1, -1, -1, 1}),
                                 Tensor<TypeParam>({2, 2}, {1, 2, 3, 4}), 2};
  EXPECT_EQ(attend(inputs, all_of(inputs)).values(), (std::vector<TypeParam>{1, 4}));
}

TYPED_TEST(AttentionTest, FollowsTheDefinitionAtEveryHeadSize) {
  for (std::size_t head_dim = 1; head_dim <= 70; ++head_dim) {
    for (std::size_t queries : {1u, 3u, 5u}) {
      const auto inputs = random_inputs<TypeParam>(queries, 9, 2, head_dim, head_dim);
      expect_definition<TypeParam>(inputs, std::vector{all_of(inputs)});
    }
  }
}

TYPED_TEST(AttentionTest, FollowsTheDefinitionAtEveryNumberOfKeysAndQueries) {
  for (std::size_t keys = 1; keys <= 40; ++keys) {
    for (std::size_t queries : {1u, 2u, 4u, 15u, 16u, 17u, 33u}) {
      const auto inputs = random_inputs<TypeParam>(queries, keys, 1, 6, 100 * keys + queries);
      expect_definition<TypeParam>(inputs, std::vector{all_of(inputs)});
    }
  }
}

TYPED_TEST(AttentionTest, GroupsHaveTheirOwnRangeOfKeys) {
  const auto inputs = random_inputs<TypeParam>(9, 23, 3, 5);
  const std::vector<AttentionGroup> groups = {
      {0, 1, 4, 7, nullptr, nullptr}, {1, 5, 11, 12, nullptr, nullptr}, {6, 3, 0, 23, nullptr, nullptr}};
  expect_definition<TypeParam>(inputs, groups);
}

TYPED_TEST(AttentionTest, KeyIndexSaysWhereTheKeysAre) {
  const auto inputs = random_inputs<TypeParam>(19, 23, 3, 5);
  const std::vector<std::int32_t> index = {22, 0, 7, 7, 13};
  for (std::size_t queries : {1u, 19u}) {
    // key_begin does not count beside an index.
    const AttentionGroup group{0, queries, 11, index.size(), index.data(), nullptr};
    expect_definition<TypeParam>(inputs, std::vector{group});
  }
}

TYPED_TEST(AttentionTest, VisibleLimitsTheKeysOfEachQuery) {
  const auto inputs = random_inputs<TypeParam>(37, 37, 2, 5);
  std::vector<std::int32_t> causal(37);
  std::iota(causal.begin(), causal.end(), 1);
  expect_definition<TypeParam>(inputs, std::vector{AttentionGroup{0, 37, 0, 37, nullptr, causal.data()}});
  const std::vector<std::int32_t> ragged = {0, 5, 0, 23, 1};
  std::vector<std::int32_t> reversed(23);
  std::iota(reversed.rbegin(), reversed.rend(), 3);
  expect_definition<TypeParam>(inputs, std::vector{AttentionGroup{4, 5, 0, 23, reversed.data(), ragged.data()}});
}

TYPED_TEST(AttentionTest, UnseenKeysDoNotCountWhateverTheyHold) {
  auto inputs = random_inputs<TypeParam>(3, 5, 1, 7);
  const std::vector<std::int32_t> visible = {1, 2, 3};
  const AttentionGroup group{0, 3, 0, 5, nullptr, visible.data()};
  const auto before = attend(inputs, group);
  for (std::size_t i = 3 * 7; i < 5 * 7; ++i) {
    inputs.keys[i] = TypeParam(1000);
    inputs.values[i] = std::numeric_limits<TypeParam>::quiet_NaN();
  }
  EXPECT_TRUE(test::same_bits(attend(inputs, group), before));
}

TYPED_TEST(AttentionTest, QueryWithoutKeysGetsZero) {
  const auto inputs = random_inputs<TypeParam>(20, 3, 2, 5);
  for (std::size_t queries : {1u, 20u}) {
    const auto context = attend(inputs, AttentionGroup{0, queries, 0, 0, nullptr, nullptr});
    EXPECT_EQ(context.view().middle_rows(0, queries).matrix().cwiseAbs().maxCoeff(), 0);
  }
  const std::vector<std::int32_t> none(20, 0);
  const auto context = attend(inputs, AttentionGroup{0, 20, 0, 3, nullptr, none.data()});
  EXPECT_EQ(context.view().matrix().cwiseAbs().maxCoeff(), 0);
}

TYPED_TEST(AttentionTest, RowsOutsideTheGroupsStayAsTheyAre) {
  const auto inputs = random_inputs<TypeParam>(6, 4, 1, 3);
  const auto context = attend(inputs, AttentionGroup{2, 2, 0, 4, nullptr, nullptr});
  for (std::size_t row : {0u, 1u, 4u, 5u}) EXPECT_EQ(context.view().row(row)[1], TypeParam(-7));
  EXPECT_TRUE(attend<TypeParam>(inputs, std::span<const AttentionGroup>()).size() == 18);
}

TYPED_TEST(AttentionTest, HugeScoresChooseWithoutOverflow) {
  const TypeParam huge = std::numeric_limits<TypeParam>::max() / 1024;
  for (std::size_t queries : {1u, 2u}) {
    Inputs<TypeParam> inputs{Tensor<TypeParam>({queries, 1}, std::vector<TypeParam>(queries, 1)),
                             Tensor<TypeParam>({3, 1}, {-huge, huge, 0}), Tensor<TypeParam>({3, 1}, {1, 2, 3}), 1};
    EXPECT_EQ(attend(inputs, all_of(inputs))[0], TypeParam(2));
  }
}

TYPED_TEST(AttentionTest, NaNIsNotHidden) {
  for (std::size_t queries : {1u, 2u}) {
    auto inputs = random_inputs<TypeParam>(queries, 21, 1, 3);
    inputs.keys[10] = std::numeric_limits<TypeParam>::quiet_NaN();
    const auto context = attend(inputs, all_of(inputs));
    for (TypeParam value : context.values()) EXPECT_TRUE(std::isnan(value));
  }
}

TYPED_TEST(AttentionTest, GroupDoesNotDependOnTheOthersOrOnThreads) {
  const auto inputs = random_inputs<TypeParam>(60, 60, 4, 20);
  const std::vector<AttentionGroup> groups = {{0, 1, 3, 40, nullptr, nullptr},
                                              {1, 30, 0, 60, nullptr, nullptr},
                                              {31, 2, 10, 7, nullptr, nullptr},
                                              {33, 27, 33, 27, nullptr, nullptr}};
  const auto together = attend<TypeParam>(inputs, groups);
  EXPECT_TRUE(test::same_bits(together, attend<TypeParam>(inputs, groups, 3)));
  for (const AttentionGroup& group : groups) {
    const auto alone = attend(inputs, group);
    EXPECT_EQ(alone.view().middle_rows(group.query_begin, group.query_count).matrix(),
              together.view().middle_rows(group.query_begin, group.query_count).matrix());
  }
}

TYPED_TEST(AttentionTest, ColumnsOfAWiderMatrixServeAsInputs) {
  const auto packed = random_tensor<TypeParam>({8, 30}, 4);  // query | key | value, ten columns each
  Tensor<TypeParam> wide({8, 25});
  const AttentionGroup group{0, 8, 0, 8, nullptr, nullptr};
  Workspace workspace;
  attention<TypeParam>(packed.view().middle_cols(0, 10), packed.view().middle_cols(10, 10),
                       packed.view().middle_cols(20, 10), std::span(&group, 1), 2, wide.view().middle_cols(7, 10),
                       workspace);
  Inputs<TypeParam> inputs{Tensor<TypeParam>({8, 10}), Tensor<TypeParam>({8, 10}), Tensor<TypeParam>({8, 10}), 2};
  inputs.queries.view().matrix() = packed.view().middle_cols(0, 10).matrix();
  inputs.keys.view().matrix() = packed.view().middle_cols(10, 10).matrix();
  inputs.values.view().matrix() = packed.view().middle_cols(20, 10).matrix();
  EXPECT_EQ(wide.view().middle_cols(7, 10).matrix(), attend(inputs, group).view().matrix());
  EXPECT_EQ(wide.view().middle_cols(0, 7).matrix().norm() + wide.view().middle_cols(17, 8).matrix().norm(), 0);
}

TYPED_TEST(AttentionTest, TakesNoNewScratchOnceWarm) {
  const auto inputs = random_inputs<TypeParam>(50, 50, 2, 8);
  const AttentionGroup group = all_of(inputs);
  Workspace workspace(2);
  Tensor<TypeParam> context(inputs.queries.shape());
  const auto run = [&] {
    attention<TypeParam>(inputs.queries, inputs.keys, inputs.values, std::span(&group, 1), 2, context, workspace);
    return workspace.capacity();
  };
  const std::size_t warm = run();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(run(), warm);
}

TEST(AttentionInBf16Test, FollowsTheDefinition) {
  for (std::size_t head_dim : {1u, 5u, 32u, 63u, 64u, 70u}) {
    for (std::size_t keys : {1u, 2u, 31u, 33u, 64u, 65u, 100u}) {
      for (std::size_t queries : {1u, 3u, 8u, 9u, 17u, 33u}) {
        const auto inputs = in_bf16(random_inputs<float>(queries, keys, 2, head_dim, 100 * keys + queries));
        expect_definition<BFloat16>(inputs, std::vector{all_of(inputs)});
      }
    }
  }
}

// Seen to fail with the index ignored.
TEST(AttentionInBf16Test, KeyIndexSaysWhereTheKeysAre) {
  const auto inputs = in_bf16(random_inputs<float>(19, 23, 3, 5));
  const std::vector<std::int32_t> index = {22, 0, 7, 7, 13};
  for (std::size_t queries : {1u, 19u}) {
    const AttentionGroup group{0, queries, 11, index.size(), index.data(), nullptr};
    expect_definition<BFloat16>(inputs, std::vector{group});
  }
}

TEST(AttentionInBf16Test, VisibleLimitsTheKeysOfEachQuery) {
  const auto inputs = in_bf16(random_inputs<float>(77, 77, 2, 20));
  std::vector<std::int32_t> causal(77);
  std::iota(causal.begin(), causal.end(), 1);
  expect_definition<BFloat16>(inputs, std::vector{AttentionGroup{0, 77, 0, 77, nullptr, causal.data()}});
  std::vector<std::int32_t> ragged = {0, 5, 0, 23, 1, 7, 7, 2, 0, 22};
  std::vector<std::int32_t> reversed(23);
  std::iota(reversed.rbegin(), reversed.rend(), 3);
  const AttentionGroup group{4, ragged.size(), 0, 23, reversed.data(), ragged.data()};
  expect_definition<BFloat16>(inputs, std::vector{group});
  std::fill(ragged.begin(), ragged.end(), 0);
  const auto context = in_floats(attend(inputs, group));
  EXPECT_EQ(context.view().middle_rows(4, ragged.size()).matrix().cwiseAbs().maxCoeff(), 0);
}

TEST(AttentionInBf16Test, UnseenKeysDoNotCountWhateverTheyHold) {
  auto inputs = in_bf16(random_inputs<float>(12, 15, 1, 7));
  const std::vector<std::int32_t> visible(12, 11);
  for (std::size_t queries : {5u, 12u}) {
    const AttentionGroup group{0, queries, 0, 15, nullptr, visible.data()};
    auto others = inputs;
    for (std::size_t i = 11 * 7; i < 15 * 7; ++i) others.keys[i] = others.values[i] = BFloat16{0x7fc0};  // NaN
    EXPECT_TRUE(test::same_bits(attend(others, group), attend(inputs, group)));
  }
}

// Seen to fail where nothing is written for such queries, of few and of many.
TEST(AttentionInBf16Test, QueryWithoutKeysGetsZero) {
  const auto inputs = in_bf16(random_inputs<float>(20, 3, 2, 5));
  const std::vector<std::int32_t> none(20, 0);
  for (std::size_t queries : {1u, 20u}) {
    for (const std::int32_t* visible : {static_cast<const std::int32_t*>(nullptr), none.data()}) {
      const AttentionGroup group{0, queries, 0, visible == nullptr ? 0u : 3u, nullptr, visible};
      const auto context = in_floats(attend(inputs, group));
      EXPECT_EQ(context.view().middle_rows(0, queries).matrix().cwiseAbs().maxCoeff(), 0);
    }
  }
}

// Seen to fail with scores of NaN taken for small ones.
TEST(AttentionInBf16Test, NaNIsNotHidden) {
  for (std::size_t queries : {1u, 9u}) {
    auto inputs = in_bf16(random_inputs<float>(queries, 21, 1, 3));
    inputs.keys[10] = BFloat16{0x7fc1};
    const auto context = in_floats(attend(inputs, all_of(inputs)));
    for (float value : context.values()) EXPECT_TRUE(std::isnan(value));
  }
}

// Seen to fail with products of pairs on no CPU.
TEST(AttentionInBf16Test, MultipliesPairsOnlyWhereTheCpuGainsByIt) {
  const auto many = in_bf16(random_inputs<float>(40, 40, 2, 32));
  const auto of_floats = [](const Inputs<BFloat16>& inputs) {
    return in_bf16(attend(in_floats(inputs), all_of(inputs)));
  };
  EXPECT_EQ(test::same_bits(attend(many, all_of(many)), of_floats(many)), active_isa() < Isa::avx512_bf16);
  const auto few = in_bf16(random_inputs<float>(8, 40, 2, 32));
  EXPECT_TRUE(test::same_bits(attend(few, all_of(few)), of_floats(few)));
}

// Seen to fail with products of pairs on one thread only.
TEST(AttentionInBf16Test, DoesNotDependOnThreads) {
  const auto inputs = in_bf16(random_inputs<float>(90, 90, 4, 20));
  const std::vector<AttentionGroup> groups = {{0, 30, 0, 60, nullptr, nullptr}, {30, 60, 33, 27, nullptr, nullptr}};
  EXPECT_TRUE(test::same_bits(attend<BFloat16>(inputs, groups, 1), attend<BFloat16>(inputs, groups, 3)));
}

TEST(AttentionKernelTest, WritesNoFurtherThanItsScratch) {
  using kernels::HeadType;
  constexpr float guard = 12345.0f;
  for (HeadType type : {HeadType::f32, HeadType::bf16, HeadType::bf16_pairs}) {
    if (type == HeadType::bf16_pairs && active_isa() < Isa::avx512_bf16) continue;
    for (std::size_t head_dim : {1u, 5u, 64u}) {
      for (std::size_t queries : {1u, 2u, 17u, 40u}) {
        for (std::size_t keys : {1u, 15u, 16u, 17u, 40u, 65u}) {
          const auto inputs = random_inputs<float>(queries, keys, 1, head_dim);
          const auto narrowed = in_bf16(inputs);
          const auto rows = [&](const Tensor<float>& floats, const Tensor<BFloat16>& bits) -> kernels::HeadRows {
            return {type == HeadType::f32 ? static_cast<const void*>(floats.data()) : bits.data(), head_dim};
          };
          const std::size_t size = kernels::attend_scratch(queries, keys, 1, head_dim, type);
          std::vector<float> scratch(size + 2 * head_dim * keys + 1024, guard);
          const std::size_t context_size = queries * head_dim * (type == HeadType::f32 ? 4 : 2);
          std::vector<std::byte> context(context_size + 64, std::byte{0x5a});
          kernels::attend(all_of(inputs), rows(inputs.queries, narrowed.queries), rows(inputs.keys, narrowed.keys),
                          rows(inputs.values, narrowed.values), 1, head_dim, 1.0f, type, context.data(), head_dim,
                          scratch.data());
          EXPECT_EQ(std::count(scratch.begin() + static_cast<std::ptrdiff_t>(size), scratch.end(), guard),
                    static_cast<std::ptrdiff_t>(scratch.size() - size))
              << head_dim << " " << queries << " " << keys << " " << static_cast<int>(type);
          EXPECT_EQ(std::count(context.end() - 64, context.end(), std::byte{0x5a}), 64);
        }
      }
    }
  }
}

}  // namespace
}  // namespace bertgen
