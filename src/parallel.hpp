// The one way this library runs a loop on several threads.
#pragma once

#include <cstddef>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace bertgen {

/// Calls body(index, thread) for every index below `count`, on up to `threads` threads; `thread` is below `threads`.
/// The body must not throw. Which thread runs which index is not fixed.
template <typename Body>
void parallel_for(std::size_t count, int threads, Body&& body) {
#ifdef _OPENMP
  if (threads > 1 && count > 1) {
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (std::size_t index = 0; index < count; ++index) body(index, static_cast<std::size_t>(omp_get_thread_num()));
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
