// Group and constrained beam search. What they answer is compared with transformers' in combinations_test.cpp.
#include <cmath>
#include <functional>
#include <set>

#include "bertgen/generation/constrained_beam_search.hpp"
#include "bertgen/generation/generate.hpp"
#include "bertgen/generation/group_beam_search.hpp"
#include "support/checkpoint.hpp"
#include "support/errors.hpp"
#include "support/numbers.hpp"

namespace bertgen {
namespace {

/// Log-probabilities of the token behind a prefix.
using Scores = std::function<std::vector<double>(const TokenIds&)>;

/// Runs the search of one item on scores from a function instead of a model. Rows are followed as the decoder would.
template <typename Search>
std::vector<GeneratedSequence> run(Search search, const TokenIds& prompt, const Scores& scores,
                                   const LogitsProcessors<double>& processors = {}) {
  // The scores are log-probabilities already, of which log_softmax would make the same ones.
  const ScoreRules<double> rules(processors, ScoreRules<double>::Of::logits);
  std::vector<TokenIds> rows = {prompt};
  std::vector<Continuation> next;
  while (!rows.empty()) {
    std::vector<double> table;
    for (const TokenIds& row : rows) {
      const std::vector<double> own = scores(row);
      table.insert(table.end(), own.begin(), own.end());
    }
    Tensor<double> logits({rows.size(), table.size() / rows.size()}, table);
    search.step(logits, rules, next);
    std::vector<TokenIds> following;
    for (const Continuation& continuation : next) {
      following.push_back(rows[continuation.row]);
      following.back().push_back(continuation.token);
    }
    rows = std::move(following);
  }
  return search.result();
}

TEST(GroupBeamItemTest, LaterGroupAvoidsWhatEarlierOnesChose) {
  const GenerationItem item{{}, {2}, 3};
  const BeamSettings settings{.num_beams = 2, .num_return_sequences = 2, .length_penalty = 0, .num_beam_groups = 2};
  const StoppingCriteria stopping;
  const Scores scores = [](const TokenIds&) { return std::vector<double>{-1, -1.2, -1.5, -9}; };
  LogitsProcessors<double> rules = {std::make_shared<processors::HammingDiversity<double>>(0.25)};
  const auto sequences = run(GroupBeamItem<double>({&item}, settings, stopping, 0), {2}, scores, rules);
  // Group 1: 0 at -1 becomes -1.25, behind 1 at -1.2.
  EXPECT_EQ(sequences[0].ids, (TokenIds{2, 0, 0}));
  EXPECT_EQ(sequences[1].ids, (TokenIds{2, 1, 1}));
  EXPECT_NEAR(sequences[1].score, -2.4, 1e-12);
  EXPECT_EQ(sequences[1].beam_indices, (std::vector<std::size_t>{1, 1}));
}

/// Bans token 1 for later groups, and remembers what earlier ones chose.
class Listen final : public LogitsProcessor<double> {
 public:
  explicit Listen(std::vector<TokenIds>& heard) : heard_(heard) {}
  void process(const LogitsContext& context, std::span<double> scores) const override {
    if (context.earlier_groups.empty()) return;
    heard_.emplace_back(context.earlier_groups.begin(), context.earlier_groups.end());
    scores[1] = processors::banned<double>;
  }

