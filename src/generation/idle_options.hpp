// Options of a GenerationConfig that have no effect, for those who read it and those who check it.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "bertgen/generation/config.hpp"

namespace bertgen::detail {

/// Names an option and says why it has no effect.
struct Idle {
  const char* key;
  std::string why;
};

/// The fields that are set to something and have no effect beside the others.
std::vector<Idle> idle_options(const GenerationConfig& config);

/// Whether `key` is one of `keys`.
template <typename List, typename Key>
bool lists(const List& keys, const Key& key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

}  // namespace bertgen::detail
