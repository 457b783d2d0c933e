// Finding added tokens in a text.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "bertgen/core/token.hpp"
#include "tokenizers/byte_trie.hpp"

namespace bertgen::detail {

/// Finds a set of strings: leftmost, then longest, without overlap.
class AddedTokenMatcher {
 public:
  /// `words` are different and not empty.
  explicit AddedTokenMatcher(const std::vector<std::pair<std::string_view, TokenId>>& words) : trie_(words) {
    for (const auto& [word, id] : words) starts_[static_cast<unsigned char>(word.front())] = true;
  }

  /// Calls found(id, begin, end) for each match in order.
  template <typename Found>
  void for_each(std::string_view text, Found&& found) const {
    for (std::size_t at = 0; at < text.size();) {
      if (!starts_[static_cast<unsigned char>(text[at])]) {
        ++at;
        continue;
      }
      const auto [id, length] = trie_.longest_prefix(text.substr(at));
      if (id >= 0) found(id, at, at + length);
      at += id < 0 ? 1 : length;
    }
  }

 private:
  const ByteTrie trie_;
  std::array<bool, 256> starts_{};
};

}  // namespace bertgen::detail
