// Memory for large arrays.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include "bertgen/core/export.hpp"

namespace BERTGEN_PUBLIC bertgen {

class PagePool;

/// Gives Pages back: to the pool that they came from, or to the system.
struct FreePages {
  PagePool* pool = nullptr;                                                  ///< they came from, if any
  std::size_t place = 0;                                                     ///< of that pool
  std::size_t size = 0;                                                      ///< bytes that may be used
  std::align_val_t alignment = std::align_val_t{alignof(std::max_align_t)};  ///< they were taken with
  void operator()(std::byte* memory) const noexcept;                         ///< gives `memory` back
};
/// Memory that is taken from the system in pages.
using Pages = std::unique_ptr<std::byte[], FreePages>;

/// Uninitialised bytes of operator new, aligned to 64, which take memory from the system as they are written. Where it
/// has huge pages, `huge_from` bytes and more lie on those: going through them costs less, but they are taken 2 MB at a
/// time. Throws std::bad_alloc.
Pages allocate_pages(std::size_t bytes, std::size_t huge_from);

/// Pages that were given back, kept for whoever asks next: the system takes its time to find and to clear new ones.
/// A number, the place, says which of several arrays one is, so that each finds again what is as large as it was. Must
/// outlive what it gave. Not thread-safe.
class PagePool {
 public:
  PagePool() = default;
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  /// As allocate_pages(), or what was given back to the place if it is large enough; if it is not, it goes to the
  /// system first. A place keeps one array, of two the larger.
  Pages allocate(std::size_t place, std::size_t bytes, std::size_t huge_from);
  /// Bytes kept for whoever asks next.
  std::size_t capacity() const;

 private:
  friend FreePages;
  std::vector<Pages> kept_;  ///< place -> pages, without a pool; empty while they are in use
};

}  // namespace bertgen
