#include "bertgen/generation/generate.hpp"

#include <cmath>

#include "support/checkpoint.hpp"
#include "support/errors.hpp"
#include "support/fixture.hpp"

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
    EXPECT_TRUE(config.update(entry.at("generation").dump(), "case").empty());
    GenerateInputs inputs;
    inputs.input_ids = rows(entry.at("input_ids"));
    if (!entry.at("attention_mask").is_null()) {
      inputs.attention_mask = entry.at("attention_mask").get<std::vector<AttentionMask>>();
    }
    inputs.decoder_input_ids = rows(entry.at("decoder_input_ids"));
    const GenerateOutput output = generate(model, inputs, config, workspace);
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
  GenerateOutput run(const GenerateInputs& inputs) { return generate(model_, inputs, config_, workspace_); }
  GenerateOutput run(std::vector<TokenIds> input_ids) { return run(GenerateInputs{std::move(input_ids), {}, {}}); }
  /// The ids of each sequence.
  static std::vector<TokenIds> ids(const GenerateOutput& output) {
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

TYPED_TEST(GenerateTest, RowDoesNotDependOnItsMatesOrThreads) {
  const auto sources = test::random_ids(8, 16, 19, 3);
  for (std::size_t beams : {1u, 3u}) {
    this->config_.num_beams = beams;
    const auto together = this->run(sources);
    Workspace one_thread(1);
    for (std::size_t i = 0; i < sources.size(); ++i) {
      const auto alone = generate(this->model_, {{sources[i]}, {}, {}}, this->config_, one_thread);
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
    for (int i = 0; i < 3; ++i) this->run(sources);
    this->run({sources[0]});
    EXPECT_EQ(this->workspace_.capacity(), warm) << beams;
  }
}

}  // namespace
}  // namespace bertgen
