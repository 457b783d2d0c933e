#include "bertgen/tokenizers/auto.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "bertgen/core/error.hpp"
#include "bertgen/tokenizers/bert.hpp"
#include "bertgen/tokenizers/bert_generation.hpp"
#include "bertgen/tokenizers/roberta.hpp"
#include "tokenizers/config.hpp"

namespace bertgen {

namespace {

bool holds(const std::filesystem::path& directory, const char* file) {
  std::error_code ignored;
  return std::filesystem::exists(directory / file, ignored);
}

bool holds_vocabulary(const std::filesystem::path& directory) {
  constexpr std::array files = {"spiece.model", "vocab.txt", "vocab.json", "tokenizer.json"};
  return std::any_of(files.begin(), files.end(), [&](const char* file) { return holds(directory, file); });
}

// A string field; nothing where it is absent or null.
std::optional<std::string> string_field(const Json& json, const char* key, const std::filesystem::path& path) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return std::nullopt;
  if (!found->is_string()) {
    throw TokenizerError(path.string() + ": " + key + ": expected a string, got " + excerpt(*found));
  }
  return found->get<std::string>();
}

// The class that a model type comes with, nothing for model types that are not this library's.
std::optional<std::string> class_of_model(const std::string& model_type) {
  if (model_type == "bert") return "BertTokenizer";
  if (model_type == "bert-generation") return "BertGenerationTokenizer";
  if (model_type == "roberta") return "RobertaTokenizer";
  return std::nullopt;
}

// The class that a directory's configuration asks for, and the file that does.
std::optional<std::pair<std::string, std::filesystem::path>> configured_class(const std::filesystem::path& directory) {
  constexpr const char* key = "tokenizer_class";
  const std::filesystem::path tokenizer_path = directory / "tokenizer_config.json";
  const std::filesystem::path model_path = directory / "config.json";
  if (const auto json = detail::read_json_object(tokenizer_path)) {
    if (const auto name = string_field(*json, key, tokenizer_path)) return std::pair(*name, tokenizer_path);
  }
  const auto json = detail::read_json_object(model_path);
  if (!json) return std::nullopt;
  if (const auto name = string_field(*json, key, model_path)) return std::pair(*name, model_path);
  const bool two_halves = json->contains("encoder") && (*json)["encoder"].is_object();
  const auto type = string_field(two_halves ? (*json)["encoder"] : *json, "model_type", model_path);
  const auto name = type ? class_of_model(*type) : std::nullopt;
  return name ? std::optional(std::pair(*name, model_path)) : std::nullopt;
}

std::string class_of_files(const std::filesystem::path& directory) {
  if (holds(directory, "spiece.model")) return "BertGenerationTokenizer";
  if (holds(directory, "vocab.json")) return "RobertaTokenizer";
  if (holds(directory, "vocab.txt")) return "BertTokenizer";
  return "TokenizersBackend";
}

}  // namespace

std::unique_ptr<Tokenizer> AutoTokenizer::from_pretrained(const std::filesystem::path& directory) {
  if (!holds_vocabulary(directory)) return nullptr;
  auto [name, path] =
      configured_class(directory).value_or(std::pair(class_of_files(directory), directory / "tokenizer.json"));
  if (name == "PreTrainedTokenizerFast" || name == "TokenizersBackend") {
    return TokenizersBackend::from_pretrained(directory);
  }
  if (name.ends_with("Fast")) name.erase(name.size() - 4);
  if (name == "BertTokenizer") return BertTokenizer::from_pretrained(directory);
  if (name == "BertGenerationTokenizer") return BertGenerationTokenizer::from_pretrained(directory);
  if (name == "RobertaTokenizer") return RobertaTokenizer::from_pretrained(directory);
  throw TokenizerError(path.string() +
                       ": tokenizer_class: expected BertTokenizer, BertGenerationTokenizer, RobertaTokenizer or "
                       "PreTrainedTokenizerFast, got " +
                       excerpt(name));
}

EncoderDecoderTokenizers EncoderDecoderTokenizers::from_pretrained(const std::filesystem::path& directory) {
  const std::filesystem::path encoder = directory / "encoder";
  const std::filesystem::path decoder = directory / "decoder";
  if (holds_vocabulary(encoder) && holds_vocabulary(decoder)) {
    return {AutoTokenizer::from_pretrained(encoder), AutoTokenizer::from_pretrained(decoder)};
  }
  const std::shared_ptr<const Tokenizer> both = AutoTokenizer::from_pretrained(directory);
  return {both, both};
}

}  // namespace bertgen
