// The tokenizer of RoBERTa checkpoints: byte-level byte-pair encoding.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/tokenizers/tokenizers_backend.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// How RobertaTokenizer treats spaces; names and defaults of transformers' `RobertaTokenizer`.
struct ByteLevelOptions {
  /// Puts a space before a text, and a part of it after an added token, that does not start with one.
  bool add_prefix_space = false;
  /// Leaves spaces out of offsets.
  bool trim_offsets = true;
};

/// Text to the ids of a byte-level vocabulary (`vocab.json` with `merges.txt`, or `tokenizer.json`) and back, equal to
/// transformers 5's `RobertaTokenizer`: `<s> A </s>`, `<s> A </s></s> B </s>`, no token types.
///
/// A byte that the vocabulary lacks is left out. Tokens of one character may have some of its bytes each. Decoding
/// writes U+FFFD for bytes that are no UTF-8, and never cleans spaces up.
/// Source: Liu et al. 2019 (arXiv:1907.11692), Sennrich et al. 2016 (arXiv:1508.07909), Hugging Face's tokenizers.
class RobertaTokenizer final : public TokenizersBackend {
 public:
  /// `<s>` (bos and cls), `</s>` (eos and sep), `<unk>`, `<pad>` and `<mask>`.
  static TokenizerOptions default_options();

  /// Reads tokenizer.json, or else vocab.json and merges.txt, and, where they exist, tokenizer_config.json (whose
  /// settings win over those in tokenizer.json), special_tokens_map.json and added_tokens.json. Throws TokenizerError,
  /// which names the file, for one that is missing or damaged, and for merges of tokens that are not in the vocabulary.
  static std::unique_ptr<RobertaTokenizer> from_pretrained(const std::filesystem::path& directory);

  /// Reads a vocab.json and a merges.txt. Throws TokenizerError, which names the file.
  RobertaTokenizer(const std::filesystem::path& vocab_file, const std::filesystem::path& merges_file,
                   TokenizerOptions options = default_options(), const ByteLevelOptions& byte_level = {});
  ~RobertaTokenizer() override;

  /// Writes vocab.json and merges.txt. Throws TokenizerError for merges that lines cannot express.
  std::vector<std::filesystem::path> save_vocabulary(const std::filesystem::path& directory) const override;

 private:
  friend class TokenizersBackend;
  struct Model;

  RobertaTokenizer(detail::TokenizerFiles files, const ByteLevelOptions& byte_level);
  RobertaTokenizer(detail::TokenizerFiles&& files, detail::TokenizerPipeline pipeline);
  void encode_segment(std::string_view text, std::size_t begin, std::size_t end,
                      std::vector<Piece>& pieces) const override;
  void encode_words(std::string_view text, std::size_t begin, std::size_t end, std::vector<Piece>& pieces) const;
  std::string tokens_to_text(const std::vector<std::string>& tokens) const override;
  std::string text_of_token(const std::string& token) const override;
  bool can_clean_up() const override { return false; }

  std::unique_ptr<const Model> model_;
};

}  // namespace bertgen
