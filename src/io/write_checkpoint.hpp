// The one way to write a checkpoint directory.
#pragma once

#include <filesystem>
#include <string>

#include "bertgen/io/checkpoint.hpp"
#include "json.hpp"

namespace bertgen {

/// What a directory holds.
struct CheckpointContent {
  Json config;                    ///< of config.json
  std::string generation_config;  ///< of generation_config.json; empty: there is none
  NamedTensors tensors;
};

/// Writes config.json, with the tensors' type; generation_config.json; model.safetensors, without a head's matrix and
/// bias that transformers ties when it loads; and `options.files`. The directory appears whole or not at all, and the
/// same content gives the same bytes. Throws CheckpointError, also for a directory that has files in it.
void write_checkpoint(const std::filesystem::path& directory, CheckpointContent content, const SaveOptions& options);

}  // namespace bertgen
