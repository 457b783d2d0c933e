// Byte-pair encoding with ranked merges.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bertgen/core/token.hpp"
#include "tokenizers/vocabulary.hpp"

namespace bertgen::detail {

/// Byte-level `BPE` of tokenizers: of all neighbours that may merge, those with the best rank do, the leftmost first,
/// until none may.
class BytePairs {
 public:
  struct Piece {
    TokenId id;
    /// Bytes of the word.
    std::size_t begin;
    std::size_t end;
  };
  /// Memory that words share.
  struct Scratch {
    // A stretch of the word; neighbours are linked by index.
    struct Symbol {
      TokenId id;
      std::uint32_t begin;
      std::uint32_t end;
      std::int32_t previous;
      std::int32_t next;
    };
    struct Candidate {
      std::uint32_t rank;
      std::uint32_t left;
      TokenId id;
    };

    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  /// `unknown_id` stands for bytes that the vocabulary lacks; −1: they are left out. Throws TokenizerError, which names
  /// `source`, for merges of or into tokens that are not in the vocabulary.
  BytePairs(const Vocabulary& vocabulary, const Merges& merges, TokenId unknown_id, const std::string& source);

  /// Sets `pieces` to those of one word; O(n log n) in its bytes.
  void encode(std::string_view word, std::vector<Piece>& pieces, Scratch& scratch) const;

 private:
  struct Merge {
    std::uint32_t rank;
    TokenId id;
  };
  struct Slot {
    std::uint64_t pair;
    Merge merge;
  };

  // One symbol for each byte that the vocabulary has.
  void split(std::string_view word, std::vector<Scratch::Symbol>& symbols) const;
  // Merges the best neighbours until none may; a symbol that became part of another has the id −1.
  void merge(std::vector<Scratch::Symbol>& symbols, std::vector<Scratch::Candidate>& heap) const;
  void add_merge(TokenId left, TokenId right, const Merge& merge);
  const Merge* find_merge(TokenId left, TokenId right) const;

  std::array<TokenId, 256> byte_ids_;
  // A hash table with open addressing and a size that is a power of two.
  std::vector<Slot> slots_;
};

}  // namespace bertgen::detail
