// What reading a file may cost.
#pragma once

#include <cstddef>
#include <string_view>

#include "fuzz/readers.hpp"

namespace bertgen::fuzz {

struct Cost {
  bool read = false;
  double seconds = 0;      ///< of the processor
  std::size_t memory = 0;  ///< bytes allocated at a time, beyond those before
};

/// Gives bytes to a reader. Throws std::runtime_error if more than 4 times their number and 64 MB is allocated at a
/// time; a reader that takes 10 seconds of the processor ends the process. Programs that link this count what they
/// allocate.
Cost read_within_limits(Reader reader, std::string_view bytes);

}  // namespace bertgen::fuzz
