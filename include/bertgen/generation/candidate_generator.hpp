// Guesses of how a sequence goes on, for a search that checks several at once (transformers' CandidateGenerator).
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "bertgen/generation/sequence.hpp"

namespace bertgen {

/// Guesses what greedy search or sampling will say. The search takes what it would have said itself and no more, so a
/// wrong guess costs time and changes nothing.
class CandidateGenerator {
 public:
  virtual ~CandidateGenerator() = default;
  /// Sets guesses[i], of at most most_guesses() ids, to how sequence live[i] goes on; empty: no idea. Between two calls
  /// sequences have grown, and `live` has lost those that are complete.
  virtual void propose(std::span<const GeneratedSequence> sequences, std::span<const std::size_t> live,
                       std::vector<TokenIds>& guesses) = 0;
  virtual std::size_t most_guesses() const = 0;
};

/// prompt_lookup_num_tokens: what followed the first place in the sequence itself that reads as its last ids do, as
/// many as possible of up to `ngram` (PromptLookupCandidateGenerator;
/// https://github.com/apoorvumang/prompt-lookup-decoding).
inline TokenIds prompt_lookup(std::span<const TokenId> ids, std::size_t ngram, std::size_t count) {
  for (std::size_t n = std::min(ngram, ids.size() - 1); n > 0; --n) {
    const auto tail = ids.last(n);
    const auto found = std::search(ids.begin(), ids.end() - 1, tail.begin(), tail.end());
    if (found == ids.end() - 1) continue;
    const auto rest = ids.subspan(static_cast<std::size_t>(found - ids.begin()) + n);
    const auto guess = rest.first(std::min(count, rest.size()));
    return {guess.begin(), guess.end()};
  }
  return {};
}

/// source_lookup_num_tokens: what follows in the source the place that reads as the generated ids' end does, over as
/// many ids as possible, of several such places the last. Nothing is generated yet: the source's beginning.
inline TokenIds source_lookup(std::span<const TokenId> source, std::span<const TokenId> generated, std::size_t count) {
  std::size_t longest = 0;
  std::size_t begin = 0;
  for (std::size_t end = 1; end < source.size() && !generated.empty(); ++end) {
    std::size_t n = 0;
    while (n < std::min(end, generated.size()) && source[end - 1 - n] == generated[generated.size() - 1 - n]) ++n;
    if (n > 0 && n >= longest) longest = n, begin = end;
  }
  if (longest == 0 && !generated.empty()) return {};
  const auto guess = source.subspan(begin, std::min(count, source.size() - begin));
  return {guess.begin(), guess.end()};
}

/// Both lookups; the source's comes first.
class LookupCandidates final : public CandidateGenerator {
 public:
  /// A count of 0: no such lookup.
  LookupCandidates(std::span<const GenerationItem> items, std::size_t source_count, std::size_t prompt_count,
                   std::size_t ngram, const StoppingCriteria& stopping)
      : items_(items), source_count_(source_count), prompt_count_(prompt_count), ngram_(ngram), stopping_(&stopping) {}

  void propose(std::span<const GeneratedSequence> sequences, std::span<const std::size_t> live,
               std::vector<TokenIds>& guesses) override {
    for (std::size_t i = 0; i < live.size(); ++i) {
      const GenerationItem& item = items_[live[i]];
      const std::span<const TokenId> ids = sequences[live[i]].ids;
      guesses[i].clear();
      if (source_count_ > 0) {
        guesses[i] = source_lookup(item.encoder_ids, ids.subspan(item.prompt.size()), source_count_);
      }
      if (guesses[i].empty() && prompt_count_ > 0) guesses[i] = prompt_lookup(ids, ngram_, prompt_count_);
      // Behind an end there is nothing to guess.
      const auto end =
          std::find_if(guesses[i].begin(), guesses[i].end(), [&](TokenId id) { return stopping_->is_eos(id); });
      guesses[i].erase(end, guesses[i].end());
    }
  }
  std::size_t most_guesses() const override { return std::max(source_count_, prompt_count_); }

 private:
  std::span<const GenerationItem> items_;
  std::size_t source_count_;
  std::size_t prompt_count_;
  std::size_t ngram_;
  const StoppingCriteria* stopping_;
};

}  // namespace bertgen
