// Options and exit statuses: what is the same for all commands.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "cli/program.hpp"

namespace bertgen::test {
namespace {

const std::vector<std::string> commands = {"fuse",       "generate", "score", "encode",  "tokenize",
                                           "detokenize", "inspect",  "bench", "convert", "warm-start"};
/// Those that answer no requests.
const std::set<std::string> without_requests = {"inspect", "bench", "convert", "warm-start"};

TEST(Usage, HelpsEveryCommand) {
  const Result all = run({"--help"});
  EXPECT_EQ(all.status, all_answered);
  EXPECT_EQ(all.err, "");
  for (const std::string& command : commands) {
    EXPECT_NE(all.out.find(command), std::string::npos);
    const Result one = run({command, "--help"});
    EXPECT_EQ(one.status, all_answered);
    EXPECT_NE(one.out.find(command), std::string::npos);
    EXPECT_EQ(one.err, "");
  }
}

TEST(Usage, HasAManualPageOfAllCommandsAndOptions) {
  std::ifstream file(BERTGEN_SOURCE_DIR "/docs/bertgen.1");
  std::string page{std::istreambuf_iterator<char>(file), {}};
  page.erase(std::remove(page.begin(), page.end(), '\\'), page.end());  // hyphens are escaped there
  for (const std::string& command : commands) {
    EXPECT_NE(page.find(command), std::string::npos) << command;
    std::string help = run({command, "--help"}).out;
    help.erase(std::min(help.find("Generation options:"), help.size()));
    const std::regex option("--[a-z][a-z-]*");
    for (std::sregex_iterator found(help.begin(), help.end(), option), end; found != end; ++found) {
      EXPECT_NE(page.find(found->str()), std::string::npos) << command << " " << found->str();
    }
  }
}

TEST(Usage, SaysItsVersion) {
  const Result result = run({"--version"});
  EXPECT_EQ(result.status, all_answered);
  EXPECT_EQ(result.out.rfind("bertgen ", 0), 0u) << result.out;
  for (const std::string& command : commands) EXPECT_EQ(run({command, "--version"}).out, result.out) << command;
}

TEST(Usage, TakesTheSharedOptionsInEveryCommandWithRequests) {
  const TemporaryDirectory directory;
  const std::string input = directory.write("in", "");
  for (const std::string& command : commands) {
    if (without_requests.count(command) != 0) continue;
    for (const char* dtype : {"auto", "f32", "f16", "bf16", "int8"}) {
      const Result result = run({command, "--model", shipped(), "--input", input, "--output", "-", "--jsonl",
                                 "--batch-size", "4", "--threads", "2", "--dtype", dtype, "--quiet"});
      EXPECT_EQ(result.status, all_answered) << command << ": " << result.err;
      EXPECT_EQ(result.out + result.err, "");
    }
  }
}

TEST(Usage, RefusesWhatItDoesNotKnow) {
  const std::string model = fixture("plain");
  const std::vector<Arguments> wrong = {
      {},
      {"no-such-command"},
      {"--no-such-option"},
      {"generate"},
      {"generate", "--model"},
      {"generate", "--model", "", "text"},
      {"fuse", "--model", "", "text"},
      {"fuse", "--input", ""},
      {"fuse", "--output", "", "text"},
      {"generate", "--model", model, "--no-such-option"},
      {"generate", "--model", model, "-x"},
      {"generate", "--model", model, "--pooling", "mean"},
      {"score", "--model", model},
      {"encode", "--model", model},
      {"score", "--model", model, "text"},
      {"encode", "--model", model, "--jsonl", "--pooling", "largest"},
      {"generate", "--model", model, "--jsonl", "text"},
      {"tokenize"},
      {"inspect"},
      {"inspect", ""},
      {"inspect", model, model},
      {"convert"},
      {"convert", model},
      {"convert", model, ""},
      {"convert", "", "x"},
      {"convert", model, "x", "y"},
      {"convert", model, "x", "--dtype", "f64"},
      {"warm-start"},
      {"warm-start", "--encoder", model, "--decoder", model},
      {"warm-start", "--encoder", model, "x"},
      {"warm-start", "--decoder", model, "x"},
      {"warm-start", "--encoder", "", "--decoder", model, "x"},
      {"warm-start", "--encoder", model, "--decoder", model, ""},
      {"warm-start", "--encoder", model, "--decoder", model, "x", "--seed", "-1"},
      {"warm-start", "--encoder", model, "--decoder", model, "x", "--bos-token-id", "-1"},
      {"warm-start", "--encoder", model, "--decoder", model, "x", "--bos-token-id", "4294967296"},
      {"warm-start", "--encoder", model, "--decoder", model, "x", "--model-type", "gpt2"},
      {"warm-start", "--encoder", model, "--decoder", model, "x", "--dtype", "f64"},
      {"bench"},
      {"bench", "--model", model, "text"},
      {"bench", "--model", model, "--new-tokens", "0"},
      {"bench", "--model", model, "--repeat", "0"},
      {"bench", "--model", model, "--num-beams", "65537"},
  };
  for (const Arguments& arguments : wrong) {
    const Result result = run(arguments);
    EXPECT_EQ(result.status, wrong_usage) << Json(arguments);
    EXPECT_EQ(result.out, "") << Json(arguments);
    EXPECT_NE(result.err, "") << Json(arguments);
  }
}

TEST(Usage, RefusesValuesThatMakeNoSense) {
  const std::vector<std::pair<const char*, std::vector<const char*>>> wrong = {
      {"--batch-size", {"0", "-1", "1.5", "1e3", "many", "", "99999999999999999999"}},
      {"--threads", {"0", "-1", "1.5", "all", "", "99999999999999999999"}},
      {"--dtype", {"f64", "", "i8"}},
      {"--add-special-tokens", {"perhaps", ""}},
      {"--num-beams", {"0", "-1", "1.5", "many", "", "[]", "65537", "99999999999999999999", "\xff"}},
      {"--max-new-tokens", {"0", "-1", "many"}},
      {"--num-return-sequences", {"0", "2"}},
      {"--early-stopping", {"sometimes", "1"}},
      {"--length-penalty", {"long", "1e999"}},
      {"--repetition-penalty", {"0", "-1"}},
      {"--eos-token-id", {"-1", "end", "[1.5]"}},
      {"--bad-words-ids", {"[3]", "[[]]"}},
  };
  for (const auto& [option, values] : wrong) {
    for (const char* value : values) {
      const Result result =
          run({"generate", "--model", fixture("plain"), "--jsonl", option, value}, "{\"input_ids\":[4]}\n");
      EXPECT_EQ(result.status, wrong_usage) << option << " " << value << ": " << result.err;
      EXPECT_EQ(result.out, "") << option << " " << value;
      EXPECT_NE(result.err, "") << option << " " << value;
    }
  }
}

TEST(Usage, RefusesAnInstructionSetItDoesNotKnow) {
  const Surroundings unknown = {.environment = {{"BERTGEN_FORCE_ISA", "pentium"}}};
  expect_could_not_run(run({"generate", "--model", fixture("plain"), "--jsonl"}, "", unknown), {"pentium", "expected"});
  const Surroundings empty = {.environment = {{"BERTGEN_FORCE_ISA", ""}}};
  EXPECT_EQ(run({"generate", "--model", fixture("plain"), "--jsonl"}, "", empty).status, all_answered);
}

}  // namespace
}  // namespace bertgen::test
