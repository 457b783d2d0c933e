#include "io/shared_halves.hpp"

#include <string>
#include <utility>

namespace bertgen {
namespace {

/// For every weight under `from` without a namesake under `to`: the same tensor under that name.
void share(const NamedTensors& tensors, const std::string& from, const std::string& to, NamedTensors& shared) {
  for (auto at = tensors.lower_bound(from); at != tensors.end() && at->first.starts_with(from); ++at) {
    const auto& [name, tensor] = *at;
    const bool one_half_only = name.find(".crossattention.") != std::string::npos || name.starts_with(from + "pooler.");
    if (one_half_only || !tensor.is_weight()) continue;
    std::string other = to + name.substr(from.size());
    if (tensors.count(other) == 0) shared.emplace(std::move(other), tensor);
  }
}

}  // namespace

NamedTensors shared_tensors(const NamedTensors& tensors, bool tied) {
  const std::string encoder = "encoder.";
  NamedTensors shared;
  for (const std::string decoder : {"decoder.bert.", "decoder.roberta."}) {
    const auto first = tensors.lower_bound(decoder);
    if (first == tensors.end() || !first->first.starts_with(decoder)) continue;
    const bool both = tensors.count(encoder + std::string(word_embeddings)) != 0 &&
                      tensors.count(decoder + std::string(word_embeddings)) != 0;
    if (both && !tied) continue;
    share(tensors, encoder, decoder, shared);
    share(tensors, decoder, encoder, shared);
  }
  return shared;
}

}  // namespace bertgen
