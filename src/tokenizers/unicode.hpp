// Characters as Hugging Face's tokenizers sees them: utf8proc's tables, corrected where tokenizers has other versions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace bertgen::detail {

using CodePoint = std::uint32_t;

struct CodePointRange {
  CodePoint first;
  CodePoint last;
};

inline constexpr CodePoint replacement_character = 0xFFFD;

/// A few code points: what one becomes. Canonical decompositions have at most four.
struct CodePoints {
  std::array<CodePoint, 4> values;
  std::size_t size;
};

/// What GPT-2's pattern tells apart: \p{L}, \p{N}, \s and the rest.
enum class CharacterClass : std::uint8_t { letter, number, space, other };

/// Unicode's White_Space.
bool is_white_space(CodePoint c);
/// Control and format characters, private use, U+0000 and U+FFFD: what BERT's clean_text removes. Tab, line feed and
/// carriage return are none.
bool is_removed_control(CodePoint c);
/// Ideographs around which BERT puts spaces.
bool is_chinese(CodePoint c);
/// ASCII symbols, and Unicode's punctuation.
bool is_punctuation(CodePoint c);
/// Category Mn.
bool is_nonspacing_mark(CodePoint c);
/// `\w` of a regular expression.
bool is_word_character(CodePoint c);
CharacterClass character_class(CodePoint c);
/// Canonical combining class, 0 to 254.
int combining_class(CodePoint c);
/// Full canonical decomposition of one character, not reordered.
CodePoints decompose(CodePoint c);
/// Lower case of one character, without context.
CodePoints lower_case(CodePoint c);

/// The character at `at` and its bytes. A byte that starts no well-formed character is U+FFFD of one byte.
std::pair<CodePoint, std::size_t> decode_utf8(std::string_view text, std::size_t at);
void append_utf8(std::string& text, CodePoint c);

/// Whether a word character stands directly before `begin` or at `end`.
bool touches_word(std::string_view text, std::size_t begin, std::size_t end);
/// Where the white space that ends at `end` begins, not before `least`.
std::size_t white_space_begin(std::string_view text, std::size_t least, std::size_t end);
/// Where the white space that begins at `begin` ends.
std::size_t white_space_end(std::string_view text, std::size_t begin);

}  // namespace bertgen::detail
