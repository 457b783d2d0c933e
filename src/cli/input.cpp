#include "input.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace bertgen::cli {

Input::Input(std::vector<std::string> texts) : texts_(std::move(texts)), end_(true), total_(texts_.size()) {}

Input::Input(const std::string& path) : path_(path == "-" ? "standard input" : path) {
  descriptor_ = path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0) {
    throw std::runtime_error(path_ + ": expected a readable file: " + std::generic_category().message(errno));
  }
  if (S_ISDIR(status.st_mode)) throw std::runtime_error(path_ + ": expected a readable file, got a directory");
  if (S_ISREG(status.st_mode)) total_ = static_cast<std::uint64_t>(status.st_size);
}

Input::~Input() {
  if (descriptor_ > STDIN_FILENO) ::close(descriptor_);
}

bool Input::reads(const std::string& path) const {
  struct stat read {};
  struct stat other {};
  return descriptor_ >= 0 && ::fstat(descriptor_, &read) == 0 && ::stat(path.c_str(), &other) == 0 &&
         S_ISREG(read.st_mode) && read.st_dev == other.st_dev && read.st_ino == other.st_ino;
}

std::optional<Line> Input::next(bool wait) {
  if (descriptor_ < 0) {
    if (done_ == texts_.size()) return std::nullopt;
    return Line{std::move(texts_[done_++]), false};
  }
  while (true) {
    const std::size_t end = buffer_.find('\n', searched_);
    const bool whole = end != std::string::npos;
    searched_ = whole ? end : buffer_.size();
    const std::size_t length = searched_ - position_;
    const bool too_long = length > longest_line;
    if (whole || too_long || (end_ && length > 0)) {
      Line line{buffer_.substr(position_, std::min(length, longest_line)), too_long};
      position_ = searched_ = whole ? end + 1 : buffer_.size();
      done_ += length + (whole ? 1 : 0);
      // Of a line that is too long the beginning is given out, the rest skipped.
      if (std::exchange(skipping_, !whole && (skipping_ || too_long))) continue;
      if (!too_long && !line.text.empty() && line.text.back() == '\r') line.text.pop_back();
      return line;
    }
    if (end_ || !fill(wait)) return std::nullopt;
  }
}

/// Appends what the file has; false if it has nothing yet and `wait` is false.
bool Input::fill(bool wait) {
  constexpr std::size_t chunk = std::size_t{1} << 16;
  if (!wait) {
    struct pollfd waiting {
      descriptor_, POLLIN, 0
    };
    if (::poll(&waiting, 1, 0) <= 0) return false;
  }
  buffer_.erase(0, position_);
  searched_ -= position_;
  position_ = 0;
  const std::size_t held = buffer_.size();
  buffer_.resize(held + chunk);
  ssize_t count = 0;
  do {
    count = ::read(descriptor_, buffer_.data() + held, chunk);
  } while (count < 0 && errno == EINTR);
  buffer_.resize(held + static_cast<std::size_t>(count > 0 ? count : 0));
  if (count < 0) throw std::runtime_error(path_ + ": cannot be read: " + std::generic_category().message(errno));
  if (count == 0) end_ = true;
  return true;
}

}  // namespace bertgen::cli
