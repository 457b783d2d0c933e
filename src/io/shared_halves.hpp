// Encoder-decoders whose halves share their weights.
#pragma once

#include <string_view>

#include "bertgen/core/weights.hpp"

namespace bertgen {

/// Within a half's base model.
inline constexpr std::string_view word_embeddings = "embeddings.word_embeddings.weight";

/// What the two halves of an encoder-decoder leave to each other: a file of a shared pair has each shared tensor under
/// one half's name only. Returns the names that are not there, with the other half's tensors. Empty unless
/// `tied`, or unless one half has no word embeddings. Cross-attention and pooler are one half's alone; buffers
/// (position_ids) are no weights.
NamedTensors shared_tensors(const NamedTensors& tensors, bool tied);

}  // namespace bertgen
