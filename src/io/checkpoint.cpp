#include "bertgen/io/checkpoint.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <set>

#include "bertgen/core/error.hpp"
#include "bertgen/io/mapped_file.hpp"
#include "bertgen/io/safetensors.hpp"
#include "bertgen/io/torch_pickle.hpp"
#include "json.hpp"

namespace bertgen {
namespace {

/// In the order in which transformers looks for them.
constexpr std::array weight_files = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                     "pytorch_model.bin.index.json"};

/// Files that a tokenizer of any kind may have.
constexpr std::array names_of_tokenizer_files = {"spiece.model",      "vocab.txt",
                                                 "vocab.json",        "merges.txt",
                                                 "tokenizer.json",    "tokenizer_config.json",
                                                 "added_tokens.json", "special_tokens_map.json"};

/// The name that transformers gives today: TensorFlow's gamma and beta of a layer norm are weight and bias.
std::string current_name(std::string name) {
  for (const auto& [old, now] :
       {std::pair{"LayerNorm.gamma", "LayerNorm.weight"}, {"LayerNorm.beta", "LayerNorm.bias"}}) {
    if (name.ends_with(old)) name.replace(name.size() - std::string_view(old).size(), std::string::npos, now);
  }
  return name;
}

/// Buffers of old files that are computed, not learned.
bool is_buffer(std::string_view name) {
  return name.ends_with("embeddings.position_ids") || name.ends_with("embeddings.token_type_ids");
}

constexpr std::string_view scale_suffix = "_scale";

/// An i8 tensor X stands for floating numbers where there is an f32 tensor X_scale with a number for each of its rows.
Weights with_scales(const Weights& weights) {
  Weights paired(weights.source());
  for (const auto& [name, tensor] : weights.tensors()) {
    if (name.ends_with(scale_suffix)) {
      const StoredTensor* matrix = weights.find(name.substr(0, name.size() - scale_suffix.size()));
      if (matrix != nullptr && matrix->dtype == DType::i8) continue;
    }
    StoredTensor result = tensor;
    const StoredTensor* scale = tensor.dtype == DType::i8 ? weights.find(name + std::string(scale_suffix)) : nullptr;
    if (scale != nullptr) {
      const Shape expected = {tensor.shape.rows()};
      if (scale->dtype != DType::f32 || scale->shape != expected) {
        throw CheckpointError(name + std::string(scale_suffix) + ": expected F32 " + to_string(expected) + ", got " +
                              std::string(dtype_name(scale->dtype)) + " " + to_string(scale->shape) + " (" +
                              weights.source() + ")");
      }
      result.scale = std::make_shared<const StoredTensor>(*scale);
    }
    paired.add(name, std::move(result));
  }
  return paired;
}

/// The tensors as files have them, before names are made current.
struct Stored {
  Weights weights;
  SafetensorsMetadata metadata;
  std::set<std::string> formats;
};

void read_file(const std::filesystem::path& path, FileAccess access, Stored& stored) {
  if (path.string().ends_with(".safetensors")) {
    stored.metadata.merge(read_safetensors(path, stored.weights, access));
    stored.formats.insert("safetensors");
  } else {
    const TorchFormat format = read_torch_pickle(path, stored.weights, access);
    stored.formats.insert(format == TorchFormat::zip ? "torch zip" : "torch legacy");
  }
}

/// Which file holds which tensor.
using WeightMap = std::map<std::string, std::string>;

WeightMap read_index(const std::filesystem::path& path) {
  const auto fail = [&path](const std::string& what) -> CheckpointError {
    return CheckpointError(path.string() + ": " + what);
  };
  Json index;
  try {
    index = parse_json(read_text_file(path), true);
  } catch (const JsonError& error) {
    throw fail(error.what());
  } catch (const ConfigError& error) {
    throw CheckpointError(error.what());
  }
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw fail("expected an object with a weight_map, got " + excerpt(index));
  }
  const std::string end = path.string().ends_with(".safetensors.index.json") ? ".safetensors" : ".bin";
  WeightMap map;
  for (const auto& [name, file] : index["weight_map"].items()) {
    if (!file.is_string()) throw fail("weight_map." + name + ": expected the name of a file, got " + excerpt(file));
    const auto& text = file.get_ref<const std::string&>();
    // Only files beside the index: a path could lead anywhere.
    if (text.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos || !text.ends_with(end)) {
      throw fail("weight_map." + name + ": expected the name of a " + end + " file beside the index, got " +
                 excerpt(file));
    }
    map.emplace(name, text);
  }
  return map;
}

/// Reads every shard that an index names, and checks that each has what the index says.
std::vector<std::filesystem::path> read_shards(const std::filesystem::path& index, FileAccess access, Stored& stored) {
  const WeightMap map = read_index(index);
  std::map<std::string, std::set<std::string>> shards;  // the tensors that each is said to hold
  for (const auto& [name, file] : map) shards[file].insert(name);
  std::vector<std::filesystem::path> paths;
  for (const auto& [file, names] : shards) {
    const std::filesystem::path path = index.parent_path() / file;
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) {
      throw CheckpointError(index.string() + ": expected the file " + file + " beside it, found none");
    }
    std::set<std::string> before;
    for (const auto& [name, tensor] : stored.weights.tensors()) before.insert(name);
    read_file(path, access, stored);
    for (const std::string& name : names) {
      if (!stored.weights.contains(name) || before.count(name) != 0) {
        throw CheckpointError(index.string() + ": " + name + ": expected it in " + file + ", found " +
                              (before.count(name) != 0 ? "it in another file" : "none"));
      }
    }
    paths.push_back(path);
  }
  return paths;
}

