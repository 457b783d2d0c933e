// Files and directories that appear whole or not at all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

namespace bertgen {

/// A file that is written beside its path and takes its place with commit(); without that it goes away.
/// Everything that fails throws CheckpointError naming the path.
class OutputFile {
 public:
  explicit OutputFile(const std::filesystem::path& path);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  const std::filesystem::path& path() const { return path_; }
  void write(const void* bytes, std::size_t count);
  /// Everything is on the disk when this returns.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

/// A directory that is filled beside its path and takes its place with commit(); without that it goes away with all
/// that is in it. Everything that fails throws CheckpointError naming the path.
class OutputDirectory {
 public:
  /// A directory at `path` must be empty, unless `replace`: then commit() removes it with all that is in it.
  OutputDirectory(const std::filesystem::path& path, bool replace);
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;
  ~OutputDirectory();

  /// Where to write until commit().
  const std::filesystem::path& temporary() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  bool replace_;
};

/// Writes a whole file as OutputFile does.
void write_file(const std::filesystem::path& path, std::string_view content);

}  // namespace bertgen
