// Scratch memory of one computation, and how many threads it may use.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/core/pages.hpp"
#include "bertgen/core/tensor.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// A stack of scratch memory that grows to what the largest computation needs and then stays: once warm, nothing is
/// allocated. Not thread-safe: each thread that computes has a Workspace of its own.
class Workspace {
 public:
  /// The OpenMP runtime ends the process where the system gives it no more threads.
  static constexpr int most_threads = 1024;

  /// Computations given this workspace run on up to `threads` threads. Throws ArgumentError unless these are 1 to
  /// most_threads.
  explicit Workspace(int threads = 1);
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  int threads() const { return threads_; }  ///< that computations may use
  /// Bytes of scratch, in use or not, and of the pages that wait to be used again.
  std::size_t capacity() const;
  /// Calls body(index, workspace) for every index below `count`, on this workspace's threads; each has a workspace of
  /// one thread. The only index of a count of 1 has this one. Throws what a body throws, one of them if several do;
  /// other indices may have run by then or not.
  void for_each(std::size_t count, const std::function<void(std::size_t, Workspace&)>& body);
  /// Keeps the memory of one computation's large arrays for the next: a generation's keys and values.
  PagePool& page_pool() { return page_pool_; }

  /// Memory taken while a Scope lives is given back when it ends. Scopes nest.
  class Scope {
   public:
    /// Remembers how much is taken.
    explicit Scope(Workspace& workspace) : workspace_(workspace), block_(workspace.block_), used_(workspace.used_) {
      ++workspace_.depth_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() { workspace_.release(block_, used_); }

    /// An uninitialised tensor, 64-byte aligned, valid until this scope ends.
    template <typename T>
    TensorView<T> take(Shape shape) {
      return {static_cast<T*>(workspace_.allocate(shape.size() * sizeof(T))), shape};
    }

   private:
    Workspace& workspace_;
    std::size_t block_;
    std::size_t used_;
  };

 private:
  struct Block {
    std::unique_ptr<std::byte[]> memory;
    std::size_t size;
  };
  std::size_t block_bytes() const;
  void* allocate(std::size_t bytes);
  void release(std::size_t block, std::size_t used) noexcept;

  int threads_;
  PagePool page_pool_;
  std::vector<std::unique_ptr<Workspace>> of_threads_;  ///< for_each()'s
  std::vector<Block> blocks_;
  std::size_t block_ = 0;  ///< index of the block in use
  std::size_t used_ = 0;   ///< bytes used of it
  std::size_t depth_ = 0;  ///< live scopes
};

}  // namespace bertgen
