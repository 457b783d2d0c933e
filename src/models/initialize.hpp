// Weights that a checkpoint lacks and training will fill.
#pragma once

#include <cstdint>

#include "bertgen/models/config.hpp"

namespace bertgen {

// All draw matrices from N(0, initializer_range) and set biases to 0 and norms to 1, as transformers does, where the
// weight is not there. A weight's values depend on `seed` and its name alone.

/// Adds a pooler to an encoder's weights, in a family that has one.
void initialize_missing_encoder(Weights& weights, const TransformerConfig& config, std::uint64_t seed);

/// Adds to a language model's weights what it has beyond a pretrained encoder: the layers' cross-attention and the
/// head.
void initialize_missing_decoder(Weights& weights, const TransformerConfig& config, std::uint64_t seed);

/// Adds enc_to_dec_proj from an encoder's hidden size to a decoder's.
void initialize_projection(Weights& weights, std::size_t encoder_hidden_size, const TransformerConfig& decoder,
                           std::uint64_t seed);

}  // namespace bertgen
