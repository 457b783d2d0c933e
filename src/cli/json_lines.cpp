#include "json_lines.hpp"

#include <cmath>
#include <limits>
#include <new>

#include "bertgen/core/error.hpp"

namespace bertgen::cli {
namespace {

constexpr int deepest = 64;

[[noreturn]] void fail(const char* key, const std::string& expected, const Json& got) {
  throw ArgumentError(std::string(key) + ": expected " + expected + ", got " + excerpt(got));
}

/// Whether `value` is a whole number between two bounds. nlohmann's comparison takes a number of 2^63 or more for a
/// negative one.
bool whole_between(const Json& value, std::int64_t least, std::int64_t most) {
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(most)) return false;
  return value.is_number_integer() && value >= least && value <= most;
}

/// A list of whole numbers between two bounds.
template <typename Value>
std::optional<std::vector<Value>> list_field(const Json& request, const char* key, std::int64_t least,
                                             std::int64_t most, const std::string& expected) {
  const Json* value = find_field(request, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array()) fail(key, expected, *value);
  std::vector<Value> list;
  list.reserve(value->size());
  for (const Json& item : *value) {
    if (!whole_between(item, least, most)) fail(key, expected, item);
    list.push_back(item.get<Value>());
  }
  return list;
}

}  // namespace

const Json* find_field(const Json& request, const char* key) {
  const auto found = request.find(key);
  return found == request.end() || found->is_null() ? nullptr : &*found;
}

RequestError current_error() {
  try {
    throw;
  } catch (const ArgumentError& error) {
    return {"argument", error.what()};
  } catch (const ShapeError& error) {
    return {"shape", error.what()};
  } catch (const ConfigError& error) {
    return {"config", error.what()};
  } catch (const CheckpointError& error) {
    return {"checkpoint", error.what()};
  } catch (const TokenizerError& error) {
    return {"tokenizer", error.what()};
  } catch (const CancelledError& error) {
    return {"cancelled", error.what()};
  } catch (const JsonLineError& error) {
    return {"json", error.what()};
  } catch (const std::bad_alloc&) {
    return {"internal", "not enough memory for this request"};
  } catch (const std::exception& error) {
    return {"internal", error.what()};
  }
}

Json parse_line(std::string_view line) {
  const auto bounded = [](int depth, Json::parse_event_t, Json&) {
    if (depth >= deepest) throw JsonLineError("line: expected at most 64 levels of nesting, got more");
    return true;
  };
  const auto no_json = [](std::size_t byte) {
    return JsonLineError("line: expected one JSON object, got what is no JSON at byte " + std::to_string(byte));
  };
  // The parser would take this byte for the end.
  if (const std::size_t zero = line.find('\0'); zero != std::string_view::npos) throw no_json(zero + 1);
  try {
    return Json::parse(line, bounded);
  } catch (const Json::parse_error& error) {  // its own words quote what may be megabytes
    throw no_json(error.byte);
  } catch (const Json::exception&) {
    throw JsonLineError("line: expected one JSON object, got a number outside the range of double");
  }
}

std::string dump_line(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string excerpt(const Json& value) {
  constexpr std::size_t longest = 60;
  const std::string text = dump_line(value);
  return text.size() <= longest ? text : valid_utf8(text.substr(0, longest)) + "…";
}

std::string valid_utf8(const std::string& text) { return Json::parse(dump_line(Json(text))).get<std::string>(); }

double finite(double log_probability) {
  return log_probability == -std::numeric_limits<double>::infinity() ? -1e30 : log_probability;
}

std::optional<std::string> text_field(const Json& request, const char* key) {
  const Json* value = find_field(request, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail(key, "a string", *value);
  return value->get<std::string>();
}

std::optional<bool> boolean_field(const Json& request, const char* key) {
  const Json* value = find_field(request, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) fail(key, "true or false", *value);
  return value->get<bool>();
}

std::optional<std::size_t> size_field(const Json& request, const char* key, std::size_t least) {
  const Json* value = find_field(request, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_unsigned() || *value < least) {
    fail(key, "a whole number of at least " + std::to_string(least), *value);
  }
  return value->get<std::size_t>();
}

std::optional<TokenIds> ids_field(const Json& request, const char* key, bool negative_allowed) {
  constexpr std::int64_t most = std::numeric_limits<TokenId>::max();
  return list_field<TokenId>(request, key, negative_allowed ? -most : 0, most, "a list of token ids");
}

std::optional<AttentionMask> mask_field(const Json& request, const char* key) {
  return list_field<std::uint8_t>(request, key, 0, 1, "a list of 0 and 1");
}

}  // namespace bertgen::cli
