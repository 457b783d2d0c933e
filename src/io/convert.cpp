#include "bertgen/io/convert.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bertgen/core/error.hpp"
#include "bertgen/io/checkpoint.hpp"
#include "bertgen/io/mapped_file.hpp"
#include "bertgen/io/safetensors.hpp"
#include "io/output_file.hpp"
#include "json.hpp"

namespace bertgen {
namespace {

namespace fs = std::filesystem;
using Tensors = std::map<std::string, StoredTensor, std::less<>>;

constexpr std::string_view word_embeddings = "embeddings.word_embeddings.weight";

/// Files that a tokenizer of any kind may have.
constexpr std::array tokenizer_files = {"spiece.model",      "vocab.txt",
                                        "vocab.json",        "merges.txt",
                                        "tokenizer.json",    "tokenizer_config.json",
                                        "added_tokens.json", "special_tokens_map.json"};

bool begins_with(std::string_view name, std::string_view prefix) { return name.substr(0, prefix.size()) == prefix; }

Json read_config(const fs::path& path) {
  try {
    Json config = parse_json(read_text_file(path));
    if (config.is_object()) return config;
    throw JsonError("expected an object, got " + excerpt(config));
  } catch (const JsonError& error) {
    throw ConfigError(path.string() + ": " + error.what());
  }
}

bool is_object(const Json& config, const char* key) { return config.contains(key) && config[key].is_object(); }

/// A flag that need not be there.
bool flag(const Json& config, const char* key, bool otherwise) {
  return config.contains(key) && config[key].is_boolean() ? config[key].get<bool>() : otherwise;
}

/// For every weight under `from` without a namesake under `to`: the same tensor under that name.
void share(Tensors& tensors, const std::string& from, const std::string& to) {
  Tensors added;
  for (const auto& [name, tensor] : tensors) {
    const bool one_half_only =
        name.find(".crossattention.") != std::string::npos || begins_with(name, from + "pooler.");
    if (!begins_with(name, from) || one_half_only || !is_floating(tensor.dtype)) continue;
    added.emplace(to + name.substr(from.size()), tensor);
  }
  tensors.merge(added);
}

/// A file of a shared encoder-decoder has each shared tensor under one half's name only.
void write_out_halves(Tensors& tensors, const Json& config) {
  for (const std::string decoder : {"decoder.bert.", "decoder.roberta."}) {
    const auto first = tensors.lower_bound(decoder);
    if (first == tensors.end() || !begins_with(first->first, decoder)) continue;
    const bool both = tensors.count("encoder." + std::string(word_embeddings)) != 0 &&
                      tensors.count(decoder + std::string(word_embeddings)) != 0;
    if (both && !flag(config, "tie_encoder_decoder", false)) continue;
    share(tensors, decoder, "encoder.");
    share(tensors, "encoder.", decoder);
  }
}

/// Removes a head's matrix and bias that equal what they can be tied to: transformers ties them when it loads.
void leave_out_tied_heads(Tensors& tensors, const std::string& half) {
  const auto same = [&tensors](const std::string& name, const std::string& other) {
    const auto a = tensors.find(name);
    const auto b = tensors.find(other);
    if (a == tensors.end() || b == tensors.end() || a->second.dtype != b->second.dtype ||
        a->second.shape != b->second.shape) {
      return false;
    }
    // One memory, or two if they lie in different shards.
    const std::size_t bytes = a->second.shape.size() * size_of(a->second.dtype);
    return a->second.data == b->second.data || std::equal(a->second.data, a->second.data + bytes, b->second.data);
  };
  for (const std::string head : {"lm_head.", "cls.predictions."}) {
    const std::string matrix = half + head + "decoder.weight";
    for (const std::string base : {"bert.", "roberta."}) {
      if (same(matrix, half + base + std::string(word_embeddings))) tensors.erase(matrix);
    }
    if (same(half + head + "decoder.bias", half + head + "bias")) tensors.erase(half + head + "decoder.bias");
  }
}

/// Under the names that transformers gives its own types.
const char* torch_name(DType dtype) {
  if (dtype == DType::f32) return "float32";
  return dtype == DType::f16 ? "float16" : "bfloat16";
}

void set_dtype(Json& config, DType dtype) {
  const char* key = config.contains("torch_dtype") ? "torch_dtype" : "dtype";  // the name in transformers 4 and 5
  config[key] = torch_name(dtype);
  for (const char* half : {"encoder", "decoder"}) {
    if (!is_object(config, half)) continue;
    for (const char* name : {"torch_dtype", "dtype"}) {
      if (config[half].contains(name) && !config[half][name].is_null()) config[half][name] = torch_name(dtype);
    }
  }
}

/// Whether `path` lies in `directory` or is it.
bool lies_in(const fs::path& path, const fs::path& directory) {
  std::error_code ignored;
  const fs::path inner = fs::weakly_canonical(path / "", ignored);
  const fs::path outer = fs::weakly_canonical(directory / "", ignored);
  const auto ends = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  return ends.first == outer.end() || (std::next(ends.first) == outer.end() && ends.first->empty());
}

}  // namespace

void convert_checkpoint(const fs::path& source, const fs::path& destination, const ConvertOptions& options) {
  const CheckpointFiles files = find_checkpoint(source);
  if (lies_in(source, destination)) {
    throw CheckpointError(destination.string() + ": expected a directory that does not hold the source, " +
                          source.string());
  }
  OutputDirectory output(destination, options.replace);
  Json config = read_config(files.config);
  WeightsReport report;
  Tensors tensors = load_weights(files, &report).tensors();
  for (const std::string& name : report.ignored) tensors.erase(name);
  const bool pair = is_object(config, "encoder") && is_object(config, "decoder");
  if (pair) write_out_halves(tensors, config);
  const Json& head = pair ? config["decoder"] : config;
  if (flag(head, "tie_word_embeddings", true)) leave_out_tied_heads(tensors, pair ? "decoder." : "");
  if (options.dtype) set_dtype(config, *options.dtype);
  // A spelling of early files that transformers no longer finds.
  if (config.value("model_type", Json()) == "encoder_decoder") config["model_type"] = "encoder-decoder";

  write_safetensors(output.temporary() / "model.safetensors", tensors, {{"format", "pt"}}, options.dtype);
  write_file(output.temporary() / "config.json", config.dump(2, ' ', true) + "\n");
  std::vector<std::string> copied(tokenizer_files.begin(), tokenizer_files.end());
  copied.emplace_back("generation_config.json");
  for (const std::string& name : copied) {
    std::error_code ignored;
    if (!fs::exists(source / name, ignored)) continue;
    const auto file = MappedFile::open(source / name);
    write_file(output.temporary() / name, {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()});
  }
  output.commit();
}

}  // namespace bertgen
