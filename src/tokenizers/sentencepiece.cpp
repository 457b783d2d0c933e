#include "tokenizers/sentencepiece.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <utility>

#include "tokenizers/text.hpp"

namespace bertgen::detail {

namespace {

using PieceType = SentencePieceModel::PieceType;

bool is_reserved(PieceType type) {
  return type == PieceType::unknown || type == PieceType::control || type == PieceType::byte;
}

template <typename Predicate>
std::vector<std::pair<std::string_view, std::int32_t>> select(const SentencePieceModel& model, Predicate wanted) {
  std::vector<std::pair<std::string_view, std::int32_t>> selected;
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    if (wanted(model.pieces[id].type)) selected.emplace_back(model.pieces[id].text, static_cast<std::int32_t>(id));
  }
  return selected;
}

// Bytes of the character at the start, going by its first byte alone.
std::size_t lead_length(std::string_view text) {
  const auto lead = static_cast<std::uint8_t>(text.front());
  const std::size_t length = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  return std::min(length, text.size());
}

}  // namespace

SentencePiece::SentencePiece(std::string_view bytes, const std::string& source)
    : model_(parse_sentencepiece_model(bytes, source)),
      trie_(select(model_, [](PieceType type) { return !is_reserved(type); })),
      user_defined_(select(model_, [](PieceType type) { return type == PieceType::user_defined; })),
      normalizer_(model_, user_defined_, source) {
  float lowest = std::numeric_limits<float>::max();
  kinds_.reserve(model_.pieces.size());
  for (std::size_t i = 0; i < model_.pieces.size(); ++i) {
    const SentencePieceModel::Piece& piece = model_.pieces[i];
    const auto id = static_cast<std::int32_t>(i);
    kinds_.push_back({piece.score, piece.type});
    (is_reserved(piece.type) ? reserved_ : pieces_).emplace(piece.text, id);
    if (piece.type == PieceType::unknown) unknown_id_ = id;
    if (piece.type == PieceType::normal) lowest = std::min(lowest, piece.score);
  }
  constexpr float unknown_penalty = 10.0F;
  unknown_score_ = lowest - unknown_penalty;
}

std::optional<std::int32_t> SentencePiece::find(std::string_view piece) const {
  for (const auto* ids : {&reserved_, &pieces_}) {
    const auto found = ids->find(piece);
    if (found != ids->end()) return found->second;
  }
  return std::nullopt;
}

std::int32_t SentencePiece::piece_id(std::string_view text) const {
  const auto found = pieces_.find(text);
  return found != pieces_.end() ? found->second : unknown_id_;
}

std::size_t SentencePiece::character_length(std::string_view normalized) const {
  const std::size_t user_defined = user_defined_.longest_prefix(normalized).second;
  return user_defined > 0 ? user_defined : lead_length(normalized);
}

std::vector<SentencePiece::Piece> SentencePiece::encode(std::string_view text) const {
  const NormalizedText normalized = normalizer_.normalize(text);
  std::vector<Piece> pieces;
  std::size_t at = 0;
  bool after_unknown = false;
  for (const Segment& segment : segment(normalized.text)) {
    const std::size_t begin = normalized.origins[at];
    at += segment.text.size();
    const std::size_t end = normalized.origins[at];
    const bool unknown = segment.id == unknown_id_;
    if (unknown && model_.byte_fallback) {
      // The last byte stands for the whole character.
      for (const char byte : segment.text)
        pieces.push_back({byte_piece(static_cast<std::uint8_t>(byte)), -1, begin, begin});
      pieces.back().end = end;
    } else if (unknown && after_unknown) {
      pieces.back().text += segment.text;
      pieces.back().end = end;
    } else {
      pieces.push_back({std::string(segment.text), unknown ? -1 : segment.id, begin, end});
    }
    after_unknown = unknown;
  }
  return pieces;
}

