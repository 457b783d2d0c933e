#include "bertgen/pipelines/text_pipeline.hpp"

#include "bertgen/pipelines/fuser.hpp"
#include "bertgen/pipelines/splitter.hpp"
#include "bertgen/pipelines/summarizer.hpp"
#include "bertgen/pipelines/translator.hpp"
#include "support/checkpoint.hpp"
#include "support/errors.hpp"
#include "support/tokenizers.hpp"

namespace bertgen {
namespace {

/// A model with 16 positions whose vocabulary is BERT's of the tests.
class TextPipelineTest : public testing::Test {
 protected:
  TextPipelineTest() {
    const test::TemporaryDirectory directory;
    test::write_tokenizer("bert", "uncased", directory);
    tokenizers_ = EncoderDecoderTokenizers::from_pretrained(directory.path());
    EncoderDecoderConfig config = test::tiny_pair();
    config.encoder.vocab_size = config.decoder.vocab_size = tokenizers_.encoder->size();
    auto model = test::make_model<float>(config);
    GenerationConfig options = model.generation_config();
    options.max_new_tokens = 5;
    model.set_generation_config(options);
    model_ = std::make_shared<const EncoderDecoderModel>(std::move(model));
  }
  TextPipeline pipeline(TextPipelineOptions options = {}) const {
    options.threads = 1;
    return {model_, tokenizers_, options};
  }
  /// What generate() says of a text.
  std::string answer(const std::string& text, bool add_special_tokens = false) const {
    const auto ids = tokenizers_.encoder->encode(text, {.add_special_tokens = add_special_tokens}).input_ids;
    return tokenizers_.decoder->decode(model_->generate({ids}).sequences[0].ids, {.skip_special_tokens = true});
  }
  static std::string part(const std::string& text, const TextRange& range) {
    return text.substr(range.begin, range.end - range.begin);
  }

