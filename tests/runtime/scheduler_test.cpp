#include "bertgen/runtime/scheduler.hpp"

#include <algorithm>
#include <atomic>
#include <thread>

#include "support/checkpoint.hpp"
#include "support/errors.hpp"

namespace bertgen {
namespace {

struct Counter : BaseStreamer {
  void put(std::span<const TokenId> part) override { ids.insert(ids.end(), part.begin(), part.end()); }
  void end() override { ++ends; }
  TokenIds ids;
  int ends = 0;
};

class SchedulerTest : public testing::Test {
 protected:
  /// Requests of all searches, lengths and options.
  std::vector<GenerateRequest<float>> requests(std::size_t count) const {
    const std::vector<const char*> searches = {"{}",
                                               R"({"do_sample": true, "num_return_sequences": 3, "seed": 5})",
                                               R"({"num_beams": 3, "num_return_sequences": 2})",
                                               R"({"num_beams": 2, "do_sample": true})",
                                               R"({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5})",
                                               R"({"num_beams": 3, "force_words_ids": [[7]]})",
                                               R"({"penalty_alpha": 0.5, "top_k": 3})",
                                               R"({"source_lookup_num_tokens": 3})",
                                               R"({"repetition_penalty": 1.5, "output_scores": true})"};
    const auto sources = test::random_ids(count, 16, 19, 7);
    std::vector<GenerateRequest<float>> requests(count);
    for (std::size_t i = 0; i < count; ++i) {
      requests[i].inputs.input_ids = {sources[i]};
      requests[i].inputs.requests = {i};
      if (i % 4 == 1) requests[i].inputs.decoder_input_ids = {{2, static_cast<TokenId>(3 + i % 10)}};
      if (i % 5 == 2) {
        requests[i].inputs.attention_mask = {AttentionMask(sources[i].size(), 1)};
        requests[i].inputs.attention_mask[0].back() = sources[i].size() == 1 ? 1 : 0;
      }
      requests[i].config = model_->generation_config();
      requests[i].config.max_new_tokens = 2 + i % 11;
      requests[i].config.update(searches[i % searches.size()], "test");
    }
    return requests;
  }
  GenerateOutput alone(const GenerateRequest<float>& request) const {
    Workspace workspace(1);
    return generate(*model_, request.inputs, request.config, workspace, request.arguments);
  }
  static void expect_same(const GenerateOutput& got, const GenerateOutput& expected) {
    ASSERT_EQ(got.sequences.size(), expected.sequences.size());
    for (std::size_t i = 0; i < got.sequences.size(); ++i) {
      EXPECT_EQ(got.sequences[i].ids, expected.sequences[i].ids);
      EXPECT_EQ(got.sequences[i].score, expected.sequences[i].score);
      EXPECT_EQ(got.sequences[i].token_log_probs, expected.sequences[i].token_log_probs);
      EXPECT_EQ(got.sequences[i].beam_indices, expected.sequences[i].beam_indices);
      EXPECT_EQ(got.sequences[i].steps, expected.sequences[i].steps);
    }
    ASSERT_EQ(got.scores.size(), expected.scores.size());
    for (std::size_t i = 0; i < got.scores.size(); ++i) EXPECT_TRUE(test::same_bits(got.scores[i], expected.scores[i]));
    EXPECT_EQ(got.warnings, expected.warnings);
  }

