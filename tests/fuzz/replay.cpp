// replay READER DIRECTORY…: gives each file to a reader. Fails if a reader faults or goes beyond the limits, or if it
// reads none of the first directory's, the seeds.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "fuzz/limits.hpp"

namespace {

int replay(const std::string& name, int count, char** directories) {
  const bertgen::fuzz::Reader reader = bertgen::fuzz::readers().at(name);
  for (int i = 0; i < count; ++i) {
    bool read_any = i > 0;
    if (i > 0 && !std::filesystem::exists(directories[i])) continue;  // no findings yet
    for (const auto& entry : std::filesystem::directory_iterator(directories[i])) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string bytes{std::istreambuf_iterator<char>(file), {}};
      std::printf("%s\n", entry.path().c_str());
      std::fflush(stdout);
      read_any = bertgen::fuzz::read_within_limits(reader, bytes).read || read_any;
    }
    if (!read_any) {
      std::printf("expected a seed that is read, found none\n");
      return 1;
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return argc < 3 ? 2 : replay(argv[1], argc - 2, argv + 2);
  } catch (const std::exception& error) {
    std::printf("%s: %s\n", argv[1], error.what());
    return 1;
  }
}
