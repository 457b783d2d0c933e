#include "bertgen/tokenizers/auto.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <typeinfo>

#include "bertgen/core/error.hpp"
#include "bertgen/tokenizers/bert.hpp"
#include "bertgen/tokenizers/bert_generation.hpp"
#include "bertgen/tokenizers/roberta.hpp"
#include "support/errors.hpp"
#include "support/files.hpp"
#include "support/tokenizers.hpp"

namespace bertgen {
namespace {

using nlohmann::json;
using test::expect_error;
using test::TemporaryDirectory;

void write_vocabulary(const std::filesystem::path& directory, const std::string& family) {
  std::filesystem::create_directories(directory);
  if (family == "bert_generation") {
    std::filesystem::copy(test::tokenizer_data(family) / "spiece.model", directory / "spiece.model");
    return;
  }
  const json& files = test::tokenizer_cases(family)["directories"]["by file"]["files"];
  for (const auto& [name, content] : files.items()) {
    std::ofstream(directory / name) << (content.is_string() ? content.get<std::string>() : content.dump());
  }
}

template <typename Expected>
void expect_class(const std::filesystem::path& directory) {
  const auto tokenizer = AutoTokenizer::from_pretrained(directory);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_NE(dynamic_cast<const Expected*>(tokenizer.get()), nullptr) << typeid(Expected).name();
}

TEST(AutoTokenizerTest, GoesByTheFilesWhereNothingIsSaid) {
  const TemporaryDirectory directory;
  EXPECT_EQ(AutoTokenizer::from_pretrained(directory.path()), nullptr);
  EXPECT_EQ(AutoTokenizer::from_pretrained(directory.path() / "none"), nullptr);
  write_vocabulary(directory.path() / "a", "bert");
  expect_class<BertTokenizer>(directory.path() / "a");
  write_vocabulary(directory.path() / "a", "roberta");
  expect_class<RobertaTokenizer>(directory.path() / "a");
  write_vocabulary(directory.path() / "a", "bert_generation");
  expect_class<BertGenerationTokenizer>(directory.path() / "a");
  directory.write("tokenizer.json",
                  test::tokenizer_cases("bert")["directories"]["serialized"]["files"]["tokenizer.json"].dump());
  expect_class<BertTokenizer>(directory.path());
}

TEST(AutoTokenizerTest, TokenizerClassWinsOverConfigWinsOverModelType) {
  const TemporaryDirectory directory;
  for (const char* family : {"bert", "roberta", "bert_generation"}) write_vocabulary(directory.path(), family);
  directory.write("config.json", R"({"model_type": "bert"})");
  expect_class<BertTokenizer>(directory.path());
  directory.write("config.json", R"({"model_type": "encoder-decoder", "encoder": {"model_type": "roberta"},
                                     "decoder": {"model_type": "bert"}})");
  expect_class<RobertaTokenizer>(directory.path());
  directory.write("config.json", R"({"model_type": "roberta", "tokenizer_class": "BertTokenizerFast"})");
  expect_class<BertTokenizer>(directory.path());
  directory.write("tokenizer_config.json", R"({"tokenizer_class": "BertGenerationTokenizer"})");
  expect_class<BertGenerationTokenizer>(directory.path());
  directory.write("tokenizer_config.json", R"({"tokenizer_class": null})");
  expect_class<BertTokenizer>(directory.path());
}

TEST(AutoTokenizerTest, RefusesWhatItCannotRead) {
  const TemporaryDirectory directory;
  write_vocabulary(directory.path(), "bert");
  directory.write("tokenizer_config.json", R"({"tokenizer_class": "T5Tokenizer"})");
  expect_error<TokenizerError>([&] { AutoTokenizer::from_pretrained(directory.path()); },
                               {"tokenizer_config.json", "tokenizer_class", "BertTokenizer", "T5Tokenizer"});
  directory.write("tokenizer_config.json", R"({"tokenizer_class": 5})");
  expect_error<TokenizerError>([&] { AutoTokenizer::from_pretrained(directory.path()); },
                               {"tokenizer_config.json", "a string", "5"});
  directory.write("tokenizer_config.json", R"({"tokenizer_class": "PreTrainedTokenizerFast"})");
  expect_error<TokenizerError>([&] { AutoTokenizer::from_pretrained(directory.path()); }, {"tokenizer.json"});
  directory.write("tokenizer_config.json", R"({"tokenizer_class": "BertGenerationTokenizer"})");
  expect_error<TokenizerError>([&] { AutoTokenizer::from_pretrained(directory.path()); }, {"spiece.model"});
}

TEST(AutoTokenizerTest, HalvesMayHaveTokenizersOfTheirOwn) {
  const TemporaryDirectory directory;
  EXPECT_EQ(EncoderDecoderTokenizers::from_pretrained(directory.path()).encoder, nullptr);
  write_vocabulary(directory.path(), "bert");
  auto halves = EncoderDecoderTokenizers::from_pretrained(directory.path());
  EXPECT_EQ(halves.encoder, halves.decoder);
  write_vocabulary(directory.path() / "encoder", "roberta");
  halves = EncoderDecoderTokenizers::from_pretrained(directory.path());
  EXPECT_EQ(halves.encoder, halves.decoder);
  write_vocabulary(directory.path() / "decoder", "bert");
  halves = EncoderDecoderTokenizers::from_pretrained(directory.path());
  EXPECT_NE(dynamic_cast<const RobertaTokenizer*>(halves.encoder.get()), nullptr);
  EXPECT_NE(dynamic_cast<const BertTokenizer*>(halves.decoder.get()), nullptr);
}

}  // namespace
}  // namespace bertgen
