// Files of torch.save: pytorch_model.bin.
#pragma once

#include <filesystem>

#include "bertgen/core/export.hpp"
#include "bertgen/core/weights.hpp"
#include "bertgen/io/mapped_file.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// How a file of torch.save is laid out.
enum class TorchFormat {
  zip,    ///< a zip archive, since torch 1.6
  legacy  ///< pickles one after another, then the storages
};

/// Maps a file in which torch.save wrote a dictionary of tensors, and adds them to `weights`. They stay in the map,
/// which they own together; a view whose elements lie apart is copied. Tensors that share a storage in the file share
/// it here. The pickle is read as data: nothing it names is run, and whatever a dictionary of tensors does not need is
/// refused by its name. Storages must be those that the pickle asks for, and tensors must lie in them.
/// Throws CheckpointError naming the file, the tensor, what was expected and found; `weights` is then unchanged.
TorchFormat read_torch_pickle(const std::filesystem::path& path, Weights& weights, FileAccess access = FileAccess::map);

}  // namespace bertgen
