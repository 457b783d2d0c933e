#include "bertgen/pipelines/text_streamer.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "bertgen/tokenizers/auto.hpp"
#include "support/errors.hpp"
#include "support/numbers.hpp"
#include "support/tokenizers.hpp"
#include "tokenizers/text.hpp"

namespace bertgen {
namespace {

/// Every directory of tests/data/tokenizers by family and name.
class TextStreamerTest : public testing::Test {
 protected:
  static std::shared_ptr<const Tokenizer> load(const std::string& family, const std::string& name) {
    const test::TemporaryDirectory directory;
    test::write_tokenizer(family, name, directory);
    return AutoTokenizer::from_pretrained(directory.path());
  }
  /// The pieces of ids that come one by one.
  static std::vector<std::string> pieces(const std::shared_ptr<const Tokenizer>& tokenizer, const TokenIds& ids,
                                         const DecodeOptions& decode = {}) {
    std::vector<std::string> found;
    std::size_t ends = 0;
    TextStreamer streamer(tokenizer,
                          [&](const std::string& text, bool stream_end) {
                            found.push_back(text);
                            ends += stream_end ? 1 : 0;
                          },
                          {.decode = decode});
    for (const TokenId& id : ids) streamer.put({&id, 1});
    EXPECT_EQ(ends, 0u);
    streamer.end();
    EXPECT_EQ(ends, 1u);
    return found;
  }
};

TEST_F(TextStreamerTest, GivesEachWordWhenItIsWhole) {
  const auto tokenizer = load("bert_generation", "unigram");
  const std::string text = "The river crosses the bridge.";
  std::string so_far;
  for (const std::string& piece : pieces(tokenizer, tokenizer->encode(text).input_ids)) {
    so_far += piece;
    EXPECT_TRUE(text.starts_with(so_far));
    EXPECT_TRUE(so_far.empty() || so_far.size() == text.size() || text[so_far.size()] == ' ') << so_far;
  }
  EXPECT_EQ(so_far, text);
}

TEST_F(TextStreamerTest, ChineseCharactersComeAtOnce) {
  const auto tokenizer = load("roberta", "roberta");
  const std::string text = "\xE4\xBD\xA0\xE5\xA5\xBD";  // two characters of three bytes
  const auto found = pieces(tokenizer, tokenizer->encode(text, {.add_special_tokens = false}).input_ids);
  std::vector<std::string> filled;
  for (const std::string& piece : found) {
    if (!piece.empty()) filled.push_back(piece);
  }
  EXPECT_EQ(filled, (std::vector<std::string>{text.substr(0, 3), text.substr(3)}));
}

TEST_F(TextStreamerTest, PiecesAreWholeCharactersAndTheTextTogether) {
  for (const char* family : {"bert", "bert_generation", "roberta"}) {
    test::Random random(7);
    for (const auto& entry : test::tokenizer_cases(family)["directories"].items()) {
      const auto tokenizer = load(family, entry.key());
      TokenIds known;
      for (TokenId id = 0; static_cast<std::size_t>(id) < tokenizer->size(); ++id) {
        if (!tokenizer->token_text(id).empty()) known.push_back(id);
      }
      for (int repeat = 0; repeat < 60; ++repeat) {
        TokenIds ids(1 + random.below(30));
        for (TokenId& id : ids) id = known[random.below(known.size())];
        for (const bool clean : {false, true}) {
          const DecodeOptions decode{.skip_special_tokens = repeat % 2 == 0, .clean_up_tokenization_spaces = clean};
          std::string together;
          for (const std::string& piece : pieces(tokenizer, ids, decode)) {
            EXPECT_TRUE(detail::is_valid_utf8(piece));
            together += piece;
          }
          EXPECT_EQ(together, tokenizer->decode(ids, decode)) << family << "/" << entry.key();
        }
      }
    }
  }
}

TEST_F(TextStreamerTest, CleanUpMayStillJoinWords) {
  const auto tokenizer = load("bert", "uncased");
  const auto ids = [&](std::initializer_list<const char*> tokens) {
    TokenIds found;
    for (const char* token : tokens) found.push_back(tokenizer->token_to_id(token).value());
    return found;
  };
  for (const TokenIds& words : {ids({"the", "t", "'", "s", "the"}), ids({"the", "n", "'", "t", "the"})}) {
    std::string together;
    for (const std::string& piece : pieces(tokenizer, words, {.clean_up_tokenization_spaces = true})) together += piece;
    EXPECT_EQ(together, tokenizer->decode(words, {.clean_up_tokenization_spaces = true}));
  }
}

TEST_F(TextStreamerTest, LeavesOutThePromptWhereAskedAndServesTheNextAnswer) {
  const auto tokenizer = load("bert", "uncased");
  std::string text;
  TextStreamer streamer(tokenizer,
                        [&text](const std::string& piece, bool stream_end) {
                          text += piece;
                          if (stream_end) text += "|";
                        },
                        {.skip_prompt = true});
  const TokenIds prompt = {tokenizer->token_to_id("river").value()};
  const TokenIds answer = {tokenizer->token_to_id("the").value()};
  for (int repeat = 0; repeat < 2; ++repeat) {
    streamer.put(prompt);
    streamer.put(answer);
    streamer.end();
  }
  EXPECT_EQ(text, "the|the|");
}

TEST_F(TextStreamerTest, IdsThatTheTokenizerLacksAreAnError) {
  TextStreamer streamer(load("bert", "uncased"), [](const std::string&, bool) {});
  const TokenIds ids = {100000};
  test::expect_error<TokenizerError>([&] { streamer.put(ids); }, {"100000"});
}

TEST_F(TextStreamerTest, AnotherThreadReadsTheIterator) {
  const auto tokenizer = load("bert_generation", "unigram");
  const TokenIds ids = tokenizer->encode("The river crosses the bridge.").input_ids;
  TextIteratorStreamer streamer(tokenizer);
  std::thread writer([&] {
    for (int answer = 0; answer < 2; ++answer) {
      for (const TokenId& id : ids) streamer.put({&id, 1});
      streamer.end();
    }
  });
  for (int answer = 0; answer < 2; ++answer) {
    std::string text;
    while (const auto piece = streamer.next()) {
      EXPECT_FALSE(piece->empty());
      text += *piece;
    }
    EXPECT_EQ(text, "The river crosses the bridge.");
  }
  writer.join();
}

TEST_F(TextStreamerTest, TheIteratorWaitsNoLongerThanItIsTold) {
  TextIteratorStreamer streamer(load("bert", "uncased"), {}, std::chrono::milliseconds(5));
  test::expect_error<Error>([&] { streamer.next(); }, {"within 5 ms"});
}

}  // namespace
}  // namespace bertgen
