#include "tokenizers/config.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "bertgen/core/error.hpp"
#include "tokenizers/text.hpp"

namespace bertgen::detail {

namespace {

// Vocabularies of added tokens stay far below; a config is never near.
constexpr std::size_t largest_json = std::size_t{1} << 26;

[[noreturn]] void fail(const std::string& source, std::string_view key, const char* expected, const Json& got) {
  throw TokenizerError(source + ": " + std::string(key) + ": expected " + expected + ", got " + excerpt(got));
}

// A token is a string, or an object with its `content` (transformers' serialised AddedToken).
std::string token_content(const std::string& source, std::string_view key, const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value["content"].is_string()) {
    return value["content"].get<std::string>();
  }
  fail(source, key, "a token (a string, or an object with a string \"content\")", value);
}

Side side_of(const std::string& source, const Json& object, const char* key, Side missing) {
  const auto found = object.find(key);
  if (found == object.end()) return missing;
  if (*found == "left") return Side::left;
  if (*found == "right") return Side::right;
  fail(source, key, "\"left\" or \"right\"", *found);
}

TokenId token_id(const std::string& source, std::string_view key, const Json& value) {
  constexpr std::int64_t largest = std::numeric_limits<TokenId>::max();
  if (value.is_number_unsigned() && value.get<std::uint64_t>() <= static_cast<std::uint64_t>(largest)) {
    return value.get<TokenId>();
  }
  fail(source, key, "an id from 0 to 2147483647", value);
}

// transformers writes 1e30 for "no limit", as an integer that only fits a double here.
std::optional<std::size_t> length_limit(const std::string& source, const Json& object) {
  for (const char* key : {"model_max_length", "max_len"}) {
    const auto found = object.find(key);
    if (found == object.end()) continue;
    if (found->is_null()) return std::nullopt;
    if (!found->is_number() || !(found->get<double>() >= 1)) fail(source, key, "a number of at least 1", *found);
    constexpr double unlimited = 1e18;
    const auto value = found->get<double>();
    return value >= unlimited ? std::nullopt : std::optional(static_cast<std::size_t>(value));
  }
  return std::nullopt;
}

AddedToken added_token(const std::string& source, std::string_view key, const Json& value) {
  if (!value.is_object()) fail(source, key, "an object for each token", value);
  const bool special = read_flag(source, value, "special", false);
  return {.content = token_content(source, key, value),
          .single_word = read_flag(source, value, "single_word", false),
          .lstrip = read_flag(source, value, "lstrip", false),
          .rstrip = read_flag(source, value, "rstrip", false),
          .normalized = read_flag(source, value, "normalized", !special),
          .special = special};
}

std::map<TokenId, AddedToken> added_tokens(const std::string& source, const Json& decoder) {
  constexpr std::string_view key = "added_tokens_decoder";
  if (!decoder.is_object()) fail(source, key, "an object", decoder);
  std::map<TokenId, AddedToken> tokens;
  for (const auto& [name, value] : decoder.items()) {
    TokenId id = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (error != std::errc() || end != name.data() + name.size() || id < 0) {
      fail(source, key, "ids from 0 to 2147483647 as keys", name);
    }
    tokens[id] = added_token(source, key, value);
  }
  return tokens;
}

// Special tokens beside the named ones: those that a model names itself ("image_token") come before the extra ones.
struct FurtherTokens {
  // What makes a token of added_tokens.json special.
  std::set<std::string> named;
  std::vector<std::string> own;
  std::optional<std::vector<std::string>> extra;
};

// A special token's string. How an object says it is cut out of a text goes to `rules`.
std::string special_token(const std::string& source, std::string_view key, const Json& value,
                          std::map<std::string, AddedToken>& rules) {
  std::string content = token_content(source, key, value);
  if (value.is_object()) {
    Json token = value;
    token["special"] = true;
    rules[content] = added_token(source, key, token);
  }
  return content;
}

std::vector<std::string> token_list(const std::string& source, const Json& json, const char* key,
                                    std::map<std::string, AddedToken>& rules) {
  const Json& list = json[key];
  if (!list.is_array() && !list.is_object() && !list.is_null()) fail(source, key, "a list of tokens", list);
  std::vector<std::string> tokens;
  for (const Json& value : list) tokens.push_back(special_token(source, key, value, rules));
  return tokens;
}

// Special tokens of one file, over those of the file read before it.
void read_special_tokens(const std::string& source, const Json& json, TokenizerOptions& options,
                         FurtherTokens& further) {
  const bool given_before = further.extra.has_value();
  for (const auto& [key, value] : json.items()) {
    const auto named = std::find_if(std::begin(named_tokens), std::end(named_tokens),
                                    [&, &name = key](const NamedToken& token) { return name == token.key; });
    if (named != std::end(named_tokens)) {
      if (!value.is_null()) further.named.insert(token_content(source, key, value));
      options.*(named->member) = value.is_null()
                                     ? std::nullopt
                                     : std::optional(special_token(source, key, value, options.special_token_rules));
    } else if (key.ends_with("_token") && (value.is_string() || (value.is_object() && value.contains("content")))) {
      further.own.push_back(special_token(source, key, value, options.special_token_rules));
    }
  }
  if (json.contains("extra_special_tokens")) {
    std::vector<std::string> tokens = token_list(source, json, "extra_special_tokens", options.special_token_rules);
    if (!further.extra) further.extra.emplace();
    further.extra->insert(further.extra->end(), tokens.begin(), tokens.end());
    further.named.insert(tokens.begin(), tokens.end());
  }
  const bool none = !given_before && (!further.extra || further.extra->empty());
  if (json.contains("additional_special_tokens") && none) {
    further.extra = token_list(source, json, "additional_special_tokens", options.special_token_rules);
  }
}

// The tokens of added_tokens.json; special are those that another file names so, as transformers has it.
std::map<TokenId, AddedToken> read_added_tokens(const std::filesystem::path& path,
                                                const std::set<std::string>& special) {
  std::map<TokenId, AddedToken> tokens;
  const auto json = read_json_object(path);
  if (!json) return tokens;
  for (const auto& [content, id] : json->items()) {
    const bool is_special = special.contains(content);
    tokens[token_id(path.string(), content, id)] = {
        .content = content, .normalized = !is_special, .special = is_special};
  }
  return tokens;
}

// The `added_tokens` of tokenizer.json, over those read before.
void read_serialized_tokens(const std::string& source, const Json& tokenizer_json,
                            std::map<TokenId, AddedToken>& tokens) {
  constexpr const char* key = "added_tokens";
  const auto list = tokenizer_json.find(key);
  if (list == tokenizer_json.end() || list->is_null()) return;
  if (!list->is_array()) fail(source, key, "a list of tokens", *list);
  for (const Json& value : *list) {
    if (!value.is_object() || !value.contains("id")) fail(source, key, "tokens with an id each", value);
    tokens[token_id(source, "added_tokens: id", value["id"])] = added_token(source, key, value);
  }
}

// The side that a tokenizer.json's own truncation or padding names.
void read_direction(const std::string& source, const Json& tokenizer_json, const char* key, Side& side) {
  const auto found = tokenizer_json.find(key);
  if (found == tokenizer_json.end() || !found->is_object() || !found->contains("direction")) return;
  const Json& direction = (*found)["direction"];
  if (direction != "Left" && direction != "Right") fail(source, key, "\"Left\" or \"Right\"", direction);
  side = direction == "Left" ? Side::left : Side::right;
}

// What is neither a token nor the class's own.
void read_settings(TokenizerConfig& config) {
  const Json& json = config.json;
  TokenizerOptions& options = config.options;
  if (const auto limit = length_limit(config.source, json)) options.model_max_length = limit;
  options.padding_side = side_of(config.source, json, "padding_side", options.padding_side);
  options.truncation_side = side_of(config.source, json, "truncation_side", options.truncation_side);
  options.clean_up_tokenization_spaces =
      read_flag(config.source, json, "clean_up_tokenization_spaces", options.clean_up_tokenization_spaces);
  options.split_special_tokens = read_flag(config.source, json, "split_special_tokens", options.split_special_tokens);
}

// Special and added tokens. Where tokenizer_config.json lists the latter, the files beside it do not count.
void read_tokens(const std::filesystem::path& directory, const std::string& serialized, const Json* tokenizer_json,
                 TokenizerConfig& config) {
  const Json& json = config.json;
  TokenizerOptions& options = config.options;
  const auto decoder = json.find("added_tokens_decoder");
  FurtherTokens further;
  read_special_tokens(config.source, json, options, further);
  // additional_special_tokens of special_tokens_map.json are not named ones, as transformers 5 has it.
  if (further.extra) further.named.insert(further.extra->begin(), further.extra->end());
  if (decoder != json.end()) {
    options.added_tokens_decoder = added_tokens(config.source, *decoder);
  } else {
    const std::filesystem::path map_path = directory / "special_tokens_map.json";
    if (const auto map = read_json_object(map_path)) read_special_tokens(map_path.string(), *map, options, further);
    options.added_tokens_decoder = read_added_tokens(directory / "added_tokens.json", further.named);
    if (tokenizer_json != nullptr) read_serialized_tokens(serialized, *tokenizer_json, options.added_tokens_decoder);
  }
  std::vector<std::string>& all = options.extra_special_tokens;
  all = std::move(further.own);
  for (std::string& token : further.extra.value_or(std::vector<std::string>())) {
    // A tokenizer that was saved has its own ones among them.
    if (std::find(all.begin(), all.end(), token) == all.end()) all.push_back(std::move(token));
  }
}

// As transformers writes them: sorted keys, two spaces, a newline at the end.
std::string to_text(const Json& json) { return json.dump(2) + "\n"; }

const char* to_text(Side side) { return side == Side::left ? "left" : "right"; }

}  // namespace

