// The safetensors file format: a JSON header that says where each tensor lies, then the tensors.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "bertgen/core/weights.hpp"

namespace bertgen {

/// What a file holds besides tensors: its `__metadata__`.
using SafetensorsMetadata = std::map<std::string, std::string>;

/// Maps the file and adds its tensors to `weights`; they stay in the map, which they own together. Everything the
/// format demands is checked before any tensor is used: the header's length and JSON, unknown types, sizes that
/// overflow or do not match their shapes, tensors that overlap, leave gaps or pass the end of the file, names that
/// occur twice. Throws CheckpointError naming the file, the tensor, what was expected and found; `weights` is then
/// unchanged.
SafetensorsMetadata read_safetensors(const std::filesystem::path& path, Weights& weights);

}  // namespace bertgen
