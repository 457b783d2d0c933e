// Exceptions of the library, one type per cause. Every message says what was wrong, what was expected, what was
// found and where.
#pragma once

#include <stdexcept>
#include <string>

#include "bertgen/core/export.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Base of everything the library throws on purpose.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A value passed by the caller is outside what the function accepts (an option, an id, a length).
class ArgumentError : public Error {
 public:
  using Error::Error;
};

/// Tensors whose shapes do not fit together.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// config.json or generation_config.json is missing a field, or holds one that cannot be honoured.
class ConfigError : public Error {
 public:
  using Error::Error;
};

/// A weight file is unreadable, damaged, or does not hold the tensors that the configuration asks for.
class CheckpointError : public Error {
 public:
  using Error::Error;
};

/// The caller cancelled the computation, by a std::stop_token.
class CancelledError : public Error {
 public:
  using Error::Error;
};

/// A vocabulary is unreadable, or a text or id cannot be converted.
class TokenizerError : public Error {
 public:
  using Error::Error;
};

}  // namespace bertgen
