#include "tokenizers/vocabulary.hpp"

#include "bertgen/core/error.hpp"
#include "tokenizers/text.hpp"
#include "tokenizers/unicode.hpp"

namespace bertgen::detail {

namespace {

// Calls action(line, number from 1) for each line, without its line feed and the carriage return before it.
template <typename Action>
void for_each_line(std::string_view text, Action&& action) {
  std::size_t number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (end != std::string_view::npos && line.ends_with('\r')) line.remove_suffix(1);
    action(line, ++number);
  }
}

std::string at_line(const std::string& source, std::size_t number) {
  return source + ": line " + std::to_string(number) + ": ";
}

std::pair<std::string, std::string> split_merge(std::string_view line, const std::string& where) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
    throw TokenizerError(where + "expected two tokens with a space between them, got " + excerpt(std::string(line)));
  }
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

}  // namespace

Vocabulary Vocabulary::from_lines(std::string_view text, const std::string& source) {
  Vocabulary vocabulary;
  for_each_line(text, [&](std::string_view line, std::size_t number) {
    if (!is_valid_utf8(line)) {
      throw TokenizerError(at_line(source, number) + "expected UTF-8, got " + excerpt(std::string(line)));
    }
    if (number > static_cast<std::size_t>(largest_id) + 1) {
      throw TokenizerError(source + ": expected at most " + std::to_string(largest_id + 1) + " lines, got more");
    }
    const std::string_view token = line.substr(0, white_space_begin(line, 0, line.size()));
    if (const auto known = vocabulary.find(token); known && !token.empty()) {
      throw TokenizerError(at_line(source, number) + "expected each token once, got " + excerpt(std::string(token)) +
                           " again (first in line " + std::to_string(*known + 1) + ")");
    }
    vocabulary.add(std::string(token), static_cast<TokenId>(number - 1));
  });
  return vocabulary;
}

Vocabulary Vocabulary::from_json(const Json& object, const std::string& source) {
  if (!object.is_object()) {
    throw TokenizerError(source + ": expected an object of tokens with their ids, got " + excerpt(object));
  }
  Vocabulary vocabulary;
  for (const auto& [token, value] : object.items()) {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > static_cast<std::uint64_t>(largest_id)) {
      throw TokenizerError(source + ": " + excerpt(token) + ": expected an id from 0 to " + std::to_string(largest_id) +
                           ", got " + excerpt(value));
    }
    const auto id = value.get<TokenId>();
    if (const auto known = vocabulary.token(id)) {
      throw TokenizerError(source + ": id " + std::to_string(id) + ": expected one token, got " +
                           excerpt(std::string(*known)) + " and " + excerpt(token));
    }
    vocabulary.add(token, id);
  }
  return vocabulary;
}

void Vocabulary::add(std::string token, TokenId id) { ids_[tokens_[id] = std::move(token)] = id; }

std::optional<TokenId> Vocabulary::find(std::string_view token) const {
  const auto found = ids_.find(token);
  return found != ids_.end() ? std::optional(found->second) : std::nullopt;
}

std::optional<std::string_view> Vocabulary::token(TokenId id) const {
  const auto found = tokens_.find(id);
  return found != tokens_.end() ? std::optional<std::string_view>(found->second) : std::nullopt;
}

std::vector<std::pair<std::string_view, TokenId>> Vocabulary::tokens() const {
  std::vector<std::pair<std::string_view, TokenId>> result;
  for (const auto& [id, token] : tokens_) result.emplace_back(token, id);
  return result;
}

Merges read_merges(std::string_view text, const std::string& source) {
  Merges merges;
  for_each_line(text, [&](std::string_view line, std::size_t number) {
    if (!line.starts_with("#version")) merges.push_back(split_merge(line, at_line(source, number)));
  });
  return merges;
}

Merges read_merge_list(const Json& list, const std::string& source) {
  if (!list.is_array()) throw TokenizerError(source + ": merges: expected a list, got " + excerpt(list));
  Merges merges;
  for (const Json& merge : list) {
    const std::string where = source + ": merges: entry " + std::to_string(merges.size()) + ": ";
    if (merge.is_string()) {
      merges.push_back(split_merge(merge.get<std::string>(), where));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else {
      throw TokenizerError(where + "expected two tokens, got " + excerpt(merge));
    }
  }
  return merges;
}

}  // namespace bertgen::detail
