#include <cmath>
#include <limits>

#include "cli/program.hpp"
#include "support/fixture.hpp"

namespace bertgen::test {
namespace {

/// log softmax(logits row)[label], from the oracle's logits of [batch, length, vocab].
double log_probability(const Tensor<double>& logits, std::size_t row, TokenId label) {
  const std::size_t vocab = logits.shape()[2];
  const double* scores = logits.data() + row * vocab;
  double sum = 0;
  for (std::size_t i = 0; i < vocab; ++i) sum += std::exp(scores[i]);
  return scores[static_cast<std::size_t>(label)] - std::log(sum);
}

class ScoreParity : public testing::TestWithParam<std::string> {};

TEST_P(ScoreParity, AnswersWhatTransformersAnswers) {
  const Fixture fixture(GetParam());
  const auto input_ids = fixture.rows<TokenId>("input_ids");
  if (!fixture.has("labels")) {  // there is no pad or start token to shift with
    const auto answers =
        ask("score", fixture.directory(), {{{"input_ids", input_ids[0]}, {"labels", {4, 5}}}}, {}, some_failed);
    EXPECT_EQ(error_type(answers[0]), "config");
    return;
  }
  const auto mask = fixture.rows<int>("attention_mask");
  const auto labels = fixture.rows<TokenId>("labels");
  std::vector<Json> requests;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    requests.push_back({{"id", i}, {"input_ids", input_ids[i]}, {"attention_mask", mask[i]}, {"labels", labels[i]}});
    if (fixture.has("token_type_ids")) requests[i]["token_type_ids"] = fixture.rows<TokenId>("token_type_ids")[i];
  }
  const auto answers = ask("score", fixture.directory(), requests);
  const Tensor<double> logits = fixture.tensor("label_logits");
  constexpr double tolerance = 1e-4;  // as in the library's own tests of these fixtures
  double all = 0;
  std::size_t counted = 0;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    SCOPED_TRACE(answers[i].dump());
    EXPECT_EQ(answers[i].at("id"), i);
    const auto got = answers[i].at("token_logprobs").get<std::vector<double>>();
    std::vector<double> expected;
    for (std::size_t t = 0; t < labels[i].size(); ++t) {
      if (labels[i][t] != -100) expected.push_back(log_probability(logits, i * labels[i].size() + t, labels[i][t]));
    }
    ASSERT_EQ(got.size(), expected.size());
    double sum = 0;
    for (std::size_t t = 0; t < got.size(); ++t) {
      EXPECT_NEAR(got[t], expected[t], tolerance);
      sum += got[t];
    }
    EXPECT_NEAR(answers[i].at("logprob").get<double>(), sum, tolerance);
    EXPECT_NEAR(answers[i].at("loss").get<double>(), -sum / static_cast<double>(got.size()), tolerance);
    all += sum;
    counted += got.size();
  }
  EXPECT_NEAR(-all / static_cast<double>(counted), fixture.tensor("loss")[0], tolerance);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ScoreParity, testing::ValuesIn(fixture_names("encoder-decoder")), test_name);

TEST(Score, IgnoresLabelsOfMinus100) {
  const auto answers = ask("score", fixture("plain"),
                           {{{"input_ids", {4, 5}}, {"labels", {7, 8}}},
                            {{"input_ids", {4, 5}}, {"labels", {7, 8, -100, -100}}},
                            {{"input_ids", {4, 5}}, {"labels", {-100, -100}}}});
  EXPECT_EQ(answers[0].at("token_logprobs").size(), 2u);
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_TRUE(answers[2].at("token_logprobs").empty());
  EXPECT_TRUE(answers[2].at("loss").is_null()) << "the mean of nothing, NaN in transformers";
}

TEST(Score, WritesMinusInfinityAsAFiniteNumber) {
  const TemporaryDirectory directory;
  const std::string model = copy_of("plain", directory);
  set_bias(directory, 7, -std::numeric_limits<float>::infinity());
  const auto answers = ask("score", model, {{{"input_ids", {4, 5}}, {"labels", {7}}}});
  EXPECT_EQ(answers[0].at("token_logprobs"), Json({-1e30}));
  EXPECT_EQ(answers[0].at("logprob"), -1e30);
  EXPECT_EQ(answers[0].at("loss"), 1e30);
}

TEST(Score, TakesTextsOrIds) {
  const Json source = "It rained. The match went on.";
  const Json target = "It rained, but the match went on.";
  const auto ids = ask("tokenize", shipped(), {{{"text", source}}, {{"text", target}}});
  const auto answers = ask("score", shipped(),
                           {{{"text", source}, {"target", target}},
                            {{"input_ids", ids[0].at("ids")}, {"labels", ids[1].at("ids")}},
                            {{"text", source}, {"labels", ids[1].at("ids")}, {"target", nullptr}}});
  EXPECT_EQ(answers[0].size(), 4u) << answers[0];
  EXPECT_EQ(answers[1], answers[0]);
  EXPECT_EQ(answers[2], answers[0]);
}

TEST(Score, SaysOfEachFaultWhatKindItIs) {
  const Json ids = {4, 5, 6};
  const std::vector<std::pair<std::string, Json>> cases = {
      {"argument", {{"input_ids", ids}}},
      {"argument", {{"labels", ids}}},
      {"argument", {{"input_ids", ids}, {"labels", ids}, {"target", "a"}}},
      {"argument", {{"input_ids", ids}, {"labels", Json::array()}}},
      {"argument", {{"input_ids", Json::array()}, {"labels", ids}}},
      {"argument", {{"input_ids", ids}, {"labels", {60}}}},
      {"argument", {{"input_ids", ids}, {"labels", {-1}}}},
      {"argument", {{"input_ids", ids}, {"labels", {1.0}}}},
      {"argument", {{"input_ids", ids}, {"labels", {18446744073709551516u}}}},  // 2^64 − 100
      {"argument", {{"input_ids", ids}, {"labels", std::vector<int>(33, 4)}}},
      {"tokenizer", {{"input_ids", ids}, {"target", "there is no tokenizer"}}},
      {"shape", {{"input_ids", ids}, {"labels", ids}, {"attention_mask", {1, 1}}}},
  };
  std::vector<Json> requests;
  for (const auto& [type, request] : cases) requests.push_back(request);
  const auto answers = ask("score", fixture("plain"), requests, {}, some_failed);
  for (std::size_t i = 0; i < cases.size(); ++i) EXPECT_EQ(error_type(answers[i]), cases[i].first) << requests[i];
}

TEST(Score, AnswersTheSameInAnyBatchOnAnyNumberOfThreads) {
  std::vector<Json> requests;
  for (std::size_t i = 0; i < 20; ++i)
    requests.push_back({{"input_ids", {4, i, 6}}, {"labels", std::vector<std::size_t>(1 + i % 7, i)}});
  const auto expected = ask("score", fixture("plain"), requests);
  for (const char* batch_size : {"1", "3"}) {
    EXPECT_EQ(ask("score", fixture("plain"), requests, {"--batch-size", batch_size, "--threads", "2"}), expected);
  }
}

}  // namespace
}  // namespace bertgen::test
