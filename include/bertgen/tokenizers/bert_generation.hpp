// The tokenizer of BertGeneration checkpoints: SentencePiece, with special tokens cut out of the text first.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/tokenizers/tokenizer.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Text to the ids of a SentencePiece vocabulary (`spiece.model`) and back, equal to transformers 5's
/// `BertGenerationTokenizer`.
///
/// Special tokens spelled in a text (`<s>`, `</s>`, `<unk>`, `<pad>`, `<::::>`) become their ids; every stretch between
/// them is encoded on its own. Nothing is added: a text is its pieces, a pair is both texts' pieces, and there are no
/// token types. Decoding joins the pieces and strips white space at both ends.
///
/// Bytes that are not valid UTF-8 do not fail: each is read as U+FFFD (one per byte), and offsets still count bytes of
/// the given text. Sampling (`sp_model_kwargs.enable_sampling`) is ignored: encoding is deterministic.
///
/// Two deliberate differences, both only where tokens were added by hand. Added tokens match leftmost, then longest;
/// transformers' trie can miss a token that starts inside a failed match of another. And white space other than a plain
/// space, swallowed by a token that is `single_word` too, is not dropped when the token turns out to be part of a word.
class BertGenerationTokenizer final : public Tokenizer {
 public:
  /// `<s>`, `</s>`, `<unk>`, `<::::>` and `<pad>`; no cls or mask token.
  static TokenizerOptions default_options();

  /// Reads spiece.model and, where they exist, tokenizer_config.json, special_tokens_map.json and added_tokens.json
  /// (the last two only if the first has no `added_tokens_decoder`). Throws TokenizerError, which names the file, for
  /// one that is missing, damaged or asks for what is not supported (`legacy: false`, `add_bos`, `add_eos`, `reverse`).
  static std::unique_ptr<BertGenerationTokenizer> from_pretrained(const std::filesystem::path& directory);

  /// Reads one SentencePiece model: unigram, byte-pair, word or character. Throws TokenizerError, which names the file,
  /// for one that is missing or damaged.
  explicit BertGenerationTokenizer(const std::filesystem::path& vocab_file,
                                   TokenizerOptions options = default_options());
  ~BertGenerationTokenizer() override;

  std::string tokenizer_class() const override;
  std::size_t vocab_size() const override;
  /// Writes spiece.model, byte for byte as it was read.
  std::vector<std::filesystem::path> save_vocabulary(const std::filesystem::path& directory) const override;
  /// Writes tokenizer_config.json, spiece.model and, if tokens were appended to the vocabulary, added_tokens.json.
  std::vector<std::filesystem::path> save_pretrained(const std::filesystem::path& directory) const override;

 private:
  struct Model;

  BertGenerationTokenizer(std::unique_ptr<const Model> model, TokenizerOptions options);
  // Appends the pieces of text without added tokens, which starts at byte `begin` of the given text.
  void encode_segment(std::string_view segment, std::size_t begin, std::vector<Piece>& pieces) const;
  std::vector<Piece> tokenize(std::string_view text) const override;
  std::vector<TemplateItem> sequence_template(bool pair) const override;
  bool has_token_type_ids() const override { return false; }
  std::optional<TokenId> find_in_vocabulary(std::string_view token) const override;
  std::optional<std::string> vocabulary_token(TokenId id) const override;
  TokenId unknown_id() const override;
  std::string tokens_to_text(const std::vector<std::string>& tokens) const override;

  std::unique_ptr<const Model> model_;
};

}  // namespace bertgen
