#include "bertgen/bertgen.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <thread>

#include "capi/fixture.hpp"
#include "support/allocations.hpp"

namespace bertgen {
namespace {

TEST_F(BertgenTest, VersionsAreThoseOfTheHeaderAndTheProject) {
  EXPECT_EQ(bertgen_abi_version(), BERTGEN_ABI_VERSION);
  EXPECT_EQ(bertgen_version(), std::string(BERTGEN_VERSION));
}

TEST_F(BertgenTest, StatusesHaveNames) {
  const std::vector<std::string> names = {"ok",        "argument",  "shape",  "config",  "checkpoint",
                                          "tokenizer", "cancelled", "memory", "internal"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(bertgen_status_name(static_cast<int>(i)), names[i]);
  }
  EXPECT_STREQ(bertgen_status_name(15), "unknown");
}

TEST_F(BertgenTest, AnswersAsThePipelineDoes) {
  auto pipeline = TextPipeline::from_pretrained(directory_.path(), {.threads = 1});
  EXPECT_EQ(answer(text_), pipeline(text_).text);
  EXPECT_NE(answer(text_), "");
  pipeline.generation_config().num_beams = 3;
  pipeline.generation_config().max_new_tokens = 4;
  EXPECT_EQ(answer(text_, R"({"num_beams": 3, "max_new_tokens": 4})"), pipeline(text_).text);
  EXPECT_EQ(answer(""), "");
}

TEST_F(BertgenTest, GivesAllSequencesInTheOrderOfTheTexts) {
  const auto model = EncoderDecoderModel::from_pretrained(directory_.path());
  const auto tokenizer = AutoTokenizer::from_pretrained(directory_.path());
  GenerationConfig config = model.generation_config();
  config.num_beams = config.num_return_sequences = 2;
  const std::vector<std::string> texts = {text_, "", "the town"};
  bertgen_output* output =
      generate({texts[0].c_str(), "", texts[2].c_str()}, R"({"num_beams": 2, "num_return_sequences": 2})");
  ASSERT_EQ(bertgen_output_count(output), 6u);
  for (std::size_t i : {0u, 2u}) {
    const auto expected =
        model.generate({tokenizer->encode(texts[i], {.add_special_tokens = false}).input_ids}, config);
    for (std::size_t j : {0u, 1u}) {
      EXPECT_EQ(ids(output, 2 * i + j), expected.sequences[j].ids);
      EXPECT_EQ(text(output, 2 * i + j), tokenizer->decode(expected.sequences[j].ids, {.skip_special_tokens = true}));
      EXPECT_EQ(bertgen_output_score(output, 2 * i + j), expected.sequences[j].score);
    }
  }
  for (std::size_t i : {2u, 3u}) {  // without tokens
    EXPECT_EQ(ids(output, i), TokenIds{2});
    EXPECT_EQ(text(output, i), "");
    EXPECT_EQ(bertgen_output_score(output, i), 0);
  }
  bertgen_output_free(output);
  output = generate({}, nullptr);
  EXPECT_EQ(bertgen_output_count(output), 0u);
  bertgen_output_free(output);
}

TEST_F(BertgenTest, SamplesByTheNumberOfTheText) {
  const char* options = R"({"do_sample": true, "seed": 3, "max_new_tokens": 10})";
  bertgen_output* output = generate({"", text_, "the town"}, options);
  bertgen_output* same = generate({"the river", text_}, options);
  EXPECT_EQ(ids(output, 1), ids(same, 1));
  bertgen_output_free(output);
  bertgen_output_free(same);
}

TEST_F(BertgenTest, IdsNeedNoTokenizer) {
  const test::TemporaryDirectory directory;
  save(test::tiny_pair(), directory);
  bertgen_model* model = load(directory.path().string());
  bertgen_session* session = create(model);
  bertgen_model_free(model);  // the session has what it needs
  const TokenIds source = {3, 4, 5};
  const std::int32_t* rows[] = {source.data(), source.data()};
  const std::size_t lengths[] = {3, 2};
  bertgen_output* output = nullptr;
  const auto run = [&](bertgen_on_text on_text, const char* options, char** message) {
    return bertgen_generate_ids(session, rows, lengths, 2, options, on_text, nullptr, &output, message);
  };
  ASSERT_EQ(run(nullptr, nullptr, nullptr), BERTGEN_OK);
  const auto expected = EncoderDecoderModel::from_pretrained(directory.path()).generate({source, TokenIds{3, 4}});
  ASSERT_EQ(bertgen_output_count(output), 2u);
  for (std::size_t i : {0u, 1u}) EXPECT_EQ(ids(output, i), expected.sequences[i].ids);
  EXPECT_EQ(bertgen_output_text(output, 0, nullptr), nullptr);
  bertgen_output_free(output);

  bertgen_on_text never = [](void*, std::size_t, const char*, std::size_t) { return 0; };
  expect_error(BERTGEN_ERROR_TOKENIZER, "tokenizer", [&](char** message) { return run(never, nullptr, message); });
  expect_error(BERTGEN_ERROR_TOKENIZER, "tokenizer",
               [&](char** message) { return run(nullptr, R"({"stop_strings": "a"})", message); });
  char* text = nullptr;
  expect_error(BERTGEN_ERROR_TOKENIZER, "tokenizer",
               [&](char** message) { return bertgen_generate_text(session, "a", nullptr, &text, message); });
  bertgen_session_free(session);
}

TEST_F(BertgenTest, TokenizesAndDetokenizes) {
  const auto tokenizer = AutoTokenizer::from_pretrained(directory_.path());
  for (const int special : {-1, 0, 1}) {
    std::int32_t* ids = nullptr;
    std::size_t count = 0;
    ASSERT_EQ(bertgen_tokenize(model_, text_, special, &ids, &count, nullptr), BERTGEN_OK);
    // The checkpoint is one of BertGeneration, which is given no special tokens unless asked.
    EXPECT_EQ(TokenIds(ids, ids + count), tokenizer->encode(text_, {.add_special_tokens = special == 1}).input_ids);
    for (const int skip : {0, 1}) {
      char* text = nullptr;
      std::size_t length = 0;
      ASSERT_EQ(bertgen_detokenize(model_, ids, count, skip, &text, &length, nullptr), BERTGEN_OK);
      EXPECT_EQ(std::string(text, length), tokenizer->decode({ids, ids + count}, {.skip_special_tokens = skip == 1}));
      bertgen_free(text);
    }
    bertgen_free(ids);
  }
  std::int32_t* ids = nullptr;
  std::size_t count = 1;
  ASSERT_EQ(bertgen_tokenize(model_, "", 0, &ids, &count, nullptr), BERTGEN_OK);
  EXPECT_NE(ids, nullptr);
  EXPECT_EQ(count, 0u);
  bertgen_free(ids);
  char* text = nullptr;
  ASSERT_EQ(bertgen_detokenize(model_, nullptr, 0, 0, &text, nullptr, nullptr), BERTGEN_OK);
  EXPECT_STREQ(text, "");
  bertgen_free(text);
  const std::int32_t outside = 1'000'000;
  expect_error(BERTGEN_ERROR_TOKENIZER, "1000000",
               [&](char** message) { return bertgen_detokenize(model_, &outside, 1, 0, &text, nullptr, message); });
  EXPECT_EQ(text, nullptr);
}

TEST_F(BertgenTest, ComputesInTheTypeThatIsAskedFor) {
  for (const int dtype : {BERTGEN_DTYPE_F32, BERTGEN_DTYPE_BF16, BERTGEN_DTYPE_INT8}) {
    bertgen_model* model = nullptr;
    bertgen_session* session = nullptr;
    char* text = nullptr;
    ASSERT_EQ(bertgen_model_load(directory_.path().c_str(), dtype, 0, &model, nullptr), BERTGEN_OK);
    ASSERT_EQ(bertgen_session_create(model, 1, &session, nullptr), BERTGEN_OK);
    ASSERT_EQ(bertgen_generate_text(session, text_, nullptr, &text, nullptr), BERTGEN_OK);
    EXPECT_TRUE(dtype != BERTGEN_DTYPE_F32 || text == answer(text_));
    bertgen_free(text);
    bertgen_session_free(session);
    bertgen_model_free(model);
  }
}

TEST_F(BertgenTest, ScoresTargets) {
  const auto model = EncoderDecoderModel::from_pretrained(directory_.path());
  const auto tokenizer = AutoTokenizer::from_pretrained(directory_.path());
  const EncodeOptions plain{.add_special_tokens = false};
  Workspace workspace(1);
  EncoderDecoderInputs inputs;
  inputs.input_ids = {tokenizer->encode(text_, plain).input_ids};
  inputs.labels = {tokenizer->encode("the bridge", plain).input_ids};
  const auto expected = model.forward(inputs, workspace);
  double log_probability = 0;
  std::size_t count = 0;
  ASSERT_EQ(bertgen_score(session_, text_, "the bridge", &log_probability, &count, nullptr), BERTGEN_OK);
  ASSERT_EQ(count, inputs.labels[0].size());
  EXPECT_NEAR(-log_probability / static_cast<double>(count), *expected.loss, 1e-6);
  for (const auto& texts : {std::pair{"", "the"}, {"the", ""}}) {
    expect_error(BERTGEN_ERROR_ARGUMENT, "at least one token", [&](char** message) {
      return bertgen_score(session_, texts.first, texts.second, &log_probability, &count, message);
    });
    EXPECT_EQ(log_probability, 0);
    EXPECT_EQ(count, 0u);
  }
}

TEST_F(BertgenTest, WarningsComeALineEach) {
  EXPECT_STREQ(bertgen_model_warnings(model_), "");
  bertgen_output* output = generate({text_}, R"({"temperature": 2, "output_logits": true, "num_assistant_tokens": 3})");
  const std::string warnings = bertgen_output_warnings(output);
  EXPECT_EQ(std::count(warnings.begin(), warnings.end(), '\n'), 2) << warnings;
  for (const char* option : {"options.temperature", "options.output_logits", "num_assistant_tokens"}) {
    EXPECT_NE(warnings.find(option), std::string::npos) << warnings;
  }
  bertgen_output_free(output);
}

/// What a callback was told.
struct Received {
  std::vector<std::string> texts;
  std::size_t pieces = 0;
  std::size_t most = 1000;
};

int receive(void* user_data, std::size_t row, const char* text, std::size_t length) {
  auto& received = *static_cast<Received*>(user_data);
  EXPECT_GT(length, 0u);
  received.texts.at(row).append(text, length);
  return ++received.pieces >= received.most;
}

TEST_F(BertgenTest, StreamsTheTextOfEachRow) {
  Received received{std::vector<std::string>(3)};
  bertgen_output* output = generate({text_, "", "the town"}, R"({"max_new_tokens": 10})", receive, &received);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(received.texts[i], text(output, i));
  EXPECT_GT(received.pieces, 4u);
  bertgen_output_free(output);
}

TEST_F(BertgenTest, ACallbackThatHasEnoughStopsWithWhatThereIs) {
  const std::string whole = answer(text_, R"({"max_new_tokens": 14})");
  Received received{std::vector<std::string>(1), 0, 2};
  bertgen_output* output = generate({text_}, R"({"max_new_tokens": 14})", receive, &received);
  const std::string stopped = text(output, 0);
  EXPECT_LT(stopped.size(), whole.size());
  EXPECT_EQ(whole.substr(0, stopped.size()), stopped);
  EXPECT_EQ(received.pieces, 2u);
  bertgen_output_free(output);
}

// Seen to fail (the process ended) with bad_alloc caught alone.
TEST_F(BertgenTest, AnExceptionOfACallbackIsAnErrorAndLeavesTheSessionAsItWas) {
  const std::string expected = answer(text_);
  bertgen_output* output = nullptr;
  bertgen_on_text fails = [](void* calls, std::size_t, const char*, std::size_t) -> int {
    ++*static_cast<int*>(calls);
    throw std::runtime_error("from a callback");
  };
  bertgen_on_text fails_oddly = [](void*, std::size_t, const char*, std::size_t) -> int { throw 5; };
  int calls = 0;
  expect_error(BERTGEN_ERROR_INTERNAL, "from a callback", [&](char** message) {
    return bertgen_generate(session_, &text_, 1, nullptr, fails, &calls, &output, message);
  });
  EXPECT_EQ(calls, 2) << "one in each call of bertgen_generate";
  expect_error(BERTGEN_ERROR_INTERNAL, "exception", [&](char** message) {
    return bertgen_generate(session_, &text_, 1, nullptr, fails_oddly, nullptr, &output, message);
  });
  EXPECT_EQ(output, nullptr);
  EXPECT_EQ(answer(text_), expected);
}

TEST_F(BertgenTest, CancelLastsUntilReset) {
  const std::string expected = answer(text_);
  bertgen_session_cancel(session_);
  for (int i = 0; i < 2; ++i) expect_error(BERTGEN_ERROR_CANCELLED, "cancel", text_, nullptr);
  {
    // What has no status cannot say that there is no memory.
    const test::FailingAllocations starving(1, test::Failing::from_one_on);
    bertgen_session_reset(session_);
  }
  EXPECT_EQ(answer(text_), expected);
  bertgen_session_cancel(session_);
  bertgen_session_reset(session_);
  bertgen_session_cancel(session_);
  expect_error(BERTGEN_ERROR_CANCELLED, "cancel", text_, nullptr);
}

TEST_F(BertgenTest, AnotherThreadCancelsACallThatRuns) {
  struct Steps {
    std::atomic<bool> running = false;
    std::atomic<bool> cancelled = false;
  } steps;
  std::thread other([&] {
    while (!steps.running) std::this_thread::yield();
    bertgen_session_cancel(session_);
    steps.cancelled = true;
  });
  bertgen_on_text waits = [](void* data, std::size_t, const char*, std::size_t) {
    auto* const shared = static_cast<Steps*>(data);
    shared->running = true;
    while (!shared->cancelled) std::this_thread::yield();
    return 0;
  };
  bertgen_output* output = nullptr;
  EXPECT_EQ(bertgen_generate(session_, &text_, 1, R"({"max_new_tokens": 14})", waits, &steps, &output, nullptr),
            BERTGEN_ERROR_CANCELLED);
  EXPECT_EQ(output, nullptr);
  other.join();
}

}  // namespace
}  // namespace bertgen
