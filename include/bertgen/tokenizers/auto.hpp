// The tokenizer that belongs to a checkpoint.
#pragma once

#include <filesystem>
#include <memory>

#include "bertgen/tokenizers/tokenizer.hpp"

namespace bertgen {

/// Hugging Face's AutoTokenizer: chooses by the files of a directory.
class AutoTokenizer {
 public:
  /// BertGenerationTokenizer where there is a spiece.model; null where the directory has no tokenizer files. Throws
  /// TokenizerError for files of a tokenizer that is not supported, and as the tokenizer does.
  static std::unique_ptr<Tokenizer> from_pretrained(const std::filesystem::path& directory);
};

}  // namespace bertgen
