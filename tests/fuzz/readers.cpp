#include "fuzz/readers.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "bertgen/bertgen.hpp"
#include "bertgen/io/safetensors.hpp"
#include "bertgen/io/torch_pickle.hpp"
#include "io/pickle.hpp"
#include "io/zip.hpp"
#include "model.hpp"

namespace bertgen::fuzz {
namespace {

namespace fs = std::filesystem;

const fs::path data = BERTGEN_TEST_DATA;
const fs::path seeds = BERTGEN_SOURCE_DIR "/tests/fuzz/seeds";

/// A directory of this process, in memory where there is such a place. Removed at the end.
class Directory {
 public:
  explicit Directory(const std::map<std::string, fs::path>& files = {}) {
    std::string pattern =
        (fs::exists("/dev/shm") ? "/dev/shm" : fs::temp_directory_path().string()) + "/bertgen-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no directory for files to read");
    path_ = pattern;
    for (const auto& [name, source] : files) fs::copy_file(source, path_ / name);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }
  fs::path write(const char* name, std::string_view bytes) const {
    std::ofstream file(path_ / name, std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!file.flush()) throw std::runtime_error("cannot write a file to read");
    return path_ / name;
  }

 private:
  fs::path path_;
};

template <typename Function>
bool read(Function&& function) {
  try {
    function();
    return true;
  } catch (const Error&) {
    return false;
  } catch (const cli::JsonLineError&) {
    return false;
  }
}

/// Reads every byte that the tensors say they have.
void use(const Weights& weights) {
  volatile unsigned sum = 0;
  for (const auto& [name, tensor] : weights.tensors()) {
    const std::size_t size = tensor.shape.size() * size_of(tensor.dtype);
    for (std::size_t i = 0; i < size; ++i) sum = sum + std::to_integer<unsigned>(tensor.data[i]);
  }
}

void use(const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) return;
  const auto both = tokenizer->encode("John's \xc3\xa9\xe4\xb8\xad \xff<x>[MASK] 12.", "a  b");
  tokenizer->decode(both.input_ids, {.skip_special_tokens = true});
}

bool read_weights(const char* name, std::string_view bytes, void (*reader)(const fs::path&, Weights&)) {
  static const Directory directory;
  const fs::path path = directory.write(name, bytes);
  return read([&] {
    Weights weights;
    reader(path, weights);
    use(weights);
  });
}

bool safetensors(std::string_view bytes) {
  return read_weights("model.safetensors", bytes,
                      [](const auto& path, Weights& weights) { read_safetensors(path, weights); });
}

bool torch_pickle(std::string_view bytes) {
  return read_weights("pytorch_model.bin", bytes,
                      [](const auto& path, Weights& weights) { read_torch_pickle(path, weights); });
}

bool shard_index(std::string_view bytes) {
  static const Directory directory(
      {{"config.json", data / "files/safetensors-sharded/config.json"},
       {"model-00001-of-00003.safetensors", data / "files/safetensors-sharded/model-00001-of-00003.safetensors"},
       {"model-00002-of-00003.safetensors", data / "files/safetensors-sharded/model-00002-of-00003.safetensors"},
       {"model-00003-of-00003.safetensors", data / "files/safetensors-sharded/model-00003-of-00003.safetensors"}});
  directory.write("model.safetensors.index.json", bytes);
  return read([] { use(load_weights(find_checkpoint(directory.path()))); });
}

bool zip(std::string_view bytes) {
  return read([bytes] {
    volatile unsigned sum = 0;
    for (const auto& [name, member] : read_zip(std::as_bytes(std::span(bytes)), "archive")) {
      for (const std::byte byte : member) sum = sum + std::to_integer<unsigned>(byte);
    }
  });
}

bool pickle(std::string_view bytes) {
  constexpr std::string_view globals[] = {"torch._utils._rebuild_tensor_v2",
                                          "torch._utils._rebuild_parameter",
                                          "torch.FloatStorage",
                                          "torch.HalfStorage",
                                          "torch.DoubleStorage",
                                          "torch.BFloat16Storage",
                                          "torch.LongStorage",
                                          "torch.IntStorage",
                                          "torch.ShortStorage",
                                          "torch.CharStorage",
                                          "torch.ByteStorage",
                                          "torch.BoolStorage"};
  return read([&] {
    const Pickle pickle(std::as_bytes(std::span(bytes)), globals, "pickle");
    describe(pickle.root());
  });
}

