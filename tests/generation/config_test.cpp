#include "bertgen/generation/config.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "bertgen/core/error.hpp"
#include "generation/options.hpp"
#include "support/errors.hpp"

namespace bertgen {
namespace {

/// Every field, away from its default, but those of searches that exclude sampling and each other.
const Json everything = {{"max_length", 30},
                         {"max_new_tokens", 12},
                         {"min_length", 3},
                         {"min_new_tokens", 2},
                         {"max_time", 2.5},
                         {"stop_strings", {".", "the end"}},
                         {"num_beams", 4},
                         {"num_return_sequences", 2},
                         {"length_penalty", 0.6},
                         {"early_stopping", "never"},
                         {"prompt_lookup_num_tokens", 6},
                         {"source_lookup_num_tokens", 7},
                         {"max_matching_ngram_size", 3},
                         {"num_assistant_tokens", 8},
                         {"num_assistant_tokens_schedule", "heuristic"},
                         {"assistant_confidence_threshold", 0.25},
                         {"do_sample", true},
                         {"temperature", 0.75},
                         {"top_h", 0.5},
                         {"top_k", 40},
                         {"top_p", 0.9},
                         {"min_p", 0.05},
                         {"typical_p", 0.95},
                         {"epsilon_cutoff", 0.001},
                         {"eta_cutoff", 0.002},
                         {"seed", 5000000000},
                         {"sequence_bias", {{{5, 6}, -1.5}, {{7}, 2.0}}},
                         {"encoder_repetition_penalty", 1.1},
                         {"repetition_penalty", 1.2},
                         {"no_repeat_ngram_size", 3},
                         {"encoder_no_repeat_ngram_size", 4},
                         {"bad_words_ids", {{8}, {9, 10}}},
                         {"forced_bos_token_id", 11},
                         {"forced_eos_token_id", {12, 13}},
                         {"remove_invalid_values", true},
                         {"exponential_decay_length_penalty", {5, 1.25}},
                         {"suppress_tokens", {14}},
                         {"begin_suppress_tokens", {15, 16}},
                         {"renormalize_logits", true},
                         {"output_scores", true},
                         {"output_logits", true},
                         {"decoder_start_token_id", 2},
                         {"bos_token_id", 3},
                         {"pad_token_id", 0},
                         {"eos_token_id", {1, 17}}};

const Json contrast = {{"penalty_alpha", 0.6}, {"top_k", 4}};

TEST(GenerationConfigTest, EveryFieldIsUnsetAtFirst) {
  EXPECT_EQ(GenerationConfig().to_json(), "{}");
  EXPECT_EQ(parse(Json::object()), GenerationConfig());
}

TEST(GenerationConfigTest, ReadsEveryField) {
  const GenerationConfig config = parse(everything);
  EXPECT_EQ(config.max_length, 30u);
  EXPECT_EQ(config.max_new_tokens, 12u);
  EXPECT_EQ(config.min_length, 3u);
  EXPECT_EQ(config.min_new_tokens, 2u);
  EXPECT_EQ(config.max_time, 2.5);
  EXPECT_EQ(config.stop_strings, (std::vector<std::string>{".", "the end"}));
  EXPECT_EQ(parse({{"stop_strings", "."}}).stop_strings, std::vector<std::string>{"."});
  EXPECT_EQ(config.num_beams, 4u);
  EXPECT_EQ(config.num_return_sequences, 2u);
  EXPECT_EQ(config.length_penalty, 0.6);
  EXPECT_EQ(config.early_stopping, EarlyStopping::never);
  EXPECT_EQ(config.prompt_lookup_num_tokens, 6u);
  EXPECT_EQ(config.source_lookup_num_tokens, 7u);
  EXPECT_EQ(config.max_matching_ngram_size, 3u);
  EXPECT_EQ(config.num_assistant_tokens, 8u);
  EXPECT_EQ(config.num_assistant_tokens_schedule, AssistantSchedule::heuristic);
  EXPECT_EQ(config.assistant_confidence_threshold, 0.25);
  EXPECT_EQ(config.do_sample, true);
  EXPECT_EQ(config.temperature, 0.75);
  EXPECT_EQ(config.top_h, 0.5);
  EXPECT_EQ(config.top_k, 40u);
  EXPECT_EQ(config.top_p, 0.9);
  EXPECT_EQ(config.min_p, 0.05);
  EXPECT_EQ(config.typical_p, 0.95);
  EXPECT_EQ(config.epsilon_cutoff, 0.001);
  EXPECT_EQ(config.eta_cutoff, 0.002);
  EXPECT_EQ(config.seed, 5000000000);
  ASSERT_EQ(config.sequence_bias->size(), 2u);
  EXPECT_EQ(config.sequence_bias->at(0), (std::pair{TokenIds{5, 6}, -1.5}));
  EXPECT_EQ(config.encoder_repetition_penalty, 1.1);
  EXPECT_EQ(config.repetition_penalty, 1.2);
  EXPECT_EQ(config.no_repeat_ngram_size, 3u);
  EXPECT_EQ(config.encoder_no_repeat_ngram_size, 4u);
  EXPECT_EQ(config.bad_words_ids, (std::vector<TokenIds>{{8}, {9, 10}}));
  EXPECT_EQ(config.forced_bos_token_id, 11);
  EXPECT_EQ(config.forced_eos_token_id, (TokenIds{12, 13}));
  EXPECT_EQ(config.remove_invalid_values, true);
  EXPECT_EQ(config.exponential_decay_length_penalty, (ExponentialDecay{5, 1.25}));
  EXPECT_EQ(config.suppress_tokens, TokenIds{14});
  EXPECT_EQ(config.begin_suppress_tokens, (TokenIds{15, 16}));
  EXPECT_EQ(config.renormalize_logits, true);
  EXPECT_EQ(config.output_scores, true);
  EXPECT_EQ(config.output_logits, true);
  EXPECT_EQ(config.decoder_start_token_id, 2);
  EXPECT_EQ(config.bos_token_id, 3);
  EXPECT_EQ(config.pad_token_id, 0);
  EXPECT_EQ(config.eos_token_id, (TokenIds{1, 17}));
  // What the others make idle, and nothing else.
  EXPECT_EQ(warnings(everything),
            (Warnings{"g.json.prompt_lookup_num_tokens: has no effect beside greedy search and sampling",
                      "g.json.source_lookup_num_tokens: has no effect beside greedy search and sampling",
                      "g.json.max_length: has no effect beside max_new_tokens",
                      "g.json.min_length: has no effect beside min_new_tokens"}));
}

TEST(GenerationConfigTest, ReadsTheFieldsOfOtherSearches) {
  EXPECT_EQ(parse(groups).num_beam_groups, 2u);
  EXPECT_EQ(parse(groups).diversity_penalty, 0.5);
  EXPECT_EQ(parse(contrast).penalty_alpha, 0.6);
  EXPECT_EQ(parse(words).force_words_ids, (std::vector<ForcedWord>{{{5, 6}}, {{7}, {8, 9}}}));
  for (const Json& object : {groups, contrast, words}) EXPECT_TRUE(warnings(object).empty());
}

TEST(GenerationConfigTest, WritesWhatItReads) {
  for (const Json& object : {everything, groups, contrast, words}) {
    EXPECT_EQ(Json::parse(parse(object).to_json()), object);
  }
}

TEST(GenerationConfigTest, ModeIsTransformers) {
  const auto mode = [](const Json& object) { return parse(object).mode(); };
  EXPECT_EQ(mode(Json::object()), GenerationMode::greedy_search);
  EXPECT_EQ(mode({{"do_sample", true}}), GenerationMode::sample);
  EXPECT_EQ(mode({{"num_beams", 2}}), GenerationMode::beam_search);
  EXPECT_EQ(mode({{"num_beams", 2}, {"do_sample", true}}), GenerationMode::beam_sample);
  EXPECT_EQ(mode(groups), GenerationMode::group_beam_search);
  EXPECT_EQ(mode(words), GenerationMode::constrained_beam_search);
  EXPECT_EQ(mode({{"penalty_alpha", 0.6}}), GenerationMode::contrastive_search);  // top_k is 50
  EXPECT_EQ(mode({{"penalty_alpha", 0.6}, {"top_k", 1}}), GenerationMode::greedy_search);
  EXPECT_EQ(mode({{"penalty_alpha", 0.6}, {"do_sample", true}}), GenerationMode::sample);
  EXPECT_EQ(mode({{"penalty_alpha", 0.6}, {"num_beams", 2}}), GenerationMode::beam_search);
}

TEST(GenerationConfigTest, ScheduleHasThreeValues) {
  for (const char* name : {"constant", "heuristic", "heuristic_transient"}) {
    const Json object = {{"num_assistant_tokens_schedule", name}};
    EXPECT_EQ(Json::parse(parse(object).to_json()), object);
  }
}

TEST(GenerationConfigTest, EarlyStoppingHasThreeValues) {
  EXPECT_EQ(parse({{"early_stopping", true}}).early_stopping, EarlyStopping::yes);
  EXPECT_EQ(parse({{"early_stopping", false}}).early_stopping, EarlyStopping::no);
  for (const Json& value : {Json(true), Json(false), Json("never")}) {
    EXPECT_EQ(Json::parse(parse({{"early_stopping", value}}).to_json())["early_stopping"], value);
  }
}

TEST(GenerationConfigTest, UpdateChangesOnlyWhatItNames) {
  GenerationConfig config = parse(everything);
  config.update(R"({"num_beams": 6})", "g.json");
  GenerationConfig expected = parse(everything);
  expected.num_beams = 6;
  EXPECT_EQ(config, expected);
}

TEST(GenerationConfigTest, NullUnsetsAField) {
  GenerationConfig config = parse(everything);
  Json nulls = Json::object();
  for (const auto& [key, value] : everything.items()) nulls[key] = nullptr;
  EXPECT_TRUE(config.update(nulls.dump(), "g.json").empty());
  EXPECT_EQ(config, GenerationConfig());
}

TEST(GenerationConfigTest, OneEndTokenIsAListOfOne) {
  EXPECT_EQ(parse({{"eos_token_id", 1}}).eos_token_id, TokenIds{1});
  EXPECT_EQ(parse({{"eos_token_id", Json::array()}}).eos_token_id, TokenIds{});
  EXPECT_EQ(parse({{"forced_eos_token_id", 1}}).forced_eos_token_id, TokenIds{1});
}

TEST(GenerationConfigTest, FieldsRefuseWrongTypesAndChangeNothing) {
  const std::pair<const char*, std::vector<Json>> wrong[] = {
      {"max_length", {-1, 1.5, "20", true, Json::array(), 1e300, 18446744073709551615u}},
      {"max_new_tokens", {0, -1, "1"}},
      {"min_length", {-1, 0.5}},
      {"min_new_tokens", {-1, Json::object()}},
      {"num_beams", {0, -2, 1.0, "4"}},
      {"num_return_sequences", {0, -1}},
      {"length_penalty", {"1", true, Json::array()}},
      {"early_stopping", {"sometimes", 1, Json::array(), ""}},
      {"prompt_lookup_num_tokens", {0, -1, "3"}},
      {"source_lookup_num_tokens", {0, 1.5, true}},
      {"max_matching_ngram_size", {0, -1}},
      {"num_assistant_tokens", {0, -1}},
      {"num_assistant_tokens_schedule", {"always", 1, true}},
      {"assistant_confidence_threshold", {"1", true}},
      {"sequence_bias", {1, {{5, 1.0}}, {{{5}, "x"}}, {{{5}}}, {{{-5}, 1.0}}, {{Json::array(), 1.0}}, Json::object()}},
      {"encoder_repetition_penalty", {0, -1, "1"}},
      {"repetition_penalty", {0, -1, false}},
      {"no_repeat_ngram_size", {-1, 2.5}},
      {"encoder_no_repeat_ngram_size", {-1, "2"}},
      {"bad_words_ids", {1, {1}, {{1.5}}, {{"a"}}, Json::array({Json::array()}), "x"}},
      {"forced_bos_token_id", {-1, "1", {1}}},
      {"forced_eos_token_id", {-1, {"1"}, Json::object()}},
      {"remove_invalid_values", {0, "true"}},
      {"exponential_decay_length_penalty",
       {1, {1}, {1, 2, 3}, {-1, 1.5}, {1.5, 2}, {1, "x"}, {18446744073709551615u, 2}}},
      {"suppress_tokens", {-1, {-1}, "x"}},
      {"begin_suppress_tokens", {2147483648u, {1, 2.5}}},
      {"renormalize_logits", {1, "true"}},
      {"output_scores", {1, "true"}},
      {"output_logits", {0}},
      {"decoder_start_token_id", {-1, {2}, "2"}},
      {"bos_token_id", {-1, 0.5}},
      {"pad_token_id", {-1, "0"}},
      {"eos_token_id", {-1, "1", {1, -1}, 2147483648u}},
  };
  for (const auto& [key, values] : wrong) {
    for (const Json& value : values) {
      GenerationConfig config = parse(everything);
      Json object = {{"bos_token_id", 9}};
      object[key] = value;
      test::expect_error<ConfigError>([&] { config.update(object.dump(), "g.json"); }, {key});
      EXPECT_EQ(config, parse(everything)) << key << " " << value;
    }
  }
}

TEST(GenerationConfigTest, ErrorsSayWhereWhatAndWhich) {
  test::expect_error<ConfigError>([] { GenerationConfig().update(R"({"max_length": "x"})", "g.json"); },
                                  {"g.json.max_length: expected a whole number from 0 to", "got \"x\""});
  test::expect_error<ConfigError>([] { GenerationConfig().update(R"({"early_stopping": 3})", "g.json"); },
                                  {"g.json.early_stopping: expected true, false or \"never\", got 3"});
}

TEST(GenerationConfigTest, TextThatIsNoObjectIsRefused) {
  for (const std::string& text :
       {std::string(), std::string("["), std::string("[]"), std::string("{\"a\": 1e999}"), std::string("{}\0", 3)}) {
    test::expect_error<ConfigError>([&] { GenerationConfig().update(text, "g.json"); }, {"g.json: "});
  }
}

TEST(GenerationConfigTest, SamplingOptionsAloneAreWarnedOf) {
  EXPECT_EQ(warnings({{"temperature", 0.7}, {"top_k", 20}}),
            (Warnings{"g.json.temperature: has no effect without do_sample",
                      "g.json.top_k: has no effect without do_sample"}));
  // What transformers 4 wrote into every file.
  EXPECT_TRUE(warnings({{"temperature", 1.0},
                        {"top_k", 50},
                        {"top_p", 1.0},
                        {"typical_p", 1.0},
                        {"epsilon_cutoff", 0.0},
                        {"eta_cutoff", 0.0}})
                  .empty());
}

TEST(GenerationConfigTest, UnknownOptionsAreRefusedOrWarnedOf) {
  test::expect_error<ConfigError>(
      [] {
        parse({{"num_beans", 4}});
      },
      {"g.json.num_beans: expected an option", "unknown"});
  EXPECT_EQ(warnings({{"num_beans", 4}}), Warnings{"g.json.num_beans: unknown option, ignored"});
  EXPECT_TRUE(warnings({{"num_beans", nullptr}}).empty());
}

TEST(GenerationConfigTest, KeysAreThoseOfEveryField) {
  std::vector<std::string> expected;
  for (const Json& object : {everything, groups, contrast, words}) {
    for (const auto& [key, value] : object.items()) expected.push_back(key);
  }
  std::sort(expected.begin(), expected.end());
  expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
  std::vector<std::string> keys = GenerationConfig::keys();
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(keys, expected);
}

TEST(GenerationConfigTest, KeysThatAskForWhatIsDoneAnywayAreSkipped) {
  EXPECT_TRUE(warnings({{"transformers_version", "4.27.0"},
                        {"_from_model_config", true},
                        {"use_cache", true},
                        {"output_attentions", false},
                        {"cache_implementation", nullptr},
                        {"return_dict_in_generate", true}})
                  .empty());
}

TEST(GenerationConfigTest, KeysWithoutEffectAreWarnedOf) {
  for (const auto& [key, value] : {std::pair<const char*, Json>{"use_cache", false},
                                   {"output_attentions", true},
                                   {"output_hidden_states", true},
                                   {"cache_implementation", "static"},
                                   {"max_cache_len", 100},
                                   {"prefill_chunk_size", 16},
                                   {"compile_config", Json::object()},
                                   {"is_assistant", true},
                                   {"target_lookbehind", 5}}) {
    const Warnings found = warnings({{key, value}});
    ASSERT_EQ(found.size(), 1u) << key;
    EXPECT_EQ(found[0].find("g.json." + std::string(key) + ": has no effect"), 0u) << found[0];
  }
}

TEST(GenerationConfigTest, OptionsThatOthersMakeIdleAreWarnedOf) {
  const auto expect = [](const Json& object, const Warnings& expected) {
    EXPECT_EQ(warnings(object), expected) << object;
  };
  expect({{"length_penalty", 2.0}, {"early_stopping", true}},
         {"g.json.early_stopping: has no effect without num_beams above 1",
          "g.json.length_penalty: has no effect without num_beams above 1"});
  expect({{"length_penalty", 2.0}, {"early_stopping", true}, {"num_beams", 2}}, {});
  expect({{"length_penalty", 1.0}, {"early_stopping", false}}, {});
  expect({{"num_beam_groups", 2}, {"diversity_penalty", 0.5}},
         {"g.json.num_beam_groups: has no effect without num_beams above 1",
          "g.json.diversity_penalty: has no effect without num_beams above 1"});
  for (const auto& [key, value] : {std::pair<const char*, Json>{"num_beams", 2}, {"do_sample", true}}) {
    expect({{"penalty_alpha", 0.6}, {key, value}},
           {"g.json.penalty_alpha: has no effect with num_beams, do_sample or a top_k up to 1"});
  }
  expect({{"min_length", 5}}, {"g.json.min_length: has no effect without eos_token_id"});
  expect({{"min_length", 0}, {"min_new_tokens", 0}}, {});
  expect({{"min_length", 5}, {"max_length", 4}, {"eos_token_id", 1}},
         {"g.json.min_length: cannot be reached: it is above max_length"});
  expect({{"min_length", 4}, {"max_length", 4}, {"eos_token_id", 1}}, {});
  expect({{"min_new_tokens", 5}, {"max_new_tokens", 4}, {"eos_token_id", 1}},
         {"g.json.min_new_tokens: cannot be reached: it is above max_new_tokens"});
  expect({{"do_sample", true}, {"typical_p", 1.5}}, {"g.json.typical_p: has no effect above 1"});
  expect({{"do_sample", true}, {"epsilon_cutoff", -1.0}, {"eta_cutoff", 1.0}},
         {"g.json.epsilon_cutoff: has no effect outside 0 to 1", "g.json.eta_cutoff: has no effect outside 0 to 1"});
  expect({{"seed", 3}}, {"g.json.seed: has no effect without do_sample"});
}

TEST(GenerationConfigTest, OnlyWhatAnUpdateNamesIsWarnedOf) {
  GenerationConfig config = parse({{"num_beams", 4}, {"length_penalty", 2.0}});
  EXPECT_TRUE(config.update(R"({"num_beams": 1})", "g.json").empty());
  EXPECT_EQ(config.validate(), Warnings{"generation.length_penalty: has no effect without num_beams above 1"});
}

GenerationConfig from_model(const std::string& config, const Warnings& expected = {}) {
  Warnings found;
  const GenerationConfig generation = generation_config_from_model(config, "c.json", found);
  EXPECT_EQ(found, expected);
  return generation;
}

TEST(GenerationConfigFromModelTest, WarnsOfWhatHasNoEffect) {
  from_model(R"({"temperature": 0.7, "use_cache": true, "decoder": {"cache_implementation": "static"}})",
             {"c.json.cache_implementation: has no effect here: there is one kind of cache, and nothing to compile",
              "c.json.temperature: has no effect without do_sample"});
}

TEST(GenerationConfigFromModelTest, TopLevelComesBeforeTheDecoder) {
  const Json model = {{"num_beams", 4},
                      {"max_length", nullptr},
                      {"decoder_start_token_id", 2},
                      {"decoder", {{"num_beams", 1}, {"max_length", 20}, {"eos_token_id", 1}, {"vocab_size", 10}}},
                      {"encoder", {{"min_length", 7}, {"pad_token_id", 9}}}};
  GenerationConfig expected;
  expected.num_beams = 4;
  expected.max_length = 20;
  expected.decoder_start_token_id = 2;
  expected.eos_token_id = TokenIds{1};
  EXPECT_EQ(from_model(model.dump()), expected);
}

TEST(GenerationConfigFromModelTest, ModelWithoutOptionsHasNone) {
  EXPECT_EQ(from_model("{}"), GenerationConfig());
  EXPECT_EQ(from_model(R"({"decoder": 3})"), GenerationConfig());
}

TEST(GenerationConfigFromModelTest, ErrorsNameTheFile) {
  test::expect_error<ConfigError>([] { from_model(R"({"decoder": {"num_beams": "x"}})"); },
                                  {"c.json.num_beams: expected"});
  test::expect_error<ConfigError>([] { from_model(R"({"dola_layers": "high"})"); },
                                  {"c.json.dola_layers", "not supported"});
  test::expect_error<ConfigError>([] { from_model("{"); }, {"c.json: "});
}

}  // namespace
}  // namespace bertgen