/// The name as a folder of a hub's cache, "models--org--model"; empty if it is no name of a model.
std::string cache_folder(const std::string& name) {
  const auto slash = name.find('/');
  std::string folder = "models--" + name;
  if (slash != std::string::npos) folder = "models--" + name.substr(0, slash) + "--" + name.substr(slash + 1);
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
           c == '.' || c == '/';
  });
  const bool hidden =
      name.empty() || name[0] == '.' || name[0] == '/' || name.find("/.") != std::string::npos || name.back() == '/';
  return plain && !hidden && folder.find('/') == std::string::npos ? folder : std::string();
}

}  // namespace

CheckpointFiles find_checkpoint(const std::filesystem::path& directory) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(directory, ignored)) {
    throw CheckpointError(directory.string() + ": expected a checkpoint directory, found " +
                          (std::filesystem::exists(directory, ignored) ? "a file" : "nothing"));
  }
  const auto refuse = [&directory](const std::string& missing) {
    throw CheckpointError(directory.string() + ": expected " + missing + " in it, found none");
  };
  CheckpointFiles files{directory / "config.json", directory / "generation_config.json", {}};
  if (!std::filesystem::exists(files.config, ignored)) refuse("config.json");
  if (!std::filesystem::exists(files.generation_config, ignored)) files.generation_config.clear();
  std::string names;
  for (const char* name : weight_files) {
    if (std::filesystem::exists(directory / name, ignored)) {
      files.weights = directory / name;
      return files;
    }
    names += names.empty() ? name : std::string(name == weight_files.back() ? " or " : ", ") + name;
  }
  refuse(names);
  return files;
}

Weights load_weights(const CheckpointFiles& files, WeightsReport* report, FileAccess access) {
  Stored stored{Weights(files.weights.string()), {}, {}};
  std::vector<std::filesystem::path> paths = {files.weights};
  if (files.weights.string().ends_with(".index.json")) {
    paths = read_shards(files.weights, access, stored);
  } else {
    read_file(files.weights, access, stored);
  }
  WeightsReport met;
  met.files = std::move(paths);
  for (const std::string& format : stored.formats) met.format += (met.format.empty() ? "" : " and ") + format;
  Weights weights(files.weights.string());
  for (const auto& [name, tensor] : stored.weights.tensors()) weights.add(current_name(name), tensor);
  // safetensors' save_model writes a tensor that has several names once, and {dropped name: kept name} beside it.
  for (const auto& [alias, kept] : stored.metadata) {
    const StoredTensor* tensor = stored.weights.find(kept);
    if (tensor == nullptr || weights.contains(current_name(alias))) continue;
    weights.add(current_name(alias), *tensor);
    met.aliases.emplace(current_name(alias), current_name(kept));
  }
  weights = with_scales(weights);
  for (const auto& [name, tensor] : weights.tensors()) {
    if (is_buffer(name)) {
      weights.ignore(name);
      met.ignored.push_back(name);
    }
  }
  if (report != nullptr) *report = std::move(met);
  return weights;
}

std::map<std::string, std::filesystem::path> tokenizer_files(const std::filesystem::path& directory) {
  std::map<std::string, std::filesystem::path> files;
  for (const std::string folder : {"", "encoder/", "decoder/"}) {
    for (const char* file : names_of_tokenizer_files) {
      const std::string name = folder + file;
      std::error_code ignored;
      if (std::filesystem::exists(directory / name, ignored)) files.emplace(name, directory / name);
    }
  }
  return files;
}

void require_apart(const std::filesystem::path& source, const std::filesystem::path& destination) {
  std::error_code ignored;
  const auto inner = std::filesystem::weakly_canonical(source / "", ignored);
  const auto outer = std::filesystem::weakly_canonical(destination / "", ignored);
  const auto ends = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  // The last part of a path that ends in a slash is empty.
  if (ends.first != outer.end() && (std::next(ends.first) != outer.end() || !ends.first->empty())) return;
  throw CheckpointError(destination.string() + ": expected a directory that does not hold the source, " +
                        source.string());
}

std::filesystem::path resolve_checkpoint(const std::string& name, const std::filesystem::path& cache) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (fs::is_directory(name, ignored)) return name;
  if (fs::exists(name, ignored)) throw CheckpointError(name + ": expected a checkpoint directory, found a file");
  const std::string folder = cache_folder(name);
  if (folder.empty()) throw CheckpointError(name + ": expected a checkpoint directory, found nothing");
  const std::string expected =
      name + ": expected a checkpoint directory, or a model in the cache, found nothing; looked ";
  const fs::path reference = cache / folder / "refs" / "main";
  if (!fs::is_regular_file(reference, ignored)) throw CheckpointError(expected + "for " + reference.string());
  std::string commit;
  try {
    commit = read_text_file(reference);
  } catch (const ConfigError& error) {
    throw CheckpointError(error.what());
  }
  while (!commit.empty() && (commit.back() == '\n' || commit.back() == '\r')) commit.pop_back();
  const bool is_hash = !commit.empty() && std::all_of(commit.begin(), commit.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (!is_hash) throw CheckpointError(reference.string() + ": expected a commit, got " + excerpt(commit));
  fs::path snapshot = cache / folder / "snapshots" / commit;
  if (!fs::is_directory(snapshot, ignored)) throw CheckpointError(expected + "in " + snapshot.string());
  return snapshot;
}

}  // namespace bertgen