std::vector<SentencePiece::Segment> SentencePiece::words(std::string_view normalized) const {
  std::vector<Segment> words;
  while (!normalized.empty()) {
    const std::string_view word = normalized.substr(0, normalized.find(space_symbol, 1));
    const std::int32_t id = piece_id(word);
    words.push_back({word, type(id) == PieceType::unused ? unknown_id_ : id});
    normalized.remove_prefix(word.size());
  }
  return words;
}

std::vector<SentencePiece::Segment> SentencePiece::characters(std::string_view normalized) const {
  std::vector<Segment> characters;
  while (!normalized.empty()) {
    const std::string_view character = normalized.substr(0, character_length(normalized));
    const std::int32_t id = piece_id(character);
    characters.push_back({character, type(id) == PieceType::unused ? unknown_id_ : id});
    normalized.remove_prefix(character.size());
  }
  return characters;
}

// User-defined pieces always win, long ones over their parts.
float SentencePiece::score(std::int32_t id, std::size_t length) const {
  if (type(id) == PieceType::user_defined) return static_cast<float>(0.1 * static_cast<double>(length - 1));
  return kinds_[static_cast<std::size_t>(id)].score;
}

// The unigram model: the segmentation with the highest sum of scores (Viterbi). Sums are floats, added and compared as
// SentencePiece 0.2.3 does (`unigram::Model::EncodeOptimized`), because their rounding decides between near ties.
std::vector<SentencePiece::Segment> SentencePiece::best_path(std::string_view normalized) const {
  constexpr std::size_t unreached = std::numeric_limits<std::size_t>::max();
  constexpr float largest_sum = 100000.0F;
  struct Node {
    std::int32_t id = -1;
    float sum = 0;
    std::size_t begin = unreached;
  };
  std::vector<Node> nodes(normalized.size() + 1);
  std::size_t furthest = 0;
  const auto reach = [&](std::size_t begin, std::size_t end, std::int32_t id, float sum) {
    furthest = std::max(furthest, end);
    Node& node = nodes[end];
    if (node.begin == unreached || sum > node.sum) node = {id, sum, begin};
  };
  for (std::size_t begin = 0; begin < normalized.size();) {
    // Starts again from 0 before the sums grow too coarse to compare.
    if (const float base = nodes[begin].sum; std::abs(base) > largest_sum) {
      for (std::size_t i = begin; i <= furthest; ++i) {
        if (i == begin || nodes[i].begin != unreached) nodes[i].sum -= base;
      }
    }
    const float sum = nodes[begin].sum;
    const std::size_t character = lead_length(normalized.substr(begin));
    bool single = false;
    ByteTrie::Node node = ByteTrie::root;
    for (std::size_t end = begin + 1; end <= normalized.size(); ++end) {
      node = trie_.next(node, normalized[end - 1]);
      if (node == ByteTrie::none) break;
      const std::int32_t id = trie_.value(node);
      if (id < 0 || type(id) == PieceType::unused) continue;
      reach(begin, end, id, score(id, end - begin) + sum);
      single = single || end - begin == character;
    }
    if (!single) reach(begin, begin + character, unknown_id_, unknown_score_ + sum);
    begin += character;
  }

  std::vector<Segment> segments;
  for (std::size_t end = normalized.size(); end > 0; end = nodes[end].begin) {
    segments.push_back({normalized.substr(nodes[end].begin, end - nodes[end].begin), nodes[end].id});
  }
  std::reverse(segments.begin(), segments.end());
  return segments;
}

// Byte-pair encoding: neighbours merge, the pair with the best score first, until no two make a piece.
// Source: SentencePiece 0.2.3, `bpe::Model::SampleEncode`.
class SentencePiece::BytePairs {
 public:
  explicit BytePairs(const SentencePiece& owner) : owner_(owner) {}

