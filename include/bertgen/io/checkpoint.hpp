// A directory as transformers saves it.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/core/weights.hpp"
#include "bertgen/io/mapped_file.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// The files of a checkpoint directory.
struct CheckpointFiles {
  std::filesystem::path config;             ///< config.json
  std::filesystem::path generation_config;  ///< generation_config.json, or empty if there is none
  /// The first of model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json:
  /// the file that transformers reads. An index says which file beside it holds which tensor.
  std::filesystem::path weights;
};

/// Finds the files of a checkpoint. Throws CheckpointError naming the directory and what is missing in it.
CheckpointFiles find_checkpoint(const std::filesystem::path& directory);

/// What load_weights() met.
struct WeightsReport {
  std::vector<std::filesystem::path> files;  ///< those that hold tensors, in alphabetical order
  std::string format;  ///< "safetensors", "torch zip" or "torch legacy"; with several, "… and …"
  std::map<std::string, std::string> aliases;  ///< names that only the metadata has, each with the name it stands for
  std::vector<std::string> ignored;            ///< buffers that hold no weights
};

/// All tensors of a checkpoint by the names that transformers 5 gives them: `gamma` and `beta` of a LayerNorm as
/// `weight` and `bias`, names that the file's metadata says share another's storage beside that other. Buffers that
/// hold no weights (`position_ids`) are ignored. An i8 matrix has its `…_scale` beside it (StoredTensor::scale). Fills
/// `report` if there is one. Throws CheckpointError; for an index that is no object of file names beside it, or names a
/// file that is missing or lacks a tensor, too.
Weights load_weights(const CheckpointFiles& files, WeightsReport* report = nullptr,
                     FileAccess access = FileAccess::map);

/// The files of a tokenizer of any kind in `directory`, and in its folders `encoder` and `decoder` where there are two
/// tokenizers, by their names within it ("vocab.txt", "encoder/vocab.txt").
std::map<std::string, std::filesystem::path> tokenizer_files(const std::filesystem::path& directory);

/// How a checkpoint directory is written.
struct SaveOptions {
  /// f32, bf16 or f16; or i8: matrices of products and word embeddings with a scale for each row, which transformers
  /// cannot read. None: every tensor keeps its type.
  std::optional<DType> dtype = std::nullopt;
  bool replace = false;  ///< remove what is in the directory; without, it must be empty or absent
  /// Files to put there too, by their names within it, each with the file that it is a copy of.
  std::map<std::string, std::filesystem::path> files = {};
};

/// Throws CheckpointError if `destination` is the directory `source` or holds it, so that replacing the one would
/// remove the other.
void require_apart(const std::filesystem::path& source, const std::filesystem::path& destination);

/// The directory that `name` means: itself if there is such a directory; else, for a name like "org/model", the
/// snapshot of its main branch in a cache of Hugging Face's hub (`cache` is its folder, which holds
/// "models--org--model"). Nothing is downloaded. Throws CheckpointError saying where it looked.
std::filesystem::path resolve_checkpoint(const std::string& name, const std::filesystem::path& cache);

}  // namespace bertgen
