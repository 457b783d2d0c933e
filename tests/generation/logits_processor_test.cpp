#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "bertgen/generation/score_rules.hpp"
#include "support/errors.hpp"
#include "support/numbers.hpp"

namespace bertgen {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// The row and history that the golden values of transformers were printed for.
const std::vector<double> golden_scores = {1, 2, -1, 0.5, -2, 3};
const TokenIds golden_ids = {2, 1, 2};

template <typename T>
class LogitsProcessorTest : public testing::Test {
 protected:
  /// The scores after all rules of config_.
  std::vector<double> process(const std::vector<double>& scores = golden_scores) const {
    std::vector<T> row(scores.begin(), scores.end());
    const LogitsContext context{ids_, encoder_ids_, prompt_length_, max_length_, 7};
    for (const auto& rule : make_logits_processors<T>(config_, eos_, own_, allowed_)) rule->process(context, row);
    return {row.begin(), row.end()};
  }
  /// Expects values within the rounding of a few operations on values below 8; infinities exactly.
  void expect(const std::vector<double>& expected, const std::vector<double>& scores = golden_scores,
              double printed = 0) const {
    const std::vector<double> got = process(scores);
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (std::isfinite(expected[i])) {
        EXPECT_NEAR(got[i], expected[i], 32 * test::roundoff<T> + printed) << i;
      } else {
        EXPECT_EQ(got[i], expected[i]) << i;
      }
    }
  }
  /// The golden row with these ids banned.
  static std::vector<double> banned(std::initializer_list<std::size_t> ids) {
    std::vector<double> scores = golden_scores;
    for (std::size_t id : ids) scores[id] = -infinity;
    return scores;
  }

