// SentencePiece's text normalisation, with the way back to the given text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/byte_trie.hpp"
#include "tokenizers/sentencepiece_model.hpp"

namespace bertgen::detail {

struct NormalizedText {
  std::string text;
  /// Byte of the given text that each byte of `text` comes from, and one more for the end.
  std::vector<std::uint32_t> origins;

  /// Takes bytes that come from byte `origin`.
  void append(std::string_view bytes, std::size_t origin) {
    text += bytes;
    origins.insert(origins.end(), bytes.size(), static_cast<std::uint32_t>(origin));
  }
};

/// Source: SentencePiece 0.2.3, `normalizer::Normalizer`.
class SentencePieceNormalizer {
 public:
  /// `user_defined` holds pieces that are left as they are. Keeps references to both. Throws TokenizerError, with
  /// `source`, if the model's rules are damaged.
  SentencePieceNormalizer(const SentencePieceModel& model, const ByteTrie& user_defined, const std::string& source);

  NormalizedText normalize(std::string_view text) const;

 private:
  // A normalised stretch and how many bytes of the text it stands for.
  struct Prefix {
    std::string_view normalized;
    std::size_t length;
  };
  Prefix normalize_prefix(std::string_view text) const;
  Prefix longest_rule(std::string_view text) const;
  bool is_sound() const;

  const SentencePieceModel& model_;
  const ByteTrie& user_defined_;
  // The rules: a Darts-clone double array from strings to offsets in `replacements_`, each ended by a NUL byte.
  std::vector<std::uint32_t> units_;
  std::string_view replacements_;
};

}  // namespace bertgen::detail
