#include "bertgen/tokenizers/bert.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "bertgen/core/error.hpp"
#include "bertgen/tokenizers/auto.hpp"
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

const std::filesystem::path shared = BERTGEN_SHARED_DATA;

class BertTokenizerFixtureTest : public test::TokenizerFixtureTest {
 protected:
  BertTokenizerFixtureTest() : TokenizerFixtureTest("bert") {}
};

TEST_P(BertTokenizerFixtureTest, AgreesWithTransformers) { expect_same(*AutoTokenizer::from_pretrained(directory())); }

TEST_P(BertTokenizerFixtureTest, IsTheSameWhenSavedAndLoaded) {
  expect_same_when_saved(AutoTokenizer::from_pretrained, "tokenizer.json");
}

INSTANTIATE_TEST_SUITE_P(Directories, BertTokenizerFixtureTest,
                         testing::Values("uncased", "cased", "accents", "cased without accents", "added", "special",
                                         "split specials", "version 4", "serialized", "as serialized", "by file"),
                         test::test_name);

// A vocabulary of a few words, a token a line.
class SmallVocabulary {
 public:
  explicit SmallVocabulary(const std::string& lines =
                               "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nrun\n##ning\n.\nca\n"
                               "##fe\n\u1112\n##\u1161\n##\u11ab\n#\na\n##a\n")
      : file_(directory_.write("vocab.txt", lines)) {}
  BertTokenizer load(const BertNormalization& normalization = {}) const {
    return BertTokenizer(file_, BertTokenizer::default_options(), normalization);
  }
  const std::filesystem::path& directory() const { return directory_.path(); }

 private:
  TemporaryDirectory directory_;
  std::filesystem::path file_;
};

