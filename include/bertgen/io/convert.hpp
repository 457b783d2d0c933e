// Any readable checkpoint as one directory of plain files.
#pragma once

#include <filesystem>

#include "bertgen/core/export.hpp"
#include "bertgen/io/checkpoint.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Writes the checkpoint of `source` to `destination`: config.json, which says the new type; generation_config.json and
/// the files of a tokenizer as they are; model.safetensors with every tensor under the name that transformers 5 gives
/// it. A half that the file leaves to the other is written out, since transformers 5 no longer shares halves; an
/// output matrix that is the word embeddings is left out, buffers without weights are, too.
/// The directory appears whole or not at all, and the same source gives the same bytes. Throws CheckpointError, also
/// for a destination that has files in it or holds the source; ConfigError for config.json.
void convert_checkpoint(const std::filesystem::path& source, const std::filesystem::path& destination,
                        const SaveOptions& options = {});

}  // namespace bertgen
