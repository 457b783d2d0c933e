#include <algorithm>
#include <set>

#include "cli/program.hpp"

namespace bertgen::test {
namespace {

Result bench(const Arguments& more, const Surroundings& surroundings = {}) {
  Arguments arguments = {"bench", "--model", fixture("plain"), "--source-length", "5", "--new-tokens", "4"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run(arguments, "", surroundings);
}

TEST(Bench, PrintsOneObjectWithAllKeys) {
  const Result result = bench({"--batch-size", "2", "--num-beams", "2", "--threads", "1", "--dtype", "f32", "--repeat",
                               "3", "--warmup", "0", "--json"});
  ASSERT_EQ(result.status, all_answered) << result.err;
  const auto answers = answers_of(result);
  ASSERT_EQ(answers.size(), 1u);
  std::set<std::string> keys;
  for (const auto& [key, value] : answers[0].items()) keys.insert(key);
  EXPECT_EQ(keys, (std::set<std::string>{"seconds", "seconds_all", "tokens_per_second", "encode_seconds",
                                         "step_seconds", "load_seconds", "peak_rss_bytes", "weights_bytes", "threads",
                                         "dtype", "compute_dtype", "isa"}));
  auto all = answers[0].at("seconds_all").get<std::vector<double>>();
  ASSERT_EQ(all.size(), 3u);
  std::sort(all.begin(), all.end());
  const double seconds = answers[0].at("seconds");
  EXPECT_DOUBLE_EQ(seconds, all[1]);
  EXPECT_DOUBLE_EQ(answers[0].at("tokens_per_second"), 2 * 4 / seconds);
  for (const char* key : {"encode_seconds", "step_seconds", "load_seconds"}) {
    EXPECT_GT(answers[0].at(key).get<double>(), 0) << key;
    EXPECT_LT(answers[0].at(key).get<double>(), 60) << key;
  }
  EXPECT_GT(answers[0].at("peak_rss_bytes"), answers[0].at("weights_bytes"));
  EXPECT_GT(answers[0].at("weights_bytes"), 0);
  EXPECT_EQ(answers[0].at("threads"), 1);
  EXPECT_EQ(answers[0].at("dtype"), "f32");
  EXPECT_EQ(answers[0].at("compute_dtype"), "f32");
}

TEST(Bench, SaysWhatTypeItComputesIn) {
  const auto type_of = [](const char* dtype, const char* isa) {
    const Result result = bench({"--dtype", dtype, "--repeat", "1", "--warmup", "0", "--json"},
                                {.environment = {{"BERTGEN_FORCE_ISA", isa}}});
    if (result.status != all_answered) throw std::runtime_error(result.err);
    const Json answer = answers_of(result).at(0);
    return std::pair(answer.at("compute_dtype"), answer.at("dtype"));
  };
  EXPECT_EQ(type_of("auto", "sse4"), std::pair(Json("f32"), Json("auto")));
  EXPECT_EQ(type_of("f16", "sse4"), std::pair(Json("f32"), Json("f16")));
  EXPECT_EQ(type_of("int8", "sse4"), std::pair(Json("int8"), Json("int8")));
  EXPECT_EQ(type_of("bf16", "sse4"), std::pair(Json("bf16"), Json("bf16")));
}

TEST(Bench, PrintsTheSameForReading) {
  const Result result = bench({"--repeat", "1", "--warmup", "0"});
  EXPECT_EQ(result.status, all_answered) << result.err;
  EXPECT_EQ(lines_of(result.out).size(), 12u) << result.out;
}

TEST(Bench, GeneratesAsManyTokensAsAsked) {
  // The decoder has 32 positions and does not read the last token back, so 33 new tokens have no place.
  const auto run_of = [](const char* tokens) {
    return run({"bench", "--model", fixture("plain"), "--source-length", "5", "--new-tokens", tokens, "--repeat", "1",
                "--warmup", "0", "--json"});
  };
  EXPECT_EQ(run_of("32").status, all_answered);
  expect_could_not_run(run_of("33"), {"max_position_embeddings"});
}

TEST(Bench, SuppressesTheEndTokenUntilThen) {
  const TemporaryDirectory directory;
  const std::string model = copy_of("plain", directory);
  set_bias(directory, 1, 1e4F);  // the end token, which would win every step
  // On one thread: two that wait for each other on a busy machine make any time of the two below.
  const Result result =
      run({"bench", "--model", model, "--source-length", "5", "--new-tokens", "32", "--threads", "1", "--json"});
  ASSERT_EQ(result.status, all_answered) << result.err;
  const Json answer = answers_of(result)[0];
  // 31 steps after the first; were it not suppressed there would be none.
  EXPECT_GT(answer.at("seconds").get<double>(), 8 * answer.at("step_seconds").get<double>());
}

TEST(Bench, SaysWhichInstructionSetRan) {
  for (const char* isa : {"portable", "neon", "sse4", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"}) {
    const Result result =
        bench({"--repeat", "1", "--warmup", "0", "--json"}, {.environment = {{"BERTGEN_FORCE_ISA", isa}}});
    if (result.status == could_not_run) continue;  // this CPU has no such set
    EXPECT_EQ(answers_of(result)[0].at("isa"), isa);
  }
}

}  // namespace
}  // namespace bertgen::test
