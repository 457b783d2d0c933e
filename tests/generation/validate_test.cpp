// Which options go together.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "bertgen/core/error.hpp"
#include "bertgen/generation/config.hpp"
#include "generation/options.hpp"
#include "support/errors.hpp"

namespace bertgen {
namespace {

TEST(ValidateTest, SearchesExcludeEachOther) {
  const auto expect_refused = [](Json object, const Json& more, std::string_view message) {
    object.update(more);
    test::expect_error<ConfigError>([&] { parse(object); }, {message});
  };
  expect_refused(groups, {{"do_sample", true}}, "num_beam_groups: expected do_sample false with them, got true");
  expect_refused(groups, {{"num_beam_groups", 3}}, "num_beams: expected a multiple of num_beam_groups, 3, got 4");
  expect_refused(groups, {{"num_beam_groups", 8}}, "num_beams: expected a multiple of num_beam_groups, 8, got 4");
  expect_refused(groups, {{"num_beam_groups", 0}}, "num_beam_groups: expected at least 1, got 0");
  expect_refused(groups, {{"num_beam_groups", 1}},
                 "diversity_penalty: expected num_beam_groups above 1 with it, got 1");
  expect_refused(groups, {{"diversity_penalty", nullptr}}, "diversity_penalty: expected a number above 0");
  expect_refused(groups, {{"diversity_penalty", -1.0}}, "diversity_penalty: expected a number above 0");
  expect_refused(words, {{"num_beams", 1}}, "force_words_ids: expected num_beams above 1 with it, got 1");
  expect_refused(words, {{"do_sample", true}}, "force_words_ids: expected do_sample false with it, got true");
  expect_refused(words, {{"num_beam_groups", 2}, {"diversity_penalty", 0.5}},
                 "force_words_ids: expected num_beam_groups 1 with it, got 2");
}

TEST(ValidateTest, ForcedWordsMustBeSome) {
  for (const auto& [value, message] :
       {std::pair<Json, const char*>{Json::array(), "expected at least one word, got none"},
        {{{5}, Json::array()}, "expected non-empty lists of token ids"},
        {{{5}, {{6}, Json::array()}}, "expected non-empty lists of token ids"},
        {{5}, "expected non-empty lists of token ids"},
        {{{5}, {{6}, 7}}, "expected non-empty lists of token ids"},
        {{{5, -1}}, "expected a token id or a list of them"},
        {{{{5}, {5, 6}}}, "expected alternatives that do not begin each other"},
        {{{{5, 6}, {5, 6}}}, "expected alternatives that do not begin each other"},
        {5, "expected a list of words"}}) {
    test::expect_error<ConfigError>(
        [&, &v = value] {
          parse({{"num_beams", 2}, {"force_words_ids", v}});
        },
        {"force_words_ids: ", message});
  }
}

TEST(ValidateTest, SamplingOptionsAreCheckedWhereTheyCount) {
  EXPECT_TRUE(warnings({{"do_sample", true}, {"top_k", 10}, {"temperature", 0.5}}).empty());
  for (const auto& [key, value] : {std::pair<const char*, Json>{"temperature", 0.0},
                                   {"temperature", -1.0},
                                   {"top_h", 0.0},
                                   {"top_h", 1.5},
                                   {"top_p", 1.5},
                                   {"min_p", -0.1},
                                   {"typical_p", 0.0}}) {
    test::expect_error<ConfigError>(
        [&, &k = key, &v = value] {
          parse({{"do_sample", true}, {k, v}});
        },
        {std::string(key) + ": expected a number", "got "});
    EXPECT_EQ(warnings({{key, value}}).size(), 1u);
  }
}

TEST(ValidateTest, LookupsAreOfGreedySearchAndSampling) {
  for (const char* key : {"prompt_lookup_num_tokens", "source_lookup_num_tokens"}) {
    EXPECT_TRUE(warnings({{key, 3}, {"do_sample", true}}).empty());
    EXPECT_EQ(warnings({{key, 3}, {"num_beams", 2}, {"num_return_sequences", 2}}).size(), 1u);
    EXPECT_EQ(warnings({{key, 3}, {"penalty_alpha", 0.5}}).size(), 1u);
  }
  EXPECT_EQ(warnings({{"max_matching_ngram_size", 3}}),
            Warnings{"g.json.max_matching_ngram_size: has no effect without prompt_lookup_num_tokens"});
}

TEST(ValidateTest, PromptLookupAnswersOnce) {
  const Json several = {{"do_sample", true}, {"num_return_sequences", 2}};
  Json options = several;
  options["prompt_lookup_num_tokens"] = 3;
  test::expect_error<ConfigError>([&] { parse(options); },
                                  {"num_return_sequences: expected 1 with prompt_lookup_num_tokens, got 2"});
  options = several;
  options["source_lookup_num_tokens"] = 3;
  EXPECT_TRUE(warnings(options).empty());
}

TEST(ValidateTest, SamplingMayReturnAnyNumberOfSequences) {
  EXPECT_EQ(parse({{"do_sample", true}, {"num_return_sequences", 7}}).num_return_sequences, 7u);
  test::expect_error<ConfigError>(
      [] {
        parse({{"do_sample", true}, {"num_beams", 2}, {"num_return_sequences", 7}});
      },
      {"num_return_sequences: expected at most num_beams, 2"});
}

TEST(ValidateTest, UnsupportedOptionsAreRefusedUnlessNeutral) {
  for (const auto& [key, value] : {std::pair<const char*, Json>{"constraints", {1}},
                                   {"dola_layers", "high"},
                                   {"guidance_scale", 2.0},
                                   {"watermarking_config", {{"bias", 2.0}}},
                                   {"assistant_early_exit", 2},
                                   {"assistant_ensemble_weight", 0.5},
                                   {"use_mtp", true},
                                   {"token_healing", true}}) {
    test::expect_error<ConfigError>([&, &k = key, &v = value] { parse({{k, v}}); }, {key, "not supported", "got "});
  }
  EXPECT_TRUE(warnings({{"num_beam_groups", 1},
                        {"diversity_penalty", 0.0},
                        {"penalty_alpha", nullptr},
                        {"constraints", nullptr},
                        {"guidance_scale", 1},
                        {"token_healing", false}})
                  .empty());
}

TEST(ValidateTest, MoreSequencesThanBeamsAreRefused) {
  test::expect_error<ConfigError>(
      [] {
        parse({{"num_return_sequences", 2}});
      },
      {"num_return_sequences: expected at most num_beams, 1, got 2"});
  test::expect_error<ConfigError>(
      [] {
        parse({{"num_beams", 3}, {"num_return_sequences", 4}});
      },
      {"expected at most num_beams, 3, got 4"});
  parse({{"num_beams", 3}, {"num_return_sequences", 3}});
}

TEST(ValidateTest, ValidateFindsWhatUpdateWould) {
  const auto invalid = [](auto change) {
    GenerationConfig config;
    change(config);
    EXPECT_THROW(config.validate(), ConfigError);
  };
  invalid([](GenerationConfig& config) { config.num_beams = 0; });
  invalid([](GenerationConfig& config) { config.max_new_tokens = 0; });
  invalid([](GenerationConfig& config) { config.num_return_sequences = 0; });
  invalid([](GenerationConfig& config) { config.repetition_penalty = std::nan(""); });
  invalid([](GenerationConfig& config) { config.encoder_repetition_penalty = 0; });
  invalid([](GenerationConfig& config) { config.sequence_bias = {{{}, 1.0}}; });
  invalid([](GenerationConfig& config) { config.sequence_bias.emplace(); });
  invalid([](GenerationConfig& config) { config.bad_words_ids = {{1}, {}}; });
  invalid([](GenerationConfig& config) { config.bad_words_ids.emplace(); });
  invalid([](GenerationConfig& config) {
    config.num_beams = 2;
    config.force_words_ids.emplace(1);
  });
}

TEST(ValidateTest, ForcedIdsMustNotBeSuppressed) {
  test::expect_error<ConfigError>(
      [] {
        parse({{"forced_bos_token_id", 3}, {"suppress_tokens", {2, 3}}});
      },
      {"forced_bos_token_id: expected an id that suppress_tokens leaves, got 3"});
  test::expect_error<ConfigError>(
      [] {
        parse({{"forced_eos_token_id", {2, 3}}, {"suppress_tokens", {2, 3}}});
      },
      {"forced_eos_token_id: expected an id that suppress_tokens leaves"});
  parse({{"forced_eos_token_id", {1, 3}}, {"suppress_tokens", {2, 3}}});
}

}  // namespace
}  // namespace bertgen
