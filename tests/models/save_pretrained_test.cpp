// Models written and read again: nothing is lost, and the files are those that conversion writes.
#include <gtest/gtest.h>

#include "bertgen/generation/config.hpp"
#include "bertgen/io/convert.hpp"
#include "support/checkpoint.hpp"
#include "support/errors.hpp"
#include "support/fixture.hpp"

namespace bertgen {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using test::contents_of;
using test::Fixture;

void expect_same_tensors(const NamedTensors& got, const NamedTensors& expected) {
  for (const auto& [name, tensor] : expected) {
    const auto found = got.find(name);
    ASSERT_NE(found, got.end()) << name;
    EXPECT_EQ(found->second.dtype, tensor.dtype) << name;
    EXPECT_TRUE(test::same_bits(found->second.to<double>(), tensor.to<double>())) << name;
  }
}

class SavePretrainedTest : public testing::Test {
 protected:
  Json json(const std::string& file) const { return Json::parse(contents_of(to_).at(file)); }

  test::TemporaryDirectory directory_;
  const fs::path to_ = directory_.path() / "out";
};

TEST_F(SavePretrainedTest, PairIsTheSameWhenItIsReadAgain) {
  for (const std::string& name : test::fixture_names("encoder-decoder")) {
    SCOPED_TRACE(name);
    const auto model = EncoderDecoderModel::from_pretrained(Fixture(name).directory());
    model.save_pretrained(to_, {.replace = true});
    const auto again = EncoderDecoderModel::from_pretrained(to_);
    EXPECT_TRUE(again.generation_config() == model.generation_config());
    EXPECT_EQ(again.config().decoder_start_token_id, model.config().decoder_start_token_id);
    const auto before = contents_of(to_);
    again.save_pretrained(to_, {.replace = true});
    EXPECT_TRUE(contents_of(to_) == before) << "over the files that it is mapped from";
    NamedTensors expected = model.tensors();
    for (const char* tied : {"decoder.lm_head.decoder.weight", "decoder.lm_head.decoder.bias",
                             "decoder.cls.predictions.decoder.weight", "decoder.cls.predictions.decoder.bias"}) {
      if (again.tensors().count(tied) == 0) expected.erase(tied);
    }
    expect_same_tensors(again.tensors(), expected);
  }
}

TEST_F(SavePretrainedTest, WritesTheTensorsThatConversionWrites) {
  std::size_t seen = 0;
  for (const char* type : {"encoder-decoder", "bert-generation", "bert", "roberta"}) {
    for (const std::string& name : test::fixture_names(type)) {
      if (name == "warm-start") continue;  // its head is no part of an encoder
      SCOPED_TRACE(name);
      const fs::path source = Fixture(name).directory();
      const fs::path converted = directory_.path() / name;
      convert_checkpoint(source, converted);
      if (std::string(type) == "encoder-decoder") {
        EncoderDecoderModel::from_pretrained(source).save_pretrained(to_, {.replace = true});
      } else if (Fixture(name).has("logits")) {
        Decoder::from_pretrained(source).save_pretrained(to_, {.replace = true});
      } else {
        Encoder::from_pretrained(source).save_pretrained(to_, {.replace = true});
      }
      EXPECT_TRUE(contents_of(to_).at("model.safetensors") == contents_of(converted).at("model.safetensors"));
      EXPECT_EQ(json("config.json")["architectures"],
                Json::parse(contents_of(converted).at("config.json"))["architectures"]);
      ++seen;
    }
  }
  EXPECT_GT(seen, 40u);
}

TEST_F(SavePretrainedTest, ConfigurationKeepsWhatThisLibraryDoesNotRead) {
  const Fixture fixture("v4");
  EncoderDecoderModel::from_pretrained(fixture.directory()).save_pretrained(to_);
  const Json before = Json::parse(contents_of(fixture.directory()).at("config.json"));
  const Json after = json("config.json");
  for (const char* half : {"encoder", "decoder"}) {
    for (const auto& [key, value] : before[half].items()) {
      EXPECT_EQ(after[half].value(key, Json()), value) << half << "." << key;  // a null may also be left out
    }
    EXPECT_TRUE(after[half].contains("hidden_dropout_prob"));
  }
  EXPECT_EQ(after["transformers_version"], before["transformers_version"]);
}

TEST_F(SavePretrainedTest, TypeIsSaidAndChosen) {
  const auto model = EncoderDecoderModel::from_pretrained(Fixture("bf16").directory());
  model.save_pretrained(to_);
  EXPECT_EQ(json("config.json")["dtype"], "bfloat16");
  model.save_pretrained(to_, {.dtype = DType::f32, .replace = true});
  EXPECT_EQ(json("config.json")["dtype"], "float32");
  EXPECT_EQ(Encoder::from_pretrained(Fixture("encoder-only").directory()).tensors().begin()->second.dtype, DType::f32);
  // Halves of two types: the one that holds both.
  const EncoderDecoderModel mixed = EncoderDecoderModel::from_encoder_decoder_pretrained(
      Fixture("encoder-only-bf16").directory(), Fixture("decoder-causal").directory(), {}, {.seed = 1});
  mixed.save_pretrained(to_, {.replace = true});
  EXPECT_EQ(json("config.json")["dtype"], "float32");
  EXPECT_EQ(EncoderDecoderModel::from_pretrained(to_).tensors().at("encoder.embeddings.LayerNorm.bias").dtype,
            DType::bf16);
}

TEST_F(SavePretrainedTest, OtherFilesGoBeside) {
  const fs::path vocabulary = directory_.write("v", "a\nb\n");
  const fs::path empty = directory_.write("e", "");
  Encoder::from_pretrained(Fixture("bert-encoder").directory())
      .save_pretrained(to_, {.files = {{"vocab.txt", vocabulary}, {"encoder/vocab.txt", empty}}});
  EXPECT_EQ(contents_of(to_).at("vocab.txt"), "a\nb\n");
  EXPECT_EQ(contents_of(to_ / "encoder").at("vocab.txt"), "");
}

TEST_F(SavePretrainedTest, AppearsWholeOrNotAtAll) {
  const Encoder encoder = Encoder::from_pretrained(Fixture("bert-encoder").directory());
  const fs::path missing = directory_.path() / "missing";
  test::expect_error<CheckpointError>(
      [&] {
        encoder.save_pretrained(to_, {.files = {{"vocab.txt", missing}}});
      },
      {missing.string() + ": "});
  EXPECT_TRUE(fs::is_empty(directory_.path()));
  fs::create_directory(to_);
  directory_.write("out/x", "");
  test::expect_error<CheckpointError>([&] { encoder.save_pretrained(to_); },
                                      {to_.string() + ": expected an empty directory, or none, found one with files"});
  EXPECT_EQ(contents_of(to_).size(), 1u);
  test::expect_error<ArgumentError>([&] { encoder.save_pretrained(to_, {.dtype = DType::i64, .replace = true}); },
                                    {"expected to round to F32, BF16 or F16, got I64"});
  EXPECT_EQ(contents_of(to_).size(), 1u);
}

TEST_F(SavePretrainedTest, WarmStartLacksNothing) {
  for (const char* decoder : {"bert-encoder", "roberta-encoder", "encoder-only", "decoder-causal-untied"}) {
    SCOPED_TRACE(decoder);
    const auto model = EncoderDecoderModel::from_encoder_decoder_pretrained(
        Fixture("warm-start").directory(), Fixture(decoder).directory(), {}, {.seed = 3});
    model.save_pretrained(to_, {.replace = true});
    const auto again = EncoderDecoderModel::from_pretrained(to_);
    EXPECT_EQ(again.tensors().size(), model.tensors().size());
    EXPECT_EQ(again.tensors().count("encoder.pooler.dense.weight"), 1u) << "transformers' BertModel has one";
    const std::string head = "decoder." + std::string(again.config().decoder.family().lm_head.head);
    EXPECT_EQ(again.tensors().count(head + ".bias"), 1u);
  }
}

}  // namespace
}  // namespace bertgen
