// Weights by name: what the layers are built from, wherever the bytes come from.
#pragma once

#include <cstddef>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bertgen/core/dtype.hpp"
#include "bertgen/core/export.hpp"
#include "bertgen/core/tensor.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// One stored tensor. `owner` keeps the bytes at `data` alive (usually a mapped file); they may be unaligned.
struct StoredTensor {
  /// @{
  /// Type, shape and bytes: `data` is shape.size() elements of `dtype`, row after row.
  DType dtype = DType::f32;
  Shape shape;
  const std::byte* data = nullptr;
  std::shared_ptr<const void> owner;
  /// @}
  /// Of an i8 matrix that stands for floating numbers: a float for each row, which its elements are multiples of. The
  /// tensor that holds them owns them.
  std::shared_ptr<const StoredTensor> scale = nullptr;
  bool mapped = false;  ///< in a map of a file, which the system can read again

  /// What the elements of an i8 matrix's row are multiples of.
  float row_scale(std::size_t row) const {
    float factor = 0;
    std::memcpy(&factor, scale->data + row * sizeof(float), sizeof(float));  // files do not align it
    return factor;
  }

  /// True if it stands for floating numbers.
  bool is_weight() const { return is_floating(dtype) || (dtype == DType::i8 && scale != nullptr); }

  /// Rows [first, first + count) as T, rows being those of shape.rows(). Throws ArgumentError unless is_weight().
  template <typename T>
  void read_rows(std::size_t first, std::size_t count, T* rows) const {
    const std::size_t cols = shape.cols();
    const std::byte* source = data + first * cols * size_of(dtype);
    if (scale == nullptr) return convert(dtype, source, count * cols, rows);
    for (std::size_t row = 0; row < count; ++row) {
      const auto factor = static_cast<T>(row_scale(first + row));
      for (std::size_t i = row * cols; i < (row + 1) * cols; ++i) {
        rows[i] = factor * static_cast<T>(static_cast<std::int8_t>(source[i]));
      }
    }
  }

  /// Gives back the memory that these rows take until they are next read, if they are mapped.
  void release(std::size_t first, std::size_t count) const;

  /// All elements as T. Throws as read_rows() does.
  template <typename T>
  Tensor<T> to() const {
    Tensor<T> tensor(shape);
    read_rows(0, shape.rows(), tensor.data());
    return tensor;
  }
};

/// Whether both have the same type, shape and bytes.
bool same_content(const StoredTensor& a, const StoredTensor& b);

/// Tensors by the names that they have in a file, in alphabetical order.
using NamedTensors = std::map<std::string, StoredTensor, std::less<>>;

/// The tensors of a checkpoint, with a record of which were used. Filled by a loader, read through WeightScope.
/// Reading is recorded, so a Weights belongs to one thread while a model is built from it.
class Weights {
 public:
  /// `source` names the tensors' origin in errors, usually the file's name.
  explicit Weights(std::string source = {}) : source_(std::move(source)) {}

  /// Throws CheckpointError if `name` is there already.
  void add(std::string name, StoredTensor tensor);
  /// Adds all tensors of a file, or none where it throws CheckpointError because a name is there already.
  void add(NamedTensors tensors, const std::string& file);
  bool contains(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }  ///< get() finds it
  /// The tensor; records that it was read. Throws CheckpointError naming what is missing, or both shapes if they
  /// differ, or the type if it is not a floating one.
  const StoredTensor& get(std::string_view name, const Shape& expected) const;
  /// The tensor, whatever its shape and type; does not record it.
  const StoredTensor* find(std::string_view name) const;
  /// Records that a tensor needs no reader (an ignorable buffer).
  void ignore(std::string_view name) const;
  /// Throws CheckpointError naming up to five tensors that nobody has read.
  void require_all_used() const;

  /// The tensors that get() has returned and whose names begin with `prefix`, without it.
  NamedTensors read_under(std::string_view prefix) const;

  /// What messages call the whole: the file or directory.
  const std::string& source() const { return source_; }
  /// All of them, by name.
  const NamedTensors& tensors() const { return tensors_; }

 private:
  std::string source_;
  NamedTensors tensors_;
  mutable std::set<std::string, std::less<>> read_;
  mutable std::set<std::string, std::less<>> ignored_;
};

/// Weights whose names begin with a prefix: `WeightScope(weights) / "encoder" / "layer" / 3` reads "encoder.layer.3.…".
/// Refers to the Weights it was made from.
class WeightScope {
 public:
  /// `prefix` is empty, or ends in a dot.
  WeightScope(const Weights& weights, std::string prefix = {})  // NOLINT: a whole checkpoint is a scope
      : weights_(&weights), prefix_(std::move(prefix)) {}

  /// @{
  /// The scope of a part: scope / "layer" / 3 has the names that begin with "layer.3.".
  WeightScope operator/(std::string_view child) const;
  WeightScope operator/(std::size_t index) const { return *this / std::to_string(index); }
  /// @}

  /// @{
  /// As Weights, for the name in this scope.
  bool contains(std::string_view name) const { return weights_->contains(path(name)); }
  const StoredTensor& get(std::string_view name, const Shape& expected) const {
    return weights_->get(path(name), expected);
  }
  /// @}
  /// The full name of `name` in this scope.
  std::string path(std::string_view name) const { return prefix_ + std::string(name); }
  const Weights& weights() const { return *weights_; }  ///< of which this is a part

 private:
  const Weights* weights_;
  std::string prefix_;
};

}  // namespace bertgen
