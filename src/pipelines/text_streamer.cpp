#include "bertgen/pipelines/text_streamer.hpp"

#include <algorithm>
#include <utility>

#include "bertgen/core/error.hpp"
#include "tokenizers/unicode.hpp"

namespace bertgen {
namespace {

/// Whether the text's last character is one of Chinese, which no space parts from the next word.
bool ends_in_chinese(const std::string& text) {
  std::size_t begin = text.size();
  while (begin > 0 && (static_cast<unsigned char>(text[--begin]) & 0xC0) == 0x80) {
  }
  return begin < text.size() && detail::is_chinese(detail::decode_utf8(text, begin).first);
}

/// How many bytes of a text that may go on no later token changes: all but its last `words`.
std::size_t certain(const std::string& text, int words) {
  if (text.ends_with('\n') || ends_in_chinese(text)) return text.size();
  std::size_t end = text.size();
  for (; words > 0 && end > 0; --words) {
    const std::size_t space = text.rfind(' ', end - 1);
    end = space == std::string::npos ? 0 : space;
  }
  return end;
}

}  // namespace

TextStreamer::TextStreamer(std::shared_ptr<const Tokenizer> tokenizer, OnFinalizedText on_finalized_text,
                           TextStreamerOptions options)
    : tokenizer_(std::move(tokenizer)), on_finalized_text_(std::move(on_finalized_text)), options_(options) {}

void TextStreamer::put(std::span<const TokenId> ids) {
  if (std::exchange(prompt_next_, false) && options_.skip_prompt) return;
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  const std::string text = tokenizer_->decode(ids_, options_.decode);
  const bool cleans =
      options_.decode.clean_up_tokenization_spaces.value_or(tokenizer_->options().clean_up_tokenization_spaces);
  const std::size_t begin = given_;
  given_ = std::max(begin, certain(text, cleans ? 2 : 1));  // "do n '" may become "don't"
  on_finalized_text_(text.substr(begin, given_ - begin), false);
}

void TextStreamer::end() {
  const TokenIds ids = std::exchange(ids_, {});
  const std::size_t begin = std::exchange(given_, 0);
  prompt_next_ = true;
  const std::string text = tokenizer_->decode(ids, options_.decode);
  on_finalized_text_(text.substr(std::min(begin, text.size())), true);
}

TextIteratorStreamer::TextIteratorStreamer(std::shared_ptr<const Tokenizer> tokenizer, TextStreamerOptions options,
                                           std::optional<std::chrono::milliseconds> timeout)
    : text_(
          std::move(tokenizer),
          [this](const std::string& text, bool stream_end) {
            const std::lock_guard lock(mutex_);
            if (!text.empty()) pieces_.push(text);
            if (stream_end) pieces_.push(std::nullopt);
            filled_.notify_one();
          },
          options),
      timeout_(timeout) {}

std::optional<std::string> TextIteratorStreamer::next() {
  std::unique_lock lock(mutex_);
  const auto filled = [this] { return !pieces_.empty(); };
  if (!timeout_) {
    filled_.wait(lock, filled);
  } else if (!filled_.wait_for(lock, *timeout_, filled)) {
    throw Error("streamer: expected a piece of text within " + std::to_string(timeout_->count()) + " ms, got none");
  }
  std::optional<std::string> piece = std::move(pieces_.front());
  pieces_.pop();
  return piece;
}

}  // namespace bertgen
