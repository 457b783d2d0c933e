#include "bertgen/core/pages.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace bertgen {

void FreePages::operator()(std::byte* memory) const noexcept {
  if (pool == nullptr) {
    ::operator delete(memory, alignment);
    return;
  }
  Pages& kept = pool->kept_[place];
  Pages given(memory, FreePages{nullptr, 0, size, alignment});
  if (kept == nullptr || kept.get_deleter().size < size) kept.swap(given);
}

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
  return Pages(static_cast<std::byte*>(memory), FreePages{nullptr, 0, size, std::align_val_t{alignment}});
}

Pages PagePool::allocate(std::size_t place, std::size_t bytes, std::size_t huge_from) {
  if (place >= kept_.size()) kept_.resize(place + 1);
  Pages pages = std::move(kept_[place]);
  if (pages == nullptr || pages.get_deleter().size < bytes) {
    pages.reset();
    pages = allocate_pages(bytes, huge_from);
  }
  pages.get_deleter().pool = this;
  pages.get_deleter().place = place;
  return pages;
}

std::size_t PagePool::capacity() const {
  std::size_t bytes = 0;
  for (const Pages& pages : kept_) {
    if (pages != nullptr) bytes += pages.get_deleter().size;
  }
  return bytes;
}

}  // namespace bertgen
