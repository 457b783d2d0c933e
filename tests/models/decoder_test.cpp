#include "bertgen/models/decoder.hpp"

#include <gtest/gtest.h>

#include "support/checkpoint.hpp"
#include "support/errors.hpp"
#include "support/fixture.hpp"

namespace bertgen {
namespace {

using test::Fixture;
using Ids = std::vector<TokenIds>;
using Masks = std::vector<AttentionMask>;
using Offsets = std::vector<std::size_t>;

// As in encoder_decoder_test.cpp.
template <typename T>
constexpr double parity = std::is_same_v<T, float> ? 1e-4 : 1e-9;

template <typename T>
void expect_parity(const Fixture& fixture, const LoadOptions& options = {}) {
  const auto decoder = BasicDecoder<T>::from_pretrained(fixture.directory(), options);
  Workspace workspace(2);
  const auto logits =
      decoder.forward(fixture.rows<TokenId>("input_ids"), fixture.rows<std::uint8_t>("attention_mask"), workspace);
  test::expect_near(logits, fixture.tensor("logits"), parity<T>, "logits");
}

class DecoderParityTest : public testing::TestWithParam<std::string> {};

TEST_P(DecoderParityTest, FloatMatchesTheOracle) { expect_parity<float>(Fixture(GetParam())); }
TEST_P(DecoderParityTest, DoubleMatchesTheOracle) { expect_parity<double>(Fixture(GetParam())); }

INSTANTIATE_TEST_SUITE_P(Fixtures, DecoderParityTest, testing::ValuesIn(test::half_fixture_names("logits")),
                         test::test_name);

TEST(BertGenerationDecoderTest, ReadsABertWithAFreshHead) {
  const LoadOptions options{.model_type = "bert-generation", .bos_token_id = 5, .eos_token_id = 6, .is_decoder = true};
  expect_parity<double>(Fixture("warm-start"), options);
  const auto decoder = BertGenerationDecoder::from_pretrained(Fixture("warm-start").directory(), options);
  EXPECT_EQ(decoder.config().bos_token_id, 5);
  EXPECT_EQ(decoder.config().eos_token_id, TokenIds{6});
}

TEST(BertGenerationDecoderTest, CrossAttentionThatIsMissingNeedsASeed) {
  const auto directory = Fixture("warm-start").directory();
  LoadOptions options{.is_decoder = true, .add_cross_attention = true};
  test::expect_error<CheckpointError>([&] { BertGenerationDecoder::from_pretrained(directory, options); },
                                      {"bert.encoder.layer.0.crossattention.self.query.weight", "found none"});
  options.seed = 7;
  EXPECT_TRUE(BertGenerationDecoder::from_pretrained(directory, options).config().add_cross_attention);
}

/// Two layers and the head over sums of up to 21 terms; see layer_test.cpp.
template <typename T>
constexpr double tolerance = 4e3 * test::rounding<T>(24);

template <typename T>
class DecoderTest : public testing::Test {
 protected:
  using Cache = EncoderDecoderCache<T>;

  Tensor<T> forward(const Ids& ids, const Masks& masks = {}) { return decoder_.forward(ids, masks, workspace_); }
  /// Continues the cache's rows and gives the logits of their new tokens.
  Tensor<T> step(Cache& cache, const TokenIds& ids, const Offsets& offsets) {
    Tensor<T> hidden({ids.size(), decoder_.config().hidden_size});
    decoder_.forward(ids, offsets, {}, cache, hidden, workspace_);
    Tensor<T> logits({ids.size(), decoder_.config().vocab_size});
    decoder_.logits(hidden, logits, workspace_);
    return logits;
  }
  /// A cache that attends to two sources of three and two states.
  Cache cache_with_sources(std::size_t hidden_flags = 0) {
    PackedBatch sources;
    sources.input_ids = TokenIds(5, 3);
    sources.offsets = {0, 3, 5};
    if (hidden_flags != 0) sources.key_lists = {{0, 2}, {}};
    Cache cache = decoder_.make_cache(2, 2, 8);
    decoder_.attend_to(test::random_tensor<T>({5, 15}, 8), sources, cache, workspace_);
    return cache;
  }
  static Tensor<T> rows(const Tensor<T>& logits, std::size_t first, std::size_t count) {
    Tensor<T> part({count, logits.shape().cols()});
    part.view().matrix() = logits.view().middle_rows(first, count).matrix();
    return part;
  }

