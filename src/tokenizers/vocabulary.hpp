// The tokens of a vocabulary and their ids.
#pragma once

#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bertgen/core/token.hpp"
#include "json.hpp"

namespace bertgen::detail {

/// Tokens by id and back. Ids may have holes.
class Vocabulary {
 public:
  /// Ids are below this; real vocabularies have under a million tokens.
  static constexpr TokenId largest_id = (1 << 24) - 1;

  /// One token a line, without the white space that ends it; the line's number from 0 is its id. Lines that are empty
  /// then are holes. `source` names the file. Throws TokenizerError for text that is not UTF-8 and for a token twice.
  static Vocabulary from_lines(std::string_view text, const std::string& source);
  /// An object of token to id. Throws TokenizerError for a value that is no id, and for an id twice.
  static Vocabulary from_json(const Json& object, const std::string& source);

  Vocabulary() = default;
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  /// How many different tokens there are.
  std::size_t size() const { return ids_.size(); }
  std::optional<TokenId> find(std::string_view token) const;
  /// The token, nothing where there is a hole.
  std::optional<std::string_view> token(TokenId id) const;
  /// All tokens in the order of their ids.
  std::vector<std::pair<std::string_view, TokenId>> tokens() const;

 private:
  void add(std::string token, TokenId id);

  // A map takes no memory for holes, and leaves its strings where ids_ sees them.
  std::map<TokenId, std::string> tokens_;
  std::unordered_map<std::string_view, TokenId> ids_;
};

/// Pairs of tokens that merge, best first.
using Merges = std::vector<std::pair<std::string, std::string>>;

/// Reads merges.txt: "left right" a line; lines that start with "#version" do not count. Throws TokenizerError.
Merges read_merges(std::string_view text, const std::string& source);
/// Reads a tokenizer.json's list of merges: pairs, or strings as above. Throws TokenizerError.
Merges read_merge_list(const Json& list, const std::string& source);

}  // namespace bertgen::detail
