#include "bertgen/models/config.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "bertgen/core/error.hpp"
#include "support/errors.hpp"

namespace bertgen {
namespace {

using Json = nlohmann::json;

TransformerConfig parse(const Json& object) { return TransformerConfig::from_json(object.dump()); }

/// A config.json of a pair with nothing but what is needed.
Json pair() {
  return {{"model_type", "encoder-decoder"},
          {"encoder", {{"model_type", "bert-generation"}}},
          {"decoder", {{"model_type", "bert-generation"}, {"is_decoder", true}, {"add_cross_attention", true}}}};
}
EncoderDecoderConfig parse_pair(const Json& object) { return EncoderDecoderConfig::from_json(object.dump(), "c.json"); }

TEST(TransformerConfigTest, MissingFieldsHaveTheDefaultsOfBertGeneration) {
  const TransformerConfig config = parse(Json::object());
  EXPECT_EQ(config.model_type, "bert-generation");
  EXPECT_EQ(config.vocab_size, 50358u);
  EXPECT_EQ(config.hidden_size, 1024u);
  EXPECT_EQ(config.num_hidden_layers, 24u);
  EXPECT_EQ(config.num_attention_heads, 16u);
  EXPECT_EQ(config.intermediate_size, 4096u);
  EXPECT_EQ(config.hidden_act, "gelu");
  EXPECT_EQ(config.max_position_embeddings, 512u);
  EXPECT_EQ(config.layer_norm_eps, 1e-12);
  EXPECT_EQ(config.pad_token_id, 0);
  EXPECT_EQ(config.bos_token_id, 2);
  EXPECT_EQ(config.eos_token_id, TokenIds{1});
  EXPECT_FALSE(config.is_decoder);
  EXPECT_FALSE(config.add_cross_attention);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_FALSE(config.cross_attention_hidden_size);
}

TEST(TransformerConfigTest, ReadsEveryField) {
  const TransformerConfig config = parse({{"vocab_size", 100},
                                          {"hidden_size", 12},
                                          {"num_hidden_layers", 0},
                                          {"num_attention_heads", 4},
                                          {"intermediate_size", 7},
                                          {"hidden_act", "gelu_new"},
                                          {"max_position_embeddings", 9},
                                          {"layer_norm_eps", 1e-5},
                                          {"pad_token_id", 5},
                                          {"bos_token_id", 6},
                                          {"eos_token_id", {7, 8}},
                                          {"is_decoder", true},
                                          {"add_cross_attention", true},
                                          {"tie_word_embeddings", false},
                                          {"cross_attention_hidden_size", 24}});
  EXPECT_EQ(config.vocab_size, 100u);
  EXPECT_EQ(config.hidden_size, 12u);
  EXPECT_EQ(config.num_hidden_layers, 0u);
  EXPECT_EQ(config.num_attention_heads, 4u);
  EXPECT_EQ(config.intermediate_size, 7u);
  EXPECT_EQ(config.hidden_act, "gelu_new");
  EXPECT_EQ(config.max_position_embeddings, 9u);
  EXPECT_EQ(config.layer_norm_eps, 1e-5);
  EXPECT_EQ(config.pad_token_id, 5);
  EXPECT_EQ(config.bos_token_id, 6);
  EXPECT_EQ(config.eos_token_id, (TokenIds{7, 8}));
  EXPECT_TRUE(config.is_decoder);
  EXPECT_TRUE(config.add_cross_attention);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_EQ(config.cross_attention_hidden_size, 24u);
}

TEST(TransformerConfigTest, OtherFieldsAreWrittenAgain) {
  const Json other = {{"hidden_dropout_prob", 0.3}, {"directionality", "bidi"}, {"id2label", {{"0", "é"}}}};
  Json object = other;
  object.update({{"vocab_size", 100}, {"initializer_range", 0.5}, {"type_vocab_size", 2}});
  const TransformerConfig config = parse(object);
  EXPECT_EQ(config.initializer_range, 0.5);
  EXPECT_EQ(Json::parse(config.other_fields), other);
  const Json written = Json::parse(config.to_json());
  for (const auto& [key, value] : other.items()) EXPECT_EQ(written[key], value) << key;
  EXPECT_EQ(written["vocab_size"], 100);
  EXPECT_EQ(written["initializer_range"], 0.5);
  EXPECT_FALSE(written.contains("type_vocab_size")) << "BertGeneration has none";
  Json both = pair();
  both["transformers_version"] = "4.1";
  both["tie_word_embeddings"] = false;
  const Json again = Json::parse(parse_pair(both).to_json());
  EXPECT_EQ(again["transformers_version"], "4.1");
  EXPECT_EQ(again["tie_word_embeddings"], false);
}

TEST(TransformerConfigTest, OtherFieldsMustBeAnObject) {
  TransformerConfig config;
  for (const char* text : {"", "{", "[]", "3"}) {
    config.other_fields = text;
    test::expect_error<ConfigError>([&] { config.to_json(); }, {"other_fields: "});
  }
}

TEST(TransformerConfigTest, NullIdsAreNone) {
  const TransformerConfig config =
      parse({{"pad_token_id", nullptr}, {"bos_token_id", nullptr}, {"eos_token_id", nullptr}});
  EXPECT_FALSE(config.pad_token_id);
  EXPECT_FALSE(config.bos_token_id);
  EXPECT_TRUE(config.eos_token_id.empty());
}

TEST(TransformerConfigTest, NullsOfOtherFieldsKeepTheDefault) {
  EXPECT_EQ(parse({{"hidden_size", nullptr}, {"hidden_act", nullptr}}).hidden_size, 1024u);
}

TEST(TransformerConfigTest, FieldsOfVersion4AreIgnored) {
  const TransformerConfig config = parse({{"position_embedding_type", "absolute"},
                                          {"directionality", "bidi"},
                                          {"gradient_checkpointing", false},
                                          {"torch_dtype", "float32"},
                                          {"pruned_heads", Json::object()},
                                          {"id2label", {{"0", "LABEL_0"}}},
                                          {"max_length", 20},
                                          {"use_cache", true}});
  EXPECT_EQ(config.hidden_size, 1024u);
}

TEST(TransformerConfigTest, EveryFieldRefusesWrongTypes) {
  const Json wrong_size[] = {"12", 1.5, -1, true, Json::array({1}), Json::object(), 1e300, 18446744073709551615u};
  for (const char* key : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                          "max_position_embeddings", "cross_attention_hidden_size"}) {
    for (const Json& value : wrong_size) {
      test::expect_error<ConfigError>(
          [&] {
            parse({{key, value}});
          },
          {std::string("config.json.") + key + ": expected a whole number from ", "got "});
    }
  }
  const std::pair<const char*, Json> others[] = {
      {"hidden_act", 1},
      {"hidden_act", false},
      {"layer_norm_eps", "1e-12"},
      {"initializer_range", "0.02"},
      {"is_decoder", 1},
      {"is_decoder", "true"},
      {"add_cross_attention", 0},
      {"tie_word_embeddings", 1},
      {"model_type", 3},
      {"position_embedding_type", 1},
      {"pad_token_id", "0"},
      {"pad_token_id", -1},
      {"bos_token_id", 0.5},
      {"eos_token_id", "1"},
      {"eos_token_id", {1, "2"}},
      {"eos_token_id", {1, -2}},
      {"eos_token_id", 2.5},
      {"pad_token_id", 2147483648u},
      {"eos_token_id", Json::object()},
  };
  for (const auto& [key, value] : others) {
    test::expect_error<ConfigError>(
        [&, &k = key, &v = value] {
          parse({{k, v}});
        },
        {std::string("config.json.") + key + ": expected ", "got "});
  }
}

TEST(TransformerConfigTest, SizesOfZeroAreRefused) {
  for (const char* key : {"vocab_size", "hidden_size", "num_attention_heads", "intermediate_size",
                          "max_position_embeddings", "cross_attention_hidden_size"}) {
    test::expect_error<ConfigError>([&] { parse({{key, 0}}); }, {key, "from 1 to", "got 0"});
  }
}

TEST(TransformerConfigTest, HeadsMustDivideTheHiddenSize) {
  test::expect_error<ConfigError>(
      [] {
        parse({{"hidden_size", 10}, {"num_attention_heads", 3}});
      },
      {"config.json: hidden_size: expected a multiple of num_attention_heads, 3, got 10"});
}

TEST(TransformerConfigTest, EpsilonMustNotBeNegative) {
  test::expect_error<ConfigError>([] { parse({{"layer_norm_eps", -1e-5}}); }, {"layer_norm_eps: expected", "-0.0000"});
  test::expect_error<ConfigError>(
      [] {
        parse({{"initializer_range", -0.5}});
      },
      {"initializer_range: expected a number of at least 0, got -0.5"});
}

TEST(TransformerConfigTest, UnknownActivationListsTheKnownOnes) {
  test::expect_error<ConfigError>(
      [] {
        parse({{"hidden_act", "geglu"}});
      },
      {"config.json: hidden_act: expected one of ", "quick_gelu", "got \"geglu\""});
}

TEST(TransformerConfigTest, RelativePositionsAreRefused) {
  for (const char* type : {"relative_key", "relative_key_query", ""}) {
    test::expect_error<ConfigError>(
        [&] {
          parse({{"position_embedding_type", type}});
        },
        {"config.json.position_embedding_type: expected \"absolute\"", type});
  }
}

TEST(TransformerConfigTest, CrossAttentionWantsADecoder) {
  test::expect_error<ConfigError>(
      [] {
        parse({{"add_cross_attention", true}});
      },
      {"add_cross_attention: expected is_decoder with it"});
}

TEST(TransformerConfigTest, OtherFamiliesAreRefused) {
  for (const char* type : {"gpt2", "t5", ""}) {
    test::expect_error<ConfigError>(
        [&] {
          parse({{"model_type", type}});
        },
        {"model_type: expected one of \"bert-generation\", \"bert\", \"roberta\"",
         "got \"" + std::string(type) + "\""});
  }
}

TEST(TransformerConfigTest, TextThatIsNoObjectIsRefused) {
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("3"), std::string("{\"hidden_size\": 1e999}"),
        std::string("{} x"), deep, std::string("{}\0{}", 5), std::string("\xff\xfe{")}) {
    test::expect_error<ConfigError>([&] { TransformerConfig::from_json(text, "c.json"); }, {"c.json: "});
  }
}