  BasicDecoder<T> decoder_ = test::make_decoder<T>();
  Workspace workspace_;
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(DecoderTest, Scalars);

TYPED_TEST(DecoderTest, HasLogitsForEachId) {
  EXPECT_EQ(this->forward({{3, 4, 5}, {6}}).shape(), (Shape{4, 19}));
  EXPECT_EQ(this->forward({}).shape(), (Shape{0, 19}));
}

TYPED_TEST(DecoderTest, LaterIdsDoNotChangeEarlierLogits) {
  const auto one = this->forward({{3, 4, 5, 6}});
  const auto other = this->forward({{3, 4, 7, 8}});
  EXPECT_LE(test::largest_difference(this->rows(one, 0, 2), this->rows(other, 0, 2)), tolerance<TypeParam>);
  EXPECT_GT(test::largest_difference(this->rows(one, 3, 1), this->rows(other, 3, 1)), tolerance<TypeParam>);
}

TYPED_TEST(DecoderTest, WithoutIsDecoderEachIdLooksAtAll) {
  TransformerConfig config = test::tiny_config();
  this->decoder_ = test::make_decoder<TypeParam>(config);
  const auto one = this->forward({{3, 4, 5}});
  const auto other = this->forward({{3, 4, 6}});
  EXPECT_GT(test::largest_difference(this->rows(one, 0, 1), this->rows(other, 0, 1)), tolerance<TypeParam>);
}

TYPED_TEST(DecoderTest, CachedStepsEqualOnePass) {
  const TokenIds ids = {3, 4, 5, 6, 7, 8};
  const auto whole = this->forward({ids});
  auto cache = this->decoder_.make_cache(1);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto logits = this->step(cache, {ids[i]}, {0, 1});
    EXPECT_LE(test::largest_difference(logits, this->rows(whole, i, 1)), tolerance<TypeParam>) << i;
  }
  EXPECT_EQ(cache.length(0), ids.size());
}

TYPED_TEST(DecoderTest, CachedStepsWithSourcesEqualOnePass) {
  const Ids ids = {{3, 4, 5}, {6, 7}};
  for (std::size_t hidden : {0u, 1u}) {
    auto whole_cache = this->cache_with_sources(hidden);
    const auto whole = this->decoder_.forward(ids, {}, whole_cache, this->workspace_);
    auto cache = this->cache_with_sources(hidden);
    const auto first = this->step(cache, {3, 6, 7}, {0, 1, 3});
    const auto second = this->step(cache, {4, 5}, {0, 2, 2});
    EXPECT_LE(test::largest_difference(this->rows(first, 0, 1), this->rows(whole, 0, 1)), tolerance<TypeParam>);
    EXPECT_LE(test::largest_difference(this->rows(first, 1, 2), this->rows(whole, 3, 2)), tolerance<TypeParam>);
    EXPECT_LE(test::largest_difference(second, this->rows(whole, 1, 2)), tolerance<TypeParam>);
  }
}

TYPED_TEST(DecoderTest, ReorderedRowsContinueTheirParents) {
  auto cache = this->cache_with_sources();
  this->step(cache, {3, 4, 6}, {0, 2, 3});
  cache.reorder(Offsets{1, 0, 0});
  const auto logits = this->step(cache, {7, 8, 9}, {0, 1, 2, 3});
  const Ids histories[] = {{{3}, {6, 7}}, {{3, 4, 8}, {6}}, {{3, 4, 9}, {6}}};
  const std::size_t last_row[] = {2, 2, 2};
  for (std::size_t row = 0; row < 3; ++row) {
    auto fresh = this->cache_with_sources();
    const auto whole = this->decoder_.forward(histories[row], {}, fresh, this->workspace_);
    EXPECT_LE(test::largest_difference(this->rows(logits, row, 1), this->rows(whole, last_row[row], 1)),
              tolerance<TypeParam>)
        << row;
  }
}

TYPED_TEST(DecoderTest, SourceMatters) {
  auto cache = this->cache_with_sources();
  const auto with_source = this->decoder_.forward(Ids{{3, 4}, {3, 4}}, {}, cache, this->workspace_);
  EXPECT_GT(test::largest_difference(this->rows(with_source, 0, 2), this->rows(with_source, 2, 2)),
            tolerance<TypeParam>);
}

TYPED_TEST(DecoderTest, HiddenSourceEqualsNoneOfIt) {
  auto hidden = this->cache_with_sources(1);  // the second source is wholly hidden, of the first the middle
  const auto logits = this->decoder_.forward(Ids{{3, 4}, {5}}, {}, hidden, this->workspace_);
  EXPECT_TRUE(logits.view().matrix().allFinite());
}

TYPED_TEST(DecoderTest, HiddenIdsAreSeenByNoQuery) {
  const auto one = this->forward({{0, 3, 4}}, {{0, 1, 1}});
  const auto other = this->forward({{9, 3, 4}}, {{0, 1, 1}});
  EXPECT_TRUE(test::same_bits(this->rows(one, 1, 2), this->rows(other, 1, 2)));
  EXPECT_TRUE(one.view().matrix().allFinite());
}

TYPED_TEST(DecoderTest, MaskOfOnesIsNoMask) {
  EXPECT_TRUE(test::same_bits(this->forward({{3, 4}, {5}}), this->forward({{3, 4}, {5}}, {{1, 1}, {}})));
}

TYPED_TEST(DecoderTest, MaskMustFitTheIds) {
  EXPECT_THROW(this->forward({{3, 4}}, {{1}}), ShapeError);
  EXPECT_THROW(this->forward({{3, 4}}, {{1, 1}, {1}}), ShapeError);
}

TYPED_TEST(DecoderTest, RefusesPositionsPastTheTableBeforeTheCacheChanges) {
  auto cache = this->decoder_.make_cache(1);
  const TokenIds ids(16, 3);
  this->step(cache, ids, {0, 16});
  test::expect_error<ArgumentError>(
      [&] {
        this->step(cache, {3}, {0, 1});
      },
      {"position (max_position_embeddings): expected 0 to 15, got 16"});
  EXPECT_EQ(cache.length(0), 16u);
  EXPECT_EQ(cache.self(0).rows(), 16u);
}

TYPED_TEST(DecoderTest, RefusesIdsOutsideTheVocabularyBeforeTheCacheChanges) {
  auto cache = this->decoder_.make_cache(1);
  for (TokenId id : {19, -1}) {
    test::expect_error<ArgumentError>(
        [&] {
          this->step(cache, {id}, {0, 1});
        },
        {"token id: expected 0 to 18, got " + std::to_string(id)});
  }
  EXPECT_EQ(cache.length(0), 0u);
}

// Seen to fail without the check.
TEST(DecoderOfFloatsTest, RefusesACacheOfAnotherTypeBeforeItChanges) {
  const auto decoder = test::make_decoder<float>(test::tiny_decoder_config());
  EXPECT_EQ(decoder.make_cache(1).dtype(), DType::f32);
  EncoderDecoderCache<float> cache(decoder.config().num_hidden_layers, 15, 1, 1, 4, nullptr, DType::bf16);
  Workspace workspace;
  PackedBatch sources;
  sources.offsets = {0, 1};
  const Tensor<float> states({1, 15});
  Tensor<float> hidden({1, 15});
  const TokenIds ids = {3};
  const Offsets offsets = {0, 1};
  const std::initializer_list<std::string_view> parts = {"expected a cache of F32", "got BF16"};
  test::expect_error<ArgumentError>([&] { decoder.attend_to(states, sources, cache, workspace); }, parts);
  test::expect_error<ArgumentError>([&] { decoder.attend_to_more(states, sources, cache, workspace); }, parts);
  test::expect_error<ArgumentError>([&] { decoder.forward(ids, offsets, {}, cache, hidden, workspace); }, parts);
  EXPECT_EQ(cache.rows(), 1u);
  EXPECT_EQ(cache.length(0), 0u);
  EXPECT_EQ(cache.cross<BFloat16>(0).rows(), 0u);
}

// Seen to fail without the check, in that the cache had changed.
TEST(DecoderOfFloatsTest, StatesAreAsManyAsTheSourcesIds) {
  const auto decoder = test::make_decoder<float>(test::tiny_decoder_config());
  Workspace workspace;
  PackedBatch sources;
  sources.offsets = {0, 3};
  for (const Shape& shape : {Shape{2, 15}, Shape{4, 15}, Shape{3, 14}}) {
    auto cache = decoder.make_cache(1);
    const Tensor<float> states(shape);
    const std::string got = "got " + to_string(shape);
    const std::initializer_list<std::string_view> parts = {"expected states of [3, 15]", got};
    test::expect_error<ShapeError>([&] { decoder.attend_to(states, sources, cache, workspace); }, parts);
    test::expect_error<ShapeError>([&] { decoder.attend_to_more(states, sources, cache, workspace); }, parts);
    EXPECT_EQ(cache.cross(0).rows(), 0u);
  }
}

TYPED_TEST(DecoderTest, AttendsToAnEncoderOnlyWithCrossAttention) {
  const auto decoder = test::make_decoder<TypeParam>(test::tiny_decoder_config(false));
  auto cache = decoder.make_cache(1);
  PackedBatch sources;
  sources.offsets = {0, 1};
  test::expect_error<ConfigError>(
      [&] {
        decoder.attend_to(Tensor<TypeParam>({1, 15}), sources, cache, this->workspace_);
      },
      {"expected add_cross_attention", "got false"});
}

/// What a head computes from, with each of the tensors that a file may leave out.
class HeadTest : public testing::Test {
 protected:
  HeadTest() {
    config_.num_hidden_layers = 0;
    checkpoint_.add_language_model("", config_);
  }
  /// Logits of id 3, with the checkpoint's present tensors.
  Tensor<double> logits() const {
    const Weights weights = checkpoint_.weights();
    const BasicDecoder<double> decoder(weights, config_);
    weights.require_all_used();
    Workspace workspace;
    return decoder.forward(Ids{{3}}, {}, workspace);
  }
  Tensor<float>& tensor(const std::string& name) { return checkpoint_.tensors()[name]; }

