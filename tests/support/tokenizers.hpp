// Tokenizers against transformers' answers in tests/data/tokenizers.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bertgen/core/error.hpp"
#include "bertgen/tokenizers/tokenizer.hpp"
#include "support/files.hpp"
#include "support/fixture.hpp"

namespace bertgen::test {

using nlohmann::json;

inline std::filesystem::path tokenizer_data(const std::string& family) {
  return std::filesystem::path(BERTGEN_TEST_DATA) / "tokenizers" / family;
}

/// A family's cases.json, read once.
inline const json& tokenizer_cases(const std::string& family) {
  static std::map<std::string, json> parsed;
  const auto [entry, fresh] = parsed.try_emplace(family);
  if (fresh) entry->second = json::parse(content_of(tokenizer_data(family) / "cases.json"));
  return entry->second;
}

/// Writes a directory of a family's cases.json: files of the family's folder by name, and contents as text or JSON.
inline void write_tokenizer(const std::string& family, const std::string& name, const TemporaryDirectory& directory) {
  const json& expected = tokenizer_cases(family)["directories"][name];
  const auto copies = expected.value("copies", std::map<std::string, std::string>());
  for (const auto& [file, source] : copies) directory.write(file, content_of(tokenizer_data(family) / source));
  for (const auto& [file, content] : expected["files"].items()) {
    directory.write(file, content.is_string() ? content.get<std::string>() : content.dump());
  }
}

/// What transformers answered is stored as "12 5 7", masks as "1101".
inline std::string joined(const TokenIds& ids) {
  std::string text;
  for (const TokenId id : ids) {
    if (!text.empty()) text += ' ';
    text += std::to_string(id);
  }
  return text;
}

inline std::string joined(const std::vector<std::uint8_t>& mask) {
  std::string text;
  for (const std::uint8_t flag : mask) text += static_cast<char>('0' + flag);
  return text;
}

/// Tokens lie in their text, in order, without overlap, and their strings are those of their ids.
inline void expect_consistent(const Tokenizer& tokenizer, const Encoding& encoding, std::vector<std::string> texts) {
  std::vector<std::size_t> end(texts.size(), 0);
  ASSERT_EQ(encoding.offsets.size(), encoding.size());
  for (std::size_t i = 0; i < encoding.size(); ++i) {
    EXPECT_EQ(encoding.tokens[i], tokenizer.id_to_token(encoding.input_ids[i]));
    const TextSpan& span = encoding.offsets[i];
    if (span.sequence < 0) continue;
    const auto sequence = static_cast<std::size_t>(span.sequence);
    ASSERT_LT(sequence, texts.size());
    ASSERT_LE(end[sequence], span.begin) << texts[sequence];
    ASSERT_LE(span.begin, span.end) << texts[sequence];
    ASSERT_LE(span.end, texts[sequence].size()) << texts[sequence];
    end[sequence] = span.end;
  }
}

inline EncodeOptions options_from(const json& request) {
  EncodeOptions options;
  if (request.contains("max_length")) options.max_length = request["max_length"].get<std::size_t>();
  if (request.contains("truncation"))
    options.truncation = truncation_strategy(request["truncation"].get<std::string>());
  if (request.contains("padding")) options.padding = padding_strategy(request["padding"].get<std::string>());
  if (request.contains("pad_to_multiple_of")) {
    options.pad_to_multiple_of = request["pad_to_multiple_of"].get<std::size_t>();
  }
  if (request.contains("padding_side")) options.padding_side = side(request["padding_side"].get<std::string>());
  if (request.contains("truncation_side"))
    options.truncation_side = side(request["truncation_side"].get<std::string>());
  return options;
}

/// A directory of tests/data/tokenizers/<family>/cases.json, written out, with what transformers answers for it.
class TokenizerFixtureTest : public testing::TestWithParam<std::string> {
 protected:
  explicit TokenizerFixtureTest(const std::string& family)
      : cases_(tokenizer_cases(family)), expected_(cases_["directories"][GetParam()]) {
    write_tokenizer(family, GetParam(), directory_);
  }

  const std::filesystem::path& directory() const { return directory_.path(); }

  void expect_same(const Tokenizer& tokenizer) const {
    expect_vocabulary(tokenizer);
    expect_ids(tokenizer);
    expect_calls(tokenizer);
    expect_decodes(tokenizer);
  }
  /// What `load` reads is the same tokenizer when it has been saved, and once more when it is saved onto itself; the
  /// vocabulary is in the first of the files written.
  template <typename Load>
  void expect_same_when_saved(Load&& load, const std::string& first) const {
    const TemporaryDirectory parent;
    const auto saved = parent.path() / "not" / "there yet";
    const auto written = load(directory())->save_pretrained(saved);
    EXPECT_EQ(written.front(), saved / first);
    for (const auto& path : written) EXPECT_TRUE(std::filesystem::is_regular_file(path)) << path;
    EXPECT_EQ(contents_of(saved).size(), written.size()) << "nothing else is left";
    expect_same(*load(saved));
    const auto before = contents_of(saved);
    load(saved)->save_pretrained(saved);
    EXPECT_EQ(contents_of(saved), before);
    expect_same(*load(saved));
  }

