#include "tokenizers/text.hpp"

#include <unistd.h>

#include <array>
#include <cstdint>
#include <fstream>
#include <functional>
#include <system_error>
#include <thread>
#include <utility>

#include "bertgen/core/error.hpp"

namespace bertgen::detail {

namespace {

// The characters for which Python's str.isspace() holds.
constexpr std::array<std::string_view, 29> white_space = {
    "\t",           "\n",           "\v",           "\f",           "\r",
    "\x1c",         "\x1d",         "\x1e",         "\x1f",         " ",
    "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
    "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
    "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
    "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};

using Rule = std::pair<std::string_view, std::string_view>;
constexpr std::array<Rule, 7> early_rules = {
    {{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"}}};
constexpr std::array<Rule, 3> late_rules = {{{" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}}};

// Whether two or three bytes are the cut-off beginning of a longer character.
bool begins_character(std::string_view bytes) {
  std::string whole(bytes);
  const std::size_t length = static_cast<unsigned char>(bytes[0]) >= 0xF0 ? 4 : 3;
  if (whole.size() >= length) return false;
  whole.resize(length, '\x80');
  return utf8_length(whole) == length;
}

}  // namespace

std::string_view strip_left(std::string_view text) {
  for (std::size_t removed = 1; removed != 0;) {
    removed = 0;
    for (const std::string_view space : white_space) {
      if (text.starts_with(space)) removed = space.size();
    }
    text.remove_prefix(removed);
  }
  return text;
}

std::string_view strip_right(std::string_view text) {
  for (std::size_t removed = 1; removed != 0;) {
    removed = 0;
    for (const std::string_view space : white_space) {
      if (text.ends_with(space)) removed = space.size();
    }
    text.remove_suffix(removed);
  }
  return text;
}

std::string_view strip(std::string_view text) { return strip_right(strip_left(text)); }

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  result.reserve(text.size());
  std::size_t begin = 0;
  for (std::size_t at = text.find(from); at != std::string_view::npos; at = text.find(from, begin)) {
    result.append(text, begin, at - begin).append(to);
    begin = at + from.size();
  }
  return result.append(text, begin);
}

std::string clean_up_tokenization(std::string text) {
  for (const auto& [from, to] : early_rules) text = replace_all(text, from, to);
  for (const auto& [from, to] : late_rules) text = replace_all(text, from, to);
  return text;
}

std::string clean_up_word_piece(std::string text) {
  for (const auto& [from, to] : early_rules) text = replace_all(text, from, to);
  text = replace_all(text, " do not", " don't");
  for (const auto& [from, to] : late_rules) text = replace_all(text, from, to);
  return text;
}

std::size_t utf8_length(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || bytes.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const bool overlong = (lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xF0 && byte(1) < 0x90);
  const bool surrogate = lead == 0xED && byte(1) >= 0xA0;
  const bool too_large = lead == 0xF4 && byte(1) >= 0x90;
  return overlong || surrogate || too_large ? 0 : length;
}

bool is_valid_utf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t length = utf8_length(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

std::string lossy_utf8(std::string_view bytes) {
  constexpr std::string_view replacement = "\xEF\xBF\xBD";
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    std::size_t length = utf8_length(bytes);
    if (length > 0) {
      text.append(bytes.substr(0, length));
    } else {
      // As much as could be the beginning of a character: what some tail would make well-formed.
      text.append(replacement);
      length = 1;
      while (length < 3 && length < bytes.size() && begins_character(bytes.substr(0, length + 1))) ++length;
    }
    bytes.remove_prefix(length);
  }
  return text;
}

std::string read_file(const std::filesystem::path& path, std::size_t limit) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    throw TokenizerError(path.string() + ": expected a file, got " +
                         (std::filesystem::exists(path, error) ? "something else" : "nothing"));
  }
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error || size > limit) {
    throw TokenizerError(path.string() + ": expected at most " + std::to_string(limit) + " bytes, got " +
                         (error ? error.message() : std::to_string(size)));
  }
  std::string bytes(static_cast<std::size_t>(size), '\0');
  std::ifstream stream(path, std::ios::binary);
  if (!stream || !stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) {
    throw TokenizerError(path.string() + ": cannot be read");
  }
  return bytes;
}

void require_directory(const std::filesystem::path& directory) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    throw TokenizerError(directory.string() + ": expected a directory to save the vocabulary in");
  }
}

void write_file(const std::filesystem::path& path, std::string_view bytes) {
  // The name is unique among processes and threads that write here at the same time.
  const std::size_t thread = std::hash<std::thread::id>{}(std::this_thread::get_id());
  std::filesystem::path temporary = path;
  temporary += ".tmp" + std::to_string(::getpid()) + "-" + std::to_string(thread);
  std::error_code error;
  {
    std::ofstream stream(temporary, std::ios::binary | std::ios::trunc);
    stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    stream.close();
    if (!stream) error = std::make_error_code(std::errc::io_error);
  }
  if (!error) std::filesystem::rename(temporary, path, error);
  if (error) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw TokenizerError(path.string() + ": cannot be written (" + error.message() + ")");
  }
}

}  // namespace bertgen::detail
