// Byte-level text: how GPT-2 and RoBERTa cut a text into words and write bytes as characters.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bertgen::detail {

/// The character that stands for a byte: itself where it is printable, else one from U+0100 on.
const std::array<std::string, 256>& byte_characters();

/// Bytes that the characters stand for; nothing where one stands for none.
bool bytes_of_characters(std::string_view characters, std::string& bytes);

/// End of the word that begins at `begin` (before the end of `text`, which is valid UTF-8): the first match there of
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
/// Words cover a text without gaps; all of them together cost time linear in its length.
std::size_t word_end(std::string_view text, std::size_t begin);

}  // namespace bertgen::detail
