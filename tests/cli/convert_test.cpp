// convert, and checkpoints of every layout and place in the other commands.
#include "cli/program.hpp"

namespace bertgen::test {
namespace {

std::string layout(const std::string& name) { return BERTGEN_TEST_DATA "/files/" + name; }

const Json request = {{"id", 1}, {"input_ids", {3, 4, 5}}, {"generation", {{"max_new_tokens", 6}}}};

TEST(Convert, WritesWhatTheOtherCommandsRead) {
  const TemporaryDirectory directory;
  const std::string to = directory.path() / "out";
  const Result result = run({"convert", layout("legacy-sharded"), to});
  EXPECT_EQ(result.status, all_answered) << result.err;
  EXPECT_EQ(result.out + result.err, "");
  EXPECT_EQ(ask("generate", to, {request}), ask("generate", layout("safetensors"), {request}));
  EXPECT_EQ(run({"convert", to, to + "-bf16", "--dtype", "bf16"}).status, all_answered);
  EXPECT_TRUE(content_of(to + "-bf16/model.safetensors") == content_of(layout("bf16") + "/model.safetensors"));
}

TEST(Convert, ReplacesOnlyWhenForced) {
  const TemporaryDirectory directory;
  directory.write("x", "");
  const std::string to = directory.path();
  expect_could_not_run(run({"convert", layout("zip"), to}), {to, "expected an empty directory"});
  EXPECT_EQ(run({"convert", layout("zip"), to, "--force"}).status, all_answered);
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "x"));
  EXPECT_TRUE(std::filesystem::exists(directory.path() / "model.safetensors"));
}

TEST(Convert, Int8IsReadByTheOtherCommandsAndComputedIn) {
  const TemporaryDirectory directory;
  const std::string to = directory.path() / "int8";
  const Result result = run({"convert", layout("zip"), to, "--dtype", "int8"});
  ASSERT_EQ(result.status, all_answered) << result.err;
  const auto answers = ask("generate", to, {request});
  EXPECT_TRUE(answers[0].contains("sequences")) << answers[0];
  EXPECT_EQ(answers, ask("generate", to, {request}, {"--dtype", "int8"}));
  EXPECT_NE(answers, ask("generate", to, {request}, {"--dtype", "f32"})) << "log-probabilities differ";
  // What it stores is a value for each byte: as floats and rounded anew it is the same.
  EXPECT_EQ(run({"convert", to, to + "-f32", "--dtype", "f32"}).status, all_answered);
  EXPECT_EQ(ask("generate", to + "-f32", {request}), ask("generate", to, {request}, {"--dtype", "f32"}));
  const std::string report = run({"inspect", to}).out;
  EXPECT_NE(report.find(", I8 "), std::string::npos) << report;
  EXPECT_NE(report.find(" of weights in int8, "), std::string::npos) << report;
}

// Seen to fail with keys and values counted as floats.
TEST(Convert, Int8KeepsKeysAndValuesInHalfTheMemory) {
  const TemporaryDirectory directory;
  const std::string to = directory.path() / "int8";
  EXPECT_EQ(run({"convert", fixture("roberta-shared"), to, "--dtype", "int8"}).status, all_answered);
  // Two layers, 20 wide: 320 bytes as floats.
  EXPECT_NE(run({"inspect", fixture("roberta-shared")}).out.find(", 0.3 kB of cache for each"), std::string::npos);
  EXPECT_NE(run({"inspect", to}).out.find(", 0.2 kB of cache for each"), std::string::npos) << run({"inspect", to}).out;
}

TEST(Layouts, AnswerAlike) {
  const auto expected = ask("generate", layout("safetensors"), {request});
  for (const char* name : {"safetensors-sharded", "zip", "zip-sharded", "legacy", "legacy-sharded"}) {
    EXPECT_EQ(ask("generate", layout(name), {request}), expected) << name;
  }
}

TEST(Layouts, BrokenFilesAreNamed) {
  for (const char* name : {"zip", "legacy"}) {
    const TemporaryDirectory directory;
    std::filesystem::copy(layout(name), directory.path());
    const std::string path = directory.path() / "pytorch_model.bin";
    std::string bytes = content_of(path);
    directory.write("pytorch_model.bin", bytes.substr(0, bytes.size() - 100));
    for (const Arguments& command : {Arguments{"inspect", directory.path()},
                                     {"generate", "--model", directory.path(), "x"},
                                     {"convert", directory.path(), directory.path() / "out"}}) {
      expect_could_not_run(run(command), {path + ": ", "expected "});
    }
    const std::string global = "collections\nOrderedDict";
    bytes.replace(bytes.find(global), global.size(), "posix\nsystem" + std::string(11, 'x'));
    directory.write("pytorch_model.bin", bytes);
    expect_could_not_run(run({"inspect", directory.path()}), {path, "got the global \"posix.systemxxx"});
  }
}

TEST(Cache, NamesOfModelsAreLookedUpThere) {
  const TemporaryDirectory cache;
  const auto folder = cache.path() / "hub" / "models--org--model";
  std::filesystem::create_directories(folder / "refs");
  std::filesystem::create_directories(folder / "snapshots");
  std::filesystem::copy(layout("zip"), folder / "snapshots" / "0123abcd");
  cache.write("hub/models--org--model/refs/main", "0123abcd");
  const std::string hub = cache.path() / "hub";
  const std::string nowhere = cache.path() / "nowhere";
  std::filesystem::create_directories(cache.path() / "x");
  std::filesystem::create_directory_symlink(cache.path(), cache.path() / "x" / "huggingface");
  const std::string xdg = cache.path() / "x";
  using Environment = std::vector<std::pair<std::string, std::string>>;
  for (const Environment& environment : {Environment{{"HF_HUB_CACHE", hub}, {"HF_HOME", nowhere}},
                                         {{"HF_HUB_CACHE", ""}, {"HF_HOME", cache.path()}},
                                         {{"HF_HUB_CACHE", ""}, {"HF_HOME", ""}, {"XDG_CACHE_HOME", xdg}}}) {
    const Result result = run({"inspect", "org/model"}, {}, {.environment = environment});
    EXPECT_EQ(result.status, all_answered) << result.err;
    EXPECT_NE(result.out.find("hub/models--org--model/snapshots/0123abcd"), std::string::npos) << result.out;
  }
  expect_could_not_run(
      run({"generate", "--model", "org/other", "x"}, {}, {.environment = {{"HF_HUB_CACHE", hub}}}),
      {"org/other: expected a checkpoint directory, or a model in the cache, found nothing; looked for " + hub +
       "/models--org--other/refs/main"});
}

}  // namespace
}  // namespace bertgen::test