 private:
  void expect_vocabulary(const Tokenizer& tokenizer) const {
    EXPECT_EQ(tokenizer.size(), expected_["size"].get<std::size_t>());
    EXPECT_EQ(tokenizer.vocab_size(), expected_["vocab_size"].get<std::size_t>());
    EXPECT_EQ(tokenizer.all_special_ids(), expected_["special_ids"].get<TokenIds>());
    const json& limit = expected_["model_max_length"];
    EXPECT_EQ(tokenizer.model_max_length(), limit.is_null() ? std::nullopt : std::optional(limit.get<std::size_t>()));
    const std::pair<const char*, std::optional<TokenId>> named[] = {
        {"bos_token", tokenizer.bos_token_id()},  {"eos_token", tokenizer.eos_token_id()},
        {"unk_token", tokenizer.unk_token_id()},  {"sep_token", tokenizer.sep_token_id()},
        {"pad_token", tokenizer.pad_token_id()},  {"cls_token", tokenizer.cls_token_id()},
        {"mask_token", tokenizer.mask_token_id()}};
    for (const auto& [name, id] : named) {
      const json& ids = expected_["named_ids"];
      EXPECT_EQ(id, ids.contains(name) ? std::optional(ids[name].get<TokenId>()) : std::nullopt) << name;
    }
    json added = json::object();
    for (const auto& [id, token] : tokenizer.added_tokens_decoder()) added[std::to_string(id)] = token.content;
    EXPECT_EQ(added, expected_["added"]);
  }

  void expect_ids(const Tokenizer& tokenizer) const {
    const auto texts = cases_["texts"].get<std::vector<std::string>>();
    ASSERT_EQ(texts.size(), expected_["input_ids"].size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const Encoding encoding = tokenizer.encode(texts[i]);
      EXPECT_EQ(joined(encoding.input_ids), expected_["input_ids"][i]) << texts[i];
      expect_consistent(tokenizer, encoding, {texts[i]});
    }
  }

  static std::vector<Encoding> call(const Tokenizer& tokenizer, const json& request) {
    const EncodeOptions options = options_from(request["options"]);
    const json& text = request["text"];
    const json& pair = request["text_pair"];
    if (text.is_array()) {
      const auto texts = text.get<std::vector<std::string>>();
      if (pair.is_null()) return tokenizer.encode_batch(texts, options);
      return tokenizer.encode_batch(texts, pair.get<std::vector<std::string>>(), options);
    }
    if (pair.is_null()) return {tokenizer.encode(text.get<std::string>(), options)};
    return {tokenizer.encode(text.get<std::string>(), pair.get<std::string>(), options)};
  }

  void expect_calls(const Tokenizer& tokenizer) const {
    for (const json& request : expected_["calls"]) {
      if (request.contains("error")) {
        EXPECT_THROW(call(tokenizer, request), ArgumentError) << request;
        continue;
      }
      const std::vector<Encoding> rows = call(tokenizer, request);
      ASSERT_EQ(rows.size(), request["expected"].size());
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const json& row = request["expected"][i];
        EXPECT_EQ(joined(rows[i].input_ids), row["input_ids"]) << request;
        EXPECT_EQ(joined(rows[i].attention_mask), row["attention_mask"]) << request;
        EXPECT_EQ(joined(rows[i].special_tokens_mask), row["special_tokens_mask"]) << request;
        EXPECT_EQ(joined(rows[i].token_type_ids), row.value("token_type_ids", "")) << request;
      }
    }
  }

  void expect_decodes(const Tokenizer& tokenizer) const {
    for (const json& request : expected_["decodes"]) {
      const auto ids = request["ids"].get<TokenIds>();
      if (request.contains("error")) {
        EXPECT_THROW(tokenizer.decode(ids), TokenizerError) << request;
        continue;
      }
      std::size_t i = 0;
      for (const bool skip : {false, true}) {
        for (const std::optional<bool> clean : {std::optional<bool>(), std::optional(false), std::optional(true)}) {
          EXPECT_EQ(tokenizer.decode(ids, {skip, clean}), request["texts"][i++]) << request;
        }
      }
    }
  }

  TemporaryDirectory directory_;
  const json& cases_;
  const json& expected_;
};

}  // namespace bertgen::test
