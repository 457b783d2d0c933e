// Rows of a stored table, looked up by index.
#pragma once

#include <cstdint>
#include <span>

#include "bertgen/core/export.hpp"
#include "bertgen/core/tensor.hpp"
#include "bertgen/core/weights.hpp"
#include "bertgen/core/workspace.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// y[i] += table[ids[i]]. The table [entries, hidden] stays in the type it is stored in and is widened row by row, so
/// only the rows in use are read. y: [ids, hidden]. `what` ("token id", "position") names the index in the
/// ArgumentError that an id outside the table throws, before anything is written.
template <typename T>
void add_embedding(const StoredTensor& table, std::span<const std::int32_t> ids, const char* what, TensorView<T> y,
                   Workspace& workspace) {
  const std::size_t entries = table.shape[0];
  const std::size_t hidden = table.shape[1];
  for (std::int32_t id : ids) {
    if (id < 0 || static_cast<std::size_t>(id) >= entries) {
      throw ArgumentError(std::string(what) + ": expected 0 to " + std::to_string(entries - 1) + ", got " +
                          std::to_string(id));
    }
  }
  Workspace::Scope scope(workspace);
  const auto row = scope.take<T>({1, hidden});
  for (std::size_t i = 0; i < ids.size(); ++i) {
    table.read_rows(static_cast<std::size_t>(ids[i]), 1, row.data());
    y.middle_rows(i, 1).matrix() += row.matrix();
  }
}

}  // namespace bertgen
