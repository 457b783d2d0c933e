#include "bertgen/tokenizers/bert_generation.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "bertgen/core/error.hpp"
#include "support/errors.hpp"
#include "support/files.hpp"
#include "support/tokenizers.hpp"

namespace bertgen {
namespace {

using nlohmann::json;
using test::content_of;
using test::expect_consistent;
using test::expect_error;
using test::TemporaryDirectory;

const std::filesystem::path data = std::filesystem::path(BERTGEN_TEST_DATA) / "tokenizers" / "bert_generation";
const std::filesystem::path shared = BERTGEN_SHARED_DATA;

class BertGenerationTokenizerFixtureTest : public test::TokenizerFixtureTest {
 protected:
  BertGenerationTokenizerFixtureTest() : TokenizerFixtureTest("bert_generation") {}
};

TEST_P(BertGenerationTokenizerFixtureTest, AgreesWithTransformers) {
  expect_same(*BertGenerationTokenizer::from_pretrained(directory()));
}

TEST_P(BertGenerationTokenizerFixtureTest, IsTheSameWhenSavedAndLoaded) {
  expect_same_when_saved(BertGenerationTokenizer::from_pretrained, "spiece.model");
  const TemporaryDirectory saved;
  BertGenerationTokenizer::from_pretrained(directory())->save_pretrained(saved.path());
  EXPECT_EQ(content_of(saved.path() / "spiece.model"), content_of(directory() / "spiece.model"));
}

INSTANTIATE_TEST_SUITE_P(Directories, BertGenerationTokenizerFixtureTest,
                         testing::Values("unigram", "bpe", "char", "word", "suffix", "options", "added", "version 4",
                                         "split specials", "no pad"),
                         test::test_name);

TEST(BertGenerationTokenizerTest, OffsetsAreBytesOfTheGivenText) {
  const BertGenerationTokenizer tokenizer(data / "spiece.model");
  const auto spans = [&](std::string_view text) {
    std::vector<std::string> parts;
    for (const TextSpan& span : tokenizer.encode(text).offsets) {
      parts.emplace_back(text.substr(span.begin, span.end - span.begin));
    }
    return parts;
  };
  using Parts = std::vector<std::string>;
  // White space at the ends belongs to no piece, between words to the piece that starts with it.
  EXPECT_EQ(spans("  the \t river "), (Parts{"t", "he", " \t ", "ri", "v", "er"}));
  EXPECT_EQ(spans("the<s> river</s>"), (Parts{"t", "he", "<s>", "", "ri", "v", "er", "</s>"}));
  // The ligature becomes two letters; both halves of it lie at one place.
  const Encoding ligature = tokenizer.encode("\ufb01");
  EXPECT_EQ(ligature.tokens, (std::vector<std::string>{"\u2581", "f", "i"}));
  EXPECT_EQ(ligature.offsets, (std::vector<TextSpan>{{0, 0, 0}, {0, 0, 0}, {0, 3, 0}}));
  // Unknown characters side by side are one token.
  EXPECT_EQ(spans("漢字"), (Parts{"", "漢字"}));
}

TEST(BertGenerationTokenizerTest, TheLastByteOfAnUnknownCharacterStandsForAllOfIt) {
  const BertGenerationTokenizer tokenizer(data / "bpe.model");
  const Encoding encoding = tokenizer.encode("a\u6f22");
  EXPECT_EQ(encoding.tokens, (std::vector<std::string>{"\u2581a", "<0xE6>", "<0xBC>", "<0xA2>"}));
  EXPECT_EQ(encoding.offsets, (std::vector<TextSpan>{{0, 1, 0}, {1, 1, 0}, {1, 1, 0}, {1, 4, 0}}));
}

TEST(BertGenerationTokenizerTest, OnlyABatchPadsATextWithoutTokens) {
  const BertGenerationTokenizer tokenizer(data / "spiece.model");
  EncodeOptions options;
  options.padding = PaddingStrategy::max_length;
  options.max_length = 3;
  EXPECT_EQ(tokenizer.encode("", options).size(), 0U);
  EXPECT_EQ(tokenizer.encode_batch({" "}, options).front().input_ids, (TokenIds{0, 0, 0}));
}

TEST(BertGenerationTokenizerTest, BytesThatAreNotUtf8BecomeReplacementCharacters) {
  const BertGenerationTokenizer tokenizer(data / "bpe.model");
  const TokenIds replacement = tokenizer.encode("the \ufffdx").input_ids;
  for (const std::string bad : {"\xff", "\xc3", "\x80", "\xc0"}) {
    const std::string text = "the " + bad + "x";
    const Encoding encoding = tokenizer.encode(text);
    EXPECT_EQ(encoding.input_ids, replacement);
    expect_consistent(tokenizer, encoding, {text});
    EXPECT_EQ(encoding.offsets.back(), (TextSpan{5, 6, 0}));
  }
  // One for each byte: a surrogate has three, an overlong zero two.
  EXPECT_EQ(tokenizer.encode("\xed\xa0\x80").input_ids, tokenizer.encode("\ufffd\ufffd\ufffd").input_ids);
  EXPECT_EQ(tokenizer.encode("\xc0\x80").input_ids, tokenizer.encode("\ufffd\ufffd").input_ids);
}

TEST(BertGenerationTokenizerTest, RandomBytesGiveConsistentOffsets) {
  std::mt19937 random(7);
  for (const char* model : {"spiece.model", "bpe.model", "char.model", "word.model", "suffix.model"}) {
    const BertGenerationTokenizer tokenizer(data / model);
    for (int i = 0; i < 300; ++i) {
      std::string text;
      for (std::size_t length = random() % 60; length > 0; --length) {
        text += random() % 3 == 0 ? static_cast<char>(random()) : " the<s>ab\t"[random() % 10];
      }
      expect_consistent(tokenizer, tokenizer.encode(text), {text});
    }
  }
}

// Quadratic time would be hours, which ctest ends.
TEST(BertGenerationTokenizerTest, LongHostileTextsTakeLinearTime) {
  constexpr std::size_t size = 1 << 20;
  const auto repeat = [](std::string_view part) {
    std::string text;
    while (text.size() < size) text += part;
    return text;
  };
  for (const char* model : {"spiece.model", "bpe.model", "word.model"}) {
    const BertGenerationTokenizer tokenizer(data / model);
    for (const char* part : {"a", " ", "<s>", "<s> ", "<", "\u00e9", "\xff", "the river "}) {
      const std::string text = repeat(part);
      const Encoding encoding = tokenizer.encode(text);
      if (!encoding.offsets.empty()) {
        EXPECT_LE(encoding.offsets.back().end, text.size());
      }
    }
  }
}

TEST(BertGenerationTokenizerTest, ThreadsShareOneTokenizer) {
  const BertGenerationTokenizer tokenizer(data / "spiece.model");
  const auto texts = test::tokenizer_cases("bert_generation")["texts"].get<std::vector<std::string>>();
  std::vector<std::vector<TokenIds>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] {
      for (const std::string& text : texts) {
        result.push_back(tokenizer.encode(text).input_ids);
        result.push_back(tokenizer.encode(tokenizer.decode(result.back())).input_ids);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, results.front());
}

// A vocabulary file that must be refused, quietly and with its name.
void expect_refused(const std::string& bytes, std::initializer_list<std::string_view> parts) {
  const TemporaryDirectory directory;
  const auto path = directory.write("spiece.model", bytes);
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  expect_error<TokenizerError>([&] { BertGenerationTokenizer{path}; }, {path.string()});
  expect_error<TokenizerError>([&] { BertGenerationTokenizer{path}; }, parts);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

// A field of a protobuf message, by number, with at most 127 bytes.
std::string field(int number, const std::string& content) {
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(content.size())} + content;
}

std::string piece(const std::string& text, int type = 1, const std::string& score = std::string("\0\0\x80\xbf", 4)) {
  return field(1, field(1, text) + "\x15" + score + "\x18" + static_cast<char>(type));
}

std::string scored(const std::string& text, float score) {
  std::string bytes(sizeof score, '\0');
  std::memcpy(bytes.data(), &score, sizeof score);
  return piece(text, 1, bytes);
}

// A model without white space at the start; ids count from the unknown piece, 0.
class HandMadeModel {
 public:
  static constexpr char unigram = 1;
  static constexpr char byte_pairs = 2;
  HandMadeModel(char type, const std::string& pieces)
      : tokenizer_(directory_.write("spiece.model", piece("<unk>", 2) + pieces + field(2, std::string("\x18") + type) +
                                                        field(3, std::string("\x18\0", 2)))) {}
  TokenIds ids(std::string_view text) const { return tokenizer_.encode(text).input_ids; }

