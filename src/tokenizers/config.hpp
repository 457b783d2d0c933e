// tokenizer_config.json and its companions: reading, and writing what was read back.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bertgen/tokenizers/tokenizer.hpp"
#include "json.hpp"

namespace bertgen::detail {

/// Settings of a tokenizer's directory.
struct TokenizerConfig {
  TokenizerOptions options;
  /// The whole of tokenizer_config.json; an empty object without one.
  Json json = Json::object();
  /// The file that `json` came from, for errors.
  std::string source;
};

/// The JSON object in a file, nothing where there is no file. Throws TokenizerError, which names the file.
std::optional<Json> read_json_object(const std::filesystem::path& path, bool unique_keys = false);

/// Reads tokenizer_config.json and, as transformers does if that has no `added_tokens_decoder`,
/// special_tokens_map.json, added_tokens.json and the `added_tokens` of `tokenizer_json` (the tokenizer.json beside
/// them, or null). A file that is not there changes nothing; `defaults` holds for what no file says. Throws
/// TokenizerError, which names the file and the key.
TokenizerConfig read_tokenizer_config(const std::filesystem::path& directory, TokenizerOptions defaults,
                                      const Json* tokenizer_json = nullptr);

/// Writes tokenizer_config.json (`json` brought up to date with the tokenizer) and, where tokens follow the vocabulary,
/// added_tokens.json. Returns the paths written. Throws TokenizerError.
std::vector<std::filesystem::path> write_tokenizer_config(const std::filesystem::path& directory,
                                                          const Tokenizer& tokenizer, Json json);

/// A setting that is true, false or, absent and null, `missing`. Throws TokenizerError, which names `source` and the
/// key.
bool read_flag(const std::string& source, const Json& object, const char* key, bool missing);

/// An added token as tokenizer_config.json and tokenizer.json write it.
Json to_json(const AddedToken& token);

/// Named special tokens in transformers' order, with their keys.
struct NamedToken {
  const char* key;
  std::optional<std::string> TokenizerOptions::*member;
};
inline constexpr NamedToken named_tokens[] = {
    {"bos_token", &TokenizerOptions::bos_token},   {"eos_token", &TokenizerOptions::eos_token},
    {"unk_token", &TokenizerOptions::unk_token},   {"sep_token", &TokenizerOptions::sep_token},
    {"pad_token", &TokenizerOptions::pad_token},   {"cls_token", &TokenizerOptions::cls_token},
    {"mask_token", &TokenizerOptions::mask_token},
};

}  // namespace bertgen::detail