  const std::string long_text_ =
      "the river is near the bridge. the river crosses the town. the town is near! "
      "the bridge crosses the river and the town, because it rains. the end is near the bridge.";
  std::shared_ptr<const EncoderDecoderModel> model_;
  EncoderDecoderTokenizers tokenizers_;
};

TEST_F(TextPipelineTest, SaysWhatGenerateSays) {
  auto run = pipeline();
  const std::vector<std::string> texts = {"the river", "the bridge is near", "the town."};
  const auto answers = run(texts);
  ASSERT_EQ(answers.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(answers[i].text, answer(texts[i]));
    EXPECT_EQ(answers[i].windows, (std::vector<TextRange>{{0, texts[i].size()}}));
    EXPECT_EQ(answers[i].cut, (TextRange{texts[i].size(), texts[i].size()}));
    EXPECT_EQ(answers[i].scores.size(), 1u);
  }
  EXPECT_EQ(pipeline({.add_special_tokens = true})("the river").text, answer("the river", true));
}

TEST_F(TextPipelineTest, TasksAreItsNames) {
  const std::string text = "the river is near.";
  const std::string expected = answer(text);
  EXPECT_EQ(Fuser(pipeline()).fuse(text).text, expected);
  EXPECT_EQ(Splitter(pipeline()).split(text).text, expected);
  EXPECT_EQ(Summarizer(pipeline()).summarize(text).text, expected);
  EXPECT_EQ(Translator(pipeline()).translate(std::vector<std::string>{text, text}).at(1).text, expected);
}

TEST_F(TextPipelineTest, OptionsAreTheCheckpointsUntilTheyAreChanged) {
  auto run = pipeline();
  EXPECT_EQ(run.generation_config(), model_->generation_config());
  run.generation_config().max_new_tokens = 1;
  EXPECT_LE(run("the river").text.size(), answer("the river").size());
  EXPECT_EQ(run.session().model().generation_config().max_new_tokens, 5u);
}

TEST_F(TextPipelineTest, TextsWithoutTokensHaveEmptyAnswers) {
  const auto answers = pipeline()(std::vector<std::string>{"", "the river", "  "});
  EXPECT_EQ(answers[0].text, "");
  EXPECT_TRUE(answers[0].scores.empty());
  EXPECT_EQ(answers[1].text, answer("the river"));
  EXPECT_EQ(answers[2].text, "");
}

TEST_F(TextPipelineTest, LongTextsAreRefusedByDefault) {
  const std::vector<std::string> texts = {"the river", long_text_};
  test::expect_error<ArgumentError>([&] { pipeline()(texts); },
                                    {"text 1", "at most 16 tokens", "max_position_embeddings"});
  test::expect_error<ArgumentError>([&] { pipeline({.add_special_tokens = true})(texts); }, {"at most 14 tokens"});
}

TEST_F(TextPipelineTest, TruncatingSaysWhatWasCut) {
  for (const bool special : {false, true}) {
    auto run = pipeline({.long_text = LongText::truncate, .add_special_tokens = special});
    const TextAnswer answer = run(long_text_);
    ASSERT_EQ(answer.windows.size(), 1u);
    EXPECT_EQ(answer.windows[0].begin, 0u);
    EXPECT_EQ(answer.cut, (TextRange{answer.windows[0].end, long_text_.size()}));
    EXPECT_GT(answer.windows[0].end, 20u);
    EXPECT_LT(answer.windows[0].end, long_text_.size());
    EXPECT_EQ(answer.text, this->answer(part(long_text_, answer.windows[0]), special));
  }
}

TEST_F(TextPipelineTest, WindowsCoverTheTextAndEndBetweenSentences) {
  auto run = pipeline({.long_text = LongText::windows});
  const TextAnswer found = run(long_text_);
  ASSERT_GE(found.windows.size(), 3u);
  EXPECT_EQ(found.windows.front().begin, 0u);
  EXPECT_EQ(found.windows.back().end, long_text_.size());
  EXPECT_EQ(found.cut, (TextRange{long_text_.size(), long_text_.size()}));
  std::string joined;
  for (std::size_t i = 0; i < found.windows.size(); ++i) {
    EXPECT_EQ(found.windows[i].begin, i == 0 ? 0 : found.windows[i - 1].end);
    const std::string window = part(long_text_, found.windows[i]);
    EXPECT_LE(tokenizers_.encoder->encode(window, {.add_special_tokens = false}).size(), 16u);
    EXPECT_NE(std::string(" .!").find(window.back()), std::string::npos) << window;
    const std::string text = answer(window);
    joined += (joined.empty() || text.empty() ? "" : " ") + text;
  }
  EXPECT_EQ(found.text, joined);
  EXPECT_EQ(part(long_text_, found.windows[0]), "the river is near the bridge. ");
}

TEST_F(TextPipelineTest, WindowsMayOverlap) {
  auto run = pipeline({.long_text = LongText::windows, .window_overlap = 3});
  const TextAnswer found = run(long_text_);
  for (std::size_t i = 1; i < found.windows.size(); ++i) {
    EXPECT_LT(found.windows[i].begin, found.windows[i - 1].end);
    EXPECT_GT(found.windows[i].end, found.windows[i - 1].end);
  }
  EXPECT_EQ(found.windows.back().end, long_text_.size());
}

TEST_F(TextPipelineTest, AWordLongerThanAWindowIsCut) {
  std::string word;
  for (int i = 0; i < 40; ++i) word += ",";
  const TextAnswer found = pipeline({.long_text = LongText::windows})(word);
  EXPECT_EQ(found.windows, (std::vector<TextRange>{{0, 16}, {16, 32}, {32, 40}}));
}

TEST_F(TextPipelineTest, BatchesChangeNoAnswer) {
  const std::vector<std::string> texts = {long_text_, "the river", long_text_ + " " + long_text_, "", "the town"};
  auto expected = pipeline({.long_text = LongText::windows})(texts);
  for (std::size_t size : {1u, 3u}) {
    const auto answers = pipeline({.long_text = LongText::windows, .batch_size = size})(texts);
    for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(answers[i].text, expected[i].text);
  }
}

// Fails where all windows of a text are one request, or the windows before a text count as requests.
TEST_F(TextPipelineTest, WindowsSampleEachAnewWhateverTextsAreBeside) {
  auto run = pipeline({.long_text = LongText::windows});
  run.generation_config().do_sample = true;
  run.generation_config().seed = 7;
  const std::string sentence = "the river is near the bridge. ";
  const TextAnswer once = run(sentence);
  const TextAnswer repeated = run(sentence + sentence + sentence);
  ASSERT_EQ(repeated.windows.size(), 3u);
  EXPECT_EQ(repeated.scores[0], once.scores[0]);
  EXPECT_NE(repeated.scores[1], once.scores[0]);
  EXPECT_NE(repeated.scores[2], repeated.scores[1]);
  EXPECT_EQ(run({sentence + sentence, sentence})[1].scores, run({sentence, sentence})[1].scores);
}

TEST_F(TextPipelineTest, StopStringsAreOfItsTokenizer) {
  auto run = pipeline();
  const std::string whole = run("the river").text;
  ASSERT_GT(whole.size(), 2u);
  run.generation_config().stop_strings = {whole.substr(1, 1)};
  EXPECT_LT(run("the river").text.size(), whole.size());
}

TEST_F(TextPipelineTest, RefusesWhatCannotWork) {
  test::expect_error<ArgumentError>([&] { pipeline({.batch_size = 0}); }, {"batch_size", "got 0"});
  test::expect_error<TokenizerError>([&] { TextPipeline(model_, {}); }, {"expected tokenizers"});
  test::expect_error<ArgumentError>(
      [&] { pipeline({.long_text = LongText::windows, .window_overlap = 9})(long_text_); },
      {"window_overlap", "half of a window's 16", "got 9"});
  const test::TemporaryDirectory empty;
  EXPECT_THROW(Fuser::from_pretrained(empty.path()), Error);
}

TEST(FuserTest, FusesWithTheShippedCheckpoint) {
  auto fuser = Fuser::from_pretrained(std::filesystem::path(BERTGEN_SOURCE_DIR) / "examples/fuse-en", {.threads = 1});
  EXPECT_EQ(fuser.fuse("John lives in Paris. He works for a bank.").text, "John lives in Paris and works for a bank.");
}

}  // namespace
}  // namespace bertgen
