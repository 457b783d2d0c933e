#include "bertgen/core/pages.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace bertgen {

Pages allocate_pages(std::size_t bytes, std::size_t huge_from) {
  constexpr std::size_t huge = std::size_t{2} << 20;
  const std::size_t alignment = bytes < std::max(huge_from, huge) ? 64 : huge;
  const std::size_t size = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  if (size < bytes) throw std::bad_alloc();
  void* memory = ::operator new (size, std::align_val_t{alignment});
#ifdef MADV_HUGEPAGE
  // What does not fill a huge page must not take one. Advice: it may fail.
  if (alignment == huge) madvise(memory, bytes / huge * huge, MADV_HUGEPAGE);
#endif
  return Pages(static_cast<std::byte*>(memory), FreePages{std::align_val_t{alignment}});
}

}  // namespace bertgen
