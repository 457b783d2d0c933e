#include <numeric>
#include <optional>

#include "cli/program.hpp"
#include "support/fixture.hpp"

namespace bertgen::test {
namespace {

/// One request for each row of a call of transformers, and what that row's sequences and scores are.
struct Call {
  std::vector<Json> requests;
  std::vector<Json> expected;  ///< [{"ids", "score"}, …] a request
};

void add_rows(const Json& entry, Call& call) {
  const std::size_t rows = entry.at("input_ids").size();
  const std::size_t each = entry.at("sequences").size() / rows;
  for (std::size_t row = 0; row < rows; ++row) {
    Json request = {{"id", entry.at("name").get<std::string>() + "#" + std::to_string(row)},
                    {"generation", entry.at("generation")}};
    for (const char* key : {"input_ids", "attention_mask", "decoder_input_ids"}) {
      request[key] = entry.at(key).is_null() ? Json() : entry.at(key)[row];
    }
    // transformers looks at all rows before it prepends the start token; a request stands for itself.
    if (entry.at("name") == "prompt/mixed" && request["decoder_input_ids"][0] != entry["decoder_input_ids"][0][0]) {
      continue;
    }
    Json sequences = Json::array();
    for (std::size_t i = row * each; i < (row + 1) * each; ++i) {
      sequences.push_back({{"ids", entry.at("sequences")[i]}, {"score", entry.at("scores")[i]}});
    }
    call.requests.push_back(std::move(request));
    call.expected.push_back(std::move(sequences));
  }
}

class GenerateParity : public testing::TestWithParam<std::string> {};

/// Asks a checkpoint, in one of its layouts, for everything that transformers was asked.
void expect_parity(const Fixture& fixture, const std::string& layout = "") {
  Call call;
  for (const Json& entry : fixture.expected().at("generate")) add_rows(entry, call);
  const auto answers = ask("generate", fixture.directory() / layout, call.requests);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    SCOPED_TRACE(layout + call.requests[i].dump());
    ASSERT_TRUE(answers[i].contains("sequences")) << answers[i];
    EXPECT_EQ(answers[i].at("id"), call.requests[i].at("id"));
    EXPECT_EQ(answers[i].size(), 2u);
    ASSERT_EQ(answers[i]["sequences"].size(), call.expected[i].size());
    for (std::size_t s = 0; s < call.expected[i].size(); ++s) {
      const Json& sequence = answers[i]["sequences"][s];
      EXPECT_EQ(sequence.at("ids"), call.expected[i][s]["ids"]);
      EXPECT_NEAR(sequence.at("score").get<double>(), call.expected[i][s]["score"].get<double>(), 1e-4);
      EXPECT_FALSE(sequence.contains("text")) << "there is no tokenizer";
    }
  }
}

TEST_P(GenerateParity, AnswersWhatTransformersAnswers) { expect_parity(Fixture(GetParam())); }

TEST_P(GenerateParity, EveryLayoutOfItsFilesAnswersAlike) {
  const Fixture fixture(GetParam());
  std::size_t layouts = 0;
  for (const auto& entry : std::filesystem::directory_iterator(fixture.directory())) {
    if (!entry.is_directory()) continue;
    expect_parity(fixture, entry.path().filename().string());
    ++layouts;
  }
  EXPECT_EQ(layouts, GetParam().rfind("pair-", 0) == 0 ? 6u : 0u);
}

TEST_P(GenerateParity, RefusesWhatTransformersRefuses) {
  const Fixture fixture(GetParam());
  std::vector<Json> requests;
  for (const Json& entry : fixture.expected().at("errors")) {
    requests.push_back({{"id", entry.at("name")}, {"input_ids", {5, 6}}, {"generation", entry.at("generation")}});
  }
  for (const Json& answer : ask("generate", fixture.directory(), requests, {}, some_failed)) {
    const std::string type = error_type(answer);
    EXPECT_TRUE(type == "config" || type == "argument") << answer;
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, GenerateParity, testing::ValuesIn(fixture_names("encoder-decoder")), test_name);

Arguments with(Arguments arguments, const Arguments& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

/// Requests of several lengths and options, and faults among them if asked for.
std::vector<Json> mixed_requests(bool faults) {
  std::vector<Json> requests;
  const Fixture fixture("plain");
  for (const Json& entry : fixture.expected().at("generate")) {
    const Json& ids = entry.at("input_ids")[0];
    requests.push_back({{"id", requests.size()}, {"input_ids", ids}, {"generation", entry.at("generation")}});
    requests.push_back({{"id", requests.size()}, {"input_ids", Json(ids.begin(), ids.begin() + 3)}});
    if (faults) requests.push_back({{"id", requests.size()}, {"input_ids", {4, 1'000'000}}});
  }
  return requests;
}

/// Expects the same answers to mixed_requests() whatever is computed together. With a fault in it a batch is computed
/// one by one, so both kinds are asked. Seen to fail with attention that is scaled by the number of threads, or of
/// rows.
void expect_same_in_any_batch(const Arguments& options) {
  for (bool faults : {false, true}) {
    const std::string input = lines(mixed_requests(faults));
    std::optional<Result> expected;
    for (const char* batch_size : {"1", "3", "16", "1000"}) {
      for (const char* threads : {"1", "2"}) {
        const Result result = run(
            with({"generate", "--model", fixture("plain"), "--jsonl", "--batch-size", batch_size, "--threads", threads},
                 options),
            input);
        if (!expected) expected = result;
        EXPECT_EQ(result.status, expected->status) << result.err;
        EXPECT_EQ(result.out, expected->out) << batch_size << " requests a batch, " << threads << " threads";
      }
    }
    EXPECT_EQ(lines_of(expected->out).size(), mixed_requests(faults).size());
  }
}

TEST(Generate, AnswersTheSameInAnyBatchOnAnyNumberOfThreads) { expect_same_in_any_batch({}); }

TEST(Generate, SamplesTheSameInAnyBatchOnAnyNumberOfThreads) {
  expect_same_in_any_batch({"--do-sample", "true", "--temperature", "2", "--seed", "9"});
}

TEST(Generate, SamplesAnewForEachRequestAndSeed) {
  const std::vector<Json> requests(2, {{"input_ids", {4, 5, 6}}, {"generation", {{"do_sample", true}}}});
  const auto answers = ask("generate", fixture("plain"), requests, {"--temperature", "2"});
  EXPECT_NE(answers[0], answers[1]);
  EXPECT_EQ(ask("generate", fixture("plain"), requests, {"--temperature", "2"}), answers);
  EXPECT_NE(ask("generate", fixture("plain"), requests, {"--temperature", "2", "--seed", "1"}), answers);
}

TEST(Generate, TakesOptionsOfTheRequestBeforeTheCommandLineBeforeTheCheckpoint) {
  // Without an end token a sequence is as long as it may be. The checkpoint says max_length 12.
  const auto length = [](const Arguments& options, const Json& generation) {
    const auto answers = ask("generate", fixture("plain"), {{{"input_ids", {4, 5}}, {"generation", generation}}},
                             with({"--eos-token-id", "null"}, options));
    return answers[0].at("sequences")[0].at("ids").size();
  };
  EXPECT_EQ(length({}, nullptr), 12u);
  EXPECT_EQ(length({"--max-length", "6"}, nullptr), 6u);
  EXPECT_EQ(length({"--max-length", "6"}, {{"max_length", 4}}), 4u);
  EXPECT_EQ(length({"--max-length", "6"}, {{"max_length", nullptr}}), 21u) << "the start token and transformers' 20";
  EXPECT_EQ(length({}, {{"max_new_tokens", 3}}), 4u);
  EXPECT_EQ(length({"--max-new-tokens", "3"}, {{"max_length", 9}}), 4u) << "max_new_tokens wins, as in transformers";
}

TEST(Generate, KnowsOptionsInKebabCase) {
  const std::vector<Json> requests = {{{"input_ids", {4, 5, 6}}}};
  const std::vector<std::pair<Arguments, Json>> cases = {
      {{"--num-beams", "3", "--num-return-sequences", "2"}, {{"num_beams", 3}, {"num_return_sequences", 2}}},
      {{"--num-beams", "2", "--early-stopping", "never"}, {{"num_beams", 2}, {"early_stopping", "never"}}},
      {{"--num-beams=2", "--early-stopping=true"}, {{"num_beams", 2}, {"early_stopping", true}}},
      {{"--no-repeat-ngram-size", "1"}, {{"no_repeat_ngram_size", 1}}},
      {{"--bad-words-ids", "[[59], [38, 49]]"}, {{"bad_words_ids", {{59}, {38, 49}}}}},
      {{"--suppress-tokens", "[59]"}, {{"suppress_tokens", {59}}}},
      {{"--repetition-penalty", "1.5", "--min-length", "5"}, {{"repetition_penalty", 1.5}, {"min_length", 5}}},
  };
  for (const auto& [options, generation] : cases) {
    std::vector<Json> same = requests;
    same[0]["generation"] = generation;
    EXPECT_EQ(ask("generate", fixture("plain"), requests, options), ask("generate", fixture("plain"), same))
        << generation;
  }
}

TEST(Generate, SaysOfEachFaultWhatKindItIs) {
  const Json ids = {4, 5, 6};
  std::vector<std::pair<std::string, Json>> cases = {
      {"argument", Json::object()},
      {"argument", {{"text", "a"}, {"input_ids", ids}}},
      {"argument", {{"text", 1}}},
      {"argument", {{"text", Json::array({"a"})}}},
      {"tokenizer", {{"text", "there is no tokenizer"}}},
      {"argument", {{"input_ids", Json::array()}}},
      {"argument", {{"input_ids", ids}, {"attention_mask", {1, 1, 2}}}},
      {"argument", {{"input_ids", ids}, {"attention_mask", "111"}}},
      {"shape", {{"input_ids", ids}, {"attention_mask", {1, 1}}}},
      {"shape", {{"input_ids", ids}, {"attention_mask", Json::array()}}},
      {"argument", {{"input_ids", ids}, {"decoder_input_ids", {-1}}}},
      {"argument", {{"input_ids", ids}, {"decoder_input_ids", {60}}}},
      {"config", {{"input_ids", ids}, {"generation", Json::array()}}},
      {"config", {{"input_ids", ids}, {"generation", "greedy"}}},
      {"config", {{"input_ids", ids}, {"generation", {{"no_such_option", 1}}}}},
      {"config", {{"input_ids", ids}, {"generation", {{"num_beams", "4"}}}}},
      {"config", {{"input_ids", ids}, {"generation", {{"num_beams", 0}}}}},
      {"config", {{"input_ids", ids}, {"generation", {{"num_beams", -1}}}}},
      {"config", {{"input_ids", ids}, {"generation", {{"num_beams", 1.5}}}}},
      {"config",
       {{"input_ids", ids}, {"generation", {{"decoder_start_token_id", nullptr}, {"bos_token_id", nullptr}}}}},
      {"argument", {{"input_ids", ids}, {"generation", {{"decoder_start_token_id", 60}}}}},
      {"argument", {{"input_ids", ids}, {"generation", {{"max_new_tokens", 33}}}}},
      {"argument", {{"input_ids", ids}, {"generation", {{"max_length", 1}}}}},
      {"argument", {{"input_ids", std::vector<int>(33, 4)}}},
  };
  for (const Json& id : {Json(60), Json(-1), Json(1u << 31), Json(9223372036854775808u), Json(18446744073709551615u),
                         Json(3.0), Json(1e300), Json("3"), Json(true), Json(), Json::array({3})}) {
    cases.push_back({"argument", {{"input_ids", Json::array({4, id})}}});
  }
  for (const Json& list : {Json(4), Json("4"), Json(true), Json::object()}) {
    cases.push_back({"argument", {{"input_ids", list}}});
  }
  std::vector<Json> requests;
  for (const auto& [type, request] : cases) requests.push_back(request);
  requests.push_back({{"input_ids", ids}});
  const auto answers = ask("generate", fixture("plain"), requests, {}, some_failed);
  for (std::size_t i = 0; i < cases.size(); ++i) EXPECT_EQ(error_type(answers[i]), cases[i].first) << requests[i];
  EXPECT_EQ(error_type(answers.back()), "") << "the good request beside them";
}

TEST(Generate, RefusesStopStringsWithoutATokenizer) {
  const Json answer = ask("generate", data_directory() / "models" / "start-is-bos",
                          {{{"input_ids", {3}}, {"generation", {{"stop_strings", "x"}}}}}, {}, some_failed)[0];
  EXPECT_EQ(answer.at("error").at("type"), "config") << answer;
  EXPECT_NE(answer["error"].at("message").get<std::string>().find("token_text"), std::string::npos) << answer;
}

TEST(Generate, PutsTheGivenDecoderIdsFirst) {
  const auto answers = ask("generate", fixture("plain"),
                           {{{"input_ids", {4, 5}}, {"decoder_input_ids", {2, 7, 8}}},
                            {{"input_ids", {4, 5}}, {"decoder_input_ids", {7, 8}}},
                            {{"input_ids", {4, 5}}, {"decoder_input_ids", nullptr}}});
  for (std::size_t i : {0u, 1u}) {
    const Json ids = answers[i].at("sequences")[0].at("ids");
    EXPECT_EQ(Json(ids.begin(), ids.begin() + 3), Json({2, 7, 8})) << "the start token is added where it lacks";
  }
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_EQ(answers[2].at("sequences")[0].at("ids")[0], 2);
}

TEST(Generate, RefusesMoreBeamsThanMemoryHolds) {
  const Json many = {{"num_beams", 1'000'000'000}, {"num_return_sequences", 1'000'000'000}};
  const auto answers = ask("generate", shipped(), {{{"text", ""}, {"generation", many}}}, {}, some_failed);
  EXPECT_EQ(error_type(answers[0]), "config");
}

TEST(Generate, GivesNoScoreToATokenChosenWhereAllAreSuppressed) {
  Json all = Json::array();
  for (int id = 0; id < 60; ++id) all.push_back(id);
  const auto answers =
      ask("generate", fixture("plain"),
          {{{"input_ids", {5, 6, 7}}, {"generation", {{"max_new_tokens", 3}, {"suppress_tokens", all}}}},
           {{"input_ids", {5, 6, 7}}, {"generation", {{"max_new_tokens", 3}, {"begin_suppress_tokens", all}}}}});
  // transformers' compute_transition_scores gives NaN, and then for the second request numbers, whose sum is NaN too.
  EXPECT_EQ(answers[0].at("sequences")[0], (Json{{"ids", {2, 0, 0, 0}}, {"score", nullptr}}));
  EXPECT_EQ(answers[1].at("sequences")[0], (Json{{"ids", {2, 0, 38, 59}}, {"score", nullptr}}));
}

TEST(Generate, AnswersATextWithoutTokensWithTheStartAlone) {
  const Json two = {{"num_beams", 2}, {"num_return_sequences", 2}};
  const auto answers =
      ask("generate", shipped(), {{{"text", ""}}, {{"text", "  "}}, {{"text", ""}, {"generation", two}}});
  const Json sequence = {{"ids", {2}}, {"text", ""}, {"score", 0.0}};
  EXPECT_EQ(answers[0].at("sequences"), Json::array({sequence}));
  EXPECT_EQ(answers[1].at("sequences"), Json::array({sequence}));
  EXPECT_EQ(answers[2].at("sequences"), Json::array({sequence, sequence}));
}

TEST(Generate, DecodesWithoutSpecialTokens) {
  const auto sequence = ask("generate", shipped(), {{{"text", "It rained. The match went on."}}})[0]["sequences"][0];
  EXPECT_EQ(sequence.size(), 3u) << sequence;
  EXPECT_EQ(sequence.at("ids")[0], 2);
  EXPECT_LE(sequence.at("score").get<double>(), 0);
  const auto decoded = ask("detokenize", shipped(), {{{"ids", sequence.at("ids")}, {"skip_special_tokens", true}}});
  EXPECT_EQ(sequence.at("text"), decoded[0].at("text"));
  const auto ids = ask("tokenize", shipped(), {{{"text", "It rained. The match went on."}}})[0].at("ids");
  EXPECT_EQ(ask("generate", shipped(), {{{"input_ids", ids}}})[0]["sequences"][0], sequence)
      << "a text is its ids, without special tokens";
  EXPECT_EQ(run({"generate", "--model", shipped(), "It rained. The match went on."}).out,
            sequence.at("text").get<std::string>() + "\n");
}

TEST(Generate, GivesScoresOfTokensAndTheirBeams) {
  for (const std::size_t beams : {1u, 3u}) {
    const Json request = {{"input_ids", {4, 5, 6}},
                          {"generation", {{"output_scores", true}, {"num_beams", beams}, {"length_penalty", 0.0}}}};
    const Json sequence = ask("generate", fixture("plain"), {request})[0].at("sequences")[0];
    const auto scores = sequence.at("token_logprobs").get<std::vector<double>>();
    EXPECT_EQ(scores.size(), sequence.at("ids").size() - 1);
    EXPECT_NEAR(std::accumulate(scores.begin(), scores.end(), 0.0), sequence.at("score").get<double>(), 1e-4);
    EXPECT_GE(sequence.at("steps").get<std::size_t>(), scores.size());
    EXPECT_EQ(sequence.contains("beam_indices"), beams > 1);
    if (beams == 1) continue;
    EXPECT_EQ(sequence["beam_indices"].size(), scores.size());
    for (const Json& beam : sequence["beam_indices"]) EXPECT_LT(beam.get<std::size_t>(), beams);
  }
}

TEST(Generate, TakesGuessesOfAnAssistant) {
  const Json request = {{"input_ids", {4, 5, 6}}, {"generation", {{"output_scores", true}}}};
  const Json plain = ask("generate", fixture("plain"), {request})[0].at("sequences")[0];
  const Json guessed =
      ask("generate", fixture("plain"), {request}, {"--assistant-model", fixture("plain")})[0].at("sequences")[0];
  EXPECT_EQ(guessed.at("ids"), plain.at("ids"));
  EXPECT_LT(guessed.at("steps"), plain.at("steps"));
}

TEST(Generate, WarnsOfLogitsThatAnswersDoNotHave) {
  const Result result = run({"generate", "--model", fixture("plain"), "--jsonl"},
                            lines({{{"input_ids", {4}}, {"generation", {{"output_logits", true}}}}}));
  EXPECT_EQ(result.status, all_answered);
  EXPECT_NE(result.err.find("output_logits: has no effect here"), std::string::npos) << result.err;
}

TEST(Generate, WarnsOnceAndNotIfQuiet) {
  const Json request = {{"input_ids", {4}}, {"generation", {{"temperature", 0.5}}}};
  const std::string input = lines({request, request, request});
  const Result result = run({"generate", "--model", fixture("plain"), "--jsonl"}, input);
  EXPECT_EQ(result.status, all_answered);
  EXPECT_EQ(lines_of(result.err).size(), 1u) << result.err;
  const Result quiet = run({"generate", "--model", fixture("plain"), "--jsonl", "--quiet"}, input);
  EXPECT_EQ(quiet.err, "");
  EXPECT_EQ(quiet.out, result.out);
}

TEST(Generate, AnswersTheSameIdsOnEveryInstructionSet) {
  const Fixture fixture("plain");
  Call call;
  for (const Json& entry : fixture.expected().at("generate")) add_rows(entry, call);
  std::size_t ran = 0;
  for (const char* isa : {"portable", "neon", "sse4", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"}) {
    SCOPED_TRACE(isa);
    const Result result = run({"generate", "--model", fixture.directory(), "--jsonl"}, lines(call.requests),
                              {.environment = {{"BERTGEN_FORCE_ISA", isa}}});
    if (result.status == could_not_run) {  // this CPU has no such set
      expect_could_not_run(result, {"isa: expected", isa});
      continue;
    }
    ++ran;
    const auto answers = answers_of(result);
    ASSERT_EQ(answers.size(), call.expected.size());
    for (std::size_t i = 0; i < answers.size(); ++i) {
      for (std::size_t s = 0; s < call.expected[i].size(); ++s) {
        EXPECT_EQ(answers[i].at("sequences")[s].at("ids"), call.expected[i][s]["ids"]) << call.requests[i];
      }
    }
  }
  EXPECT_GE(ran, 1u);
}

}  // namespace
}  // namespace bertgen::test