std::optional<Json> read_json_object(const std::filesystem::path& path, bool unique_keys) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::nullopt;
  const std::string text = read_file(path, largest_json);
  Json json;
  try {
    json = parse_json(text, unique_keys);
  } catch (const JsonError& exception) {
    throw TokenizerError(path.string() + ": " + exception.what());
  }
  if (!json.is_object()) throw TokenizerError(path.string() + ": expected a JSON object");
  return json;
}

bool read_flag(const std::string& source, const Json& object, const char* key, bool missing) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return missing;
  if (!found->is_boolean()) fail(source, key, "true or false", *found);
  return found->get<bool>();
}

Json to_json(const AddedToken& token) {
  return {{"content", token.content}, {"lstrip", token.lstrip},           {"normalized", token.normalized},
          {"rstrip", token.rstrip},   {"single_word", token.single_word}, {"special", token.special}};
}

TokenizerConfig read_tokenizer_config(const std::filesystem::path& directory, TokenizerOptions defaults,
                                      const Json* tokenizer_json) {
  const std::filesystem::path path = directory / "tokenizer_config.json";
  TokenizerConfig config;
  config.options = std::move(defaults);
  config.source = path.string();
  if (auto json = read_json_object(path)) config.json = std::move(*json);

  const std::string serialized = (directory / "tokenizer.json").string();
  if (tokenizer_json != nullptr) {
    read_direction(serialized, *tokenizer_json, "padding", config.options.padding_side);
    read_direction(serialized, *tokenizer_json, "truncation", config.options.truncation_side);
  }
  read_settings(config);
  read_tokens(directory, serialized, tokenizer_json, config);
  return config;
}

