// What all commands with requests have in common: lines in, lines out.
#include <limits>

#include "cli/program.hpp"

namespace bertgen::test {
namespace {

constexpr std::size_t longest_line = std::size_t{64} << 20;

const Arguments tokenize_plain = {"tokenize", "--model", shipped()};
const Arguments tokenize_jsonl = {"tokenize", "--model", shipped(), "--jsonl"};

Arguments operator+(Arguments arguments, const Arguments& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

bool is_utf8(const std::string& text) {
  try {
    return !Json(text).dump().empty();
  } catch (const Json::type_error&) {
    return false;
  }
}

/// `levels` of nesting in all.
std::string nested(std::size_t levels) {
  return R"({"id":1,"text":"a","x":)" + std::string(levels - 1, '[') + std::string(levels - 1, ']') + "}";
}

// Plain mode

TEST(Plain, AnswersEachLineInOrder) {
  const Result result = run(tokenize_plain, "one\ntwo\nthree\n");
  EXPECT_EQ(result.status, all_answered) << result.err;
  EXPECT_EQ(result.err, "");
  std::string one_by_one;
  for (const char* text : {"one", "two", "three"}) one_by_one += run(tokenize_plain + Arguments{text}).out;
  EXPECT_EQ(result.out, one_by_one);
  EXPECT_EQ(run(tokenize_plain + Arguments{"one", "two", "three"}).out, one_by_one);
}

TEST(Plain, AnswersAnEmptyLineWithAnEmptyLine) {
  const Result result = run(tokenize_plain, "\none\n\n\ntwo\n\n");
  EXPECT_EQ(result.status, all_answered);
  const auto lines = lines_of(result.out);
  ASSERT_EQ(lines.size(), 6u);
  for (std::size_t empty : {0u, 2u, 3u, 5u}) EXPECT_EQ(lines[empty], "");
  for (std::size_t full : {1u, 4u}) EXPECT_NE(lines[full], "");
  EXPECT_EQ(run(tokenize_plain + Arguments{""}).out, "\n");
  EXPECT_EQ(run(tokenize_plain, "").out, "");
}

TEST(Plain, TakesTheLastLineWithoutAnEndAndCarriageReturns) {
  const std::string expected = run(tokenize_plain, "one\ntwo\n").out;
  EXPECT_EQ(run(tokenize_plain, "one\ntwo").out, expected);
  EXPECT_EQ(run(tokenize_plain, "one\r\ntwo\r\n").out, expected);
  EXPECT_EQ(run(tokenize_plain, "one\r\ntwo\r").out, expected);
  EXPECT_EQ(run({"detokenize", "--model", shipped()}, "8\r\n8\r\n").status, all_answered) << "no part of the ids";
}

TEST(Plain, TakesArgumentsThatLookLikeSomethingElse) {
  const std::vector<std::string> texts = {"[a, b]", "{}", "%%", "fuse", "a,b", "=", "-5", "--x"};
  const Result arguments = run(tokenize_plain + Arguments{"--"} + texts);
  std::string input;
  for (const std::string& text : texts) input += text + "\n";
  EXPECT_EQ(arguments.status, all_answered) << arguments.err;
  EXPECT_EQ(arguments.out, run(tokenize_plain, input).out);
}

TEST(Plain, WritesAnEmptyLineForOneThatFailsAndSaysWhichAndWhy) {
  const Result result = run({"detokenize", "--model", shipped()}, "8\nx\n8 9999999\n8\n");
  EXPECT_EQ(result.status, some_failed);
  const auto lines = lines_of(result.out);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[1] + lines[2], "");
  EXPECT_EQ(lines[0], lines[3]);
  const auto messages = lines_of(result.err);
  ASSERT_EQ(messages.size(), 2u) << result.err;
  EXPECT_NE(messages[0].find("line 2: ids: expected"), std::string::npos) << messages[0];
  EXPECT_NE(messages[1].find("line 3: "), std::string::npos) << messages[1];
  const Result quiet = run({"detokenize", "--quiet", "--model", shipped(), "8", "x"});
  EXPECT_EQ(quiet.status, some_failed);
  EXPECT_NE(quiet.err.find("text 2: ids: expected"), std::string::npos) << "only warnings are silenced: " << quiet.err;
}

TEST(Plain, ReadsAnyBytesAndWritesUtf8) {
  std::string input("a\0b\n", 4);
  input +=
      "\xff\xfe\xc3\n\xed\xa0\x80 \xf5\n\xef\xbb\xbf"
      "bom\n\x1b[0m\x7f\n";
  const Result ids = run(tokenize_plain, input);
  EXPECT_EQ(ids.status, all_answered) << ids.err;
  EXPECT_EQ(lines_of(ids.out).size(), 5u);
  const Result texts = run({"detokenize", "--model", shipped()}, ids.out);
  EXPECT_EQ(texts.status, all_answered) << texts.err;
  EXPECT_TRUE(is_utf8(texts.out));
  EXPECT_EQ(lines_of(texts.out).size(), 5u);
}

TEST(Plain, WritesLineBreaksInAnswersAsBackslashN) {
  const TemporaryDirectory directory;
  std::filesystem::copy(shipped() + "/spiece.model", directory.path());
  directory.write("tokenizer_config.json", R"({"tokenizer_class":"BertGenerationTokenizer","sep_token":"one\ntwo"})");
  const Json ids = ask("tokenize", directory.path(), {{{"text", "one\ntwo"}}})[0].at("ids");
  ASSERT_EQ(ids.size(), 1u);
  EXPECT_EQ(run({"detokenize", "--model", directory.path(), ids[0].dump()}).out, "one\\ntwo\n");
  EXPECT_EQ(ask("detokenize", directory.path(), {{{"ids", ids}}})[0].at("text"), "one\ntwo");
}

// JSON lines

TEST(JsonLines, EchoesStringsNumbersAndNullAsIds) {
  const std::vector<Json> ids = {"a",
                                 "",
                                 "é \"\n\t\\",
                                 std::string("\0", 1),
                                 0,
                                 1,
                                 -1,
                                 9223372036854775807,
                                 std::numeric_limits<std::int64_t>::min(),
                                 18446744073709551615u,
                                 0.1,
                                 -1.5e300,
                                 nullptr,
                                 std::string(100000, 'x')};
  std::vector<Json> requests;
  for (const Json& id : ids) requests.push_back({{"id", id}, {"text", "a"}});
  requests.push_back({{"text", "no id"}});
  const auto answers = ask("tokenize", shipped(), requests);
  for (std::size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(answers[i].at("id"), ids[i]);
  EXPECT_TRUE(answers.back().at("id").is_null());
}

TEST(JsonLines, EchoesTheIdInErrors) {
  const auto answers = ask("tokenize", shipped(), {{{"id", "x"}}, {{"id", 7}, {"text", 1}}}, {}, some_failed);
  EXPECT_EQ(error_type(answers[0]), "argument");
  EXPECT_EQ(answers[0].at("id"), "x");
  EXPECT_EQ(error_type(answers[1]), "argument");
  EXPECT_EQ(answers[1].at("id"), 7);
}

TEST(JsonLines, RefusesIdsOfOtherTypesWithANullId) {
  std::vector<Json> requests;
  for (const Json& id : {Json(true), Json(false), Json::array(), Json::array({1}), Json::object()}) {
    requests.push_back({{"id", id}, {"text", "a"}});
  }
  for (const Json& answer : ask("tokenize", shipped(), requests, {}, some_failed)) {
    EXPECT_NE(error_type(answer), "");
    EXPECT_TRUE(answer.at("id").is_null());
  }
}

TEST(JsonLines, AnswersEveryLineThatIsNoRequestWithAnError) {
  const std::vector<std::string> lines = {"",
                                          "   ",
                                          "{",
                                          "[1]",
                                          "3",
                                          "\"text\"",
                                          "null",
                                          "nonsense",
                                          "{'id':1}",
                                          R"({"id":1,})",
                                          R"({"id":1} {"id":2})",
                                          R"({"id":NaN})",
                                          R"({"id":1e400,"text":"a"})",
                                          R"({"id":1,"text":"\ud800"})",
                                          "{\"id\":1,\"text\":\"\xff\"}",
                                          "{\"id\":1,\"text\":\"tab\there\"}",
                                          std::string("{\"id\":1}\0", 9),
                                          std::string("\0", 1)};
  std::string input;
  for (const std::string& line : lines) input += line + "\n" + R"({"id":"good","text":"a"})" + "\n";
  const Result result = run(tokenize_jsonl, input);
  EXPECT_EQ(result.status, some_failed);
  EXPECT_EQ(result.err, "");
  const auto answers = answers_of(result);
  ASSERT_EQ(answers.size(), 2 * lines.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(error_type(answers[2 * i]), "json") << lines[i] << ": " << answers[2 * i];
    EXPECT_TRUE(answers[2 * i].at("id").is_null()) << lines[i];
    EXPECT_LT(answers[2 * i].dump().size(), 400u) << "a message is for reading";
    EXPECT_EQ(answers[2 * i + 1].at("id"), "good");
    EXPECT_EQ(error_type(answers[2 * i + 1]), "");
  }
}

TEST(JsonLines, WritesBytesThatAreNoUtf8AsReplacementCharacters) {
  const TemporaryDirectory directory;
  const auto model = directory.path() / "bytes \xff";
  std::filesystem::copy(fixture("plain"), model);
  const Json answer = ask("generate", model, {{{"text", "no tokenizer, says the message"}}}, {}, some_failed)[0];
  EXPECT_EQ(error_type(answer), "tokenizer");
  EXPECT_NE(answer["error"]["message"].get<std::string>().find("bytes \ufffd"), std::string::npos) << answer;
}

TEST(JsonLines, RefusesMoreThan64LevelsOfNesting) {
  const Result result = run(tokenize_jsonl, nested(64) + "\n" + nested(65) + "\n" + nested(200'000) + "\n" +
                                                std::string(200'000, '[') + "\n" + nested(2) + "\n");
  EXPECT_EQ(result.status, some_failed);
  const auto answers = answers_of(result);
  ASSERT_EQ(answers.size(), 5u);
  for (std::size_t good : {0u, 4u}) EXPECT_EQ(error_type(answers[good]), "") << answers[good];
  for (std::size_t deep : {1u, 2u, 3u}) {
    EXPECT_EQ(error_type(answers[deep]), "json");
    EXPECT_TRUE(answers[deep].at("id").is_null());
  }
}

TEST(JsonLines, TreatsNullAsAbsentAndIgnoresOtherFields) {
  const std::vector<Json> requests = {{{"text", "a b"}},
                                      {{"text", "a b"},
                                       {"text_pair", nullptr},
                                       {"truncation", nullptr},
                                       {"padding", nullptr},
                                       {"max_length", nullptr},
                                       {"add_special_tokens", nullptr},
                                       {"input_ids", nullptr}},
                                      {{"text", "a b"}, {"metadata", {{"source", {1, 2}}}}}};
  const auto answers = ask("tokenize", shipped(), requests);
  EXPECT_EQ(answers[1], answers[0]);
  EXPECT_EQ(answers[2], answers[0]);
}

TEST(JsonLines, TakesCarriageReturnsAndALastLineWithoutEnd) {
  const Result result = run(tokenize_jsonl, "{\"id\":1,\"text\":\"a\"}\r\n{\"id\":2,\"text\":\"a\"}");
  EXPECT_EQ(result.status, all_answered);
  const auto answers = answers_of(result);
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0].at("ids"), answers[1].at("ids"));
  EXPECT_EQ(run(tokenize_jsonl, "").out, "");
}

TEST(JsonLines, RefusesLinesOfMoreThan64Megabytes) {
  const std::string begin = R"({"id":"long","text":"a","x":")";
  const std::string end = "\"}";
  const auto line = [&](std::size_t size) { return begin + std::string(size - begin.size() - end.size(), 'x') + end; };
  const std::string good = lines({{{"id", "good"}, {"text", "a"}}});
  Program program(tokenize_jsonl);
  program.write(line(longest_line) + "\n" + good);
  program.write(line(longest_line + 1) + "\n" + good);
  const Result result = program.finish(good + std::string(longest_line + 100, 'x'));
  EXPECT_EQ(result.status, some_failed);
  const auto answers = answers_of(result);
  ASSERT_EQ(answers.size(), 6u);
  EXPECT_EQ(answers[0].at("id"), "long") << "a line of 64 MB is answered";
  for (std::size_t i : {1u, 3u, 4u}) EXPECT_EQ(answers[i].at("id"), "good");
  for (std::size_t i : {2u, 5u}) {
    EXPECT_EQ(error_type(answers[i]), "argument");
    EXPECT_TRUE(answers[i].at("id").is_null());
  }
}

TEST(JsonLines, AnswersThousandsInOrderWhateverTheBatch) {
  std::vector<Json> requests;
  for (int i = 0; i < 5000; ++i) {
    if (i % 7 == 3) {
      requests.push_back({{"id", i}});
    } else {
      requests.push_back({{"id", i}, {"text", "text number " + std::to_string(i)}});
    }
  }
  const auto answers = ask("tokenize", shipped(), requests, {"--batch-size", "13"}, some_failed);
  for (int i = 0; i < 5000; ++i) {
    const Json& answer = answers[static_cast<std::size_t>(i)];
    ASSERT_EQ(answer.at("id"), i);
    ASSERT_EQ(answer.contains("error"), i % 7 == 3) << answer;
  }
  EXPECT_EQ(ask("tokenize", shipped(), requests, {"--batch-size", "65536"}, some_failed), answers);
}

TEST(JsonLines, AnswersBeforeItAsksForMore) {
  for (const char* batch_size : {"1", "16"}) {
    Program program({"generate", "--model", fixture("plain"), "--jsonl", "--batch-size", batch_size});
    for (int i = 0; i < 5; ++i) {
      program.write(lines({{{"id", i}, {"input_ids", {4, 5}}, {"generation", {{"max_new_tokens", 2}}}}}));
      EXPECT_EQ(Json::parse(program.read_line()).at("id"), i);
    }
    program.write("{\"id\":5,");  // half a line is not yet a request
    program.write("\"input_ids\":[4]}\nnonsense\n");
    EXPECT_EQ(Json::parse(program.read_line()).at("id"), 5);
    EXPECT_EQ(error_type(Json::parse(program.read_line())), "json");
    EXPECT_EQ(program.finish().status, some_failed);
  }
}

TEST(Plain, AnswersBeforeItAsksForMore) {
  Program program(tokenize_plain);
  for (const char* text : {"one\n", "two\n", "\n"}) {
    program.write(text);
    program.read_line();
  }
  EXPECT_EQ(program.finish().status, all_answered);
}

// Files and streams

TEST(Files, AreReadAndWrittenWhereTheyAreNamed) {
  const TemporaryDirectory directory;
  const std::string input = directory.write("in", "one\ntwo\n");
  const std::string output = directory.write("out", "to be replaced, and longer than what replaces it");
  const std::string expected = run(tokenize_plain, "one\ntwo\n").out;
  EXPECT_EQ(run(tokenize_plain + Arguments{"--input", input}).out, expected);
  EXPECT_EQ(run(tokenize_plain + Arguments{"--input", "-", "--output", "-"}, "one\ntwo\n").out, expected);
  const Result result = run(tokenize_plain + Arguments{"--input", input, "--output", output});
  EXPECT_EQ(result.status, all_answered);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(content_of(output), expected);
}

TEST(Files, ThatCannotBeReadAreNamed) {
  const TemporaryDirectory directory;
  const std::string missing = directory.path() / "missing";
  for (const std::string& path : {missing, directory.path().string()}) {
    expect_could_not_run(run(tokenize_plain + Arguments{"--input", path}), {path, "expected a readable file"});
  }
}

TEST(Files, ThatCannotBeWrittenAreNamed) {
  const TemporaryDirectory directory;
  const std::string missing = directory.path() / "missing" / "out";
  for (const std::string& path : {missing, directory.path().string(), std::string("/dev/full")}) {
    expect_could_not_run(run(tokenize_plain + Arguments{"--output", path}, "one\n"), {path + ": cannot be written: "});
  }
}

TEST(Files, StayAsTheyAreWhenTheInputIsMissing) {
  const TemporaryDirectory directory;
  const std::string output = directory.write("out", "precious");
  const std::string missing = directory.path() / "missing";
  expect_could_not_run(run(tokenize_plain + Arguments{"--input", missing, "--output", output}), {missing});
  EXPECT_EQ(content_of(output), "precious");
}

TEST(Files, AreNotReplacedByTheirOwnAnswers) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("texts", "one\ntwo\n");
  const std::string link = directory.path() / "link";
  std::filesystem::create_symlink(path, link);
  expect_could_not_run(run(tokenize_plain + Arguments{"--input", path, "--output", link}), {link, "expected another"});
  EXPECT_EQ(content_of(path), "one\ntwo\n");
}

TEST(Streams, ThatAreFullOrClosedEndTheRunWithStatus1) {
  for (const Arguments& arguments :
       {tokenize_plain + Arguments{"text"}, Arguments{"inspect", shipped()}, Arguments{"--help"},
        Arguments{"bench", "--json", "--model", fixture("plain"), "--source-length", "2", "--new-tokens", "2"}}) {
    SCOPED_TRACE(arguments.front());
    expect_could_not_run(run(arguments, "", {.output = "/dev/full"}), {"standard output: cannot be written: "});
  }
  Program program(tokenize_plain);
  program.write("one\n");
  program.read_line();
  program.close_output();
  std::string many;
  for (int i = 0; i < 10'000; ++i) many += "one\n";
  const Result result = program.finish(many);
  EXPECT_EQ(result.status, could_not_run);
  EXPECT_NE(result.err.find("standard output"), std::string::npos) << result.err;
}

TEST(Streams, ThatAreClosedAreNotTakenForFiles) {
  const TemporaryDirectory directory;
  const std::string output = directory.path() / "out";
  const Arguments detokenize = {"detokenize", "--model", shipped(), "--output", output};
  // The file that is opened next would be standard error, and its message an answer.
  EXPECT_EQ(run(detokenize, "8\nx\n8\n", {.closed = STDERR_FILENO}).status, some_failed);
  EXPECT_EQ(content_of(output), run({"detokenize", "--model", shipped()}, "8\n\n8\n").out);
  expect_could_not_run(run(tokenize_plain, "", {.closed = STDIN_FILENO}), {"standard input"});
  expect_could_not_run(run(tokenize_plain, "one\n", {.closed = STDOUT_FILENO}), {"standard output"});
}

TEST(Progress, IsShownOnATerminalForMoreThanOneBatch) {
  const Surroundings terminal = {.terminal = true};
  const std::string three = "one\ntwo\nthree\n";
  const Result shown = run(tokenize_plain + Arguments{"--batch-size", "1"}, three, terminal);
  EXPECT_EQ(shown.status, all_answered);
  EXPECT_NE(shown.err.find("answered"), std::string::npos) << shown.err;
  EXPECT_EQ(run(tokenize_plain, three).out, shown.out);
  EXPECT_EQ(run(tokenize_plain + Arguments{"--batch-size", "1"}, three).err, "") << "no terminal";
  EXPECT_EQ(run(tokenize_plain + Arguments{"--batch-size", "1", "--quiet"}, three, terminal).err, "");
  EXPECT_EQ(run(tokenize_plain + Arguments{"one"}, "", terminal).err, "") << "one batch";
}

}  // namespace
}  // namespace bertgen::test
