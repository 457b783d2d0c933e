#include "cli/program.hpp"

namespace bertgen::test {
namespace {

/// Pairs of sentences of several lengths, some without anything in them.
const std::vector<std::string>& texts() {
  static const std::vector<std::string> list = {"It rained. The match went on.",
                                                "",
                                                "She was born in Leeds. She moved to York in 1999.",
                                                "Word.",
                                                "   ",
                                                "Ängström (1814–1874) was a physicist. He was Swedish.",
                                                "The house is old. It was built by a merchant. It has a garden."};
  return list;
}

std::string input() {
  std::string text;
  for (const std::string& line : texts()) text += line + "\n";
  return text;
}

TEST(Fuse, AnswersOneLineForEachLineTheSameInAnyBatch) {
  const Result expected = run({"fuse"}, input());
  EXPECT_EQ(expected.status, all_answered) << expected.err;
  EXPECT_EQ(expected.err, "");
  const auto lines = lines_of(expected.out);
  ASSERT_EQ(lines.size(), texts().size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i].empty(), texts()[i].find_first_not_of(' ') == std::string::npos) << texts()[i];
  }
  for (const char* batch_size : {"1", "3", "16"}) {
    for (const char* threads : {"1", "2"}) {
      const Result result = run({"fuse", "--batch-size", batch_size, "--threads", threads}, input());
      EXPECT_EQ(result.out, expected.out) << batch_size << " texts a batch, " << threads << " threads";
    }
  }
  Arguments arguments = {"fuse", "--"};
  arguments.insert(arguments.end(), texts().begin(), texts().end());
  EXPECT_EQ(run(arguments).out, expected.out);
  EXPECT_EQ(run({"fuse", "--model", shipped()}, input()).out, expected.out);
}

TEST(Fuse, AnswersTheSameTextsInJsonLines) {
  std::vector<Json> requests;
  for (const std::string& text : texts()) requests.push_back({{"id", requests.size()}, {"text", text}});
  const auto answers = ask("fuse", shipped(), requests);
  std::string plain;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(answers[i].at("id"), i);
    ASSERT_EQ(answers[i].at("sequences").size(), 1u);
    plain += answers[i]["sequences"][0].at("text").get<std::string>() + "\n";
  }
  EXPECT_EQ(plain, run({"fuse"}, input()).out);
}

TEST(Fuse, TakesGenerationOptions) {
  const Result result = run({"fuse", "--max-new-tokens", "1", "--eos-token-id", "null", texts()[0]});
  EXPECT_EQ(result.status, all_answered) << result.err;
  const auto answers =
      ask("fuse", shipped(), {{{"text", texts()[0]}, {"generation", {{"num_beams", 2}, {"num_return_sequences", 2}}}}});
  EXPECT_EQ(answers[0].at("sequences").size(), 2u);
}

TEST(Fuse, EndsAtStopStringsAndWhenTimeIsUp) {
  const std::string whole = lines_of(run({"fuse", texts()[0]}).out).at(0);
  const std::size_t words = whole.find(' ', whole.find(' ') + 1);  // two of them
  ASSERT_NE(words, std::string::npos) << whole;
  const std::string stop = whole.substr(words - 2, 2);
  for (const std::string& option : {stop, Json({"no such text", stop}).dump()}) {
    const std::string cut = lines_of(run({"fuse", "--stop-strings", option, texts()[0]}).out).at(0);
    EXPECT_TRUE(whole.starts_with(cut)) << cut;
    EXPECT_LT(cut.size(), whole.size());
    EXPECT_NE(cut.find(stop), std::string::npos) << cut;
  }
  const auto answers = ask("fuse", shipped(), {{{"text", texts()[0]}, {"generation", {{"max_time", 0}}}}});
  EXPECT_EQ(answers[0].at("sequences")[0].at("ids").size(), 2u);  // the start, and one step
}

TEST(Fuse, AnswersTheOthersWhereALineIsTooLong) {
  std::string words;
  for (int i = 0; i < 10'000; ++i) words += "word ";
  const Result result = run({"fuse"}, texts()[0] + "\n" + words + "\n" + texts()[0] + "\n");
  EXPECT_EQ(result.status, some_failed);
  const auto lines = lines_of(result.out);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_NE(lines[0], "");
  EXPECT_EQ(lines[1], "");
  EXPECT_EQ(lines[2], lines[0]);
  EXPECT_EQ(lines_of(result.err).size(), 1u);
  EXPECT_NE(result.err.find("line 2: "), std::string::npos) << result.err;
}

TEST(Fuse, ReadsALongTextInWindowsWhereAskedTo) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "It rained on day " + std::to_string(i) + ". The match went on. ";
  const auto ask_with = [&](const Arguments& options, const Json& request) {
    Arguments arguments = {"fuse", "--jsonl"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    return Json::parse(run(arguments, request.dump() + "\n").out);
  };
  EXPECT_EQ(ask_with({}, {{"text", text}}).at("error").at("type"), "argument");

  const Json whole = ask_with({"--long-text", "windows"}, {{"text", text}});
  ASSERT_GT(whole.at("windows").size(), 1u) << whole;
  EXPECT_FALSE(whole.contains("cut"));
  std::string joined;
  std::size_t end = 0;
  for (const Json& window : whole["windows"]) {
    EXPECT_EQ(window.at(0), end);
    const std::string part = text.substr(end, window.at(1).get<std::size_t>() - end);
    end += part.size();
    joined += (joined.empty() ? "" : " ") + lines_of(run({"fuse", part}).out).at(0);
  }
  EXPECT_EQ(end, text.size());
  EXPECT_EQ(whole.at("sequences").at(0).at("text"), joined);
  const Json overlapping = ask_with({"--long-text", "windows", "--window-overlap", "9"}, {{"text", text}});
  EXPECT_EQ(overlapping.at("windows").at(0), whole["windows"][0]);
  EXPECT_LT(overlapping["windows"].at(1).at(0), whole["windows"][0][1]);

  const Json cut = ask_with({"--long-text", "truncate"}, {{"text", text}});
  EXPECT_EQ(cut.at("windows"), Json::array({whole["windows"][0]}));
  EXPECT_EQ(cut.at("cut"), Json::array({whole["windows"][0][1], text.size()}));
  const Result plain = run({"fuse", "--long-text", "truncate"}, "Word.\n" + text + "\n");
  EXPECT_EQ(plain.status, all_answered);
  EXPECT_EQ(lines_of(plain.out).at(1), cut.at("sequences").at(0).at("text"));
  EXPECT_NE(plain.err.find("warning: line 2: its bytes from "), std::string::npos) << plain.err;

  const Json ids(std::vector<int>(5000, 9));
  EXPECT_EQ(ask_with({"--long-text", "truncate"}, {{"input_ids", ids}}).at("error").at("type"), "argument");
}

TEST(Fuse, UsesTheCheckpointInstalledBesideIt) {
  const TemporaryDirectory directory;
  std::filesystem::create_directories(directory.path() / "bin");
  std::filesystem::create_directories(directory.path() / "share" / "bertgen" / "fuse-en");
  const auto program = directory.path() / "bin" / "bertgen";
  std::filesystem::copy_file(BERTGEN_PROGRAM, program);
  directory.write("share/bertgen/fuse-en/config.json", "broken");
  expect_could_not_run(run({"fuse", "text"}, "", {.program = program}), {"share/bertgen/fuse-en"});
  std::filesystem::remove_all(directory.path() / "share");
  EXPECT_EQ(run({"fuse", texts()[0]}, "", {.program = program}).out, run({"fuse", texts()[0]}).out);
}

}  // namespace
}  // namespace bertgen::test
