// Memory for large arrays.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

#include "bertgen/core/export.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Gives Pages back.
struct FreePages {
  void operator()(std::byte* memory) const { std::free(memory); }  ///< free()
};
/// Memory that is taken from the system in pages.
using Pages = std::unique_ptr<std::byte[], FreePages>;

/// Uninitialised bytes, aligned to 64, which take memory from the system as they are written. Where it has huge pages,
/// `huge_from` bytes and more lie on those: going through them costs less, but they are taken 2 MB at a time. Throws
/// std::bad_alloc.
Pages allocate_pages(std::size_t bytes, std::size_t huge_from);

}  // namespace bertgen
