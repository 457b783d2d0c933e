// What a scheduler computes at a time: searches of several requests, a decoder pass of all their rows a step.
#pragma once

#include <exception>
#include <future>
#include <list>
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
  explicit Job(GenerateRequest<T> request) : request_(std::move(request)), streams_(request_.arguments.streamers) {}

  std::future<BasicGenerateOutput<T>> future() { return promise_.get_future(); }
  const GenerateRequest<T>& request() const { return request_; }
  std::size_t source_length() const {
    return request_.inputs.input_ids.empty() ? 0 : request_.inputs.input_ids.front().size();
  }
  /// Decoder rows that it may have at a time.
  std::size_t rows() const {
    return std::max(request_.config.num_beams.value_or(1), request_.config.num_return_sequences.value_or(1));
  }
  void fail(std::exception_ptr error) noexcept {
    streams_.end_all();  // first
    promise_.set_exception(std::move(error));
  }

  /// Checks the request and prepares its search. Throws as generate() does. False: it is one for run_alone().
  bool prepare(const BasicEncoderDecoderModel<T>& model, Workspace& workspace) {
    const auto& [inputs, config, arguments] = request_;
    const GenerationMode mode = config.mode();
    const bool guesses =
        arguments.assistant_model != nullptr || config.prompt_lookup_num_tokens || config.source_lookup_num_tokens;
    if (guesses || mode == GenerationMode::contrastive_search || arguments.encoder_outputs != nullptr) return false;
    if (inputs.input_ids.size() != 1) {
      throw ArgumentError("scheduler: expected requests of one row, got one of " +
                          std::to_string(inputs.input_ids.size()));
    }
    output_.warnings = config.validate();
    stopping_ = make_stopping_criteria(config, arguments);
    call_.emplace(GenerateCall<T>{model, inputs, config, arguments, workspace,
                                  make_items(inputs, config, model.config()), make_randoms(inputs, config), stopping_,
                                  streams_});
    check_assistant(*call_, output_.warnings);
    check_streamers(*call_);
    model.encoder().pack(inputs.input_ids, inputs.attention_mask, HiddenPositions::drop, inputs.token_type_ids);
    logs_.emplace(rows());
    rules_.emplace(make_score_rules(*call_, *logs_));
    search_ = make_search();
    new_ids_ = item().prompt;
    streams_.put(0, item().prompt);
    stopping_.start_clock();
    return true;
  }
  /// Answers a request that does not go with others. Throws as generate() does.
  void run_alone(const BasicEncoderDecoderModel<T>& model, Workspace& workspace) {
    const auto& [inputs, config, arguments] = request_;
    auto output = generate(model, inputs, config, workspace, arguments, streams_);
    streams_.end_all();
    promise_.set_value(std::move(output));
  }

  /// What its decoder rows read next: at first its prompt, in one row.
  const TokenIds& new_ids() const { return new_ids_; }
  std::size_t width() const { return width_; }  ///< its decoder rows
  /// Chooses by the logits of its rows. Result: which of them go on, none when it is done and answered. Throws what the
  /// caller's functions throw.
  std::span<const Continuation> step(TensorView<T> logits) {
    stopping_.begin_step();
    next_.clear();
    search_->step(logits, *rules_, next_);
    if (next_.empty()) {
      finish();
      return next_;
    }
    if (streams_.wanted(0)) streams_.put(0, search_->shared_prefix());
    new_ids_.clear();
    for (const Continuation& continuation : next_) new_ids_.push_back(continuation.token);
    width_ = next_.size();
    return next_;
  }

  std::uint64_t number = 0;  ///< counts requests in the order in which they came

 private:
  const GenerationItem& item() const { return call_->items.front(); }
  void finish() {
    output_.sequences = search_->result();
    output_.scores = logs_->scores.take();
    output_.logits = logs_->logits.take();
    streams_.put(0, output_.sequences.front().ids);
    streams_.end(0);
    promise_.set_value(std::move(output_));
  }
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
  Streams streams_;
  std::promise<BasicGenerateOutput<T>> promise_;
  BasicGenerateOutput<T> output_;
  StoppingCriteria stopping_;
  std::optional<GenerateCall<T>> call_;
  std::optional<ScoreLogs<T>> logs_;
  std::optional<ScoreRules<T>> rules_;
  BeamSettings settings_;
  std::unique_ptr<RowSearch<T>> search_;
  std::vector<Continuation> next_;
  TokenIds new_ids_;
  std::size_t width_ = 1;
};

