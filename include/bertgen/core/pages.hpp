// Memory for large arrays.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

#include "bertgen/core/export.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Gives Pages back.
struct FreePages {
  std::align_val_t alignment = std::align_val_t{alignof(std::max_align_t)};                    ///< they were taken with
  void operator()(std::byte* memory) const noexcept { ::operator delete(memory, alignment); }  ///< operator delete
};
/// Memory that is taken from the system in pages.
using Pages = std::unique_ptr<std::byte[], FreePages>;

/// Uninitialised bytes of operator new, aligned to 64, which take memory from the system as they are written. Where it
/// has huge pages, `huge_from` bytes and more lie on those: going through them costs less, but they are taken 2 MB at a
/// time. Throws std::bad_alloc.
Pages allocate_pages(std::size_t bytes, std::size_t huge_from);

}  // namespace bertgen
