#include "bertgen/runtime/session.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "support/checkpoint.hpp"
#include "support/errors.hpp"

namespace bertgen {
namespace {

class SessionTest : public testing::Test {
 protected:
  SessionTest() {
    GenerationConfig config = model_->generation_config();
    config.max_length = 12;
    config.num_beams = 3;
    model_->set_generation_config(config);
  }
  static std::vector<TokenIds> ids(const GenerateOutput& output) {
    std::vector<TokenIds> rows;
    for (const GeneratedSequence& sequence : output.sequences) rows.push_back(sequence.ids);
    return rows;
  }

  std::shared_ptr<EncoderDecoderModel> model_ = std::make_shared<EncoderDecoderModel>(test::make_model<float>());
  const GenerateInputs inputs_{test::random_ids(6, 16, 19, 2), {}, {}};
};

TEST_F(SessionTest, PhysicalCoresAreAtLeastOneAndNoMoreThanThreads) {
  EXPECT_GE(physical_cores(), 1);
  EXPECT_LE(physical_cores(), static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  EXPECT_EQ(Session(model_).workspace().threads(), physical_cores());
}

TEST_F(SessionTest, RefusesLessThanOneThread) {
  test::expect_error<ArgumentError>([this] { Session(model_, 0); }, {"expected 1 to 1024 threads, got 0"});
}

TEST_F(SessionTest, GeneratesWithTheCheckpointsOptionsOrGivenOnes) {
  Session session(model_, 2);
  const auto expected = ids(model_->generate(inputs_.input_ids));
  EXPECT_EQ(ids(session.generate(inputs_)), expected);
  EXPECT_EQ(ids(session.generate(inputs_, model_->generation_config())), expected);
  GenerationConfig greedy = model_->generation_config();
  greedy.num_beams = 1;
  EXPECT_EQ(ids(session.generate(inputs_, greedy)), ids(model_->generate(inputs_.input_ids, greedy)));
}

TEST_F(SessionTest, ForwardIsTheModels) {
  Session session(model_, 2);
  Workspace workspace(1);
  const EncoderDecoderInputs inputs{.input_ids = {{3, 4, 5}}, .decoder_input_ids = {{2, 6}}};
  EXPECT_TRUE(test::same_bits(session.forward(inputs).logits, model_->forward(inputs, workspace).logits));
}

TEST_F(SessionTest, TakesNoNewScratchOnceWarm) {
  Session session(model_, 2);
  session.generate(inputs_);
  const std::size_t warm = session.workspace().capacity();
  for (int i = 0; i < 5; ++i) session.generate(inputs_);
  EXPECT_EQ(session.workspace().capacity(), warm);
}

// Seen to fail with scratch that all sessions share.
TEST_F(SessionTest, SessionsOfOneModelRunAtTheSameTime) {
  const auto expected = ids(Session(model_, 1).generate(inputs_));
  std::vector<std::vector<TokenIds>> results(8);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([this, &results, i] {
      Session session(model_, 1 + static_cast<int>(i) % 2);
      for (int repeat = 0; repeat < 5; ++repeat) results[i] = ids(session.generate(inputs_));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST_F(SessionTest, KeepsItsModelAlive) {
  Session session(model_, 1);
  const auto expected = ids(session.generate(inputs_));
  model_.reset();
  EXPECT_EQ(ids(session.generate(inputs_)), expected);
}

}  // namespace
}  // namespace bertgen
