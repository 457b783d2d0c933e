// Many requests on one model, computed together: what is finished makes room for what waits.
#pragma once

#include <algorithm>
#include <condition_variable>
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
/// gets the answer that it would get alone (see docs/numerics.md), or an exception: also where memory runs out, all are
/// answered and the scheduler goes on.
template <typename T>
class BasicScheduler {
 public:
  /// Throws ArgumentError as Workspace does.
  explicit BasicScheduler(std::shared_ptr<const BasicEncoderDecoderModel<T>> model,
                          const SchedulerOptions& options = {})
      : model_(std::move(model)),
        options_(options),
        workspace_(options.threads),
        batch_(*model_, workspace_),
        worker_([this](const std::stop_token& stop) { work(stop); }) {}
  BasicScheduler(const BasicScheduler&) = delete;
  BasicScheduler& operator=(const BasicScheduler&) = delete;
  /// What is not done by now gets CancelledError.
  ~BasicScheduler() {
    worker_.request_stop();
    worker_.join();
    for (auto& job : waiting_) job->fail(ended());
  }

  /// Queues a request of one row. The future gets the output of generate(), or what that would throw. Streamers,
  /// criteria and the caller's other functions are called on the scheduler's thread. Safe to call from any thread.
  std::future<BasicGenerateOutput<T>> submit(GenerateRequest<T> request) {
    detail::Jobs<T> job;
    job.push_back(std::make_unique<detail::Job<T>>(std::move(request)));
    auto future = job.front()->future();
    {
      const std::lock_guard lock(mutex_);
      job.front()->number = submitted_++;
      waiting_.splice(waiting_.end(), job);
    }
    arrived_.notify_one();
    return future;
  }

 private:
  static std::exception_ptr ended() noexcept {
    try {
      throw CancelledError("scheduler: ended");
    } catch (...) {
      return std::current_exception();
    }
  }

  void work(const std::stop_token& stop) noexcept {
    while (true) {
      batch_.add(take_waiting(stop));
      if (stop.stop_requested()) return batch_.fail_all(ended());
      batch_.step();
    }
  }

  /// The requests that there is room for: the one that waits longest, then those whose sources are most like it in
  /// length. Waits for one where there is nothing to do.
  detail::Jobs<T> take_waiting(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    if (batch_.empty()) arrived_.wait(lock, stop, [this] { return !waiting_.empty(); });
    detail::Jobs<T> taken;
    if (waiting_.empty() || (!batch_.empty() && batch_.rows() >= options_.max_rows)) return taken;
    const auto older = [](const auto& a, const auto& b) { return a->number < b->number; };
    const std::size_t length = (*std::min_element(waiting_.begin(), waiting_.end(), older))->source_length();
    waiting_.sort([length](const auto& a, const auto& b) {
      return std::pair(distance(a->source_length(), length), a->number) <
             std::pair(distance(b->source_length(), length), b->number);
    });
    std::size_t rows = batch_.rows();
    std::size_t tokens = 0;
    while (!waiting_.empty()) {
      const detail::Job<T>& job = *waiting_.front();
      rows += job.rows();
      tokens += job.source_length();
      const bool alone = batch_.empty() && taken.empty();
      if (!alone && (rows > options_.max_rows || tokens > options_.max_source_tokens)) break;
      taken.splice(taken.end(), waiting_, waiting_.begin());
    }
    return taken;
  }
  static std::size_t distance(std::size_t a, std::size_t b) { return a < b ? b - a : a - b; }

  std::shared_ptr<const BasicEncoderDecoderModel<T>> model_;
  SchedulerOptions options_;
  Workspace workspace_;
  detail::RowBatch<T> batch_;
  std::mutex mutex_;
  std::condition_variable_any arrived_;
  detail::Jobs<T> waiting_;
  std::uint64_t submitted_ = 0;
  std::jthread worker_;  // last: it uses the others
};

extern template class BasicScheduler<float>;
extern template class BasicScheduler<double>;

/// Of a float model.
using Scheduler = BasicScheduler<float>;

}  // namespace bertgen
