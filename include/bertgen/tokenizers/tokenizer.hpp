// What every tokenizer does: text to ids and back, under transformers' names and with its results.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/core/token.hpp"

namespace BERTGEN_PUBLIC bertgen {

namespace detail {
class AddedTokenMatcher;
}

/// Length that encodings are padded to: none, that of the longest of the batch, or EncodeOptions::max_length.
enum class PaddingStrategy : std::uint8_t { do_not_pad, longest, max_length };
/// Which text of a pair loses the tokens beyond EncodeOptions::max_length: none, the longer one token by token, or one
/// alone.
enum class TruncationStrategy : std::uint8_t { do_not_truncate, longest_first, only_first, only_second };
/// Where padding goes, or tokens are cut off.
enum class Side : std::uint8_t { left, right };

/// Hugging Face's spelling, as in a request: "longest", "max_length", "do_not_pad". Throws ArgumentError otherwise.
PaddingStrategy padding_strategy(std::string_view name);
/// Hugging Face's spelling: "longest_first", "only_first", "only_second", "do_not_truncate". Throws ArgumentError
/// otherwise.
TruncationStrategy truncation_strategy(std::string_view name);
/// "left" or "right". Throws ArgumentError otherwise.
Side side(std::string_view name);

/// How to encode; names and defaults of transformers' `PreTrainedTokenizerBase.__call__`.
struct EncodeOptions {
  /// Wraps the text as the model was trained (`[CLS] … [SEP]`). BertGeneration adds nothing either way.
  bool add_special_tokens = true;
  /// Unset (False in Python): as do_not_pad.
  std::optional<PaddingStrategy> padding = std::nullopt;
  /// Unset: longest_first where max_length is given and padding is unset too, else do_not_truncate.
  std::optional<TruncationStrategy> truncation = std::nullopt;
  /// In tokens, special ones included; at least 1. Unset: the tokenizer's model_max_length, and where that is unset
  /// too, neither truncation nor padding to max_length happens.
  std::optional<std::size_t> max_length = std::nullopt;
  /// Rounds the padded length up to a multiple; at least 1. Does nothing without padding.
  std::optional<std::size_t> pad_to_multiple_of = std::nullopt;
  /// Unset: the tokenizer's own sides.
  std::optional<Side> padding_side = std::nullopt;
  std::optional<Side> truncation_side = std::nullopt;  ///< see padding_side
};

/// How to decode; names of transformers' `PreTrainedTokenizerBase.decode`.
struct DecodeOptions {
  /// Leaves out the ids for which Tokenizer::is_special holds, the unknown token included.
  bool skip_special_tokens = false;
  /// Removes the spaces before . ? ! , and English contractions. Unset: the tokenizer's own setting (off unless
  /// tokenizer_config.json says otherwise; transformers 4 had it on).
  std::optional<bool> clean_up_tokenization_spaces = std::nullopt;
};

/// Where a token comes from: bytes [begin, end) of the given text. An empty range stands for a token without bytes of
/// its own, such as the first half of a character that normalisation splits in two.
struct TextSpan {
  /// @{
  /// Bytes of the text.
  std::size_t begin = 0;
  std::size_t end = 0;
  /// @}
  /// 0: the text, 1: its pair, −1: neither (a special token that was added, or padding; begin = end = 0 then).
  int sequence = -1;

  friend bool operator==(const TextSpan&, const TextSpan&) = default;  ///< the same bytes of the same text
};

/// One encoded text, or pair of texts. All lists have one entry a position; token_type_ids may be empty instead.
struct Encoding {
  TokenIds input_ids;  ///< with special tokens, if added
  /// 0 for the text, 1 for its pair; empty for models that have no token types.
  TokenIds token_type_ids;
  /// 1 on tokens, special ones included; 0 on padding.
  AttentionMask attention_mask;
  /// 1 on what the tokenizer added (special tokens and padding); 0 on tokens of the text, even where the text spells a
  /// special token.
  std::vector<std::uint8_t> special_tokens_mask;
  /// The vocabulary's string for each id (transformers' `convert_ids_to_tokens`), so "<unk>" for unknown text.
  std::vector<std::string> tokens;
  /// Bytes of the given text. Those of one sequence are in order and do not overlap.
  std::vector<TextSpan> offsets;