TEST(BertTokenizerTest, WrapsATextAndAPair) {
  const SmallVocabulary vocabulary;
  const BertTokenizer tokenizer = vocabulary.load();
  const Encoding pair = tokenizer.encode("The running.", "xyz");
  EXPECT_EQ(pair.tokens, (std::vector<std::string>{"[CLS]", "the", "run", "##ning", ".", "[SEP]", "[UNK]", "[SEP]"}));
  EXPECT_EQ(pair.token_type_ids, (TokenIds{0, 0, 0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(tokenizer.encode("the", "").input_ids, (TokenIds{2, 5, 3}));
  EXPECT_EQ(tokenizer.encode_batch({"the"}, std::vector<std::string>{""}).front().input_ids, (TokenIds{2, 5, 3, 3}));
}

TEST(BertTokenizerTest, OffsetsAreBytesOfTheGivenText) {
  const SmallVocabulary vocabulary;
  const BertTokenizer tokenizer = vocabulary.load();
  EncodeOptions plain;
  plain.add_special_tokens = false;
  using Spans = std::vector<TextSpan>;
  EXPECT_EQ(tokenizer.encode(" THE\t\u00adrunning ", plain).offsets, (Spans{{1, 4, 0}, {7, 10, 0}, {10, 14, 0}}));
  // An accent that is part of its character belongs to the token, one after it does not.
  EXPECT_EQ(tokenizer.encode("Caf\u00e9 cafe\u0301.", plain).offsets,
            (Spans{{0, 2, 0}, {2, 5, 0}, {6, 8, 0}, {8, 10, 0}, {12, 13, 0}}));
  // Of a character that becomes three pieces, the last has the bytes.
  EXPECT_EQ(tokenizer.encode("\ud55c", plain).tokens, (std::vector<std::string>{"\u1112", "##\u1161", "##\u11ab"}));
  EXPECT_EQ(tokenizer.encode("\ud55c", plain).offsets, (Spans{{0, 0, 0}, {0, 0, 0}, {0, 3, 0}}));
  EXPECT_EQ(tokenizer.encode("a\u6f22[SEP]a", plain).offsets, (Spans{{0, 1, 0}, {1, 4, 0}, {4, 9, 0}, {9, 10, 0}}));
}

TEST(BertTokenizerTest, WordsOfMoreThanAHundredCharactersAreUnknown) {
  const SmallVocabulary vocabulary;
  const BertTokenizer tokenizer = vocabulary.load();
  EXPECT_EQ(tokenizer.encode(std::string(100, 'a')).size(), 102U);
  EXPECT_EQ(tokenizer.encode(std::string(101, 'a')).input_ids, (TokenIds{2, 1, 3}));
}

TEST(BertTokenizerTest, DecodingCleansSingleTokensAndOnRequestAll) {
  const SmallVocabulary vocabulary("[UNK]\n[CLS]\n[SEP]\n[PAD]\n[MASK]\ndon\n'\nt\n.\n##s\ns\n");
  const BertTokenizer tokenizer = vocabulary.load();
  EXPECT_EQ(tokenizer.decode({1, 5, 6, 7, 9, 8, 2}), "[CLS] don ' ts. [SEP]");
  EXPECT_EQ(tokenizer.decode({1, 5, 6, 7, 9, 8, 2}, {true, true}), "don'ts.");
  EXPECT_EQ(tokenizer.decode({9, 9}), "##ss");
  expect_error<TokenizerError>([&] { tokenizer.decode({11}); }, {"id 11"});
}

TEST(BertTokenizerTest, TruncationThatCannotBeMetIsRefused) {
  const SmallVocabulary vocabulary;
  const BertTokenizer tokenizer = vocabulary.load();
  EncodeOptions options;
  options.max_length = 4;
  options.truncation = TruncationStrategy::only_second;
  expect_error<ArgumentError>([&] { tokenizer.encode("the the the", options); }, {"only_second", "second text"});
  expect_error<ArgumentError>([&] { tokenizer.encode("the the the", "a", options); }, {"only_second", "more than"});
  // As in tokenizers, a limit below what the special tokens need is none.
  options.truncation = TruncationStrategy::longest_first;
  options.max_length = 1;
  EXPECT_EQ(tokenizer.encode("the the the", options).size(), 5U);
}

TEST(BertTokenizerTest, BytesThatAreNotUtf8AreLeftOut) {
  const SmallVocabulary vocabulary;
  const BertTokenizer tokenizer = vocabulary.load();
  const Encoding encoding = tokenizer.encode("the\xff \xc3run\xed\xa0\x80 ");
  EXPECT_EQ(encoding.input_ids, (TokenIds{2, 5, 6, 3}));
  EXPECT_EQ(encoding.offsets[2], (TextSpan{6, 9, 0}));
}

TEST(BertTokenizerTest, RandomBytesGiveConsistentOffsets) {
  const SmallVocabulary vocabulary;
  std::mt19937 random(7);
  for (const bool lower : {true, false}) {
    const BertTokenizer tokenizer = vocabulary.load({.do_lower_case = lower, .strip_accents = true});
    for (int i = 0; i < 2000; ++i) {
      std::string text;
      for (std::size_t length = random() % 60; length > 0; --length) {
        text += random() % 3 == 0 ? static_cast<char>(random()) : " the[SEP]\xcc\x81"[random() % 11];
      }
      expect_consistent(tokenizer, tokenizer.encode(text), {text});
    }
  }
}

// Quadratic time would be hours, which ctest ends.
TEST(BertTokenizerTest, LongHostileTextsTakeLinearTime) {
  constexpr std::size_t size = 1 << 20;
  const SmallVocabulary vocabulary;
  TokenizerOptions options = BertTokenizer::default_options();
  options.added_tokens_decoder[90] = {.content = "<x>", .lstrip = true, .rstrip = true};
  options.added_tokens_decoder[91] = {.content = " ", .rstrip = true};
  const BertTokenizer tokenizers[] = {vocabulary.load(), BertTokenizer(vocabulary.directory() / "vocab.txt", options)};
  for (const BertTokenizer& tokenizer : tokenizers) {
    for (const char* part :
         {"a", " ", "#", "##", "\u0301", "\u302e\u0316", "\xff", "[", "[SEP]", "<x> ", "\ud55c", "a "}) {
      std::string text;
      while (text.size() < size) text += part;
      const Encoding encoding = tokenizer.encode(text);
      EXPECT_GE(encoding.size(), 2U);
    }
  }
}

TEST(BertTokenizerTest, SavedVocabularyIsTheSameAgain) {
  const std::string lines = "[PAD]\n[UNK]\n\n[CLS]\n[SEP]\n[MASK]\nthe\n";
  const SmallVocabulary vocabulary(lines);
  const TemporaryDirectory directory;
  const auto written = vocabulary.load().save_vocabulary(directory.path());
  EXPECT_EQ(written, (std::vector<std::filesystem::path>{directory.path() / "vocab.txt"}));
  EXPECT_EQ(content_of(written.front()), lines);
  expect_error<TokenizerError>([&] { vocabulary.load().save_vocabulary(directory.path() / "none"); }, {"none"});
  directory.write("file", "");
  expect_error<TokenizerError>([&] { vocabulary.load().save_pretrained(directory.path() / "file"); }, {"file"});
}

TEST(BertTokenizerTest, ThreadsShareOneTokenizer) {
  const SmallVocabulary vocabulary;
  const BertTokenizer tokenizer = vocabulary.load();
  std::vector<TokenIds> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) result = tokenizer.encode("The running caf\u00e9. \ud55c").input_ids;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, results.front());
}

void expect_refused(const std::string& name, const std::string& content,
                    std::initializer_list<std::string_view> parts) {
  const SmallVocabulary vocabulary;
  std::ofstream(vocabulary.directory() / name, std::ios::binary) << content;
  expect_error<TokenizerError>([&] { BertTokenizer::from_pretrained(vocabulary.directory()); }, {name});
  expect_error<TokenizerError>([&] { BertTokenizer::from_pretrained(vocabulary.directory()); }, parts);
}

TEST(BertTokenizerTest, RefusesVocabulariesThatCannotBe) {
  expect_refused("vocab.txt", "", {"[UNK]"});
  expect_refused("vocab.txt", "[CLS]\n[SEP]\nthe\n", {"[UNK]", "got none"});
  expect_refused("vocab.txt", "[UNK]\nthe\nrun\nthe\n", {"line 4", "\"the\" again", "line 2"});
  expect_refused("vocab.txt", "[UNK]\n\xff\n", {"line 2", "UTF-8"});
  const TemporaryDirectory directory;
  expect_error<TokenizerError>([&] { BertTokenizer::from_pretrained(directory.path()); }, {"vocab.txt", "nothing"});
  // White space at the end of a line does not count, and empty lines are holes.
  EXPECT_EQ(SmallVocabulary("[UNK]\r\n[CLS]\u00a0\n[SEP]\n\n\nthe \n").load().encode("the").input_ids,
            (TokenIds{1, 5, 2}));
}

TEST(BertTokenizerTest, RefusesSettingsThatItCannotHonour) {
  expect_refused("tokenizer_config.json", R"({"do_lower_case": 1})", {"do_lower_case", "true or false", "1"});
  expect_refused("tokenizer_config.json", R"({"strip_accents": "no"})", {"strip_accents"});
  expect_refused("tokenizer_config.json", R"({"cls_token": null})", {"cls_token", "got none"});
  const SmallVocabulary vocabulary;
  std::ofstream(vocabulary.directory() / "tokenizer_config.json") << R"({"unk_token": "<none>"})";
  expect_error<TokenizerError>([&] { BertTokenizer::from_pretrained(vocabulary.directory()); },
                               {"vocab.txt", "<none>"});
}

TEST(BertTokenizerTest, RefusesSerializedTokenizersOfOtherKinds) {
  json good = test::tokenizer_cases("bert")["directories"]["serialized"]["files"]["tokenizer.json"];
  const auto refused = [&](const char* pointer, const json& value, std::initializer_list<std::string_view> parts) {
    json changed = good;
    changed[json::json_pointer(pointer)] = value;
    expect_refused("tokenizer.json", changed.dump(), parts);
    const TemporaryDirectory directory;
    directory.write("tokenizer.json", changed.dump());
    expect_error<TokenizerError>([&] { TokenizersBackend::from_pretrained(directory.path()); }, parts);
  };
  refused("/model/type", "Unigram", {"model", "type", "WordPiece", "Unigram"});
  refused("/normalizer", {{"type", "NFC"}}, {"normalizer", "BertNormalizer", "NFC", "not supported"});
  refused("/normalizer", 5, {"normalizer", "an object"});
  refused("/pre_tokenizer", {{"type", "Whitespace"}}, {"pre_tokenizer", "BertPreTokenizer", "Whitespace"});
  refused("/pre_tokenizer", nullptr, {"pre_tokenizer", "BertPreTokenizer"});
  refused("/decoder", {{"type", "Metaspace"}}, {"decoder", "WordPiece", "Metaspace"});
  refused("/model/vocab", json::array(), {"vocab", "an object"});
  refused("/model/vocab/the", -1, {"vocab", "the", "-1"});
  refused("/model/vocab/the", 1, {"id 1", "the", "[UNK]"});
  refused("/model/vocab/the", 4294967296, {"4294967296"});
  refused("/added_tokens", 1, {"added_tokens", "a list"});
  refused("/added_tokens/0", 1, {"added_tokens"});
  expect_refused("tokenizer.json", "[]", {"object"});
  expect_refused("tokenizer.json", "{", {});
  expect_refused("tokenizer.json", R"({"model": {"type": "WordPiece", "vocab": {"a": 1, "a": 2}}})", {"\"a\" twice"});
  expect_refused("tokenizer.json", R"({"a": )" + std::string(100000, '[') + std::string(100000, ']') + "}",
                 {"nesting"});
  expect_refused("tokenizer.json", "{\"a\": \"\xff\"}", {"UTF-8"});

  const auto refused_as_is = [&](const char* pointer, const json& value,
                                 std::initializer_list<std::string_view> parts) {
    json changed = good;
    changed[json::json_pointer(pointer)] = value;
    const TemporaryDirectory directory;
    directory.write("tokenizer.json", changed.dump());
    expect_error<TokenizerError>([&] { TokenizersBackend::from_pretrained(directory.path()); }, {"tokenizer.json"});
    expect_error<TokenizerError>([&] { TokenizersBackend::from_pretrained(directory.path()); }, parts);
  };
  refused_as_is("/model/unk_token", "[NONE]", {"[NONE]"});
  refused_as_is("/post_processor", {{"type", "Other"}}, {"post_processor", "TemplateProcessing", "Other"});
  refused_as_is("/post_processor/sep", {"[SEP]"}, {"sep", "a token and its id"});
  refused_as_is("/decoder/prefix", "@@", {"decoder", "prefix", "@@"});
  refused_as_is("/normalizer/lowercase", "yes", {"lowercase", "yes"});
}

TEST(BertTokenizerTest, DamagedFilesNeverCrash) {
  const std::string whole =
      test::tokenizer_cases("bert")["directories"]["as serialized"]["files"]["tokenizer.json"].dump();
  std::mt19937 random(11);
  const TemporaryDirectory directory;
  for (int i = 0; i < 300; ++i) {
    std::string bytes = whole;
    for (std::size_t count = 1 + random() % 4; count > 0; --count) {
      bytes[random() % bytes.size()] = "{}[]\",:0a\xff"[random() % 10];
    }
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    directory.write("tokenizer.json", bytes);
    try {
      const std::string text = "the caf\u00e9 [SEP]";
      expect_consistent(*TokenizersBackend::from_pretrained(directory.path()),
                        TokenizersBackend::from_pretrained(directory.path())->encode(text), {text});
    } catch (const TokenizerError&) {
    }
  }
}

// Real vocabularies, where the machine has them.
class BertTokenizerSharedDataTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::is_directory(shared / "conformance")) GTEST_SKIP() << "no shared data at " << shared;
  }
};