TEST(TransformerConfigTest, WritesWhatItReads) {
  TransformerConfig config;
  config.hidden_size = 12;
  config.num_attention_heads = 3;
  config.layer_norm_eps = 1e-5;
  config.pad_token_id.reset();
  config.eos_token_id = {3, 4};
  config.is_decoder = config.add_cross_attention = true;
  config.cross_attention_hidden_size = 12;
  const std::string text = config.to_json();
  EXPECT_EQ(TransformerConfig::from_json(text).to_json(), text);
  EXPECT_FALSE(TransformerConfig::from_json(text).pad_token_id);
  EXPECT_EQ(TransformerConfig::from_json(text).eos_token_id, (TokenIds{3, 4}));
  EXPECT_EQ(Json::parse(text).at("layer_norm_eps"), 1e-5);
}

TEST(TransformerConfigTest, LayersGetTheirSizes) {
  TransformerConfig config;
  config.hidden_act = "relu";
  const LayerConfig layer = config.layer_config({MatmulBackend::eigen});
  EXPECT_EQ(layer.hidden, 1024u);
  EXPECT_EQ(layer.heads, 16u);
  EXPECT_EQ(layer.intermediate, 4096u);
  EXPECT_EQ(layer.activation, Activation::relu);
  EXPECT_EQ(layer.build.matmul, MatmulBackend::eigen);
}

