// A file as memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "bertgen/core/export.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// How the bytes of a weight file are reached.
enum class FileAccess : std::uint8_t {
  /// Mapped: read when they are used, and shared with other processes. Nobody may change the file while anything that
  /// was loaded from it lives: a changed byte is read as it then is, and reading what was cut off ends the process
  /// (SIGBUS).
  map,
  /// Copied to memory of this process at once: what happens to the file afterwards does not matter.
  copy,
};

/// The bytes of a whole file, read-only, given back with its last owner.
class MappedFile {
 public:
  /// Throws CheckpointError naming the path: no such file, not a regular file, not readable, no memory for a copy, or a
  /// size that changed while it was copied.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path, FileAccess access = FileAccess::map);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  /// All of the file.
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }
  FileAccess access() const { return access_; }  ///< how they were read

 private:
  MappedFile(void* data, std::size_t size, FileAccess access) : data_(data), size_(size), access_(access) {}

  void* data_;
  std::size_t size_;
  FileAccess access_;
};

/// The whole of a small text file. Throws ConfigError naming the path if it cannot be read or exceeds 64 MB.
std::string read_text_file(const std::filesystem::path& path);

}  // namespace bertgen
