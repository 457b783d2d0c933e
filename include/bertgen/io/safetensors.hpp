// The safetensors file format: a JSON header that says where each tensor lies, then the tensors.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "bertgen/core/export.hpp"
#include "bertgen/core/weights.hpp"
#include "bertgen/io/mapped_file.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// What a file holds besides tensors: its `__metadata__`.
using SafetensorsMetadata = std::map<std::string, std::string>;

/// Maps the file and adds its tensors to `weights`; they stay in the map, which they own together. Everything the
/// format demands is checked before any tensor is used: the header's length and JSON, unknown types, sizes that
/// overflow or do not match their shapes, tensors that overlap, leave gaps or pass the end of the file, names that
/// occur twice. Throws CheckpointError naming the file, the tensor, what was expected and found; `weights` is then
/// unchanged.
SafetensorsMetadata read_safetensors(const std::filesystem::path& path, Weights& weights,
                                     FileAccess access = FileAccess::map);

/// Writes tensors to a file, which appears whole or not at all: it is written beside `path`, then takes its place.
/// The same tensors give the same bytes, those of the reference implementation: larger types first, then names in
/// order; data begins at a multiple of 8. `dtype` (f32, bf16, f16): floating tensors are rounded to that type, f64 by
/// way of f32; by default all stay as they are. Throws CheckpointError naming the file, for a full disk too, or the
/// tensor that has values beyond that type's range; ArgumentError for another type or a name that is no UTF-8.
void write_safetensors(const std::filesystem::path& path,
                       const std::map<std::string, StoredTensor, std::less<>>& tensors,
                       const SafetensorsMetadata& metadata = {{"format", "pt"}},
                       std::optional<DType> dtype = std::nullopt);

}  // namespace bertgen