TEST_F(BertTokenizerSharedDataTest, AgreesWithPublishedIds) {
  const BertTokenizer tokenizer(shared / "bert-uncased-vocab" / "vocab.txt");
  std::istringstream lines(content_of(shared / "conformance" / "cases.jsonl"));
  std::size_t checked = 0;
  for (std::string line; std::getline(lines, line);) {
    const json request = json::parse(line);
    if (request["tokenizer"] != "bert_base_uncased") continue;
    EncodeOptions options;
    options.add_special_tokens = request["add_special_tokens"];
    const std::string text = request["text"];
    EXPECT_EQ(tokenizer.encode(text, options).input_ids, request["ids"].get<TokenIds>()) << text;
    ++checked;
  }
  EXPECT_EQ(checked, 46U);
}

TEST_F(BertTokenizerSharedDataTest, SplitsWordsAsPublished) {
  const json cases = json::parse(content_of(shared / "conformance" / "bert_basic_wordpiece_cases.json"));
  std::size_t checked = 0;
  for (const json& request : cases) {
    const json& options = request["options"];
    if (options["stage"] != "basic" || options.contains("never_split")) continue;
    // With every character and every continuation in it, a vocabulary shows words as they are cut.
    const auto tokens = request["tokens"].get<std::vector<std::string>>();
    std::string lines = "[UNK]\n[CLS]\n[SEP]\n[PAD]\n[MASK]\n";
    std::set<std::string> words(tokens.begin(), tokens.end());
    for (const std::string& word : words) {
      if (word.front() != '[') lines += word + "\n";
    }
    BertNormalization normalization;
    normalization.do_lower_case = options.value("do_lower_case", true);
    if (options.contains("strip_accents") && !options["strip_accents"].is_null())
      normalization.strip_accents = options["strip_accents"].get<bool>();
    EncodeOptions plain;
    plain.add_special_tokens = false;
    const SmallVocabulary vocabulary(lines);
    EXPECT_EQ(vocabulary.load(normalization).encode(request["text"].get<std::string>(), plain).tokens, tokens)
        << request;
    ++checked;
  }
  EXPECT_GE(checked, 8U);
}

TEST_F(BertTokenizerSharedDataTest, RealTextsGiveConsistentOffsets) {
  const BertTokenizer tokenizer(shared / "bert-cased-vocab" / "vocab.txt", BertTokenizer::default_options(),
                                {.do_lower_case = false});
  const json texts = json::parse(content_of(shared / "blns" / "blns.json"));
  for (const std::string text : texts) expect_consistent(tokenizer, tokenizer.encode(text), {text});
  const std::string bytes = content_of(shared / "utf8-tests" / "utf8tests.bin");
  expect_consistent(tokenizer, tokenizer.encode(bytes), {bytes});
}

}  // namespace
}  // namespace bertgen
