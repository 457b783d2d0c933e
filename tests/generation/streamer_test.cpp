#include "bertgen/generation/streamer.hpp"

#include "bertgen/generation/generate.hpp"
#include "support/checkpoint.hpp"
#include "support/errors.hpp"

namespace bertgen {
namespace {

/// Keeps everything that it is told.
struct Recorder : BaseStreamer {
  void put(std::span<const TokenId> ids) override {
    EXPECT_FALSE(ids.empty());
    EXPECT_EQ(ends, 0u);
    if (puts.size() == throw_at) throw std::domain_error("the caller's own");
    puts.emplace_back(ids.begin(), ids.end());
  }
  void end() override {
    ++ends;
    if (end_throws) throw std::domain_error("the caller's own end");
  }
  TokenIds all() const {
    TokenIds ids;
    for (const TokenIds& part : puts) ids.insert(ids.end(), part.begin(), part.end());
    return ids;
  }

  std::vector<TokenIds> puts;
  std::size_t ends = 0;
  std::size_t throw_at = 1000;
  bool end_throws = false;
};

/// All searches over one small model.
class StreamerTest : public testing::TestWithParam<const char*> {
 protected:
  StreamerTest() {
    config_.max_new_tokens = 12;
    config_.update(GetParam(), "test");
    inputs_.input_ids = test::random_ids(5, 8, 19, 3);
    inputs_.decoder_input_ids = {{2}, {2, 4}, {2}, {2, 5, 6}, {2}};
  }
  BasicGenerateOutput<double> run(const std::vector<BaseStreamer*>& streamers = {}) {
    GenerateArguments<double> arguments;
    arguments.streamers = streamers;
    return generate(model_, inputs_, config_, workspace_, arguments);
  }
  std::vector<BaseStreamer*> pointers() {
    std::vector<BaseStreamer*> all;
    for (Recorder& recorder : recorders_) all.push_back(&recorder);
    return all;
  }

  const BasicEncoderDecoderModel<double> model_ = test::make_model<double>();
  GenerationConfig config_ = model_.generation_config();
  GenerateInputs inputs_;
  Workspace workspace_{1};
  std::vector<Recorder> recorders_{5};
};
INSTANTIATE_TEST_SUITE_P(Searches, StreamerTest,
                         testing::Values("{}", R"({"do_sample": true})",
                                         R"({"num_beams": 3, "num_return_sequences": 2})",
                                         R"({"num_beams": 3, "do_sample": true, "early_stopping": "never"})",
                                         R"({"num_beams": 2, "length_penalty": 2.0, "early_stopping": true})",
                                         R"({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5})",
                                         R"({"num_beams": 3, "force_words_ids": [[7]]})",
                                         R"({"penalty_alpha": 0.5, "top_k": 3})",
                                         R"({"source_lookup_num_tokens": 3})"));

TEST_P(StreamerTest, GetsThePromptThenTheAnswerThenTheEnd) {
  const auto expected = run();
  const auto output = run(pointers());
  const std::size_t copies = config_.num_return_sequences.value_or(1);
  std::size_t parts = 0;
  for (std::size_t i = 0; i < recorders_.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(recorders_[i].puts.at(0), inputs_.decoder_input_ids[i]);
    EXPECT_EQ(recorders_[i].all(), output.sequences[i * copies].ids);
    EXPECT_EQ(output.sequences[i * copies].ids, expected.sequences[i * copies].ids);
    EXPECT_EQ(recorders_[i].ends, 1u);
    parts += recorders_[i].puts.size();
  }
  EXPECT_GT(parts, 3 * recorders_.size());  // not all at the end
}

/// Sequences that end early are in the pool while others run on, and either may win.
TEST_P(StreamerTest, WhatItGotIsHowTheBestAnswerBegins) {
  config_.sequence_bias = {{{1}, 1.5}};
  inputs_.decoder_input_ids.clear();
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    inputs_.input_ids = test::random_ids(5, 8, 19, seed);
    recorders_ = std::vector<Recorder>(5);
    const auto output = run(pointers());
    for (std::size_t i = 0; i < recorders_.size(); ++i) {
      EXPECT_EQ(recorders_[i].all(), output.sequences[i * config_.num_return_sequences.value_or(1)].ids);
    }
  }
}

TEST_P(StreamerTest, SomeRowsMayHaveNone) {
  const auto expected = run();
  const std::size_t copies = config_.num_return_sequences.value_or(1);
  run({nullptr, nullptr, &recorders_[2], nullptr, nullptr});
  EXPECT_EQ(recorders_[2].all(), expected.sequences[2 * copies].ids);
}

TEST_P(StreamerTest, WhatItThrowsEndsTheCallAndModelAndWorkspaceServeOn) {
  const auto expected = run();
  const std::size_t warm = workspace_.capacity();
  for (std::size_t at : {0u, 1u, 2u}) {
    recorders_ = std::vector<Recorder>(5);
    recorders_[1].throw_at = at;
    recorders_[3].end_throws = true;
    EXPECT_THROW(run(pointers()), std::domain_error);
    for (const Recorder& recorder : recorders_) EXPECT_EQ(recorder.ends, 1u);  // nobody waits for more
  }
  const auto again = run();
  for (std::size_t i = 0; i < expected.sequences.size(); ++i) {
    EXPECT_EQ(again.sequences[i].ids, expected.sequences[i].ids);
    EXPECT_EQ(again.sequences[i].score, expected.sequences[i].score);
  }
  EXPECT_EQ(workspace_.capacity(), warm);
}

TEST_P(StreamerTest, AStoppedCallStreamsWhatItAnswers) {
  std::stop_source source;
  source.request_stop();
  GenerateArguments<double> arguments;
  arguments.streamers = pointers();
  arguments.stop_token = source.get_token();
  generate(model_, inputs_, config_, workspace_, arguments);
  for (std::size_t i = 0; i < recorders_.size(); ++i) {
    EXPECT_EQ(recorders_[i].all(), inputs_.decoder_input_ids[i]);
    EXPECT_EQ(recorders_[i].ends, 1u);
  }
}

TEST(StreamersTest, MustBeOneARowAndOneAnAnswer) {
  const auto model = test::make_model<double>();
  Workspace workspace(1);
  Recorder recorder;
  GenerateArguments<double> arguments;
  arguments.streamers = {&recorder};
  GenerationConfig config = model.generation_config();
  config.max_new_tokens = 5;
  config.stop_strings = {"x"};  // without token_text
  EXPECT_THROW(generate(model, {.input_ids = {{3}}}, config, workspace, arguments), ConfigError);
  EXPECT_EQ(recorder.ends, 1u) << "nobody waits for more";
  config.stop_strings.reset();
  test::expect_error<ShapeError>(
      [&] {
        generate(model, {.input_ids = {{3}, {4}}}, config, workspace, arguments);
      },
      {"streamers", "expected 2", "got 1"});
  config.do_sample = true;
  config.num_return_sequences = 2;
  test::expect_error<ConfigError>([&] { generate(model, {.input_ids = {{3}}}, config, workspace, arguments); },
                                  {"num_return_sequences", "1 with streamers", "got 2"});
}

}  // namespace
}  // namespace bertgen
