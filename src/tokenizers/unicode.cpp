#include "tokenizers/unicode.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "tokenizers/text.hpp"
#include "tokenizers/unicode_differences.hpp"

namespace bertgen::detail {

namespace {

constexpr CodePointRange chinese[] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},   {0x20000, 0x2A6DF},
                                      {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};

template <std::size_t Count>
bool in(const CodePointRange (&ranges)[Count], CodePoint c) {
  const auto after = std::upper_bound(std::begin(ranges), std::end(ranges), c,
                                      [](CodePoint value, const CodePointRange& range) { return value < range.first; });
  return after != std::begin(ranges) && c <= std::prev(after)->last;
}

utf8proc_category_t category(CodePoint c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

bool is_ascii_punctuation(CodePoint c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

// The character that ends at `end` (not 0) and its bytes.
std::pair<CodePoint, std::size_t> decode_utf8_before(std::string_view text, std::size_t end) {
  for (std::size_t length = 2; length <= std::min<std::size_t>(end, 4); ++length) {
    const auto decoded = decode_utf8(text.substr(0, end), end - length);
    if (decoded.second == length) return decoded;
  }
  return decode_utf8(text.substr(0, end), end - 1);
}

}  // namespace

bool is_white_space(CodePoint c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  if (c < 0x1680) return c == 0x85 || c == 0xA0;
  return c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_removed_control(CodePoint c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
      return !in(kept_controls, c);
    default:
      return c == replacement_character;
  }
}

bool is_chinese(CodePoint c) { return c >= 0x3400 && in(chinese, c); }

bool is_punctuation(CodePoint c) {
  if (c < 0x80) return is_ascii_punctuation(c);
  const utf8proc_category_t value = category(c);
  const bool punctuation = value >= UTF8PROC_CATEGORY_PC && value <= UTF8PROC_CATEGORY_PO;
  return punctuation != in(punctuation_differences, c);
}

bool is_nonspacing_mark(CodePoint c) { return (category(c) == UTF8PROC_CATEGORY_MN) != in(mark_differences, c); }

bool is_word_character(CodePoint c) {
  const utf8proc_category_t value = category(c);
  const bool letter_or_mark = value >= UTF8PROC_CATEGORY_LU && value <= UTF8PROC_CATEGORY_ME;
  const bool other = value == UTF8PROC_CATEGORY_ND || value == UTF8PROC_CATEGORY_NL || value == UTF8PROC_CATEGORY_PC;
  return (letter_or_mark || other) != in(word_differences, c);
}

CharacterClass character_class(CodePoint c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharacterClass::letter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharacterClass::number;
    case UTF8PROC_CATEGORY_CN:
      if (in(more_letters, c)) return CharacterClass::letter;
      return in(more_numbers, c) ? CharacterClass::number : CharacterClass::other;
    default:
      return is_white_space(c) ? CharacterClass::space : CharacterClass::other;
  }
}

int combining_class(CodePoint c) {
  const int value = utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
  return value != 0 && in(not_combining, c) ? 0 : value;
}

CodePoints decompose(CodePoint c) {
  constexpr CodePoint added_in_unicode_13 = 0x11938;
  CodePoints result{{c}, 1};
  if (c < 0xC0 || c == added_in_unicode_13) return result;
  utf8proc_int32_t buffer[4];
  int boundary = 0;
  const utf8proc_ssize_t size = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), buffer, std::size(buffer),
                                                        UTF8PROC_DECOMPOSE, &boundary);
  if (size < 1 || size > static_cast<utf8proc_ssize_t>(std::size(buffer))) return result;
  result.size = static_cast<std::size_t>(size);
  std::copy_n(buffer, result.size, result.values.begin());
  return result;
}

CodePoints lower_case(CodePoint c) {
  constexpr CodePoint capital_i_with_dot = 0x130;
  constexpr CodePoint combining_dot = 0x307;
  if (c == capital_i_with_dot) return {{'i', combining_dot}, 2};
  for (const auto& [range, distance] : more_lower_case) {
    if (c >= range.first && c <= range.last) return {{c + static_cast<CodePoint>(distance)}, 1};
  }
  return {{static_cast<CodePoint>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)))}, 1};
}

std::pair<CodePoint, std::size_t> decode_utf8(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<CodePoint>(static_cast<std::uint8_t>(text[at + i])); };
  switch (const std::size_t length = utf8_length(text.substr(at)); length) {
    case 1:
      return {byte(0), length};
    case 2:
      return {(byte(0) & 0x1F) << 6 | (byte(1) & 0x3F), length};
    case 3:
      return {(byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), length};
    case 4:
      return {(byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), length};
    default:
      return {replacement_character, 1};
  }
}

void append_utf8(std::string& text, CodePoint c) {
  const auto add = [&](CodePoint byte) { text += static_cast<char>(byte); };
  if (c < 0x80) {
    add(c);
  } else if (c < 0x800) {
    add(0xC0 | c >> 6);
    add(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    add(0xE0 | c >> 12);
    add(0x80 | (c >> 6 & 0x3F));
    add(0x80 | (c & 0x3F));
  } else {
    add(0xF0 | c >> 18);
    add(0x80 | (c >> 12 & 0x3F));
    add(0x80 | (c >> 6 & 0x3F));
    add(0x80 | (c & 0x3F));
  }
}

bool touches_word(std::string_view text, std::size_t begin, std::size_t end) {
  return (begin > 0 && is_word_character(decode_utf8_before(text, begin).first)) ||
         (end < text.size() && is_word_character(decode_utf8(text, end).first));
}

std::size_t white_space_begin(std::string_view text, std::size_t least, std::size_t end) {
  while (end > least) {
    const auto [c, length] = decode_utf8_before(text, end);
    if (!is_white_space(c) || end - least < length) break;
    end -= length;
  }
  return end;
}

std::size_t white_space_end(std::string_view text, std::size_t begin) {
  while (begin < text.size()) {
    const auto [c, length] = decode_utf8(text, begin);
    if (!is_white_space(c)) break;
    begin += length;
  }
  return begin;
}

}  // namespace bertgen::detail
