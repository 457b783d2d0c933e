// JSON as the library reads it: bounded depth, no duplicate keys where that matters, and errors that name the field.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bertgen/core/token.hpp"

namespace bertgen {

using Json = nlohmann::json;

/// Thrown by parse_json; callers turn it into the error of their file.
class JsonError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Parses `text`. Throws JsonError for what is no JSON, for more than 64 levels of nesting and, if `unique_keys`, for
/// an object that has a key twice.
Json parse_json(std::string_view text, bool unique_keys = false);

/// A JSON value for an error message, cut to a readable length.
std::string excerpt(const Json& value);

/// Typed access to the fields of one object; a wrong type throws ConfigError naming `where` and the key. A null counts
/// as an absent key.
class JsonFields {
 public:
  /// `where` is the object's place, "config.json: encoder". Throws ConfigError if `object` is no object.
  JsonFields(const Json& object, std::string where);

  bool has(const char* key) const;
  const Json& raw(const char* key) const { return object_->at(key); }
  const std::string& where() const { return where_; }

  std::optional<bool> boolean(const char* key) const;
  std::optional<double> number(const char* key) const;
  /// A whole number in [least, most].
  std::optional<std::int64_t> integer(const char* key, std::int64_t least, std::int64_t most) const;
  std::optional<std::string> string(const char* key) const;
  /// A token id: 0 to 2^31 − 1.
  std::optional<TokenId> token(const char* key) const;
  /// One token id or a list of them.
  std::optional<TokenIds> tokens(const char* key) const;

  /// Throws ConfigError: "where.key: expected …, got …".
  [[noreturn]] void fail(const char* key, const std::string& expected) const;

 private:
  const Json* object_;
  std::string where_;
};

}  // namespace bertgen
