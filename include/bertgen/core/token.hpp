// Token ids: the numbers a tokenizer writes and a model reads.
#pragma once

#include <cstdint>
#include <vector>

#include "bertgen/core/export.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// An index into a vocabulary. Negative only where a function says so (−100 in labels).
using TokenId = std::int32_t;
/// The ids of one sequence.
using TokenIds = std::vector<TokenId>;
/// One flag a position: 0 hides it from attention, anything else shows it. Empty stands for all ones.
using AttentionMask = std::vector<std::uint8_t>;

}  // namespace bertgen
