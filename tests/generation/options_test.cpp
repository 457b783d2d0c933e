// docs/generation.md says of every option of transformers what becomes of it; here each is tried.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "bertgen/core/error.hpp"
#include "bertgen/generation/config.hpp"

namespace bertgen {
namespace {

using Json = nlohmann::json;

/// Option to state, as the table has them.
std::map<std::string, std::string> documented() {
  std::ifstream file(std::string(BERTGEN_SOURCE_DIR) + "/docs/generation.md");
  std::map<std::string, std::string> states;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("| `")) continue;
    const std::size_t second = line.find(" | ");
    const std::size_t third = line.find(" | ", second + 1);
    std::istringstream names(line.substr(0, second));
    for (std::string name; std::getline(names, name, '`') && std::getline(names, name, '`');) {
      EXPECT_TRUE(states.emplace(name, line.substr(second + 3, third - second - 3)).second) << name << " twice";
    }
  }
  return states;
}

/// A value that asks for something, of the type that transformers takes.
Json telling_value(const std::string& option) {
  const std::map<std::string, Json> values = {
      {"constraints", Json::array({"x"})},
      {"assistant_early_exit", 2},
      {"assistant_ensemble_weight", 0.5},
      {"use_mtp", true},
      {"speculation_type", "x"},
      {"assistant_lookbehind", 5},
      {"target_lookbehind", 5},
      {"is_assistant", true},
      {"forced_decoder_ids", {{1, 2}}},
      {"guidance_scale", 1.5},
      {"watermarking_config", {{"bias", 2.0}}},
      {"dola_layers", "high"},
      {"token_healing", true},
      {"output_attentions", true},
      {"output_hidden_states", true},
      {"use_cache", false},
      {"cache_implementation", "static"},
      {"cache_config", {{"batch_size", 1}}},
      {"max_cache_len", 100},
      {"prefill_chunk_size", 16},
      {"compile_config", {{"mode", "x"}}},
      {"disable_compile", "x"},
      {"continuous_batching_config", {{"x", 1}}},
      {"low_memory", true},
      {"return_dict_in_generate", true},
      {"return_legacy_cache", true},
      {"generation_kwargs", {{"x", 1}}},
      {"transformers_version", "9"},
  };
  return values.at(option);
}

TEST(OptionsTest, TheTableHasEveryOptionOfTransformersAndOfOurs) {
  std::ifstream file(std::string(BERTGEN_TEST_DATA) + "/generation/options.json");
  std::set<std::string> expected;
  const Json versions = Json::parse(file);
  for (const Json& names : versions) expected.insert(names.begin(), names.end());
  const std::vector<std::string> keys = GenerationConfig::keys();
  expected.insert(keys.begin(), keys.end());
  std::set<std::string> found;
  for (const auto& [name, state] : documented()) found.insert(name);
  EXPECT_EQ(found, expected);
}

TEST(OptionsTest, EachDoesWhatTheTableSays) {
  const std::vector<std::string> keys = GenerationConfig::keys();
  for (const auto& [name, state] : documented()) {
    SCOPED_TRACE(name);
    const bool field = std::find(keys.begin(), keys.end(), name) != keys.end();
    EXPECT_EQ(field, state == "yes" || state == "own");
    if (field) continue;
    const std::string object = Json{{name, telling_value(name)}}.dump();
    GenerationConfig config;
    if (state == "refused") {
      try {
        config.update(object, "x");
        ADD_FAILURE() << "expected an error";
      } catch (const ConfigError& error) {
        EXPECT_NE(std::string(error.what()).find("x." + name), std::string::npos) << error.what();
      }
      continue;
    }
    const std::vector<std::string> warnings = config.update(object, "x");
    EXPECT_EQ(warnings.size(), state == "warned" ? 1u : 0u) << object;
    for (const std::string& warning : warnings) EXPECT_TRUE(warning.starts_with("x." + name)) << warning;
    EXPECT_EQ(config, GenerationConfig());
    EXPECT_TRUE(state == "warned" || state == "ignored") << state;
  }
}

TEST(OptionsTest, WhatTransformersWritesUnsetIsNoOption) {
  for (const auto& [name, state] : documented()) {
    if (name == "forced_decoder_ids") continue;  // an unknown name, see its row
    GenerationConfig config;
    EXPECT_TRUE(config.update(Json{{name, nullptr}}.dump(), "x").empty()) << name;
    EXPECT_EQ(config, GenerationConfig());
  }
}

}  // namespace
}  // namespace bertgen
