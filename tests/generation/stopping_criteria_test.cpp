#include "bertgen/generation/stopping_criteria.hpp"

#include <map>

#include "bertgen/generation/generate.hpp"
#include "bertgen/tokenizers/auto.hpp"
#include "support/checkpoint.hpp"
#include "support/errors.hpp"
#include "support/tokenizers.hpp"

namespace bertgen {
namespace {

using test::json;

const json& stop_strings() {
  static const json parsed =
      json::parse(test::content_of(std::filesystem::path(BERTGEN_TEST_DATA) / "generation/stop_strings.json"));
  return parsed;
}

/// "bert/uncased": a directory of tests/data/tokenizers.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& name) {
  const test::TemporaryDirectory directory;
  test::write_tokenizer(name.substr(0, name.find('/')), name.substr(name.find('/') + 1), directory);
  return AutoTokenizer::from_pretrained(directory.path());
}

TokenText text_of(const Tokenizer& tokenizer) {
  return [&tokenizer](TokenId id) { return tokenizer.token_text(id); };
}

std::string hex(const std::string& bytes) {
  std::string text;
  for (char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    for (int digit : {byte >> 4, byte & 15}) text += "0123456789abcdef"[digit];
  }
  return text;
}

TEST(TokenTextTest, IsWhatTransformersCutsOut) {
  for (const auto& [name, expected] : stop_strings().at("directories").items()) {
    const auto tokenizer = load_tokenizer(name);
    for (std::size_t id = 0; id < expected.at("token_texts").size(); ++id) {
      EXPECT_EQ(hex(tokenizer->token_text(static_cast<TokenId>(id))), expected["token_texts"][id]) << name << " " << id;
    }
    EXPECT_EQ(tokenizer->token_text(100000), "") << name;
    EXPECT_EQ(tokenizer->token_text(-1), "") << name;
  }
}

TEST(StopStringCriteriaTest, StopsWhereTransformersDoes) {
  for (const auto& [name, expected] : stop_strings().at("directories").items()) {
    const auto tokenizer = load_tokenizer(name);
    for (const json& entry : expected.at("matches")) {
      const StopStringCriteria criteria(entry.at("stop_strings").get<std::vector<std::string>>(), text_of(*tokenizer));
      EXPECT_EQ(criteria(entry.at("ids").get<TokenIds>()), entry.at("stops").get<bool>()) << name << " " << entry;
    }
  }
}

/// The examples of transformers' documentation.
TEST(StopStringCriteriaTest, TheStringEndsInTheLastToken) {
  const std::vector<std::string> texts = {"st", "op", "stop", "opera", "las", "topper", "s", "to", "pped", "at"};
  const StopStringCriteria criteria({"stop"}, [&](TokenId id) { return texts[static_cast<std::size_t>(id)]; });
  for (const TokenIds& ids : {TokenIds{0, 1}, {2}, {0, 3}, {4, 5}, {6, 7, 8}}) EXPECT_TRUE(criteria(ids));
  for (const TokenIds& ids : {TokenIds{2, 9}, {0, 1, 9}, {0, 3, 9}, {1}, {0}, {7, 8}}) EXPECT_FALSE(criteria(ids));
}

template <typename T>
class StopStringsTest : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(StopStringsTest, Scalars);

TYPED_TEST(StopStringsTest, AnswersAreThoseOfTransformers) {
  const auto tokenizer = load_tokenizer("bert/uncased");
  std::map<std::string, std::optional<BasicEncoderDecoderModel<TypeParam>>> models;
  Workspace workspace(1);
  ASSERT_GE(stop_strings().at("answers").size(), 30u);
  for (const json& entry : stop_strings()["answers"]) {
    const std::string name = entry.at("model");
    SCOPED_TRACE(entry.dump());
    auto& model = models[name];
    if (!model) {
      model.emplace(BasicEncoderDecoderModel<TypeParam>::from_pretrained(std::filesystem::path(BERTGEN_TEST_DATA) /
                                                                         "models" / name));
    }
    GenerationConfig config = model->generation_config();
    config.update(entry.at("generation").dump(), "entry");
    GenerateArguments<TypeParam> arguments;
    arguments.token_text = text_of(*tokenizer);
    GenerateInputs inputs;
    inputs.input_ids = entry.at("input_ids").get<std::vector<TokenIds>>();
    const auto sequence = generate(*model, inputs, config, workspace, arguments).sequences.at(0);
    EXPECT_EQ(sequence.ids, entry.at("sequences")[0].get<TokenIds>());
    if (entry.contains("scores")) {
      EXPECT_NEAR(sequence.score, entry["scores"][0].get<double>(), 1e-4);  // float32's
    }
  }
}

/// All searches over one small model.
class StoppingTest : public testing::TestWithParam<const char*> {
 protected:
  StoppingTest() {
    config_.max_new_tokens = 8;
    config_.eos_token_id.reset();
    config_.update(GetParam(), "test");
    inputs_.input_ids = {{3, 4, 5}, {6, 7}};
  }
  BasicGenerateOutput<double> run(const GenerateArguments<double>& arguments = {}) {
    return generate(model_, inputs_, config_, workspace_, arguments);
  }
  bool of_version_4() const {
    return config_.mode() == GenerationMode::group_beam_search ||
           config_.mode() == GenerationMode::constrained_beam_search;
  }

