#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <vector>

#include "bertgen/generation/score_rules.hpp"
#include "support/fixture.hpp"
#include "support/numbers.hpp"

namespace bertgen {
namespace {

using Left = std::vector<std::size_t>;

constexpr double infinity = std::numeric_limits<double>::infinity();

template <typename T>
std::vector<double> process(const GenerationConfig& config, const TokenIds& eos, const std::vector<double>& scores) {
  std::vector<T> row(scores.begin(), scores.end());
  const TokenIds ids = {2};
  for (const auto& processor : make_logits_processors<T>(config, eos))
    processor->process({.ids = ids, .encoder_ids = ids, .max_length = 20}, row);
  return {row.begin(), row.end()};
}

template <typename T>
class LogitsWarperTest : public testing::Test {
 protected:
  LogitsWarperTest() {
    config_.do_sample = true;
    config_.top_k = 0;
  }
  /// The ids that are left of `scores`.
  std::vector<std::size_t> left(const std::vector<double>& scores = {1, 2, -1, 0.5, -2, 3}) const {
    const std::vector<double> got = process<T>(config_, eos_, scores);
    std::vector<std::size_t> ids;
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (got[i] > -infinity) ids.push_back(i);
    }
    return ids;
  }

  GenerationConfig config_;
  TokenIds eos_ = {1};
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(LogitsWarperTest, Scalars);

TYPED_TEST(LogitsWarperTest, GoldenRowsOfTransformers) {
  const auto expect = [this](auto field, double value, const Left& left) {
    GenerationConfig& config = this->config_;
    const GenerationConfig before = config;
    config.*field = value;
    EXPECT_EQ(this->left(), left);
    config = before;
  };
  expect(&GenerationConfig::top_p, 0.8, {1, 5});
  expect(&GenerationConfig::min_p, 0.2, {1, 5});
  expect(&GenerationConfig::typical_p, 0.5, {1, 5});
  expect(&GenerationConfig::epsilon_cutoff, 0.1, {1, 5});
  expect(&GenerationConfig::eta_cutoff, 0.1, {1, 5});
  expect(&GenerationConfig::top_h, 0.5, {5});
  this->config_.top_k = 2;
  EXPECT_EQ(this->left(), (Left{1, 5}));
}

TYPED_TEST(LogitsWarperTest, WithoutSamplingNothingIsDropped) {
  this->config_.do_sample = false;
  this->config_.top_k = 1;
  this->config_.temperature = 9;
  EXPECT_TRUE(make_logits_processors<TypeParam>(this->config_, this->eos_).empty());
}

TYPED_TEST(LogitsWarperTest, FiftyAreLeftUnlessTopKSaysOtherwise) {
  this->config_.top_k.reset();
  std::vector<double> scores(80);
  for (std::size_t i = 0; i < scores.size(); ++i) scores[i] = static_cast<double>(i);
  EXPECT_EQ(this->left(scores).size(), 50u);
  EXPECT_EQ(this->left(scores).front(), 30u);
}

TYPED_TEST(LogitsWarperTest, EqualsOfTheLastOneStay) {
  this->config_.top_k = 2;
  EXPECT_EQ(this->left({1, 3, 2, 2, 2}), (Left{1, 2, 3, 4}));
}

TYPED_TEST(LogitsWarperTest, BeamsKeepOneMoreThanThereAreEnds) {
  this->config_.num_beams = 2;
  this->config_.top_k = 1;
  EXPECT_EQ(this->left().size(), 2u);
  this->eos_ = {1, 3, 4};
  EXPECT_EQ(this->left().size(), 4u);
  this->eos_ = {};
  EXPECT_EQ(this->left().size(), 2u);
}

TYPED_TEST(LogitsWarperTest, RowWithOneTokenLeftIsUnchanged) {
  this->config_.top_h = this->config_.typical_p = 0.5;
  this->config_.top_p = this->config_.min_p = this->config_.eta_cutoff = 0.9;
  EXPECT_EQ(this->left({-infinity, 0.25, -infinity}), (Left{1}));
}

/// Rows and options at random; see tools/make_warper_fixtures.py.
TYPED_TEST(LogitsWarperTest, LeavesWhatTransformersLeaves) {
  std::ifstream file(test::data_directory() / "generation/warpers.json");
  const nlohmann::json expected = nlohmann::json::parse(file);
  const auto numbers = [](const nlohmann::json& row) {
    std::vector<double> values;
    for (const auto& value : row) values.push_back(value.is_null() ? -infinity : value.get<double>());
    return values;
  };
  ASSERT_GE(expected.at("cases").size(), 150u);
  for (const auto& entry : expected.at("cases")) {
    SCOPED_TRACE(entry.at("options").dump() + " row " + entry.at("row").dump());
    GenerationConfig config;
    config.do_sample = true;
    config.update(entry.at("options").dump(), "case");
    const auto got = process<TypeParam>(config, entry.at("eos").get<TokenIds>(),
                                        numbers(expected.at("rows").at(entry.at("row").get<std::size_t>())));
    const auto wanted = numbers(entry.at("scores"));
    ASSERT_EQ(got.size(), wanted.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (std::isfinite(wanted[i])) {
        // One division of at most 100, and sums of at most 60 terms where renormalised.
        EXPECT_NEAR(got[i], wanted[i], 100 * 60 * test::roundoff<TypeParam>) << i;
      } else {
        EXPECT_EQ(got[i], wanted[i]) << i;
      }
    }
  }
}

}  // namespace
}  // namespace bertgen
