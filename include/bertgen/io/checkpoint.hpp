// A directory as transformers saves it.
#pragma once

#include <filesystem>
#include <string>

#include "bertgen/core/weights.hpp"

namespace bertgen {

/// The files of a checkpoint directory.
struct CheckpointFiles {
  std::filesystem::path config;             ///< config.json
  std::filesystem::path generation_config;  ///< generation_config.json, or empty if there is none
  std::filesystem::path weights;            ///< model.safetensors
};

/// Finds the files of a checkpoint. Throws CheckpointError naming the directory and what is missing in it.
CheckpointFiles find_checkpoint(const std::filesystem::path& directory);

/// All tensors of a checkpoint by the names that transformers 5 gives them: `gamma` and `beta` of a LayerNorm as
/// `weight` and `bias`, names that the file's metadata says share another's storage beside that other. Buffers that
/// hold no weights (`position_ids`) are ignored. Throws CheckpointError.
Weights load_weights(const CheckpointFiles& files);

}  // namespace bertgen
