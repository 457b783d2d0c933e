#include "bertgen/io/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <system_error>

#include "bertgen/core/error.hpp"

namespace bertgen {
namespace {

std::string system_message() { return std::generic_category().message(errno); }

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int get() const { return value_; }

 private:
  int value_;
};

/// Fills `data` from the file, which must have `size` bytes. Returns whether it still has.
bool read_all(int file, char* data, std::size_t size) {
  std::size_t done = 0;
  for (char beyond = 0;;) {
    const bool full = done == size;
    const ssize_t count = ::read(file, full ? &beyond : data + done, full ? 1 : size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0 || full) return full && count == 0;
    done += static_cast<std::size_t>(count);
  }
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path, FileAccess access) {
  const auto fail = [&path](const std::string& what) -> CheckpointError {
    return CheckpointError(path.string() + ": " + what);
  };
  // Non-blocking, so that a named pipe is refused below instead of waited for.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) throw fail("expected a readable file: " + system_message());
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw fail(system_message());
  if (!S_ISREG(status.st_mode)) throw fail("expected a regular file, got a directory or device");
  const auto size = static_cast<std::size_t>(status.st_size);
  void* data = nullptr;
  if (size > 0) {  // an empty map is an error of the system's, an empty file is the caller's to judge
    const bool copy = access == FileAccess::copy;
    data = copy ? ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                : ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (data == MAP_FAILED) throw fail((copy ? "cannot be copied: " : "cannot be mapped: ") + system_message());
  }
  std::shared_ptr<const MappedFile> result(new MappedFile(data, size, access));
  if (access == FileAccess::copy && !read_all(file.get(), static_cast<char*>(data), size)) {
    throw fail("expected " + std::to_string(size) + " bytes while it was copied, as at first, got another number");
  }
  return result;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

std::string read_text_file(const std::filesystem::path& path) {
  constexpr std::uintmax_t largest = 64 << 20;
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) throw ConfigError(path.string() + ": expected a readable file: " + error.message());
  if (size > largest) {
    throw ConfigError(path.string() + ": expected at most 64 MB, got " + std::to_string(size) + " bytes");
  }
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(text.data(), static_cast<std::streamsize>(size));
  if (!file) throw ConfigError(path.string() + ": expected a readable file: " + system_message());
  return text;
}

}  // namespace bertgen