  std::size_t size() const { return input_ids.size(); }  ///< positions
};

/// A token outside the base vocabulary's algorithm: it is cut out of the raw text whole. transformers' `AddedToken`.
struct AddedToken {
  std::string content;  ///< as it stands in a text
  /// Only counts when no word character touches it.
  bool single_word = false;
  /// Swallows the white space on its left; on its right.
  bool lstrip = false;
  bool rstrip = false;  ///< see lstrip
  /// Is searched in the normalised text, after the tokens that are not. Counts for TokenizersBackend alone.
  bool normalized = false;
  bool special = true;  ///< decoding may leave it out
};

/// What tokenizer_config.json and its companions say beside the vocabulary. Names as there.
struct TokenizerOptions {
  /// Named special tokens. One that is not in the vocabulary is appended to it, in the order of these members, as
  /// transformers 5 does. Unset: the tokenizer has no such token.
  std::optional<std::string> bos_token;
  /// @{
  /// As bos_token.
  std::optional<std::string> eos_token;
  std::optional<std::string> unk_token;
  std::optional<std::string> sep_token;
  std::optional<std::string> pad_token;
  std::optional<std::string> cls_token;
  std::optional<std::string> mask_token;
  /// @}
  /// Further special tokens (`additional_special_tokens` in old files), appended after the named ones.
  std::vector<std::string> extra_special_tokens;
  /// Added tokens by id. The ids win over the vocabulary's; TokenizersBackend takes their order alone from them and
  /// gives a token the vocabulary's id, else the next free one.
  std::map<TokenId, AddedToken> added_tokens_decoder;
  /// How the special tokens above are cut out of a text, by content, where a file says it. Counts for
  /// TokenizersBackend alone.
  std::map<std::string, AddedToken> special_token_rules;
  /// In tokens. Unset: no limit.
  std::optional<std::size_t> model_max_length;
  /// @{
  /// As tokenizer_config.json names them.
  Side padding_side = Side::right;
  Side truncation_side = Side::right;
  bool clean_up_tokenization_spaces = false;
  /// @}
  /// Reads special tokens inside a text as ordinary text.
  bool split_special_tokens = false;
};

/// Base of the tokenizers. All const methods are safe to call from several threads at once.
/// Source: transformers' `PreTrainedTokenizerBase`, `PythonBackend` and `TokenizersBackend`.
class Tokenizer {
 public:
  virtual ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  /// Ids of one text. As in transformers, BertGenerationTokenizer leaves a text without tokens empty whatever the
  /// padding. Throws ArgumentError for options that cannot be met together: padding without a pad token, a max_length
  /// that is not a multiple of pad_to_multiple_of when truncating and padding, zero lengths, padding beyond
  /// max_padded_length; TokenizerError for a text over max_text_bytes.
  Encoding encode(std::string_view text, const EncodeOptions& options = {}) const;
  /// Ids of a pair of texts, in one sequence. As in transformers, an empty text_pair is none to BertTokenizer and
  /// RobertaTokenizer; in a batch it is one.
  Encoding encode(std::string_view text, std::string_view text_pair, const EncodeOptions& options = {}) const;
  /// Ids of many texts: `longest` pads to the longest of them, and texts without tokens are padded too.
  std::vector<Encoding> encode_batch(const std::vector<std::string>& texts, const EncodeOptions& options = {}) const;
  /// As above for pairs; throws ArgumentError where the lists differ in length.
  std::vector<Encoding> encode_batch(const std::vector<std::string>& texts, const std::vector<std::string>& text_pairs,
                                     const EncodeOptions& options = {}) const;

  /// Text of the ids. Throws TokenizerError for an id outside the vocabulary.
  std::string decode(const TokenIds& ids, const DecodeOptions& options = {}) const;

