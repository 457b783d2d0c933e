#include "bertgen/generation/generate.hpp"

#include "support/fixture.hpp"

namespace bertgen {
namespace {

using test::Fixture;

template <typename T>
void expect_parity(const Fixture& fixture) {
  const auto model = BasicEncoderDecoderModel<T>::from_pretrained(fixture.directory());
  Workspace workspace(1);
  const auto rows = [](const nlohmann::json& value) {
    return value.is_null() ? std::vector<TokenIds>{} : value.get<std::vector<TokenIds>>();
  };
  for (const nlohmann::json& entry : fixture.expected().at("generate")) {
    SCOPED_TRACE(fixture.name() + " " + entry.at("name").get<std::string>() + " " + entry.at("generation").dump());
    GenerationConfig config = model.generation_config();
    EXPECT_TRUE(config.update(entry.at("generation").dump(), "case").empty());
    GenerateInputs inputs;
    inputs.input_ids = rows(entry.at("input_ids"));
    if (!entry.at("attention_mask").is_null()) {
      inputs.attention_mask = entry.at("attention_mask").get<std::vector<AttentionMask>>();
    }
    inputs.decoder_input_ids = rows(entry.at("decoder_input_ids"));
    const GenerateOutput output = generate(model, inputs, config, workspace);
    const auto expected = rows(entry.at("sequences"));
    ASSERT_EQ(output.sequences.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(output.sequences[i].ids, expected[i]) << "sequence " << i;
      EXPECT_NEAR(output.sequences[i].score, entry.at("scores")[i].get<double>(), 1e-4) << "sequence " << i;
    }
  }
}

class GenerateParityTest : public testing::TestWithParam<std::string> {};

TEST_P(GenerateParityTest, FloatMatchesTheOracle) { expect_parity<float>(Fixture(GetParam())); }
TEST_P(GenerateParityTest, DoubleMatchesTheOracle) { expect_parity<double>(Fixture(GetParam())); }

INSTANTIATE_TEST_SUITE_P(Fixtures, GenerateParityTest, testing::ValuesIn(test::fixture_names("encoder-decoder")),
                         test::test_name);

}  // namespace
}  // namespace bertgen
