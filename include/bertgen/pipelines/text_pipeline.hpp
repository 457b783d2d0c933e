// Text in, text out: a checkpoint with its tokenizers, its own options, and a policy for texts that are too long.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/runtime/session.hpp"
#include "bertgen/tokenizers/auto.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// What becomes of a text with more tokens than the encoder has positions.
enum class LongText : std::uint8_t {
  error,     ///< it is refused
  truncate,  ///< its end is not read
  windows,   ///< it is read in parts, and the answers are joined
};

/// How a pipeline loads and reads.
struct TextPipelineOptions {
  LongText long_text = LongText::error;  ///< a text with more tokens than the encoder has positions
  /// Tokens that a window has in common with the one before it.
  std::size_t window_overlap = 0;
  /// Whether texts are encoded with special tokens; unset: not for BertGeneration, which was trained without.
  std::optional<bool> add_special_tokens = {};
  std::size_t batch_size = 16;     ///< texts, or windows, that are computed together
  int threads = physical_cores();  ///< that load and compute
};

/// Bytes [begin, end) of a text.
struct TextRange {
  /// @{
  /// Bytes.
  std::size_t begin = 0;
  std::size_t end = 0;
  /// @}
  friend bool operator==(const TextRange&, const TextRange&) = default;  ///< the same bytes
};

/// The parts of a text that an encoder of `most` tokens, added special tokens not counted, reads: the whole, its
/// beginning, or windows that end between sentences or words where they can. `name` is the text's in errors. Throws
/// ArgumentError for a text that is too long where these are refused, and for an overlap of more than half a window.
std::vector<TextRange> text_windows(const Tokenizer& tokenizer, const std::string& text, std::size_t most,
                                    LongText long_text, std::size_t overlap, const std::string& name = "text");

/// What a window draws its random numbers from (GenerateInputs::requests): it depends on the number of the text, below
/// 2^32, and of its window, and on no other text. The first window draws what the whole text would.
constexpr std::uint64_t window_request(std::uint64_t text, std::uint64_t window) { return text | window << 32; }

/// An answer, with what was read for it.
struct TextAnswer {
  std::string text;                ///< the best sequence, without special tokens; of windows joined by spaces
  std::vector<double> scores;      ///< of each window's sequence
  std::vector<TextRange> windows;  ///< the parts of the text that were read; one, unless it was read in windows
  TextRange cut;                   ///< the end of the text that was not read; empty where all was
};

/// A checkpoint that turns a text into another. The options of generate() are the checkpoint's own until they are
/// changed. Not thread-safe, as a Session; pipelines of one model share its weights.
class TextPipeline {
 public:
  /// Reads a directory with a model and its tokenizers. Throws as EncoderDecoderModel and AutoTokenizer do, and
  /// TokenizerError where there is no tokenizer.
  static TextPipeline from_pretrained(const std::filesystem::path& directory, const TextPipelineOptions& options = {});
  /// Throws TokenizerError where a tokenizer is null, ArgumentError for less than 1 text at a time and
  /// as Workspace does.
  TextPipeline(std::shared_ptr<const EncoderDecoderModel> model, EncoderDecoderTokenizers tokenizers,
               const TextPipelineOptions& options = {});

  /// The options of the answers to come; at first the checkpoint's own.
  GenerationConfig& generation_config() { return config_; }
  const Session& session() const { return *session_; }  ///< with the model

  /// One answer a text, in order; a text without tokens has an empty one. Throws ArgumentError for a text that is too
  /// long where these are refused, or whose window_overlap leaves no progress, and as generate() does.
  std::vector<TextAnswer> operator()(const std::vector<std::string>& texts);
  /// The answer to one text.
  TextAnswer operator()(const std::string& text) { return operator()(std::vector<std::string>{text}).front(); }

 private:
  std::unique_ptr<Session> session_;
  EncoderDecoderTokenizers tokenizers_;
  TextPipelineOptions options_;
  GenerationConfig config_;
};

}  // namespace bertgen
