// What a scheduler computes at a time: searches of several requests, a decoder pass of all their rows a step.
#pragma once

#include <exception>
#include <future>
#include <memory>

#include "bertgen/core/export.hpp"
#include "bertgen/generation/generate.hpp"
#include "bertgen/generation/token_item.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// One call of generate() for one row of input_ids.
template <typename T>
struct GenerateRequest {
  /// @{
  /// As generate() takes them.
  GenerateInputs inputs = {};
  GenerationConfig config = {};
  GenerateArguments<T> arguments = {};
  /// @}
};

namespace detail {

/// The search of one request, whatever it is: the step() and result() of BeamItem.
template <typename T>
class RowSearch {
 public:
  virtual ~RowSearch() = default;
  virtual void step(TensorView<T> logits, const ScoreRules<T>& rules, std::vector<Continuation>& next) = 0;
  virtual std::vector<GeneratedSequence> result() const = 0;
  virtual TokenIds shared_prefix() const = 0;
};

template <typename T, typename Search>
class RowSearchOf final : public RowSearch<T> {
 public:
  explicit RowSearchOf(Search search) : search_(std::move(search)) {}
  void step(TensorView<T> logits, const ScoreRules<T>& rules, std::vector<Continuation>& next) override {
    search_.step(logits, rules, next);
  }
  std::vector<GeneratedSequence> result() const override { return search_.result(); }
  TokenIds shared_prefix() const override { return bertgen::shared_prefix(search_); }

 private:
  Search search_;
};

/// A request on its way, at one address while it lives: its parts refer to each other.
template <typename T>
class Job {
 public:
  explicit Job(GenerateRequest<T> request) : request_(std::move(request)) {}

  std::future<BasicGenerateOutput<T>> future() { return promise_.get_future(); }
  const GenerateRequest<T>& request() const { return request_; }
  std::size_t source_length() const {
    return request_.inputs.input_ids.empty() ? 0 : request_.inputs.input_ids.front().size();
  }
  /// Decoder rows that it may have at a time.
  std::size_t rows() const {
    return std::max(request_.config.num_beams.value_or(1), request_.config.num_return_sequences.value_or(1));
  }
  void fail(std::exception_ptr error) {
    if (!streams_ && !by_itself_) streams_.emplace(request_.arguments.streamers);
    streams_.reset();  // they end first
    promise_.set_exception(std::move(error));
  }

  /// Checks the request and prepares its search. Throws as generate() does. False: it is one that only generate() runs.
  bool prepare(const BasicEncoderDecoderModel<T>& model, Workspace& workspace) {
    const auto& [inputs, config, arguments] = request_;
    const GenerationMode mode = config.mode();
    const bool guesses =
        arguments.assistant_model != nullptr || config.prompt_lookup_num_tokens || config.source_lookup_num_tokens;
    by_itself_ = guesses || mode == GenerationMode::contrastive_search || arguments.encoder_outputs != nullptr;
    if (by_itself_) return false;
    streams_.emplace(arguments.streamers);
    if (inputs.input_ids.size() != 1) {
      throw ArgumentError("scheduler: expected requests of one row, got one of " +
                          std::to_string(inputs.input_ids.size()));
    }
    output_.warnings = config.validate();
    stopping_ = make_stopping_criteria(config, arguments);
    call_.emplace(GenerateCall<T>{model, inputs, config, arguments, workspace,
                                  make_items(inputs, config, model.config()), make_randoms(inputs, config), stopping_,
                                  *streams_});
    check_assistant(*call_, output_.warnings);
    check_streamers(*call_);
    model.encoder().pack(inputs.input_ids, inputs.attention_mask, HiddenPositions::drop, inputs.token_type_ids);
    logs_.emplace(rows());
    rules_.emplace(make_score_rules(*call_, *logs_));
    search_ = make_search();
    streams_->put(0, item().prompt);
    stopping_.start_clock();
    return true;
  }

