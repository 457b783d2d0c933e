// The one way this library runs a loop on several threads.
#pragma once

#include <cstddef>
#include <exception>
#include <mutex>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace bertgen {

/// Calls body(index, thread) for every index below `count`, on up to `threads` threads; `thread` is below `threads`.
/// Which thread runs which index is not fixed. What a body throws is thrown, one of them if
/// several do; other indices may have run by then or not.
template <typename Body>
void parallel_for(std::size_t count, int threads, Body&& body) {
#ifdef _OPENMP
  if (threads > 1 && count > 1) {
    std::mutex mutex;
    std::exception_ptr error;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (std::size_t index = 0; index < count; ++index) {
      try {
        body(index, static_cast<std::size_t>(omp_get_thread_num()));
      } catch (...) {  // none may leave the loop
        const std::lock_guard lock(mutex);
        error = std::current_exception();
      }
    }
    if (error) std::rethrow_exception(error);
    return;
  }
#else
  (void)threads;
#endif
  for (std::size_t index = 0; index < count; ++index) body(index, std::size_t{0});
}

/// As parallel_for over [0, count), in runs of at least `grain` indices: body(first, last).
template <typename Body>
void parallel_ranges(std::size_t count, std::size_t grain, int threads, Body&& body) {
  const std::size_t most = (count + grain - 1) / grain;
  const std::size_t parts = most < static_cast<std::size_t>(threads) ? most : static_cast<std::size_t>(threads);
  if (parts <= 1) {
    body(std::size_t{0}, count);
    return;
  }
  parallel_for(parts, threads,
               [&](std::size_t part, std::size_t) { body(count * part / parts, count * (part + 1) / parts); });
}

}  // namespace bertgen