TEST(EncoderDecoderConfigTest, ReadsBothHalvesAndTheIds) {
  Json object = pair();
  object["encoder"]["hidden_size"] = 32;
  object["decoder"]["hidden_size"] = 64;
  object["decoder_start_token_id"] = 101;
  object["pad_token_id"] = 0;
  object["bos_token_id"] = nullptr;
  object["eos_token_id"] = {102, 103};
  object["tie_encoder_decoder"] = true;
  object["tokenizer_class"] = "BertTokenizer";
  const EncoderDecoderConfig config = parse_pair(object);
  EXPECT_EQ(config.encoder.hidden_size, 32u);
  EXPECT_EQ(config.decoder.hidden_size, 64u);
  EXPECT_EQ(config.decoder_start_token_id, 101);
  EXPECT_EQ(config.pad_token_id, 0);
  EXPECT_FALSE(config.bos_token_id);
  EXPECT_EQ(config.eos_token_id, (TokenIds{102, 103}));
  EXPECT_TRUE(config.tie_encoder_decoder);
  EXPECT_EQ(config.tokenizer_class, "BertTokenizer");
}

TEST(EncoderDecoderConfigTest, IdsAreNoneByDefault) {
  const EncoderDecoderConfig config = parse_pair(pair());
  EXPECT_FALSE(config.decoder_start_token_id || config.pad_token_id || config.bos_token_id);
  EXPECT_TRUE(config.eos_token_id.empty());
  EXPECT_FALSE(config.tie_encoder_decoder);
}

TEST(EncoderDecoderConfigTest, AcceptsTheSpellingOf2020) {
  Json object = pair();
  object["model_type"] = "encoder_decoder";
  parse_pair(object);
}

TEST(EncoderDecoderConfigTest, OtherModelTypesAreRefused) {
  for (const Json& type : {Json("bert"), Json(""), Json(nullptr)}) {
    Json object = pair();
    object["model_type"] = type;
    test::expect_error<ConfigError>([&] { parse_pair(object); }, {"c.json.model_type: expected \"encoder-decoder\""});
  }
  test::expect_error<ConfigError>([] { parse_pair(Json::object()); }, {"c.json.model_type"});
  test::expect_error<ConfigError>([] { parse_pair(Json::array()); }, {"c.json: expected an object, got []"});
}

