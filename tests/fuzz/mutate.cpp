// mutate READER COUNT DIRECTORY: gives a reader COUNT files made of those in the directory by flipping bits, cutting,
// splicing, and writing sizes that lie. Fails on a fault, on one that takes 10 seconds, and on one for which more than
// 4 times its size and 64 MB is allocated at a time. Prints how many were read, and the worst.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include "fuzz/limits.hpp"

namespace {

using Random = std::mt19937_64;

class Mutator {
 public:
  Mutator(std::vector<std::string> seeds, std::uint64_t seed) : seeds_(std::move(seeds)), random_(seed) {}

  std::string next() {
    std::string bytes = seeds_[below(seeds_.size())];
    for (std::size_t change = 1 + below(4); change-- > 0;) mutate(bytes);
    return bytes;
  }

 private:
  std::size_t below(std::size_t limit) { return static_cast<std::size_t>(random_() % std::max<std::size_t>(limit, 1)); }

  void mutate(std::string& bytes) {
    const std::size_t place = below(bytes.size());
    const std::string& other = seeds_[below(seeds_.size())];
    switch (bytes.empty() ? 3 : below(6)) {
      case 0:
        bytes[place] = static_cast<char>(bytes[place] ^ (1 << below(8)));
        break;
      case 1:
        bytes.resize(place);
        break;
      case 2:
        bytes.erase(place, 1 + below(32));
        break;
      case 3:
        bytes.insert(place, other, below(other.size()), 1 + below(64));
        break;
      case 4:
        lie_in_binary(bytes, place);
        break;
      default:
        lie_in_text(bytes, place);
    }
  }

  /// 1 to 8 bytes become a little-endian number of any magnitude.
  void lie_in_binary(std::string& bytes, std::size_t place) {
    std::uint64_t value = below(4) == 0 ? ~std::uint64_t{0} >> below(64) : random_() >> below(64);
    for (std::size_t i = place, end = std::min(bytes.size(), place + (std::size_t{1} << below(4))); i < end;
         ++i, value >>= 8) {
      bytes[i] = static_cast<char>(value & 0xffu);
    }
  }

  /// The first number in text at or behind the place becomes another.
  void lie_in_text(std::string& bytes, std::size_t place) {
    const std::size_t begin = bytes.find_first_of("0123456789", place);
    if (begin == std::string::npos) return lie_in_binary(bytes, place);
    const std::size_t end = std::min(bytes.find_first_not_of("0123456789", begin), bytes.size());
    bytes.replace(begin, end - begin, std::to_string(random_() >> below(64)));
  }

  std::vector<std::string> seeds_;
  Random random_;
};

std::vector<std::string> contents(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());  // the same mutants in every run
  std::vector<std::string> files;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    files.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return files;
}

int run(const std::string& name, int count, const std::filesystem::path& directory) {
  const bertgen::fuzz::Reader reader = bertgen::fuzz::readers().at(name);
  std::vector<std::string> seeds = contents(directory);
  for (const std::string& seed : seeds)
    reader(seed);  // what is made once, like the readers' directories, does not count
  Mutator mutator(std::move(seeds), 1);
  int read = 0;
  double slowest = 0;
  std::size_t most = 0;
  for (int i = 0; i < count; ++i) {
    const std::string bytes = mutator.next();
    std::ofstream(name + ".mutant", std::ios::binary) << bytes;  // there to look at after a crash
    const bertgen::fuzz::Cost cost = bertgen::fuzz::read_within_limits(reader, bytes);
    read += cost.read ? 1 : 0;
    slowest = std::max(slowest, cost.seconds);
    most = std::max(most, cost.memory);
  }
  std::filesystem::remove(name + ".mutant");
  std::printf("%s: %d of %d read; slowest %.3f s, most memory %.1f MB\n", name.c_str(), read, count, slowest,
              static_cast<double>(most) / (1 << 20));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return argc != 4 ? 2 : run(argv[1], std::atoi(argv[2]), argv[3]);
  } catch (const std::exception& error) {
    std::printf("%s.mutant: %s\n", argv[1], error.what());
    return 1;
  }
}
