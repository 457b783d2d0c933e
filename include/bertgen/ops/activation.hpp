// The element-wise functions a configuration's `hidden_act` can name (Hugging Face ACT2FN).
#pragma once

#include <algorithm>
#include <cmath>
#include <string_view>

#include "bertgen/core/export.hpp"
#include "bertgen/core/tensor.hpp"
#include "bertgen/core/workspace.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// An element-wise function; what is not written out is what torch has by that name.
enum class Activation : std::uint8_t {
  linear,
  gelu,       ///< x·½(1 + erf(x/√2)): gelu, gelu_python
  gelu_tanh,  ///< ½x(1 + tanh(√(2/π)(x + 0.044715x³))): gelu_new, gelu_fast, gelu_pytorch_tanh, …
  gelu_10,    ///< gelu clipped to [−10, 10]
  quick_gelu,
  relu,
  relu2,
  relu6,
  leaky_relu,  ///< slope 0.01 below zero
  silu,        ///< silu, swish
  mish,
  tanh,
  sigmoid,
  hardswish,
  laplace,
  sqrtsoftplus,
};

/// The function a `hidden_act` string names. Throws ConfigError for an unknown name and for prelu and xielu, which
/// have parameters of their own.
Activation activation_from_name(std::string_view name);

/// One value; the definition that the vectorised float version is tested against.
template <typename T>
T activate(Activation activation, T x) {
  const auto sigmoid = [](T v) { return T(1) / (T(1) + std::exp(-v)); };
  const auto softplus = [](T v) { return v > T(20) ? v : std::log1p(std::exp(v)); };  // torch's threshold
  const auto gelu = [](T v) { return v * T(0.5) * (T(1) + std::erf(v * T(0.70710678118654752440))); };
  switch (activation) {
    case Activation::linear:
      return x;
    case Activation::gelu:
      return gelu(x);
    case Activation::gelu_tanh:
      return T(0.5) * x * (T(1) + std::tanh(T(0.79788456080286535588) * (x + T(0.044715) * x * x * x)));
    case Activation::gelu_10:
      return std::clamp(gelu(x), T(-10), T(10));
    case Activation::quick_gelu:
      return x * sigmoid(T(1.702) * x);
    case Activation::relu:
      return std::max(x, T(0));
    case Activation::relu2:
      return std::max(x, T(0)) * std::max(x, T(0));
    case Activation::relu6:
      return std::clamp(x, T(0), T(6));
    case Activation::leaky_relu:
      return x < T(0) ? T(0.01) * x : x;
    case Activation::silu:
      return x * sigmoid(x);
    case Activation::mish:
      return x * std::tanh(softplus(x));
    case Activation::tanh:
      return std::tanh(x);
    case Activation::sigmoid:
      return sigmoid(x);
    case Activation::hardswish:
      return x * std::clamp(x + T(3), T(0), T(6)) / T(6);
    case Activation::laplace:  // ½(1 + erf((x − μ)/(σ√2))), μ = 0.707107, σ = 0.282095
      return T(0.5) * (T(1) + std::erf((x - T(0.707107)) / (T(0.282095) * T(1.41421356237309504880))));
    case Activation::sqrtsoftplus:
      return std::sqrt(softplus(x));
  }
  return x;
}

/// Replaces every element of `x` by its activation.
template <typename T>
void activate(Activation activation, TensorView<T> x, const Workspace&) {
  if (activation == Activation::linear) return;
  x.matrix() = x.matrix().unaryExpr([activation](T value) { return activate(activation, value); });
}
template <>
void activate<float>(Activation activation, TensorView<float> x, const Workspace& workspace);

}  // namespace bertgen
