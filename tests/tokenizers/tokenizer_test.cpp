#include "bertgen/tokenizers/tokenizer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <utility>
#include <vector>

#include "bertgen/core/error.hpp"
#include "support/errors.hpp"

namespace bertgen {
namespace {

using test::expect_error;

// Words of letters, laid out as BERT does: [CLS] text [SEP], [CLS] text [SEP] pair [SEP], with token types.
class WordTokenizer final : public Tokenizer {
 public:
  explicit WordTokenizer(TokenizerOptions options) : Tokenizer(std::move(options)) { add_special_tokens(); }

  static TokenizerOptions bert_options() {
    TokenizerOptions options;
    options.unk_token = "[UNK]";
    options.sep_token = "[SEP]";
    options.pad_token = "[PAD]";
    options.cls_token = "[CLS]";
    return options;
  }

  std::string tokenizer_class() const override { return "WordTokenizer"; }
  std::size_t vocab_size() const override { return words_.size(); }
  std::vector<std::filesystem::path> save_vocabulary(const std::filesystem::path&) const override { return {}; }
  std::vector<std::filesystem::path> save_pretrained(const std::filesystem::path&) const override { return {}; }

 private:
  std::vector<Piece> tokenize(std::string_view text) const override {
    std::vector<Piece> pieces;
    for (const Piece& part : split_added_tokens(text)) {
      if (part.id >= 0) {
        pieces.push_back(part);
        continue;
      }
      for (std::size_t begin = part.begin, end = begin; begin < part.end; begin = end + 1) {
        end = std::min(text.find(' ', begin), part.end);
        if (end > begin) pieces.push_back({piece_to_id(text.substr(begin, end - begin)), begin, end});
      }
    }
    return pieces;
  }
  std::vector<TemplateItem> sequence_template(bool pair) const override {
    const TokenId cls = *cls_token_id();
    const TokenId sep = *sep_token_id();
    if (pair) return {{-1, cls, 0}, {0, -1, 0}, {-1, sep, 0}, {1, -1, 1}, {-1, sep, 1}};
    return {{-1, cls, 0}, {0, -1, 0}, {-1, sep, 0}};
  }
  bool has_token_type_ids() const override { return true; }
  std::optional<TokenId> find_in_vocabulary(std::string_view token) const override {
    const auto found = std::find(words_.begin(), words_.end(), token);
    if (found == words_.end()) return std::nullopt;
    return static_cast<TokenId>(found - words_.begin());
  }
  std::optional<std::string> vocabulary_token(TokenId id) const override {
    const auto index = static_cast<std::size_t>(id);
    return index < words_.size() ? std::optional(words_[index]) : std::nullopt;
  }
  TokenId unknown_id() const override { return 1; }
  std::string tokens_to_text(const std::vector<std::string>& tokens) const override {
    std::string text;
    for (const std::string& token : tokens) text += (text.empty() ? "" : " ") + token;
    return text;
  }

