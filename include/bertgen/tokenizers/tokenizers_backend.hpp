// The base of the tokenizers that transformers runs on the library `tokenizers`, and reading any of them from its
// tokenizer.json.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/tokenizers/tokenizer.hpp"

namespace BERTGEN_PUBLIC bertgen {

namespace detail {
struct TokenizerFiles;
struct TokenizerPipeline;
}  // namespace detail

/// What BertTokenizer and RobertaTokenizer share: a vocabulary with ids of its own, added tokens cut out of the text in
/// two rounds (before and after normalisation), and a template around the text.
///
/// Equal to transformers' class of the same name but for this. An id outside the vocabulary is an error, not nothing.
/// Bytes that are not valid UTF-8 are read as U+FFFD, one for each byte. A token's offsets leave out the white space
/// that it swallows (`lstrip`, `rstrip`), and of a character that several tokens share, bytes are given once.
class TokenizersBackend : public Tokenizer {
 public:
  /// transformers' `PreTrainedTokenizerFast`: everything as tokenizer.json says. Supported are the WordPiece model with
  /// the normalizer BertNormalizer (or none) and the pre-tokenizer BertPreTokenizer, and the byte-level BPE model.
  /// Throws TokenizerError, which names the file and the key, for anything else and for a file that is missing or
  /// damaged.
  static std::unique_ptr<TokenizersBackend> from_pretrained(const std::filesystem::path& directory);

  ~TokenizersBackend() override;

  std::string tokenizer_class() const override;
  std::size_t vocab_size() const override;
  /// Writes tokenizer.json and tokenizer_config.json.
  std::vector<std::filesystem::path> save_pretrained(const std::filesystem::path& directory) const override;

 protected:
  /// From what the files say.
  TokenizersBackend(detail::TokenizerFiles files, detail::TokenizerPipeline pipeline);

  const detail::TokenizerFiles& files() const { return *files_; }           ///< what save_pretrained() writes
  const detail::TokenizerPipeline& pipeline() const { return *pipeline_; }  ///< what encode() and decode() do

 private:
  /// Appends the pieces of text[begin, end), which has no added tokens but those that are `normalized`.
  virtual void encode_segment(std::string_view text, std::size_t begin, std::size_t end,
                              std::vector<Piece>& pieces) const = 0;

  std::vector<Piece> tokenize(std::string_view text) const override;
  std::vector<TemplateItem> sequence_template(bool pair) const override;
  bool has_token_type_ids() const override;
  std::optional<TokenId> find_in_vocabulary(std::string_view token) const override;
  std::optional<std::string> vocabulary_token(TokenId id) const override;
  TokenId unknown_id() const override;

  std::unique_ptr<const detail::TokenizerFiles> files_;
  std::unique_ptr<const detail::TokenizerPipeline> pipeline_;
};

}  // namespace bertgen
