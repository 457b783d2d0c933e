// What a test program, and so the library in it, gets from operator new. For tests that have allocations.cpp among
// their sources: it replaces operator new, which is an allocation function of the whole program.
#pragma once

#include <cstddef>

namespace bertgen::test {

/// Allocations so far, of all threads.
std::size_t allocation_count();
/// Those of them that are not given back.
std::size_t live_allocations();

/// Which allocations fail.
enum class Failing { one, from_one_on };

/// While it lives, of the allocations of at least `smallest` bytes the one with number `first` from now on, 1 being the
/// next of any thread, throws std::bad_alloc; the later ones, too, if they are to fail.
class FailingAllocations {
 public:
  FailingAllocations(std::size_t first, Failing failing, std::size_t smallest = 0);
  FailingAllocations(const FailingAllocations&) = delete;
  FailingAllocations& operator=(const FailingAllocations&) = delete;
  ~FailingAllocations();
  bool any() const;  ///< whether one has failed
};

}  // namespace bertgen::test
