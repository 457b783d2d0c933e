#include "fuzz/limits.hpp"

#include <malloc.h>
#include <sys/time.h>

#include <atomic>
#include <cstdlib>
#include <ctime>
#include <new>
#include <stdexcept>
#include <string>

namespace {

std::atomic<std::size_t> allocated = 0;
std::atomic<std::size_t> peak = 0;

void* counted(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  const std::size_t now = allocated += ::malloc_usable_size(memory);
  if (now > peak) peak = now;
  return memory;
}

void release(void* memory) {
  if (memory != nullptr) allocated -= ::malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return counted(std::malloc(size)); }
void* operator new(std::size_t size, std::align_val_t align) {
  const auto step = static_cast<std::size_t>(align);
  return counted(std::aligned_alloc(step, (size + step - 1) / step * step));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }

namespace bertgen::fuzz {
namespace {

/// Ends the process after so many seconds of the processor (by the clock, a loaded machine would end it at random). 0
/// takes the limit away.
void limit_time(unsigned seconds) {
  const ::itimerval timer = {.it_interval = {}, .it_value = {.tv_sec = seconds, .tv_usec = 0}};
  ::setitimer(ITIMER_PROF, &timer, nullptr);
}

}  // namespace

Cost read_within_limits(Reader reader, std::string_view bytes) {
  limit_time(10);
  const std::size_t before = allocated;
  peak = before;
  const std::clock_t begin = std::clock();
  Cost cost;
  cost.read = reader(bytes);
  cost.seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  cost.memory = peak - before;
  limit_time(0);
  if (cost.memory > 4 * bytes.size() + (std::size_t{64} << 20)) {
    throw std::runtime_error(std::to_string(cost.memory) + " bytes allocated for a file of " +
                             std::to_string(bytes.size()));
  }
  return cost;
}

}  // namespace bertgen::fuzz
