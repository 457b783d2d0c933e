// Tensor<T> owns, TensorView<T> refers. Both are row-major; a view's rows may lie apart.
#pragma once

#include <Eigen/Core>
#include <array>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <vector>

#include "bertgen/core/error.hpp"
#include "bertgen/core/export.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Sizes of up to four dimensions, outermost first. The empty shape is a scalar's.
class Shape {
 public:
  /// The most dimensions.
  static constexpr std::size_t max_rank = 4;

  Shape() = default;
  /// Throws ShapeError for more than four dimensions.
  Shape(std::initializer_list<std::size_t> sizes) : Shape(sizes.begin(), sizes.end()) {}
  /// Throws ShapeError for more than four dimensions.
  template <typename Iterator>
  Shape(Iterator first, Iterator last) {
    for (; first != last; ++first) {
      if (rank_ == max_rank) throw ShapeError("tensor: expected at most 4 dimensions, got more");
      sizes_[rank_++] = *first;
    }
  }

  /// @{
  /// Dimensions: how many, one extent, and all of them to iterate over.
  std::size_t rank() const { return rank_; }
  std::size_t operator[](std::size_t dimension) const { return sizes_[dimension]; }
  const std::size_t* begin() const { return sizes_.data(); }
  const std::size_t* end() const { return sizes_.data() + rank_; }
  /// @}
  /// Number of elements; 1 for a scalar.
  std::size_t size() const {
    std::size_t product = 1;
    for (std::size_t extent : *this) product *= extent;
    return product;
  }
  /// Extent of the last dimension; 1 for a scalar.
  std::size_t cols() const { return rank_ == 0 ? 1 : sizes_[rank_ - 1]; }
  /// Product of all dimensions but the last.
  std::size_t rows() const {
    std::size_t product = 1;
    for (std::size_t i = 0; i + 1 < rank_; ++i) product *= sizes_[i];
    return product;
  }
  bool operator==(const Shape& other) const = default;  ///< the same dimensions in the same order

 private:
  std::array<std::size_t, max_rank> sizes_{};
  std::size_t rank_ = 0;
};

/// "[768, 1024]"; "[]" for a scalar.
inline std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.rank(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

/// A tensor that lives elsewhere. Seen as a matrix it has rows() × cols() elements with cols() adjacent ones in a
/// row and `row_stride` elements from one row to the next, so a column range of a wider matrix is a view too.
/// Copying a view copies no element; const-ness of the elements is T's.
template <typename T>
class TensorView {
 public:
  /// The type of an element.
  using Value = std::remove_const_t<T>;
  /// What matrix() shows.
  using Matrix = Eigen::Matrix<Value, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  /// Unaligned on purpose: the alignment Eigen would assume depends on the including program's compiler flags.
  using Map =
      Eigen::Map<std::conditional_t<std::is_const_v<T>, const Matrix, Matrix>, Eigen::Unaligned, Eigen::OuterStride<>>;

  TensorView() = default;
  /// Rows without gaps.
  TensorView(T* data, Shape shape) : TensorView(data, shape, shape.cols()) {}
  /// Rows that begin `row_stride` elements apart.
  TensorView(T* data, Shape shape, std::size_t row_stride) : data_(data), shape_(shape), row_stride_(row_stride) {}
  /// A view of mutable elements is a view of constant ones.
  operator TensorView<const T>() const requires(!std::is_const_v<T>) { return {data_, shape_, row_stride_}; }

  /// @{
  /// Where the elements are, and how they are laid out. size() counts elements, without gaps; row_stride() is the
  /// distance from one row to the next.
  T* data() const { return data_; }
  const Shape& shape() const { return shape_; }
  std::size_t size() const { return shape_.size(); }
  std::size_t rows() const { return shape_.rows(); }
  std::size_t cols() const { return shape_.cols(); }
  std::size_t row_stride() const { return row_stride_; }
  /// @}
  /// True when no gap lies between the rows.
  bool contiguous() const { return row_stride_ == cols() || rows() <= 1; }
  /// The first element of a row.
  T* row(std::size_t index) const { return data_ + index * row_stride_; }

  /// Rows [first, first + count) as a [count, cols] view.
  TensorView middle_rows(std::size_t first, std::size_t count) const {
    return {row(first), {count, cols()}, row_stride_};
  }
  /// Columns [first, first + count) as a [rows, count] view.
  TensorView middle_cols(std::size_t first, std::size_t count) const {
    return {rows() == 0 ? data_ : data_ + first, {rows(), count}, row_stride_};  // no rows: perhaps no memory either
  }

  /// The [rows, cols] Eigen view.
  Map matrix() const {
    using Index = Eigen::Index;
    return Map(data_, static_cast<Index>(rows()), static_cast<Index>(cols()),
               Eigen::OuterStride<>(static_cast<Index>(row_stride_)));
  }

 private:
  T* data_ = nullptr;
  Shape shape_{0};
  std::size_t row_stride_ = 0;
};

/// A tensor with its elements; copying copies them.
template <typename T>
class Tensor {
 public:
  Tensor() = default;
  /// Zero-filled.
  explicit Tensor(Shape shape) : shape_(shape), values_(shape.size()) {}
  /// Throws ShapeError unless `values` has as many elements as `shape`.
  Tensor(Shape shape, std::vector<T> values) : shape_(shape), values_(std::move(values)) {
    if (values_.size() != shape_.size()) {
      throw ShapeError("tensor: expected " + std::to_string(shape_.size()) + " values for shape " + to_string(shape_) +
                       ", got " + std::to_string(values_.size()));
    }
  }

  /// A copy of elements that lie without gaps.
  Tensor(Shape shape, const T* data) : shape_(shape), values_(data, data + shape.size()) {}

  /// @{
  /// The elements without gaps, last dimension fastest, and how many there are.
  T* data() { return values_.data(); }
  const T* data() const { return values_.data(); }
  const Shape& shape() const { return shape_; }
  std::size_t size() const { return values_.size(); }
  bool empty() const { return values_.empty(); }
  T& operator[](std::size_t index) { return values_[index]; }
  const T& operator[](std::size_t index) const { return values_[index]; }
  const std::vector<T>& values() const { return values_; }
  /// @}

  /// @{
  /// All of it; valid as long as the tensor and its size.
  TensorView<T> view() { return {values_.data(), shape_}; }
  TensorView<const T> view() const { return {values_.data(), shape_}; }
  operator TensorView<T>() { return view(); }
  operator TensorView<const T>() const { return view(); }
  /// @}

 private:
  Shape shape_{0};
  std::vector<T> values_;
};

}  // namespace bertgen
