// Many requests on one model, computed together: what is finished makes room for what waits.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "bertgen/core/export.hpp"
#include "bertgen/runtime/row_batch.hpp"
#include "bertgen/runtime/session.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// How much a scheduler computes together.
struct SchedulerOptions {
  int threads = physical_cores();         ///< that compute
  std::size_t max_rows = 64;              ///< decoder rows, each beam and each copy one; a larger request runs alone
  std::size_t max_source_tokens = 16384;  ///< of the requests that are encoded together
};

/// Answers requests of any number of threads, on a thread of its own. Requests with any options run side by side, a
/// step of all at a time; those that are done leave, and waiting ones of like length take their place at once. Each
/// gets the answer that it would get alone (see docs/numerics.md).
template <typename T>
class BasicScheduler {
 public:
  /// Throws ArgumentError as Workspace does.
  explicit BasicScheduler(std::shared_ptr<const BasicEncoderDecoderModel<T>> model,
                          const SchedulerOptions& options = {})
      : model_(std::move(model)),
        options_(options),
        workspace_(options.threads),
        worker_([this](const std::stop_token& stop) { work(stop); }) {}
  BasicScheduler(const BasicScheduler&) = delete;
  BasicScheduler& operator=(const BasicScheduler&) = delete;
  /// What is not done by now gets CancelledError.
  ~BasicScheduler() {
    worker_.request_stop();
    worker_.join();
    for (auto& job : waiting_) job->fail(std::make_exception_ptr(CancelledError("scheduler: ended")));
  }

  /// Queues a request of one row. The future gets the output of generate(), or what that would throw. Streamers,
  /// criteria and the caller's other functions are called on the scheduler's thread. Safe to call from any thread.
  std::future<BasicGenerateOutput<T>> submit(GenerateRequest<T> request) {
    auto job = std::make_unique<detail::Job<T>>(std::move(request));
    auto future = job->future();
    {
      const std::lock_guard lock(mutex_);
      job->number = submitted_++;
      waiting_.push_back(std::move(job));
    }
    arrived_.notify_one();
    return future;
  }

 private:
  using Jobs = std::vector<std::unique_ptr<detail::Job<T>>>;

  void work(const std::stop_token& stop) {
    detail::RowBatch<T> batch(*model_, workspace_);
    while (true) {
      batch.add(take_waiting(batch, stop));
      if (stop.stop_requested()) return batch.fail_all(std::make_exception_ptr(CancelledError("scheduler: ended")));
      batch.step();
    }
  }

  /// The requests that there is room for: the one that waits longest, then those whose sources are most like it in
  /// length. Waits for one where there is nothing to do.
  Jobs take_waiting(const detail::RowBatch<T>& batch, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    if (batch.empty()) arrived_.wait(lock, stop, [this] { return !waiting_.empty(); });
    Jobs taken;
    if (waiting_.empty() || (!batch.empty() && batch.rows() >= options_.max_rows)) return taken;
    const auto older = [](const auto& a, const auto& b) { return a->number < b->number; };
    const std::size_t length = (*std::min_element(waiting_.begin(), waiting_.end(), older))->source_length();
    std::sort(waiting_.begin(), waiting_.end(), [length](const auto& a, const auto& b) {
      return std::pair(distance(a->source_length(), length), a->number) <
             std::pair(distance(b->source_length(), length), b->number);
    });
    std::size_t rows = batch.rows();
    std::size_t tokens = 0;
    while (!waiting_.empty()) {
      const detail::Job<T>& job = *waiting_.front();
      rows += job.rows();
      tokens += job.source_length();
      const bool alone = batch.empty() && taken.empty();
      if (!alone && (rows > options_.max_rows || tokens > options_.max_source_tokens)) break;
      taken.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
    return taken;
  }
  static std::size_t distance(std::size_t a, std::size_t b) { return a < b ? b - a : a - b; }

  std::shared_ptr<const BasicEncoderDecoderModel<T>> model_;
  SchedulerOptions options_;
  Workspace workspace_;
  std::mutex mutex_;
  std::condition_variable_any arrived_;
  std::deque<std::unique_ptr<detail::Job<T>>> waiting_;
  std::uint64_t submitted_ = 0;
  std::jthread worker_;  // last: it uses the others
};

extern template class BasicScheduler<float>;
extern template class BasicScheduler<double>;

/// Of a float model.
using Scheduler = BasicScheduler<float>;

}  // namespace bertgen