 private:
  TemporaryDirectory directory_;
  BertGenerationTokenizer tokenizer_;
};

TEST(BertGenerationTokenizerTest, OfEqualPairsTheLeftmostMerges) {
  const HandMadeModel model(HandMadeModel::byte_pairs, piece("a") + piece("aa"));
  EXPECT_EQ(model.ids("aaa"), (TokenIds{2, 1}));
  EXPECT_EQ(model.ids("aaaa"), (TokenIds{2, 2}));
}

TEST(BertGenerationTokenizerTest, UnusedPiecesAreOnlyStepsOfMerging) {
  const HandMadeModel model(HandMadeModel::byte_pairs,
                            piece("a") + piece("b") + piece("c") + piece("ab", 5) + piece("abc"));
  EXPECT_EQ(model.ids("abc"), (TokenIds{5}));
  EXPECT_EQ(model.ids("abab"), (TokenIds{1, 2, 1, 2}));
}

TEST(BertGenerationTokenizerTest, UnusedPiecesNeverMatch) {
  const HandMadeModel model(HandMadeModel::unigram, piece("a") + piece("b") + piece("ab", 5));
  EXPECT_EQ(model.ids("ab"), (TokenIds{1, 2}));
}

TEST(BertGenerationTokenizerTest, ScoresStayPreciseInLongTexts) {
  // After 200 x a float sum of scores, −200000, could not tell −0.007 from −0.002.
  const HandMadeModel model(HandMadeModel::unigram, scored("x", -1000.0F) + scored("ab", -0.007F) +
                                                        scored("a", -0.001F) + scored("b", -0.001F));
  const TokenIds ids = model.ids(std::string(200, 'x') + "ab");
  EXPECT_EQ(TokenIds(ids.end() - 2, ids.end()), (TokenIds{3, 4}));
}

TEST(BertGenerationTokenizerTest, RefusesFilesThatAreNoModel) {
  const TemporaryDirectory directory;
  const std::string missing = (directory.path() / "missing.model").string();
  expect_error<TokenizerError>([&] { BertGenerationTokenizer{missing}; }, {missing, "nothing"});
  expect_error<TokenizerError>([&] { BertGenerationTokenizer{directory.path()}; }, {directory.path().string()});
  expect_error<TokenizerError>([&] { BertGenerationTokenizer::from_pretrained(directory.path()); }, {"spiece.model"});
  expect_refused("", {"no pieces"});
  expect_refused("this is a text, not a model", {"not a SentencePiece model"});
  expect_refused(std::string(5000, '\0'), {"malformed"});
  expect_refused(std::string(5000, '\xff'), {"malformed"});
  expect_refused(field(2, "") + field(3, ""), {"no pieces"});
}

TEST(BertGenerationTokenizerTest, RefusesATruncatedModelWhereverItIsCut) {
  const std::string whole = content_of(data / "spiece.model");
  const TemporaryDirectory directory;
  std::size_t accepted = 0;
  for (std::size_t size = 0; size < whole.size(); size += 5) {
    try {
      BertGenerationTokenizer{directory.write("spiece.model", whole.substr(0, size))};
      ++accepted;
    } catch (const TokenizerError&) {
    }
  }
  // Cut exactly between the last two settings, the file is a whole model that does not normalise.
  EXPECT_LE(accepted, 1U);
}

TEST(BertGenerationTokenizerTest, RefusesImpossibleVocabularies) {
  const std::string trainer = field(2, "");
  const std::string unknown = piece("<unk>", 2);
  EXPECT_NO_THROW([&] {
    const TemporaryDirectory directory;
    BertGenerationTokenizer{directory.write("spiece.model", unknown + piece("a") + trainer)};
  }());
  expect_refused(unknown + piece("a"), {"cut short"});
  expect_refused(piece("a") + trainer, {"unknown text", "got 0"});
  expect_refused(unknown + piece("?", 2) + trainer, {"unknown text", "got 2"});
  expect_refused(unknown + piece("") + trainer, {"piece 1", "an empty string"});
  expect_refused(unknown + piece("a") + piece("a") + trainer, {"piece 2", "\"a\" again"});
  expect_refused(unknown + piece(std::string("a\0b", 3)) + trainer, {"piece 1", "NUL"});
  expect_refused(unknown + piece("\xff") + trainer, {"piece 1", "UTF-8"});
  expect_refused(unknown + piece("a", 1, std::string("\0\0\xc0\x7f", 4)) + trainer, {"piece 1", "not finite"});
  expect_refused(unknown + piece("<0x41>", 6) + trainer, {"byte pieces"});
  expect_refused(unknown + piece("<0x41>", 6) + field(2, "\x98\x02\x01"), {"byte pieces", "256", "1"});
  expect_refused(unknown + trainer + field(3, field(2, "rules")), {"precompiled_charsmap"});
}

TEST(BertGenerationTokenizerTest, DamagedModelsNeverCrash) {
  const std::string texts[] = {"the \uff21\uff22 \ufb01 river\t\u3000<s>caf\u00e9", "\xff\xfe\x80 \ufdfa"};
  std::mt19937 random(11);
  testing::internal::CaptureStderr();
  for (const char* name : {"spiece.model", "bpe.model", "char.model", "word.model"}) {
    const std::string whole = content_of(data / name);
    const TemporaryDirectory directory;
    for (int i = 0; i < 200; ++i) {
      std::string bytes = whole;
      for (std::size_t count = 1 + random() % 8; count > 0; --count) {
        bytes[random() % bytes.size()] = static_cast<char>(random());
      }
      try {
        const BertGenerationTokenizer tokenizer(directory.write("spiece.model", bytes));
        for (const std::string& text : texts) {
          const Encoding encoding = tokenizer.encode(text);
          expect_consistent(tokenizer, encoding, {text});
          tokenizer.decode(encoding.input_ids);
        }
      } catch (const TokenizerError&) {
      }
    }
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

// A directory with a good vocabulary and one more file.
void expect_refused_config(const std::string& name, const std::string& content,
                           std::initializer_list<std::string_view> parts) {
  const TemporaryDirectory directory;
  directory.write("spiece.model", content_of(data / "spiece.model"));
  directory.write(name, content);
  expect_error<TokenizerError>([&] { BertGenerationTokenizer::from_pretrained(directory.path()); }, {name});
  expect_error<TokenizerError>([&] { BertGenerationTokenizer::from_pretrained(directory.path()); }, parts);
}

TEST(BertGenerationTokenizerTest, RefusesSettingsThatItCannotHonour) {
  const std::string config = "tokenizer_config.json";
  expect_refused_config(config, "", {});
  expect_refused_config(config, "{\"bos_token\": ", {});
  expect_refused_config(config, "[]", {"object"});
  expect_refused_config(config, R"({"a": "\xff"})", {});
  expect_refused_config(config, R"({"bos_token": 5})", {"bos_token", "5"});
  expect_refused_config(config, R"({"eos_token": {"lstrip": true}})", {"eos_token", "content"});
  expect_refused_config(config, R"({"model_max_length": "long"})", {"model_max_length", "long"});
  expect_refused_config(config, R"({"model_max_length": 0})", {"model_max_length"});
  expect_refused_config(config, R"({"padding_side": "top"})", {"padding_side", "left", "top"});
  expect_refused_config(config, R"({"clean_up_tokenization_spaces": 1})", {"clean_up_tokenization_spaces"});
  expect_refused_config(config, R"({"extra_special_tokens": "<x>"})", {"extra_special_tokens", "<x>"});
  expect_refused_config(config, R"({"added_tokens_decoder": []})", {"added_tokens_decoder"});
  expect_refused_config(config, R"({"added_tokens_decoder": {"-1": {"content": "x"}}})", {"added_tokens_decoder"});
  expect_refused_config(config, R"({"added_tokens_decoder": {"5x": {"content": "x"}}})", {"added_tokens_decoder"});
  expect_refused_config(config, R"({"added_tokens_decoder": {"4294967297": {"content": "x"}}})", {"2147483647"});
  expect_refused_config(config, R"({"added_tokens_decoder": {"5": "x"}})", {"added_tokens_decoder"});
  expect_refused_config(config, R"({"legacy": false})", {"legacy", "not supported"});
  expect_refused_config(config, R"({"sp_model_kwargs": {"add_eos": true}})", {"add_eos", "not supported"});
  expect_refused_config(config, R"({"a": )" + std::string(100000, '[') + std::string(100000, ']') + "}", {});
  expect_refused_config("special_tokens_map.json", R"({"sep_token": []})", {"sep_token"});
  expect_refused_config("added_tokens.json", R"({"<x>": -4})", {"<x>", "-4"});
  expect_refused_config("added_tokens.json", R"({"<x>": 1.5})", {"<x>", "1.5"});
  expect_refused_config("added_tokens.json", "{", {});
}

TEST(BertGenerationTokenizerTest, AnEmptyListOfExtraTokensHidesTheOldFilesList) {
  const TemporaryDirectory directory;
  directory.write("spiece.model", content_of(data / "spiece.model"));
  directory.write("special_tokens_map.json", R"({"additional_special_tokens": ["<x>"]})");
  EXPECT_TRUE(BertGenerationTokenizer::from_pretrained(directory.path())->token_to_id("<x>").has_value());
  directory.write("tokenizer_config.json", R"({"extra_special_tokens": []})");
  EXPECT_FALSE(BertGenerationTokenizer::from_pretrained(directory.path())->token_to_id("<x>").has_value());
}

TEST(BertGenerationTokenizerTest, SavesWhatItDoesNotUnderstand) {
  const TemporaryDirectory directory;
  directory.write("spiece.model", content_of(data / "spiece.model"));
  directory.write("tokenizer_config.json", R"({"chat_template": "x", "max_len": 9, "bos_token": null})");
  const auto tokenizer = BertGenerationTokenizer::from_pretrained(directory.path());
  const TemporaryDirectory saved;
  tokenizer->save_pretrained(saved.path());
  const json config = json::parse(content_of(saved.path() / "tokenizer_config.json"));
  EXPECT_EQ(config["chat_template"], "x");
  EXPECT_EQ(config["model_max_length"], 9);
  EXPECT_EQ(config["bos_token"], nullptr);
  EXPECT_EQ(config["tokenizer_class"], "BertGenerationTokenizer");
  EXPECT_FALSE(config.contains("max_len"));
}

TEST(BertGenerationTokenizerTest, SavingNeedsADirectory) {
  const BertGenerationTokenizer tokenizer(data / "spiece.model");
  const TemporaryDirectory directory;
  const auto file = directory.write("file", "");
  expect_error<TokenizerError>([&] { tokenizer.save_vocabulary(directory.path() / "missing"); }, {"missing"});
  expect_error<TokenizerError>([&] { tokenizer.save_vocabulary(file); }, {file.string()});
  expect_error<TokenizerError>([&] { tokenizer.save_pretrained(file); }, {file.string()});
  EXPECT_EQ(tokenizer.save_vocabulary(directory.path()),
            (std::vector<std::filesystem::path>{directory.path() / "spiece.model"}));
}

// Real vocabularies, where the machine has them.
class BertGenerationTokenizerSharedDataTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::is_directory(shared / "conformance")) GTEST_SKIP() << "no shared data at " << shared;
  }
};

TEST_F(BertGenerationTokenizerSharedDataTest, AgreesWithPublishedIds) {
  std::istringstream lines(content_of(shared / "conformance" / "cases.jsonl"));
  std::size_t checked = 0;
  for (std::string line; std::getline(lines, line);) {
    const json request = json::parse(line);
    if (request["tokenizer"].get<std::string>().rfind("bert_generation_", 0) != 0) continue;
    const BertGenerationTokenizer tokenizer(shared / request["files"][0].get<std::string>());
    const std::string text = request["text"];
    const Encoding encoding = tokenizer.encode(text);
    EXPECT_EQ(encoding.input_ids, request["ids"].get<TokenIds>()) << text;
    expect_consistent(tokenizer, encoding, {text});
    ++checked;
  }
  EXPECT_EQ(checked, 7U);
}

TEST_F(BertGenerationTokenizerSharedDataTest, AppendsWhatTheFixtureVocabularyLacks) {
  const BertGenerationTokenizer tokenizer(shared / "hf-transformers-fixtures" / "test_sentencepiece.model");
  EXPECT_EQ(tokenizer.vocab_size(), 1000U);
  EXPECT_EQ(tokenizer.size(), 1002U);
  EXPECT_EQ(tokenizer.sep_token_id(), 1000);
  EXPECT_EQ(tokenizer.pad_token_id(), 1001);
}

TEST_F(BertGenerationTokenizerSharedDataTest, UserDefinedPiecesOfTheRealVocabularyAlwaysWin) {
  const BertGenerationTokenizer tokenizer(shared / "bbc-encoder-spm" / "gpt2.model");
  EXPECT_EQ(tokenizer.encode("[SEP]").input_ids, (TokenIds{321, 66}));
  EXPECT_EQ(tokenizer.pad_token_id(), 0);
  EXPECT_EQ(tokenizer.eos_token_id(), 1);
  EXPECT_EQ(tokenizer.bos_token_id(), 2);
  EXPECT_EQ(tokenizer.sep_token_id(), 33);
  EXPECT_EQ(tokenizer.unk_token_id(), 100);
}

TEST_F(BertGenerationTokenizerSharedDataTest, RealTextsGiveConsistentOffsets) {
  const BertGenerationTokenizer tokenizer(shared / "bbc-encoder-spm" / "pegasus.model");
  const json texts = json::parse(content_of(shared / "blns" / "blns.json"));
  for (const std::string text : texts) expect_consistent(tokenizer, tokenizer.encode(text), {text});
  const std::string bytes = content_of(shared / "utf8-tests" / "utf8tests.bin");
  expect_consistent(tokenizer, tokenizer.encode(bytes), {bytes});
}

}  // namespace
}  // namespace bertgen
