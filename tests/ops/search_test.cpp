#include "bertgen/ops/search.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "support/numbers.hpp"

namespace bertgen {
namespace {

template <typename T>
class SearchTest : public testing::Test {
 protected:
  static constexpr T infinity = std::numeric_limits<T>::infinity();
  static constexpr T nan = std::numeric_limits<T>::quiet_NaN();

  static std::size_t largest(const std::vector<T>& x) { return arg_max<T>(x); }
  static std::size_t above(const std::vector<T>& x, std::size_t begin, T less, T base, T bound) {
    return find_above<T>(x, begin, less, base, bound);
  }
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(SearchTest, Scalars);

TYPED_TEST(SearchTest, TheLargestIsFoundAtEveryPlaceOfEveryLength) {
  for (std::size_t length = 1; length <= 150; ++length) {
    std::vector<TypeParam> x = test::random_tensor<TypeParam>({length}, length, -9, -1).values();
    for (std::size_t place = 0; place < length; ++place) {
      const TypeParam kept = std::exchange(x[place], TypeParam(3));
      ASSERT_EQ(this->largest(x), place) << length;
      x[place] = kept;
    }
  }
}

TYPED_TEST(SearchTest, TheFirstOfEqualsIsTheLargest) {
  for (std::size_t length : {2u, 33u, 150u}) {
    for (std::size_t place = 0; place < length; ++place) {
      std::vector<TypeParam> x(length, TypeParam(-1));
      std::fill(x.begin() + static_cast<std::ptrdiff_t>(place), x.end(), TypeParam(2));
      ASSERT_EQ(this->largest(x), place) << length;
    }
  }
}

TYPED_TEST(SearchTest, NoNumberIsNeverTheLargest) {
  std::vector<TypeParam> x(70, this->nan);
  EXPECT_EQ(this->largest(x), 0u);
  for (std::size_t place : {3u, 68u}) {
    x[place] = -5;
    EXPECT_EQ(this->largest(x), place);
    x[place] = this->nan;
  }
  EXPECT_EQ(this->largest(std::vector<TypeParam>(70, -this->infinity)), 0u);
  EXPECT_EQ(this->largest({}), 0u);
}

// Seen to fail where nothing is taken off, by the vectors or behind them.
TYPED_TEST(SearchTest, AllThatIsAboveIsFoundInOrder) {
  for (std::size_t length : {1u, 4u, 31u, 64u, 149u}) {
    std::vector<TypeParam> x = test::random_tensor<TypeParam>({length}, length, -1, 1).values();
    if (length > 2) x[2] = this->nan;
    const TypeParam less = TypeParam(0.7), base = TypeParam(-2.5), bound = TypeParam(-3);
    std::vector<std::size_t> expected, found;
    for (std::size_t i = 0; i < length; ++i) {
      if (base + (x[i] - less) > bound) expected.push_back(i);
    }
    const auto next = [&](std::size_t begin) { return this->above(x, begin, less, base, bound); };
    for (std::size_t i = next(0); i < length; i = next(i + 1)) found.push_back(i);
    EXPECT_EQ(found, expected) << length;
  }
}

TYPED_TEST(SearchTest, WhatEqualsTheBoundIsNotAbove) {
  const std::vector<TypeParam> x(40, TypeParam(1));
  EXPECT_EQ(this->above(x, 0, TypeParam(1), TypeParam(3), TypeParam(3)), x.size());
  EXPECT_EQ(this->above(x, 7, TypeParam(1), TypeParam(3), TypeParam(2)), 7u);
  EXPECT_EQ(this->above(x, x.size(), TypeParam(1), TypeParam(3), TypeParam(2)), x.size());
}

}  // namespace
}  // namespace bertgen
