#include "bertgen/models/encoder_decoder.hpp"

#include "bertgen/generation/config.hpp"
#include "support/fixture.hpp"

namespace bertgen {
namespace {

using test::Fixture;

// In float the oracle's own float32 run differs from its float64 run by up to 5e-5; in double both sides round sums of
// fewer than 1,000 terms below 100 to 53 bits, 1e-12 in all.
template <typename T>
constexpr double tolerance = std::is_same_v<T, float> ? 1e-4 : 1e-9;

template <typename T>
void expect_parity(const Fixture& fixture, const LoadOptions& options) {
  const auto model = BasicEncoderDecoderModel<T>::from_pretrained(fixture.directory(), options);
  Workspace workspace(2);
  const auto input_ids = fixture.rows<TokenId>("input_ids");
  const auto attention_mask = fixture.rows<std::uint8_t>("attention_mask");
  const auto states = model.encoder().forward(input_ids, attention_mask, workspace);
  test::expect_near(states, fixture.tensor("encoder_last_hidden_state"), tolerance<T>, "encoder_last_hidden_state");

  const auto output = model.forward(
      {.input_ids = input_ids, .attention_mask = attention_mask, .decoder_input_ids = fixture.rows<TokenId>("decoder_input_ids"),
       .decoder_attention_mask = {}, .labels = {}}, workspace);
  EXPECT_FALSE(output.loss.has_value());
  test::expect_near(output.logits, fixture.tensor("logits"), tolerance<T>, "logits");

  // Not every configuration has the ids that shifting labels needs.
  if (!fixture.has("labels")) return;
  const auto with_labels = model.forward({.input_ids = input_ids, .attention_mask = attention_mask, .decoder_input_ids = {},
                                          .decoder_attention_mask = {}, .labels = fixture.rows<TokenId>("labels")}, workspace);
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

}  // namespace
}  // namespace bertgen
