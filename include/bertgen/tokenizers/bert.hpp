// The tokenizer of BERT checkpoints: words split at punctuation, then WordPiece.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/tokenizers/tokenizers_backend.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// How BertTokenizer prepares a text; names and defaults of transformers' `BertTokenizer`.
struct BertNormalization {
  bool do_lower_case = true;  ///< ids do not depend on case
  /// Makes every ideograph a word.
  bool tokenize_chinese_chars = true;
  /// Decomposes characters and drops accents. Unset: where do_lower_case is.
  std::optional<bool> strip_accents = std::nullopt;
  /// Drops control characters and makes all white space plain spaces. Only a tokenizer.json can say no.
  bool clean_text = true;
};

/// Text to the ids of a WordPiece vocabulary (`vocab.txt`, or `tokenizer.json`) and back, equal to transformers 5's
/// `BertTokenizer`: `[CLS] A [SEP]`, `[CLS] A [SEP] B [SEP]` with token types 0 and 1.
///
/// Decoding joins words with spaces and continuations (`##ly`) without, and cleans spaces inside single tokens as
/// tokenizers' WordPiece decoder does; clean_up_tokenization_spaces does the same to the whole text.
/// Source: Devlin et al. 2019 (arXiv:1810.04805), Hugging Face's tokenizers.
class BertTokenizer final : public TokenizersBackend {
 public:
  /// `[UNK]`, `[SEP]`, `[PAD]`, `[CLS]` and `[MASK]`; no bos or eos token.
  static TokenizerOptions default_options();

  /// Reads tokenizer.json or else vocab.txt and, where they exist, tokenizer_config.json (whose settings win over those
  /// in tokenizer.json), special_tokens_map.json and added_tokens.json. Throws TokenizerError, which names the file,
  /// for one that is missing or damaged, and for a vocabulary without the unknown token.
  static std::unique_ptr<BertTokenizer> from_pretrained(const std::filesystem::path& directory);

  /// Reads a vocab.txt: a token a line. Throws TokenizerError, which names the file.
  explicit BertTokenizer(const std::filesystem::path& vocab_file, TokenizerOptions options = default_options(),
                         const BertNormalization& normalization = {});
  ~BertTokenizer() override;

  /// Writes vocab.txt. Throws TokenizerError for a vocabulary that lines cannot express.
  std::vector<std::filesystem::path> save_vocabulary(const std::filesystem::path& directory) const override;

 private:
  friend class TokenizersBackend;
  struct Model;

  BertTokenizer(detail::TokenizerFiles files, const BertNormalization& normalization);
  BertTokenizer(detail::TokenizerFiles&& files, detail::TokenizerPipeline pipeline);
  void encode_segment(std::string_view text, std::size_t begin, std::size_t end,
                      std::vector<Piece>& pieces) const override;
  std::string tokens_to_text(const std::vector<std::string>& tokens) const override;
  std::string normalized_content(std::string_view content) const override;

  std::unique_ptr<const Model> model_;
};

}  // namespace bertgen
