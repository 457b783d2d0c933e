// BERT's way from a text to word pieces: normalisation, splitting into words, and the WordPiece model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bertgen/core/token.hpp"
#include "bertgen/tokenizers/bert.hpp"
#include "tokenizers/byte_trie.hpp"
#include "tokenizers/vocabulary.hpp"

namespace bertgen::detail {

/// Normalised text that knows where it comes from.
struct NormalizedText {
  std::string text;
  /// For each byte, where the character that it comes from begins in the given text.
  std::vector<std::uint32_t> origins;
};

/// tokenizers' `BertNormalizer`.
class BertNormalizer {
 public:
  explicit BertNormalizer(const BertNormalization& normalization);

  /// Normalises text[begin, end).
  NormalizedText normalize(std::string_view text, std::size_t begin, std::size_t end) const;

 private:
  class Run;

  BertNormalization normalization_;
  bool strip_accents_;
};

/// tokenizers' `WordPiece` behind its `BertPreTokenizer`.
class WordPiece {
 public:
  struct Piece {
    TokenId id;
    std::size_t begin;
    std::size_t end;
  };

  WordPiece(const Vocabulary& vocabulary, TokenId unknown_id, std::string_view continuing_subword_prefix,
            std::size_t max_input_chars_per_word);

  /// Appends the pieces of text[begin, end), which is valid UTF-8.
  void encode(std::string_view text, std::size_t begin, std::size_t end, std::vector<Piece>& pieces) const;

 private:
  void encode_word(std::string_view text, std::size_t begin, std::size_t end, std::vector<Piece>& pieces) const;

  const ByteTrie words_;
  const ByteTrie continuations_;
  const TokenId unknown_id_;
  const std::size_t max_input_chars_per_word_;
};

/// tokenizers' WordPiece decoder.
std::string join_word_pieces(const std::vector<std::string>& tokens, std::string_view prefix, bool cleanup);

}  // namespace bertgen::detail
