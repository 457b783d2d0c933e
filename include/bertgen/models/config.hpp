// What config.json says of a model.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/core/token.hpp"
#include "bertgen/models/family.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// The architecture of one half, encoder or decoder, of any family. Fields and defaults are those of Hugging Face's
/// BertGenerationConfig, for other families see defaults(). What else a file says (dropout, labels, fields that
/// versions 4 and 5 dropped) is kept for the next one to read.
struct TransformerConfig {
  /// @{
  /// As config.json names them.
  std::string model_type = "bert-generation";
  std::size_t vocab_size = 50358;
  std::size_t hidden_size = 1024;
  std::size_t num_hidden_layers = 24;
  std::size_t num_attention_heads = 16;
  std::size_t intermediate_size = 4096;
  std::string hidden_act = "gelu";
  std::size_t max_position_embeddings = 512;
  /// @}
  std::size_t type_vocab_size = 0;          ///< 0 in a family without token types
  double layer_norm_eps = 1e-12;            ///< added to the variance
  double initializer_range = 0.02;          ///< standard deviation of weights that are drawn
  std::optional<TokenId> pad_token_id = 0;  ///< of padding
  std::optional<TokenId> bos_token_id = 2;  ///< first id of a sequence
  std::vector<TokenId> eos_token_id = {1};  ///< several are allowed; empty for none
  /// @{
  /// As config.json names them.
  bool is_decoder = false;
  bool add_cross_attention = false;
  bool tie_word_embeddings = true;
  /// @}
  /// Only an encoder-decoder's decoder has it; other than the encoder's hidden size it is refused.
  std::optional<std::size_t> cross_attention_hidden_size;
  /// A JSON object of all other fields, which to_json() writes again.
  std::string other_fields = "{}";

  /// The defaults of a family's configuration class (BertConfig, RobertaConfig). Throws ConfigError for one that is
  /// not supported.
  static TransformerConfig defaults(std::string_view model_type);
  /// Reads the text of a config.json. Missing fields keep their family's defaults.
  /// `model_type`, unless empty, replaces the file's. Throws ConfigError naming `source` and the field: a wrong type or
  /// size, a hidden size that the heads do not divide, an unknown hidden_act, a position_embedding_type other than
  /// absolute, cross-attention in what is no decoder.
  static TransformerConfig from_json(std::string_view text, std::string_view source = "config.json",
                                     std::string_view model_type = {});
  /// As transformers writes it, keys in alphabetical order.
  std::string to_json() const;
  /// Throws ConfigError as from_json does.
  void validate() const;
  /// Throws ConfigError for a model_type that is not supported.
  const Family& family() const { return family_of(model_type); }
  /// The id that positions count from, in a family whose positions do.
  std::optional<TokenId> padding_idx() const;
  /// The longest sequence that the position table serves.
  std::size_t max_length() const;
  /// Whether texts are encoded with special tokens unless the caller says otherwise: BertGeneration was trained
  /// without.
  bool adds_special_tokens() const { return model_type != "bert-generation"; }
  /// What nn/ needs of it.
  LayerConfig layer_config(const BuildOptions& build) const;
};

/// The page's first class; the same fields serve the other families.
using BertGenerationConfig = TransformerConfig;

/// Hugging Face's EncoderDecoderConfig: two halves, and the ids that generation and the loss start from.
struct EncoderDecoderConfig {
  /// @{
  /// As config.json names them; the halves under `encoder` and `decoder`.
  TransformerConfig encoder;
  TransformerConfig decoder;
  std::optional<TokenId> decoder_start_token_id;
  std::optional<TokenId> pad_token_id;
  std::optional<TokenId> bos_token_id;
  std::vector<TokenId> eos_token_id;
  /// @}
  /// All weights that both halves have are the same (transformers 4 wrote such files, 5 cannot read them).
  bool tie_encoder_decoder = false;
  std::string tokenizer_class;      ///< empty: none is named
  std::string other_fields = "{}";  ///< as TransformerConfig's

  /// Reads the text of a config.json whose model_type is encoder-decoder. Throws ConfigError as TransformerConfig does,
  /// and for a missing half or one of a family that is not supported.
  static EncoderDecoderConfig from_json(std::string_view text, std::string_view source = "config.json");
  /// The text of a config.json, other_fields included.
  std::string to_json() const;
  /// Throws ConfigError if a half is not valid or the halves do not fit together.
  void validate() const;
};

}  // namespace bertgen
