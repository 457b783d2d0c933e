// Files that tests write: a directory that goes away, and weight files made by hand.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bertgen::test {

/// An empty directory, removed with its content at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = testing::TempDir() + "bertgen-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory: " + pattern);
    path_ = pattern;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }
  /// Writes a file in it; returns its path.
  std::filesystem::path write(const std::string& name, std::string_view content) const {
    std::ofstream file(path_ / name, std::ios::binary);
    file.write(content.data(), static_cast<std::streamsize>(content.size()));
    if (!file) throw std::runtime_error("cannot write " + name);
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

/// The content of a file.
inline std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The content of each file in a directory, by its name.
inline std::map<std::string, std::string> contents_of(const std::filesystem::path& directory) {
  std::map<std::string, std::string> contents;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.is_regular_file()) contents[entry.path().filename().string()] = content_of(entry.path());
  }
  return contents;
}

/// The eight bytes that a weight file begins with.
inline std::string little_endian(std::uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xffu);
  return bytes;
}

/// A weight file: the header's length, the header as given, the data.
inline std::string safetensors(const std::string& header, const std::string& data = {}) {
  return little_endian(header.size()) + header + data;
}

/// A weight file of tensors that lie one after another.
class SafetensorsBuilder {
 public:
  void add(const std::string& name, const std::string& dtype, const std::vector<std::size_t>& shape,
           std::string_view data) {
    header_[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {data_.size(), data_.size() + data.size()}}};
    data_ += data;
  }
  template <typename Value>
  void add(const std::string& name, const std::string& dtype, const std::vector<std::size_t>& shape,
           const std::vector<Value>& values) {
    const auto* bytes = reinterpret_cast<const char*>(values.data());
    add(name, dtype, shape, std::string_view(bytes, values.size() * sizeof(Value)));
  }
  void add_metadata(const std::string& key, const std::string& value) { header_["__metadata__"][key] = value; }
  std::string bytes() const { return safetensors(header_.dump(), data_); }

 private:
  nlohmann::json header_ = nlohmann::json::object();
  std::string data_;
};

}  // namespace bertgen::test