  GenerationConfig config_;
  TokenIds ids_ = golden_ids;
  TokenIds encoder_ids_ = golden_ids;
  std::size_t prompt_length_ = 1;
  std::size_t max_length_ = 20;
  TokenIds eos_ = {1};
  LogitsProcessors<T> own_;
  PrefixAllowedTokens allowed_;
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(LogitsProcessorTest, Scalars);

TYPED_TEST(LogitsProcessorTest, NothingIsChangedByDefault) {
  EXPECT_TRUE(make_logits_processors<TypeParam>(this->config_, this->eos_).empty());
  this->expect(golden_scores);
}

TYPED_TEST(LogitsProcessorTest, NeutralValuesAddNoRule) {
  this->config_.repetition_penalty = this->config_.encoder_repetition_penalty = 1;
  this->config_.no_repeat_ngram_size = this->config_.encoder_no_repeat_ngram_size = 0;
  this->config_.min_length = this->config_.min_new_tokens = 0;
  this->config_.remove_invalid_values = this->config_.renormalize_logits = false;
  EXPECT_TRUE(make_logits_processors<TypeParam>(this->config_, this->eos_).empty());
}

TYPED_TEST(LogitsProcessorTest, SequenceBiasAddsWhereTheSequenceWouldBeCompleted) {
  this->config_.sequence_bias = {{{3}, 1.5}, {{2, 5}, -2}, {{1, 2, 4}, 0.25}};
  this->expect({1, 2, -1, 2, -1.75, 1});
}

TYPED_TEST(LogitsProcessorTest, SequenceBiasesAccumulate) {
  this->config_.sequence_bias = {{{3}, 1.5}, {{3}, 2}, {{2, 3}, 4}, {{1, 3}, 100}};
  this->expect({1, 2, -1, 8, -2, 3});
}

TYPED_TEST(LogitsProcessorTest, SequenceBiasWantsAsManyIdsAsTheWholeSequence) {
  this->ids_ = {2};
  this->config_.sequence_bias = {{{2, 5}, -2}};
  this->expect(golden_scores);
  this->ids_ = {1, 2};
  this->expect({1, 2, -1, 0.5, -2, 1});
}

TYPED_TEST(LogitsProcessorTest, RepetitionPenaltyIsAppliedOnceToEachId) {
  this->config_.repetition_penalty = 1.5;
  this->expect({1, 2 / 1.5, -1.5, 0.5, -2, 3});
}

TYPED_TEST(LogitsProcessorTest, EncoderRepetitionPenaltyRaisesTheSourcesIds) {
  this->config_.encoder_repetition_penalty = 1.5;
  this->ids_ = {5};
  this->expect({1, 3, -1 / 1.5, 0.5, -2, 3});
}

TYPED_TEST(LogitsProcessorTest, NoRepeatNGramBansWhatFollowedTheSamePrefix) {
  this->config_.no_repeat_ngram_size = 2;
  this->expect(this->banned({1}));
}

TYPED_TEST(LogitsProcessorTest, NoRepeatUnigramBansEveryIdSeen) {
  this->config_.no_repeat_ngram_size = 1;
  this->expect(this->banned({1, 2}));
}

TYPED_TEST(LogitsProcessorTest, NoRepeatNGramFindsEveryFollower) {
  this->config_.no_repeat_ngram_size = 3;
  this->ids_ = {4, 5, 0, 4, 5, 1, 3, 4, 5};
  this->expect(this->banned({0, 1}));
}

TYPED_TEST(LogitsProcessorTest, NoRepeatNGramLeavesShortRowsAlone) {
  for (std::size_t size : {4u, 5u, 1u << 30}) {
    this->config_.no_repeat_ngram_size = size;
    this->expect(golden_scores);
  }
}

TYPED_TEST(LogitsProcessorTest, EncoderNoRepeatNGramBansWhatFollowsInTheSource) {
  this->config_.encoder_no_repeat_ngram_size = 2;
  this->encoder_ids_ = {2, 4, 2, 5};
  this->expect(this->banned({4, 5}));
}

TYPED_TEST(LogitsProcessorTest, EncoderNoRepeatNGramLeavesShortRowsAlone) {
  this->config_.encoder_no_repeat_ngram_size = 3;
  this->encoder_ids_ = {1, 2};
  this->expect(golden_scores);
  this->encoder_ids_ = {1, 2, 4};
  this->expect(this->banned({4}));
  this->ids_ = {1, 2};  // the n-gram's prefix is all there is
  this->expect(this->banned({4}));
  this->ids_ = {2};
  this->expect(golden_scores);
}

TYPED_TEST(LogitsProcessorTest, BadWordsAreBannedButNotALoneEndToken) {
  this->config_.bad_words_ids = std::vector<TokenIds>{{3}, {2, 5}, {1}};
  this->expect(this->banned({3, 5}));
}

TYPED_TEST(LogitsProcessorTest, MinLengthCountsThePrompt) {
  this->config_.min_length = 3;
  this->expect(golden_scores);
  this->config_.min_length = 4;
  this->expect(this->banned({1}));
  this->eos_ = {1, 4};
  this->expect(this->banned({1, 4}));
}

TYPED_TEST(LogitsProcessorTest, MinNewTokensDoesNotCountThePromptAndWins) {
  this->config_.min_length = 100;
  this->config_.min_new_tokens = 2;
  this->expect(golden_scores);
  this->config_.min_new_tokens = 3;
  this->expect(this->banned({1}));
  this->prompt_length_ = 3;
  this->config_.min_new_tokens = 1;
  this->expect(this->banned({1}));
}

TYPED_TEST(LogitsProcessorTest, NoEndTokenMeansNoMinimum) {
  this->config_.min_length = 10;
  this->config_.min_new_tokens = 10;
  this->config_.exponential_decay_length_penalty = ExponentialDecay{0, 2};
  this->eos_ = {};
  EXPECT_TRUE(make_logits_processors<TypeParam>(this->config_, this->eos_).empty());
}

TYPED_TEST(LogitsProcessorTest, ForcedBosFollowsAOneTokenRow) {
  this->config_.forced_bos_token_id = 4;
  this->expect(golden_scores);
  this->ids_ = {2};
  this->expect({-infinity, -infinity, -infinity, -infinity, 0, -infinity});
}

TYPED_TEST(LogitsProcessorTest, ForcedEosTakesTheLastPlace) {
  this->config_.forced_eos_token_id = TokenIds{0, 4};
  this->max_length_ = 5;
  this->expect(golden_scores);
  this->max_length_ = 4;
  this->expect({0, -infinity, -infinity, -infinity, 0, -infinity});
}

TYPED_TEST(LogitsProcessorTest, RemoveInvalidValuesMakesAllFinite) {
  this->config_.remove_invalid_values = true;
  const double largest = std::numeric_limits<TypeParam>::max();
  EXPECT_EQ(this->process({std::nan(""), infinity, -infinity, 0.5, -2, 3}),
            (std::vector<double>{0, largest, -largest, 0.5, -2, 3}));
}

TYPED_TEST(LogitsProcessorTest, ExponentialDecayRaisesTheEndToken) {
  this->config_.exponential_decay_length_penalty = ExponentialDecay{1, 1.2};
  this->expect({1, 2.4, -1, 0.5, -2, 3});
  this->eos_ = {4};  // a negative score rises too
  this->expect({1, 2, -1, 0.5, -1.6, 3});
  this->ids_ = {2, 1};  // not past the start yet
  this->expect(golden_scores);
}

TYPED_TEST(LogitsProcessorTest, ExponentialDecayCountsFromThePrompt) {
  this->config_.exponential_decay_length_penalty = ExponentialDecay{0, 2};
  this->prompt_length_ = 2;
  this->expect({1, 4, -1, 0.5, -2, 3});
}

TYPED_TEST(LogitsProcessorTest, ExponentialDecayLeavesBannedEndTokensBanned) {
  this->config_.min_length = 10;
  this->config_.exponential_decay_length_penalty = ExponentialDecay{0, 2};
  this->expect(this->banned({1}));
}

TYPED_TEST(LogitsProcessorTest, ExponentialDecayThatStartsTooLateDoesNothing) {
  this->config_.exponential_decay_length_penalty = ExponentialDecay{std::size_t{1} << 30, 2};
  this->expect(golden_scores);
}

TYPED_TEST(LogitsProcessorTest, SuppressedTokensAreBannedAlways) {
  this->config_.suppress_tokens = TokenIds{0, 5};
  this->expect(this->banned({0, 5}));
}

TYPED_TEST(LogitsProcessorTest, BeginSuppressedTokensAreBannedAtTheFirstNewToken) {
  this->config_.begin_suppress_tokens = TokenIds{0, 5};
  this->expect(golden_scores);
  this->prompt_length_ = 3;
  this->expect(this->banned({0, 5}));
}

TYPED_TEST(LogitsProcessorTest, AfterAForcedTokenTheSecondIsTheBegin) {
  this->config_.begin_suppress_tokens = TokenIds{0};
  this->config_.forced_bos_token_id = 4;
  this->ids_ = {2, 4};
  this->expect(this->banned({0}));
  this->ids_ = {2};
  this->expect({-infinity, -infinity, -infinity, -infinity, 0, -infinity});
  this->prompt_length_ = 2;  // a longer prompt: nothing was forced
  this->ids_ = {2, 3};
  this->expect(this->banned({0}));
}

TYPED_TEST(LogitsProcessorTest, RenormalizeMakesLogProbabilities) {
  this->config_.renormalize_logits = true;
  this->expect({-2.4765, -1.4765, -4.4765, -2.9765, -5.4765, -0.4765}, golden_scores, 5e-5);
}

TYPED_TEST(LogitsProcessorTest, RulesApplyInTheOrderOfTransformers) {
  // 2 + 2 (bias), ·1.5 (encoder penalty), /2 (penalty), suppressed id 0, then the logarithm of the softmax.
  this->config_.sequence_bias = {{{1}, 2}};
  this->config_.encoder_repetition_penalty = 1.5;
  this->config_.repetition_penalty = 2;
  this->config_.suppress_tokens = TokenIds{0};
  this->config_.renormalize_logits = true;
  this->encoder_ids_ = {1};
  this->ids_ = {1};
  const double sum = std::log(std::exp(3) + std::exp(-1) + std::exp(0.5) + std::exp(-2) + std::exp(3));
  this->expect({-infinity, 3 - sum, -1 - sum, 0.5 - sum, -2 - sum, 3 - sum});
}

TYPED_TEST(LogitsProcessorTest, ForcedEosOverridesMinLength) {
  this->config_.min_length = 10;
  this->config_.forced_eos_token_id = TokenIds{1};
  this->max_length_ = 4;
  this->expect({-infinity, 0, -infinity, -infinity, -infinity, -infinity});
}

TYPED_TEST(LogitsProcessorTest, IdsOutsideTheVocabularyAreSkipped) {
  this->ids_ = {6, -1, 100};
  this->encoder_ids_ = {6, -1, 100};
  this->eos_ = {6, -1};
  this->config_.sequence_bias = {{{6}, 1}, {{100, 7}, 1}};
  this->config_.encoder_repetition_penalty = this->config_.repetition_penalty = 1.5;
  this->config_.no_repeat_ngram_size = this->config_.encoder_no_repeat_ngram_size = 1;
  this->config_.bad_words_ids = std::vector<TokenIds>{{8}};
  this->config_.min_length = 100;
  this->config_.exponential_decay_length_penalty = ExponentialDecay{0, 2};
  this->config_.suppress_tokens = TokenIds{6};
  this->config_.begin_suppress_tokens = TokenIds{6};
  this->expect(golden_scores);
}

template <typename T>
class Shift final : public LogitsProcessor<T> {
 public:
  explicit Shift(T amount) : amount_(amount) {}
  void process(const LogitsContext&, std::span<T> scores) const override {
    for (T& score : scores) score += amount_;
  }

