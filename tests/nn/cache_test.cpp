#include "bertgen/nn/cache.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "support/errors.hpp"

namespace bertgen {
namespace {

using Cache = EncoderDecoderCache<float>;
using Offsets = std::vector<std::size_t>;
using Rows = std::vector<std::int32_t>;

/// The slots that a group's last query sees.
Rows seen(const AttentionGroup& group) {
  Rows rows;
  for (std::size_t key = 0; key < group.keys_of(group.query_count - 1); ++key) {
    rows.push_back(static_cast<std::int32_t>(group.key_row(key)));
  }
  return rows;
}

/// One new token a row.
void step(Cache& cache) {
  Offsets offsets;
  for (std::size_t row = 0; row <= cache.rows(); ++row) offsets.push_back(row);
  cache.append(offsets, {}, true);
}

TEST(EncoderDecoderCacheTest, BeginsEmptyWithEachRowAtItsOwnSource) {
  const Cache cache(2, 4, 3, 3, 8);
  EXPECT_EQ(cache.rows(), 3u);
  EXPECT_EQ(cache.layers(), 2u);
  EXPECT_EQ(cache.length(2), 0u);
  EXPECT_EQ(cache.source(2), 2u);
  EXPECT_EQ(cache.self(0).rows(), 0u);
}

TEST(EncoderDecoderCacheTest, RowsOfDifferentLengthsSeeTheirOwnTokens) {
  Cache cache(1, 4, 2, 2, 8);
  cache.append(Offsets{0, 3, 5}, {}, true);
  ASSERT_EQ(cache.self_groups().size(), 2u);
  EXPECT_EQ(cache.self_groups()[0].query_begin, 0u);
  EXPECT_EQ(cache.self_groups()[0].query_count, 3u);
  EXPECT_EQ(cache.self_groups()[1].query_begin, 3u);
  EXPECT_EQ(seen(cache.self_groups()[0]), (Rows{0, 1, 2}));
  EXPECT_EQ(seen(cache.self_groups()[1]), (Rows{3, 4}));
  EXPECT_EQ(cache.length(0), 3u);
  EXPECT_EQ(cache.length(1), 2u);
}

TEST(EncoderDecoderCacheTest, CausalQuerySeesNoLaterToken) {
  Cache cache(1, 4, 1, 1, 8);
  cache.append(Offsets{0, 3}, {}, true);
  for (std::size_t query = 0; query < 3; ++query) EXPECT_EQ(cache.self_groups()[0].keys_of(query), query + 1);
  cache.append(Offsets{0, 2}, {}, true);
  EXPECT_EQ(cache.self_groups()[0].keys_of(0), 4u);
  EXPECT_EQ(cache.self_groups()[0].keys_of(1), 5u);
}

TEST(EncoderDecoderCacheTest, QueryThatIsNotCausalSeesAllTokens) {
  Cache cache(1, 4, 1, 1, 8);
  cache.append(Offsets{0, 3}, {}, false);
  EXPECT_EQ(cache.self_groups()[0].keys_of(0), 3u);
}

TEST(EncoderDecoderCacheTest, HiddenTokensAreSeenByNoneButKeepTheirPositions) {
  Cache cache(1, 4, 2, 2, 8);
  cache.append(Offsets{0, 3, 5}, std::vector<std::uint8_t>{0, 1, 1, 1, 0}, true);
  EXPECT_EQ(cache.self_groups()[0].keys_of(0), 0u);
  EXPECT_EQ(seen(cache.self_groups()[0]), (Rows{1, 2}));
  EXPECT_EQ(seen(cache.self_groups()[1]), (Rows{3}));
  EXPECT_EQ(cache.length(0), 3u);
  EXPECT_EQ(cache.length(1), 2u);
  step(cache);
  EXPECT_EQ(seen(cache.self_groups()[0]), (Rows{1, 2, 5}));
  EXPECT_EQ(seen(cache.self_groups()[1]), (Rows{3, 6}));
}

TEST(EncoderDecoderCacheTest, RowMayTakeNoToken) {
  Cache cache(1, 4, 2, 2, 8);
  cache.append(Offsets{0, 0, 2}, {}, true);
  EXPECT_EQ(cache.self_groups()[0].query_count, 0u);
  EXPECT_EQ(cache.length(0), 0u);
  EXPECT_EQ(seen(cache.self_groups()[1]), (Rows{0, 1}));
}

TEST(EncoderDecoderCacheTest, TakesBackWhatItTookLast) {
  Cache cache(1, 4, 2, 2, 8);
  cache.append(Offsets{0, 2, 3}, std::vector<std::uint8_t>{1, 0, 1}, true);
  cache.append(Offsets{0, 1, 3}, std::vector<std::uint8_t>{1, 1, 0}, true);
  cache.undo_append();
  EXPECT_EQ(cache.length(0), 2u);
  EXPECT_EQ(cache.length(1), 1u);
  cache.append(Offsets{0, 1, 2}, {}, true);
  EXPECT_EQ(seen(cache.self_groups()[0]), (Rows{0, 3}));
  EXPECT_EQ(seen(cache.self_groups()[1]), (Rows{2, 4}));
  EXPECT_EQ(cache.self_rows()[0].place, (Rows{0, 2}));
  EXPECT_EQ(cache.self_rows()[1].place, (Rows{0, 1}));
}

TEST(EncoderDecoderCacheTest, WantsTokensForEachRow) {
  Cache cache(1, 4, 2, 2, 8);
  test::expect_error<ShapeError>(
      [&] {
        cache.append(Offsets{0, 1}, {}, true);
      },
      {"cache: expected tokens for 2 rows, got 1"});
  EXPECT_EQ(cache.length(0), 0u);
}

TEST(EncoderDecoderCacheTest, ReorderSharesSlotsAndCopiesNoKeys) {
  Cache cache(1, 4, 2, 3, 8);
  cache.append(Offsets{0, 1, 3}, {}, true);  // row 0: slot 0; row 1: slots 1, 2
  const float* memory = cache.self(0).data();
  cache.reorder(Offsets{1, 1, 0});
  EXPECT_EQ(cache.rows(), 3u);
  EXPECT_EQ(cache.length(0), 2u);
  EXPECT_EQ(cache.length(2), 1u);
  EXPECT_EQ(cache.source(0), 1u);
  EXPECT_EQ(cache.source(1), 1u);
  EXPECT_EQ(cache.source(2), 0u);
  step(cache);
  EXPECT_EQ(seen(cache.self_groups()[0]), (Rows{1, 2, 3}));
  EXPECT_EQ(seen(cache.self_groups()[1]), (Rows{1, 2, 4}));
  EXPECT_EQ(seen(cache.self_groups()[2]), (Rows{0, 5}));
  EXPECT_EQ(cache.self(0).data(), memory);
}

TEST(EncoderDecoderCacheTest, RowsMayBeDroppedAndRegained) {
  Cache cache(1, 4, 3, 3, 8);
  step(cache);
  cache.reorder(Offsets{2});
  step(cache);
  EXPECT_EQ(seen(cache.self_groups()[0]), (Rows{2, 3}));
  cache.reorder(Offsets{0, 0});
  step(cache);
  EXPECT_EQ(seen(cache.self_groups()[0]), (Rows{2, 3, 4}));
  EXPECT_EQ(seen(cache.self_groups()[1]), (Rows{2, 3, 5}));
  cache.reorder({});
  EXPECT_EQ(cache.rows(), 0u);
  step(cache);
  EXPECT_TRUE(cache.self_groups().empty());
}

TEST(EncoderDecoderCacheTest, DroppedTokensAreSeenNoMore) {
  Cache cache(1, 4, 2, 2, 8);
  cache.append(Offsets{0, 3, 7}, {}, true);  // row 0: slots 0, 1, 2; row 1: slots 3, 4, 5, 6
  cache.drop_last(Offsets{2, 1});
  EXPECT_EQ(cache.length(0), 1u);
  EXPECT_EQ(cache.length(1), 3u);
  step(cache);
  EXPECT_EQ(seen(cache.self_groups()[0]), (Rows{0, 7}));
  EXPECT_EQ(seen(cache.self_groups()[1]), (Rows{3, 4, 5, 8}));
  cache.drop_last(Offsets{0, 4});
  step(cache);
  EXPECT_EQ(seen(cache.self_groups()[0]), (Rows{0, 7, 9}));
  EXPECT_EQ(seen(cache.self_groups()[1]), (Rows{10}));
}

TEST(EncoderDecoderCacheTest, ForgottenTokensMakeRoomForNewOnes) {
  // Three rows, of which two share a beginning, take four tokens a step and keep one at most.
  Cache cache(2, 3, 2, 3, 24);
  std::vector<std::vector<float>> written(3);  // row -> what its tokens' keys are
  float next = 0;
  const auto append = [&](const Offsets& offsets) {
    cache.append(offsets, {}, true);
    for (std::size_t row = 0; row < cache.rows(); ++row) {
      for (std::size_t token = offsets[row]; token < offsets[row + 1]; ++token, ++next) {
        written[row].push_back(next);
        for (std::size_t layer = 0; layer < 2; ++layer) {
          cache.new_self(layer, offsets.back())
              .middle_rows(token, 1)
              .matrix()
              .setConstant(next + 1000 * static_cast<float>(layer));
        }
      }
    }
  };
  append({0, 2, 5});
  cache.reorder(Offsets{0, 1, 1});
  written[2] = written[1];
  for (std::size_t pass = 0; pass < 20; ++pass) {
    append({0, 4, 8, 12});
    const std::size_t wrong = pass % 4 == 0 ? 3 : 4;
    for (std::vector<float>& row : written) row.resize(row.size() - wrong);
    cache.drop_last(Offsets{wrong, wrong, wrong});
    EXPECT_LE(cache.self(0).rows(), 72u) << "no more than was reserved";
  }
  append({0, 1, 2, 3});
  for (std::size_t row = 0; row < 3; ++row) {
    const Rows slots = seen(cache.self_groups()[row]);
    ASSERT_EQ(slots.size(), written[row].size());
    for (std::size_t token = 0; token < slots.size(); ++token) {
      const auto slot = static_cast<std::size_t>(slots[token]);
      EXPECT_EQ(cache.self(0).row(slot)[5], written[row][token]);
      EXPECT_EQ(cache.self(1).row(slot)[0], written[row][token] + 1000);
    }
  }
}

TEST(EncoderDecoderCacheTest, NewKeysLieBehindTheOldOnesAndOutliveGrowth) {
  Cache cache(2, 3, 1, 0, 0);  // nothing reserved
  for (int token = 0; token < 40; ++token) {
    step(cache);
    for (std::size_t layer = 0; layer < 2; ++layer) {
      ASSERT_EQ(cache.new_self(layer, 1).shape(), (Shape{1, 6}));
      cache.new_self(layer, 1).matrix().setConstant(static_cast<float>(100 * static_cast<int>(layer) + token));
    }
  }
  for (std::size_t layer = 0; layer < 2; ++layer) {
    ASSERT_EQ(cache.self(layer).shape(), (Shape{40, 6}));
    for (std::size_t token = 0; token < 40; ++token) {
      EXPECT_EQ(cache.self(layer).row(token)[5], static_cast<float>(100 * layer + token));
    }
  }
}

TEST(EncoderDecoderCacheTest, HoldsBFloat16InHalfTheMemory) {
  PagePool pool;
  const auto number = [](std::size_t layer, std::size_t token, std::size_t i) {
    return BFloat16{static_cast<std::uint16_t>(0x3f80 + 64 * layer + 8 * token + i)};
  };
  const auto write = [&](TensorView<BFloat16> rows, std::size_t layer, std::size_t token) {
    for (std::size_t i = 0; i < 8; ++i) rows.row(0)[i] = number(layer, token, i);
  };
  {
    Cache cache(2, 4, 1, 1, 4, &pool, DType::bf16);
    EXPECT_EQ(cache.dtype(), DType::bf16);
    for (std::size_t token = 0; token < 7; ++token) {  // it grows, and moves what it has
      step(cache);
      for (std::size_t layer = 0; layer < 2; ++layer) write(cache.new_self<BFloat16>(layer, 1), layer, token);
      if (token == 2) cache.drop_last(Offsets{1});
    }
    for (std::size_t layer = 0; layer < 2; ++layer) {
      const Tensor<float> copy = cache.key_values(layer, 0);
      ASSERT_EQ(copy.shape(), (Shape{6, 8}));
      for (std::size_t i = 0; i < copy.size(); ++i) {
        const std::size_t token = i / 8 < 2 ? i / 8 : i / 8 + 1;
        EXPECT_EQ(copy[i], static_cast<float>(number(layer, token, i % 8)));
      }
    }
  }
  PagePool of_floats;
  { const Cache cache(2, 4, 1, 1, 4000, &of_floats); }
  PagePool of_halves;
  { const Cache cache(2, 4, 1, 1, 4000, &of_halves, DType::bf16); }
  EXPECT_EQ(2 * of_halves.capacity(), of_floats.capacity());
}

// Seen to fail with either of the two checks left out.
TEST(EncoderDecoderCacheTest, IsSeenAsWhatItHoldsAlone) {
  Cache cache(1, 2, 1, 1, 4, nullptr, DType::bf16);
  step(cache);
  test::expect_error<ArgumentError>([&] { cache.self(0); }, {"expected BF16", "got F32"});
  test::expect_error<ArgumentError>([&] { cache.new_self(0, 1); }, {"expected BF16", "got F32"});
  test::expect_error<ArgumentError>([&] { cache.cross(0); }, {"expected BF16", "got F32"});
  test::expect_error<ArgumentError>([&] { Cache(1, 2, 1, 1, 4).self<BFloat16>(0); }, {"expected F32", "got BF16"});
  test::expect_error<ArgumentError>([&] { Cache(1, 2, 1, 1, 4, nullptr, DType::i8); }, {"or of BF16", "got I8"});
  test::expect_error<ArgumentError>([&] { EncoderDecoderCache<double>(1, 2, 1, 1, 4, nullptr, DType::bf16); },
                                    {"expected keys and values of F64"});
}

TEST(EncoderDecoderCacheTest, SourcesOfBFloat16MoveWhole) {
  Cache cache(1, 2, 0, 0, 0, nullptr, DType::bf16);
  for (std::uint16_t source = 0; source < 12; ++source) {
    cache.append_sources(Offsets{0, 1});
    for (std::size_t i = 0; i < 4; ++i) cache.new_cross<BFloat16>(0).row(0)[i] = BFloat16{source};
    if (source == 8) cache.reorder(Offsets{7, 8});  // the others are forgotten
  }
  const Offsets offsets = {0, 1, 2, 3, 4, 5};
  cache.append(offsets, {}, true);
  const std::uint16_t left[] = {7, 8, 9, 10, 11};
  for (std::size_t row = 0; row < 5; ++row) {
    const std::size_t at = cache.cross_groups()[row].key_begin;
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(cache.cross<BFloat16>(0).row(at)[i].bits, left[row]);
  }
}

TEST(EncoderDecoderCacheTest, WithoutSourcesThereIsNoCrossAttention) {
  Cache cache(1, 4, 2, 2, 8);
  step(cache);
  EXPECT_TRUE(cache.cross_groups().empty());
}

TEST(EncoderDecoderCacheTest, EachRowLooksAtItsSource) {
  Cache cache(2, 4, 2, 2, 8);
  cache.set_sources({0, 5, 7}, {});
  EXPECT_EQ(cache.cross(1).shape(), (Shape{7, 8}));
  cache.append(Offsets{0, 1, 4}, {}, true);
  ASSERT_EQ(cache.cross_groups().size(), 2u);
  EXPECT_EQ(seen(cache.cross_groups()[0]), (Rows{0, 1, 2, 3, 4}));
  EXPECT_EQ(seen(cache.cross_groups()[1]), (Rows{5, 6}));
  EXPECT_EQ(cache.cross_groups()[1].query_begin, 1u);
  EXPECT_EQ(cache.cross_groups()[1].query_count, 3u);
}

TEST(EncoderDecoderCacheTest, SourcesComeWithRowsAndGoWithTheLastOfThem) {
  EncoderDecoderCache<float> cache(2, 4, 0, 0, 0);
  const auto fill = [&](float value) {  // as projecting the new sources does
    for (std::size_t layer : {0u, 1u}) {
      const auto rows = cache.new_cross(layer);
      std::fill_n(rows.data(), rows.size(), value + static_cast<float>(layer));
    }
  };
  const auto expect_sources = [&](const std::vector<std::pair<std::size_t, float>>& expected) {
    std::vector<std::size_t> offsets(expected.size() + 1);
    std::iota(offsets.begin(), offsets.end(), std::size_t{0});
    cache.append(offsets, {}, true);
    const auto rows = cache.cross_rows(offsets);
    ASSERT_EQ(rows.size(), expected.size());
    for (std::size_t row = 0; row < rows.size(); ++row) {
      ASSERT_EQ(rows[row].positions, expected[row].first);
      for (std::size_t layer : {0u, 1u}) {
        for (std::size_t key = 0; key < rows[row].positions; ++key) {
          for (std::size_t i : {0u, 7u}) {
            EXPECT_EQ(cache.cross(layer).row(rows[row].group.key_row(key))[i],
                      expected[row].second + static_cast<float>(layer));
          }
        }
      }
    }
  };
  cache.append_sources(std::vector<std::size_t>{0, 1});
  fill(10);
  expect_sources({{1, 10}});
  cache.append_sources(std::vector<std::size_t>{0, 5, 7});
  fill(20);
  expect_sources({{1, 10}, {5, 20}, {2, 20}});
  EXPECT_EQ(cache.length(0), 2u);
  EXPECT_EQ(cache.length(1), 1u);
  cache.reorder(std::vector<std::size_t>{2, 2, 0});  // nobody reads the five any more
  cache.append_sources(std::vector<std::size_t>{0, 3});
  fill(30);
  expect_sources({{2, 20}, {2, 20}, {1, 10}, {3, 30}});
  EXPECT_EQ(cache.cross_rows(std::vector<std::size_t>{0, 1, 2, 3, 4})[3].group.key_begin, 3u) << "room was made";
}

TEST(EncoderDecoderCacheTest, RowsAndTheirSourcesMayBeForgotten) {
  Cache cache(1, 4, 0, 0, 0);
  cache.append_sources(Offsets{0, 2, 5});
  cache.append_sources(Offsets{0, 4});
  step(cache);
  cache.keep_rows(1);
  EXPECT_EQ(cache.rows(), 1u);
  EXPECT_EQ(cache.cross(0).rows(), 2u);
  cache.append_sources(Offsets{0, 3});
  step(cache);
  EXPECT_EQ(cache.length(0), 2u);
  EXPECT_EQ(cache.length(1), 1u);
  ASSERT_EQ(cache.cross_groups().size(), 2u);
  EXPECT_EQ(cache.cross_groups()[1].key_begin, 2u);
  EXPECT_EQ(cache.cross_groups()[1].key_count, 3u);
  cache.keep_rows(0);
  EXPECT_EQ(cache.rows(), 0u);
  EXPECT_EQ(cache.cross(0).rows(), 0u);
}

TEST(EncoderDecoderCacheTest, NeighboursWithOneSourceAreOneGroup) {
  Cache cache(1, 4, 2, 4, 8);
  cache.set_sources({0, 5, 7}, {});
  step(cache);
  cache.reorder(Offsets{1, 0, 0, 1});
  step(cache);
  ASSERT_EQ(cache.cross_groups().size(), 3u);
  EXPECT_EQ(cache.cross_groups()[1].query_begin, 1u);
  EXPECT_EQ(cache.cross_groups()[1].query_count, 2u);
  EXPECT_EQ(seen(cache.cross_groups()[1]), (Rows{0, 1, 2, 3, 4}));
  EXPECT_EQ(seen(cache.cross_groups()[2]), (Rows{5, 6}));
}

TEST(EncoderDecoderCacheTest, HiddenSourcePositionsAreLeftOut) {
  Cache cache(1, 4, 2, 2, 8);
  cache.set_sources({0, 3, 5}, {{0, 2}, {}});
  step(cache);
  EXPECT_EQ(seen(cache.cross_groups()[0]), (Rows{0, 2}));
  EXPECT_TRUE(seen(cache.cross_groups()[1]).empty());
}

}  // namespace
}  // namespace bertgen
