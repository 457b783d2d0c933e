#include "bertgen/models/encoder_decoder.hpp"

#include "bertgen/generation/config.hpp"
#include "support/checkpoint.hpp"
#include "support/errors.hpp"
#include "support/fixture.hpp"

namespace bertgen {
namespace {

using test::Fixture;

// In float the oracle's own float32 run differs from its float64 run by up to 5e-5; in double both sides round sums of
// fewer than 1,000 terms below 100 to 53 bits, 1e-12 in all.
template <typename T>
constexpr double tolerance = std::is_same_v<T, float> ? 1e-4 : 1e-9;

template <typename T>
void expect_parity(const Fixture& fixture, const LoadOptions& options, const std::string& layout = "") {
  const auto model = BasicEncoderDecoderModel<T>::from_pretrained(fixture.directory() / layout, options);
  Workspace workspace(2);
  const auto input_ids = fixture.rows<TokenId>("input_ids");
  const auto attention_mask = fixture.rows<std::uint8_t>("attention_mask");
  const auto token_type_ids =
      fixture.has("token_type_ids") ? fixture.rows<TokenId>("token_type_ids") : std::vector<TokenIds>{};
  const auto states = model.encoder().forward(input_ids, attention_mask, workspace, token_type_ids);
  test::expect_near(states, fixture.tensor("encoder_last_hidden_state"), tolerance<T>, "encoder_last_hidden_state");

  const auto output = model.forward({.input_ids = input_ids,
                                     .attention_mask = attention_mask,
                                     .token_type_ids = token_type_ids,
                                     .decoder_input_ids = fixture.rows<TokenId>("decoder_input_ids"),
                                     .decoder_attention_mask = {},
                                     .labels = {}},
                                    workspace);
  EXPECT_FALSE(output.loss.has_value());
  test::expect_near(output.logits, fixture.tensor("logits"), tolerance<T>, "logits");

  // Not every configuration has the ids that shifting labels needs.
  if (!fixture.has("labels")) return;
  const auto with_labels = model.forward({.input_ids = input_ids,
                                          .attention_mask = attention_mask,
                                          .token_type_ids = token_type_ids,
                                          .decoder_input_ids = {},
                                          .decoder_attention_mask = {},
                                          .labels = fixture.rows<TokenId>("labels")},
                                         workspace);
  test::expect_near(with_labels.logits, fixture.tensor("label_logits"), tolerance<T>, "label_logits");
  EXPECT_NEAR(static_cast<double>(*with_labels.loss), fixture.tensor("loss")[0], tolerance<T>);
}

class EncoderDecoderParityTest : public testing::TestWithParam<std::string> {};

TEST_P(EncoderDecoderParityTest, FloatMatchesTheOracle) { expect_parity<float>(Fixture(GetParam()), {}); }

TEST_P(EncoderDecoderParityTest, FloatByEigenMatchesTheOracle) {
  expect_parity<float>(Fixture(GetParam()), {{MatmulBackend::eigen}});
}

TEST_P(EncoderDecoderParityTest, DoubleMatchesTheOracle) { expect_parity<double>(Fixture(GetParam()), {}); }

INSTANTIATE_TEST_SUITE_P(Fixtures, EncoderDecoderParityTest, testing::ValuesIn(test::fixture_names("encoder-decoder")),
                         test::test_name);

TEST(EncoderDecoderLayoutTest, EveryLayoutOfEveryPairOfFamiliesIsTheSameModel) {
  std::size_t seen = 0;
  for (const std::string& name : test::fixture_names("encoder-decoder")) {
    const Fixture fixture(name);
    for (const auto& entry : std::filesystem::directory_iterator(fixture.directory())) {
      if (!entry.is_directory()) continue;
      const std::string layout = entry.path().filename().string();
      SCOPED_TRACE(name + "/" + layout);
      expect_parity<double>(fixture, {}, layout);
      ++seen;
    }
  }
  EXPECT_EQ(seen, 9u * 6u);
}

TEST(EncoderDecoderTensorsTest, AreThoseOfTheFile) {
  for (const std::string& name : test::fixture_names("encoder-decoder")) {
    if (name.substr(0, 5) != "pair-") continue;
    SCOPED_TRACE(name);
    Weights file;
    read_safetensors(Fixture(name).directory() / "model.safetensors", file);
    std::vector<std::string> expected;
    for (const auto& [tensor, stored] : file.tensors()) expected.push_back(tensor);
    std::vector<std::string> names;
    for (const auto& [tensor, stored] : EncoderDecoderModel::from_pretrained(Fixture(name).directory()).tensors()) {
      names.push_back(tensor);
    }
    EXPECT_EQ(names, expected);
  }
}

TEST(EncoderDecoderOptionsTest, OptionsOfAHalfAreRefused) {
  const auto expect_refused = [](const LoadOptions& options, const char* name) {
    test::expect_error<ArgumentError>(
        [&] { EncoderDecoderModel::from_pretrained(Fixture("plain").directory(), options); },
        {std::string(name) + ": expected none for an encoder-decoder, only for a half"});
  };
  expect_refused({.model_type = "bert"}, "model_type");
  expect_refused({.pad_token_id = 0}, "pad_token_id");
  expect_refused({.bos_token_id = 2}, "bos_token_id");
  expect_refused({.eos_token_id = 1}, "eos_token_id");
  expect_refused({.is_decoder = true}, "is_decoder");
  expect_refused({.add_cross_attention = true}, "add_cross_attention");
  expect_refused({.seed = 1}, "seed");
}

class WarmStartTest : public testing::Test {
 protected:
  static EncoderDecoderModel start(const std::string& encoder, const std::string& decoder,
                                   std::optional<std::uint64_t> seed = 7, EncoderDecoderConfig config = {}) {
    LoadOptions options;
    options.seed = seed;
    return EncoderDecoderModel::from_encoder_decoder_pretrained(
        Fixture(encoder).directory(), Fixture(decoder).directory(), {}, options, std::move(config));
  }
  static Tensor<double> values(const EncoderDecoderModel& model, const std::string& name) {
    return model.tensors().at(name).to<double>();
  }
};

TEST_F(WarmStartTest, JoinsHalvesOfAnyFamily) {
  EncoderDecoderConfig ids;
  ids.decoder_start_token_id = 2;
  ids.eos_token_id = {3};
  const EncoderDecoderModel model = start("roberta-encoder", "bert-decoder", 7, ids);
  EXPECT_EQ(model.config().encoder.model_type, "roberta");
  EXPECT_TRUE(model.config().decoder.add_cross_attention);
  const GenerateOutput output = model.generate({{3, 4, 5}});
  EXPECT_EQ(output.sequences.size(), 1u);
}

TEST_F(WarmStartTest, DrawsCrossAttentionAsTransformersInitialisesIt) {
  const EncoderDecoderModel model = start("bert-encoder", "bert-decoder");
  const std::string layer = "decoder.bert.encoder.layer.1.crossattention.";
  const Tensor<double> query = values(model, layer + "self.query.weight");
  double mean = 0;
  double square = 0;
  for (std::size_t i = 0; i < query.size(); ++i) mean += query[i], square += query[i] * query[i];
  const auto count = static_cast<double>(query.size());
  EXPECT_NEAR(mean / count, 0, 4 * 0.02 / std::sqrt(count));
  EXPECT_NEAR(std::sqrt(square / count), 0.02, 4 * 0.02 / std::sqrt(2 * count));  // four standard errors
  EXPECT_EQ(values(model, layer + "self.query.bias")[3], 0);
  EXPECT_EQ(values(model, layer + "output.LayerNorm.weight")[3], 1);
  EXPECT_GT(test::largest_difference(query, values(model, layer + "self.key.weight")), 0.01);
}

TEST_F(WarmStartTest, SeedSaysWhatIsDrawn) {
  const std::string name = "decoder.bert.encoder.layer.0.crossattention.output.dense.weight";
  const Tensor<double> first = values(start("bert-encoder", "bert-decoder", 7), name);
  EXPECT_TRUE(test::same_bits(first, values(start("bert-encoder", "bert-decoder", 7), name)));
  EXPECT_GT(test::largest_difference(first, values(start("bert-encoder", "bert-decoder", 8), name)), 0.01);
}

TEST_F(WarmStartTest, DifferentSizesGetAProjection) {
  const EncoderDecoderModel model = start("encoder-only", "bert-decoder");
  EXPECT_EQ(values(model, "enc_to_dec_proj.weight").shape(), (Shape{16, 32}));
}

TEST_F(WarmStartTest, NothingIsDrawnWithoutASeed) {
  test::expect_error<CheckpointError>([] { start("bert-encoder", "bert-decoder", std::nullopt); },
                                      {"crossattention.self.query.weight", "found none"});
}

TEST_F(WarmStartTest, HeadAndPoolerThatACheckpointLacksAreDrawn) {
  const EncoderDecoderModel model = start("warm-start", "roberta-encoder");
  EXPECT_EQ(values(model, "decoder.lm_head.layer_norm.weight")[0], 1);
  EXPECT_EQ(values(model, "decoder.lm_head.bias")[0], 0);
  EXPECT_NE(values(model, "encoder.pooler.dense.weight")[0], 0);
}

TEST_F(WarmStartTest, MatrixOfAnUntiedHeadIsDrawn) {
  const test::TemporaryDirectory directory;
  const std::filesystem::path source = Fixture("encoder-only").directory();
  std::filesystem::copy(source / "model.safetensors", directory.path());
  auto config = nlohmann::json::parse(test::content_of(source / "config.json"));
  config["tie_word_embeddings"] = false;
  config["initializer_range"] = 0.5;
  directory.write("config.json", config.dump());
  const auto model = EncoderDecoderModel::from_encoder_decoder_pretrained(source, directory.path(), {}, {.seed = 2});
  const Tensor<double> matrix = values(model, "decoder.lm_head.decoder.weight");
  double square = 0;
  for (std::size_t i = 0; i < matrix.size(); ++i) square += matrix[i] * matrix[i];
  const auto count = static_cast<double>(matrix.size());
  EXPECT_NEAR(std::sqrt(square / count), 0.5, 4 * 0.5 / std::sqrt(2 * count));  // four standard errors
}

/// The first example of Hugging Face's page on BertGeneration.
TEST_F(WarmStartTest, HalvesThatWereLoadedWithOptionsJoin) {
  const auto directory = Fixture("warm-start").directory();
  auto encoder = BertGenerationEncoder::from_pretrained(directory, {.bos_token_id = 11, .eos_token_id = 12});
  auto decoder = BertGenerationDecoder::from_pretrained(
      directory, {.bos_token_id = 11, .eos_token_id = 12, .is_decoder = true, .add_cross_attention = true, .seed = 1});
  const EncoderDecoderModel model(std::move(encoder), std::move(decoder));
  EXPECT_EQ(model.config().encoder.bos_token_id, 11);
  EXPECT_EQ(model.config().decoder.eos_token_id, TokenIds{12});
  EXPECT_EQ(model.config().encoder.model_type, "bert-generation");
  Workspace workspace;
  const auto output =
      model.forward({.input_ids = {{3, 4, 5}}, .decoder_input_ids = {{11, 6, 7}}, .labels = {{6, 7, 12}}}, workspace);
  EXPECT_NEAR(*output.loss, std::log(50.0), 3) << "of 50 pieces";
}

/// Two layers each way and the head over sums of up to 21 terms; see layer_test.cpp.
template <typename T>
constexpr double rounding = 8e3 * test::rounding<T>(24);

template <typename T>
class EncoderDecoderTest : public testing::Test {
 protected:
  Seq2SeqLMOutput<T> forward(const EncoderDecoderInputs& inputs) { return model_.forward(inputs, workspace_); }
  template <typename Exception>
  void expect_refused(const EncoderDecoderInputs& inputs, std::initializer_list<std::string_view> parts) {
    test::expect_error<Exception>([&] { forward(inputs); }, parts);
  }
  void rebuild(const EncoderDecoderConfig& config) { model_ = test::make_model<T>(config); }
  static Tensor<T> rows(const Tensor<T>& logits, std::size_t first, std::size_t count) {
    Tensor<T> part({count, logits.shape().cols()});
    part.view().matrix() = logits.view().middle_rows(first, count).matrix();
    return part;
  }

