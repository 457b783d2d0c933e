#include "bertgen/models/encoder.hpp"

#include <gtest/gtest.h>

#include "bertgen/core/isa.hpp"
#include "support/checkpoint.hpp"
#include "support/errors.hpp"
#include "support/fixture.hpp"

namespace bertgen {
namespace {

using test::Fixture;
using Ids = std::vector<TokenIds>;
using Masks = std::vector<AttentionMask>;

// As in encoder_decoder_test.cpp: the oracle's own float32 run is within 5e-5 of its float64 run, and double sums of
// fewer than 1,000 terms below 100 round to 1e-12.
template <typename T>
constexpr double parity = std::is_same_v<T, float> ? 1e-4 : 1e-9;

template <typename T>
void expect_parity(const Fixture& fixture, const LoadOptions& options = {}) {
  const auto encoder = BasicEncoder<T>::from_pretrained(fixture.directory(), options);
  Workspace workspace(2);
  const auto hidden =
      encoder.forward(fixture.rows<TokenId>("input_ids"), fixture.rows<std::uint8_t>("attention_mask"), workspace);
  test::expect_near(hidden, fixture.tensor("last_hidden_state"), parity<T>, "last_hidden_state");
}

class EncoderParityTest : public testing::TestWithParam<std::string> {};

TEST_P(EncoderParityTest, FloatMatchesTheOracle) { expect_parity<float>(Fixture(GetParam())); }
TEST_P(EncoderParityTest, FloatByEigenMatchesTheOracle) {
  expect_parity<float>(Fixture(GetParam()), {{MatmulBackend::eigen}});
}
TEST_P(EncoderParityTest, DoubleMatchesTheOracle) { expect_parity<double>(Fixture(GetParam())); }

INSTANTIATE_TEST_SUITE_P(Fixtures, EncoderParityTest, testing::ValuesIn(test::half_fixture_names("last_hidden_state")),
                         test::test_name);

TEST(BertGenerationEncoderTest, ReadsABertWithoutItsTokenTypesAndHead) {
  const Fixture fixture("warm-start");
  const BertGenerationEncoder encoder = BertGenerationEncoder::from_pretrained(fixture.directory());
  EXPECT_EQ(encoder.config().model_type, "bert-generation");
  Workspace workspace(1);
  const auto hidden =
      encoder.forward(fixture.rows<TokenId>("input_ids"), fixture.rows<std::uint8_t>("attention_mask"), workspace);
  test::expect_near(hidden, fixture.tensor("last_hidden_state"), parity<float>, "last_hidden_state");
  const auto as_bert =
      Encoder::from_pretrained(fixture.directory())
          .forward(fixture.rows<TokenId>("input_ids"), fixture.rows<std::uint8_t>("attention_mask"), workspace);
  EXPECT_GT(test::largest_difference(hidden, as_bert), 1e-2);
}

/// Two layers over sums of up to 21 terms: as in layer_test.cpp, twice.
template <typename T>
constexpr double tolerance = 2e3 * test::rounding<T>(24);

template <typename T>
class EncoderTest : public testing::Test {
 protected:
  Tensor<T> forward(const Ids& ids, const Masks& masks = {}) { return encoder_.forward(ids, masks, workspace_); }
  /// Rows [first, first + count) of a result.
  static Tensor<T> rows(const Tensor<T>& hidden, std::size_t first, std::size_t count) {
    Tensor<T> part({count, hidden.shape().cols()});
    part.view().matrix() = hidden.view().middle_rows(first, count).matrix();
    return part;
  }

