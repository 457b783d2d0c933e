#include "parallel.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
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

}  // namespace
}  // namespace bertgen