  TransformerConfig config_ = test::tiny_decoder_config();
  test::Checkpoint checkpoint_;
};

TEST_F(HeadTest, BiasIsAddedToEachLogit) {
  const auto before = logits();
  tensor("lm_head.bias")[7] += 2;
  const auto after = logits();
  for (std::size_t i = 0; i < 19; ++i) EXPECT_NEAR(after[i] - before[i], i == 7 ? 2 : 0, 1e-6) << i;  // stored in float
}

TEST_F(HeadTest, MissingBiasIsZero) {
  tensor("lm_head.bias") = Tensor<float>({19});
  const auto zero = logits();
  checkpoint_.tensors().erase("lm_head.bias");
  EXPECT_TRUE(test::same_bits(logits(), zero));
}

TEST_F(HeadTest, DecoderBiasWinsOverBias) {
  const auto bias = tensor("lm_head.bias");
  const auto expected = logits();
  tensor("lm_head.decoder.bias") = bias;
  tensor("lm_head.bias") = Tensor<float>({19}, std::vector<float>(19, 100));
  EXPECT_TRUE(test::same_bits(logits(), expected));
}

TEST_F(HeadTest, FilesOwnMatrixWinsEvenIfTied) {
  const auto tied = logits();
  tensor("lm_head.decoder.weight") = tensor("bert.embeddings.word_embeddings.weight");
  EXPECT_TRUE(test::same_bits(logits(), tied));
  for (std::size_t i = 0; i < 19 * 15; ++i) tensor("lm_head.decoder.weight")[i] *= 2;
  EXPECT_FALSE(test::same_bits(logits(), tied));
}

TEST_F(HeadTest, UntiedHeadNeedsItsMatrix) {
  config_.tie_word_embeddings = false;
  test::expect_error<CheckpointError>([this] { logits(); },
                                      {"lm_head.decoder.weight: expected a tensor of shape [19, 15], found none"});
}

TEST_F(HeadTest, WrongShapesAreNamed) {
  tensor("lm_head.bias") = Tensor<float>({18});
  test::expect_error<CheckpointError>([this] { logits(); }, {"lm_head.bias: expected [19], got [18]"});
}

}  // namespace
}  // namespace bertgen
