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

/// Reads tokenizer_config.json and, as transformers does if that has no `added_tokens_decoder`, special_tokens_map.json
/// and added_tokens.json. A file that is not there changes nothing; `defaults` holds for what no file says.
/// Throws TokenizerError, which names the file and the key.
TokenizerConfig read_tokenizer_config(const std::filesystem::path& directory, TokenizerOptions defaults);

/// Writes tokenizer_config.json (`json` brought up to date with the tokenizer) and, where tokens follow the vocabulary,
/// added_tokens.json. Returns the paths written. Throws TokenizerError.
std::vector<std::filesystem::path> write_tokenizer_config(const std::filesystem::path& directory,
                                                          const Tokenizer& tokenizer, Json json,
                                                          const std::string& tokenizer_class);

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
