// The one way this library runs a loop on several threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <mutex>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace bertgen {

/// What bodies on several threads throw: one of them goes on.
class ParallelErrors {
 public:
  /// Calls body(), which may throw.
  template <typename Body>
  void keep(Body&& body) {
    try {
      body();
    } catch (...) {  // none may leave a parallel loop
      const std::lock_guard lock(mutex_);
      error_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr error_;
};

/// Calls body(index, thread) for every index below `count`, on up to `threads` threads; `thread` is below `threads`.
/// Threads take the next index as they get free: for bodies that take long, and not all as long. What a body throws is
/// thrown, one of them if several do; other indices may have run by then or not.
template <typename Body>
void parallel_for(std::size_t count, int threads, Body&& body) {
#ifdef _OPENMP
  if (threads > 1 && count > 1) {
    ParallelErrors errors;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (std::size_t index = 0; index < count; ++index) {
      errors.keep([&] { body(index, static_cast<std::size_t>(omp_get_thread_num())); });
    }
    return errors.rethrow();
  }
#else
  (void)threads;
#endif
  for (std::size_t index = 0; index < count; ++index) body(index, std::size_t{0});
}

/// Calls body(part) for every part below `parts`, each on a thread of its own, the same for each part at every call:
/// what one loop leaves in a core's cache the next finds there. Throws as parallel_for().
template <typename Body>
void parallel_parts(std::size_t parts, Body&& body) {
#ifdef _OPENMP
  if (parts > 1) {
    ParallelErrors errors;
    const auto threads = static_cast<int>(parts);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (std::size_t part = 0; part < parts; ++part) errors.keep([&] { body(part); });
    return errors.rethrow();
  }
#endif
  for (std::size_t part = 0; part < parts; ++part) body(part);
}

/// As parallel_parts over [0, count), in runs of at least `grain` indices: body(first, last).
template <typename Body>
void parallel_ranges(std::size_t count, std::size_t grain, int threads, Body&& body) {
  const std::size_t most = (count + grain - 1) / grain;
  const std::size_t parts = std::clamp<std::size_t>(most, 1, static_cast<std::size_t>(threads));
  parallel_parts(parts, [&](std::size_t part) { body(count * part / parts, count * (part + 1) / parts); });
}

/// As parallel_parts over [0, count), in runs of about equal work, of which work(index) says how much there is:
/// body(index, part), `part` below `threads`.
template <typename Work, typename Body>
void parallel_shares(std::size_t count, int threads, Work&& work, Body&& body) {
  std::size_t all = 0;
  for (std::size_t index = 0; index < count; ++index) all += work(index);
  const auto parts = static_cast<std::size_t>(threads);
  parallel_parts(parts, [&](std::size_t part) {
    // An index belongs to the part in which the middle of its work lies.
    const std::size_t begin = 2 * all * part / parts;
    const std::size_t end = part + 1 == parts ? 2 * all + 1 : 2 * all * (part + 1) / parts;
    std::size_t before = 0;
    for (std::size_t index = 0; index < count && before < end; ++index) {
      const std::size_t here = work(index);
      const std::size_t middle = before + here;
      if (begin <= middle && middle < end) body(index, part);
      before += 2 * here;
    }
  });
}

}  // namespace bertgen
