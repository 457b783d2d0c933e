// One line of JSON in, one out: parsing with bounds, typed fields, error answers.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bertgen/core/token.hpp"

namespace bertgen::cli {

using Json = nlohmann::json;

/// A request that cannot be answered: what its error answer says.
struct RequestError {
  std::string type;  ///< argument, shape, config, checkpoint, tokenizer, json, cancelled, internal
  std::string message;
};

/// The answer to one request: an object of fields and the line that plain mode prints, or an error.
struct Answer {
  Json fields = Json::object();
  std::string plain = {};
  std::optional<std::string> warning = {};  ///< what plain mode says beside it
  std::optional<RequestError> error = {};
};

/// The error of an exception that is being handled. Rethrows std::bad_alloc and what is not the request's fault.
RequestError current_error();

/// Parses one line. Throws JsonLineError for what is no JSON or has more than 64 levels.
class JsonLineError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
Json parse_line(std::string_view line);

/// One line of output; bytes that are not UTF-8 become U+FFFD.
std::string dump_line(const Json& value);
/// A value for an error message, cut to a readable length.
std::string excerpt(const Json& value);
/// A text as it may be written: valid UTF-8.
std::string valid_utf8(const std::string& text);
/// Minus infinity as the number JSON has for it.
double finite(double log_probability);

// Fields of a request. Each throws ArgumentError naming the field if it has another type; null counts as absent.

/// The field as it is, or null.
const Json* find_field(const Json& request, const char* key);
std::optional<std::string> text_field(const Json& request, const char* key);
std::optional<bool> boolean_field(const Json& request, const char* key);
/// A whole number of at least `least`.
std::optional<std::size_t> size_field(const Json& request, const char* key, std::size_t least);
std::optional<TokenIds> ids_field(const Json& request, const char* key, bool negative_allowed = false);
std::optional<AttentionMask> mask_field(const Json& request, const char* key);

}  // namespace bertgen::cli
