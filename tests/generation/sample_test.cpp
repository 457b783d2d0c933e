#include "bertgen/generation/sample.hpp"

#include <cmath>
#include <map>
#include <set>

#include "bertgen/generation/generate.hpp"
#include "support/checkpoint.hpp"
#include "support/errors.hpp"
#include "support/fixture.hpp"

namespace bertgen {
namespace {

TEST(PhiloxTest, GivesTheNumbersOfItsAuthors) {
  // The known answers that come with the authors' Random123.
  EXPECT_EQ(philox(0, {0, 0, 0, 0}), (std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(0xffffffffffffffff, {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}),
            (std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(RequestRandomTest, EachStepIndexRequestAndSeedHasItsOwnNumber) {
  std::set<double> seen;
  for (std::uint64_t seed : {0u, 1u}) {
    for (std::uint64_t request : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 32}) {
      for (std::size_t step : {0u, 1u}) {
        for (std::size_t index : {0u, 1u}) seen.insert(RequestRandom(seed, request).uniform(step, index));
      }
    }
  }
  EXPECT_EQ(seen.size(), 24u);
  EXPECT_LT(*seen.rbegin(), 1);
  EXPECT_GE(*seen.begin(), 0);
}

TEST(DrawTest, TakesTheTokenAtTheNumber) {
  const std::vector<double> scores = {std::log(0.25), std::log(0.5), -INFINITY, std::log(0.25)};
  EXPECT_EQ(draw<double>(scores, 0), 0u);
  EXPECT_EQ(draw<double>(scores, 0.2), 0u);
  EXPECT_EQ(draw<double>(scores, 0.3), 1u);
  EXPECT_EQ(draw<double>(scores, 0.74), 1u);
  EXPECT_EQ(draw<double>(scores, 0.76), 3u);
  EXPECT_EQ(draw<double>(scores, std::nextafter(1.0, 0.0)), 3u);
}

/// Chi-square over the cells that expect at least 5 draws, the rest as one.
double chi_square(const std::map<std::size_t, std::size_t>& counts, const std::vector<double>& probabilities,
                  std::size_t draws, std::size_t& cells) {
  double sum = 0;
  double rest_expected = 0;
  double rest_seen = 0;
  cells = 0;
  for (std::size_t i = 0; i < probabilities.size(); ++i) {
    const double expected = probabilities[i] * static_cast<double>(draws);
    const auto found = counts.find(i);
    const double seen = found == counts.end() ? 0 : static_cast<double>(found->second);
    EXPECT_TRUE(expected > 0 || seen == 0) << i;
    if (expected < 5) {
      rest_expected += expected;
      rest_seen += seen;
      continue;
    }
    sum += (seen - expected) * (seen - expected) / expected;
    ++cells;
  }
  if (rest_expected >= 5) {
    sum += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected;
    ++cells;
  }
  return sum;
}

/// The bound that a right sampler passes but one time in ten thousand (Wilson and Hilferty's cube).
double chi_square_limit(std::size_t cells) {
  const double degrees = static_cast<double>(cells) - 1;
  const double spread = 2 / (9 * degrees);
  return degrees * std::pow(1 - spread + 3.719 * std::sqrt(spread), 3);
}

class SampleTest : public testing::Test {
 protected:
  /// The processed probabilities of the first token, from a forward pass.
  std::vector<double> first_token(const TokenIds& source, const GenerationConfig& config) const {
    Workspace workspace(1);
    const auto output = model_.forward({.input_ids = {source}, .decoder_input_ids = {{2}}}, workspace);
    std::vector<double> scores(output.logits.data(), output.logits.data() + output.logits.size());
    const TokenIds ids = {2};
    for (const auto& rule : make_logits_processors<double>(config, *config.eos_token_id)) {
      rule->process({.ids = ids, .encoder_ids = source, .max_length = 20}, scores);
    }
    softmax<double>(scores);
    return scores;
  }
  BasicGenerateOutput<double> generate(const std::vector<TokenIds>& sources, const GenerationConfig& config,
                                       const std::vector<std::uint64_t>& requests = {}) const {
    Workspace workspace(1);
    GenerateInputs inputs;
    inputs.input_ids = sources;
    inputs.requests = requests;
    return bertgen::generate(model_, inputs, config, workspace);
  }
  GenerationConfig sampling() const {
    GenerationConfig config = model_.generation_config();
    config.do_sample = true;
    config.max_new_tokens = 6;
    return config;
  }

  const BasicEncoderDecoderModel<double> model_ = test::make_model<double>();
};

TEST_F(SampleTest, DrawsByTheProcessedProbabilities) {
  GenerationConfig config = sampling();
  config.max_new_tokens = 1;
  config.num_return_sequences = 1000;
  config.temperature = 0.5;
  config.top_k = 12;
  config.repetition_penalty = 1.3;
  const TokenIds source = {3, 4, 5};
  std::map<std::size_t, std::size_t> counts;
  for (std::uint64_t request = 0; request < 100; ++request) {
    for (const auto& sequence : generate({source}, config, {request}).sequences) {
      ++counts[static_cast<std::size_t>(sequence.ids.back())];
    }
  }
  std::size_t cells = 0;
  const double sum = chi_square(counts, first_token(source, config), 100000, cells);
  EXPECT_GE(cells, 8u);
  EXPECT_LT(sum, chi_square_limit(cells));
}

TEST_F(SampleTest, RequestHasTheSameAnswerInEveryBatch) {
  const GenerationConfig config = sampling();
  const auto together = generate({{3, 4}, {5, 6, 7}, {8}}, config, {10, 11, 12}).sequences;
  const auto alone = generate({{5, 6, 7}}, config, {11}).sequences;
  EXPECT_EQ(alone[0].ids, together[1].ids);
  EXPECT_NE(generate({{5, 6, 7}}, config, {12}).sequences[0].ids, alone[0].ids);
}

TEST_F(SampleTest, SeedChangesTheAnswerAndNothingElseDoes) {
  GenerationConfig config = sampling();
  const auto first = generate({{3, 4}}, config).sequences[0].ids;
  EXPECT_EQ(generate({{3, 4}}, config).sequences[0].ids, first);
  config.seed = 1;
  EXPECT_NE(generate({{3, 4}}, config).sequences[0].ids, first);
}

TEST_F(SampleTest, SequencesOfOneRequestAreIndependent) {
  GenerationConfig config = sampling();
  config.num_return_sequences = 5;
  const auto sequences = generate({{3, 4}, {5}}, config).sequences;
  ASSERT_EQ(sequences.size(), 10u);
  std::set<TokenIds> distinct;
  for (const auto& sequence : sequences) distinct.insert(sequence.ids);
  EXPECT_GT(distinct.size(), 6u);
  config.num_return_sequences = 2;  // the first ones do not depend on how many follow
  EXPECT_EQ(generate({{3, 4}, {5}}, config).sequences[1].ids, sequences[1].ids);
}

TEST_F(SampleTest, OneTokenLeftIsGreedySearch) {
  GenerationConfig config = sampling();
  config.top_k = 1;
  const auto sampled = generate({{3, 4}, {7, 8, 9}}, config).sequences;
  config.do_sample = false;
  const auto greedy = generate({{3, 4}, {7, 8, 9}}, config).sequences;
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(sampled[i].ids, greedy[i].ids);
  EXPECT_EQ(sampled[0].score, 0);  // all of the processed probability
}

TEST_F(SampleTest, NumbersOfRequestsMustBeOneARow) {
  test::expect_error<ShapeError>([this] { generate({{3}, {4}}, sampling(), {1}); }, {"requests: expected 2", "got 1"});
}

/// Beam search that draws its candidates.
class BeamSampleTest : public SampleTest {};

TEST_F(BeamSampleTest, DrawsPairsWithoutReplacement) {
  const std::vector<Beam<double>> beams = {{{2}}};
  const std::vector<double> probabilities = {0.5, 0.3, 0.15, 0.05};
  Tensor<double> scores({1, 4});
  for (std::size_t i = 0; i < 4; ++i) scores[i] = std::log(probabilities[i]);
  std::map<std::size_t, std::size_t> counts;
  for (std::uint64_t request = 0; request < 100000; ++request) {
    const auto drawn = drawn_candidates<double>(beams, scores, 2, RequestRandom(3, request), 0);
    ++counts[static_cast<std::size_t>(4 * drawn[0].token + drawn[1].token)];
  }
  std::vector<double> expected(16, 0);
  for (std::size_t i = 0; i < 4; ++i) {
    for (std::size_t j = 0; j < 4; ++j) {
      if (i != j) expected[4 * i + j] = probabilities[i] * probabilities[j] / (1 - probabilities[i]);
    }
  }
  std::size_t cells = 0;
  const double sum = chi_square(counts, expected, 100000, cells);
  EXPECT_EQ(cells, 12u);
  EXPECT_LT(sum, chi_square_limit(cells));
}

TEST_F(BeamSampleTest, GivesSequencesThatDoNotDependOnTheBatch) {
  GenerationConfig config = sampling();
  config.num_beams = 3;
  config.num_return_sequences = 3;
  const auto together = generate({{3, 4}, {5, 6, 7}}, config, {4, 5}).sequences;
  const auto alone = generate({{5, 6, 7}}, config, {5}).sequences;
  ASSERT_EQ(together.size(), 6u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(together[3 + i].ids, alone[i].ids);
    EXPECT_GE(alone[0].score, alone[i].score);
  }
}

TEST_F(BeamSampleTest, NeedsAsManyTokensAsAStepDraws) {
  GenerationConfig config = sampling();
  config.num_beams = 4;
  config.top_k = 2;
  test::expect_error<ArgumentError>([&] { generate({{3, 4}}, config); }, {"expected the cut-offs to leave 8", "got 2"});
}

}  // namespace
}  // namespace bertgen
