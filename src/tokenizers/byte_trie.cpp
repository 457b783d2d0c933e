#include "tokenizers/byte_trie.hpp"

#include <algorithm>

namespace bertgen::detail {

ByteTrie::ByteTrie(std::vector<std::pair<std::string_view, std::int32_t>> words) : nodes_(1) {
  std::sort(words.begin(), words.end());
  // A node under construction: the sorted words [begin, end) share its path of `depth` bytes.
  struct Open {
    Node node;
    std::size_t begin;
    std::size_t end;
    std::size_t depth;
  };
  std::vector<Open> level = {{root, 0, words.size(), 0}};
  while (!level.empty()) {
    std::vector<Open> below;
    for (Open open : level) {
      if (open.begin < open.end && words[open.begin].first.size() == open.depth) {
        nodes_[open.node].value = words[open.begin++].second;
      }
      nodes_[open.node].first_child = static_cast<Node>(nodes_.size());
      while (open.begin < open.end) {
        const char byte = words[open.begin].first[open.depth];
        std::size_t end = open.begin;
        while (end < open.end && words[end].first[open.depth] == byte) ++end;
        below.push_back({static_cast<Node>(nodes_.size()), open.begin, end, open.depth + 1});
        nodes_.emplace_back().byte = byte;
        ++nodes_[open.node].children;
        open.begin = end;
      }
    }
    level = std::move(below);
  }
  for (Entry& node : nodes_) {
    if (node.children < many_children) continue;
    node.table = static_cast<std::uint32_t>(tables_.size());
    Table& table = tables_.emplace_back();
    for (std::uint16_t child = 0; child < node.children; ++child) {
      table[static_cast<unsigned char>(nodes_[node.first_child + child].byte)] = static_cast<std::uint16_t>(child + 1);
    }
  }
}

ByteTrie::Node ByteTrie::next(Node node, char byte) const {
  const Entry& entry = nodes_[node];
  if (entry.table != no_table) {
    const std::uint16_t place = tables_[entry.table][static_cast<unsigned char>(byte)];
    return place == 0 ? none : entry.first_child + place - 1;
  }
  const auto first = nodes_.begin() + entry.first_child;
  const auto last = first + entry.children;
  // As string_view orders its bytes: unsigned.
  const auto less = [](const Entry& child, char wanted) {
    return static_cast<unsigned char>(child.byte) < static_cast<unsigned char>(wanted);
  };
  const auto found = std::lower_bound(first, last, byte, less);
  return found != last && found->byte == byte ? static_cast<Node>(found - nodes_.begin()) : none;
}

std::pair<std::int32_t, std::size_t> ByteTrie::longest_prefix(std::string_view text) const {
  std::pair<std::int32_t, std::size_t> longest{-1, 0};
  Node node = root;
  for (std::size_t length = 1; length <= text.size(); ++length) {
    node = next(node, text[length - 1]);
    if (node == none) break;
    if (value(node) >= 0) longest = {value(node), length};
  }
  return longest;
}

}  // namespace bertgen::detail
