// What the build was configured with; included by the back ends and by the factory that chooses among them.
#pragma once

#include <memory>

#include "bertgen/ops/matmul.hpp"

namespace bertgen::detail {

#ifdef BERTGEN_WITH_ONEDNN
/// As make_matmul, by oneDNN.
std::unique_ptr<MatmulKernel<float>> make_onednn_matmul(TensorView<const float> weight, const float* bias);
/// True if oneDNN has code for this CPU, as capped by set_isa().
bool onednn_available();
#endif

}  // namespace bertgen::detail
