// Products with a weight matrix that is packed once: the one way to every large product of the library.
#pragma once

#include <memory>
#include <string>

#include "bertgen/core/tensor.hpp"
#include "bertgen/core/workspace.hpp"
#include "bertgen/ops/activation.hpp"

namespace bertgen {

/// Who multiplies.
enum class MatmulBackend : std::uint8_t {
  automatic,  ///< onednn where the library was built with it and the CPU is x86-64 with SSE4.1; else eigen
  onednn,     ///< float only
  eigen,
};

/// True if the library was built with `backend` and this CPU can run it.
bool matmul_backend_available(MatmulBackend backend);

namespace detail {

/// A packed [in, out] matrix and its bias. Implementations are immutable after construction and thread-safe.
template <typename T>
class MatmulKernel {
 public:
  virtual ~MatmulKernel() = default;
  /// y = x · Wᵀ + bias; x: [rows, in], y: [rows, out], both without gaps.
  virtual void multiply(const T* x, std::size_t rows, T* y, Workspace& workspace) const = 0;
  virtual std::size_t bytes() const = 0;
};

/// weight: [out, in]; bias: [out] or null. Takes what it needs; the arguments need not outlive the call.
template <typename T>
std::unique_ptr<MatmulKernel<T>> make_eigen_matmul(TensorView<const T> weight, const T* bias);
template <typename T>
std::unique_ptr<MatmulKernel<T>> make_matmul(TensorView<const T> weight, const T* bias, MatmulBackend backend);

extern template std::unique_ptr<MatmulKernel<float>> make_eigen_matmul<float>(TensorView<const float>, const float*);
extern template std::unique_ptr<MatmulKernel<double>> make_eigen_matmul<double>(TensorView<const double>,
                                                                                const double*);
template <>
std::unique_ptr<MatmulKernel<float>> make_matmul<float>(TensorView<const float>, const float*, MatmulBackend);
template <>
std::unique_ptr<MatmulKernel<double>> make_matmul<double>(TensorView<const double>, const double*, MatmulBackend);

}  // namespace detail

/// A weight matrix in the layout its products are fastest in, with its bias. Immutable; movable, not copyable.
template <typename T>
class PackedMatrix {
 public:
  PackedMatrix() = default;
  /// weight: [out, in]; bias: [out], or empty for none. Throws ShapeError if they do not fit together and
  /// ArgumentError if `backend` is not available for T.
  PackedMatrix(TensorView<const T> weight, TensorView<const T> bias, MatmulBackend backend)
      : in_(weight.cols()), out_(weight.rows()) {
    if (bias.size() != 0 && bias.size() != out_) {
      throw ShapeError("matmul: expected a bias of " + std::to_string(out_) + ", got " + std::to_string(bias.size()));
    }
    kernel_ = detail::make_matmul<T>(weight, bias.size() == 0 ? nullptr : bias.data(), backend);
  }

  std::size_t in() const { return in_; }
  std::size_t out() const { return out_; }
  /// Bytes of the packed copy.
  std::size_t bytes() const { return kernel_ == nullptr ? 0 : kernel_->bytes(); }

  /// y = activation(x · Wᵀ + bias). x: [rows, in], y: [rows, out], both contiguous.
  void multiply(TensorView<const T> x, TensorView<T> y, Workspace& workspace,
                Activation activation = Activation::linear) const {
    if (x.cols() != in_ || y.cols() != out_ || x.rows() != y.rows() || !x.contiguous() || !y.contiguous()) {
      throw ShapeError("matmul: expected contiguous [rows, " + std::to_string(in_) + "] -> [rows, " +
                       std::to_string(out_) + "], got " + to_string(x.shape()) + " -> " + to_string(y.shape()));
    }
    if (x.rows() == 0) return;
    kernel_->multiply(x.data(), x.rows(), y.data(), workspace);
    activate<T>(activation, y, workspace);
  }

 private:
  std::size_t in_ = 0;
  std::size_t out_ = 0;
  std::unique_ptr<detail::MatmulKernel<T>> kernel_;
};

}  // namespace bertgen
