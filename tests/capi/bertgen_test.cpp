#include "bertgen/bertgen.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bertgen/bertgen.hpp"
#include "support/allocations.hpp"
#include "support/checkpoint.hpp"
#include "support/tokenizers.hpp"

namespace bertgen {
namespace {

/// A pair with 16 positions and the vocabulary of BERT's tests, on disk.
class BertgenTest : public testing::Test {
 protected:
  BertgenTest() {
    test::write_tokenizer("bert", "uncased", directory_);
    const auto tokenizers = EncoderDecoderTokenizers::from_pretrained(directory_.path());
    EncoderDecoderConfig config = test::tiny_pair();
    config.encoder.vocab_size = config.decoder.vocab_size = tokenizers.encoder->size();
    save(config, directory_);
    model_ = load(directory_.path().string());
    session_ = create(model_);
  }
  ~BertgenTest() override {
    bertgen_session_free(session_);
    bertgen_model_free(model_);
  }

  static void save(const EncoderDecoderConfig& config, const test::TemporaryDirectory& directory) {
    directory.write("model.safetensors", test::make_checkpoint(config).file().bytes());
    directory.write("config.json", config.to_json());
    directory.write("generation_config.json", R"({"decoder_start_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
      "max_new_tokens": 10})");
  }
  static bertgen_model* load(const std::string& path) {
    bertgen_model* model = nullptr;
    char* message = nullptr;
    EXPECT_EQ(bertgen_model_load(path.c_str(), BERTGEN_DTYPE_AUTO, 0, &model, &message), BERTGEN_OK) << message;
    return model;
  }
  static bertgen_session* create(const bertgen_model* model) {
    bertgen_session* session = nullptr;
    EXPECT_EQ(bertgen_session_create(model, 1, &session, nullptr), BERTGEN_OK);
    return session;
  }
  /// Fails unless the call answers `status` and says `part` of it.
  static void expect_error(bertgen_status status, const std::string& part,
                           const std::function<bertgen_status(char**)>& call) {
    char stale = 0;
    char* message = &stale;
    EXPECT_EQ(call(&message), status) << message;
    ASSERT_NE(message, nullptr);
    ASSERT_NE(message, &stale);
    EXPECT_NE(std::string(message).find(part), std::string::npos) << message;
    bertgen_free(message);
    EXPECT_EQ(call(nullptr), status);
  }
  void expect_error(bertgen_status status, const std::string& part, const char* text, const char* options) {
    expect_error(status, part, [&](char** message) {
      char* answer = nullptr;
      const bertgen_status given = bertgen_generate_text(session_, text, options, &answer, message);
      EXPECT_EQ(answer, nullptr);
      return given;
    });
  }
  std::string answer(const char* text, const char* options = nullptr) {
    char* answer = nullptr;
    char* message = nullptr;
    EXPECT_EQ(bertgen_generate_text(session_, text, options, &answer, &message), BERTGEN_OK) << message;
    std::string result = answer == nullptr ? "" : answer;
    bertgen_free(answer);
    return result;
  }
  bertgen_output* generate(const std::vector<const char*>& texts, const char* options,
                           bertgen_on_text on_text = nullptr, void* user_data = nullptr) {
    bertgen_output* output = nullptr;
    char* message = nullptr;
    EXPECT_EQ(bertgen_generate(session_, texts.data(), texts.size(), options, on_text, user_data, &output, &message),
              BERTGEN_OK)
        << message;
    return output;
  }
  static std::string text(const bertgen_output* output, std::size_t index) {
    std::size_t length = 0;
    const char* text = bertgen_output_text(output, index, &length);
    return text == nullptr ? "(none)" : std::string(text, length);
  }
  static TokenIds ids(const bertgen_output* output, std::size_t index) {
    std::size_t count = 0;
    const std::int32_t* ids = bertgen_output_ids(output, index, &count);
    return {ids, ids + count};
  }