TEST(EncoderDecoderConfigTest, EachHalfIsNeeded) {
  for (const char* half : {"encoder", "decoder"}) {
    Json object = pair();
    object.erase(half);
    test::expect_error<ConfigError>([&] { parse_pair(object); }, {std::string("c.json.") + half + ": expected"});
    object[half] = nullptr;
    test::expect_error<ConfigError>([&] { parse_pair(object); }, {std::string("c.json.") + half + ": expected"});
    object[half] = "gpt2";
    test::expect_error<ConfigError>([&] { parse_pair(object); },
                                    {std::string("c.json.") + half + ": expected an object"});
  }
}

TEST(EncoderDecoderConfigTest, ErrorsNameTheHalf) {
  for (const char* half : {"encoder", "decoder"}) {
    Json object = pair();
    object[half]["model_type"] = "gpt2";
    test::expect_error<ConfigError>([&] { parse_pair(object); },
                                    {std::string("c.json.") + half + ": model_type", "got \"gpt2\""});
    object = pair();
    object[half]["hidden_size"] = "x";
    test::expect_error<ConfigError>([&] { parse_pair(object); }, {std::string("c.json.") + half + ".hidden_size"});
  }
}

TEST(EncoderDecoderConfigTest, IdsRefuseWrongTypes) {
  for (const char* key : {"decoder_start_token_id", "pad_token_id", "bos_token_id", "eos_token_id"}) {
    for (const Json& value : {Json("2"), Json(-1), Json(1.5), Json(true)}) {
      Json object = pair();
      object[key] = value;
      test::expect_error<ConfigError>([&] { parse_pair(object); }, {std::string("c.json.") + key + ": expected"});
    }
  }
}

TEST(EncoderDecoderConfigTest, DecoderMustAttendToAnEncoder) {
  Json object = pair();
  object["decoder"]["add_cross_attention"] = false;
  test::expect_error<ConfigError>([&] { parse_pair(object); }, {"c.json: decoder: expected", "no add_cross_attention"});
  object["decoder"]["is_decoder"] = false;
  test::expect_error<ConfigError>([&] { parse_pair(object); }, {"c.json: decoder: expected", "no is_decoder"});
}

TEST(EncoderDecoderConfigTest, EncoderMustNotBeADecoder) {
  Json object = pair();
  object["encoder"]["is_decoder"] = true;
  test::expect_error<ConfigError>([&] { parse_pair(object); }, {"c.json: encoder: expected neither is_decoder"});
}

TEST(EncoderDecoderConfigTest, CrossAttentionHiddenSizeMustBeTheEncoders) {
  Json object = pair();
  object["decoder"]["hidden_size"] = 512;
  object["decoder"]["cross_attention_hidden_size"] = 1024;
  parse_pair(object);
  object["decoder"]["cross_attention_hidden_size"] = 512;
  test::expect_error<ConfigError>(
      [&] { parse_pair(object); },
      {"decoder.cross_attention_hidden_size: expected the encoder's hidden_size, 1024, got 512"});
}

TEST(EncoderDecoderConfigTest, WritesWhatItReads) {
  Json object = pair();
  object["decoder_start_token_id"] = 2;
  object["eos_token_id"] = {1, 3};
  object["tie_encoder_decoder"] = true;
  object["tokenizer_class"] = "BertTokenizer";
  object["encoder"]["eos_token_id"] = nullptr;
  const std::string text = parse_pair(object).to_json();
  EXPECT_EQ(EncoderDecoderConfig::from_json(text).to_json(), text);
  const EncoderDecoderConfig again = EncoderDecoderConfig::from_json(text);
  EXPECT_EQ(again.eos_token_id, (TokenIds{1, 3}));
  EXPECT_TRUE(again.encoder.eos_token_id.empty());
  EXPECT_TRUE(again.tie_encoder_decoder);
}

TEST(TransformerConfigTest, HasWhatItsFamilyNeeds) {
  const auto refused = [](const nlohmann::json& object, std::initializer_list<std::string_view> parts) {
    test::expect_error<ConfigError>([&] { TransformerConfig::from_json(object.dump(), "c.json").validate(); }, parts);
  };
  refused({{"model_type", "roberta"}, {"pad_token_id", 1}, {"max_position_embeddings", 2}},
          {"max_position_embeddings: expected more than pad_token_id + 1, 2, got 2"});
  TransformerConfig config;
  config.type_vocab_size = 2;
  test::expect_error<ConfigError>([&] { config.validate(); }, {"type_vocab_size: expected 0 in a bert-generation"});
}

}  // namespace
}  // namespace bertgen
