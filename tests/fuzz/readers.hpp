// Everything that reads bytes from outside, each under a name, for programs that try to break it.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace bertgen::fuzz {

/// Gives the bytes to a reader and uses all of what it makes of them. Returns whether they were read: a refusal by one
/// of the project's own exceptions is an answer, too. Any other exception is a fault, and passes.
using Reader = bool (*)(std::string_view bytes);

const std::map<std::string, Reader>& readers();

}  // namespace bertgen::fuzz
