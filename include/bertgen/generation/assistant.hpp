// Guesses of a smaller model (Leviathan et al., https://arxiv.org/abs/2211.17192; transformers'
// AssistedCandidateGenerator).
#pragma once

#include "bertgen/core/export.hpp"
#include "bertgen/generation/sample.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Options of assisted decoding, by transformers' names.
struct AssistantSettings {
  std::size_t num_assistant_tokens = 20;                     ///< guesses a step, to begin with
  AssistantSchedule schedule = AssistantSchedule::constant;  ///< how that number changes with success
  double confidence_threshold = 0.4;                         ///< a guess that is less probable is the last one
};

/// Lets an assistant model say how sequences go on, by the rules and the choice of the search itself, when sampling by
/// the same random numbers. It reads what the search takes into a cache of its own.
template <typename T>
class AssistantCandidates final : public CandidateGenerator {
 public:
  /// sources: the items' as the assistant's encoder packs them. `rules` keep no log.
  AssistantCandidates(const BasicEncoderDecoderModel<T>& assistant, const PackedBatch& sources,
                      std::span<const GenerationItem> items, const AssistantSettings& settings, ScoreRules<T> rules,
                      const StoppingCriteria& stopping, TokenChoice<T> choose, Workspace& workspace,
                      const std::stop_token& cancel = {})
      : items_(items),
        settings_(settings),
        rules_(std::move(rules)),
        stopping_(stopping),
        choose_(std::move(choose)),
        cache_(encode(assistant, sources, workspace, cancel)),
        // Of what the search took all but the last guess and the token behind it are read.
        stepper_(assistant.decoder(), cache_, items, {.rows = items.size(), .guesses = 1, .scored = items.size()},
                 workspace) {
    for (std::size_t i = 0; i < items.size(); ++i) rows_.push_back({i, {}, settings.num_assistant_tokens, 0, 0});
  }

  std::size_t most_guesses() const override {
    return settings_.num_assistant_tokens * (settings_.schedule == AssistantSchedule::constant ? 1 : 2);
  }

  void propose(std::span<const GeneratedSequence> sequences, std::span<const std::size_t> live,
               std::vector<TokenIds>& guesses) override {
    follow(sequences, live);
    std::vector<TokenIds> drafts;
    std::vector<bool> open;
    for (const Row& row : rows_) {
      drafts.push_back(sequences[row.sequence].ids);
      open.push_back(drafts.back().size() < limit(row));
    }
    while (std::find(open.begin(), open.end(), true) != open.end()) {
      TensorView<T> scores = read(drafts, open);  // [open, vocab]
      for (std::size_t i = 0, scored = 0; i < rows_.size(); ++i) {
        if (open[i]) open[i] = extend(rows_[i], scores.middle_rows(scored++, 1), drafts[i]);
      }
    }
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      guesses[i].assign(drafts[i].begin() + static_cast<std::ptrdiff_t>(rows_[i].known), drafts[i].end());
      rows_[i].guessed = guesses[i].size();
    }
  }

 private:
  struct Row {
    std::size_t sequence;
    TokenIds read;        ///< what is in the cache
    std::size_t count;    ///< how many ids to guess
    std::size_t known;    ///< ids of the sequence at the last proposal
    std::size_t guessed;  ///< and how many were guessed
  };

  static EncoderDecoderCache<T> encode(const BasicEncoderDecoderModel<T>& assistant, const PackedBatch& sources,
                                       Workspace& workspace, const std::stop_token& cancel) {
    EncoderDecoderCache<T> cache = assistant.decoder().make_cache(sources.size());
    assistant.attend_to(sources, assistant.encoder().forward(sources, workspace, cancel), cache, workspace);
    return cache;
  }

  /// The length at which a row's draft ends.
  std::size_t limit(const Row& row) const {
    const std::size_t room = std::min(items_[row.sequence].max_length - 1, stepper_.config().max_length());
    return std::min(row.known + row.count, room);
  }

  /// Forgets the rows of sequences that are complete, and what was guessed and not taken.
  void follow(std::span<const GeneratedSequence> sequences, std::span<const std::size_t> live) {
    std::vector<std::size_t> parents;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (parents.size() < live.size() && rows_[i].sequence == live[parents.size()]) parents.push_back(i);
    }
    if (parents.size() != rows_.size()) {
      std::vector<Row> left;
      left.reserve(parents.size());
      for (std::size_t parent : parents) left.push_back(std::move(rows_[parent]));
      rows_ = std::move(left);
      stepper_.reorder(parents);
    }
    std::vector<std::size_t> wrong;
    for (Row& row : rows_) {
      const TokenIds& ids = sequences[row.sequence].ids;
      // The last id is read anew in any case: the scores of what follows it are wanted.
      const auto read = std::mismatch(row.read.begin(), row.read.end(), ids.begin(), ids.end() - 1).first;
      wrong.push_back(static_cast<std::size_t>(row.read.end() - read));
      row.read.erase(read, row.read.end());
      if (settings_.schedule != AssistantSchedule::constant && row.guessed > 0) {
        const bool all = ids.size() == row.known + row.guessed + 1;
        row.count = all ? std::min(row.count + 2, most_guesses()) : std::max<std::size_t>(row.count - 1, 1);
      }
      row.known = ids.size();
    }
    stepper_.drop_last(wrong);
  }

  /// Reads what is new of the open drafts. Result: scores of what follows each of them.
  TensorView<T> read(const std::vector<TokenIds>& drafts, const std::vector<bool>& open) {
    TokenIds ids;
    std::vector<std::size_t> offsets = {0};
    std::vector<std::size_t> scored;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (open[i]) {
        ids.insert(ids.end(), drafts[i].begin() + static_cast<std::ptrdiff_t>(rows_[i].read.size()), drafts[i].end());
        scored.push_back(ids.size() - 1);
        rows_[i].read = drafts[i];
      }
      offsets.push_back(ids.size());
    }
    stepper_.run(ids, offsets);
    return stepper_.scores(scored);
  }

  /// Adds one guess to a draft; whether there are more to come.
  bool extend(const Row& row, TensorView<T> logits, TokenIds& draft) {
    const GenerationItem& item = items_[row.sequence];
    const LogitsContext context{draft, item.encoder_ids, item.prompt.size(), item.max_length, row.sequence};
    rules_.apply({&context, 1}, logits, 0);
    const std::span<const T> scores(logits.data(), logits.cols());
    const std::size_t best = choose_(row.sequence, draft.size() - item.prompt.size(), scores);
    if (stopping_(item, draft, static_cast<TokenId>(best))) return false;
    draft.push_back(static_cast<TokenId>(best));
    const double probability = std::exp(static_cast<double>(scores[best] - log_sum_exp<T>(scores)));
    return probability >= settings_.confidence_threshold && draft.size() < limit(row);
  }

  std::span<const GenerationItem> items_;
  AssistantSettings settings_;
  ScoreRules<T> rules_;
  const StoppingCriteria& stopping_;
  TokenChoice<T> choose_;
  EncoderDecoderCache<T> cache_;
  Stepper<T> stepper_;
  std::vector<Row> rows_;  // of the cache, in the order of their sequences
};

}  // namespace bertgen
