#include "bertgen/generation/candidate_generator.hpp"

#include <gtest/gtest.h>

#include "bertgen/generation/generate.hpp"
#include "support/checkpoint.hpp"
#include "support/errors.hpp"

namespace bertgen {
namespace {

TEST(PromptLookupTest, TakesWhatFollowedTheFirstLikePlace) {
  EXPECT_EQ(prompt_lookup(TokenIds{5, 6, 7, 5, 6, 8, 5, 6}, 2, 3), (TokenIds{7, 5, 6}));
  EXPECT_EQ(prompt_lookup(TokenIds{5, 6, 7, 5, 6, 8, 5, 6}, 2, 20), (TokenIds{7, 5, 6, 8, 5, 6}));
}

TEST(PromptLookupTest, LongerTailsComeFirst) {
  const TokenIds ids = {6, 1, 5, 6, 2, 5, 6};
  EXPECT_EQ(prompt_lookup(ids, 1, 1), TokenIds{1});
  EXPECT_EQ(prompt_lookup(ids, 2, 1), TokenIds{2});
  EXPECT_EQ(prompt_lookup(ids, 9, 1), TokenIds{2});  // no longer tail is anywhere
}

TEST(PromptLookupTest, MayOverlapTheTailAndFindsNothingInWhatIsNew) {
  EXPECT_EQ(prompt_lookup(TokenIds{4, 4}, 2, 3), TokenIds{4});
  EXPECT_EQ(prompt_lookup(TokenIds{1, 2, 3}, 2, 3), TokenIds{});
  EXPECT_EQ(prompt_lookup(TokenIds{1}, 2, 3), TokenIds{});
}

TEST(SourceLookupTest, TakesWhatFollowsTheLongestLikePlace) {
  const TokenIds source = {5, 6, 7, 1, 6, 7, 2, 3};
  EXPECT_EQ(source_lookup(source, TokenIds{9, 5, 6, 7}, 2), (TokenIds{1, 6}));
  EXPECT_EQ(source_lookup(source, TokenIds{1, 6, 7}, 9), (TokenIds{2, 3}));
  EXPECT_EQ(source_lookup(source, TokenIds{9, 6, 7}, 1), TokenIds{2});  // of like ones the last
}

TEST(SourceLookupTest, TakesThreeIdsForEachThatReadsAlike) {
  const TokenIds source = {5, 6, 10, 11, 12, 13, 14, 15, 16};
  EXPECT_EQ(source_lookup(source, TokenIds{6}, 9), (TokenIds{10, 11, 12}));
  EXPECT_EQ(source_lookup(source, TokenIds{5, 6}, 9), (TokenIds{10, 11, 12, 13, 14, 15}));
  EXPECT_EQ(source_lookup(source, TokenIds{5, 6}, 4), (TokenIds{10, 11, 12, 13}));
}

TEST(SourceLookupTest, KnowsNothingOfOtherIds) {
  EXPECT_EQ(source_lookup(TokenIds{5, 6, 7}, {}, 2), TokenIds{});
  EXPECT_EQ(source_lookup(TokenIds{5, 6, 7}, TokenIds{6, 8}, 2), TokenIds{});
  EXPECT_EQ(source_lookup(TokenIds{5, 6, 7}, TokenIds{7}, 2), TokenIds{});  // nothing follows
}

TEST(LookupCandidatesTest, SourceComesFirstAndNothingStandsBehindAnEnd) {
  const std::vector<GenerationItem> items = {{{5, 6, 1, 7}, {2}, 20}, {{8}, {2, 3}, 20}, {{4}, {2}, 20}};
  const StoppingCriteria stopping({1});
  LookupCandidates candidates(items, 1, 3, 2, 2, stopping);
  EXPECT_EQ(candidates.most_guesses(), 3u);
  const std::vector<GeneratedSequence> sequences = {{{2, 5}}, {{2, 3, 9, 3}}, {{2, 7}}};
  std::vector<TokenIds> guesses(3, TokenIds{99});
  candidates.propose(sequences, std::vector<std::size_t>{0, 1, 2}, guesses);
  EXPECT_EQ(guesses, (std::vector<TokenIds>{{6}, {9, 3}, {}}));
  guesses.resize(1);
  candidates.propose(sequences, std::vector<std::size_t>{1}, guesses);
  EXPECT_EQ(guesses, (std::vector<TokenIds>{{9, 3}}));
}

TEST(LookupCandidatesTest, AnswersBeginAsTheirSourcesDo) {
  const std::vector<GenerationItem> items = {{{5, 6, 7}, {2}, 20}, {{8, 9}, {2, 8}, 20}};
  const StoppingCriteria stopping({1});
  LookupCandidates candidates(items, 2, 2, 0, 2, stopping);
  const std::vector<GeneratedSequence> sequences = {{{2}}, {{2, 4}}, {{2, 8}}, {{2, 8, 9}}};
  std::vector<TokenIds> guesses(4, TokenIds{99});
  candidates.propose(sequences, std::vector<std::size_t>{0, 1, 2, 3}, guesses);
  EXPECT_EQ(guesses, (std::vector<TokenIds>{{5, 6}, {}, {9}, {}}));
}

/// Guesses, in a search with a model. The answers are those without guesses.
class GuessingTest : public testing::Test {
 protected:
  using Output = BasicGenerateOutput<double>;

