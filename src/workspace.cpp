#include "bertgen/core/workspace.hpp"

#include <algorithm>
#include <cstdint>

#include "parallel.hpp"

namespace bertgen {
namespace {

constexpr std::size_t alignment = 64;             // a cache line and an AVX-512 vector
constexpr std::size_t smallest_block = 64 << 10;  // bytes; the scratch of a small model's decoder step

std::size_t align_up(std::size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

}  // namespace

Workspace::Workspace(int threads) : threads_(threads) {
  if (threads < 1 || threads > most_threads) {
    throw ArgumentError("workspace: expected 1 to " + std::to_string(most_threads) + " threads, got " +
                        std::to_string(threads));
  }
}

std::size_t Workspace::capacity() const {
  std::size_t bytes = block_bytes() + page_pool_.capacity();
  for (const auto& workspace : of_threads_) bytes += workspace->capacity();
  return bytes;
}

void Workspace::for_each(std::size_t count, const std::function<void(std::size_t, Workspace&)>& body) {
  if (count == 1) return body(0, *this);
  if (threads_ == 1) {
    for (std::size_t index = 0; index < count; ++index) body(index, *this);
    return;
  }
  while (of_threads_.size() < std::min(count, static_cast<std::size_t>(threads_))) {
    of_threads_.push_back(std::make_unique<Workspace>());
  }
  if (count <= static_cast<std::size_t>(threads_)) {
    return parallel_parts(count, [&](std::size_t index) { body(index, *of_threads_[index]); });
  }
  parallel_for(count, threads_, [&](std::size_t index, std::size_t thread) { body(index, *of_threads_[thread]); });
}

std::size_t Workspace::block_bytes() const {
  std::size_t bytes = 0;
  for (const Block& block : blocks_) bytes += block.size;
  return bytes;
}

void* Workspace::allocate(std::size_t bytes) {
  const std::size_t wanted = align_up(std::max<std::size_t>(bytes, 1));
  if (blocks_.empty() || used_ + wanted > blocks_[block_].size) {
    // Later blocks are unused leftovers of an earlier, larger computation; skip those too small.
    std::size_t next = blocks_.empty() ? 0 : block_ + 1;
    while (next < blocks_.size() && blocks_[next].size < wanted) ++next;
    if (next == blocks_.size()) {
      const std::size_t size = std::max({wanted, block_bytes(), smallest_block});
      blocks_.push_back({std::make_unique_for_overwrite<std::byte[]>(size + alignment), size});
    }
    block_ = next;
    used_ = 0;
  }
  std::byte* block = blocks_[block_].memory.get();
  const auto address = reinterpret_cast<std::uintptr_t>(block);
  void* memory = block + (align_up(address) - address) + used_;
  used_ += wanted;
  return memory;
}

void Workspace::release(std::size_t block, std::size_t used) noexcept {
  block_ = block;
  used_ = used;
  --depth_;
  // Nothing is in use: let the next computation find one block that holds all of it.
  if (depth_ == 0 && blocks_.size() > 1) {
    const std::size_t total = block_bytes();
    blocks_.clear();
    block_ = used_ = 0;
    try {
      blocks_.push_back({std::make_unique_for_overwrite<std::byte[]>(total + alignment), total});
    } catch (const std::bad_alloc&) {
      blocks_.clear();  // the next take asks again and reports it
    }
  }
}

}  // namespace bertgen
