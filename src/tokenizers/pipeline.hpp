// What a tokenizer of transformers' TokenizersBackend is made of: the files of its directory, and the steps beside the
// vocabulary, as tokenizer.json describes them.
#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bertgen/tokenizers/bert.hpp"
#include "bertgen/tokenizers/roberta.hpp"
#include "json.hpp"
#include "tokenizers/config.hpp"
#include "tokenizers/vocabulary.hpp"

namespace bertgen::detail {

enum class ModelType : std::uint8_t { word_piece, bpe };

/// What a directory holds, or the caller gave.
struct TokenizerFiles {
  TokenizerConfig config;
  /// The file that the vocabulary came from, for errors.
  std::string source;
  Vocabulary vocabulary;
  /// Empty for WordPiece.
  Merges merges;
  /// tokenizer.json; null without one.
  Json tokenizer_json;
};

/// One step of a model's input: a text (0), its pair (1), or (−1) a special token.
struct TemplateStep {
  int sequence;
  std::string token;
  /// −1: the id that the token has in the vocabulary.
  TokenId id;
  TokenId token_type_id;
};

/// The steps beside the vocabulary.
struct TokenizerPipeline {
  ModelType type = ModelType::word_piece;
  BertNormalization normalization;
  ByteLevelOptions byte_level;
  /// The model's own unknown token. Unset: what is not in the vocabulary is left out.
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix = "##";
  std::size_t max_input_chars_per_word = 100;
  /// Whether decoding cleans spaces inside single tokens.
  bool decoder_cleanup = true;
  std::vector<TemplateStep> single;
  std::vector<TemplateStep> pair;
  bool token_type_ids = true;
  std::string tokenizer_class;
};

/// Reads a vocab.txt. Throws TokenizerError.
TokenizerFiles read_word_piece_file(const std::filesystem::path& vocab_file);
/// Reads a vocab.json and a merges.txt. Throws TokenizerError.
TokenizerFiles read_byte_level_files(const std::filesystem::path& vocab_file, const std::filesystem::path& merges_file);

/// A special token that the template needs. Throws TokenizerError, which names the files and the key, if there is none.
const std::string& required_token(const std::optional<std::string>& token, const char* key,
                                  const TokenizerFiles& files);
/// Id of the model's own unknown token, −1 if it has none. Throws TokenizerError if the vocabulary lacks it.
TokenId model_unknown_id(const TokenizerFiles& files, const TokenizerPipeline& pipeline);

/// Reads the vocabulary of a directory (tokenizer.json, else vocab.txt, else vocab.json and merges.txt, by the type)
/// and its settings. Without a type only tokenizer.json will do. Throws TokenizerError, also where tokenizer.json has
/// components of types that are not supported.
TokenizerFiles read_tokenizer_files(const std::filesystem::path& directory, TokenizerOptions defaults,
                                    std::optional<ModelType> type);

/// The steps as tokenizer.json says them. Throws TokenizerError for what is not supported.
TokenizerPipeline read_pipeline(const Json& tokenizer_json, const std::string& source);

/// The tokenizer.json of a tokenizer with these steps.
Json serialize(const Tokenizer& tokenizer, const TokenizerFiles& files, const TokenizerPipeline& pipeline);

}  // namespace bertgen::detail
