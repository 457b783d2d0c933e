#include "support/allocations.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> count = 0;
std::atomic<std::size_t> live = 0;
std::atomic<bool> starving = false;
std::atomic<std::size_t> smallest_failing = 0;
std::atomic<std::size_t> first_failing = 0;
std::atomic<bool> all_fail_then = false;
std::atomic<std::size_t> asked = 0;  // for so many of at least smallest_failing bytes

bool fails(std::size_t bytes) {
  if (!starving || bytes < smallest_failing) return false;
  const std::size_t number = ++asked;
  return number == first_failing || (number > first_failing && all_fail_then);
}

void* allocate(std::size_t bytes, std::size_t alignment) {
  ++count;
  if (fails(bytes)) throw std::bad_alloc();
  const std::size_t size = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, size);
  if (memory == nullptr) throw std::bad_alloc();
  ++live;
  return memory;
}

void release(void* memory) {
  if (memory != nullptr) --live;
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return ::operator new(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }

namespace bertgen::test {

std::size_t allocation_count() { return count; }
std::size_t live_allocations() { return live; }

FailingAllocations::FailingAllocations(std::size_t first, Failing failing, std::size_t smallest) {
  smallest_failing = smallest;
  first_failing = first;
  all_fail_then = failing == Failing::from_one_on;
  asked = 0;
  starving = true;
}
FailingAllocations::~FailingAllocations() { starving = false; }
bool FailingAllocations::any() const { return asked >= first_failing; }

}  // namespace bertgen::test