  Output run(const GenerateArguments<double>& arguments = {}) {
    Workspace workspace(1);
    return generate<double>(model_, inputs_, config_, workspace, arguments);
  }
  void expect_same(const Output& got, const Output& expected) {
    ASSERT_EQ(got.sequences.size(), expected.sequences.size());
    for (std::size_t i = 0; i < got.sequences.size(); ++i) {
      EXPECT_EQ(got.sequences[i].ids, expected.sequences[i].ids) << i;
      EXPECT_NEAR(got.sequences[i].score, expected.sequences[i].score, 1e-11) << i;
      EXPECT_LE(got.sequences[i].steps, expected.sequences[i].steps) << i;
    }
  }
  static std::size_t steps(const Output& output) {
    std::size_t sum = 0;
    for (const GeneratedSequence& sequence : output.sequences) sum += sequence.steps;
    return sum;
  }
  static std::size_t generated(const Output& output) {
    std::size_t sum = 0;
    for (const GeneratedSequence& sequence : output.sequences) sum += sequence.token_log_probs.size();
    return sum;
  }

  BasicEncoderDecoderModel<double> model_ = test::make_model<double>();
  BasicEncoderDecoderModel<double> other_ = test::make_model<double>(test::tiny_pair(), 7);
  GenerateInputs inputs_{.input_ids = test::random_ids(8, 16, 19, 3)};
  GenerationConfig config_ = [this] {
    GenerationConfig config = model_.generation_config();
    config.max_length = 16;
    return config;
  }();
};

TEST_F(GuessingTest, LookupsChangeNothingButTheSteps) {
  for (const bool samples : {false, true}) {
    config_.do_sample = samples;
    config_.temperature = 0.5;
    config_.source_lookup_num_tokens = config_.prompt_lookup_num_tokens = std::nullopt;
    const Output plain = run();
    EXPECT_EQ(steps(plain), generated(plain));
    config_.prompt_lookup_num_tokens = 3;
    expect_same(run(), plain);
    config_.source_lookup_num_tokens = 4;
    expect_same(run(), plain);
    EXPECT_LT(steps(run()), steps(plain)) << samples;
  }
}

TEST_F(GuessingTest, EachOfSeveralSamplesHasGuessesOfItsOwn) {
  config_.do_sample = true;
  config_.temperature = 0.5;
  config_.num_return_sequences = 3;
  const Output plain = run();
  config_.source_lookup_num_tokens = 4;
  expect_same(run(), plain);
  EXPECT_LT(steps(run()), steps(plain));
}

TEST_F(GuessingTest, AssistantThatIsTheModelIsAlwaysRight) {
  for (const bool samples : {false, true}) {
    config_.do_sample = samples;
    config_.num_assistant_tokens = std::nullopt;
    const Output plain = run();
    config_.num_assistant_tokens = 4;
    config_.assistant_confidence_threshold = 0.0;
    const Output assisted = run({.assistant_model = &model_});
    expect_same(assisted, plain);
    for (const GeneratedSequence& sequence : assisted.sequences) {
      EXPECT_EQ(sequence.steps, (sequence.token_log_probs.size() + 4) / 5) << samples;
    }
  }
}

TEST_F(GuessingTest, AssistantThatIsWrongChangesNothing) {
  const Output plain = run();
  for (const AssistantSchedule schedule : {AssistantSchedule::constant, AssistantSchedule::heuristic}) {
    for (const double threshold : {0.0, 0.1, 1.0}) {
      config_.num_assistant_tokens_schedule = schedule;
      config_.assistant_confidence_threshold = threshold;
      expect_same(run({.assistant_model = &other_}), plain);
    }
  }
}

TEST_F(GuessingTest, HeuristicGuessesMoreAsGuessesComeTrue) {
  config_.eos_token_id.reset();
  config_.max_length = 17;
  config_.num_assistant_tokens = 3;
  config_.assistant_confidence_threshold = 0.0;
  config_.num_assistant_tokens_schedule = AssistantSchedule::heuristic;
  // 16 tokens: 3 guesses and one, 5 and one, 5 and one (there is no room for more).
  for (const auto& sequence : run({.assistant_model = &model_}).sequences) EXPECT_EQ(sequence.steps, 3u);
  config_.num_assistant_tokens_schedule = AssistantSchedule::constant;
  for (const auto& sequence : run({.assistant_model = &model_}).sequences) EXPECT_EQ(sequence.steps, 4u);
}

TEST_F(GuessingTest, DoubtfulGuessIsTheLast) {
  config_.eos_token_id.reset();
  config_.assistant_confidence_threshold = 1.0;  // all are doubtful: one guess and one token a step
  for (const auto& sequence : run({.assistant_model = &model_}).sequences) {
    EXPECT_EQ(sequence.steps, (sequence.token_log_probs.size() + 1) / 2);
  }
}

TEST_F(GuessingTest, AssistantsOwnOptionsAreItsDefaults) {
  GenerationConfig own = model_.generation_config();
  own.num_assistant_tokens = 1;
  own.assistant_confidence_threshold = 0.0;
  auto assistant = test::make_model<double>();  // the same weights
  assistant.set_generation_config(own);
  config_.eos_token_id.reset();
  for (const auto& sequence : run({.assistant_model = &assistant}).sequences) EXPECT_EQ(sequence.steps, 8u);
}

TEST_F(GuessingTest, RulesAndPromptsHoldForGuessesToo) {
  config_.repetition_penalty = 1.4;
  config_.no_repeat_ngram_size = 2;
  config_.encoder_no_repeat_ngram_size = 3;
  config_.min_new_tokens = 4;
  config_.forced_eos_token_id = TokenIds{1};
  inputs_.decoder_input_ids.assign(8, {2, 5, 6});
  inputs_.decoder_input_ids[3] = {2, 4};
  const Output plain = run();
  config_.source_lookup_num_tokens = 5;
  expect_same(run(), plain);
  config_.source_lookup_num_tokens.reset();
  expect_same(run({.assistant_model = &model_}), plain);
  EXPECT_LT(steps(run({.assistant_model = &model_})), steps(plain));
}

TEST_F(GuessingTest, ScoresAndLogitsAreTheSame) {
  config_.output_scores = config_.output_logits = true;
  const Output plain = run();
  config_.source_lookup_num_tokens = 5;
  const Output guessed = run();
  ASSERT_EQ(guessed.scores.size(), plain.scores.size());
  for (std::size_t t = 0; t < plain.scores.size(); ++t) {
    for (std::size_t i = 0; i < plain.scores[t].size(); ++i) {
      EXPECT_NEAR(guessed.scores[t][i], plain.scores[t][i], 1e-11);
      EXPECT_NEAR(guessed.logits[t][i], plain.logits[t][i], 1e-11);
    }
  }
}

TEST_F(GuessingTest, SourceIdsOutsideTheDecodersVocabularyAreNoGuesses) {
  EncoderDecoderConfig pair = test::tiny_pair();
  pair.encoder.vocab_size = 40;
  model_ = test::make_model<double>(pair);
  inputs_.input_ids = test::random_ids(8, 16, 40, 5);
  const Output plain = run();
  config_.source_lookup_num_tokens = 5;
  expect_same(run(), plain);
}

TEST_F(GuessingTest, AssistantMustFitTheModel) {
  EncoderDecoderConfig pair = test::tiny_pair();
  pair.decoder.vocab_size = 20;
  const auto wider = test::make_model<double>(pair);
  test::expect_error<ConfigError>([&] { run({.assistant_model = &wider}); },
                                  {"assistant_model: expected a decoder with a vocabulary of 19", "got one of 20"});
  pair = test::tiny_pair();
  pair.encoder.max_position_embeddings = 3;
  const auto shorter = test::make_model<double>(pair);
  test::expect_error<ArgumentError>([&] { run({.assistant_model = &shorter}); },
                                    {"assistant_model, input_ids: expected 1 to 3 ids"});
  config_.do_sample = true;
  config_.num_return_sequences = 2;
  test::expect_error<ConfigError>([&] { run({.assistant_model = &model_}); },
                                  {"num_return_sequences: expected 1 with assistant_model, got 2"});
}

TEST_F(GuessingTest, AssistantMayHaveFewerPositions) {
  EncoderDecoderConfig pair = test::tiny_pair();
  pair.decoder.max_position_embeddings = 5;
  const auto assistant = test::make_model<double>(pair);
  config_.eos_token_id.reset();
  const Output plain = run();
  config_.assistant_confidence_threshold = 0.0;
  expect_same(run({.assistant_model = &assistant}), plain);
}

TEST_F(GuessingTest, OptionsWithoutEffectAreWarnedOf) {
  const auto has = [](const std::vector<std::string>& warnings, const std::string& text) {
    return std::find(warnings.begin(), warnings.end(), text) != warnings.end();
  };
  EXPECT_TRUE(run().warnings.empty());
  EXPECT_TRUE(run({.assistant_model = &model_}).warnings.empty());
  config_.num_assistant_tokens = 3;
  EXPECT_TRUE(has(run().warnings, "generation.num_assistant_tokens: has no effect without assistant_model"));
  EXPECT_TRUE(run({.assistant_model = &model_}).warnings.empty());
  config_.source_lookup_num_tokens = 3;
  EXPECT_TRUE(has(run({.assistant_model = &model_}).warnings, "assistant_model: has no effect beside a lookup"));
  config_.num_beams = 2;
  const auto warnings = run({.assistant_model = &model_}).warnings;
  EXPECT_TRUE(has(warnings, "assistant_model: has no effect beside searches but greedy search and sampling"));
  EXPECT_TRUE(has(warnings, "generation.source_lookup_num_tokens: has no effect beside greedy search and sampling"));
}

}  // namespace
}  // namespace bertgen