 private:
  std::vector<TokenIds>& heard_;
};

TEST(GroupBeamItemTest, GroupThatIsDoneCountsAsChoosingPadding) {
  const GenerationItem item{{}, {2}, 5};
  const BeamSettings settings{.num_beams = 4, .num_return_sequences = 4, .length_penalty = 0, .num_beam_groups = 2};
  const StoppingCriteria stopping({1});
  // Group 0 has two hypotheses after two steps, ending at once and behind 0, and after three nothing that beats them.
  const Scores scores = [](const TokenIds& ids) {
    return ids.size() == 1 ? std::vector<double>{-1, -1.5, -9, -2} : std::vector<double>{-8, -0.1, -9, -9};
  };
  std::vector<TokenIds> heard;
  const auto sequences =
      run(GroupBeamItem<double>({&item}, settings, stopping, 3), {2}, scores, {std::make_shared<Listen>(heard)});
  ASSERT_EQ(heard.size(), 7u);  // the first step's beams are one
  EXPECT_EQ(heard[0], (TokenIds{0, 3}));
  EXPECT_NE(heard[4], (TokenIds{3, 3}));
  EXPECT_EQ(heard[5], (TokenIds{3, 3}));
  EXPECT_EQ(heard[6], (TokenIds{3, 3}));
  EXPECT_EQ(sequences[0].ids, (TokenIds{2, 0, 1}));
  EXPECT_EQ(sequences[1].ids, (TokenIds{2, 1}));
}

TEST(GroupBeamItemTest, WhateverEndTokenItHadTheFirstIsReturned) {
  const GenerationItem item{{}, {2}, 6};
  const BeamSettings settings{.num_beams = 2, .length_penalty = 0, .num_beam_groups = 2};
  const StoppingCriteria stopping({1, 3});
  const Scores scores = [](const TokenIds&) { return std::vector<double>{-5, -9, -9, -1}; };
  const auto sequences = run(GroupBeamItem<double>({&item}, settings, stopping, 0), {2}, scores);
  EXPECT_EQ(sequences[0].ids, (TokenIds{2, 1}));
  EXPECT_EQ(sequences[0].token_log_probs, std::vector<double>{-1});
}

std::vector<GeneratedSequence> run_constrained(const BeamSettings& settings, const TokenIds& eos,
                                               const std::vector<ForcedWord>& words, std::size_t max_length,
                                               const Scores& scores) {
  const GenerationItem item{{}, {2}, max_length};
  const StoppingCriteria stopping(eos);
  return run(ConstrainedBeamItem<double>({&item}, settings, stopping, words), {2}, scores);
}

TEST(ConstrainedBeamItemTest, ALeadOfOneBankIsWorthAHundred) {
  // 3 is forced; at -90 it is taken before 0, at -110 behind it, and then there is room for the best of each run only.
  for (const double forced : {-90.0, -110.0}) {
    const Scores scores = [forced](const TokenIds&) { return std::vector<double>{-1, -2, -9, forced}; };
    const auto sequences =
        run_constrained({.num_beams = 2, .num_return_sequences = 2, .length_penalty = 0}, {}, {{{3, 3}}}, 2, scores);
    EXPECT_EQ(sequences[0].ids, (TokenIds{2, 0})) << forced;
    EXPECT_EQ(sequences[1].ids, (TokenIds{2, 3})) << forced;
  }
  const Scores both = [](const TokenIds&) { return std::vector<double>{-1, -120, -9, -110}; };
  const auto sequences =
      run_constrained({.num_beams = 2, .num_return_sequences = 2, .length_penalty = 0}, {}, {{{3, 0}}, {{1}}}, 2, both);
  // Ranks: 1 (bank 2) 80, 0 (bank 0) -1, 2 (bank 0) -9, 3 (bank 1) -10. The first of the run behind 1 is 0, not 3.
  EXPECT_EQ(sequences[0].ids, (TokenIds{2, 0}));
  EXPECT_EQ(sequences[1].ids, (TokenIds{2, 1}));
}

TEST(ConstrainedBeamItemTest, EndsWhereAllBeamsSayAnEndTokenThatIsPartOfAWord) {
  // The beams are 3 0 1, which has both words, and 2 0 1, which has one and is best of its bank.
  const Scores scores = [](const TokenIds& ids) {
    std::vector<double> row(4, -200);
    if (ids.size() == 1) row[3] = -1, row[2] = -1.5;
    if (ids.size() == 2) row[0] = -1;
    if (ids.size() == 3) row[1] = -1;
    return row;
  };
  const auto sequences = run_constrained({.num_beams = 2, .length_penalty = 0}, {1}, {{{0, 1}}, {{3}}}, 30, scores);
  EXPECT_EQ(sequences[0].steps, 3u);
  EXPECT_EQ(sequences[0].ids, (TokenIds{2, 3, 0, 1, 1}));  // as transformers has it: the word's end token, and the end
}

TEST(ConstrainedBeamItemTest, HypothesesWithoutTheWordsAreNotAccepted) {
  // Ending at once is the best but for the word.
  const Scores scores = [](const TokenIds&) { return std::vector<double>{-3, -0.1, -9, -4}; };
  const auto sequences = run_constrained({.num_beams = 2, .length_penalty = 0}, {1}, {{{3}}}, 6, scores);
  EXPECT_EQ(sequences[0].ids, (TokenIds{2, 3, 1}));
}

TEST(ConstrainedBeamItemTest, WithoutRoomForTheWordsTheBestIsReturned) {
  const Scores scores = [](const TokenIds&) { return std::vector<double>{-1, -9, -9, -2}; };
  const auto sequences =
      run_constrained({.num_beams = 2, .num_return_sequences = 2, .length_penalty = 0}, {1}, {{{3, 0, 3}}}, 3, scores);
  // 3 0 is two tokens of the word, 0 3 one; 0 0, which is more likely, has no place beside them.
  EXPECT_EQ(sequences[0].ids, (TokenIds{2, 0, 3}));
  EXPECT_EQ(sequences[1].ids, (TokenIds{2, 3, 0}));
}

class BeamModesTest : public testing::Test {
 protected:
  std::vector<GeneratedSequence> generate(const std::vector<TokenIds>& sources) {
    Workspace workspace(1);
    return bertgen::generate<double>(model_, {.input_ids = sources}, config_, workspace).sequences;
  }
  void expect_no_dependence_on_mates() {
    const std::vector<TokenIds> sources = {{3, 4, 5, 6}, {7}, {8, 9, 10}};
    const auto together = generate(sources);
    const std::size_t each = *config_.num_return_sequences;
    ASSERT_EQ(together.size(), 3 * each);
    for (std::size_t s = 0; s < sources.size(); ++s) {
      const auto alone = generate({sources[s]});
      for (std::size_t i = 0; i < each; ++i) {
        EXPECT_EQ(together[s * each + i].ids, alone[i].ids) << s;
        EXPECT_EQ(together[s * each + i].steps, alone[i].steps) << s;
        EXPECT_EQ(together[s * each + i].beam_indices[0], alone[i].beam_indices[0] + s * *config_.num_beams);
      }
    }
  }

