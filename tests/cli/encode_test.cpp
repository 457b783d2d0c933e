#include "cli/program.hpp"
#include "support/fixture.hpp"

namespace bertgen::test {
namespace {

using Rows = std::vector<std::vector<double>>;

std::vector<std::string> fixtures_with_an_encoder() {
  std::vector<std::string> names = fixture_names("encoder-decoder");
  names.insert(names.end(), {"encoder-only", "encoder-only-bf16"});
  return names;
}

class EncodeParity : public testing::TestWithParam<std::string> {};

TEST_P(EncodeParity, AnswersWhatTransformersAnswers) {
  const Fixture fixture(GetParam());
  const Tensor<double> expected =
      fixture.tensor(fixture.has("encoder_last_hidden_state") ? "encoder_last_hidden_state" : "last_hidden_state");
  const auto input_ids = fixture.rows<TokenId>("input_ids");
  const auto mask = fixture.rows<int>("attention_mask");
  std::vector<Json> requests;
  for (std::size_t i = 0; i < input_ids.size(); ++i) {
    requests.push_back({{"id", i}, {"input_ids", input_ids[i]}, {"attention_mask", mask[i]}});
    if (fixture.has("token_type_ids")) requests[i]["token_type_ids"] = fixture.rows<TokenId>("token_type_ids")[i];
  }
  const auto answers = ask("encode", fixture.directory(), requests);
  std::size_t element = 0;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(answers[i].size(), 2u);
    EXPECT_EQ(answers[i].at("id"), i);
    const auto rows = answers[i].at("last_hidden_state").get<Rows>();
    ASSERT_EQ(rows.size(), input_ids[i].size());
    for (const auto& row : rows) {
      ASSERT_EQ(row.size(), expected.shape()[2]);
      for (double value : row) EXPECT_NEAR(value, expected[element++], 1e-4);
    }
  }
  EXPECT_EQ(element, expected.size());
}

INSTANTIATE_TEST_SUITE_P(Fixtures, EncodeParity, testing::ValuesIn(fixtures_with_an_encoder()), test_name);

TEST(Encode, PoolsTheStatesThatTheMaskShows) {
  const Json request = {{"input_ids", {4, 5, 6}}, {"attention_mask", {1, 0, 1}}};
  const auto states = ask("encode", fixture("plain"), {request})[0].at("last_hidden_state").get<Rows>();
  const auto mean = ask("encode", fixture("plain"), {request}, {"--pooling", "mean"})[0];
  const auto first = ask("encode", fixture("plain"), {request}, {"--pooling", "cls"})[0];
  EXPECT_FALSE(mean.contains("last_hidden_state"));
  ASSERT_EQ(mean.at("embedding").size(), states[0].size());
  for (std::size_t i = 0; i < states[0].size(); ++i) {
    EXPECT_NEAR(mean["embedding"][i].get<double>(), (states[0][i] + states[2][i]) / 2, 1e-6);
  }
  EXPECT_EQ(first.at("embedding"), Json(states[0]));
}

TEST(Encode, TakesPoolingOfTheRequestBeforeTheCommandLine) {
  const auto answers = ask("encode", fixture("plain"),
                           {{{"input_ids", {4, 5}}, {"pooling", "none"}},
                            {{"input_ids", {4, 5}}, {"pooling", "cls"}},
                            {{"input_ids", {4, 5}}, {"pooling", nullptr}},
                            {{"input_ids", {4, 5}}, {"pooling", "largest"}},
                            {{"input_ids", {4, 5}}, {"pooling", 1}}},
                           {"--pooling", "mean"}, some_failed);
  EXPECT_TRUE(answers[0].contains("last_hidden_state"));
  EXPECT_EQ(answers[1].at("embedding"), answers[0].at("last_hidden_state")[0]);
  EXPECT_TRUE(answers[2].contains("embedding"));
  EXPECT_NE(answers[2], answers[1]);
  for (std::size_t i : {3u, 4u}) EXPECT_EQ(error_type(answers[i]), "argument");
}

TEST(Encode, SaysOfEachFaultWhatKindItIs) {
  const std::vector<std::pair<std::string, Json>> cases = {
      {"argument", Json::object()},
      {"argument", {{"input_ids", Json::array()}}},
      {"argument", {{"input_ids", {60}}}},
      {"argument", {{"input_ids", std::vector<int>(33, 4)}}},
      {"tokenizer", {{"text", "there is no tokenizer"}}},
      {"shape", {{"input_ids", {4, 5}}, {"attention_mask", {1}}}},
  };
  std::vector<Json> requests;
  for (const auto& [type, request] : cases) requests.push_back(request);
  const auto answers = ask("encode", fixture("plain"), requests, {}, some_failed);
  for (std::size_t i = 0; i < cases.size(); ++i) EXPECT_EQ(error_type(answers[i]), cases[i].first) << requests[i];
}

TEST(Encode, TakesTexts) {
  const Json text = "It rained.";
  const auto ids = ask("tokenize", shipped(), {{{"text", text}}})[0].at("ids");
  const auto answers = ask("encode", shipped(), {{{"text", text}}, {{"input_ids", ids}}});
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_EQ(answers[0].at("last_hidden_state").size(), ids.size());
}

}  // namespace
}  // namespace bertgen::test
