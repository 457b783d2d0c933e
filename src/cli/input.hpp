// Lines of a file, of standard input, or of the command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bertgen::cli {

/// One line without its end; one of more than Input::longest_line bytes is too long, and cut.
struct Line {
  std::string text;
  bool too_long = false;
};

/// Where requests come from. Reads ahead only what is there, so that a program on the other end of a pipe may wait for
/// an answer before it asks again.
class Input {
 public:
  static constexpr std::size_t longest_line = std::size_t{64} << 20;  // bytes

  /// The texts themselves, in order.
  explicit Input(std::vector<std::string> texts);
  /// A file, "-" for standard input. Throws std::runtime_error naming it if it cannot be read.
  explicit Input(const std::string& path);
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  ~Input();

  /// The next line, or none at the end. With `wait` false also none if a line is not there yet.
  std::optional<Line> next(bool wait);

  /// Whether `path` is the regular file that is read.
  bool reads(const std::string& path) const;

  /// Bytes or texts read so far, and of how many if that is known.
  std::uint64_t done() const { return done_; }
  std::optional<std::uint64_t> total() const { return total_; }

 private:
  bool fill(bool wait);

  std::vector<std::string> texts_;
  std::string path_;
  int descriptor_ = -1;
  bool end_ = false;
  std::string buffer_;
  std::size_t position_ = 0;  ///< of the first byte of buffer_ that is not given out
  std::size_t searched_ = 0;  ///< up to here buffer_ has no line end
  bool skipping_ = false;     ///< inside a line that was too long
  std::uint64_t done_ = 0;
  std::optional<std::uint64_t> total_;
};

}  // namespace bertgen::cli
