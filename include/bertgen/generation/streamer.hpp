// Ids as they become certain, while generate() runs.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/core/token.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Receives the ids of one answer from generate(), on its thread (transformers' BaseStreamer). TextStreamer in
/// pipelines/text_streamer.hpp makes text of them. What put() throws, generate() throws.
class BaseStreamer {
 public:
  virtual ~BaseStreamer() = default;
  /// First the decoder's prompt, the start token included, then what follows: never an empty list.
  virtual void put(std::span<const TokenId> ids) = 0;
  /// Nothing more comes, because the answer is complete or because generate() throws.
  virtual void end() = 0;
};

namespace detail {

/// Hands the ids of each item to its streamer.
class Streams {
 public:
  /// streamers: one an item, or null; empty: none.
  explicit Streams(std::vector<BaseStreamer*> streamers) : streamers_(std::move(streamers)), sent_(streamers_.size()) {}
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;
  /// Whoever waits for more must learn that there is none.
  ~Streams() { end_all(); }

  bool wanted(std::size_t item) const { return item < streamers_.size() && streamers_[item] != nullptr; }
  /// Hands over what is new in `ids`, all that is certain by now.
  void put(std::size_t item, std::span<const TokenId> ids) {
    if (!wanted(item) || ids.size() <= sent_[item]) return;
    const auto fresh = ids.subspan(sent_[item]);
    sent_[item] = ids.size();
    streamers_[item]->put(fresh);
  }
  void end(std::size_t item) {
    if (wanted(item)) std::exchange(streamers_[item], nullptr)->end();
  }
  /// Tells all that have not heard it. What they throw is dropped: an exception is under way already.
  void end_all() noexcept {
    for (std::size_t item = 0; item < streamers_.size(); ++item) {
      try {
        end(item);
      } catch (...) {
      }
    }
  }

 private:
  std::vector<BaseStreamer*> streamers_;
  std::vector<std::size_t> sent_;
};

}  // namespace detail
}  // namespace bertgen
