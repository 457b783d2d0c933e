// What contrastive search answers is compared with transformers' in combinations_test.cpp.
#include "bertgen/generation/contrastive_search.hpp"

#include "bertgen/generation/generate.hpp"
#include "support/checkpoint.hpp"
#include "support/errors.hpp"

namespace bertgen {
namespace {

TEST(ContrastiveChoiceTest, WeighsProbabilityAgainstTheLikestState) {
  ContrastiveChoice<double> choice(0.25);
  choice.remember(std::vector<double>{2, 0});
  choice.remember(std::vector<double>{0, 5});
  // Cosines with (3, 4): 0.6 and 0.8; with (-1, 0): -1 and 0.
  EXPECT_NEAR(choice(0.5, std::vector<double>{3, 4}), 0.75 * 0.5 - 0.25 * 0.8, 1e-15);
  EXPECT_NEAR(choice(0.5, std::vector<double>{-1, 0}), 0.75 * 0.5, 1e-15);
}

TEST(LikeliestTokensTest, LargestFirstAndOfEqualOnesTheLower) {
  EXPECT_EQ(likeliest_tokens<double>(std::vector<double>{0.1, 0.3, 0.2, 0.3, 0.1}, 4),
            (std::vector<std::size_t>{1, 3, 2, 0}));
}

class ContrastiveSearchTest : public testing::Test {
 protected:
  std::vector<GeneratedSequence> generate(const std::vector<TokenIds>& sources) {
    Workspace workspace(1);
    return bertgen::generate<double>(model_, {.input_ids = sources}, config_, workspace).sequences;
  }

  BasicEncoderDecoderModel<double> model_ = test::make_model<double>();
  GenerationConfig config_ = [this] {
    GenerationConfig config = model_.generation_config();
    config.max_length = 10;
    config.penalty_alpha = 0.6;
    config.top_k = 4;
    return config;
  }();
  const std::vector<TokenIds> sources_ = {{3, 4, 5}, {6}, {7, 8, 9, 10}};
};

TEST_F(ContrastiveSearchTest, RowsDoNotDependOnOneAnother) {
  const auto together = generate(sources_);
  for (std::size_t s = 0; s < sources_.size(); ++s) EXPECT_EQ(generate({sources_[s]})[0].ids, together[s].ids);
}

TEST_F(ContrastiveSearchTest, WithoutPenaltyItIsGreedySearch) {
  config_.penalty_alpha = 1e-300;
  const auto contrastive = generate(sources_);
  config_.penalty_alpha = 0;
  const auto greedy = generate(sources_);
  for (std::size_t s = 0; s < sources_.size(); ++s) {
    EXPECT_EQ(contrastive[s].ids, greedy[s].ids);
    EXPECT_NEAR(contrastive[s].score, greedy[s].score, 1e-11);  // sums of 9, from batches of different sizes
  }
}

TEST_F(ContrastiveSearchTest, NeedsAsManyTokensAsTopK) {
  config_.top_k = 20;
  test::expect_error<ArgumentError>([this] { generate(sources_); }, {"top_k: expected at most 19", "got 20"});
}

}  // namespace
}  // namespace bertgen
