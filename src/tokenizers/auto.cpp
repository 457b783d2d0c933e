#include "bertgen/tokenizers/auto.hpp"

#include "bertgen/core/error.hpp"
#include "bertgen/tokenizers/bert_generation.hpp"

namespace bertgen {

std::unique_ptr<Tokenizer> AutoTokenizer::from_pretrained(const std::filesystem::path& directory) {
  std::error_code ignored;
  if (std::filesystem::exists(directory / "spiece.model", ignored)) {
    return BertGenerationTokenizer::from_pretrained(directory);
  }
  for (const char* file : {"vocab.txt", "vocab.json", "tokenizer.json"}) {
    if (std::filesystem::exists(directory / file, ignored)) {
      throw TokenizerError(directory.string() + ": expected a spiece.model, found " + file +
                           " (its tokenizer is not supported yet)");
    }
  }
  return nullptr;
}

}  // namespace bertgen