  const test::TemporaryDirectory directory_;
  const char* text_ = "the river is near the bridge.";
  bertgen_model* model_ = nullptr;
  bertgen_session* session_ = nullptr;
};

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

TEST_F(BertgenTest, ErrorsHaveTheirCausesAndTexts) {
  expect_error(BERTGEN_ERROR_CONFIG, "options.num_beams: expected", text_, R"({"num_beams": "four"})");
  expect_error(BERTGEN_ERROR_CONFIG, "options.num_beams: expected at most 65536", text_, R"({"num_beams": 65537})");
  expect_error(BERTGEN_ERROR_CONFIG, "options.no_such_option", text_, R"({"no_such_option": 1})");
  for (const char* options : {"", "{", "[]", "null"}) expect_error(BERTGEN_ERROR_CONFIG, "options", text_, options);
  expect_error(BERTGEN_ERROR_ARGUMENT, "max_length", text_, R"({"max_new_tokens": 1000000})");
  std::string long_text;
  for (int i = 0; i < 10; ++i) long_text += text_;
  expect_error(BERTGEN_ERROR_ARGUMENT, "expected 1 to 16 ids", long_text.c_str(), nullptr);

  bertgen_model* model = nullptr;
  const auto load_from = [&](const std::string& path, int dtype, unsigned flags) {
    return [&model, path, dtype, flags](char** message) {
      const bertgen_status status = bertgen_model_load(path.c_str(), dtype, flags, &model, message);
      EXPECT_EQ(model, nullptr);
      return status;
    };
  };
  const std::string path = directory_.path().string();
  expect_error(BERTGEN_ERROR_CHECKPOINT, "/no/such/directory", load_from("/no/such/directory", BERTGEN_DTYPE_AUTO, 0));
  expect_error(BERTGEN_ERROR_ARGUMENT, "dtype: expected", load_from(path, 7, 0));
  expect_error(BERTGEN_ERROR_ARGUMENT, "flags: expected", load_from(path, BERTGEN_DTYPE_AUTO, 2));
  bertgen_session* session = nullptr;
  for (const int threads : {-1, 1025}) {
    expect_error(BERTGEN_ERROR_ARGUMENT, "expected 1 to 1024 threads",
                 [&](char** message) { return bertgen_session_create(model_, threads, &session, message); });
  }
  directory_.write("config.json", R"({"model_type": "encoder-decoder"})");
  expect_error(BERTGEN_ERROR_CONFIG, "config.json", load_from(path, BERTGEN_DTYPE_AUTO, 0));
  directory_.write("vocab.txt", "");
  expect_error(BERTGEN_ERROR_TOKENIZER, "vocab.txt", load_from(path, BERTGEN_DTYPE_AUTO, 0));
}

TEST_F(BertgenTest, NullIsAnErrorWhereItIsNotAllowed) {
  bertgen_model* model = nullptr;
  bertgen_session* session = nullptr;
  bertgen_output* output = nullptr;
  char* text = nullptr;
  std::int32_t* ids = nullptr;
  std::size_t count = 0;
  double number = 0;
  const TokenIds row = {1};
  const std::int32_t* rows[] = {row.data()};
  const std::int32_t* no_rows[] = {nullptr};
  const char* no_texts[] = {nullptr};
  const std::size_t length = 1;
  const std::vector<std::pair<const char*, std::function<bertgen_status(char**)>>> calls = {
      {"directory", [&](char** m) { return bertgen_model_load(nullptr, BERTGEN_DTYPE_AUTO, 0, &model, m); }},
      {"model", [&](char** m) { return bertgen_model_load("a", BERTGEN_DTYPE_AUTO, 0, nullptr, m); }},
      {"model", [&](char** m) { return bertgen_tokenize(nullptr, "a", 0, &ids, &count, m); }},
      {"text", [&](char** m) { return bertgen_tokenize(model_, nullptr, 0, &ids, &count, m); }},
      {"ids", [&](char** m) { return bertgen_tokenize(model_, "a", 0, nullptr, &count, m); }},
      {"count", [&](char** m) { return bertgen_tokenize(model_, "a", 0, &ids, nullptr, m); }},
      {"model", [&](char** m) { return bertgen_detokenize(nullptr, row.data(), 1, 0, &text, nullptr, m); }},
      {"ids", [&](char** m) { return bertgen_detokenize(model_, nullptr, 1, 0, &text, nullptr, m); }},
      {"text", [&](char** m) { return bertgen_detokenize(model_, row.data(), 1, 0, nullptr, nullptr, m); }},
      {"model", [&](char** m) { return bertgen_session_create(nullptr, 1, &session, m); }},
      {"session", [&](char** m) { return bertgen_session_create(model_, 1, nullptr, m); }},
      {"session", [&](char** m) { return bertgen_generate_text(nullptr, "a", nullptr, &text, m); }},
      {"text", [&](char** m) { return bertgen_generate_text(session_, nullptr, nullptr, &text, m); }},
      {"answer", [&](char** m) { return bertgen_generate_text(session_, "a", nullptr, nullptr, m); }},
      {"session",
       [&](char** m) { return bertgen_generate(nullptr, no_texts, 0, nullptr, nullptr, nullptr, &output, m); }},
      {"texts",
       [&](char** m) { return bertgen_generate(session_, nullptr, 1, nullptr, nullptr, nullptr, &output, m); }},
      {"texts",
       [&](char** m) { return bertgen_generate(session_, no_texts, 1, nullptr, nullptr, nullptr, &output, m); }},
      {"output",
       [&](char** m) { return bertgen_generate(session_, no_texts, 0, nullptr, nullptr, nullptr, nullptr, m); }},
      {"session",
       [&](char** m) {
         return bertgen_generate_ids(nullptr, rows, &length, 1, nullptr, nullptr, nullptr, &output, m);
       }},
      {"ids",
       [&](char** m) {
         return bertgen_generate_ids(session_, nullptr, &length, 1, nullptr, nullptr, nullptr, &output, m);
       }},
      {"ids",
       [&](char** m) {
         return bertgen_generate_ids(session_, no_rows, &length, 1, nullptr, nullptr, nullptr, &output, m);
       }},
      {"lengths",
       [&](char** m) {
         return bertgen_generate_ids(session_, rows, nullptr, 1, nullptr, nullptr, nullptr, &output, m);
       }},
      {"output",
       [&](char** m) {
         return bertgen_generate_ids(session_, rows, &length, 1, nullptr, nullptr, nullptr, nullptr, m);
       }},
      {"session", [&](char** m) { return bertgen_score(nullptr, "a", "a", &number, &count, m); }},
      {"text", [&](char** m) { return bertgen_score(session_, nullptr, "a", &number, &count, m); }},
      {"target", [&](char** m) { return bertgen_score(session_, "a", nullptr, &number, &count, m); }},
      {"log_probability", [&](char** m) { return bertgen_score(session_, "a", "a", nullptr, &count, m); }},
  };
  for (const auto& [name, call] : calls) {
    expect_error(BERTGEN_ERROR_ARGUMENT, std::string(name) + ": expected a pointer, got NULL", call);
  }
  bertgen_free(nullptr);
  bertgen_model_free(nullptr);
  bertgen_session_free(nullptr);
  bertgen_session_cancel(nullptr);
  bertgen_session_reset(nullptr);
  bertgen_output_free(nullptr);
  EXPECT_EQ(bertgen_model_warnings(nullptr), nullptr);
  EXPECT_EQ(bertgen_output_count(nullptr), 0u);
  EXPECT_EQ(bertgen_output_text(nullptr, 0, &count), nullptr);
  EXPECT_EQ(bertgen_output_ids(nullptr, 0, &count), nullptr);
  EXPECT_EQ(bertgen_output_score(nullptr, 0), 0);
  EXPECT_EQ(bertgen_output_warnings(nullptr), nullptr);
  output = generate({text_}, nullptr);
  EXPECT_EQ(bertgen_output_text(output, 1, nullptr), nullptr);
  EXPECT_EQ(bertgen_output_ids(output, 1, nullptr), nullptr);
  EXPECT_EQ(bertgen_output_score(output, 1), 0);
  bertgen_output_free(output);
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
  std::atomic<bool> running = false;
  std::thread other([&] {
    while (!running) std::this_thread::yield();
    bertgen_session_cancel(session_);
  });
  bertgen_on_text waits = [](void* begun, std::size_t, const char*, std::size_t) {
    *static_cast<std::atomic<bool>*>(begun) = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    return 0;
  };
  bertgen_output* output = nullptr;
  EXPECT_EQ(bertgen_generate(session_, &text_, 1, R"({"max_new_tokens": 14})", waits, &running, &output, nullptr),
            BERTGEN_ERROR_CANCELLED);
  EXPECT_EQ(output, nullptr);
  other.join();
}

/// Runs `call` with ever later allocations failing, until it succeeds: each failure must be BERTGEN_ERROR_MEMORY, and
/// objects must be as before. Seen to fail (the process ended) with JSON's destructors among what may fail, and with
/// bad_alloc reported as another exception is.
void expect_memory_errors(std::size_t smallest, const std::function<bertgen_status()>& call) {
  bool any = true;
  std::size_t first = 1;
  for (; any; ++first) {
    const test::FailingAllocations starving(first, test::Failing::from_one_on, smallest);
    const bertgen_status status = call();
    any = starving.any();
    ASSERT_EQ(status, any ? BERTGEN_ERROR_MEMORY : BERTGEN_OK) << "allocation " << first;
  }
  EXPECT_GT(first, 2u) << "it takes no memory";
}

TEST_F(BertgenTest, OutOfMemoryIsAnErrorThatLeavesTheSessionAsItWas) {
  const std::string expected = answer(text_);
  char* text = nullptr;
  expect_memory_errors(0, [&] { return bertgen_generate_text(session_, text_, nullptr, &text, nullptr); });
  EXPECT_STREQ(text, expected.c_str());
  bertgen_free(text);
  double log_probability = 0;
  expect_memory_errors(0,
                       [&] { return bertgen_score(session_, text_, "the town", &log_probability, nullptr, nullptr); });
}

TEST_F(BertgenTest, OutOfMemoryWhileLoadingIsAnError) {
  const std::string path = directory_.path().string();
  bertgen_model* model = nullptr;
  // Not the small ones: the JSON library's destructors allocate, and end the process where they cannot.
  expect_memory_errors(4096, [&] { return bertgen_model_load(path.c_str(), BERTGEN_DTYPE_AUTO, 0, &model, nullptr); });
  bertgen_model_free(model);
}

}  // namespace
}  // namespace bertgen
