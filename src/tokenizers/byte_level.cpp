#include "tokenizers/byte_level.hpp"

#include "tokenizers/unicode.hpp"

namespace bertgen::detail {

namespace {

// Printable in Latin-1.
bool stands_for_itself(CodePoint byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr CodePoint first_substitute = 0x100;
constexpr std::size_t substitutes = 68;

// Bytes of the characters below first_substitute + substitutes, −1 for those that stand for none.
std::array<int, first_substitute + substitutes> character_bytes() {
  std::array<int, first_substitute + substitutes> bytes;
  bytes.fill(-1);
  CodePoint next = first_substitute;
  for (CodePoint byte = 0; byte < 256; ++byte) {
    bytes[stands_for_itself(byte) ? byte : next++] = static_cast<int>(byte);
  }
  return bytes;
}

CharacterClass class_of(CodePoint c) {
  if (c >= 0x80) return character_class(c);
  if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') return CharacterClass::letter;
  if (c >= '0' && c <= '9') return CharacterClass::number;
  return is_white_space(c) ? CharacterClass::space : CharacterClass::other;
}

// End of the run of one class that goes on at `at`.
std::size_t run_end(std::string_view text, std::size_t at, CharacterClass wanted) {
  while (at < text.size()) {
    const auto [c, length] = decode_utf8(text, at);
    if (class_of(c) != wanted) break;
    at += length;
  }
  return at;
}

// Length of 's, 't, 're, 've, 'm, 'll or 'd at the start of `text`, 0 if it is none of them.
std::size_t contraction_length(std::string_view text) {
  for (const std::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (text.starts_with(ending)) return ending.size();
  }
  return 0;
}

// White space at `begin`: all of it at the end of the text, else all but the last character, which goes with the word
// that follows or, if it is alone, stands for itself.
std::size_t space_end(std::string_view text, std::size_t begin) {
  std::size_t last = begin;
  std::size_t at = begin;
  while (at < text.size()) {
    const auto [c, length] = decode_utf8(text, at);
    if (!is_white_space(c)) return last > begin ? last : at;
    last = at;
    at += length;
  }
  return at;
}

}  // namespace

const std::array<std::string, 256>& byte_characters() {
  static const std::array<std::string, 256> characters = [] {
    std::array<std::string, 256> result;
    CodePoint next = first_substitute;
    for (CodePoint byte = 0; byte < 256; ++byte) append_utf8(result[byte], stands_for_itself(byte) ? byte : next++);
    return result;
  }();
  return characters;
}

bool bytes_of_characters(std::string_view characters, std::string& bytes) {
  static const auto table = character_bytes();
  bytes.clear();
  for (std::size_t at = 0; at < characters.size();) {
    const auto [c, length] = decode_utf8(characters, at);
    if (c >= table.size() || table[c] < 0) return false;
    bytes += static_cast<char>(table[c]);
    at += length;
  }
  return true;
}

std::size_t word_end(std::string_view text, std::size_t begin) {
  if (text[begin] == '\'') {
    if (const std::size_t length = contraction_length(text.substr(begin)); length > 0) return begin + length;
  }
  // One plain space may stand before the run.
  const std::size_t start = text[begin] == ' ' && begin + 1 < text.size() ? begin + 1 : begin;
  const auto [c, length] = decode_utf8(text, start);
  const CharacterClass kind = class_of(c);
  if (kind == CharacterClass::space) return space_end(text, begin);
  return run_end(text, start + length, kind);
}

}  // namespace bertgen::detail
