#include "bertgen/models/batch.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "support/errors.hpp"

namespace bertgen {
namespace {

using Ids = std::vector<TokenIds>;
using Masks = std::vector<AttentionMask>;
using Rows = std::vector<std::int32_t>;

TEST(PackTest, LaysSequencesOneAfterAnother) {
  const PackedBatch batch = pack(Ids{{7, 8, 9}, {5}, {4, 3}}, {}, HiddenPositions::keep);
  EXPECT_EQ(batch.input_ids, (TokenIds{7, 8, 9, 5, 4, 3}));
  EXPECT_EQ(batch.position_ids, (Rows{0, 1, 2, 0, 0, 1}));
  EXPECT_EQ(batch.offsets, (std::vector<std::size_t>{0, 3, 4, 6}));
  EXPECT_TRUE(batch.key_lists.empty());
  EXPECT_EQ(batch.size(), 3u);
  EXPECT_EQ(batch.rows(), 6u);
}

TEST(PackTest, NothingPacksToNothing) {
  const PackedBatch batch = pack({}, {}, HiddenPositions::keep);
  EXPECT_EQ(batch.size(), 0u);
  EXPECT_EQ(batch.rows(), 0u);
  EXPECT_TRUE(self_attention_groups(batch).empty());
}

TEST(PackTest, KeptHiddenPositionsAreRowsThatNobodySees) {
  const PackedBatch batch = pack(Ids{{7, 8, 9}, {5, 6}}, Masks{{0, 1, 1}, {1, 0}}, HiddenPositions::keep);
  EXPECT_EQ(batch.input_ids, (TokenIds{7, 8, 9, 5, 6}));
  EXPECT_EQ(batch.position_ids, (Rows{0, 1, 2, 0, 1}));
  EXPECT_EQ(batch.key_lists, (std::vector<Rows>{{1, 2}, {3}}));
}

TEST(PackTest, DroppedHiddenPositionsStayCounted) {
  const PackedBatch batch = pack(Ids{{7, 8, 9}, {5, 6}}, Masks{{0, 1, 1}, {1, 0}}, HiddenPositions::drop);
  EXPECT_EQ(batch.input_ids, (TokenIds{8, 9, 5}));
  EXPECT_EQ(batch.position_ids, (Rows{1, 2, 0}));
  EXPECT_EQ(batch.offsets, (std::vector<std::size_t>{0, 2, 3}));
  EXPECT_TRUE(batch.key_lists.empty());
}

TEST(PackTest, AnyFlagButZeroShows) {
  const PackedBatch batch = pack(Ids{{7, 8}}, Masks{{255, 2}}, HiddenPositions::keep);
  EXPECT_TRUE(batch.key_lists.empty());
}

TEST(PackTest, EmptyMaskOfARowShowsAllOfIt) {
  const PackedBatch batch = pack(Ids{{7, 8}, {5, 6}}, Masks{{}, {0, 1}}, HiddenPositions::keep);
  EXPECT_EQ(batch.key_lists, (std::vector<Rows>{{0, 1}, {3}}));
}

TEST(PackTest, WhollyHiddenSequenceStaysInTheBatch) {
  const PackedBatch kept = pack(Ids{{7, 8}, {5}}, Masks{{0, 0}, {1}}, HiddenPositions::keep);
  EXPECT_EQ(kept.key_lists, (std::vector<Rows>{{}, {2}}));
  const PackedBatch dropped = pack(Ids{{7, 8}, {5}}, Masks{{0, 0}, {1}}, HiddenPositions::drop);
  EXPECT_EQ(dropped.offsets, (std::vector<std::size_t>{0, 0, 1}));
}

TEST(PackTest, MaskMustHaveTheShapeOfTheIds) {
  test::expect_error<ShapeError>(
      [] {
        pack(Ids{{1}, {2}}, Masks{{1}}, HiddenPositions::keep);
      },
      {"attention_mask: expected 2 rows, as in input_ids, got 1"});
  test::expect_error<ShapeError>(
      [] {
        pack(Ids{{1}, {2, 3}}, Masks{{1}, {1}}, HiddenPositions::drop);
      },
      {"attention_mask: expected 2 values in row 1, one an id, got 1"});
}

TEST(MiddleSequencesTest, AreAsIfPackedAlone) {
  const Ids ids = {{7, 8}, {5, 6, 9}, {}, {4}};
  const Masks masks = {{1, 1}, {0, 1, 1}, {}, {1}};
  const Ids types = {{0, 1}, {1, 1, 0}, {}, {1}};
  const auto whole = [&](std::size_t first, std::size_t last) {
    const auto part = [&](const auto& rows) { return std::span(rows).subspan(first, last - first); };
    return pack(part(ids), part(masks), HiddenPositions::keep, part(types));
  };
  const PackedBatch batch = whole(0, 4);
  const PackedBatch part = middle_sequences(batch, 1, 4), expected = whole(1, 4);
  EXPECT_EQ(part.input_ids, expected.input_ids);
  EXPECT_EQ(part.token_type_ids, expected.token_type_ids);
  EXPECT_EQ(part.position_ids, expected.position_ids);
  EXPECT_EQ(part.offsets, expected.offsets);
  EXPECT_EQ(part.key_lists, expected.key_lists);
  EXPECT_EQ(middle_sequences(batch, 2, 3).rows(), 0u);
  EXPECT_EQ(middle_sequences(pack(ids, {}, HiddenPositions::keep), 0, 2).key_lists.size(), 0u);
}

/// The rows of each part that `threads` threads take of sequences of these lengths.
std::vector<std::size_t> parts_of(std::initializer_list<std::size_t> lengths, std::size_t threads) {
  Ids ids;
  for (std::size_t length : lengths) ids.emplace_back(length, 3);
  const PackedBatch batch = pack(ids, {}, HiddenPositions::keep);
  const std::vector<std::size_t> begins = divide(batch, threads);
  EXPECT_EQ(begins.front(), 0u);
  EXPECT_EQ(begins.back(), batch.size());
  std::vector<std::size_t> rows;
  for (std::size_t part = 1; part < begins.size(); ++part) {
    rows.push_back(batch.offsets[begins[part]] - batch.offsets[begins[part - 1]]);
  }
  return rows;
}

TEST(DivideTest, PartsAreOfSome256Rows) {
  using Parts = std::vector<std::size_t>;
  EXPECT_EQ(parts_of({}, 1), Parts{0});
  EXPECT_EQ(parts_of({0, 0}, 1), Parts{0});
  EXPECT_EQ(parts_of({100, 156}, 1), Parts{256});
  EXPECT_EQ(parts_of({100, 157}, 1), (Parts{100, 157}));
  EXPECT_EQ(parts_of({256, 256, 256}, 1), (Parts{256, 256, 256}));
  EXPECT_EQ(parts_of({500, 20}, 1), (Parts{500, 20}));
  EXPECT_EQ(parts_of({1000}, 1), Parts{1000}) << "a sequence is never divided";
  EXPECT_EQ(parts_of({90, 90, 90, 90, 90, 90, 90, 90}, 1), (Parts{270, 180, 270}));
}

TEST(DivideTest, ThreadsGetPartsAlikeOrShareOne) {
  using Parts = std::vector<std::size_t>;
  EXPECT_EQ(parts_of({}, 3), Parts{0});
  EXPECT_EQ(parts_of({64, 64, 64, 63}, 2), Parts{255}) << "too few rows for two parts";
  EXPECT_EQ(parts_of({64, 64, 64, 64}, 2), (Parts{128, 128}));
  EXPECT_EQ(parts_of({256, 256, 256}, 2), Parts{768}) << "one thread would idle";
  EXPECT_EQ(parts_of({256, 256, 256, 256}, 2), (Parts{256, 256, 256, 256}));
  EXPECT_EQ(parts_of({500, 20, 20}, 2), Parts{540});
  EXPECT_EQ(parts_of({200, 210, 190}, 3), (Parts{200, 210, 190}));
}

TEST(SelfAttentionGroupsTest, EachSequenceSeesItself) {
  const PackedBatch batch = pack(Ids{{7, 8, 9}, {5}}, {}, HiddenPositions::keep);
  const auto groups = self_attention_groups(batch);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].query_count, 3u);
  EXPECT_EQ(groups[0].key_count, 3u);
  EXPECT_EQ(groups[1].query_begin, 3u);
  EXPECT_EQ(groups[1].key_begin, 3u);
  EXPECT_EQ(groups[1].key_index, nullptr);
}

TEST(SelfAttentionGroupsTest, HiddenRowsAreNoKeys) {
  const PackedBatch batch = pack(Ids{{7, 8}, {5, 6}}, Masks{{1, 1}, {0, 1}}, HiddenPositions::keep);
  const auto groups = self_attention_groups(batch);
  EXPECT_EQ(groups[0].key_count, 2u);
  ASSERT_EQ(groups[1].key_count, 1u);
  EXPECT_EQ(groups[1].key_row(0), 3u);
  EXPECT_EQ(groups[1].query_count, 2u);
}

}  // namespace
}  // namespace bertgen
