// Where answers go.
#pragma once

#include <cstdio>
#include <string>

namespace bertgen::cli {

/// A file or standard output, written a line at a time. Every failure to write throws std::runtime_error naming it.
class Output {
 public:
  /// "-" for standard output; a file is replaced.
  explicit Output(const std::string& path);
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output();

  void text(const std::string& text);
  /// `text` and a line end.
  void line(const std::string& text);
  /// Hands everything written to the system.
  void flush();

 private:
  [[noreturn]] void fail() const;

  std::string path_;
  std::FILE* file_;
};

}  // namespace bertgen::cli
