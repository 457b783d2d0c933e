#include "bertgen/generation/generate.hpp"

#include <cmath>

#include "support/checkpoint.hpp"
#include "support/errors.hpp"
#include "support/fixture.hpp"
#include "support/numbers.hpp"

namespace bertgen {
namespace {

using test::Fixture;

// As in encoder_decoder_test.cpp, here for sums of log-probabilities.
template <typename T>
constexpr double tolerance = std::is_same_v<T, float> ? 1e-4 : 1e-9;

template <typename T>
void expect_parity(const Fixture& fixture) {
  const auto model = BasicEncoderDecoderModel<T>::from_pretrained(fixture.directory());
  Workspace workspace(1);
  const auto rows = [](const nlohmann::json& value) {
    return value.is_null() ? std::vector<TokenIds>{} : value.get<std::vector<TokenIds>>();
  };
  for (const nlohmann::json& entry : fixture.expected().at("generate")) {
    SCOPED_TRACE(fixture.name() + " " + entry.at("name").get<std::string>() + " " + entry.at("generation").dump());
    GenerationConfig config = model.generation_config();
    config.update(entry.at("generation").dump(), "case");
    GenerateInputs inputs;
    inputs.input_ids = rows(entry.at("input_ids"));
    if (!entry.at("attention_mask").is_null()) {
      inputs.attention_mask = entry.at("attention_mask").get<std::vector<AttentionMask>>();
    }
    inputs.decoder_input_ids = rows(entry.at("decoder_input_ids"));
    const auto output = generate(model, inputs, config, workspace);
    const auto expected = rows(entry.at("sequences"));
    ASSERT_EQ(output.sequences.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(output.sequences[i].ids, expected[i]) << "sequence " << i;
      EXPECT_NEAR(output.sequences[i].score, entry.at("scores")[i].get<double>(), tolerance<T>) << "sequence " << i;
    }
  }
}

class GenerateParityTest : public testing::TestWithParam<std::string> {};

TEST_P(GenerateParityTest, FloatMatchesTheOracle) { expect_parity<float>(Fixture(GetParam())); }
TEST_P(GenerateParityTest, DoubleMatchesTheOracle) { expect_parity<double>(Fixture(GetParam())); }

TEST_P(GenerateParityTest, RefusesWhatTransformersRefuses) {
  const Fixture fixture(GetParam());
  const auto model = EncoderDecoderModel::from_pretrained(fixture.directory());
  for (const nlohmann::json& entry : fixture.expected().at("errors")) {
    SCOPED_TRACE(entry.dump());
    const auto attempt = [&] {
      GenerationConfig config = model.generation_config();
      config.update(entry.at("generation").dump(), "case");
      model.generate({{3, 4}}, config);
    };
    EXPECT_THROW(attempt(), Error);
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, GenerateParityTest, testing::ValuesIn(test::fixture_names("encoder-decoder")),
                         test::test_name);

template <typename T>
class GenerateTest : public testing::Test {
 protected:
  using Output = BasicGenerateOutput<T>;
  Output run(const GenerateInputs& inputs, const GenerateArguments<T>& arguments = {}) {
    return generate(model_, inputs, config_, workspace_, arguments);
  }
  Output run(std::vector<TokenIds> input_ids) { return run(GenerateInputs{std::move(input_ids), {}, {}}); }
  /// The ids of each sequence.
  static std::vector<TokenIds> ids(const Output& output) {
    std::vector<TokenIds> rows;
    for (const GeneratedSequence& sequence : output.sequences) rows.push_back(sequence.ids);
    return rows;
  }
  template <typename Exception>
  void expect_refused(const GenerateInputs& inputs, std::initializer_list<std::string_view> parts) {
    test::expect_error<Exception>([&] { run(inputs); }, parts);
  }

  BasicEncoderDecoderModel<T> model_ = test::make_model<T>();
  GenerationConfig config_ = [this] {
    GenerationConfig config = model_.generation_config();
    config.max_length = 10;
    return config;
  }();
  Workspace workspace_{2};
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(GenerateTest, Scalars);

TYPED_TEST(GenerateTest, NothingInNothingOut) { EXPECT_TRUE(this->run(std::vector<TokenIds>{}).sequences.empty()); }

TYPED_TEST(GenerateTest, ModelMadeOfHalvesHasItsIds) {
  const GenerationConfig& config = this->model_.generation_config();
  EXPECT_EQ(config.decoder_start_token_id, 2);
  EXPECT_EQ(config.eos_token_id, TokenIds{1});
  EXPECT_EQ(config.pad_token_id, 0);
}

TYPED_TEST(GenerateTest, ReturnsTheAskedNumberOfSequencesBestFirst) {
  this->config_.num_beams = 4;
  this->config_.num_return_sequences = 3;
  const auto output = this->run({{3, 4, 5}, {6}});
  ASSERT_EQ(output.sequences.size(), 6u);
  for (std::size_t i : {0u, 1u, 3u, 4u}) EXPECT_GE(output.sequences[i].score, output.sequences[i + 1].score);
}

TYPED_TEST(GenerateTest, GreedyScoreIsTheSumOfItsTokens) {
  for (const GeneratedSequence& sequence : this->run({{3, 4, 5}, {6}}).sequences) {
    double sum = 0;
    for (double log_prob : sequence.token_log_probs) sum += log_prob;
    EXPECT_EQ(sequence.token_log_probs.size(), sequence.ids.size() - 1);
    EXPECT_EQ(sequence.score, sum);
    EXPECT_LT(sum, 0);
  }
}

TYPED_TEST(GenerateTest, BeamScoreIsThatOfItsTokens) {
  this->config_.num_beams = 3;
  this->config_.num_return_sequences = 3;
  this->config_.length_penalty = 0.7;
  this->config_.repetition_penalty = 1.3;
  for (const GeneratedSequence& sequence : this->run({{3, 4, 5}, {6}}).sequences) {
    double sum = 0;
    for (double log_prob : sequence.token_log_probs) sum += log_prob;
    const std::size_t generated = sequence.ids.size() - 1;
    EXPECT_EQ(sequence.token_log_probs.size(), generated);
    EXPECT_EQ(sequence.beam_indices.size(), generated);
    // Sums of at most 9 terms below 8.
    EXPECT_NEAR(sequence.score, sum / std::pow(static_cast<double>(generated), 0.7),
                9 * 9 * 8 * test::roundoff<TypeParam>);
  }
}

TYPED_TEST(GenerateTest, ScoresAndLogitsAreReturnedWhereAskedFor) {
  const std::vector<TokenIds> sources = {{3, 4, 5}, {6}};
  for (std::size_t beams : {1u, 3u}) {
    this->config_.num_beams = beams;
    this->config_.repetition_penalty = 2;
    this->config_.output_scores = this->config_.output_logits = false;
    EXPECT_TRUE(this->run(sources).scores.empty());
    EXPECT_TRUE(this->run(sources).logits.empty());
    this->config_.output_scores = true;
    EXPECT_TRUE(this->run(sources).logits.empty());
    this->config_.output_logits = true;
    const auto output = this->run(sources);
    for (std::size_t s = 0; s < sources.size(); ++s) {
      const GeneratedSequence& sequence = output.sequences[s];
      ASSERT_GE(output.scores.size(), sequence.token_log_probs.size());
      ASSERT_EQ(output.logits.size(), output.scores.size());
      for (std::size_t t = 0; t < sequence.token_log_probs.size(); ++t) {
        ASSERT_EQ(output.scores[t].shape(), (Shape{2 * beams, 19}));
        const std::size_t row = beams == 1 ? s : sequence.beam_indices[t];
        EXPECT_EQ(row / beams, s);
        std::vector<TypeParam> scores(output.scores[t].view().row(row), output.scores[t].view().row(row) + 19);
        const auto token = static_cast<std::size_t>(sequence.ids[t + 1]);
        if (beams == 1) log_softmax<TypeParam>(scores);
        EXPECT_NEAR(scores[token], sequence.token_log_probs[t], 64 * test::roundoff<TypeParam>);
        // Logits are what the rules began with: the start token was penalised in all of them.
        std::vector<TypeParam> logits(output.logits[t].view().row(row), output.logits[t].view().row(row) + 19);
        if (beams > 1) log_softmax<TypeParam>(logits);
        const TypeParam penalised = logits[2] < 0 ? logits[2] * 2 : logits[2] / 2;
        const TypeParam processed = output.scores[t].view().row(row)[2];
        EXPECT_NEAR(processed, penalised, 64 * test::roundoff<TypeParam>);
      }
    }
  }
}

TYPED_TEST(GenerateTest, RowsThatTookNoPartAreZeroInScores) {
  this->config_.output_scores = true;
  this->config_.eos_token_id.reset();
  this->config_.max_length = 4;
  const auto output = this->run({{{3, 4, 5}, {7, 8}}, {}, {{2, 5, 6}, {2}}});
  ASSERT_EQ(output.scores.size(), 3u);
  for (std::size_t i = 0; i < 19; ++i) EXPECT_EQ(output.scores[1][i], 0);
  EXPECT_NE(output.scores[1].view().row(1)[0], 0);
}

TYPED_TEST(GenerateTest, SamplesOfOneSourceShareTheirFirstScores) {
  this->config_.do_sample = this->config_.output_scores = true;
  this->config_.num_return_sequences = 2;
  const auto output = this->run({{3, 4, 5}, {6}});
  ASSERT_EQ(output.scores[0].shape(), (Shape{4, 19}));
  for (std::size_t i = 0; i < 19; ++i) {
    EXPECT_EQ(output.scores[0].view().row(0)[i], output.scores[0].view().row(1)[i]);
    EXPECT_EQ(output.scores[0].view().row(2)[i], output.scores[0].view().row(3)[i]);
  }
  EXPECT_NE(output.scores[0].view().row(0)[5], output.scores[0].view().row(2)[5]);
}

TYPED_TEST(GenerateTest, AllowedTokensAreAskedForEachSourceAndPrefix) {
  for (std::size_t beams : {1u, 3u}) {
    this->config_.num_beams = beams;
    // The source in row i may only say 5 + i, 6 + i, 5 + i, …
    const auto allowed = [](std::size_t batch_id, std::span<const TokenId> ids) {
      return TokenIds{static_cast<TokenId>(5 + batch_id + (ids.size() + 1) % 2)};
    };
    this->config_.max_length = 5;
    const auto output =
        this->run({.input_ids = {{3, 4, 5}, {6}}}, {.logits_processor = {}, .prefix_allowed_tokens_fn = allowed});
    EXPECT_EQ(this->ids(output), (std::vector<TokenIds>{{2, 5, 6, 5, 6}, {2, 6, 7, 6, 7}}));
  }
}

/// Says what the row is told to say.
template <typename T>
class Dictate final : public LogitsProcessor<T> {
 public:
  explicit Dictate(TokenIds ids) : ids_(std::move(ids)) {}
  void process(const LogitsContext& context, std::span<T> scores) const override {
    if (context.ids.size() > ids_.size()) throw ArgumentError("dictate: expected an end, got none");
    processors::allow_only<T>({ids_[context.ids.size() - 1]}, scores);
  }

 private:
  TokenIds ids_;
};

TYPED_TEST(GenerateTest, OwnRulesDecideAndTheirErrorsChangeNothing) {
  const auto dictate = [](const TokenIds& ids) {
    return GenerateArguments<TypeParam>{.logits_processor = {std::make_shared<Dictate<TypeParam>>(ids)}};
  };
  const GenerateInputs inputs{{{3, 4}, {5}}, {}, {}};
  const auto before = this->run(inputs);
  EXPECT_EQ(this->ids(this->run(inputs, dictate({7, 8, 1}))), (std::vector<TokenIds>{{2, 7, 8, 1}, {2, 7, 8, 1}}));
  test::expect_error<ArgumentError>([&] { this->run(inputs, dictate({7, 8})); }, {"dictate: "});
  EXPECT_EQ(this->ids(this->run(inputs)), this->ids(before));
}

TYPED_TEST(GenerateTest, ThePromptIsTheAnswerWhereEverythingIsSuppressed) {
  this->config_.suppress_tokens.emplace();
  for (TokenId id = 0; id < 19; ++id) this->config_.suppress_tokens->push_back(id);
  this->config_.num_beams = this->config_.num_return_sequences = 2;
  for (const EarlyStopping early : {EarlyStopping::no, EarlyStopping::yes, EarlyStopping::never}) {
    this->config_.early_stopping = early;
    for (const GeneratedSequence& sequence : this->run({{3, 4}}).sequences) {
      EXPECT_EQ(sequence.ids, TokenIds{2});
      EXPECT_EQ(sequence.score, -1e9);
    }
  }
}

// Seen to fail with sources that see the keys of their mates, and with attention scaled by the number of threads.
TYPED_TEST(GenerateTest, RowDoesNotDependOnItsMatesOrThreads) {
  const auto sources = test::random_ids(8, 16, 19, 3);
  for (std::size_t beams : {1u, 3u}) {
    this->config_.num_beams = beams;
    const auto together = this->run(sources);
    Workspace one_thread(1);
    for (std::size_t i = 0; i < sources.size(); ++i) {
      const auto alone = generate<TypeParam>(this->model_, {{sources[i]}, {}, {}}, this->config_, one_thread);
      EXPECT_EQ(alone.sequences[0].ids, together.sequences[i].ids) << i;
      EXPECT_NEAR(alone.sequences[0].score, together.sequences[i].score,
                  1e-5);  // the bound that docs/numerics.md names
    }
  }
}

TYPED_TEST(GenerateTest, HiddenPaddingChangesNothing) {
  for (std::size_t beams : {1u, 3u}) {
    this->config_.num_beams = beams;
    const auto bare = this->run({{3, 4, 5}});
    const auto padded = this->run(GenerateInputs{{{3, 4, 5, 0, 9}}, {{1, 1, 1, 0, 0}}, {}});
    EXPECT_EQ(this->ids(bare), this->ids(padded));
    EXPECT_EQ(bare.sequences[0].score, padded.sequences[0].score);
  }
}

TYPED_TEST(GenerateTest, WhollyHiddenSourceGeneratesAnyway) {
  const auto output = this->run(GenerateInputs{{{3, 4}, {5}}, {{0, 0}, {1}}, {}});
  ASSERT_EQ(output.sequences.size(), 2u);
  EXPECT_TRUE(std::isfinite(output.sequences[0].score));
  EXPECT_TRUE(std::isfinite(this->run(GenerateInputs{{{3, 4}}, {{0, 0}}, {}}).sequences[0].score));
}

TYPED_TEST(GenerateTest, LengthOptionsCountAsTransformersDoes) {
  this->config_.eos_token_id.reset();  // only length ends
  const auto length = [this] { return this->run({{3, 4}}).sequences[0].ids.size(); };
  EXPECT_EQ(length(), 10u);
  this->config_.max_new_tokens = 5;  // wins, and does not count the prompt
  EXPECT_EQ(length(), 6u);
  this->config_.max_new_tokens.reset();
  this->config_.max_length = 2;
  EXPECT_EQ(length(), 2u);
  this->config_.max_length = 17;  // one more than there are positions: the last id is not read back
  EXPECT_EQ(length(), 17u);
}

TYPED_TEST(GenerateTest, StartTokenIsPrependedUnlessARowHasIt) {
  const auto prompts = [this](std::vector<TokenIds> decoder_input_ids) {
    auto rows = this->ids(this->run(GenerateInputs{{{3}, {4}}, {}, std::move(decoder_input_ids)}));
    for (TokenIds& row : rows) row.resize(2);
    return rows;
  };
  EXPECT_EQ(prompts({{5}, {6}}), (std::vector<TokenIds>{{2, 5}, {2, 6}}));
  EXPECT_EQ(prompts({{2, 5}, {6, 7}}), (std::vector<TokenIds>{{2, 5}, {6, 7}}));
}

TYPED_TEST(GenerateTest, BosServesWhereThereIsNoStartToken) {
  this->config_.decoder_start_token_id.reset();
  this->config_.bos_token_id = 7;
  EXPECT_EQ(this->run({{3, 4}}).sequences[0].ids[0], 7);
  this->config_.bos_token_id.reset();
  this->template expect_refused<ConfigError>({{{3, 4}}, {}, {}},
                                             {"decoder_start_token_id: expected it or bos_token_id", "got neither"});
}

TYPED_TEST(GenerateTest, RefusesSourcesThatDoNotFitThePositions) {
  this->template expect_refused<ArgumentError>({{{3}, TokenIds(17, 3)}, {}, {}},
                                               {"input_ids: expected 1 to 16 ids", "in row 1, got 17"});
  this->template expect_refused<ArgumentError>({{{}, {3}}, {}, {}}, {"expected 1 to 16 ids", "in row 0, got 0"});
  EXPECT_EQ(this->run({TokenIds(16, 3)}).sequences.size(), 1u);
}

TYPED_TEST(GenerateTest, RefusesPromptsThatDoNotFit) {
  this->template expect_refused<ArgumentError>({{{3}}, {}, {TokenIds(9, 3)}},
                                               {"max_length: expected more than the decoder prompt's 10 ids, got 10"});
  this->template expect_refused<ArgumentError>({{{3}}, {}, {TokenIds{}}}, {"decoder_input_ids: expected at least one"});
  this->template expect_refused<ShapeError>({{{3}, {4}}, {}, {{5}}},
                                            {"decoder_input_ids: expected 2 sequences, as in input_ids, got 1"});
}

TYPED_TEST(GenerateTest, RefusesLengthsBeyondThePositions) {
  this->config_.max_length = 18;
  this->template expect_refused<ArgumentError>({{{3}}, {}, {}}, {"max_length: expected at most 17 ids", "got 18"});
  this->config_.max_length.reset();  // the default of 20 new tokens
  this->template expect_refused<ArgumentError>({{{3}}, {}, {}}, {"got 21 with a prompt of 1"});
}

TYPED_TEST(GenerateTest, RefusesIdsOutsideTheVocabulary) {
  for (TokenId id : {19, -1}) {
    const std::string got = "expected ids of 0 to 18, got " + std::to_string(id);
    this->template expect_refused<ArgumentError>({{{4}, {3, id}}, {}, {}}, {"input_ids, row 1: " + got});
    this->template expect_refused<ArgumentError>({{{3}}, {}, {{4, id}}}, {"decoder_input_ids, row 0: " + got});
  }
  this->config_.decoder_start_token_id = 19;
  this->template expect_refused<ArgumentError>({{{3}}, {}, {}}, {"expected ids of 0 to 18, got 19"});
}

TYPED_TEST(GenerateTest, RefusesOptionsThatNeedIdsOutsideTheVocabulary) {
  const GenerationConfig plain = this->config_;
  const auto expect_named = [&](const char* option, auto set) {
    this->config_ = plain;
    set(this->config_);
    this->template expect_refused<ArgumentError>({{{3}}, {}, {}}, {option, "expected ids of 0 to 18, got 19"});
  };
  expect_named("forced_bos_token_id", [](GenerationConfig& config) { config.forced_bos_token_id = 19; });
  expect_named("forced_eos_token_id", [](GenerationConfig& config) { config.forced_eos_token_id = {1, 19}; });
  expect_named("bad_words_ids", [](GenerationConfig& config) { config.bad_words_ids = {{1}, {2, 19}}; });
  expect_named("sequence_bias", [](GenerationConfig& config) { config.sequence_bias = {{{19}, 1.0}}; });
}

TYPED_TEST(GenerateTest, RefusesMasksThatDoNotFit) {
  this->template expect_refused<ShapeError>({{{3, 4}}, {{1}}, {}}, {"attention_mask: expected 2 values in row 0"});
  this->template expect_refused<ShapeError>({{{3, 4}}, {{1, 1}, {1}}, {}}, {"attention_mask: expected 1 rows"});
}

TYPED_TEST(GenerateTest, RefusesMoreSequencesThanBeams) {
  this->config_.num_beams = 2;
  this->config_.num_return_sequences = 3;
  this->template expect_refused<ConfigError>({{{3}}, {}, {}}, {"num_return_sequences: expected at most num_beams, 2"});
}

TYPED_TEST(GenerateTest, IsAsGoodAsNewAfterAnError) {
  const auto before = this->run({{3, 4, 5}});
  EXPECT_THROW(this->run({{3, 99}}), ArgumentError);
  EXPECT_THROW(this->run(GenerateInputs{{{3}}, {}, {{4, 99}}}), ArgumentError);
  EXPECT_EQ(this->ids(this->run({{3, 4, 5}})), this->ids(before));
}

TYPED_TEST(GenerateTest, TakesNoNewScratchOnceWarm) {
  const auto sources = test::random_ids(8, 16, 19, 3);
  for (std::size_t beams : {4u, 1u}) {
    this->config_.num_beams = beams;
    this->run(sources);
    const std::size_t warm = this->workspace_.capacity();
    EXPECT_NE(this->workspace_.page_pool().capacity(), 0u);  // keys and values are kept, too
    for (int i = 0; i < 3; ++i) this->run(sources);
    this->run({sources[0]});
    EXPECT_EQ(this->workspace_.capacity(), warm) << beams;
  }
}

}  // namespace
}  // namespace bertgen
