#include "bertgen/models/family.hpp"

#include <array>
#include <string>

#include "bertgen/core/error.hpp"

namespace bertgen {
namespace {

constexpr std::array<Family, 3> families = {{
    {.model_type = "bert-generation",
     .base = "bert",
     .token_types = false,
     .positions_from_padding = false,
     .pooler = false,
     .lm_head = {"lm_head", "", ""},
     .encoder_class = "BertGenerationEncoder",
     .decoder_class = "BertGenerationDecoder"},
    {.model_type = "bert",
     .base = "bert",
     .token_types = true,
     .positions_from_padding = false,
     .pooler = true,
     .lm_head = {"cls.predictions", "transform.dense", "transform.LayerNorm"},
     .encoder_class = "BertModel",
     .decoder_class = "BertLMHeadModel"},
    {.model_type = "roberta",
     .base = "roberta",
     .token_types = true,
     .positions_from_padding = true,
     .pooler = true,
     // RobertaLMHead calls gelu whatever hidden_act says.
     .lm_head = {"lm_head", "dense", "layer_norm", Activation::gelu},
     .encoder_class = "RobertaModel",
     .decoder_class = "RobertaForCausalLM"},
}};

}  // namespace

const Family& family_of(std::string_view model_type) {
  std::string names;
  for (const Family& family : families) {
    if (family.model_type == model_type) return family;
    names += (names.empty() ? "\"" : ", \"") + std::string(family.model_type) + "\"";
  }
  throw ConfigError("model_type: expected one of " + names + ", got \"" + std::string(model_type) +
                    "\" (not supported yet)");
}

}  // namespace bertgen
