#include "bertgen/models/family.hpp"

#include <array>
#include <string>

#include "bertgen/core/error.hpp"

namespace bertgen {
namespace {

constexpr std::array<Family, 3> families = {{
    {"bert-generation", "bert", false, false, {"lm_head", "", ""}},
    {"bert", "bert", true, false, {"cls.predictions", "transform.dense", "transform.LayerNorm"}},
    // RobertaLMHead calls gelu whatever hidden_act says.
    {"roberta", "roberta", true, true, {"lm_head", "dense", "layer_norm", Activation::gelu}},
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