  BasicEncoderDecoderModel<T> model_ = test::make_model<T>();
  Workspace workspace_{2};
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(EncoderDecoderTest, Scalars);

TYPED_TEST(EncoderDecoderTest, HasARowForEachIdOfBothSides) {
  const auto output = this->forward({.input_ids = {{3, 4, 5}, {6}}, .decoder_input_ids = {{2}, {2, 7}}});
  EXPECT_EQ(output.logits.shape(), (Shape{3, 19}));
  EXPECT_EQ(output.encoder_last_hidden_state.shape(), (Shape{4, 15}));
  EXPECT_FALSE(output.loss);
  EXPECT_TRUE(output.label_log_probs.empty());
}

TYPED_TEST(EncoderDecoderTest, SequenceDoesNotDependOnItsMatesOrPadding) {
  const auto alone = this->forward({.input_ids = {{3, 4, 5}}, .decoder_input_ids = {{2, 8}}});
  const auto padded = this->forward({.input_ids = {{9}, {3, 4, 5, 0, 0}},
                                     .attention_mask = {{1}, {1, 1, 1, 0, 0}},
                                     .decoder_input_ids = {{2, 5, 6}, {2, 8, 0}},
                                     .decoder_attention_mask = {{}, {1, 1, 0}}});
  EXPECT_LE(test::largest_difference(alone.logits, this->rows(padded.logits, 3, 2)), rounding<TypeParam>);
}

TYPED_TEST(EncoderDecoderTest, LabelsAreShiftedRightBehindTheStartToken) {
  const auto labels = this->forward({.input_ids = {{3, 4}}, .labels = {{5, 6, -100, -100}}});
  const auto shifted = this->forward({.input_ids = {{3, 4}},
                                      .decoder_input_ids = {{2, 5, 6, 0}},
                                      .decoder_attention_mask = {{1, 1, 1, 0}},
                                      .labels = {{5, 6, -100, -100}}});
  EXPECT_TRUE(test::same_bits(labels.logits, shifted.logits));
  EXPECT_EQ(labels.loss, shifted.loss);
  ASSERT_EQ(labels.label_log_probs.size(), 2u);
  EXPECT_NEAR(*labels.loss, -(labels.label_log_probs[0] + labels.label_log_probs[1]) / 2, 1e-6);
}

TYPED_TEST(EncoderDecoderTest, GivenMaskIsNotReplacedByTheLabels) {
  const auto shown = this->forward(
      {.input_ids = {{3, 4}}, .decoder_attention_mask = {{1, 1, 1}}, .labels = {{0, 6, 7}}});  // 0 is padding
  const auto hidden = this->forward({.input_ids = {{3, 4}}, .labels = {{0, 6, 7}}});
  EXPECT_TRUE(test::same_bits(this->rows(shown.logits, 0, 1), this->rows(hidden.logits, 0, 1)));
  EXPECT_GT(test::largest_difference(this->rows(shown.logits, 2, 1), this->rows(hidden.logits, 2, 1)), 1e-3);
}

TYPED_TEST(EncoderDecoderTest, LabelsOfAllSequencesAreOneMean) {
  const auto both = this->forward({.input_ids = {{3, 4}, {5}}, .labels = {{6, 7, 8}, {9}}});
  ASSERT_EQ(both.label_log_probs.size(), 4u);
  const auto second = this->forward({.input_ids = {{5}}, .labels = {{9}}});
  EXPECT_NEAR(both.label_log_probs[3], second.label_log_probs[0], rounding<TypeParam>);
}

TYPED_TEST(EncoderDecoderTest, StartThatIsPaddingGivesAFiniteFirstRow) {
  EncoderDecoderConfig config = test::tiny_pair();
  config.decoder_start_token_id = 0;
  this->rebuild(config);
  const auto output = this->forward({.input_ids = {{3, 4}}, .labels = {{5, 6}}});
  EXPECT_TRUE(std::isfinite(*output.loss));
}

TYPED_TEST(EncoderDecoderTest, ShiftingNeedsStartAndPaddingIds) {
  EncoderDecoderConfig config = test::tiny_pair();
  config.pad_token_id.reset();
  this->rebuild(config);
  this->template expect_refused<ConfigError>({.input_ids = {{3}}, .labels = {{5}}}, {"labels: expected pad_token_id"});
  config.decoder_start_token_id.reset();
  this->rebuild(config);
  this->template expect_refused<ConfigError>({.input_ids = {{3}}, .labels = {{5}}},
                                             {"labels: expected decoder_start_token_id"});
}

TYPED_TEST(EncoderDecoderTest, ListsMustFitTogether) {
  this->template expect_refused<ArgumentError>({.input_ids = {{3}}}, {"expected decoder_input_ids or labels"});
  this->template expect_refused<ShapeError>({.input_ids = {{3}, {4}}, .decoder_input_ids = {{2}}},
                                            {"decoder_input_ids: expected 2 sequences, as in input_ids, got 1"});
  this->template expect_refused<ShapeError>({.input_ids = {{3}}, .decoder_input_ids = {{2, 5}}, .labels = {{5}}},
                                            {"labels: expected one a decoder position in sequence 0"});
  this->template expect_refused<ShapeError>({.input_ids = {{3}, {4}}, .decoder_input_ids = {{2}, {2}}, .labels = {{5}}},
                                            {"labels: expected one a decoder position in sequence 1"});
  this->template expect_refused<ShapeError>({.input_ids = {{3, 4}}, .attention_mask = {{1}}, .labels = {{5}}},
                                            {"attention_mask"});
  this->template expect_refused<ArgumentError>({.input_ids = {{3}}, .decoder_input_ids = {{2}}, .labels = {{19}}},
                                               {"labels: expected -100 or 0 to 18, got 19"});
}

TYPED_TEST(EncoderDecoderTest, ProjectionJoinsHalvesOfDifferentWidth) {
  EncoderDecoderConfig config = test::tiny_pair();
  config.encoder.hidden_size = 12;
  this->rebuild(config);
  const auto output = this->forward({.input_ids = {{3, 4}, {5}}, .decoder_input_ids = {{2}, {2}}});
  EXPECT_EQ(output.encoder_last_hidden_state.shape(), (Shape{3, 12}));  // as transformers: before the projection
  EXPECT_EQ(output.logits.shape(), (Shape{2, 19}));
  test::expect_error<ConfigError>(
      [&] {
        BasicEncoderDecoderModel<TypeParam>(test::make_encoder<TypeParam>(config.encoder),
                                            test::make_decoder<TypeParam>(config.decoder));
      },
      {"expected enc_to_dec_proj between hidden sizes 12 and 15, got none"});
}

TYPED_TEST(EncoderDecoderTest, HalvesMustBeAnEncoderAndADecoderThatAttendsToIt) {
  test::expect_error<ConfigError>(
      [] {
        BasicEncoderDecoderModel<TypeParam>(test::make_encoder<TypeParam>(),
                                            test::make_decoder<TypeParam>(test::tiny_decoder_config(false)));
      },
      {"decoder: expected is_decoder and add_cross_attention"});
  test::expect_error<ConfigError>(
      [] {
        BasicEncoderDecoderModel<TypeParam>(test::make_encoder<TypeParam>(test::tiny_decoder_config(false)),
                                            test::make_decoder<TypeParam>());
      },
      {"encoder: expected neither is_decoder"});
}

TYPED_TEST(EncoderDecoderTest, ConfigurationIsThatOfTheHalves) {
  EXPECT_EQ(this->model_.config().encoder.vocab_size, 19u);
  EXPECT_EQ(this->model_.config().decoder.vocab_size, 19u);
  EXPECT_EQ(this->model_.bytes(), this->model_.encoder().bytes() + this->model_.decoder().bytes());
}

TYPED_TEST(EncoderDecoderTest, RefusedGenerationConfigChangesNothing) {
  GenerationConfig config;
  config.num_return_sequences = 2;
  const GenerationConfig before = this->model_.generation_config();
  EXPECT_THROW(this->model_.set_generation_config(config), ConfigError);
  EXPECT_EQ(this->model_.generation_config(), before);
}

TYPED_TEST(EncoderDecoderTest, NoSequencesGiveNoRows) {
  EXPECT_THROW(this->forward({}), ArgumentError);  // neither ids nor labels
}

TYPED_TEST(EncoderDecoderTest, TakesNoNewScratchOnceWarm) {
  const EncoderDecoderInputs inputs{.input_ids = test::random_ids(9, 16, 19, 1),
                                    .labels = test::random_ids(9, 16, 19, 2)};
  this->forward(inputs);
  const std::size_t warm = this->workspace_.capacity();
  for (int i = 0; i < 3; ++i) this->forward(inputs);
  EXPECT_EQ(this->workspace_.capacity(), warm);
}

}  // namespace
}  // namespace bertgen
