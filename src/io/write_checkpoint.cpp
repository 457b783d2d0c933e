#include "io/write_checkpoint.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "bertgen/core/error.hpp"
#include "bertgen/io/mapped_file.hpp"
#include "bertgen/io/safetensors.hpp"
#include "io/output_file.hpp"
#include "io/shared_halves.hpp"
#include "kernels/kernels.hpp"

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

constexpr const char* quantization_key = "quantization_config";

/// What is multiplied, or looked up by token. Tables of positions and token types are small, and every token reads
/// them.
bool is_quantizable(std::string_view name, const StoredTensor& tensor) {
  return is_floating(tensor.dtype) && tensor.shape.rank() == 2 && name.ends_with(".weight") &&
         !name.ends_with("position_embeddings.weight") && !name.ends_with("token_type_embeddings.weight");
}

/// A tensor that owns its elements.
template <typename T>
StoredTensor owned(DType dtype, Tensor<T> elements) {
  const auto owner = std::make_shared<const Tensor<T>>(std::move(elements));
  return {dtype, owner->shape(), reinterpret_cast<const std::byte*>(owner->data()), owner};
}

/// As packing for int8 products rounds it (kernels/kernels.hpp).
StoredTensor quantized(const std::string& name, const StoredTensor& matrix) {
  const std::size_t cols = matrix.shape.cols();
  Tensor<std::int8_t> elements(matrix.shape);
  Tensor<float> scales({matrix.shape.rows()});
  std::vector<float> row(cols);
  for (std::size_t i = 0; i < scales.size(); ++i) {
    matrix.read_rows(i, 1, row.data());
    scales[i] = kernels::quantize_row(row.data(), cols, elements.data() + i * cols);
    if (std::isfinite(scales[i])) continue;
    throw CheckpointError(name + ": expected finite values to round to I8, got others in row " + std::to_string(i));
  }
  StoredTensor result = owned(DType::i8, std::move(elements));
  result.scale = std::make_shared<const StoredTensor>(owned(DType::f32, std::move(scales)));
  return result;
}

/// The tensors to write when asked for `dtype`: i8 matrices made or, for another type, undone.
NamedTensors with_type(const NamedTensors& tensors, std::optional<DType> dtype) {
  NamedTensors result;
  for (const auto& [name, tensor] : tensors) {
    if (dtype == DType::i8 && is_quantizable(name, tensor)) {
      result.emplace(name, quantized(name, tensor));
    } else if (dtype && dtype != DType::i8 && tensor.scale != nullptr) {
      result.emplace(name, owned(DType::f32, tensor.to<float>()));
    } else {
      result.emplace(name, tensor);
    }
  }
  return result;
}

/// Gives the scales of i8 matrices names of their own. Returns whether there are any.
bool name_scales(NamedTensors& tensors) {
  NamedTensors scales;
  for (const auto& [name, tensor] : tensors) {
    if (tensor.scale != nullptr) scales.emplace(name + "_scale", *tensor.scale);
  }
  tensors.merge(scales);
  return std::any_of(tensors.begin(), tensors.end(), [](const auto& entry) { return entry.second.scale != nullptr; });
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
  const std::optional<DType> floats = options.dtype == DType::i8 ? std::nullopt : options.dtype;
  set_dtype(content.config, torch_name(floats.value_or(common_dtype(content.tensors))));
  NamedTensors tensors = with_type(content.tensors, options.dtype);
  content.config.erase(quantization_key);
  // Without a quant_method, at which transformers stops: one that it does not know, it warns of and reads on.
  if (name_scales(tensors)) content.config[quantization_key] = {{"bits", 8}, {"quantized_by", "bertgen"}};

  const fs::path& to = output.temporary();
  write_safetensors(to / "model.safetensors", tensors, {{"format", "pt"}}, floats);
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
