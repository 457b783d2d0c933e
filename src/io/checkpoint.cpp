#include "bertgen/io/checkpoint.hpp"

#include "bertgen/core/error.hpp"
#include "bertgen/io/safetensors.hpp"

namespace bertgen {
namespace {

bool ends_with(std::string_view name, std::string_view end) {
  return name.size() >= end.size() && name.substr(name.size() - end.size()) == end;
}

/// The name that transformers gives today: TensorFlow's gamma and beta of a layer norm are weight and bias.
std::string current_name(std::string name) {
  for (const auto& [old, now] :
       {std::pair{"LayerNorm.gamma", "LayerNorm.weight"}, {"LayerNorm.beta", "LayerNorm.bias"}}) {
    if (ends_with(name, old)) name.replace(name.size() - std::string_view(old).size(), std::string::npos, now);
  }
  return name;
}

/// Buffers of old files that are computed, not learned.
bool is_buffer(std::string_view name) {
  return ends_with(name, "embeddings.position_ids") || ends_with(name, "embeddings.token_type_ids");
}

}  // namespace

CheckpointFiles find_checkpoint(const std::filesystem::path& directory) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(directory, ignored)) {
    throw CheckpointError(directory.string() + ": expected a checkpoint directory, found " +
                          (std::filesystem::exists(directory, ignored) ? "a file" : "nothing"));
  }
  CheckpointFiles files{directory / "config.json", directory / "generation_config.json",
                        directory / "model.safetensors"};
  for (const auto& path : {files.config, files.weights}) {
    if (!std::filesystem::exists(path, ignored)) {
      throw CheckpointError(directory.string() + ": expected " + path.filename().string() + " in it, found none");
    }
  }
  if (!std::filesystem::exists(files.generation_config, ignored)) files.generation_config.clear();
  return files;
}

Weights load_weights(const CheckpointFiles& files) {
  Weights stored(files.weights.string());
  const SafetensorsMetadata metadata = read_safetensors(files.weights, stored);
  Weights weights(files.weights.string());
  for (const auto& [name, tensor] : stored.tensors()) weights.add(current_name(name), tensor);
  // safetensors' save_model writes a tensor that has several names once, and {dropped name: kept name} beside it.
  for (const auto& [alias, kept] : metadata) {
    const StoredTensor* tensor = stored.find(kept);
    if (tensor != nullptr && !weights.contains(current_name(alias))) weights.add(current_name(alias), *tensor);
  }
  for (const auto& [name, tensor] : weights.tensors()) {
    if (is_buffer(name)) weights.ignore(name);
  }
  return weights;
}

}  // namespace bertgen