  const std::vector<std::string> words_ = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", ".", "n't"};
};

WordTokenizer make() { return WordTokenizer(WordTokenizer::bert_options()); }

WordTokenizer make_with(const AddedToken& token) {
  TokenizerOptions options = WordTokenizer::bert_options();
  options.added_tokens_decoder[10] = token;
  return WordTokenizer(options);
}

using Spans = std::vector<TextSpan>;

TEST(TokenizerTest, NamesOfOptionsAreThoseOfTransformers) {
  EXPECT_EQ(padding_strategy("longest"), PaddingStrategy::longest);
  EXPECT_EQ(padding_strategy("max_length"), PaddingStrategy::max_length);
  EXPECT_EQ(padding_strategy("do_not_pad"), PaddingStrategy::do_not_pad);
  EXPECT_EQ(truncation_strategy("longest_first"), TruncationStrategy::longest_first);
  EXPECT_EQ(truncation_strategy("only_first"), TruncationStrategy::only_first);
  EXPECT_EQ(truncation_strategy("only_second"), TruncationStrategy::only_second);
  EXPECT_EQ(truncation_strategy("do_not_truncate"), TruncationStrategy::do_not_truncate);
  EXPECT_EQ(side("left"), Side::left);
  EXPECT_EQ(side("right"), Side::right);
  expect_error<ArgumentError>([] { padding_strategy("Longest"); }, {"padding", "longest", "\"Longest\""});
  expect_error<ArgumentError>([] { truncation_strategy("true"); }, {"truncation", "only_first", "\"true\""});
  expect_error<ArgumentError>([] { side(""); }, {"side", "left"});
}

TEST(TokenizerTest, TemplateSurroundsATextAndAPair) {
  const WordTokenizer tokenizer = make();
  const Encoding single = tokenizer.encode("a x");
  EXPECT_EQ(single.input_ids, (TokenIds{2, 4, 1, 3}));
  EXPECT_EQ(single.token_type_ids, (TokenIds{0, 0, 0, 0}));
  EXPECT_EQ(single.special_tokens_mask, (std::vector<std::uint8_t>{1, 0, 0, 1}));
  EXPECT_EQ(single.tokens, (std::vector<std::string>{"[CLS]", "a", "[UNK]", "[SEP]"}));
  EXPECT_EQ(single.offsets, (Spans{{0, 0, -1}, {0, 1, 0}, {2, 3, 0}, {0, 0, -1}}));

  const Encoding pair = tokenizer.encode("a", " b");
  EXPECT_EQ(pair.input_ids, (TokenIds{2, 4, 3, 5, 3}));
  EXPECT_EQ(pair.token_type_ids, (TokenIds{0, 0, 0, 1, 1}));
  EXPECT_EQ(pair.attention_mask, (AttentionMask{1, 1, 1, 1, 1}));
  EXPECT_EQ(pair.offsets, (Spans{{0, 0, -1}, {0, 1, 0}, {0, 0, -1}, {1, 2, 1}, {0, 0, -1}}));

  EncodeOptions plain;
  plain.add_special_tokens = false;
  EXPECT_EQ(tokenizer.encode("a", "b", plain).input_ids, (TokenIds{4, 5}));
  EXPECT_EQ(tokenizer.encode("a", "b", plain).token_type_ids, (TokenIds{0, 1}));
}

TEST(TokenizerTest, MaxLengthCountsSpecialTokens) {
  const WordTokenizer tokenizer = make();
  EncodeOptions options;
  options.max_length = 4;
  EXPECT_EQ(tokenizer.encode("a b c d", options).input_ids, (TokenIds{2, 4, 5, 3}));
  options.truncation_side = Side::left;
  EXPECT_EQ(tokenizer.encode("a b c d", options).input_ids, (TokenIds{2, 6, 7, 3}));
  options.max_length = 1;
  EXPECT_EQ(tokenizer.encode("a b c d", options).input_ids, (TokenIds{2, 3}));
}

TEST(TokenizerTest, LongestFirstLevelsThePairThenTakesInTurn) {
  const WordTokenizer tokenizer = make();
  EncodeOptions options;
  options.truncation = TruncationStrategy::longest_first;
  options.max_length = 7;  // 4 of 7 tokens of text
  EXPECT_EQ(tokenizer.encode("a b c d a", "a b", options).input_ids, (TokenIds{2, 4, 5, 3, 4, 5, 3}));
  options.max_length = 6;  // of an odd number the text keeps one more
  EXPECT_EQ(tokenizer.encode("a b c d a", "a b", options).input_ids, (TokenIds{2, 4, 5, 3, 4, 3}));
  EXPECT_EQ(tokenizer.encode("a b", "a b c", options).input_ids, (TokenIds{2, 4, 5, 3, 4, 3}));
  options.truncation = TruncationStrategy::only_second;
  EXPECT_EQ(tokenizer.encode("a b", "a b c", options).input_ids, (TokenIds{2, 4, 5, 3, 4, 3}));
  EXPECT_EQ(tokenizer.encode("a b c d a", options).input_ids.size(), 7U);
  options.truncation = TruncationStrategy::only_first;
  EXPECT_EQ(tokenizer.encode("a b", "a b c", options).input_ids, (TokenIds{2, 3, 4, 5, 6, 3}));
  options.truncation = TruncationStrategy::do_not_truncate;
  EXPECT_EQ(tokenizer.encode("a b", "a b c", options).input_ids.size(), 8U);
}

TEST(TokenizerTest, PaddingMarksEveryList) {
  const WordTokenizer tokenizer = make();
  EncodeOptions options;
  options.padding = PaddingStrategy::max_length;
  options.max_length = 5;
  const Encoding right = tokenizer.encode("a", options);
  EXPECT_EQ(right.input_ids, (TokenIds{2, 4, 3, 0, 0}));
  EXPECT_EQ(right.attention_mask, (AttentionMask{1, 1, 1, 0, 0}));
  EXPECT_EQ(right.special_tokens_mask, (std::vector<std::uint8_t>{1, 0, 1, 1, 1}));
  EXPECT_EQ(right.token_type_ids, (TokenIds{0, 0, 0, 0, 0}));
  EXPECT_EQ(right.tokens.back(), "[PAD]");
  EXPECT_EQ(right.offsets.back(), (TextSpan{0, 0, -1}));

  options.padding_side = Side::left;
  EXPECT_EQ(tokenizer.encode("a", options).input_ids, (TokenIds{0, 0, 2, 4, 3}));
  EXPECT_EQ(tokenizer.encode("a", options).attention_mask, (AttentionMask{0, 0, 1, 1, 1}));
  // Padding alone never shortens.
  EXPECT_EQ(tokenizer.encode("a b c d", options).input_ids.size(), 6U);
}

TEST(TokenizerTest, BatchPadsToItsLongestAndRoundsUp) {
  const WordTokenizer tokenizer = make();
  EncodeOptions options;
  options.padding = PaddingStrategy::longest;
  auto rows = tokenizer.encode_batch({"a", "", "a b c"}, options);
  for (const Encoding& row : rows) EXPECT_EQ(row.size(), 5U);
  EXPECT_EQ(rows[1].attention_mask, (AttentionMask{1, 1, 0, 0, 0}));
  options.pad_to_multiple_of = 4;
  rows = tokenizer.encode_batch({"a", "b"}, {"c", "a b"}, options);
  for (const Encoding& row : rows) EXPECT_EQ(row.size(), 8U);
  EXPECT_TRUE(tokenizer.encode_batch(std::vector<std::string>{}, options).empty());
  expect_error<ArgumentError>(
      [&] {
        tokenizer.encode_batch({"a", "b"}, std::vector<std::string>{"c"}, options);
      },
      {"text_pairs", "expected 2", "got 1"});
}

TEST(TokenizerTest, ModelMaxLengthStandsInForMaxLength) {
  TokenizerOptions limited = WordTokenizer::bert_options();
  limited.model_max_length = 4;
  limited.truncation_side = Side::left;
  const WordTokenizer tokenizer(limited);
  EncodeOptions options;
  EXPECT_EQ(tokenizer.encode("a b c d", options).size(), 6U);
  options.truncation = TruncationStrategy::longest_first;
  EXPECT_EQ(tokenizer.encode("a b c d", options).input_ids, (TokenIds{2, 6, 7, 3}));
  options.truncation.reset();
  options.padding = PaddingStrategy::max_length;
  EXPECT_EQ(tokenizer.encode("a", options).size(), 4U);
  // Without any limit there is nothing to pad or cut to.
  EXPECT_EQ(make().encode("a", options).size(), 3U);
}

TEST(TokenizerTest, RefusesOptionsThatCannotBeMet) {
  const WordTokenizer tokenizer = make();
  const auto encode = [&](auto change) {
    return [&tokenizer, change] {
      EncodeOptions options;
      change(options);
      tokenizer.encode("a b c", options);
    };
  };
  expect_error<ArgumentError>(encode([](EncodeOptions& o) { o.max_length = 0; }), {"max_length", "got 0"});
  expect_error<ArgumentError>(encode([](EncodeOptions& o) { o.pad_to_multiple_of = 0; }), {"pad_to_multiple_of"});
  expect_error<ArgumentError>(encode([](EncodeOptions& o) {
                                o.padding = PaddingStrategy::max_length;
                                o.max_length = Tokenizer::max_padded_length + 1;
                              }),
                              {"padding", "16777216", "16777217"});
  expect_error<ArgumentError>(encode([](EncodeOptions& o) {
                                o.padding = PaddingStrategy::max_length;
                                o.max_length = static_cast<std::size_t>(-1);
                                o.pad_to_multiple_of = 8;
                              }),
                              {"padding", "16777216"});
  expect_error<ArgumentError>(encode([](EncodeOptions& o) {
                                o.padding = PaddingStrategy::longest;
                                o.truncation = TruncationStrategy::longest_first;
                                o.max_length = 6;
                                o.pad_to_multiple_of = 4;
                              }),
                              {"max_length", "multiple", "4", "got 6"});
  expect_error<TokenizerError>([&] { tokenizer.encode(std::string(Tokenizer::max_text_bytes + 1, ' ')); },
                               {"text", "33554432", "33554433"});

  TokenizerOptions padless = WordTokenizer::bert_options();
  padless.pad_token.reset();
  EncodeOptions padded;
  padded.padding = PaddingStrategy::longest;
  expect_error<ArgumentError>([&] { WordTokenizer(padless).encode("a", padded); }, {"pad_token"});
}

TEST(TokenizerTest, MissingSpecialTokensAreAppendedInOrder) {
  TokenizerOptions options = WordTokenizer::bert_options();
  options.bos_token = "<s>";
  options.mask_token = "<mask>";
  options.extra_special_tokens = {"<e>", "a", "<s>"};
  const WordTokenizer tokenizer(options);
  EXPECT_EQ(tokenizer.bos_token_id(), 10);
  EXPECT_EQ(tokenizer.mask_token_id(), 11);
  EXPECT_EQ(tokenizer.token_to_id("<e>"), 12);
  EXPECT_EQ(tokenizer.vocab_size(), 10U);
  EXPECT_EQ(tokenizer.size(), 13U);
  EXPECT_EQ(tokenizer.all_special_ids(), (TokenIds{10, 1, 3, 0, 2, 11, 12, 4}));
  EXPECT_TRUE(tokenizer.is_special(4));
  EXPECT_FALSE(tokenizer.is_special(5));
  EXPECT_FALSE(tokenizer.eos_token_id().has_value());
}

TEST(TokenizerTest, TokensAndIdsLeadToEachOther) {
  const WordTokenizer tokenizer = make_with({.content = "<x>"});
  EXPECT_EQ(tokenizer.token_to_id("b"), 5);
  EXPECT_EQ(tokenizer.token_to_id("<x>"), 10);
  EXPECT_FALSE(tokenizer.token_to_id("nowhere").has_value());
  EXPECT_EQ(tokenizer.id_to_token(5), "b");
  EXPECT_EQ(tokenizer.id_to_token(10), "<x>");
  for (const TokenId id : {-1, 11, 2147483647}) {
    expect_error<TokenizerError>([&] { tokenizer.id_to_token(id); }, {"id " + std::to_string(id), "vocabulary"});
    expect_error<TokenizerError>([&] { tokenizer.decode({4, id}); }, {"id " + std::to_string(id)});
  }
  TokenizerOptions negative = WordTokenizer::bert_options();
  negative.added_tokens_decoder[-3] = {.content = "<x>"};
  expect_error<TokenizerError>([&] { WordTokenizer{negative}; }, {"<x>", "-3"});
}

TEST(TokenizerTest, AddedTokensMatchLeftmostThenLongest) {
  TokenizerOptions options = WordTokenizer::bert_options();
  options.extra_special_tokens = {"<x>", "<x><y>", "x><"};
  const WordTokenizer tokenizer(options);
  EncodeOptions plain;
  plain.add_special_tokens = false;
  const Encoding encoding = tokenizer.encode("a<x><y><x>a x><", plain);
  EXPECT_EQ(encoding.input_ids, (TokenIds{4, 11, 10, 4, 12}));
  EXPECT_EQ(encoding.offsets, (Spans{{0, 1, 0}, {1, 7, 0}, {7, 10, 0}, {10, 11, 0}, {12, 15, 0}}));
  // They are the text's own tokens, not ones that the tokenizer added.
  EXPECT_EQ(encoding.special_tokens_mask, (std::vector<std::uint8_t>(5, 0)));
}

TEST(TokenizerTest, AddedTokensSwallowWhiteSpaceOnRequest) {
  EncodeOptions plain;
  plain.add_special_tokens = false;
  const auto offsets = [&](const AddedToken& token, std::string_view text) {
    return make_with(token).encode(text, plain).offsets;
  };
  // What is left of "x" as a word shows what was swallowed: the fake splits at plain spaces only.
  EXPECT_EQ(offsets({.content = "<m>", .lstrip = true}, "x\t<m>\ty"), (Spans{{0, 1, 0}, {2, 5, 0}, {5, 7, 0}}));
  EXPECT_EQ(offsets({.content = "<m>", .rstrip = true}, "x\t<m>\ty"), (Spans{{0, 2, 0}, {2, 5, 0}, {6, 7, 0}}));
  const std::string wide = "x\u3000\u00a0<m>\u2003\x1cy";
  EXPECT_EQ(offsets({.content = "<m>", .lstrip = true, .rstrip = true}, wide),
            (Spans{{0, 1, 0}, {6, 9, 0}, {13, 14, 0}}));
  EXPECT_EQ(offsets({.content = "<m>", .lstrip = true, .rstrip = true}, "\t<m>\t<m>\t"), (Spans{{1, 4, 0}, {5, 8, 0}}));
}

TEST(TokenizerTest, SingleWordTokensStandAlone) {
  EncodeOptions plain;
  plain.add_special_tokens = false;
  const WordTokenizer tokenizer = make_with({.content = "mm", .single_word = true});
  EXPECT_EQ(tokenizer.encode("a mm b", plain).input_ids, (TokenIds{4, 10, 5}));
  EXPECT_EQ(tokenizer.encode("mm", plain).input_ids, (TokenIds{10}));
  EXPECT_EQ(tokenizer.encode("amm b", plain).input_ids, (TokenIds{1, 5}));
  EXPECT_EQ(tokenizer.encode("a mmb", plain).input_ids, (TokenIds{4, 1}));
}

TEST(TokenizerTest, DecodeSkipsAndCleansOnRequest) {
  const WordTokenizer tokenizer = make();
  const TokenIds ids = {2, 4, 9, 5, 8, 1, 3};
  EXPECT_EQ(tokenizer.decode(ids), "[CLS] a n't b . [UNK] [SEP]");
  EXPECT_EQ(tokenizer.decode(ids, {.skip_special_tokens = true, .clean_up_tokenization_spaces = std::nullopt}),
            "a n't b .");
  EXPECT_EQ(tokenizer.decode(ids, {.skip_special_tokens = true, .clean_up_tokenization_spaces = true}), "an't b.");

  TokenizerOptions punctuation = WordTokenizer::bert_options();
  punctuation.extra_special_tokens = {"?", "!", ",", "'", "'m", "'s", "'ve", "'re"};  // 10 …
  EXPECT_EQ(
      WordTokenizer(punctuation)
          .decode({4, 10, 4, 11, 4, 12, 4, 13, 4, 14, 4, 15, 4, 16, 4, 17}, {.clean_up_tokenization_spaces = true}),
      "a? a! a, a'a'm a's a've a're");

  TokenizerOptions cleaning = WordTokenizer::bert_options();
  cleaning.clean_up_tokenization_spaces = true;
  EXPECT_EQ(WordTokenizer(cleaning).decode({4, 8}), "a.");
  EXPECT_EQ(WordTokenizer(cleaning).decode({4, 8}, {.clean_up_tokenization_spaces = false}), "a .");
}

}  // namespace
}  // namespace bertgen
