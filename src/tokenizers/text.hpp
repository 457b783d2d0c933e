// Small text and file helpers that the tokenizers share.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace bertgen::detail {

/// Without Python's white space (`str.lstrip`, `str.rstrip`, `str.strip`) at one end or both.
std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);
std::string_view strip(std::string_view text);

/// Replaces every occurrence from left to right, as `str.replace`.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

/// transformers' `clean_up_tokenization`.
std::string clean_up_tokenization(std::string text);

/// The clean-up that tokenizers' WordPiece decoder does to each token: the same, and " do not" becomes " don't".
std::string clean_up_word_piece(std::string text);

/// SentencePiece writes spaces as U+2581.
inline constexpr std::string_view space_symbol = "\xE2\x96\x81";

/// Bytes of the well-formed UTF-8 character at the start of `bytes` (not empty), 0 if there is none.
std::size_t utf8_length(std::string_view bytes);
bool is_valid_utf8(std::string_view bytes);
/// With U+FFFD in place of what is not UTF-8, one for each cut-off character, as Rust's from_utf8_lossy.
std::string lossy_utf8(std::string_view bytes);

/// The bytes of a regular file of at most `limit` bytes. Throws TokenizerError, which names the file.
std::string read_file(const std::filesystem::path& path, std::size_t limit);
/// Throws TokenizerError unless there is such a directory to write a vocabulary to.
void require_directory(const std::filesystem::path& directory);
/// Replaces `path` whole, or throws TokenizerError and leaves it as it was.
void write_file(const std::filesystem::path& path, std::string_view bytes);

}  // namespace bertgen::detail
