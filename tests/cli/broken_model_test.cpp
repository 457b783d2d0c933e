// Checkpoints that cannot be loaded: the program says which file it is, what was expected and what was found.
#include "cli/program.hpp"
#include "support/torch_files.hpp"

namespace bertgen::test {
namespace {

/// Runs each command that loads a model on `model`; the message must have all of `words`.
void expect_no_model(const std::string& model, std::initializer_list<std::string_view> words) {
  for (const Arguments& command : {Arguments{"generate", "--jsonl", "--model"}, Arguments{"fuse", "--model"},
                                   Arguments{"score", "--jsonl", "--model"}, Arguments{"encode", "--jsonl", "--model"},
                                   Arguments{"bench", "--model"}, Arguments{"inspect"}}) {
    SCOPED_TRACE(command.front());
    Arguments arguments = command;
    arguments.push_back(model);
    expect_could_not_run(run(arguments, "{\"input_ids\":[4]}\n"), words);
  }
}

TEST(BrokenModel, IsNamedWhereItIsMissing) {
  const TemporaryDirectory directory;
  const std::string missing = directory.path() / "missing";
  expect_no_model(missing, {missing, "expected a checkpoint directory", "found nothing"});
  const std::string file = directory.write("file", "");
  expect_no_model(file, {file, "expected a checkpoint directory", "found a file"});
  expect_no_model(directory.path(), {directory.path().string(), "expected config.json", "found none"});
}

TEST(BrokenModel, IsNamedWhereItsWeightsAreEmptyOrCutOff) {
  const std::string whole = content_of(fixture("plain") + "/model.safetensors");
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{8}, std::size_t{1000}, whole.size() - 1}) {
    const TemporaryDirectory directory;
    const std::string model = copy_of("plain", directory);
    const std::string path = directory.write("model.safetensors", whole.substr(0, size));
    SCOPED_TRACE(size);
    expect_no_model(model, {path, "expected", "got"});
  }
}