std::vector<std::filesystem::path> write_tokenizer_config(const std::filesystem::path& directory,
                                                          const Tokenizer& tokenizer, Json json) {
  const TokenizerOptions& options = tokenizer.options();
  for (const NamedToken& named : named_tokens) {
    const auto& token = options.*named.member;
    // A null keeps the class's default away when the file is read again.
    json[named.key] = token ? Json(*token) : Json(nullptr);
  }
  json.erase("additional_special_tokens");
  json.erase("extra_special_tokens");
  json.erase("max_len");
  if (!options.extra_special_tokens.empty()) json["extra_special_tokens"] = options.extra_special_tokens;
  json["model_max_length"] = options.model_max_length ? Json(*options.model_max_length) : Json(nullptr);
  json["padding_side"] = to_text(options.padding_side);
  json["truncation_side"] = to_text(options.truncation_side);
  json["clean_up_tokenization_spaces"] = options.clean_up_tokenization_spaces;
  json["split_special_tokens"] = options.split_special_tokens;
  json["tokenizer_class"] = tokenizer.tokenizer_class();
  Json decoder = Json::object();
  Json appended = Json::object();
  for (const auto& [id, token] : tokenizer.added_tokens_decoder()) {
    decoder[std::to_string(id)] = to_json(token);
    if (static_cast<std::size_t>(id) >= tokenizer.vocab_size()) appended[token.content] = id;
  }
  json["added_tokens_decoder"] = std::move(decoder);

  std::vector<std::filesystem::path> written = {directory / "tokenizer_config.json"};
  write_file(written.back(), to_text(json));
  if (!appended.empty()) {
    written.push_back(directory / "added_tokens.json");
    write_file(written.back(), to_text(appended));
  }
  return written;
}

}  // namespace bertgen::detail
