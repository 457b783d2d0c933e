#include "bertgen/tokenizers/roberta.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "bertgen/core/error.hpp"
#include "bertgen/tokenizers/auto.hpp"
#include "support/errors.hpp"
#include "support/files.hpp"
#include "support/tokenizers.hpp"
#include "tokenizers/byte_level.hpp"

namespace bertgen {
namespace {

using nlohmann::json;
using test::content_of;
using test::expect_consistent;
using test::expect_error;
using test::TemporaryDirectory;

const std::filesystem::path shared = BERTGEN_SHARED_DATA;

class RobertaTokenizerFixtureTest : public test::TokenizerFixtureTest {
 protected:
  RobertaTokenizerFixtureTest() : TokenizerFixtureTest("roberta") {}
};

TEST_P(RobertaTokenizerFixtureTest, AgreesWithTransformers) {
  expect_same(*AutoTokenizer::from_pretrained(directory()));
}

TEST_P(RobertaTokenizerFixtureTest, IsTheSameWhenSavedAndLoaded) {
  expect_same_when_saved(AutoTokenizer::from_pretrained, "tokenizer.json");
}

INSTANTIATE_TEST_SUITE_P(Directories, RobertaTokenizerFixtureTest,
                         testing::Values("roberta", "prefix space", "added", "split specials", "missing bytes",
                                         "version 4", "serialized", "as serialized", "by file"),
                         test::test_name);

// The vocabulary of the fixtures in two files.
class FixtureFiles {
 public:
  FixtureFiles() {
    const json& files = test::tokenizer_cases("roberta")["directories"]["roberta"]["files"];
    vocabulary = files["vocab.json"];
    merges = files["merges.txt"];
    write();
  }
  void write() const {
    directory_.write("vocab.json", vocabulary.dump());
    directory_.write("merges.txt", merges);
  }
  RobertaTokenizer load(const ByteLevelOptions& byte_level = {}) const {
    return RobertaTokenizer(path() / "vocab.json", path() / "merges.txt", RobertaTokenizer::default_options(),
                            byte_level);
  }
  const std::filesystem::path& path() const { return directory_.path(); }

  json vocabulary;
  std::string merges;

