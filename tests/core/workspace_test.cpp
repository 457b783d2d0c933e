#include "bertgen/core/workspace.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <vector>

#include "support/errors.hpp"
#include "support/numbers.hpp"

namespace bertgen {
namespace {

TEST(WorkspaceTest, RefusesNoThreadsAndTooMany) {
  EXPECT_EQ(Workspace(3).threads(), 3);
  test::expect_error<ArgumentError>([] { Workspace(0); }, {"expected 1 to 1024 threads, got 0"});
  test::expect_error<ArgumentError>([] { Workspace(-4); }, {"got -4"});
  test::expect_error<ArgumentError>([] { Workspace(1025); }, {"got 1025"});
}

TEST(WorkspaceTest, HoldsNothingAtFirst) { EXPECT_EQ(Workspace().capacity(), 0u); }

TEST(WorkspaceTest, MemoryIsAligned) {
  Workspace workspace;
  Workspace::Scope scope(workspace);
  for (std::size_t size : {1u, 3u, 64u, 100000u, 5u}) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(scope.take<char>({size}).data()) % 64, 0u);
  }
}

TEST(WorkspaceTest, EmptyTensorsCanBeTaken) {
  Workspace workspace;
  Workspace::Scope scope(workspace);
  EXPECT_EQ(scope.take<float>({0, 5}).rows(), 0u);
}

/// Takes tensors, fills each with its number, recurs, and looks whether all are still as filled.
void fill_and_check(Workspace& workspace, test::Random& random, int depth) {
  Workspace::Scope scope(workspace);
  std::vector<TensorView<int>> taken;
  for (std::size_t i = 0; i < 1 + random.below(4); ++i) {
    taken.push_back(scope.take<int>({1 + random.below(depth % 2 == 0 ? 100 : 40000)}));
    taken.back().matrix().setConstant(depth * 100 + static_cast<int>(i));
    if (depth > 0 && random.below(2) == 0) fill_and_check(workspace, random, depth - 1);
  }
  for (std::size_t i = 0; i < taken.size(); ++i) {
    EXPECT_TRUE((taken[i].matrix().array() == depth * 100 + static_cast<int>(i)).all()) << depth << " " << i;
  }
}

TEST(WorkspaceTest, NestedScopesDoNotOverlap) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Workspace workspace;
    test::Random random(seed);
    for (int repeat = 0; repeat < 5; ++repeat) fill_and_check(workspace, random, 6);
  }
}

TEST(WorkspaceTest, ScopeGivesBackWhatItTook) {
  Workspace workspace;
  Workspace::Scope outer(workspace);
  outer.take<char>({10});
  void* first = nullptr;
  {
    Workspace::Scope inner(workspace);
    first = inner.take<char>({1000}).data();
  }
  Workspace::Scope inner(workspace);
  EXPECT_EQ(inner.take<char>({1000}).data(), first);
}

TEST(WorkspaceTest, StaysAsItIsOnceWarm) {
  Workspace workspace;
  const auto computation = [&workspace] {
    Workspace::Scope scope(workspace);
    scope.take<char>({70000});
    {
      Workspace::Scope inner(workspace);
      inner.take<char>({300000});
    }
    scope.take<char>({100000});
    Workspace::Scope inner(workspace);
    inner.take<char>({200000});
  };
  computation();
  const std::size_t capacity = workspace.capacity();
  for (int i = 0; i < 10; ++i) {
    computation();
    EXPECT_EQ(workspace.capacity(), capacity);
  }
}

TEST(WorkspaceTest, NextComputationFindsAllMemoryInOnePiece) {
  Workspace workspace;
  {
    Workspace::Scope scope(workspace);
    for (std::size_t size : {70000u, 300000u, 100000u}) scope.take<char>({size});
  }
  const std::size_t capacity = workspace.capacity();
  Workspace::Scope scope(workspace);
  scope.take<char>({capacity});
  EXPECT_EQ(workspace.capacity(), capacity);
}

TEST(WorkspaceTest, GrowsWithinALiveScopeOnlyOnce) {
  Workspace workspace;
  Workspace::Scope outer(workspace);  // as a search holds one over all its steps
  const auto step = [&workspace] {
    Workspace::Scope scope(workspace);
    for (std::size_t size : {50000u, 200000u, 10u, 120000u}) scope.take<char>({size});
  };
  step();
  const std::size_t capacity = workspace.capacity();
  for (int i = 0; i < 10; ++i) step();
  EXPECT_EQ(workspace.capacity(), capacity);
}

TEST(WorkspaceTest, ForEachGivesEveryIndexAWorkspaceOfOneThread) {
  for (int threads : {1, 3}) {
    Workspace workspace(threads);
    std::vector<int> visits(7);
    workspace.for_each(visits.size(), [&](std::size_t index, Workspace& own) {
      ++visits[index];
      Workspace::Scope scope(own);
      scope.take<char>({100000});
      EXPECT_EQ(own.threads(), 1);
      EXPECT_EQ(&own == &workspace, threads == 1);
    });
    EXPECT_EQ(visits, std::vector<int>(7, 1));
    EXPECT_GE(workspace.capacity(), 100000u);
    workspace.for_each(0, [](std::size_t, Workspace&) { FAIL(); });
  }
}

TEST(WorkspaceTest, ForEachSharesTheThreadsOfAnOnlyIndex) {
  Workspace workspace(3);
  workspace.for_each(1, [&](std::size_t, Workspace& own) { EXPECT_EQ(&own, &workspace); });
}

TEST(WorkspaceTest, ForEachThrowsWhatABodyThrows) {
  for (int threads : {1, 3}) {
    Workspace workspace(threads);
    const auto fail_at_4 = [](std::size_t index, Workspace& own) {
      Workspace::Scope scope(own);
      scope.take<char>({10});
      if (index == 4) throw ArgumentError("four");
    };
    test::expect_error<ArgumentError>([&] { workspace.for_each(6, fail_at_4); }, {"four"});
    std::atomic<int> visits = 0;
    workspace.for_each(4, [&](std::size_t index, Workspace& own) {
      fail_at_4(index, own);
      ++visits;
    });
    EXPECT_EQ(visits, 4);
  }
}

TEST(WorkspaceTest, IsUsableAfterAnExceptionLeftItsScope) {
  Workspace workspace;
  EXPECT_THROW(
      {
        Workspace::Scope scope(workspace);
        scope.take<char>({1000});
        throw ArgumentError("x");
      },
      ArgumentError);
  Workspace::Scope scope(workspace);
  void* first = scope.take<char>({1}).data();
  Workspace fresh;
  EXPECT_NE(first, nullptr);
  EXPECT_EQ(workspace.capacity(), [&] {
    Workspace::Scope other(fresh);
    other.take<char>({1});
    return fresh.capacity();
  }());
}

}  // namespace
}  // namespace bertgen
