// Chooses who multiplies.
#include "bertgen/ops/matmul.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "backends.hpp"

namespace bertgen {

bool matmul_backend_available(MatmulBackend backend) {
#ifdef BERTGEN_WITH_ONEDNN
  return backend != MatmulBackend::onednn || detail::onednn_available();
#else
  return backend != MatmulBackend::onednn;
#endif
}

DType compute_dtype(std::optional<DType> dtype, bool quantized) {
  if (!dtype) return quantized ? DType::i8 : DType::f32;
  switch (*dtype) {
    case DType::f32:
    case DType::bf16:
    case DType::i8:
      return *dtype;
    case DType::f16:
      return DType::f32;
    default:
      throw ArgumentError("matmul: expected F32, BF16, F16 or I8 to compute in, got " +
                          std::string(dtype_name(*dtype)));
  }
}

namespace detail {
namespace {

/// Eigen multiplies in the scalar type, the default of `options`.
void require_plain(const BuildOptions& options) {
  if (options.dtype.value_or(DType::f32) == DType::f32) return;
  throw ArgumentError("matmul: expected no other type than the scalar's for the back end eigen, got " +
                      std::string(dtype_name(*options.dtype)));
}

}  // namespace

MatrixRows::MatrixRows(std::vector<StoredTensor> parts) : parts_(std::move(parts)) {
  for (const StoredTensor& part : parts_) {
    if (in_ == 0) in_ = part.shape.cols();
    if (part.shape.cols() != in_) {
      throw ShapeError("matmul: expected matrices of width " + std::to_string(in_) + ", got " + to_string(part.shape));
    }
    out_ += part.shape.rows();
  }
}

template <typename Body>
void MatrixRows::for_parts(std::size_t first, std::size_t count, Body&& body) const {
  for (const StoredTensor& part : parts_) {
    if (count == 0) return;
    if (first >= part.shape.rows()) {
      first -= part.shape.rows();
      continue;
    }
    const std::size_t here = std::min(count, part.shape.rows() - first);
    body(part, first, here);
    count -= here;
    first = 0;
  }
}

template <typename T>
const T* MatrixRows::read(std::size_t first, std::size_t count, T* scratch) const {
  const T* stored = nullptr;
  T* rows = scratch;
  for_parts(first, count, [&](const StoredTensor& part, std::size_t row, std::size_t here) {
    const std::byte* data = part.data + row * in_ * sizeof(T);
    if (here == count && part.dtype == dtype_of<T> && reinterpret_cast<std::uintptr_t>(data) % alignof(T) == 0) {
      stored = reinterpret_cast<const T*>(data);
      return;
    }
    part.read_rows(row, here, rows);
    rows += here * in_;
  });
  return stored != nullptr ? stored : scratch;
}

void MatrixRows::release(std::size_t first, std::size_t count) const {
  for_parts(first, count, [](const StoredTensor& part, std::size_t row, std::size_t here) { part.release(row, here); });
}

bool MatrixRows::quantized() const {
  return std::all_of(parts_.begin(), parts_.end(), [](const StoredTensor& part) { return part.scale != nullptr; });
}

void MatrixRows::read_quantized(std::size_t row, std::int8_t* values, float* scale) const {
  for_parts(row, 1, [&](const StoredTensor& part, std::size_t first, std::size_t) {
    std::memcpy(values, part.data + first * in_, in_);
    *scale = part.row_scale(first);
  });
}

template const float* MatrixRows::read<float>(std::size_t, std::size_t, float*) const;
template const double* MatrixRows::read<double>(std::size_t, std::size_t, double*) const;

template <>
std::unique_ptr<MatmulKernel<float>> make_matmul<float>(const MatrixRows& weight, std::vector<float> bias,
                                                        const BuildOptions& options) {
  if (!matmul_backend_available(options.matmul)) {
    throw ArgumentError("matmul: expected a back end that is available, got onednn, which this build or CPU lacks");
  }
  if (options.matmul != MatmulBackend::eigen) return make_panel_matmul(weight, std::move(bias), options);
  require_plain(options);
  return make_eigen_matmul<float>(weight, std::move(bias));
}

template <>
std::unique_ptr<MatmulKernel<double>> make_matmul<double>(const MatrixRows& weight, std::vector<double> bias,
                                                          const BuildOptions& options) {
  if (options.matmul != MatmulBackend::automatic && options.matmul != MatmulBackend::eigen) {
    throw ArgumentError("matmul: expected a back end for double, eigen, got one that multiplies float only");
  }
  require_plain(options);
  return make_eigen_matmul<double>(weight, std::move(bias));
}

}  // namespace detail
}  // namespace bertgen
