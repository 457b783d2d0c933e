// Products with a weight matrix that is packed once: the one way to every large product of the library.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bertgen/core/bfloat16.hpp"
#include "bertgen/core/export.hpp"
#include "bertgen/core/tensor.hpp"
#include "bertgen/core/weights.hpp"
#include "bertgen/core/workspace.hpp"
#include "bertgen/ops/activation.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Who multiplies.
enum class MatmulBackend : std::uint8_t {
  automatic,  ///< the fastest for the type
  panels,     ///< this library's own kernels; float only
  onednn,     ///< float only, where the library was built with it and the CPU has AVX-512; sizes it has no kernel for:
              ///< panels
  eigen,      ///< float and double, without narrower types
};

/// True if the library was built with `backend` and this CPU can run it.
bool matmul_backend_available(MatmulBackend backend);

/// How rows of BFloat16 lie between one product and the next.
enum class RowLayout : std::uint8_t {
  rows,   ///< one after another
  tiles,  ///< as the next product takes them: for no one else to read
};

/// How the matrices of a model are packed.
struct BuildOptions {
  MatmulBackend matmul = MatmulBackend::automatic;  ///< who multiplies
  /// What a float model's products compute in: f32, bf16 (inputs and weights are rounded to it) or i8 (a scale for each
  /// output of a weight, and for each row of input as it comes). By default f32, but i8 for weights stored so. Beside
  /// bf16 and i8, what lies between products, keys and values included, is BFloat16 (docs/numerics.md).
  std::optional<DType> dtype = std::nullopt;
  int threads = 1;  ///< that pack them
};

/// The type that products really compute in when asked for `dtype`, with weights that are stored as i8 (`quantized`) or
/// not: f16 is a type to store, and is f32. Throws ArgumentError for a type other than f32, bf16, f16 and i8.
DType compute_dtype(std::optional<DType> dtype, bool quantized);

namespace detail {

/// The rows of a matrix to be packed: stored [rows, in] matrices one below another. Reading is thread-safe.
class MatrixRows {
 public:
  /// Throws ShapeError unless all parts are as wide.
  explicit MatrixRows(std::vector<StoredTensor> parts);

  std::size_t in() const { return in_; }
  std::size_t out() const { return out_; }
  /// Rows [first, first + count) as T: [count, in], where they are stored so, or written to `scratch`.
  template <typename T>
  const T* read(std::size_t first, std::size_t count, T* scratch) const;
  /// Says that rows [first, first + count) are not needed soon: StoredTensor::release().
  void release(std::size_t first, std::size_t count) const;
  /// True if all parts are i8.
  bool quantized() const;
  /// One row of i8 parts as it is stored, [in], and its scale.
  void read_quantized(std::size_t row, std::int8_t* values, float* scale) const;

 private:
  /// Calls body(part, first row of it, count) for the parts of rows [first, first + count), in order.
  template <typename Body>
  void for_parts(std::size_t first, std::size_t count, Body&& body) const;

  std::vector<StoredTensor> parts_;
  std::size_t in_ = 0;
  std::size_t out_ = 0;
};

/// @{
/// The elements of rows: T's, or BFloat16's where a kernel multiplies in a narrower type than float.
struct MatmulInput {
  const void* data;
  DType type;
  RowLayout layout = RowLayout::rows;
};
struct MatmulOutput {
  void* data;
  DType type;
  RowLayout layout;
  std::size_t columns;   ///< of `data`
  void* rest = nullptr;  ///< where the columns behind those go, rows of their own; of RowLayout::rows alone
};
/// @}

/// A packed [in, out] matrix and its bias. Implementations are immutable after construction and thread-safe.
template <typename T>
class MatmulKernel {
 public:
  virtual ~MatmulKernel() = default;
  /// y = activation(x · Wᵀ + bias); x: [rows, in], y: [rows, out], both without gaps; y has a rest only where
  /// splits_at() says that it may.
  virtual void multiply(MatmulInput x, std::size_t rows, MatmulOutput y, Activation activation,
                        Workspace& workspace) const = 0;
  /// Whether a result may have so many columns in one place and the others in another.
  virtual bool splits_at(std::size_t /*columns*/) const { return false; }
  virtual std::size_t bytes() const = 0;
  /// The type that inputs and weights are multiplied in.
  virtual DType dtype() const = 0;
  /// As PackedMatrix::row_layout().
  virtual RowLayout row_layout() const { return RowLayout::rows; }
};

/// bias: [out]. Takes what it needs; the arguments need not outlive the call.
template <typename T>
std::unique_ptr<MatmulKernel<T>> make_eigen_matmul(const MatrixRows& weight, std::vector<T> bias);
template <typename T>
std::unique_ptr<MatmulKernel<T>> make_matmul(const MatrixRows& weight, std::vector<T> bias,
                                             const BuildOptions& options);

extern template const float* MatrixRows::read<float>(std::size_t, std::size_t, float*) const;
extern template const double* MatrixRows::read<double>(std::size_t, std::size_t, double*) const;
extern template std::unique_ptr<MatmulKernel<float>> make_eigen_matmul<float>(const MatrixRows&, std::vector<float>);
extern template std::unique_ptr<MatmulKernel<double>> make_eigen_matmul<double>(const MatrixRows&, std::vector<double>);
template <>
std::unique_ptr<MatmulKernel<float>> make_matmul<float>(const MatrixRows&, std::vector<float>, const BuildOptions&);
template <>
std::unique_ptr<MatmulKernel<double>> make_matmul<double>(const MatrixRows&, std::vector<double>, const BuildOptions&);

}  // namespace detail