  /// Id of a token's exact string, nothing where the vocabulary has no such token.
  std::optional<TokenId> token_to_id(std::string_view token) const;
  /// A token's string. Throws TokenizerError for an id outside the vocabulary.
  std::string id_to_token(TokenId id) const;

  /// What the id adds to the text of those before it, spaces included: bytes, of byte-level vocabularies perhaps a part
  /// of a character. A special token adds its name, an id outside the vocabulary nothing. Source: transformers'
  /// StopStringCriteria.
  std::string token_text(TokenId id) const;

  /// transformers' name of the class, as `tokenizer_class` of tokenizer_config.json has it.
  virtual std::string tokenizer_class() const = 0;
  /// Tokens of the vocabulary proper (transformers' `vocab_size`).
  virtual std::size_t vocab_size() const = 0;
  /// Tokens with the added ones (transformers' `len(tokenizer)`): what an embedding must have rows for, unless added
  /// ids leave holes.
  std::size_t size() const { return size_; }

  /// @{
  /// Unset where the tokenizer has no such token.
  std::optional<TokenId> bos_token_id() const { return special_id(options_.bos_token); }
  std::optional<TokenId> eos_token_id() const { return special_id(options_.eos_token); }
  std::optional<TokenId> unk_token_id() const { return special_id(options_.unk_token); }
  std::optional<TokenId> sep_token_id() const { return special_id(options_.sep_token); }
  std::optional<TokenId> pad_token_id() const { return special_id(options_.pad_token); }
  std::optional<TokenId> cls_token_id() const { return special_id(options_.cls_token); }
  std::optional<TokenId> mask_token_id() const { return special_id(options_.mask_token); }
  /// @}
  /// Ids of all special tokens, named ones first, each once.
  const TokenIds& all_special_ids() const { return special_ids_; }
  /// Whether skip_special_tokens leaves the id out: all special ids, and added tokens that are marked special where
  /// transformers goes by the mark (TokenizersBackend).
  bool is_special(TokenId id) const;
  /// Added tokens by id, special ones included (transformers' `added_tokens_decoder`).
  const std::map<TokenId, AddedToken>& added_tokens_decoder() const { return added_; }
  /// What the tokenizer was made with.
  const TokenizerOptions& options() const { return options_; }
  /// In tokens; unset: no limit.
  std::optional<std::size_t> model_max_length() const { return options_.model_max_length; }

  /// Writes the vocabulary into an existing directory and returns the paths written. Throws TokenizerError if it
  /// cannot.
  virtual std::vector<std::filesystem::path> save_vocabulary(const std::filesystem::path& directory) const = 0;
  /// Writes everything that from_pretrained reads, here and in transformers; creates the directory. Returns the paths
  /// written. Throws TokenizerError if it cannot; each file is replaced whole or not at all.
  virtual std::vector<std::filesystem::path> save_pretrained(const std::filesystem::path& directory) const = 0;

  /// Longest text accepted, in bytes.
  static constexpr std::size_t max_text_bytes = std::size_t{1} << 25;
  /// Longest sequence that padding makes, in tokens.
  static constexpr std::size_t max_padded_length = std::size_t{1} << 24;

 protected:
  /// A token of one text, with its bytes there.
  struct Piece {
    TokenId id;  ///< of the token
    /// @{
    /// Bytes of the text.
    std::size_t begin;
    std::size_t end;
    /// @}
  };
  /// One step of the layout of a model's input: a whole text, or one special token.
  struct TemplateItem {
    /// 0: the text, 1: its pair, −1: the special token `id`.
    int sequence;
    TokenId id;             ///< of the special token
    TokenId token_type_id;  ///< of what stands there
  };

  /// Which of transformers' two machines a tokenizer follows where they differ: in the ids, matching and skipping of
  /// added tokens, in truncation, and in padding an empty text.
  enum class Backend : std::uint8_t { python, tokenizers };