 private:
  TemporaryDirectory directory_;
};

TEST(RobertaTokenizerTest, WordsAreCutAsByThePattern) {
  const auto words = [](std::string_view text) {
    std::vector<std::string> result;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = detail::word_end(text, at);
      result.emplace_back(text.substr(at, end - at));
      at = end;
    }
    return result;
  };
  using Words = std::vector<std::string>;
  EXPECT_EQ(words("Hello world's 42nd."), (Words{"Hello", " world", "'s", " 42", "nd", "."}));
  EXPECT_EQ(words("I'M we'll'd"), (Words{"I", "'", "M", " we", "'ll", "'d"}));
  EXPECT_EQ(words("  lead"), (Words{" ", " lead"}));
  EXPECT_EQ(words("trail  "), (Words{"trail", "  "}));
  EXPECT_EQ(words("a \n b"), (Words{"a", " \n", " b"}));
  EXPECT_EQ(words("a\tb\t\tc"), (Words{"a", "\t", "b", "\t", "\t", "c"}));
  EXPECT_EQ(words(" 's x''s"), (Words{" '", "s", " x", "''", "s"}));
  EXPECT_EQ(words("\u00bd\u2167_-\u00e9\u3000x"), (Words{"\u00bd\u2167", "_-", "\u00e9", "\u3000", "x"}));
  EXPECT_EQ(words(" "), (Words{" "}));
}

TEST(RobertaTokenizerTest, WrapsATextAndAPair) {
  const RobertaTokenizer tokenizer = FixtureFiles().load();
  const Encoding pair = tokenizer.encode("a", "b");
  EXPECT_EQ(pair.tokens, (std::vector<std::string>{"<s>", "a", "</s>", "</s>", "b", "</s>"}));
  EXPECT_TRUE(pair.token_type_ids.empty());
  EXPECT_EQ(tokenizer.encode("a", "").size(), 3U);
}

TEST(RobertaTokenizerTest, OffsetsAreBytesOfTheGivenText) {
  const FixtureFiles files;
  EncodeOptions plain;
  plain.add_special_tokens = false;
  const auto parts = [&](const ByteLevelOptions& options, std::string_view text) {
    std::vector<std::string> result;
    for (const TextSpan& span : files.load(options).encode(text, plain).offsets) {
      result.emplace_back(text.substr(span.begin, span.end - span.begin));
    }
    return result;
  };
  using Parts = std::vector<std::string>;
  EXPECT_EQ(parts({}, "z the<mask>z "), (Parts{"z", "the", "<mask>", "z", ""}));
  EXPECT_EQ(parts({.trim_offsets = false}, "z the"), (Parts{"z", " the"}));
  // A space that was put before the text has no bytes there.
  EXPECT_EQ(parts({.add_prefix_space = true}, "the<mask>the"), (Parts{"the", "<mask>", "the"}));
  // Both bytes of a character are tokens of their own.
  EXPECT_EQ(parts({}, "\u0416"), (Parts{"\xd0", "\x96"}));
}

TEST(RobertaTokenizerTest, BytesThatAreNotUtf8BecomeReplacementCharacters) {
  const RobertaTokenizer tokenizer = FixtureFiles().load();
  for (const std::string bad : {"\xff", "\xc3", "\x80", "\xc0"}) {
    const std::string text = "the " + bad + "x";
    const Encoding encoding = tokenizer.encode(text);
    EXPECT_EQ(encoding.input_ids, tokenizer.encode("the \ufffdx").input_ids);
    expect_consistent(tokenizer, encoding, {text});
  }
}

TEST(RobertaTokenizerTest, DecodingWritesOneReplacementForEachCutOffCharacter) {
  const FixtureFiles files;
  const RobertaTokenizer tokenizer = files.load();
  const auto decoded = [&](std::string_view bytes) {
    // Every byte is a token, and its character the token's string.
    TokenIds ids;
    for (const char byte : bytes) {
      ids.push_back(*tokenizer.token_to_id(detail::byte_characters()[static_cast<unsigned char>(byte)]));
    }
    return tokenizer.decode(ids);
  };
  EXPECT_EQ(decoded("caf\u00e9 \n"), "caf\u00e9 \n");
  EXPECT_EQ(decoded("\xc3"), "\ufffd");
  EXPECT_EQ(decoded("\xf0\x9f\x99"), "\ufffd");
  EXPECT_EQ(decoded("\xa9"
                    "a"),
            "\ufffda");
  EXPECT_EQ(decoded("\xe0\x80\x80"), "\ufffd\ufffd\ufffd");
  EXPECT_EQ(decoded("\xed\xa0\x80"), "\ufffd\ufffd\ufffd");
  EXPECT_EQ(decoded("\xf0\x9f\xc3\xa9"), "\ufffd\u00e9");
}

TEST(RobertaTokenizerTest, RandomBytesGiveConsistentOffsets) {
  const FixtureFiles files;
  std::mt19937 random(7);
  for (const bool option : {true, false}) {
    const RobertaTokenizer tokenizer = files.load({.add_prefix_space = option, .trim_offsets = !option});
    for (int i = 0; i < 2000; ++i) {
      std::string text;
      for (std::size_t length = random() % 60; length > 0; --length) {
        text += random() % 3 == 0 ? static_cast<char>(random()) : " the<mask>\xcc\x81"[random() % 12];
      }
      expect_consistent(tokenizer, tokenizer.encode(text), {text});
    }
  }
}

// Quadratic time would be hours, which ctest ends.
TEST(RobertaTokenizerTest, LongHostileTextsTakeLinearTime) {
  constexpr std::size_t size = 1 << 20;
  const RobertaTokenizer tokenizer = FixtureFiles().load();
  for (const char* part : {"a", "e", " ", "\t", "#", "'", "'s", "\u0301", "\xff", "<", "<mask>", "the ", "1"}) {
    std::string text;
    while (text.size() < size) text += part;
    const Encoding encoding = tokenizer.encode(text);
    EXPECT_EQ(encoding.offsets[encoding.size() - 2].end, text.size()) << part;
  }
}

TEST(RobertaTokenizerTest, SavedVocabularyIsTheSameAgain) {
  const FixtureFiles files;
  const TemporaryDirectory directory;
  const auto written = files.load().save_vocabulary(directory.path());
  ASSERT_EQ(written.size(), 2U);
  EXPECT_EQ(json::parse(content_of(written[0])), files.vocabulary);
  EXPECT_EQ(content_of(written[1]), files.merges);
  expect_error<TokenizerError>([&] { files.load().save_vocabulary(directory.path() / "none"); }, {"none"});
}

TEST(RobertaTokenizerTest, RefusesFilesThatCannotBe) {
  const auto refused = [](auto change, std::initializer_list<std::string_view> parts) {
    FixtureFiles files;
    change(files);
    files.write();
    expect_error<TokenizerError>([&] { files.load(); }, parts);
    expect_error<TokenizerError>([&] { RobertaTokenizer::from_pretrained(files.path()); }, parts);
  };
  refused([](FixtureFiles& files) { files.merges += "zq x\n"; }, {"vocab.json", "merge 150", "\"zq", "vocabulary"});
  refused([](FixtureFiles& files) { files.merges += "one\n"; }, {"merges.txt", "line 152", "two tokens", "one"});
  refused([](FixtureFiles& files) { files.merges += "a b c\n"; }, {"merges.txt", "line 152", "a b c"});
  refused([](FixtureFiles& files) { files.merges += "\n"; }, {"merges.txt", "line 152"});
  refused([](FixtureFiles& files) { files.vocabulary["a"] = "b"; }, {"vocab.json", "\"a\"", "an id", "\"b\""});
  refused([](FixtureFiles& files) { files.vocabulary["a"] = -4; }, {"vocab.json", "-4"});
  refused([](FixtureFiles& files) { files.vocabulary["a"] = 1e9; }, {"vocab.json", "16777215"});
  refused([](FixtureFiles& files) { files.vocabulary["a"] = 5; }, {"vocab.json", "id 5", "one token"});
  refused([](FixtureFiles& files) { files.vocabulary = json::array(); }, {"vocab.json", "object"});

  const FixtureFiles files;
  std::filesystem::remove(files.path() / "merges.txt");
  expect_error<TokenizerError>([&] { files.load(); }, {"merges.txt", "nothing"});
  std::ofstream(files.path() / "tokenizer_config.json") << R"({"add_prefix_space": "yes"})";
  std::ofstream(files.path() / "merges.txt") << files.merges;
  expect_error<TokenizerError>([&] { RobertaTokenizer::from_pretrained(files.path()); }, {"add_prefix_space", "yes"});
}

TEST(RobertaTokenizerTest, RefusesSerializedTokenizersOfOtherKinds) {
  const json good = test::tokenizer_cases("roberta")["directories"]["as serialized"]["files"]["tokenizer.json"];
  const auto refused = [&](const char* pointer, const json& value, std::initializer_list<std::string_view> parts) {
    json changed = good;
    changed[json::json_pointer(pointer)] = value;
    const TemporaryDirectory directory;
    directory.write("tokenizer.json", changed.dump());
    expect_error<TokenizerError>([&] { TokenizersBackend::from_pretrained(directory.path()); }, {"tokenizer.json"});
    expect_error<TokenizerError>([&] { TokenizersBackend::from_pretrained(directory.path()); }, parts);
  };
  refused("/normalizer", {{"type", "BertNormalizer"}}, {"normalizer", "null", "BertNormalizer"});
  refused("/pre_tokenizer", {{"type", "Metaspace"}}, {"pre_tokenizer", "ByteLevel", "Metaspace"});
  refused("/pre_tokenizer/use_regex", false, {"use_regex"});
  refused("/decoder", nullptr, {"decoder", "ByteLevel"});
  refused("/model/byte_fallback", true, {"byte_fallback", "not supported"});
  refused("/model/dropout", 0.1, {"dropout", "not supported"});
  refused("/model/end_of_word_suffix", "</w>", {"end_of_word_suffix", "not supported"});
  refused("/model/unk_token", "<none>", {"<none>"});
  refused("/model/merges/3", {"a"}, {"merges", "entry 3", "two tokens"});
  refused("/model/merges", "a b", {"merges", "a list"});
  refused("/post_processor/single/0", {{"Sequence", {{"id", "C"}, {"type_id", 0}}}}, {"single", "Sequence A or B"});
  refused("/post_processor/special_tokens", json::object(), {"special_tokens", "<s>"});
  refused("/padding/direction", "Up", {"padding", "Left", "Up"});
}

TEST(RobertaTokenizerTest, ReadsEveryFormOfPostProcessor) {
  json changed = test::tokenizer_cases("roberta")["directories"]["as serialized"]["files"]["tokenizer.json"];
  changed["padding"] = changed["truncation"] = nullptr;
  const auto ids = [&changed](const json& post_processor) {
    changed["post_processor"] = post_processor;
    const TemporaryDirectory directory;
    directory.write("tokenizer.json", changed.dump());
    return TokenizersBackend::from_pretrained(directory.path())->encode("a", "a").input_ids;
  };
  const TokenIds bare = ids(nullptr);
  ASSERT_EQ(bare.size() % 2, 0u);
  const auto half = static_cast<std::ptrdiff_t>(bare.size() / 2);
  const auto with = [&](const TokenIds& between) {
    TokenIds all = {0};
    all.insert(all.end(), bare.begin(), bare.begin() + half);
    all.insert(all.end(), between.begin(), between.end());
    all.insert(all.end(), bare.begin() + half, bare.end());
    all.push_back(2);
    return all;
  };
  const json bytes = {{"type", "ByteLevel"}, {"trim_offsets", false}};
  json bound = {{"type", "RobertaProcessing"}, {"sep", {"</s>", 2}}, {"cls", {"<s>", 0}}};
  EXPECT_EQ(ids(bytes), bare);
  EXPECT_EQ(ids(bound), with({2, 2}));
  EXPECT_EQ(ids({{"type", "Sequence"}, {"processors", {bytes, bound}}}), with({2, 2}));
  bound["type"] = "BertProcessing";
  EXPECT_EQ(ids(bound), with({2}));
}

// The real vocabulary, where the machine has it.
class RobertaTokenizerSharedDataTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::is_directory(shared / "conformance")) GTEST_SKIP() << "no shared data at " << shared;
  }
};

