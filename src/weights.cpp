#include "bertgen/core/weights.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

namespace bertgen {

bool same_content(const StoredTensor& a, const StoredTensor& b) {
  if (a.dtype != b.dtype || a.shape != b.shape) return false;
  return a.data == b.data || std::equal(a.data, a.data + a.shape.size() * size_of(a.dtype), b.data);
}

void StoredTensor::release(std::size_t first, std::size_t count) const {
  if (!mapped || shape.size() == 0) return;
  static const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t row = shape.size() / shape.rows() * size_of(dtype);
  const std::byte* begin = data + first * row;
  // Whole pages alone: neighbours share the others.
  const std::size_t before = (page - reinterpret_cast<std::uintptr_t>(begin) % page) % page;
  if (count * row < before + page) return;
  const std::size_t bytes = (count * row - before) / page * page;
  madvise(const_cast<std::byte*>(begin) + before, bytes, MADV_DONTNEED);  // advice: it may fail
}

void Weights::add(std::string name, StoredTensor tensor) {
  const auto [position, inserted] = tensors_.emplace(std::move(name), std::move(tensor));
  if (!inserted) throw CheckpointError(position->first + ": stored twice (" + source_ + ")");
}

void Weights::add(NamedTensors tensors, const std::string& file) {
  for (const auto& [name, tensor] : tensors) {
    if (contains(name)) throw CheckpointError(file + ": " + name + ": expected a name that no other file has");
  }
  tensors_.merge(tensors);
}

const StoredTensor* Weights::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const StoredTensor& Weights::get(std::string_view name, const Shape& expected) const {
  const StoredTensor* tensor = find(name);
  if (tensor == nullptr) {
    throw CheckpointError(std::string(name) + ": expected a tensor of shape " + to_string(expected) + ", found none (" +
                          source_ + ")");
  }
  if (tensor->shape != expected) {
    throw CheckpointError(std::string(name) + ": expected " + to_string(expected) + ", got " +
                          to_string(tensor->shape) + " (" + source_ + ")");
  }
  if (!tensor->is_weight()) {
    throw CheckpointError(std::string(name) + ": expected one of F16, BF16, F32, F64, got " +
                          std::string(dtype_name(tensor->dtype)) + " (" + source_ + ")");
  }
  read_.emplace(name);
  return *tensor;
}

void Weights::ignore(std::string_view name) const { ignored_.emplace(name); }

NamedTensors Weights::read_under(std::string_view prefix) const {
  NamedTensors read;
  for (auto name = read_.lower_bound(prefix); name != read_.end() && name->compare(0, prefix.size(), prefix) == 0;
       ++name) {
    read.emplace(name->substr(prefix.size()), tensors_.find(*name)->second);
  }
  return read;
}

void Weights::require_all_used() const {
  constexpr std::size_t listed = 5;
  std::size_t unused = 0;
  std::string names;
  for (const auto& [name, tensor] : tensors_) {
    if (read_.count(name) + ignored_.count(name) != 0) continue;
    if (unused++ < listed) names += (names.empty() ? "" : ", ") + name + " " + to_string(tensor.shape);
  }
  if (unused == 0) return;
  if (unused > listed) names += ", …";
  throw CheckpointError("expected only tensors of the configured model, got " + std::to_string(unused) +
                        " others: " + names + " (" + source_ + ")");
}

WeightScope WeightScope::operator/(std::string_view child) const {
  WeightScope scope(*this);
  scope.prefix_ = path(child) + ".";
  return scope;
}

}  // namespace bertgen
