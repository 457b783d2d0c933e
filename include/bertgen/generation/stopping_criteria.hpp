// When a sequence is complete (transformers' StoppingCriteriaList).
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <utility>

#include "bertgen/core/error.hpp"
#include "bertgen/core/export.hpp"
#include "bertgen/generation/sequence.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// A caller's own rule: whether a sequence, prompt included, is complete by its last id.
using StoppingCriterion = std::function<bool(std::span<const TokenId> ids)>;

/// The bytes that an id adds to a text, perhaps a part of a character: Tokenizer::token_text.
using TokenText = std::function<std::string(TokenId)>;

/// Complete when the last id completes one of the strings; it may go on behind it (transformers' StopStringCriteria).
class StopStringCriteria {
 public:
  /// stop_strings: none empty.
  StopStringCriteria(std::vector<std::string> stop_strings, TokenText token_text)
      : stop_strings_(std::move(stop_strings)), token_text_(std::move(token_text)) {
    for (const std::string& text : stop_strings_) longest_ = std::max(longest_, text.size());
  }

  /// True if the last id of `ids` completes one of the texts.
  bool operator()(std::span<const TokenId> ids) const {
    std::string text = token_text_(ids.back());
    const std::size_t own = text.size();
    // As in transformers no more ids than a string has bytes, though some may have no text.
    for (std::size_t i = 1; i < std::min(longest_, ids.size()) && text.size() < own + longest_ - 1; ++i) {
      text.insert(0, token_text_(ids[ids.size() - 1 - i]));
    }
    const std::size_t before = text.size() - own;
    return std::any_of(stop_strings_.begin(), stop_strings_.end(), [&](const std::string& stop) {
      const std::size_t first = before + 1 > stop.size() ? before + 1 - stop.size() : 0;  // it ends in the last id
      return text.find(stop, first) != std::string::npos;
    });
  }

 private:
  std::vector<std::string> stop_strings_;
  TokenText token_text_;
  std::size_t longest_ = 0;
};

/// What ends a call from outside.
struct Interruption {
  std::optional<double> max_time = {};  ///< seconds
  std::stop_token stop = {};            ///< what there is by then is the answer
  std::stop_token cancel = {};          ///< there is none
};

/// When a sequence is complete: at max_length, by an end token, by one of the criteria, or when the call is over.
class StoppingCriteria {
 public:
  /// `eos`: ids that end a sequence. `interruption`: what ends the call.
  explicit StoppingCriteria(TokenIds eos = {}, std::vector<StoppingCriterion> criteria = {},
                            Interruption interruption = {})
      : eos_(std::move(eos)), criteria_(std::move(criteria)), interruption_(std::move(interruption)) {}

  /// @{
  /// The ids that end a sequence.
  const TokenIds& eos() const { return eos_; }
  bool is_eos(TokenId id) const { return std::find(eos_.begin(), eos_.end(), id) != eos_.end(); }
  /// @}

  /// max_time counts from here.
  void start_clock() { start_ = Clock::now(); }
  /// Called once a step, before its tokens are chosen. When the call is over by now, they are the last ones of all
  /// sequences. Throws CancelledError.
  void begin_step() {
    if (interruption_.cancel.stop_requested()) throw CancelledError("generate: cancelled");
    const std::chrono::duration<double> elapsed = Clock::now() - start_;
    over_ =
        interruption_.stop.stop_requested() || (interruption_.max_time && elapsed.count() > *interruption_.max_time);
  }
  bool over() const { return over_; }  ///< what update() found

  /// Whether `token` behind `ids` completes a sequence of the item.
  bool operator()(const GenerationItem& item, std::span<const TokenId> ids, TokenId token) const {
    if (over_ || ids.size() + 1 >= item.max_length || is_eos(token)) return true;
    if (criteria_.empty()) return false;
    TokenIds all(ids.begin(), ids.end());
    all.push_back(token);
    return std::any_of(criteria_.begin(), criteria_.end(), [&](const auto& criterion) { return criterion(all); });
  }

 private:
  using Clock = std::chrono::steady_clock;

  TokenIds eos_;
  std::vector<StoppingCriterion> criteria_;
  Interruption interruption_;
  Clock::time_point start_ = Clock::now();
  bool over_ = false;
};

}  // namespace bertgen
