// The back ends that a build may have; included by them and by the factory that chooses.
#pragma once

#include <memory>
#include <vector>

#include "bertgen/ops/matmul.hpp"

namespace bertgen::detail {

/// As make_matmul, by this library's kernels.
std::unique_ptr<MatmulKernel<float>> make_panel_matmul(const MatrixRows& weight, std::vector<float> bias, int threads);

#ifdef BERTGEN_WITH_ONEDNN
/// As make_matmul, by oneDNN.
std::unique_ptr<MatmulKernel<float>> make_onednn_matmul(const MatrixRows& weight, std::vector<float> bias);
/// True if oneDNN has code for this CPU, as capped by set_isa().
bool onednn_available();
#endif

}  // namespace bertgen::detail
