#include "io/output_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>

#include "bertgen/core/error.hpp"

namespace bertgen {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, int error = errno) {
  throw CheckpointError(path.string() + ": cannot be written: " + std::generic_category().message(error));
}

/// A name beside `path` that nothing else has: hidden, and of this process.
fs::path beside(const fs::path& path) {
  static std::atomic<unsigned> count = 0;
  std::string name = ".";
  name.append(path.filename().string(), 0, 100).append(".").append(std::to_string(::getpid()));
  return path.parent_path() / name.append("-").append(std::to_string(count++));
}

/// Makes the entries of a directory last.
void synchronise(const fs::path& directory) {
  const int descriptor = ::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail(directory);
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  if (result != 0 && error != EINVAL) fail(directory, error);  // some file systems cannot
}

/// Without the slash at the end that makes the last name empty; links followed, so that what they lead to is replaced.
fs::path target_of(const fs::path& path) {
  std::error_code error;
  fs::path target = fs::weakly_canonical(path, error);
  if (error) fail(path, error.value());
  if (!target.has_filename()) target = target.parent_path();
  return target;
}

}  // namespace

OutputFile::OutputFile(const fs::path& path) : path_(path), temporary_(beside(path)) {
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail(path_);
}

OutputFile::~OutputFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void OutputFile::write(const void* bytes, std::size_t count) {
  const auto* next = static_cast<const char*>(bytes);
  constexpr std::size_t most = std::size_t{1} << 30;  // Linux writes no more than 2 GB at once
  while (count > 0) {
    const ssize_t written = ::write(descriptor_, next, std::min(count, most));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(path_);
    next += written;
    count -= static_cast<std::size_t>(written);
  }
}

void OutputFile::commit() {
  if (::fsync(descriptor_) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_);
  const int result = ::close(descriptor_);
  descriptor_ = -1;
  if (result != 0) fail(path_);
  synchronise(path_.parent_path());
}

OutputDirectory::OutputDirectory(const fs::path& path, bool replace) : path_(target_of(path)), replace_(replace) {
  std::error_code ignored;
  if (fs::exists(path_, ignored)) {
    if (!fs::is_directory(path_, ignored)) {
      throw CheckpointError(path.string() + ": expected a directory to write, or none, found a file");
    }
    if (!replace && !fs::is_empty(path_, ignored)) {
      throw CheckpointError(path.string() + ": expected an empty directory, or none, found one with files in it");
    }
  }
  temporary_ = beside(path_);
  if (::mkdir(temporary_.c_str(), 0777) != 0) fail(path);
}

OutputDirectory::~OutputDirectory() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void OutputDirectory::commit() {
  synchronise(temporary_);
  // An empty directory is replaced by a rename, one with files only by an exchange.
  if (::rename(temporary_.c_str(), path_.c_str()) == 0) {
    temporary_.clear();
  } else if (!replace_ || (errno != ENOTEMPTY && errno != EEXIST) ||
             ::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE) != 0) {
    fail(path_);
  }
  synchronise(path_.parent_path());
  std::error_code error;
  if (!temporary_.empty()) fs::remove_all(temporary_, error);  // what was there before
  temporary_.clear();
}

void write_file(const fs::path& path, std::string_view content) {
  OutputFile file(path);
  file.write(content.data(), content.size());
  file.commit();
}

}  // namespace bertgen