  BasicEncoderDecoderModel<double> model_ = test::make_model<double>();
  GenerationConfig config_ = [this] {
    GenerationConfig config = model_.generation_config();
    config.max_length = 10;
    config.num_beams = 4;
    config.num_return_sequences = 4;
    return config;
  }();
};

TEST_F(BeamModesTest, GroupsDoNotDependOnOtherRows) {
  config_.num_beam_groups = 2;
  config_.diversity_penalty = 0.5;
  expect_no_dependence_on_mates();
}

TEST_F(BeamModesTest, GroupsAreMoreDiverse) {
  const auto distinct = [this] {
    std::set<TokenId> first;
    for (const auto& sequence : generate({{3, 4, 5}})) first.insert(sequence.ids[1]);
    return first.size();
  };
  const std::size_t before = distinct();
  config_.num_beam_groups = 4;
  config_.diversity_penalty = 20;
  EXPECT_EQ(distinct(), 4u);
  EXPECT_LT(before, 4u);
}

TEST_F(BeamModesTest, ScoreIsThatOfTheTokensInEveryMode) {
  const auto check = [this] {
    for (const GeneratedSequence& sequence : generate({{3, 4, 5}, {6}})) {
      double sum = 0;
      for (double log_prob : sequence.token_log_probs) sum += log_prob;
      EXPECT_NEAR(sequence.score, sum / static_cast<double>(sequence.token_log_probs.size()), 1e-12);
      EXPECT_EQ(sequence.ids.size(), 1 + sequence.token_log_probs.size());
    }
  };
  config_.num_beam_groups = 2;
  config_.diversity_penalty = 0.5;
  check();
  config_.num_beam_groups = 1;
  config_.diversity_penalty = 0;
  config_.force_words_ids = {{{7}}, {{9, 8}, {4}}};
  check();
}

TEST_F(BeamModesTest, ConstrainedAnswersHaveTheWords) {
  config_.force_words_ids = {{{7, 7, 9}}, {{12, 8}, {4}}};
  config_.num_return_sequences = 1;
  for (const auto& sequence : generate({{3, 4, 5}, {6}, {8, 8}})) {
    EXPECT_TRUE(ConstraintState(*config_.force_words_ids, sequence.ids).completed());
  }
}

TEST_F(BeamModesTest, ConstrainedSearchDoesNotDependOnOtherRows) {
  config_.force_words_ids = {{{7}}, {{9, 8}, {4}}};
  expect_no_dependence_on_mates();
}

TEST_F(BeamModesTest, RefuseIdsOutsideTheVocabulary) {
  config_.force_words_ids = {{{7}, {3, 19}}};
  test::expect_error<ArgumentError>([this] { generate({{3}}); }, {"force_words_ids: expected ids of 0 to 18, got 19"});
}

TEST_F(BeamModesTest, NeedAsManyTokensAsCandidates) {
  config_.eos_token_id = TokenIds(19, 1);
  config_.num_beam_groups = 2;
  config_.diversity_penalty = 1;
  test::expect_error<ArgumentError>([this] { generate({{3}}); }, {"expected at most 19 candidates a beam", "got 20"});
}

}  // namespace
}  // namespace bertgen
