#include "parallel.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace bertgen {
namespace {

// Seen to end the process, by std::terminate, without what catches in the loop of several threads.
TEST(ParallelTest, WhatABodyThrowsIsThrownOnAnyNumberOfThreads) {
  for (const int threads : {1, 2, 3}) {
    try {
      parallel_for(100, threads, [](std::size_t index, std::size_t) {
        if (index % 50 == 7) throw std::runtime_error(std::to_string(index));
      });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_TRUE(error.what() == std::string("7") || error.what() == std::string("57")) << error.what();
    }
  }
}

// Seen to fail with the first index left out.
TEST(ParallelTest, EveryIndexRunsOnceOnAKnownThread) {
  for (const int threads : {1, 2, 3}) {
    std::vector<std::atomic<int>> ran(100);
    parallel_for(ran.size(), threads, [&](std::size_t index, std::size_t thread) {
      EXPECT_LT(thread, static_cast<std::size_t>(threads));
      ++ran[index];
    });
    for (const auto& count : ran) EXPECT_EQ(count, 1);
  }
}

/// The part that ran each index of these amounts of work.
std::vector<std::size_t> shares(const std::vector<std::size_t>& work, int threads) {
  constexpr std::size_t none = 1000;
  std::vector<std::atomic<std::size_t>> part_of(work.size());
  for (auto& part : part_of) part = none;
  parallel_shares(
      work.size(), threads, [&](std::size_t index) { return work[index]; },
      [&](std::size_t index, std::size_t part) { EXPECT_EQ(part_of[index].exchange(part), none) << index; });
  return {part_of.begin(), part_of.end()};
}

// Seen to fail where an index belongs to the part that its work begins in, and with nothing for the last ones without
// work.
TEST(ParallelTest, SharesAreRunsOfAboutEqualWork) {
  using Parts = std::vector<std::size_t>;
  EXPECT_EQ(shares({1, 1, 1, 1, 1, 1}, 1), Parts(6, 0));
  EXPECT_EQ(shares({1, 1, 1, 1, 1, 1}, 3), (Parts{0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(shares({6, 1, 1, 1, 1, 2}, 2), (Parts{0, 1, 1, 1, 1, 1}));
  EXPECT_EQ(shares({0, 0, 5, 0, 0, 5, 0, 0}, 2), (Parts{0, 0, 0, 1, 1, 1, 1, 1}));
  EXPECT_EQ(shares({1, 100, 1}, 3), (Parts{0, 1, 2}));
  EXPECT_EQ(shares({0, 0, 0}, 2), Parts(3, 1));
  EXPECT_EQ(shares({}, 2), Parts());
}

// Seen to fail with parts taken as threads get free.
TEST(ParallelTest, APartStaysWithItsThread) {
  std::vector<std::thread::id> first(3), second(3);
  parallel_parts(3, [&](std::size_t part) { first[part] = std::this_thread::get_id(); });
  parallel_parts(3, [&](std::size_t part) { second[part] = std::this_thread::get_id(); });
  EXPECT_EQ(first, second);
  EXPECT_THROW(parallel_parts(3, [](std::size_t) { throw std::runtime_error("no"); }), std::runtime_error);
}

}  // namespace
}  // namespace bertgen
