// A set of strings with values, searched byte by byte.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace bertgen::detail {

/// Immutable prefix tree over bytes.
class ByteTrie {
 public:
  using Node = std::uint32_t;
  static constexpr Node root = 0;
  static constexpr Node none = UINT32_MAX;

  /// `words` are different and not empty; values are not negative.
  explicit ByteTrie(std::vector<std::pair<std::string_view, std::int32_t>> words);

  /// The node one byte further down, `none` if no word goes on so.
  Node next(Node node, char byte) const;
  /// Value of the word that ends at the node, −1 if none does.
  std::int32_t value(Node node) const { return nodes_[node].value; }
  /// Value and length of the longest word at the start of `text`; {−1, 0} if there is none.
  std::pair<std::int32_t, std::size_t> longest_prefix(std::string_view text) const;

 private:
  struct Entry {
    std::int32_t value = -1;
    // Children lie side by side, ordered by byte.
    Node first_child = 0;
    std::uint16_t children = 0;
    char byte = 0;
    // Of a node with many children: where tables_ has their places by byte, first_child + place − 1; 0: none.
    std::uint32_t table = no_table;
  };
  using Table = std::array<std::uint16_t, 256>;
  static constexpr std::uint32_t no_table = UINT32_MAX;
  // A binary search among fewer is as fast.
  static constexpr std::size_t many_children = 8;

  std::vector<Entry> nodes_;
  std::vector<Table> tables_;
};

}  // namespace bertgen::detail