  BasicEncoder<T> encoder_ = test::make_encoder<T>();
  Workspace workspace_;
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(EncoderTest, Scalars);

TYPED_TEST(EncoderTest, HasARowForEachId) {
  EXPECT_EQ(this->forward({{3, 4, 5}, {6}}).shape(), (Shape{4, 15}));
  EXPECT_EQ(this->encoder_.config().vocab_size, 19u);
}

TYPED_TEST(EncoderTest, NoSequencesAndEmptySequencesHaveNoRows) {
  EXPECT_EQ(this->forward({}).shape(), (Shape{0, 15}));
  const auto with_empty = this->forward({{}, {3, 4}, {}});
  EXPECT_LE(test::largest_difference(with_empty, this->forward({{3, 4}})), tolerance<TypeParam>);
}

TYPED_TEST(EncoderTest, HiddenIdsDoNotChangeVisibleRows) {
  const auto one = this->forward({{3, 4, 5, 0, 0}}, {{1, 1, 1, 0, 0}});
  const auto other = this->forward({{3, 4, 5, 17, 9}}, {{1, 1, 1, 0, 0}});
  EXPECT_TRUE(test::same_bits(this->rows(one, 0, 3), this->rows(other, 0, 3)));
}

TYPED_TEST(EncoderTest, AmountOfPaddingDoesNotChangeVisibleRows) {
  const auto bare = this->forward({{3, 4, 5}});
  const auto padded = this->forward({{3, 4, 5, 0, 0, 0, 0}}, {{1, 1, 1, 0, 0, 0, 0}});
  EXPECT_LE(test::largest_difference(bare, this->rows(padded, 0, 3)), tolerance<TypeParam>);
}

TYPED_TEST(EncoderTest, DroppedPaddingEqualsKeptPadding) {
  const Ids ids = {{0, 3, 4, 0, 5}, {6, 7, 0, 0, 0}};
  const Masks masks = {{0, 1, 1, 0, 1}, {1, 1, 0, 0, 0}};
  const auto kept = this->encoder_.forward(pack(ids, masks, HiddenPositions::keep), this->workspace_);
  const auto dropped = this->encoder_.forward(pack(ids, masks, HiddenPositions::drop), this->workspace_);
  ASSERT_EQ(dropped.shape(), (Shape{5, 15}));
  EXPECT_LE(test::largest_difference(this->rows(kept, 1, 2), this->rows(dropped, 0, 2)), tolerance<TypeParam>);
  EXPECT_LE(test::largest_difference(this->rows(kept, 4, 3), this->rows(dropped, 2, 3)), tolerance<TypeParam>);
}

TYPED_TEST(EncoderTest, SequenceDoesNotDependOnItsMates) {
  const Ids ids = test::random_ids(9, 16, 19, 4);
  const auto together = this->forward(ids);
  const bool same = std::is_same_v<TypeParam, float>;
  std::size_t row = 0;
  for (const TokenIds& sequence : ids) {
    const auto alone = this->forward({sequence});
    const auto mates = this->rows(together, row, sequence.size());
    row += sequence.size();
    EXPECT_LE(test::largest_difference(alone, mates), tolerance<TypeParam>);
    EXPECT_TRUE(!same || test::same_bits(alone, mates)) << sequence.size();
  }
}

TYPED_TEST(EncoderTest, EveryIdLooksAtEveryOther) {
  const auto before = this->forward({{3, 4, 5}});
  for (std::size_t changed = 0; changed < 3; ++changed) {
    TokenIds ids = {3, 4, 5};
    ids[changed] = 11;
    const auto after = this->forward({ids});
    for (std::size_t row = 0; row < 3; ++row) {
      EXPECT_GT(test::largest_difference(this->rows(before, row, 1), this->rows(after, row, 1)), tolerance<TypeParam>);
    }
  }
}

TYPED_TEST(EncoderTest, WhollyHiddenSequenceStillHasFiniteRows) {
  const auto hidden = this->forward({{3, 4}, {5, 6}}, {{0, 0}, {1, 1}});
  EXPECT_TRUE(hidden.view().matrix().allFinite());
}

TYPED_TEST(EncoderTest, ThreadsDoNotChangeBits) {
  const Ids ids = test::random_ids(30, 16, 19, 5);
  Workspace threads(3);
  EXPECT_TRUE(test::same_bits(this->forward(ids), this->encoder_.forward(ids, {}, threads)));
}

// Seen to fail with hidden positions counted from the whole batch's beginning.
TYPED_TEST(EncoderTest, PartsAreAsTheWhole) {
  Ids ids;
  Masks masks;
  test::Random random(6);
  while (ids.size() < 60) {
    ids.push_back(test::random_ids(1, 16, 19, ids.size()).front());
    ids.back().resize(16, 3);
    masks.emplace_back(16, 1);
    masks.back()[random.below(16)] = 0;
  }
  const PackedBatch batch = pack(ids, masks, HiddenPositions::keep);
  const auto& encoder = this->encoder_;
  ForwardRecord<TypeParam> record;  // what is recorded is of one part
  const auto whole = encoder.forward(batch, this->workspace_, {}, &record);
  for (int threads : {1, 2, 3}) {
    ASSERT_GT(divide(batch, static_cast<std::size_t>(threads)).size(), 2u);
    Workspace workspace(threads);
    const auto parts = encoder.forward(batch, workspace);
    EXPECT_LE(test::largest_difference(parts, whole), tolerance<TypeParam>);
    EXPECT_TRUE((!std::is_same_v<TypeParam, float>) || test::same_bits(parts, whole)) << threads;
    const auto embeds = test::random_tensor<TypeParam>(whole.shape(), 2);
    const auto of_whole = encoder.forward(batch, this->workspace_, {}, &record, embeds);
    EXPECT_LE(test::largest_difference(encoder.forward(batch, workspace, {}, nullptr, embeds), of_whole),
              tolerance<TypeParam>);
    std::stop_source stop;
    stop.request_stop();
    test::expect_error<CancelledError>([&] { encoder.forward(batch, workspace, stop.get_token()); },
                                       {"encoder: cancelled"});
  }
}

TYPED_TEST(EncoderTest, TakesNoNewScratchOnceWarm) {
  const Ids ids = test::random_ids(30, 16, 19, 5);
  this->forward(ids);
  const std::size_t warm = this->workspace_.capacity();
  for (int i = 0; i < 3; ++i) this->forward(ids);
  this->forward({ids[0]});
  EXPECT_EQ(this->workspace_.capacity(), warm);
}

TYPED_TEST(EncoderTest, LongestSequenceFillsThePositions) {
  EXPECT_TRUE(this->forward({TokenIds(16, 3)}).view().matrix().allFinite());
  test::expect_error<ArgumentError>([this] { this->forward({TokenIds(17, 3)}); },
                                    {"position (max_position_embeddings): expected 0 to 15, got 16"});
}

TYPED_TEST(EncoderTest, IdsOutsideTheVocabularyAreRefused) {
  for (TokenId id : {19, -1}) {
    test::expect_error<ArgumentError>(
        [&] {
          this->forward({{3, id}});
        },
        {"token id: expected 0 to 18, got " + std::to_string(id)});
  }
}

TYPED_TEST(EncoderTest, MaskMustFitTheIds) {
  EXPECT_THROW(this->forward({{3, 4}}, {{1}}), ShapeError);
  EXPECT_THROW(this->forward({{3, 4}}, {{1, 1}, {1}}), ShapeError);
}

TYPED_TEST(EncoderTest, ConfigurationIsChecked) {
  TransformerConfig config = test::tiny_config();
  test::Checkpoint checkpoint;
  checkpoint.add_stack("", config);
  const Weights weights = checkpoint.weights();
  config.num_attention_heads = 4;
  test::expect_error<ConfigError>([&] { BasicEncoder<TypeParam>(weights, config); },
                                  {"num_attention_heads, 4, got 15"});
  config.num_attention_heads = 0;
  EXPECT_THROW(BasicEncoder<TypeParam>(weights, config), ConfigError);
}

TYPED_TEST(EncoderTest, WithoutLayersItIsTheEmbeddings) {
  TransformerConfig config = test::tiny_config();
  config.num_hidden_layers = 0;
  const auto encoder = test::make_encoder<TypeParam>(config);
  const auto hidden = encoder.forward(Ids{{3, 4}}, {}, this->workspace_);
  EXPECT_EQ(hidden.shape(), (Shape{2, 15}));
  EXPECT_EQ(encoder.bytes(), 0u);
}

}  // namespace
}  // namespace bertgen