/// A weight matrix in the layout its products are fastest in, with its bias. Immutable; movable, not copyable.
template <typename T>
class PackedMatrix {
 public:
  PackedMatrix() = default;
  /// weight: [out, in] matrices of one width, laid one below another; bias: as long as all their rows, or empty for
  /// none. Throws ShapeError if they do not fit together and ArgumentError if the back end is not available for T.
  PackedMatrix(std::vector<StoredTensor> weight, std::vector<T> bias, const BuildOptions& options = {}) {
    const detail::MatrixRows rows(std::move(weight));
    in_ = rows.in();
    out_ = rows.out();
    if (!bias.empty() && bias.size() != out_) {
      throw ShapeError("matmul: expected a bias of " + std::to_string(out_) + ", got " + std::to_string(bias.size()));
    }
    bias.resize(out_);
    kernel_ = detail::make_matmul<T>(rows, std::move(bias), options);
  }

  /// @{
  /// Sizes of the weight, [out, in].
  std::size_t in() const { return in_; }
  std::size_t out() const { return out_; }
  /// @}
  /// Bytes of the packed copy.
  std::size_t bytes() const { return kernel_ == nullptr ? 0 : kernel_->bytes(); }
  /// The type that inputs and weights are multiplied in: as compute_dtype() says, or T's. Not of an empty matrix.
  DType dtype() const { return kernel_->dtype(); }
  /// The layout in which it best reads rows of BFloat16, and can write them. Not of an empty matrix.
  RowLayout row_layout() const { return kernel_->row_layout(); }

  /// @{
  /// y = activation(x · Wᵀ + bias). x: [rows, in], y: [rows, out], both contiguous; `layout` of BFloat16. Throws
  /// ShapeError, and ArgumentError for BFloat16 unless dtype() is narrower than float, and for tiles unless they are
  /// row_layout().
  void multiply(TensorView<const T> x, TensorView<T> y, Workspace& workspace,
                Activation activation = Activation::linear) const {
    multiply_as<T, T>(x, y, RowLayout::rows, workspace, activation);
  }
  void multiply(TensorView<const T> x, TensorView<BFloat16> y, Workspace& workspace,
                Activation activation = Activation::linear, RowLayout layout = RowLayout::rows) const {
    multiply_as<T, BFloat16>(x, y, layout, workspace, activation);
  }
  void multiply(TensorView<const BFloat16> x, TensorView<T> y, Workspace& workspace,
                Activation activation = Activation::linear, RowLayout layout = RowLayout::rows) const {
    multiply_as<BFloat16, T>(x, y, layout, workspace, activation);
  }
  /// @}
  /// The first results of each row in y, the others in `rest`. y: [rows, columns], rest: [rows, out - columns], both
  /// contiguous. Y: T or BFloat16. Throws as multiply().
  template <typename Y>
  void multiply_split(TensorView<const T> x, TensorView<Y> y, TensorView<Y> rest, Workspace& workspace) const {
    if (x.cols() != in_ || y.cols() + rest.cols() != out_ || x.rows() != y.rows() || x.rows() != rest.rows() ||
        !x.contiguous() || !y.contiguous() || !rest.contiguous()) {
      throw ShapeError("matmul: expected contiguous [rows, " + std::to_string(in_) + "] -> [rows, " +
                       std::to_string(out_) + "] in two parts, got " + to_string(x.shape()) + " -> " +
                       to_string(y.shape()) + " and " + to_string(rest.shape()));
    }
    if (x.rows() == 0) return;
    if (kernel_->splits_at(y.cols())) {
      check_rows<Y>();
      return kernel_->multiply({x.data(), dtype_of<T>}, x.rows(),
                               {y.data(), dtype_of<Y>, RowLayout::rows, y.cols(), rest.data()}, Activation::linear,
                               workspace);
    }
    Workspace::Scope scope(workspace);
    const auto whole = scope.take<Y>({x.rows(), out_});
    multiply(x, whole, workspace);
    for (std::size_t row = 0; row < x.rows(); ++row) {
      std::copy_n(whole.row(row), y.cols(), y.row(row));
      std::copy_n(whole.row(row) + y.cols(), rest.cols(), rest.row(row));
    }
  }

 private:
  /// Throws ArgumentError for rows of BFloat16 unless the weights are multiplied in less than float.
  template <typename Row>
  void check_rows() const {
    if (std::is_same_v<Row, T> || between_dtype<T>({dtype()}) != dtype_of<T>) return;
    throw ArgumentError("matmul: expected rows of " + std::string(dtype_name(dtype_of<T>)) +
                        ", as the weights are multiplied in it, got BF16");
  }

  template <typename X, typename Y>
  void multiply_as(TensorView<const X> x, TensorView<Y> y, RowLayout layout, Workspace& workspace,
                   Activation activation) const {
    if (x.cols() != in_ || y.cols() != out_ || x.rows() != y.rows() || !x.contiguous() || !y.contiguous()) {
      throw ShapeError("matmul: expected contiguous [rows, " + std::to_string(in_) + "] -> [rows, " +
                       std::to_string(out_) + "], got " + to_string(x.shape()) + " -> " + to_string(y.shape()));
    }
    if (x.rows() == 0) return;
    check_rows<X>();
    check_rows<Y>();
    if (layout == RowLayout::tiles && row_layout() != RowLayout::tiles) {
      throw ArgumentError("matmul: expected one row after another, got tiles, which are not of these weights");
    }
    constexpr bool reads = std::is_same_v<X, BFloat16>;
    kernel_->multiply({x.data(), dtype_of<X>, reads ? layout : RowLayout::rows}, x.rows(),
                      {y.data(), dtype_of<Y>, reads ? RowLayout::rows : layout, out_}, activation, workspace);
  }

  std::size_t in_ = 0;
  std::size_t out_ = 0;
  std::unique_ptr<detail::MatmulKernel<T>> kernel_;
};

}  // namespace bertgen
