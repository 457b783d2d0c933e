// The tokenizer that belongs to a checkpoint.
#pragma once

#include <filesystem>
#include <memory>

#include "bertgen/core/export.hpp"
#include "bertgen/tokenizers/tokenizer.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Hugging Face's AutoTokenizer: chooses by the files of a directory.
class AutoTokenizer {
 public:
  /// The class that tokenizer_config.json names (`tokenizer_class`), else config.json; else the one of config.json's
  /// model_type, which for an encoder-decoder is its encoder's; else the one whose files there are, first spiece.model,
  /// then vocab.json, vocab.txt, tokenizer.json. Null where the directory has no tokenizer files.
  /// Throws TokenizerError for a tokenizer that is not supported, and as the class's from_pretrained does.
  static std::unique_ptr<Tokenizer> from_pretrained(const std::filesystem::path& directory);
};

/// Tokenizers of an encoder-decoder's two halves.
struct EncoderDecoderTokenizers {
  /// For the source. Null where the directory has no tokenizer files.
  std::shared_ptr<const Tokenizer> encoder;
  /// For targets and answers; the encoder's where the directory has one tokenizer for both.
  std::shared_ptr<const Tokenizer> decoder;

  /// Reads the tokenizers of the subdirectories `encoder` and `decoder` where both hold one, else that of the directory
  /// for both. Throws as AutoTokenizer.
  static EncoderDecoderTokenizers from_pretrained(const std::filesystem::path& directory);
};

}  // namespace bertgen