  /// `backend`: which of transformers' two tokenizer libraries to follow.
  explicit Tokenizer(TokenizerOptions options, Backend backend = Backend::python);
  /// Gives every special token its id and prepares the cutting of texts. A derived constructor calls it once its
  /// vocabulary can answer. Throws TokenizerError for an added id that is negative.
  void add_special_tokens();
  /// Where the added tokens lie in `text`, and what is left between them: leftmost, then longest match, then the
  /// stripping that the backend does. A part with id −1 is ordinary text; none is empty. For Backend::tokenizers these
  /// are the tokens that are not `normalized`.
  std::vector<Piece> split_added_tokens(std::string_view text) const;
  /// Whether there are tokens for split_normalized_tokens to find.
  bool has_normalized_tokens() const { return normalized_matcher_ != nullptr; }
  /// As split_added_tokens, for normalised text and the tokens that are `normalized`.
  std::vector<Piece> split_normalized_tokens(std::string_view text) const;
  /// Id of a piece that the vocabulary's algorithm produced: an added token's, the vocabulary's, else the unknown id.
  TokenId piece_to_id(std::string_view piece) const;
  /// The same for a piece whose id in the vocabulary is known.
  TokenId piece_to_id(std::string_view piece, TokenId id) const;

 private:
  /// All tokens of a text, without any that the template adds.
  virtual std::vector<Piece> tokenize(std::string_view text) const = 0;
  /// How a single text (pair = false) or a pair becomes one sequence.
  virtual std::vector<TemplateItem> sequence_template(bool pair) const = 0;
  virtual bool has_token_type_ids() const = 0;
  /// The vocabulary proper, without added tokens.
  virtual std::optional<TokenId> find_in_vocabulary(std::string_view token) const = 0;
  /// String of an id, nothing where the vocabulary proper has no such id.
  virtual std::optional<std::string> vocabulary_token(TokenId id) const = 0;
  /// Id for text that the vocabulary cannot express.
  virtual TokenId unknown_id() const = 0;
  virtual std::string tokens_to_text(const std::vector<std::string>& tokens) const = 0;
  /// What a token adds to the text of those before it.
  virtual std::string text_of_token(const std::string& token) const;
  /// How an added token looks in normalised text.
  virtual std::string normalized_content(std::string_view content) const { return std::string(content); }
  /// Whether decode's clean-up applies; transformers never cleans byte-level text.
  virtual bool can_clean_up() const { return true; }

  std::optional<std::string> find_token(TokenId id) const;
  struct Plan;
  Plan plan(const EncodeOptions& options) const;
  Encoding encode_one(std::string_view text, const std::string_view* text_pair, const EncodeOptions& options) const;
  std::vector<Encoding> encode_rows(const std::vector<std::string>& texts, const std::vector<std::string>* text_pairs,
                                    const EncodeOptions& options) const;
  Encoding encode_unpadded(std::string_view text, const std::string_view* text_pair, const Plan& plan) const;
  void truncate(std::vector<Piece>& first, std::vector<Piece>& second, bool pair, const Plan& plan) const;
  void pad(Encoding& encoding, std::size_t length, const Plan& plan) const;
  std::vector<std::string> special_tokens() const;
  void give_ids_in_order(const std::vector<std::string>& special);
  void give_ids_as_told(const std::vector<std::string>& special);
  void prepare_matching();
  std::vector<Piece> split(std::string_view text, const detail::AddedTokenMatcher& matcher) const;
  void apply_added_token_rules(std::string_view text, std::vector<Piece>& parts) const;
  std::size_t count_tokens() const;
  std::optional<TokenId> special_id(const std::optional<std::string>& token) const;

  TokenizerOptions options_;
  Backend backend_;
  std::map<TokenId, AddedToken> added_;
  std::map<std::string, TokenId, std::less<>> added_ids_;
  // Where it differs from the content: what id_to_token answers then.
  std::map<TokenId, std::string> normalized_contents_;
  TokenIds special_ids_;
  // Sorted.
  TokenIds skipped_ids_;
  std::size_t size_ = 0;
  std::unique_ptr<const detail::AddedTokenMatcher> matcher_;
  std::unique_ptr<const detail::AddedTokenMatcher> normalized_matcher_;
};

}  // namespace bertgen