  const GenerationItem& item() const { return call_->items.front(); }
  /// Chooses by the logits of its rows; `next` is empty when it is done. Throws what the caller's functions throw.
  void step(TensorView<T> logits, std::vector<Continuation>& next) {
    stopping_.begin_step();
    search_->step(logits, *rules_, next);
    if (streams_->wanted(0) && !next.empty()) streams_->put(0, search_->shared_prefix());
  }
  void finish() {
    output_.sequences = search_->result();
    output_.scores = logs_->scores.take();
    output_.logits = logs_->logits.take();
    streams_->put(0, output_.sequences.front().ids);
    streams_->end(0);
    promise_.set_value(std::move(output_));
  }
  void answer(BasicGenerateOutput<T> output) { promise_.set_value(std::move(output)); }

  std::uint64_t number = 0;  ///< counts requests in the order in which they came
  TokenIds new_ids = {};     ///< what its decoder rows read next: at first its prompt, in one row
  std::size_t width = 1;     ///< its decoder rows

 private:
  template <typename Search>
  static std::unique_ptr<RowSearch<T>> erased(Search search) {
    return std::make_unique<RowSearchOf<T, Search>>(std::move(search));
  }
  std::unique_ptr<RowSearch<T>> make_search() {
    const GenerationConfig& config = request_.config;
    settings_ = beam_settings(*call_);
    const BeamSource source{&item(), 0, call_->randoms.empty() ? nullptr : call_->randoms.data()};
    switch (config.mode()) {
      case GenerationMode::group_beam_search:
        return erased(GroupBeamItem<T>(source, settings_, stopping_, group_padding(*call_)));
      case GenerationMode::constrained_beam_search:
        return erased(ConstrainedBeamItem<T>(source, settings_, stopping_, *config.force_words_ids));
      case GenerationMode::beam_search:
      case GenerationMode::beam_sample:
        return erased(BeamItem<T>(source, settings_, stopping_));
      default:
        return erased(TokenItem<T>(item(), call_->copies(), call_->choice(), stopping_));
    }
  }

  GenerateRequest<T> request_;
  std::promise<BasicGenerateOutput<T>> promise_;
  bool by_itself_ = false;  ///< generate() runs it, and tells its streamers the end
  BasicGenerateOutput<T> output_;
  StoppingCriteria stopping_;
  std::optional<Streams> streams_;
  std::optional<GenerateCall<T>> call_;
  std::optional<ScoreLogs<T>> logs_;
  std::optional<ScoreRules<T>> rules_;
  BeamSettings settings_;
  std::unique_ptr<RowSearch<T>> search_;
};

/// The jobs that are computed together. Their rows lie in the cache in the order of the jobs.
template <typename T>
class RowBatch {
 public:
  RowBatch(const BasicEncoderDecoderModel<T>& model, Workspace& workspace)
      : model_(model), workspace_(workspace), cache_(model.decoder().make_cache(0)) {}

  bool empty() const { return jobs_.empty(); }
  /// Decoder rows that its jobs may have.
  std::size_t rows() const {
    std::size_t sum = 0;
    for (const auto& job : jobs_) sum += job->rows();
    return sum;
  }

  /// Takes jobs in, or answers them at once: those that are refused, and those of searches that run by themselves.
  void add(std::vector<std::unique_ptr<Job<T>>> jobs) {
    std::vector<std::unique_ptr<Job<T>>> ready;
    for (auto& job : jobs) {
      try {
        if (job->prepare(model_, workspace_)) {
          ready.push_back(std::move(job));
        } else {
          const auto& [inputs, config, arguments] = job->request();
          job->answer(generate(model_, inputs, config, workspace_, arguments));
        }
      } catch (...) {
        job->fail(std::current_exception());
      }
    }
    encode(std::move(ready));
  }

  /// One token of every row. Jobs that are done, or whose functions throw, leave.
  void step() {
    if (jobs_.empty()) return;
    try {
      Workspace::Scope scope(workspace_);
      choose(run(scope));
    } catch (...) {  // what is not one job's fault is all of theirs
      fail_all(std::current_exception());
    }
  }