/// config.json beside the weights that belong to it.
bool config(std::string_view bytes) {
  static const Directory directory({{"model.safetensors", data / "models/plain/model.safetensors"}});
  directory.write("config.json", bytes);
  const bool half = read([bytes] { TransformerConfig::from_json(TransformerConfig::from_json(bytes).to_json()); });
  const bool pair = read([] {
    const auto model = EncoderDecoderModel::from_pretrained(directory.path());
    EncoderDecoderConfig::from_json(model.config().to_json());
    GenerationConfig generation = model.generation_config();
    generation.max_length.reset();
    generation.max_new_tokens = 2;
    model.generate({{5, 6}}, generation);
  });
  return half || pair;
}

bool generation_config(std::string_view bytes) {
  return read([bytes] {
    GenerationConfig config;
    config.update(bytes, "generation_config.json", GenerationConfig::UnknownKeys::warn);
    GenerationConfig again;
    again.update(config.to_json(), "again");
    std::vector<std::string> warnings;
    generation_config_from_model(bytes, "config.json", warnings);
  });
}

bool read_tokenizer(const Directory& directory) {
  return read([&] { use(AutoTokenizer::from_pretrained(directory.path()).get()); });
}

bool vocab_txt(std::string_view bytes) {
  static const Directory directory;
  directory.write("vocab.txt", bytes);
  return read_tokenizer(directory);
}

bool vocab_json(std::string_view bytes) {
  static const Directory directory({{"merges.txt", seeds / "merges/roberta"}});
  directory.write("vocab.json", bytes);
  return read_tokenizer(directory);
}

bool merges(std::string_view bytes) {
  static const Directory directory({{"vocab.json", seeds / "vocab_json/roberta"}});
  directory.write("merges.txt", bytes);
  return read_tokenizer(directory);
}

bool tokenizer_json(std::string_view bytes) {
  static const Directory bert({{"tokenizer_config.json", seeds / "tokenizer_config/bert"}});
  static const Directory roberta({{"tokenizer_config.json", seeds / "tokenizer_config/roberta"}});
  bert.write("tokenizer.json", bytes);
  roberta.write("tokenizer.json", bytes);
  const bool by_bert = read_tokenizer(bert);
  return read_tokenizer(roberta) || by_bert;
}

bool tokenizer_config(std::string_view bytes) {
  static const Directory directory(
      {{"vocab.txt", seeds / "vocab_txt/bert"}, {"spiece.model", data / "tokenizers/bert_generation/spiece.model"}});
  directory.write("tokenizer_config.json", bytes);
  return read_tokenizer(directory);
}

bool spiece_model(std::string_view bytes) {
  static const Directory directory;
  directory.write("spiece.model", bytes);
  return read_tokenizer(directory);
}

/// Lines as `bertgen tokenize --jsonl` answers them, and the sources and options that other commands read in them.
bool json_lines(std::string_view bytes) {
  static const Directory directory({{"spiece.model", data / "tokenizers/bert_generation/spiece.model"}});
  cli::Options options;
  options.model = directory.path();
  options.jsonl = true;
  options.input = directory.write("lines", bytes);
  options.output = directory.path() / "answers";
  cli::run_tokenize(options);
  static const cli::TextCoder coder(directory.path(), options);
  return read([bytes] {
    for (std::size_t begin = 0; begin < bytes.size();) {
      const std::size_t end = std::min(bytes.find('\n', begin), bytes.size());
      const cli::Json request = cli::parse_line(bytes.substr(begin, end - begin));
      if (!request.is_object()) return;
      cli::read_source(request, coder);
      if (request.contains("generation"))
        GenerationConfig().update(cli::dump_line(request["generation"]), "generation");
      begin = end + 1;
    }
  });
}

}  // namespace

const std::map<std::string, Reader>& readers() {
  static const std::map<std::string, Reader> all = {
      {"safetensors", safetensors},
      {"shard_index", shard_index},
      {"zip", zip},
      {"torch_zip", torch_pickle},
      {"torch_legacy", torch_pickle},
      {"pickle", pickle},
      {"config", config},
      {"generation_config", generation_config},
      {"vocab_txt", vocab_txt},
      {"vocab_json", vocab_json},
      {"merges", merges},
      {"tokenizer_json", tokenizer_json},
      {"tokenizer_config", tokenizer_config},
      {"spiece_model", spiece_model},
      {"json_lines", json_lines},
  };
  return all;
}

}  // namespace bertgen::fuzz