 private:
  T amount_;
};

TYPED_TEST(LogitsProcessorTest, OwnRulesComeBetweenProcessorsAndCutOffs) {
  this->config_.repetition_penalty = 2;
  this->config_.do_sample = true;
  this->config_.top_k = 0;
  this->config_.temperature = 4;
  this->ids_ = {1};
  this->own_ = {std::make_shared<Shift<TypeParam>>(TypeParam(8))};
  this->expect({9.0 / 4, 9.0 / 4, 7.0 / 4, 8.5 / 4, 6.0 / 4, 11.0 / 4});
}

TYPED_TEST(LogitsProcessorTest, OwnRuleTakesThePlaceOfTheOneOfItsClass) {
  this->config_.repetition_penalty = 2;
  this->config_.no_repeat_ngram_size = 1;
  this->ids_ = {1};
  this->own_ = {std::make_shared<processors::RepetitionPenalty<TypeParam>>(4.0), std::make_shared<Shift<TypeParam>>(1)};
  const auto rules = make_logits_processors<TypeParam>(this->config_, this->eos_, this->own_);
  ASSERT_EQ(rules.size(), 3u);
  EXPECT_EQ(rules[0], this->own_[0]);
  EXPECT_EQ(rules[2], this->own_[1]);
  // Rules of different classes that do alike stay both.
  this->own_ = {std::make_shared<processors::NoBadWords<TypeParam>>(std::vector<TokenIds>{{3}}, this->eos_)};
  this->config_.sequence_bias = {{{3}, 1.0}};
  EXPECT_EQ(make_logits_processors<TypeParam>(this->config_, this->eos_, this->own_).size(), 4u);
}

TYPED_TEST(LogitsProcessorTest, OnlyAllowedTokensMayFollow) {
  std::vector<std::pair<std::size_t, TokenIds>> asked;
  this->allowed_ = [&](std::size_t batch_id, std::span<const TokenId> ids) {
    asked.emplace_back(batch_id, TokenIds(ids.begin(), ids.end()));
    return TokenIds{3, 0, 3};
  };
  this->expect(this->banned({1, 2, 4, 5}));
  ASSERT_FALSE(asked.empty());
  EXPECT_EQ(asked[0], (std::pair<std::size_t, TokenIds>{7, golden_ids}));
}

TYPED_TEST(LogitsProcessorTest, AllowedTokensThatAreBannedBecomePossible) {
  this->allowed_ = [](std::size_t, std::span<const TokenId>) { return TokenIds{1, 2}; };
  this->config_.no_repeat_ngram_size = 1;  // bans 1 and 2
  this->expect({-infinity, 0, 0, -infinity, -infinity, -infinity});
}

TYPED_TEST(LogitsProcessorTest, AllowedTokensStayBannedWhereAnotherBeamHasSome) {
  const processors::PrefixConstrained<TypeParam> rule(
      [](std::size_t, std::span<const TokenId> ids) { return TokenIds{ids.back()}; });
  const TokenIds first = {0};
  const TokenIds second = {1};
  const std::vector<LogitsContext> contexts = {{.ids = first, .encoder_ids = {}}, {.ids = second, .encoder_ids = {}}};
  const auto banned = static_cast<TypeParam>(-infinity);
  Tensor<TypeParam> scores({2, 2}, {banned, 5, 5, -2});
  rule.process_rows(contexts, scores);
  EXPECT_EQ(scores.values(), (std::vector<TypeParam>{banned, banned, banned, -2}));
  Tensor<TypeParam> hopeless({2, 2}, {banned, 5, 5, banned});
  rule.process_rows(contexts, hopeless);
  EXPECT_EQ(hopeless.values(), (std::vector<TypeParam>{0, banned, banned, 0}));
}

TYPED_TEST(LogitsProcessorTest, DiversityTakesTokensOfEarlierGroupsDownOnceForEachBeam) {
  const processors::HammingDiversity<TypeParam> rule(0.5);
  std::vector<TypeParam> scores(golden_scores.begin(), golden_scores.end());
  const TokenIds chosen = {3, 5, 3};
  rule.process({.ids = golden_ids, .encoder_ids = golden_ids, .earlier_groups = chosen}, scores);
  EXPECT_EQ(scores, (std::vector<TypeParam>{1, 2, -1, -0.5, -2, 2.5}));
  rule.process({.ids = golden_ids, .encoder_ids = golden_ids}, scores);
  EXPECT_EQ(scores, (std::vector<TypeParam>{1, 2, -1, -0.5, -2, 2.5}));
}

TYPED_TEST(LogitsProcessorTest, DiversityComesBehindTheBias) {
  this->config_.num_beams = 4;
  this->config_.num_beam_groups = 2;
  this->config_.diversity_penalty = 1;
  this->config_.sequence_bias = {{{3}, 1.0}};
  this->config_.repetition_penalty = 2;
  const auto rules = make_logits_processors<TypeParam>(this->config_, this->eos_);
  ASSERT_EQ(rules.size(), 3u);
  EXPECT_NE(dynamic_cast<const processors::HammingDiversity<TypeParam>*>(rules[1].get()), nullptr);
}

TYPED_TEST(LogitsProcessorTest, AllowedTokensMustBeSomeOfTheVocabulary) {
  this->allowed_ = [](std::size_t, std::span<const TokenId>) { return TokenIds{}; };
  test::expect_error<ArgumentError>([this] { this->process(); },
                                    {"prefix_allowed_tokens_fn, row 7: expected at least one id"});
  for (TokenId id : {-1, 6}) {
    this->allowed_ = [id](std::size_t, std::span<const TokenId>) { return TokenIds{0, id}; };
    test::expect_error<ArgumentError>([this] { this->process(); },
                                      {"row 7: expected ids of 0 to 5, got " + std::to_string(id)});
  }
}

}  // namespace
}  // namespace bertgen