  void fail_all(const std::exception_ptr& error) {
    for (auto& job : jobs_) job->fail(error);
    jobs_.clear();
    cache_ = model_.decoder().make_cache(0);
  }

 private:
  /// Encodes the jobs' sources together; where that fails, each by itself, so that the error finds its job.
  void encode(std::vector<std::unique_ptr<Job<T>>> jobs) {
    if (jobs.empty()) return;
    std::vector<TokenIds> ids;
    std::vector<AttentionMask> masks;
    std::vector<TokenIds> types;
    for (const auto& job : jobs) {
      const GenerateInputs& inputs = job->request().inputs;
      ids.push_back(inputs.input_ids.front());
      masks.push_back(inputs.attention_mask.empty() ? AttentionMask{} : inputs.attention_mask.front());
      types.push_back(inputs.token_type_ids.empty() ? TokenIds{} : inputs.token_type_ids.front());
    }
    try {
      const PackedBatch sources = model_.encoder().pack(ids, masks, HiddenPositions::drop, types);
      model_.attend_to_more(sources, model_.encoder().forward(sources, workspace_), cache_, workspace_);
      for (auto& job : jobs) {
        job->new_ids = job->item().prompt;
        jobs_.push_back(std::move(job));
      }
    } catch (...) {
      if (jobs.size() == 1) return jobs.front()->fail(std::current_exception());
      for (auto& job : jobs) {
        std::vector<std::unique_ptr<Job<T>>> one;
        one.push_back(std::move(job));
        encode(std::move(one));
      }
    }
  }

  /// Reads what is new of every row. Result: scores of what follows each, [rows, vocab].
  TensorView<T> run(Workspace::Scope& scope) {
    TokenIds ids;
    std::vector<std::size_t> offsets = {0};
    for (const auto& job : jobs_) {
      ids.insert(ids.end(), job->new_ids.begin(), job->new_ids.end());
      const std::size_t each = job->new_ids.size() / job->width;
      for (std::size_t row = 0; row < job->width; ++row) offsets.push_back(offsets.back() + each);
    }
    const TransformerConfig& config = model_.decoder().config();
    const std::size_t rows = offsets.size() - 1;
    const auto hidden = scope.template take<T>({ids.size(), config.hidden_size});
    const auto last = scope.template take<T>({rows, config.hidden_size});
    const auto logits = scope.template take<T>({rows, config.vocab_size});
    model_.decoder().forward(ids, offsets, {}, cache_, hidden, workspace_);
    for (std::size_t row = 0; row < rows; ++row) {
      std::copy_n(hidden.row(offsets[row + 1] - 1), hidden.cols(), last.row(row));
    }
    model_.decoder().logits(last, logits, workspace_);
    return logits;
  }

  void choose(TensorView<T> logits) {
    std::vector<std::unique_ptr<Job<T>>> left;
    std::vector<std::size_t> parents;
    std::vector<Continuation> next;
    std::size_t row = 0;
    for (auto& job : jobs_) {
      try {
        job->step(logits.middle_rows(row, job->width), next);
        if (next.empty()) job->finish();
      } catch (...) {
        next.clear();
        job->fail(std::current_exception());
      }
      const std::size_t begin = std::exchange(row, row + job->width);
      if (next.empty()) continue;
      job->new_ids.clear();
      for (const Continuation& continuation : next) {
        parents.push_back(begin + continuation.row);
        job->new_ids.push_back(continuation.token);
      }
      job->width = next.size();
      left.push_back(std::move(job));
    }
    jobs_ = std::move(left);
    cache_.reorder(parents);
  }

  const BasicEncoderDecoderModel<T>& model_;
  Workspace& workspace_;
  EncoderDecoderCache<T> cache_;
  std::vector<std::unique_ptr<Job<T>>> jobs_;
};

}  // namespace detail
}  // namespace bertgen
