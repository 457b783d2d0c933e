// Text as it is generated, in pieces that no later token changes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <queue>
#include <string>

#include "bertgen/core/export.hpp"
#include "bertgen/generation/streamer.hpp"
#include "bertgen/tokenizers/tokenizer.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// How a streamer makes text of ids.
struct TextStreamerOptions {
  bool skip_prompt = false;                              ///< leaves out the decoder's prompt
  DecodeOptions decode = {.skip_special_tokens = true};  ///< how ids become text
};

/// Decodes what generate() puts, and hands over each word when it is whole: at the space behind it, a line at its end,
/// a Chinese character at once (transformers' TextStreamer). Pieces are whole UTF-8 characters, and together they are
/// what the tokenizer decodes the ids to. So that its clean-up may still remove it, a space comes with the word behind
/// it, and with clean-up each word waits for one more. For one answer after another.
class TextStreamer : public BaseStreamer {
 public:
  /// Gets a piece, perhaps empty; `stream_end`: it is the last of its answer.
  using OnFinalizedText = std::function<void(const std::string& text, bool stream_end)>;

  /// tokenizer: the decoder's.
  TextStreamer(std::shared_ptr<const Tokenizer> tokenizer, OnFinalizedText on_finalized_text,
               TextStreamerOptions options = {});

  /// Throws TokenizerError for an id outside the vocabulary, and what the callback throws.
  void put(std::span<const TokenId> ids) override;
  void end() override;

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  OnFinalizedText on_finalized_text_;
  TextStreamerOptions options_;
  TokenIds ids_;
  std::size_t given_ = 0;  ///< bytes of their text
  bool prompt_next_ = true;
};

/// Keeps the pieces for another thread than that of generate() (transformers' TextIteratorStreamer).
class TextIteratorStreamer final : public BaseStreamer {
 public:
  /// timeout: how long next() waits; none: for ever.
  explicit TextIteratorStreamer(std::shared_ptr<const Tokenizer> tokenizer, TextStreamerOptions options = {},
                                std::optional<std::chrono::milliseconds> timeout = std::nullopt);

  void put(std::span<const TokenId> ids) override { text_.put(ids); }
  void end() override { text_.end(); }

  /// Waits for the next piece that is not empty; none at the end of the answer. Throws Error when time is up.
  std::optional<std::string> next();

 private:
  TextStreamer text_;
  std::optional<std::chrono::milliseconds> timeout_;
  std::mutex mutex_;
  std::condition_variable filled_;
  std::queue<std::optional<std::string>> pieces_;
};

}  // namespace bertgen
