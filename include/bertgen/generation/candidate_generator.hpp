// Guesses of how a sequence goes on, for a search that checks several at once (transformers' CandidateGenerator).
#pragma once

#include <algorithm>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/generation/stopping_criteria.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Guesses what greedy search or sampling will say. The search takes what it would have said itself and no more, so a
/// wrong guess costs time and changes nothing.
class CandidateGenerator {
 public:
  virtual ~CandidateGenerator() = default;
  /// Sets guesses[i], of at most most_guesses() ids, to how sequence live[i] goes on; empty: no idea. Between two calls
  /// sequences have grown, and `live` has lost those that are complete.
  virtual void propose(std::span<const GeneratedSequence> sequences, std::span<const std::size_t> live,
                       std::vector<TokenIds>& guesses) = 0;
  /// The largest number of guesses for one sequence, for which memory is kept.
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

/// source_lookup_num_tokens: what follows in the source the place that reads as the sequence's last ids do, over as
/// many ids as possible, of several such places the last. Up to three ids for each that reads alike: a likeness of one
/// or two ids is an accident half of the time, and wrong guesses cost time.
inline TokenIds source_lookup(std::span<const TokenId> source, std::span<const TokenId> ids, std::size_t count) {
  std::size_t longest = 0;
  std::size_t begin = 0;
  for (std::size_t end = 1; end < source.size(); ++end) {
    std::size_t n = 0;
    while (n < std::min(end, ids.size()) && source[end - 1 - n] == ids[ids.size() - 1 - n]) ++n;
    if (n > 0 && n >= longest) longest = n, begin = end;
  }
  const auto guess = source.subspan(begin, std::min({count, 3 * longest, source.size() - begin}));
  return {guess.begin(), guess.end()};
}

/// Both lookups; the source's comes first.
class LookupCandidates final : public CandidateGenerator {
 public:
  /// A count of 0: no such lookup. Each item has `copies` sequences, one after another.
  LookupCandidates(std::span<const GenerationItem> items, std::size_t copies, std::size_t source_count,
                   std::size_t prompt_count, std::size_t ngram, const StoppingCriteria& stopping)
      : items_(items),
        copies_(copies),
        source_count_(source_count),
        prompt_count_(prompt_count),
        ngram_(ngram),
        stopping_(stopping) {}

  void propose(std::span<const GeneratedSequence> sequences, std::span<const std::size_t> live,
               std::vector<TokenIds>& guesses) override {
    for (std::size_t i = 0; i < live.size(); ++i) {
      guesses[i] = look_up(items_[live[i] / copies_], sequences[live[i]].ids);
      // Behind an end there is nothing to guess.
      const auto is_end = [this](TokenId id) { return stopping_.is_eos(id); };
      guesses[i].erase(std::find_if(guesses[i].begin(), guesses[i].end(), is_end), guesses[i].end());
    }
  }
  std::size_t most_guesses() const override { return std::max(source_count_, prompt_count_); }

 private:
  TokenIds look_up(const GenerationItem& item, std::span<const TokenId> ids) const {
    const std::span<const TokenId> source = item.encoder_ids;
    TokenIds guess = source_lookup(source, ids, source_count_);
    if (guess.empty() && prompt_count_ > 0) guess = prompt_lookup(ids, ngram_, prompt_count_);
    if (guess.empty() && ids.size() == item.prompt.size()) {  // what copies begins as the source does
      const auto beginning = source.first(std::min(source_count_, source.size()));
      guess.assign(beginning.begin(), beginning.end());
    }
    return guess;
  }

  std::span<const GenerationItem> items_;
  std::size_t copies_;
  std::size_t source_count_;
  std::size_t prompt_count_;
  std::size_t ngram_;
  const StoppingCriteria& stopping_;
};

}  // namespace bertgen