  std::vector<Segment> segment(std::string_view normalized) {
    split(normalized);
    for (std::size_t right = 1; right < symbols_.size(); ++right) consider(right - 1, right);
    while (!agenda_.empty()) {
      const Pair pair = agenda_.top();
      agenda_.pop();
      merge(pair);
    }
    std::vector<Segment> segments;
    for (std::size_t i = 0; i != nothing && i < symbols_.size(); i = symbols_[i].next)
      emit(symbols_[i].text, 0, segments);
    return segments;
  }

 private:
  static constexpr std::size_t nothing = std::numeric_limits<std::size_t>::max();

  struct Symbol {
    std::string_view text;
    std::size_t previous;
    std::size_t next;
    bool frozen;
  };
  struct Pair {
    float score;
    std::size_t left;
    std::size_t right;
    std::size_t length;

    // Of pairs with one score the leftmost is on top.
    bool operator<(const Pair& other) const {
      return score < other.score || (score == other.score && left > other.left);
    }
  };

  void split(std::string_view normalized) {
    while (!normalized.empty()) {
      const std::size_t index = symbols_.size();
      const std::size_t length = owner_.character_length(normalized);
      const bool frozen = owner_.user_defined_.longest_prefix(normalized).second > 0;
      symbols_.push_back({normalized.substr(0, length), index == 0 ? nothing : index - 1, index + 1, frozen});
      normalized.remove_prefix(length);
    }
    if (!symbols_.empty()) symbols_.back().next = nothing;
  }

  void consider(std::size_t left, std::size_t right) {
    if (left == nothing || right == nothing || symbols_[left].frozen || symbols_[right].frozen) return;
    const std::string_view text = joined(left, right);
    const std::int32_t id = owner_.piece_id(text);
    if (id == owner_.unknown_id_) return;
    agenda_.push({owner_.kinds_[static_cast<std::size_t>(id)].score, left, right, text.size()});
    if (owner_.type(id) == PieceType::unused) parts_[text] = {symbols_[left].text, symbols_[right].text};
  }

  void merge(const Pair& pair) {
    Symbol& left = symbols_[pair.left];
    Symbol& right = symbols_[pair.right];
    const bool stale = left.text.empty() || right.text.empty() || left.text.size() + right.text.size() != pair.length;
    if (stale) return;
    left.text = joined(pair.left, pair.right);
    left.next = right.next;
    if (right.next != nothing) symbols_[right.next].previous = pair.left;
    right.text = {};
    consider(left.previous, pair.left);
    consider(pair.left, left.next);
  }

  // Unused pieces only serve as steps: they fall apart into what they were merged from.
  void emit(std::string_view text, int depth, std::vector<Segment>& segments) const {
    constexpr int deepest = 100;
    const std::int32_t id = owner_.piece_id(text);
    if (depth > deepest || owner_.type(id) != PieceType::unused) {
      segments.push_back({text, id});
      return;
    }
    const auto parts = parts_.find(text);
    if (parts == parts_.end()) {
      segments.push_back({text, owner_.unknown_id_});
      return;
    }
    emit(parts->second.first, depth + 1, segments);
    emit(parts->second.second, depth + 1, segments);
  }

  // Neighbours lie side by side in the normalised text.
  std::string_view joined(std::size_t left, std::size_t right) const {
    return {symbols_[left].text.data(), symbols_[left].text.size() + symbols_[right].text.size()};
  }

  const SentencePiece& owner_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Pair> agenda_;
  std::unordered_map<std::string_view, std::pair<std::string_view, std::string_view>> parts_;
};

std::vector<SentencePiece::Segment> SentencePiece::segment(std::string_view normalized) const {
  switch (model_.algorithm) {
    case SentencePieceModel::Algorithm::unigram:
      return best_path(normalized);
    case SentencePieceModel::Algorithm::bpe:
      return BytePairs(*this).segment(normalized);
    case SentencePieceModel::Algorithm::word:
      return words(normalized);
    case SentencePieceModel::Algorithm::character:
      return characters(normalized);
  }
  return {};
}

}  // namespace bertgen::detail
