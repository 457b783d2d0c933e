// What the tests of the C interface stand on.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "bertgen/bertgen.h"
#include "bertgen/bertgen.hpp"
#include "support/checkpoint.hpp"
#include "support/tokenizers.hpp"

namespace bertgen {

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

}  // namespace bertgen