/// Lists, because jobs must go from one to another without memory: each is answered, also where there is none.
template <typename T>
using Jobs = std::list<std::unique_ptr<Job<T>>>;

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
  void add(Jobs<T> jobs) noexcept {
    for (auto job = jobs.begin(); job != jobs.end();) {
      try {
        if ((*job)->prepare(model_, workspace_)) {
          ++job;
          continue;
        }
        (*job)->run_alone(model_, workspace_);
      } catch (...) {
        (*job)->fail(std::current_exception());
      }
      job = jobs.erase(job);
    }
    encode(std::move(jobs));
  }

  /// One token of every row. Jobs that are done, or whose functions throw, leave.
  void step() noexcept {
    if (jobs_.empty()) return;
    try {
      Workspace::Scope scope(workspace_);
      choose(run(scope));
    } catch (...) {  // what is not one job's fault is all of theirs
      fail_all(std::current_exception());
    }
  }

  void fail_all(const std::exception_ptr& error) noexcept {
    for (auto& job : jobs_) job->fail(error);
    jobs_.clear();
    cache_.keep_rows(0);
  }

 private:
  /// Encodes the jobs' sources together; where that fails, each by itself, so that the error finds its job.
  void encode(Jobs<T> jobs) noexcept {
    if (jobs.empty()) return;
    const std::size_t rows = cache_.rows();
    try {
      std::vector<TokenIds> ids;
      std::vector<AttentionMask> masks;
      std::vector<TokenIds> types;
      for (const auto& job : jobs) {
        const GenerateInputs& inputs = job->request().inputs;
        ids.push_back(inputs.input_ids.front());
        masks.push_back(inputs.attention_mask.empty() ? AttentionMask{} : inputs.attention_mask.front());
        types.push_back(inputs.token_type_ids.empty() ? TokenIds{} : inputs.token_type_ids.front());
      }
      const PackedBatch sources = model_.encoder().pack(ids, masks, HiddenPositions::drop, types);
      model_.attend_to_more(sources, model_.encoder().forward(sources, workspace_), cache_, workspace_);
      jobs_.splice(jobs_.end(), jobs);
    } catch (...) {
      cache_.keep_rows(rows);
      if (jobs.size() == 1) return jobs.front()->fail(std::current_exception());
      while (!jobs.empty()) {
        Jobs<T> one;
        one.splice(one.end(), jobs, jobs.begin());
        encode(std::move(one));
      }
    }
  }

  /// Reads what is new of every row. Result: scores of what follows each, [rows, vocab].
  TensorView<T> run(Workspace::Scope& scope) {
    TokenIds ids;
    std::vector<std::size_t> offsets = {0};
    for (const auto& job : jobs_) {
      ids.insert(ids.end(), job->new_ids().begin(), job->new_ids().end());
      const std::size_t each = job->new_ids().size() / job->width();
      for (std::size_t row = 0; row < job->width(); ++row) offsets.push_back(offsets.back() + each);
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
    std::vector<std::size_t> parents;
    std::size_t row = 0;
    for (auto job = jobs_.begin(); job != jobs_.end();) {
      const std::size_t begin = std::exchange(row, row + (*job)->width());
      const std::size_t before = parents.size();
      try {
        for (const Continuation& next : (*job)->step(logits.middle_rows(begin, row - begin))) {
          parents.push_back(begin + next.row);
        }
      } catch (...) {
        parents.resize(before);
        (*job)->fail(std::current_exception());
      }
      if (parents.size() == before) {
        job = jobs_.erase(job);
      } else {
        ++job;
      }
    }
    cache_.reorder(parents);
  }

  const BasicEncoderDecoderModel<T>& model_;
  Workspace& workspace_;
  EncoderDecoderCache<T> cache_;
  Jobs<T> jobs_;
};

}  // namespace detail
}  // namespace bertgen
