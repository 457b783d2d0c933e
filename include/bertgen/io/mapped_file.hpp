// A file as memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "bertgen/core/export.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// A read-only memory map of a whole file, unmapped with its last owner. The file must not shrink while it is mapped.
class MappedFile {
 public:
  /// Throws CheckpointError naming the path: no such file, not a regular file, not readable.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }

 private:
  MappedFile(void* data, std::size_t size) : data_(data), size_(size) {}

  void* data_;
  std::size_t size_;
};

/// The whole of a small text file. Throws ConfigError naming the path if it cannot be read or exceeds 64 MB.
std::string read_text_file(const std::filesystem::path& path);

}  // namespace bertgen
