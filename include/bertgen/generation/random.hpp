// Random numbers that depend on what they are for, not on who drew before.
#pragma once

#include <array>
#include <cstdint>

#include "bertgen/core/export.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011): four random
/// words of a key and a counter.
constexpr std::array<std::uint32_t, 4> philox(std::uint64_t key, std::array<std::uint32_t, 4> counter) {
  auto low = static_cast<std::uint32_t>(key);
  auto high = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t first = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t second = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(second >> 32) ^ counter[1] ^ low, static_cast<std::uint32_t>(second),
               static_cast<std::uint32_t>(first >> 32) ^ counter[3] ^ high, static_cast<std::uint32_t>(first)};
    low += 0x9E3779B9;   // the golden ratio
    high += 0xBB67AE85;  // √3 − 1
  }
  return counter;
}

/// A source of uniform numbers for one request: what is drawn at a step depends on the seed, the request, the step and
/// the index alone, so neither batches nor threads change it.
class RequestRandom {
 public:
  /// `seed`: GenerationConfig::seed. `request`: the number of the source.
  RequestRandom(std::uint64_t seed, std::uint64_t request) : seed_(seed), request_(request) {}

  /// Uniform in [0, 1), with 53 random bits.
  double uniform(std::size_t step, std::size_t index) const {
    const auto words = philox(seed_, {static_cast<std::uint32_t>(request_), static_cast<std::uint32_t>(request_ >> 32),
                                      static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(index)});
    return static_cast<double>((std::uint64_t{words[0]} << 21) ^ (words[1] >> 11)) * 0x1p-53;
  }

 private:
  std::uint64_t seed_;
  std::uint64_t request_;
};

}  // namespace bertgen
