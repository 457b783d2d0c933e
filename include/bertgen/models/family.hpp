// What tells the families of the BERT line apart: names in files, and a few details of the arithmetic.
#pragma once

#include <string_view>

#include "bertgen/core/export.hpp"
#include "bertgen/core/weights.hpp"
#include "bertgen/nn/lm_head.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// One family. All run through the same encoder and decoder; this is all that differs.
struct Family {
  std::string_view model_type;     ///< in config.json
  std::string_view base;           ///< the scope of encoder and embeddings in a model with a head ("bert", "roberta")
  bool token_types;                ///< embeddings add token_type_embeddings
  bool positions_from_padding;     ///< positions count from behind the padding id (RobertaEmbeddings)
  bool pooler;                     ///< an encoder's checkpoint has a pooler, which no seq2seq model uses
  LMHeadNames lm_head;             ///< keys of its language-modelling head
  std::string_view encoder_class;  ///< transformers' classes of the halves
  std::string_view decoder_class;  ///< of the other half
};

/// The family of a model_type. Throws ConfigError for one that is not supported, naming those that are.
const Family& family_of(std::string_view model_type);

/// Where `embeddings` and `encoder` lie at `scope`: files of a model with a head have the base's name before them.
inline WeightScope base_scope(const WeightScope& scope, const Family& family) {
  const WeightScope base = scope / family.base;
  return base.contains("embeddings.word_embeddings.weight") ? base : scope;
}

}  // namespace bertgen
