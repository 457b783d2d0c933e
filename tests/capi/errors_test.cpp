// What the C interface refuses, and what becomes of it where memory runs out.
#include "capi/fixture.hpp"
#include "support/allocations.hpp"

namespace bertgen {
namespace {

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

// Seen to fail (the process ended) without the test for NULL.
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
