// Weights that a checkpoint lacks and training will fill.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bertgen/models/config.hpp"

namespace bertgen {

/// Adds to `weights` what the model of `config` at `scope` has beyond a pretrained encoder and is not there: the
/// layers' cross-attention and the head's transformation. Matrices are drawn from N(0, 0.02), biases are 0, norms 1, as
/// transformers initialises them. A weight's values depend on `seed` and its name alone. Returns the names.
std::vector<std::string> initialize_missing(Weights& weights, const std::string& scope, const TransformerConfig& config,
                                            std::uint64_t seed);

/// Adds `name`.weight [out, in] and `name`.bias to `weights` in the same way.
void initialize_linear(Weights& weights, const std::string& name, std::size_t in, std::size_t out, std::uint64_t seed);

}  // namespace bertgen
