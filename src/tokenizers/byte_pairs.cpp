#include "tokenizers/byte_pairs.hpp"

#include <algorithm>
#include <tuple>

#include "bertgen/core/error.hpp"
#include "tokenizers/byte_level.hpp"

namespace bertgen::detail {

namespace {

constexpr std::uint64_t no_pair = UINT64_MAX;

std::uint64_t pair_of(TokenId left, TokenId right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

// The upper bits of a product with 2^64 divided by the golden ratio depend on all bits of the pair.
std::size_t hash(std::uint64_t pair) { return static_cast<std::size_t>(pair * 0x9E3779B97F4A7C15U >> 32); }

}  // namespace

BytePairs::BytePairs(const Vocabulary& vocabulary, const Merges& merges, TokenId unknown_id,
                     const std::string& source) {
  for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    byte_ids_[byte] = vocabulary.find(byte_characters()[byte]).value_or(unknown_id);
  }
  std::size_t size = 16;
  while (size < merges.size() * 2) size *= 2;
  slots_.assign(size, {no_pair, {0, -1}});
  std::uint32_t rank = 0;
  for (const auto& [left, right] : merges) {
    const auto id_of = [&, &left_token = left, &right_token = right](const std::string& token) {
      const std::optional<TokenId> id = vocabulary.find(token);
      if (!id) {
        throw TokenizerError(source + ": merge " + std::to_string(rank) + ", " + excerpt(left_token) + " with " +
                             excerpt(right_token) + ": expected tokens of the vocabulary, got " + excerpt(token));
      }
      return *id;
    };
    const TokenId merged = id_of(left + right);
    add_merge(id_of(left), id_of(right), {rank, merged});
    ++rank;
  }
}

void BytePairs::add_merge(TokenId left, TokenId right, const Merge& merge) {
  const std::uint64_t pair = pair_of(left, right);
  std::size_t at = hash(pair) & (slots_.size() - 1);
  while (slots_[at].pair != no_pair && slots_[at].pair != pair) at = (at + 1) & (slots_.size() - 1);
  slots_[at] = {pair, merge};
}

const BytePairs::Merge* BytePairs::find_merge(TokenId left, TokenId right) const {
  const std::uint64_t pair = pair_of(left, right);
  std::size_t at = hash(pair) & (slots_.size() - 1);
  while (slots_[at].pair != pair) {
    if (slots_[at].pair == no_pair) return nullptr;
    at = (at + 1) & (slots_.size() - 1);
  }
  return &slots_[at].merge;
}

void BytePairs::split(std::string_view word, std::vector<Scratch::Symbol>& symbols) const {
  symbols.clear();
  for (std::size_t i = 0; i < word.size(); ++i) {
    const TokenId id = byte_ids_[static_cast<unsigned char>(word[i])];
    if (id < 0) continue;
    const auto index = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({id, static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i + 1), index - 1, index + 1});
  }
  if (!symbols.empty()) symbols.back().next = -1;
}

void BytePairs::merge(std::vector<Scratch::Symbol>& symbols, std::vector<Scratch::Candidate>& heap) const {
  using Symbol = Scratch::Symbol;
  using Candidate = Scratch::Candidate;
  // The top of the heap is the best rank, of these the leftmost.
  const auto worse = [](const Candidate& a, const Candidate& b) {
    return std::tie(a.rank, a.left) > std::tie(b.rank, b.left);
  };
  const auto add_candidate = [&](std::size_t left, std::size_t right) {
    const Merge* found = find_merge(symbols[left].id, symbols[right].id);
    if (found != nullptr) heap.push_back({found->rank, static_cast<std::uint32_t>(left), found->id});
    return found != nullptr;
  };
  const auto push = [&](std::size_t left, std::size_t right) {
    if (add_candidate(left, right)) std::push_heap(heap.begin(), heap.end(), worse);
  };
  heap.clear();
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) add_candidate(i, i + 1);
  std::make_heap(heap.begin(), heap.end(), worse);

  while (!heap.empty()) {
    const Candidate best = heap.front();
    std::pop_heap(heap.begin(), heap.end(), worse);
    heap.pop_back();
    Symbol& left = symbols[best.left];
    // What has merged since is out of date.
    if (left.id < 0 || left.next < 0) continue;
    Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    const Merge* found = find_merge(left.id, right.id);
    if (found == nullptr || found->id != best.id) continue;

    left.id = best.id;
    left.end = right.end;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) {
      symbols[static_cast<std::size_t>(left.next)].previous = static_cast<std::int32_t>(best.left);
      push(best.left, static_cast<std::size_t>(left.next));
    }
    if (left.previous >= 0) push(static_cast<std::size_t>(left.previous), best.left);
  }
}

void BytePairs::encode(std::string_view word, std::vector<Piece>& pieces, Scratch& scratch) const {
  split(word, scratch.symbols);
  merge(scratch.symbols, scratch.heap);
  pieces.clear();
  for (const Scratch::Symbol& symbol : scratch.symbols) {
    if (symbol.id >= 0) pieces.push_back({symbol.id, symbol.begin, symbol.end});
  }
}

}  // namespace bertgen::detail
