// Options of generate() as the tests of GenerationConfig write them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bertgen/generation/config.hpp"

namespace bertgen {

using Json = nlohmann::json;
using Warnings = std::vector<std::string>;

inline const Json groups = {{"num_beams", 4}, {"num_beam_groups", 2}, {"diversity_penalty", 0.5}};
inline const Json words = {{"num_beams", 2}, {"force_words_ids", {{5, 6}, {{7}, {8, 9}}}}};

inline GenerationConfig parse(const Json& object) {
  GenerationConfig config;
  config.update(object.dump(), "g.json");
  return config;
}
inline Warnings warnings(const Json& object) {
  return GenerationConfig().update(object.dump(), "g.json", GenerationConfig::UnknownKeys::warn);
}

}  // namespace bertgen
