#include "tokenizers/word_piece.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "tokenizers/text.hpp"
#include "tokenizers/unicode.hpp"

namespace bertgen::detail {

namespace {

// The vocabulary's tokens that start with a prefix, without it.
ByteTrie trie_of(const Vocabulary& vocabulary, std::string_view prefix) {
  std::vector<std::pair<std::string_view, TokenId>> words;
  for (const auto& [token, id] : vocabulary.tokens()) {
    if (token.size() > prefix.size() && token.starts_with(prefix)) words.emplace_back(token.substr(prefix.size()), id);
  }
  return ByteTrie(std::move(words));
}

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

}  // namespace

// One text on its way through the normaliser, character by character.
class BertNormalizer::Run {
 public:
  Run(const BertNormalizer& normalizer, std::size_t size) : normalizer_(normalizer) {
    result_.text.reserve(size);
    result_.origins.reserve(size);
  }

  void add(CodePoint c, std::size_t origin, std::size_t length) {
    const BertNormalization& normalization = normalizer_.normalization_;
    if (normalization.clean_text) {
      if (is_removed_control(c)) return;
      if (is_white_space(c)) c = ' ';
    }
    if (normalization.tokenize_chinese_chars && is_chinese(c)) {
      decompose_and_lower(' ', origin);
      decompose_and_lower(c, origin);
      decompose_and_lower(' ', origin + length);
    } else {
      decompose_and_lower(c, origin);
    }
  }

  NormalizedText finish() {
    flush_marks();
    return std::move(result_);
  }

 private:
  struct Mark {
    CodePoint c;
    std::size_t origin;
    int combining_class;
  };

  void decompose_and_lower(CodePoint c, std::size_t origin) {
    if (!normalizer_.strip_accents_) return lower(c, origin);
    if (c < 0x80) {
      flush_marks();
      return lower(c, origin);
    }
    const CodePoints parts = decompose(c);
    for (std::size_t i = 0; i < parts.size; ++i) {
      const CodePoint part = parts.values[i];
      const int value = combining_class(part);
      if (value == 0) flush_marks();
      if (is_nonspacing_mark(part)) continue;
      // Marks that stay are put in canonical order; those that go need none.
      if (value == 0) {
        lower(part, origin);
      } else {
        marks_.push_back({part, origin, value});
      }
    }
  }

  void flush_marks() {
    if (marks_.empty()) return;
    std::stable_sort(marks_.begin(), marks_.end(),
                     [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
    for (const Mark& mark : marks_) lower(mark.c, mark.origin);
    marks_.clear();
  }

  void lower(CodePoint c, std::size_t origin) {
    if (!normalizer_.normalization_.do_lower_case) return append(c, origin);
    if (c < 0x80) return append(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c, origin);
    const CodePoints parts = lower_case(c);
    for (std::size_t i = 0; i < parts.size; ++i) append(parts.values[i], origin);
  }

  void append(CodePoint c, std::size_t origin) {
    append_utf8(result_.text, c);
    result_.origins.resize(result_.text.size(), static_cast<std::uint32_t>(origin));
  }

  const BertNormalizer& normalizer_;
  NormalizedText result_;
  std::vector<Mark> marks_;
};

BertNormalizer::BertNormalizer(const BertNormalization& normalization)
    : normalization_(normalization),
      strip_accents_(normalization.strip_accents.value_or(normalization.do_lower_case)) {}

NormalizedText BertNormalizer::normalize(std::string_view text, std::size_t begin, std::size_t end) const {
  Run run(*this, end - begin);
  const std::string_view part = text.substr(0, end);
  for (std::size_t at = begin; at < end;) {
    const auto [c, length] = decode_utf8(part, at);
    run.add(c, at, length);
    at += length;
  }
  return run.finish();
}

WordPiece::WordPiece(const Vocabulary& vocabulary, TokenId unknown_id, std::string_view continuing_subword_prefix,
                     std::size_t max_input_chars_per_word)
    : words_(trie_of(vocabulary, "")),
      continuations_(trie_of(vocabulary, continuing_subword_prefix)),
      unknown_id_(unknown_id),
      max_input_chars_per_word_(max_input_chars_per_word) {}

void WordPiece::encode(std::string_view text, std::size_t begin, std::size_t end, std::vector<Piece>& pieces) const {
  const std::string_view part = text.substr(0, end);
  std::size_t word = begin;
  for (std::size_t at = begin; at < end;) {
    const auto [c, length] = decode_utf8(part, at);
    const bool space = is_white_space(c);
    if (space || is_punctuation(c)) {
      if (at > word) encode_word(text, word, at, pieces);
      if (!space) encode_word(text, at, at + length, pieces);
      word = at + length;
    }
    at += length;
  }
  if (end > word) encode_word(text, word, end, pieces);
}

void WordPiece::encode_word(std::string_view text, std::size_t begin, std::size_t end,
                            std::vector<Piece>& pieces) const {
  const std::size_t before = pieces.size();
  const std::string_view word = text.substr(begin, end - begin);
  const auto is_character = [](char byte) { return !is_continuation(byte); };
  bool known =
      word.size() <= max_input_chars_per_word_ ||
      static_cast<std::size_t>(std::count_if(word.begin(), word.end(), is_character)) <= max_input_chars_per_word_;
  for (std::size_t at = begin; known && at < end;) {
    const ByteTrie& trie = at == begin ? words_ : continuations_;
    const auto [id, length] = trie.longest_prefix(text.substr(at, end - at));
    known = id >= 0;
    if (known) pieces.push_back({id, at, at + length});
    at += length;
  }
  if (known) return;
  pieces.resize(before);
  pieces.push_back({unknown_id_, begin, end});
}

std::string join_word_pieces(const std::vector<std::string>& tokens, std::string_view prefix, bool cleanup) {
  std::string text;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    std::string token = tokens[i];
    if (i > 0) token = token.starts_with(prefix) ? token.substr(prefix.size()) : ' ' + token;
    // Every rule of the clean-up starts at a space.
    text += cleanup && token.find(' ') != std::string::npos ? clean_up_word_piece(std::move(token)) : token;
  }
  return text;
}

}  // namespace bertgen::detail