TEST_F(RobertaTokenizerSharedDataTest, AgreesWithPublishedIdsFromBothFormsOfFiles) {
  const std::filesystem::path folder = shared / "roberta-base-tokenizer";
  const TemporaryDirectory serialized;
  std::filesystem::copy(folder / "tokenizer.json", serialized.path() / "tokenizer.json");
  const RobertaTokenizer by_files(folder / "vocab.json", folder / "merges.txt");
  const auto by_json = RobertaTokenizer::from_pretrained(serialized.path());
  std::istringstream lines(content_of(shared / "conformance" / "cases.jsonl"));
  std::size_t checked = 0;
  for (std::string line; std::getline(lines, line);) {
    const json request = json::parse(line);
    if (request["tokenizer"] != "roberta_base") continue;
    EncodeOptions options;
    options.add_special_tokens = request["add_special_tokens"];
    const std::string text = request["text"];
    EXPECT_EQ(by_files.encode(text, options).input_ids, request["ids"].get<TokenIds>()) << text;
    EXPECT_EQ(by_json->encode(text, options).input_ids, request["ids"].get<TokenIds>()) << text;
    ++checked;
  }
  EXPECT_EQ(checked, 48U);
}

TEST_F(RobertaTokenizerSharedDataTest, EveryTextIsItselfAgain) {
  const std::filesystem::path folder = shared / "roberta-base-tokenizer";
  const RobertaTokenizer tokenizer(folder / "vocab.json", folder / "merges.txt");
  const json texts = json::parse(content_of(shared / "blns" / "blns.json"));
  EncodeOptions plain;
  plain.add_special_tokens = false;
  for (const std::string text : texts) {
    const Encoding encoding = tokenizer.encode(text, plain);
    EXPECT_EQ(tokenizer.decode(encoding.input_ids), text);
    expect_consistent(tokenizer, encoding, {text});
  }
}

}  // namespace
}  // namespace bertgen