  std::shared_ptr<const BasicEncoderDecoderModel<float>> model_ =
      std::make_shared<const EncoderDecoderModel>(test::make_model<float>());
};

// Seen to fail with scratch that all schedulers and sessions share.
TEST_F(SchedulerTest, EachRequestGetsTheAnswerThatItGetsAlone) {
  const auto all = requests(90);
  for (const SchedulerOptions& options : {SchedulerOptions{.threads = 1},
                                          {.threads = 2, .max_rows = 5},
                                          {.threads = 1, .max_rows = 1, .max_source_tokens = 1},
                                          {.threads = 1, .max_rows = 12, .max_source_tokens = 20}}) {
    Scheduler scheduler(model_, options);
    std::vector<std::future<GenerateOutput>> futures;
    for (const auto& request : all) futures.push_back(scheduler.submit(request));
    for (std::size_t i = 0; i < all.size(); ++i) {
      SCOPED_TRACE(i);
      expect_same(futures[i].get(), alone(all[i]));
    }
  }
}

TEST_F(SchedulerTest, ManyThreadsSubmit) {
  const auto all = requests(64);
  Scheduler scheduler(model_, {.threads = 1, .max_rows = 16});
  std::vector<GenerateOutput> outputs(all.size());
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      for (std::size_t i = thread; i < all.size(); i += 8) outputs[i] = scheduler.submit(all[i]).get();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < all.size(); ++i) expect_same(outputs[i], alone(all[i]));
}

TEST_F(SchedulerTest, RowsThatAreDoneMakeRoomForWaitingRequests) {
  // One long answer, and short ones that come and go beside it.
  auto all = requests(1);
  all[0].config = model_->generation_config();
  all[0].config.eos_token_id.reset();
  all[0].config.max_new_tokens = 14;
  std::size_t most = 0;
  std::size_t short_ones_done = 0;
  std::atomic<bool> all_submitted = false;
  all[0].arguments.stopping_criteria = {[&](std::span<const TokenId> ids) {
    while (!all_submitted) std::this_thread::yield();  // however fast the scheduler's thread is
    most = std::max(most, ids.size());
    return false;
  }};
  all[0].inputs.decoder_input_ids.clear();
  for (int i = 0; i < 4; ++i) {
    all.push_back(all[0]);
    all.back().config.max_new_tokens = 3;
    all.back().arguments.stopping_criteria = {[&](std::span<const TokenId> ids) {
      if (ids.size() == 3) {  // the last but one step
        EXPECT_LT(most, 15u) << "the long answer was waited for";
        ++short_ones_done;
      }
      return false;
    }};
  }
  Scheduler scheduler(model_, {.threads = 1, .max_rows = 2});
  std::vector<std::future<GenerateOutput>> futures;
  for (const auto& request : all) futures.push_back(scheduler.submit(request));
  all_submitted = true;
  EXPECT_EQ(futures[0].get().sequences[0].ids.size(), 15u);
  EXPECT_EQ(short_ones_done, 4u);
}

TEST_F(SchedulerTest, AFaultIsOfItsRequestAlone) {
  auto all = requests(24);
  all[1].inputs.input_ids = {{99}};
  all[4].inputs.input_ids.clear();
  all[7].inputs.token_type_ids = {{1, 2}, {3}};
  all[9].arguments.stopping_criteria = {[](std::span<const TokenId>) -> bool { throw std::domain_error("mine"); }};
  std::stop_source cancelled;
  cancelled.request_stop();
  all[10].arguments.cancel_token = cancelled.get_token();
  Scheduler scheduler(model_, {.threads = 1});
  std::vector<std::future<GenerateOutput>> futures;
  for (const auto& request : all) futures.push_back(scheduler.submit(request));
  test::expect_error<ArgumentError>([&] { futures[1].get(); }, {"input_ids, row 0", "got 99"});
  test::expect_error<ArgumentError>([&] { futures[4].get(); }, {"one row", "got one of 0"});
  EXPECT_THROW(futures[7].get(), ShapeError);
  EXPECT_THROW(futures[9].get(), std::domain_error);
  EXPECT_THROW(futures[10].get(), CancelledError);
  for (std::size_t i : {0u, 2u, 3u, 5u, 6u, 8u, 11u, 23u}) expect_same(futures[i].get(), alone(all[i]));
}

TEST_F(SchedulerTest, StreamsAndStops) {
  auto all = requests(9);
  std::vector<Counter> counters(all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i != 1) all[i].arguments.streamers = {&counters[i]};  // it has several samples
  }
  std::stop_source stop;
  stop.request_stop();
  all[0].arguments.stop_token = stop.get_token();
  Scheduler scheduler(model_, {.threads = 1});
  std::vector<std::future<GenerateOutput>> futures;
  for (const auto& request : all) futures.push_back(scheduler.submit(request));
  for (std::size_t i = 0; i < all.size(); ++i) {
    const GenerateOutput output = futures[i].get();
    if (i == 1) continue;
    EXPECT_EQ(counters[i].ids, output.sequences[0].ids) << i;
    EXPECT_EQ(counters[i].ends, 1) << i;
  }
  EXPECT_EQ(counters[0].ids.size(), 2u);  // encoding is not stopped: the sources of others are encoded with it
}

TEST_F(SchedulerTest, WhatIsNotDoneWhenItEndsIsCancelled) {
  auto all = requests(200);
  std::vector<std::future<GenerateOutput>> futures;
  std::size_t answered = 0;
  std::vector<Counter> counters(all.size());
  {
    Scheduler scheduler(model_, {.threads = 1, .max_rows = 4});
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].arguments.streamers = {&counters[i]};
      futures.push_back(scheduler.submit(all[i]));
    }
    futures[0].get();
  }
  for (const Counter& counter : counters) EXPECT_EQ(counter.ends, 1);
  for (std::size_t i = 1; i < futures.size(); ++i) {
    try {
      futures[i].get();
      ++answered;
    } catch (const Error&) {  // cancelled; a sample of several has no streamer
    }
  }
  EXPECT_LT(answered, 199u);
}

TEST_F(SchedulerTest, RefusesLessThanOneThread) {
  test::expect_error<ArgumentError>([this] { Scheduler(model_, {.threads = 0}); },
                                    {"expected 1 to 1024 threads, got 0"});
}

}  // namespace
}  // namespace bertgen