  const BasicEncoderDecoderModel<double> model_ = test::make_model<double>();
  GenerationConfig config_ = model_.generation_config();
  GenerateInputs inputs_;
  Workspace workspace_{1};
};
INSTANTIATE_TEST_SUITE_P(Searches, StoppingTest,
                         testing::Values("{}", R"({"do_sample": true, "num_return_sequences": 2})",
                                         R"({"num_beams": 3, "num_return_sequences": 2})",
                                         R"({"num_beams": 3, "do_sample": true})",
                                         R"({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5})",
                                         R"({"num_beams": 3, "force_words_ids": [[7]]})",
                                         R"({"penalty_alpha": 0.5, "top_k": 3})",
                                         R"({"source_lookup_num_tokens": 3})"));

TEST_P(StoppingTest, MaxTimeEndsAfterTheStepInWhichItPasses) {
  config_.max_time = 0;
  for (const GeneratedSequence& sequence : run().sequences) {
    EXPECT_EQ(sequence.steps, 1u);
    EXPECT_GE(sequence.ids.size(), 2u);
    EXPECT_LE(sequence.ids.size(), 5u);  // a lookup may have guessed three
  }
  config_.max_time = 3600;
  for (const GeneratedSequence& sequence : run().sequences) EXPECT_EQ(sequence.ids.size(), 9u);
}

TEST_P(StoppingTest, StopKeepsWhatThereIs) {
  std::stop_source source;
  GenerateArguments<double> arguments;
  arguments.stop_token = source.get_token();
  std::size_t calls = 0;
  arguments.prefix_allowed_tokens_fn = [&](std::size_t batch_id, std::span<const TokenId> ids) {
    calls += batch_id == 0 ? 1 : 0;
    if (ids.size() == 3) source.request_stop();  // in the third step; all of it is gone through, and one more
    TokenIds all(19);
    std::iota(all.begin(), all.end(), 0);
    return all;
  };
  for (const GeneratedSequence& sequence : run(arguments).sequences) {
    EXPECT_GE(sequence.ids.size(), 4u);
    EXPECT_LE(sequence.ids.size(), 8u);
  }
  EXPECT_GE(calls, 3u);
}

TEST_P(StoppingTest, StopBeforeTheFirstStepAnswersThePrompts) {
  std::stop_source source;
  source.request_stop();
  GenerateArguments<double> arguments;
  arguments.stop_token = source.get_token();
  const auto output = run(arguments);
  EXPECT_EQ(output.sequences.size(), 2 * config_.num_return_sequences.value_or(1));
  for (const GeneratedSequence& sequence : output.sequences) {
    EXPECT_EQ(sequence.ids, TokenIds{2});
    EXPECT_EQ(sequence.steps, 0u);
    EXPECT_EQ(sequence.score, 0);
  }
}

TEST_P(StoppingTest, CancelDropsItAndModelAndWorkspaceServeOn) {
  const auto expected = run();
  const std::size_t warm = workspace_.capacity();
  for (const bool at_once : {true, false}) {
    std::stop_source source;
    if (at_once) source.request_stop();
    GenerateArguments<double> arguments;
    arguments.cancel_token = source.get_token();
    arguments.prefix_allowed_tokens_fn = [&](std::size_t, std::span<const TokenId> ids) {
      if (ids.size() == 3) source.request_stop();
      return TokenIds{3, 4, 5, 6, 7, 8};
    };
    test::expect_error<CancelledError>([&] { run(arguments); }, {"cancelled"});
  }
  const auto again = run();
  for (std::size_t i = 0; i < expected.sequences.size(); ++i) {
    EXPECT_EQ(again.sequences[i].ids, expected.sequences[i].ids);
    EXPECT_EQ(again.sequences[i].score, expected.sequences[i].score);
  }
  EXPECT_EQ(workspace_.capacity(), warm);
}

TEST_P(StoppingTest, CallersCriteriaEndSequences) {
  GenerateArguments<double> arguments;
  arguments.stopping_criteria = {[](std::span<const TokenId> ids) { return ids.size() == 7; },
                                 [](std::span<const TokenId> ids) { return ids.size() == 4; }};
  if (of_version_4()) {
    test::expect_error<ConfigError>([&] { run(arguments); }, {"stopping_criteria", "num_beam_groups"});
    return;
  }
  for (const GeneratedSequence& sequence : run(arguments).sequences) EXPECT_EQ(sequence.ids.size(), 4u);
}

TEST_P(StoppingTest, ACriterionThatThrowsEndsTheCallAlone) {
  if (of_version_4()) return;
  const auto expected = run();
  GenerateArguments<double> arguments;
  arguments.stopping_criteria = {[](std::span<const TokenId> ids) -> bool {
    if (ids.size() == 4) throw std::domain_error("the caller's own");
    return false;
  }};
  EXPECT_THROW(run(arguments), std::domain_error);
  EXPECT_EQ(run().sequences.front().ids, expected.sequences.front().ids);
}

TEST(StopStringsOptionTest, NeedsTokenTextAndASearchThatKnowsThem) {
  const auto model = test::make_model<double>();
  Workspace workspace(1);
  GenerationConfig config = model.generation_config();
  config.max_new_tokens = 5;
  config.stop_strings = {"x"};
  const GenerateInputs inputs{.input_ids = {{3}}};
  test::expect_error<ConfigError>([&] { generate(model, inputs, config, workspace); }, {"stop_strings", "token_text"});
  for (const char* search : {R"({"num_beams": 2, "num_beam_groups": 2, "diversity_penalty": 1.0})",
                             R"({"num_beams": 2, "force_words_ids": [[7]]})"}) {
    test::expect_error<ConfigError>([&] { GenerationConfig(config).update(search, "test"); },
                                    {"stop_strings", "num_beam_groups and force_words_ids"});
  }
  for (const char* none : {R"({"stop_strings": []})", R"({"stop_strings": ""})", R"({"stop_strings": ["x", ""]})"}) {
    test::expect_error<ConfigError>([&] { GenerationConfig().update(none, "test"); }, {"stop_strings", "not empty"});
  }
  test::expect_error<ConfigError>([&] { GenerationConfig().update(R"({"stop_strings": [1]})", "test"); },
                                  {"stop_strings", "a text or a list of texts", "1"});
}

}  // namespace
}  // namespace bertgen
