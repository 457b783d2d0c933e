#include "bertgen/generation/constraints.hpp"

#include <gtest/gtest.h>

namespace bertgen {
namespace {

using Words = std::vector<ForcedWord>;

TEST(ConstraintStateTest, GoesThroughAWordToItsEnd) {
  const Words words = {{{5, 6, 7}}};
  ConstraintState state(words);
  EXPECT_EQ(state.bank(), 0u);
  EXPECT_EQ(state.advance(), TokenIds{5});
  EXPECT_FALSE(state.add(6));
  EXPECT_TRUE(state.add(5));
  EXPECT_EQ(state.bank(), 1u);
  EXPECT_TRUE(state.add(6));
  EXPECT_EQ(state.advance(), TokenIds{7});
  EXPECT_FALSE(state.completed());
  EXPECT_TRUE(state.add(7));
  EXPECT_TRUE(state.completed());
  EXPECT_EQ(state.bank(), 3u);
  EXPECT_FALSE(state.add(5));
}

TEST(ConstraintStateTest, BrokenWordBeginsAnewBehindTheOthers) {
  const Words words = {{{5, 6}}, {{8, 9}}};
  ConstraintState state(words, TokenIds{5});
  EXPECT_EQ(state.advance(), TokenIds{6});
  // What breaks a word begins no other, even if it could.
  EXPECT_FALSE(state.add(8));
  EXPECT_EQ(state.bank(), 0u);
  EXPECT_EQ(state.advance(), (TokenIds{8, 5}));
}

TEST(ConstraintStateTest, WordsMayComeInAnyOrderAndTheFirstPendingOneIsBegun) {
  const Words words = {{{5, 6}}, {{5, 7}}, {{8}}};
  EXPECT_TRUE(ConstraintState(words, TokenIds{8, 3, 5, 6, 5, 7}).completed());
  EXPECT_FALSE(ConstraintState(words, TokenIds{8, 5, 7, 5, 6}).completed());  // 5 begins the first, which 7 breaks
  EXPECT_TRUE(ConstraintState(words, TokenIds{8, 5, 7, 5, 7, 5, 6}).completed());
  EXPECT_EQ(ConstraintState(words).advance(), (TokenIds{5, 5, 8}));
}

TEST(ConstraintStateTest, OneOfSeveralAlternativesWillDo) {
  const Words words = {{{5, 6, 7}, {5, 8}, {9}}};
  EXPECT_EQ(ConstraintState(words).advance(), (TokenIds{5, 9}));
  EXPECT_TRUE(ConstraintState(words, TokenIds{9}).completed());
  EXPECT_TRUE(ConstraintState(words, TokenIds{5, 8}).completed());
  EXPECT_EQ(ConstraintState(words, TokenIds{5}).advance(), (TokenIds{6, 8}));
  EXPECT_EQ(ConstraintState(words, TokenIds{5}).bank(), 1u);
  EXPECT_EQ(ConstraintState(words, TokenIds{5, 8}).bank(), 3u);  // whatever the length of the one that was taken
}

TEST(ConstraintStateTest, BranchesOfOneWordSeeEachOther) {
  const Words words = {{{5, 6}, {5, 7}, {8}}};
  // Not in a word: each branch is what its token makes of it.
  const auto first = ConstraintState(words).branches();
  ASSERT_EQ(first.size(), 2u);
  EXPECT_EQ(first[0].bank(), 1u);
  EXPECT_EQ(first[1].bank(), 2u);
  // In a word: the second branch, which completes it too, comes behind the first one's token and breaks it.
  const auto second = ConstraintState(words, TokenIds{5}).branches();
  ASSERT_EQ(second.size(), 2u);
  EXPECT_EQ(second[0].bank(), 2u);
  EXPECT_EQ(second[1].bank(), 0u);
}

TEST(ConstraintStateTest, BranchMayContinueTheOneBeforeIt) {
  const Words words = {{{5, 6, 7}, {5, 7}}};
  const auto branches = ConstraintState(words, TokenIds{5}).branches();
  ASSERT_EQ(branches.size(), 2u);
  EXPECT_EQ(branches[0].bank(), 2u);
  EXPECT_EQ(branches[1].bank(), 3u);  // 5 6 7
}

}  // namespace
}  // namespace bertgen
