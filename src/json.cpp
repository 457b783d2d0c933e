#include "json.hpp"

#include <limits>
#include <set>

#include "bertgen/core/error.hpp"

namespace bertgen {
namespace {

constexpr int deepest = 64;
constexpr std::int64_t largest_token = std::numeric_limits<TokenId>::max();

bool is_token(const Json& value) { return value.is_number_integer() && value >= 0 && value <= largest_token; }

}  // namespace

Json parse_json(std::string_view text, bool unique_keys) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto callback = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth >= deepest) throw JsonError("expected at most " + std::to_string(deepest) + " levels of nesting");
    if (!unique_keys) return true;
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second) {
      throw JsonError("expected each key once, got " + parsed.dump() + " twice");
    }
    return true;
  };
  // The parser takes a zero byte for the end of the text, whatever follows.
  if (text.find('\0') != std::string_view::npos) throw JsonError("expected JSON, got a zero byte in it");
  try {
    return Json::parse(text, callback);
  } catch (const Json::exception& error) {
    throw JsonError(error.what());
  }
}

std::string excerpt(const Json& value) {
  constexpr std::size_t longest = 60;
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() <= longest) return text;
  std::size_t end = longest;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0u) == 0x80u) --end;  // not inside a character
  return text.substr(0, end) + "…";
}

JsonFields::JsonFields(const Json& object, std::string where) : object_(&object), where_(std::move(where)) {
  if (!object.is_object()) throw ConfigError(where_ + ": expected an object, got " + excerpt(object));
}

bool JsonFields::has(const char* key) const {
  const auto found = object_->find(key);
  return found != object_->end() && !found->is_null();
}

void JsonFields::fail(const char* key, const std::string& expected) const {
  throw ConfigError(where_ + "." + key + ": expected " + expected + ", got " + excerpt(raw(key)));
}

std::optional<bool> JsonFields::boolean(const char* key) const {
  if (!has(key)) return std::nullopt;
  if (!raw(key).is_boolean()) fail(key, "true or false");
  return raw(key).get<bool>();
}

std::optional<double> JsonFields::number(const char* key) const {
  if (!has(key)) return std::nullopt;
  if (!raw(key).is_number()) fail(key, "a number");
  return raw(key).get<double>();
}

std::optional<std::int64_t> JsonFields::integer(const char* key, std::int64_t least, std::int64_t most) const {
  if (!has(key)) return std::nullopt;
  const Json& value = raw(key);
  // Compared as JSON numbers: an unsigned one may not fit the signed type.
  if (!value.is_number_integer() || value < least || value > most) {
    fail(key, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return value.get<std::int64_t>();
}

std::optional<std::string> JsonFields::string(const char* key) const {
  if (!has(key)) return std::nullopt;
  if (!raw(key).is_string()) fail(key, "a string");
  return raw(key).get<std::string>();
}

std::optional<TokenId> JsonFields::token(const char* key) const {
  const std::optional<std::int64_t> value = integer(key, 0, largest_token);
  return value ? std::optional<TokenId>(static_cast<TokenId>(*value)) : std::nullopt;
}

std::optional<TokenIds> JsonFields::tokens(const char* key) const {
  if (!has(key)) return std::nullopt;
  const Json& value = raw(key);
  if (is_token(value)) return TokenIds{value.get<TokenId>()};
  TokenIds ids;
  if (!value.is_array()) fail(key, "a token id or a list of them");
  for (const Json& item : value) {
    if (!is_token(item)) fail(key, "a token id or a list of them");
    ids.push_back(item.get<TokenId>());
  }
  return ids;
}

}  // namespace bertgen
