// Words that an answer must have, and how far a sequence has come with them (transformers 4's DisjunctiveConstraint,
// PhrasalConstraint and ConstraintListState).
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/core/token.hpp"
#include "bertgen/generation/config.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// A sequence's progress through words of which it must have each, in any order. One word is worked on at a time: a
/// token that does not continue it starts it anew.
class ConstraintState {
 public:
  /// Refers to `words`.
  explicit ConstraintState(const std::vector<ForcedWord>& words) : words_(&words) {
    for (const ForcedWord& word : words) {
      pending_.push_back(&word);
      longest_ = std::max(longest_, length(word));
    }
  }
  /// Progress after `ids`.
  ConstraintState(const std::vector<ForcedWord>& words, std::span<const TokenId> ids) : ConstraintState(words) {
    for (TokenId id : ids) add(id);
  }

  bool completed() const { return completed_ == words_->size(); }  ///< all words are there
  /// Grows with progress: hypotheses of one bank are equally far.
  std::size_t bank() const {
    return completed_ * longest_ + (current_ ? longest_ - (length(*current_) - begun_.size()) : 0);
  }

  /// The tokens that would be progress, a token that begins several words once for each.
  TokenIds advance() const {
    if (current_) return continuations(*current_, begun_);
    TokenIds tokens;
    for (const ForcedWord* word : pending_) {
      const TokenIds first = continuations(*word, {});
      tokens.insert(tokens.end(), first.begin(), first.end());
    }
    return tokens;
  }

  /// The state after each token of advance(). In transformers the states of one step share the list of what there is of
  /// the word that is worked on, so each sees the tokens of those before it and, unless it happens to continue them,
  /// counts as having broken the word. That decides which hypotheses stay, so it is the same here.
  std::vector<ConstraintState> branches() const {
    std::vector<ConstraintState> states;
    ConstraintState shared = *this;
    for (TokenId token : advance()) {
      states.push_back(shared);
      if (states.back().add(token) && current_ != nullptr) shared.begun_.push_back(token);
    }
    return states;
  }

  /// Whether `token` was progress.
  bool add(TokenId token) {
    if (completed()) return false;
    if (current_) {
      if (!is_progress(*current_, token)) {
        pending_.push_back(current_);
        current_ = nullptr;
        begun_.clear();
        return false;
      }
    } else {
      const auto word = std::find_if(pending_.begin(), pending_.end(),
                                     [&](const ForcedWord* pending) { return is_progress(*pending, token); });
      if (word == pending_.end()) return false;
      current_ = *word;
      pending_.erase(word);
    }
    begun_.push_back(token);
    if (continuations(*current_, begun_).empty()) {
      ++completed_;
      current_ = nullptr;
      begun_.clear();
    }
    return true;
  }

 private:
  static std::size_t length(const ForcedWord& word) {
    std::size_t longest = 0;
    for (const TokenIds& alternative : word) longest = std::max(longest, alternative.size());
    return longest;
  }
  /// What may follow `begun` in the alternatives of a word, each token once.
  static TokenIds continuations(const ForcedWord& word, const TokenIds& begun) {
    TokenIds tokens;
    for (const TokenIds& alternative : word) {
      if (alternative.size() <= begun.size()) continue;
      if (!std::equal(begun.begin(), begun.end(), alternative.begin())) continue;
      const TokenId token = alternative[begun.size()];
      if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) tokens.push_back(token);
    }
    return tokens;
  }
  bool is_progress(const ForcedWord& word, TokenId token) const {
    const TokenIds tokens = continuations(word, begun_);
    return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
  }

  const std::vector<ForcedWord>* words_;
  std::vector<const ForcedWord*> pending_;
  const ForcedWord* current_ = nullptr;  ///< the word that is worked on
  TokenIds begun_;                       ///< and what there is of it
  std::size_t completed_ = 0;
  std::size_t longest_ = 0;  ///< tokens of the longest alternative of all words
};

}  // namespace bertgen