TEST(BrokenModel, IsNamedWhereItsConfigurationIsNoJsonOrLacksAHalf) {
  const Json good = Json::parse(content_of(fixture("plain") + "/config.json"));
  Json headless = good;
  headless.erase("encoder");
  Json tailless = good;
  tailless.erase("decoder");
  Json wrong_type = good;
  wrong_type["encoder"]["hidden_size"] = "large";
  for (const std::string& config : {std::string(), std::string("{"), std::string("[]"), std::string("\xff"),
                                    std::string(100'000, '['), headless.dump(), tailless.dump(), wrong_type.dump()}) {
    const TemporaryDirectory directory;
    const std::string model = copy_of("plain", directory);
    const std::string path = directory.write("config.json", config);
    SCOPED_TRACE(config.substr(0, 60));
    expect_no_model(model, {path});
  }
}

TEST(BrokenModel, IsNamedWhereItsGenerationConfigIsWrong) {
  for (const char* config : {"", "{", "[]", R"({"num_beams":"four"})", R"({"num_beams":2,"num_return_sequences":3})"}) {
    const TemporaryDirectory directory;
    const std::string model = copy_of("plain", directory);
    directory.write("generation_config.json", config);
    SCOPED_TRACE(config);
    expect_could_not_run(run({"generate", "--jsonl", "--model", model}), {"expected"});
  }
}

TEST(BrokenModel, WarnsOfOptionsItDoesNotKnow) {
  const TemporaryDirectory directory;
  const std::string model = copy_of("plain", directory);
  Json config = Json::parse(content_of(directory.path() / "generation_config.json"));
  config["option_of_tomorrow"] = 1;
  directory.write("generation_config.json", config.dump());
  const Result loud = run({"generate", "--jsonl", "--model", model});
  EXPECT_EQ(loud.status, all_answered);
  EXPECT_NE(loud.err.find("option_of_tomorrow"), std::string::npos) << loud.err;
  EXPECT_EQ(run({"generate", "--jsonl", "--quiet", "--model", model}).err, "");
}

/// A checkpoint, and the one line that a command says of it.
class Message : public testing::Test {
 protected:
  void copy(const std::string& name) { copy_of(name, directory_); }
  Json config() const { return Json::parse(content_of(directory_.path() / "config.json")); }
  void change(const Json& config) { directory_.write("config.json", config.dump()); }
  std::string path(const std::string& file) const { return directory_.path() / file; }
  void expect(const std::string& message, const std::string& command = "generate") const {
    const Result result = run({command, "--model", directory_.path(), command == "tokenize" ? "" : "--jsonl"});
    EXPECT_EQ(result.status, could_not_run);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(lines_of(result.err), std::vector<std::string>{std::string("bertgen: ").append(message)});
  }

  TemporaryDirectory directory_;
};

TEST_F(Message, OfWrongShapes) {
  copy("pair-bert-roberta");
  Json wrong = config();
  wrong["encoder"]["vocab_size"] = 41;
  change(wrong);
  expect("encoder.embeddings.word_embeddings.weight: expected [41, 20], got [40, 20] (" + path("model.safetensors") +
         ")");
  wrong["encoder"]["vocab_size"] = 40;
  wrong["decoder"]["intermediate_size"] = 20;
  change(wrong);
  expect("decoder.roberta.encoder.layer.0.intermediate.dense.weight: expected [20, 16], got [24, 16] (" +
         path("model.safetensors") + ")");
}

TEST_F(Message, OfMissingCrossAttention) {
  copy("pair-bert-bert");
  Json wrong = config();
  wrong["decoder"]["add_cross_attention"] = false;
  change(wrong);
  expect(path("config.json") + ": decoder: expected is_decoder and add_cross_attention, got no add_cross_attention");
  wrong["decoder"]["add_cross_attention"] = true;
  change(wrong);
  std::string file = content_of(path("model.safetensors"));
  const std::string name = "crossattention";
  for (std::size_t at = file.find(name); at != std::string::npos; at = file.find(name, at)) file[at] = 'C';
  directory_.write("model.safetensors", file);
  expect(
      "decoder.bert.encoder.layer.0.crossattention.self.query.weight: expected a tensor of shape [16, 16], found "
      "none (" +
      path("model.safetensors") + ")");
}

TEST_F(Message, OfAMissingShard) {
  for (const char* file : {"config.json", "model.safetensors.index.json", "model-00001-of-00003.safetensors"}) {
    std::filesystem::copy(std::filesystem::path(fixture("../files/safetensors-sharded")) / file, directory_.path());
  }
  expect(path("model.safetensors.index.json") +
         ": expected the file model-00002-of-00003.safetensors beside it, found none");
}

TEST_F(Message, OfAnUnknownArchitecture) {
  copy("plain");
  for (const char* half : {"encoder", "decoder"}) {
    Json wrong = config();
    wrong["encoder"]["model_type"] = wrong["decoder"]["model_type"] = "bert-generation";
    wrong[half]["model_type"] = "gpt2";
    change(wrong);
    expect(
        path("config.json.") + half +
        ": model_type: expected one of \"bert-generation\", \"bert\", \"roberta\", got \"gpt2\" (not supported yet)");
  }
}

TEST_F(Message, OfAnAbsentTokenizer) {
  copy("plain");
  const std::string message = directory_.path().string() + ": expected the files of a tokenizer in it, found none";
  expect(message, "tokenize");
  const Result result = run({"generate", "--model", directory_.path(), "text"});
  EXPECT_EQ(result.status, some_failed);
  EXPECT_EQ(lines_of(result.err), std::vector<std::string>{std::string("bertgen: text 1: ").append(message)});
}

TEST_F(Message, OfAPickleThatRunsAProgram) {
  copy("plain");
  std::filesystem::remove(directory_.path() / "model.safetensors");
  const std::string code = global("os", "system") + tuple({text("touch " + path("owned"))}) + "R";
  directory_.write("pytorch_model.bin", torch_archive(pickle(code)));
  expect(path("pytorch_model.bin") +
         ": data.pkl: byte 2: expected only what a dictionary of tensors needs, got the global \"os.system\"");
  EXPECT_FALSE(std::filesystem::exists(directory_.path() / "owned"));
}

TEST_F(Message, OfAnArchiveThatLies) {
  copy("plain");
  std::filesystem::remove(directory_.path() / "model.safetensors");
  const std::string data = pickle(joined({"}", text("a"), TensorCode{}.code(), "s"}));
  const auto write = [&](std::int64_t size_error, std::int64_t local_size_error) {
    directory_.write("pytorch_model.bin", zip({{.name = "m/data.pkl", .data = data},
                                               {.name = "m/data/0",
                                                .data = std::string(24, 'x'),
                                                .size_error = size_error,
                                                .local_size_error = local_size_error}}));
  };
  write(std::int64_t{1} << 31, std::int64_t{1} << 31);
  expect(path("pytorch_model.bin") +
         ": the member \"m/data/0\": expected 2147483672 bytes before the directory, got 24");
  write(1, 0);
  expect(path("pytorch_model.bin") + ": the member \"m/data/0\": expected 25 bytes, as the directory says, got 24");
}

}  // namespace
}  // namespace bertgen::test
