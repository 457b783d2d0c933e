#include "bertgen/core/pages.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace bertgen {
namespace {

constexpr std::size_t never = SIZE_MAX;  // huge pages

TEST(PagePoolTest, GivesAgainWhatCameBackToThePlace) {
  PagePool pool;
  Pages first = pool.allocate(0, 1000, never);
  Pages second = pool.allocate(1, 1000, never);
  const std::byte* const addresses[] = {first.get(), second.get()};
  EXPECT_EQ(pool.capacity(), 0u);  // in use
  first.reset();
  second.reset();
  EXPECT_GE(pool.capacity(), 2000u);
  EXPECT_EQ(pool.allocate(1, 900, never).get(), addresses[1]);
  EXPECT_EQ(pool.allocate(0, 1000, never).get(), addresses[0]);
}

TEST(PagePoolTest, KeepsOneOfAPlaceTheLarger) {
  PagePool pool;
  for (bool larger_first : {false, true}) {
    Pages small = pool.allocate(3, 100, never);
    Pages large = pool.allocate(3, 5000, never);
    const std::byte* const address = large.get();
    (larger_first ? large : small).reset();
    (larger_first ? small : large).reset();
    EXPECT_EQ(pool.allocate(3, 10, never).get(), address) << larger_first;
    EXPECT_LT(pool.capacity(), 5100u) << larger_first;
  }
}

TEST(PagePoolTest, WhatIsTooSmallIsNotKeptBesideTheLarger) {
  PagePool pool;
  pool.allocate(0, 100, never).reset();
  const Pages large = pool.allocate(0, 100000, never);
  EXPECT_GE(large.get_deleter().size, 100000u);
  EXPECT_EQ(pool.capacity(), 0u);
}

TEST(PagePoolTest, RefusesMoreThanThereCanBeAndStaysUsable) {
  PagePool pool;
  pool.allocate(0, 100, never).reset();
  EXPECT_THROW(pool.allocate(0, SIZE_MAX, never), std::bad_alloc);
  EXPECT_NE(pool.allocate(0, 100, never), nullptr);
}

}  // namespace
}  // namespace bertgen
