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
