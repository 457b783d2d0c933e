#include "cli/program.hpp"

namespace bertgen::test {
namespace {

std::string without_spaces(std::string text) {
  text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
  return text;
}

/// A piece as it stands in a text: SentencePiece writes a space as U+2581.
std::string piece_text(std::string piece) {
  const std::string mark = "▁";
  for (std::size_t at = 0; (at = piece.find(mark)) != std::string::npos;) piece.erase(at, mark.size());
  return piece;
}

TEST(Tokenize, GivesEachTokenTheBytesItComesFrom) {
  const std::vector<std::string> texts = {"It rained. The match went on.", "a  b", "Zoë and José, 1999–2001."};
  std::vector<Json> requests;
  for (const std::string& text : texts) requests.push_back({{"text", text}});
  const auto answers = ask("tokenize", shipped(), requests);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    SCOPED_TRACE(answers[i].dump());
    const Json& answer = answers[i];
    EXPECT_EQ(answer.size(), 5u) << "id, ids, tokens, attention_mask, offsets";
    const std::size_t count = answer.at("ids").size();
    ASSERT_GT(count, 0u);
    ASSERT_EQ(answer.at("tokens").size(), count);
    ASSERT_EQ(answer.at("offsets").size(), count);
    EXPECT_EQ(answer.at("attention_mask"), Json(std::vector<int>(count, 1)));
    std::size_t end = 0;
    std::string covered;
    for (std::size_t t = 0; t < count; ++t) {
      const auto range = answer["offsets"][t].get<std::array<std::size_t, 2>>();
      EXPECT_LE(end, range[0]);
      EXPECT_LE(range[0], range[1]);
      ASSERT_LE(range[1], texts[i].size());
      end = range[1];
      const std::string bytes = texts[i].substr(range[0], range[1] - range[0]);
      const std::string token = answer["tokens"][t];
      if (token != "<unk>") {
        EXPECT_EQ(piece_text(token), without_spaces(bytes));
      }
      covered += without_spaces(bytes);
    }
    EXPECT_EQ(covered, without_spaces(texts[i]));
  }
}

TEST(Tokenize, WritesIdsSeparatedBySpaces) {
  const Json ids = ask("tokenize", shipped(), {{{"text", "It rained."}}})[0].at("ids");
  std::string expected;
  for (const Json& id : ids) expected += (expected.empty() ? std::string() : " ") + id.dump();
  EXPECT_EQ(run({"tokenize", "--model", shipped(), "It rained."}).out, expected + "\n");
}

TEST(Tokenize, TruncatesPadsAndPairs) {
  const Json text = "It rained. The match went on.";
  const auto answers = ask("tokenize", shipped(),
                           {{{"text", text}},
                            {{"text", text}, {"truncation", true}, {"max_length", 3}},
                            {{"text", text}, {"truncation", "longest_first"}, {"max_length", 3}},
                            {{"text", text}, {"truncation", false}, {"max_length", 3}},
                            {{"text", text}, {"padding", "max_length"}, {"max_length", 50}},
                            {{"text", text}, {"padding", false}, {"max_length", 50}},
                            {{"text", text}, {"text_pair", text}},
                            {{"text", text}, {"add_special_tokens", true}}});
  const auto ids = answers[0].at("ids").get<std::vector<int>>();
  const std::vector<int> first(ids.begin(), ids.begin() + 3);
  EXPECT_EQ(answers[1].at("ids"), first);
  EXPECT_EQ(answers[2], answers[1]);
  for (const char* list : {"tokens", "attention_mask", "offsets"}) EXPECT_EQ(answers[1].at(list).size(), 3u);
  EXPECT_EQ(answers[4].at("ids").size(), 50u);
  EXPECT_EQ(answers[4].at("ids").back(), 0);
  EXPECT_EQ(answers[4].at("attention_mask")[ids.size() - 1], 1);
  EXPECT_EQ(answers[4].at("attention_mask")[ids.size()], 0);
  for (std::size_t same : {3u, 5u, 7u}) EXPECT_EQ(answers[same], answers[0]) << same;
  std::vector<int> twice = ids;
  twice.insert(twice.end(), ids.begin(), ids.end());
  EXPECT_EQ(answers[6].at("ids"), twice);
}

TEST(Tokenize, RefusesFieldsOfOtherTypes) {
  std::vector<Json> requests = {Json::object(), {{"text", nullptr}}, {{"ids", {4}}}};
  for (const Json& value : {Json(1), Json(true), Json::array({"a"}), Json::object()})
    requests.push_back({{"text", value}});
  const auto add = [&requests](const char* field, const std::vector<Json>& values) {
    for (const Json& value : values) requests.push_back({{"text", "a"}, {field, value}});
  };
  add("text_pair", {1, true, Json::array()});
  add("max_length", {0, -1, 1.5, "3", true});
  add("truncation", {"sometimes", 1, Json::array()});
  add("padding", {"sometimes", 1, Json::array()});
  add("add_special_tokens", {1, "true"});
  requests.push_back({{"text", "a"}, {"padding", "max_length"}, {"max_length", 65537}});
  const auto answers = ask("tokenize", shipped(), requests, {}, some_failed);
  for (std::size_t i = 0; i < answers.size(); ++i) EXPECT_EQ(error_type(answers[i]), "argument") << requests[i];
}

TEST(Tokenize, NeedsATokenizer) {
  for (const char* command : {"tokenize", "detokenize"}) {
    expect_could_not_run(run({command, "--model", fixture("plain"), "5"}), {fixture("plain"), "tokenizer"});
    expect_could_not_run(run({command, "--model", "/no/such/directory", "5"}), {"/no/such/directory", "expected"});
  }
  const TemporaryDirectory directory;
  for (const std::string& content : {std::string(), content_of(shipped() + "/spiece.model").substr(0, 1000)}) {
    const std::string path = directory.write("spiece.model", content);
    expect_could_not_run(run({"tokenize", "--model", directory.path(), "5"}), {path});
  }
}

TEST(Detokenize, GivesTheTextBack) {
  const std::string text = "It rained. The match went on.";
  const Result ids = run({"tokenize", "--model", shipped()}, text + "\n\n" + text + "\n");
  EXPECT_EQ(run({"detokenize", "--model", shipped()}, ids.out).out, text + "\n\n" + text + "\n");
  const auto answers =
      ask("detokenize", shipped(), {ask("tokenize", shipped(), {{{"text", text}}})[0], {{"ids", Json::array()}}});
  EXPECT_EQ(answers[0], Json({{"id", nullptr}, {"text", text}}));
  EXPECT_EQ(answers[1].at("text"), "");
}

TEST(Detokenize, SkipsSpecialTokensWhereAsked) {
  const auto with_end = [](const Arguments& options, const Json& fields) {
    Json request = fields;
    request["ids"] = {2, 1};  // <s></s>
    return ask("detokenize", shipped(), {request}, options)[0].at("text").get<std::string>();
  };
  EXPECT_NE(with_end({}, Json::object()), "");
  EXPECT_EQ(with_end({}, {{"skip_special_tokens", true}}), "");
  EXPECT_EQ(with_end({"--skip-special-tokens", "true"}, Json::object()), "");
  EXPECT_NE(with_end({"--skip-special-tokens", "true"}, {{"skip_special_tokens", false}}), "");
}

TEST(Detokenize, CleansUpSpacesWhereAsked) {
  const std::string ids = run({"tokenize", "--model", shipped(), "well , yes"}).out;
  EXPECT_EQ(run({"detokenize", "--model", shipped()}, ids).out, "well , yes\n");
  EXPECT_EQ(run({"detokenize", "--model", shipped(), "--clean-up-tokenization-spaces", "true"}, ids).out,
            "well, yes\n");
}

TEST(Detokenize, RefusesWhatIsNoListOfIds) {
  const auto answers = ask("detokenize", shipped(),
                           {Json::object(),
                            {{"ids", "4"}},
                            {{"ids", {-1}}},
                            {{"ids", {4.0}}},
                            {{"ids", {1'000'000}}},
                            {{"ids", {4}}, {"skip_special_tokens", 1}}},
                           {}, some_failed);
  for (std::size_t i : {0u, 1u, 2u, 3u, 5u}) EXPECT_EQ(error_type(answers[i]), "argument");
  EXPECT_EQ(error_type(answers[4]), "tokenizer");
  const Result plain = run({"detokenize", "--model", shipped()}, "4,5\n+4\n-4\n4.0\n99999999999\n0x4\n 4\t5 \n");
  EXPECT_EQ(plain.status, some_failed);
  const auto texts = lines_of(plain.out);
  ASSERT_EQ(texts.size(), 7u);
  EXPECT_EQ(lines_of(plain.err).size(), 6u) << plain.err;
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(texts[i], "");
  EXPECT_EQ(texts[6] + "\n", run({"detokenize", "--model", shipped(), "4 5"}).out);
}

}  // namespace
}  // namespace bertgen::test
