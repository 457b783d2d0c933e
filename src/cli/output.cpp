#include "output.hpp"

#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace bertgen::cli {

Output::Output(const std::string& path)
    : path_(path == "-" ? "standard output" : path), file_(path == "-" ? stdout : std::fopen(path.c_str(), "wb")) {
  if (file_ == nullptr) fail();
}

Output::~Output() {
  if (file_ != stdout) std::fclose(file_);
}

void Output::text(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), file_) != text.size()) fail();
}

void Output::line(const std::string& text) {
  this->text(text);
  if (std::fputc('\n', file_) == EOF) fail();
}

void Output::flush() {
  if (std::fflush(file_) != 0) fail();
}

void Output::fail() const {
  throw std::runtime_error(path_ + ": cannot be written: " + std::generic_category().message(errno));
}

}  // namespace bertgen::cli
