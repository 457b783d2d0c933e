#include "io/write_checkpoint.hpp"

#include <utility>

#include "bertgen/core/error.hpp"
#include "bertgen/io/mapped_file.hpp"
#include "bertgen/io/safetensors.hpp"
#include "io/output_file.hpp"
#include "io/shared_halves.hpp"

namespace bertgen {
namespace {

namespace fs = std::filesystem;

/// Removes a head's matrix and bias that equal what transformers ties them to when it loads.
void leave_out_tied_heads(NamedTensors& tensors, const std::string& half) {
  const auto leave_out = [&tensors](const std::string& name, const std::string& tied_to) {
    const auto found = tensors.find(name);
    const auto source = tensors.find(tied_to);
    if (found == tensors.end() || source == tensors.end()) return;
    // One memory, or two that lie in different shards.
    if (same_content(found->second, source->second)) tensors.erase(found);
  };
  for (const std::string head : {"lm_head.", "cls.predictions."}) {
    for (const std::string base : {"bert.", "roberta."}) {
      leave_out(half + head + "decoder.weight", half + base + std::string(word_embeddings));
    }
    leave_out(half + head + "decoder.bias", half + head + "bias");
  }
}

/// The type that transformers shall compute in: that of all floating tensors, float32 where they differ.
DType common_dtype(const NamedTensors& tensors) {
  std::optional<DType> common;
  for (const auto& [name, tensor] : tensors) {
    if (!is_floating(tensor.dtype) || tensor.dtype == common) continue;
    common = common ? DType::f32 : tensor.dtype;
  }
  return common.value_or(DType::f32);
}

/// Under the names that transformers gives its own types.
const char* torch_name(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return "float16";
    case DType::bf16:
      return "bfloat16";
    case DType::f64:
      return "float64";
    default:
      return "float32";
  }
}

void set_dtype(Json& config, const char* type) {
  const char* key = config.contains("torch_dtype") ? "torch_dtype" : "dtype";  // the name in transformers 4 and 5
  config[key] = type;
  for (const char* half : {"encoder", "decoder"}) {
    if (!config.contains(half) || !config[half].is_object()) continue;
    for (const char* name : {"torch_dtype", "dtype"}) {
      if (config[half].contains(name) && !config[half][name].is_null()) config[half][name] = type;
    }
  }
}

}  // namespace

void write_checkpoint(const fs::path& directory, CheckpointContent content, const SaveOptions& options) {
  OutputDirectory output(directory, options.replace);
  const bool pair = content.config.contains("decoder") && content.config["decoder"].is_object();
  const Json& head = pair ? content.config["decoder"] : content.config;
  const auto tied = head.find("tie_word_embeddings");
  if (tied == head.end() || *tied != false) leave_out_tied_heads(content.tensors, pair ? "decoder." : "");
  set_dtype(content.config, torch_name(options.dtype.value_or(common_dtype(content.tensors))));

  const fs::path& to = output.temporary();
  write_safetensors(to / "model.safetensors", content.tensors, {{"format", "pt"}}, options.dtype);
  write_file(to / "config.json", content.config.dump(2, ' ', true) + "\n");
  if (!content.generation_config.empty()) write_file(to / "generation_config.json", content.generation_config);
  for (const auto& [name, source] : options.files) {
    const fs::path file = to / name;
    std::error_code ignored;
    fs::create_directories(file.parent_path(), ignored);  // what fails here fails again below, with a reason
    const auto copied = MappedFile::open(source);
    write_file(file, {reinterpret_cast<const char*>(copied->bytes().data()), copied->bytes().size()});
  }
  output.commit();
}

}  // namespace bertgen
