// SentencePiece encoding: text to pieces of a vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizers/byte_trie.hpp"
#include "tokenizers/sentencepiece_model.hpp"
#include "tokenizers/sentencepiece_normalizer.hpp"

namespace bertgen::detail {

/// Encodes as SentencePiece 0.2.3 does, to the bit of its scores. The library itself is not used because versions
/// differ in how they score user-defined pieces and round, and so in the ids; and because it trusts the file: it logs
/// to standard error, aborts, and reads out of bounds. Immutable.
class SentencePiece {
 public:
  struct Piece {
    /// The normalised text of the piece, also where it is unknown.
    std::string text;
    /// Of a piece that is not unknown text; −1 for that.
    std::int32_t id;
    /// Bytes of the given text.
    std::size_t begin;
    std::size_t end;
  };

  /// Throws TokenizerError; `source` names the file that `bytes` came from.
  SentencePiece(std::string_view bytes, const std::string& source);
  SentencePiece(const SentencePiece&) = delete;
  SentencePiece& operator=(const SentencePiece&) = delete;

  std::size_t size() const { return model_.pieces.size(); }
  const std::string& text(std::int32_t id) const { return model_.pieces[static_cast<std::size_t>(id)].text; }
  std::int32_t unknown_id() const { return unknown_id_; }
  std::optional<std::int32_t> find(std::string_view piece) const;

  std::vector<Piece> encode(std::string_view text) const;

 private:
  // A stretch of normalised text with its id; unknown_id_ where no piece fits.
  struct Segment {
    std::string_view text;
    std::int32_t id;
  };
  class BytePairs;

  std::vector<Segment> segment(std::string_view normalized) const;
  std::vector<Segment> best_path(std::string_view normalized) const;
  std::vector<Segment> words(std::string_view normalized) const;
  std::vector<Segment> characters(std::string_view normalized) const;

  // Bytes of the user-defined piece, or else the character, at the start of `normalized` (not empty).
  std::size_t character_length(std::string_view normalized) const;
  // Id of a piece that text may become; unknown_id_ for others.
  std::int32_t piece_id(std::string_view text) const;
  SentencePieceModel::PieceType type(std::int32_t id) const { return kinds_[static_cast<std::size_t>(id)].type; }
  float score(std::int32_t id, std::size_t length) const;

  // What the search asks of a piece, side by side for the cache.
  struct Kind {
    float score;
    SentencePieceModel::PieceType type;
  };

  const SentencePieceModel model_;
  std::vector<Kind> kinds_;
  std::int32_t unknown_id_ = 0;
  float unknown_score_ = 0;
  // Normal, user-defined and unused pieces; the others are not found in text.
  std::unordered_map<std::string_view, std::int32_t> pieces_;
  std::unordered_map<std::string_view, std::int32_t> reserved_;
  const ByteTrie trie_;
  const ByteTrie user_defined_;
  const SentencePieceNormalizer normalizer_;
};

}  // namespace bertgen::detail
