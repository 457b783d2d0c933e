// What a decoder remembers between steps.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "bertgen/core/tensor.hpp"
#include "bertgen/ops/attention.hpp"

namespace bertgen {

/// Keys and values of a decoder (Hugging Face's EncoderDecoderCache). Self-attention: each token of each row has a slot
/// that holds its keys and values of every layer; a row is the list of its tokens' slots. Rows that continue the same
/// row share slots, so a beam reorder copies lists of numbers, never keys or values. Cross-attention: computed once a
/// source, shared by all rows of that source. Not thread-safe; belongs to one generation.
template <typename T>
class EncoderDecoderCache {
 public:
  /// Starts with `rows` rows. Memory is reserved for `most_rows` rows of `max_length` tokens, and taken from the system
  /// as it is used. When it is full, what no row has any more is given out again, or it grows.
  EncoderDecoderCache(std::size_t layers, std::size_t hidden, std::size_t rows, std::size_t most_rows,
                      std::size_t max_length)
      : hidden_(hidden),
        capacity_(most_rows * max_length),
        self_(layers),
        cross_(layers),
        slots_(rows),
        next_slots_(rows),
        positions_(rows),
        sources_(rows) {
    for (std::vector<std::int32_t>& slots : slots_) slots.reserve(max_length);
    std::iota(sources_.begin(), sources_.end(), std::size_t{0});
    for (std::unique_ptr<T[]>& memory : self_) memory = allocate(capacity_);
  }

  std::size_t rows() const { return slots_.size(); }
  std::size_t layers() const { return self_.size(); }
  /// Positions that row has passed, hidden ones included: past_length.
  std::size_t length(std::size_t row) const { return positions_[row]; }
  /// Which source row attends to.
  std::size_t source(std::size_t row) const { return sources_[row]; }

  /// Makes room for new tokens: row r gets those at [offsets[r], offsets[r + 1]) of the packed new tokens. A token
  /// whose `mask` is 0 (mask empty: none) is hidden from all queries. `causal`: a query sees no token after it. Sets
  /// what self_groups() and cross_groups() answer until the next call.
  void append(std::span<const std::size_t> offsets, std::span<const std::uint8_t> mask, bool causal) {
    if (offsets.size() != rows() + 1) {
      throw ShapeError("cache: expected tokens for " + std::to_string(rows()) + " rows, got " +
                       std::to_string(offsets.size() - 1));
    }
    const std::size_t tokens = offsets.back();
    if (used_ + tokens > capacity_) make_room(tokens);
    first_new_ = used_;
    used_ += tokens;
    visible_.resize(tokens);
    self_groups_.clear();
    if (places_.empty() && std::find(mask.begin(), mask.end(), 0) != mask.end()) begin_places();
    for (std::size_t row = 0; row < rows(); ++row) {
      std::vector<std::int32_t>& slots = slots_[row];
      for (std::size_t token = offsets[row]; token < offsets[row + 1]; ++token) {
        if (mask.empty() || mask[token] != 0) {
          slots.push_back(static_cast<std::int32_t>(first_new_ + token));
          if (!places_.empty()) {
            places_[row].push_back(static_cast<std::int32_t>(positions_[row] + token - offsets[row]));
          }
        }
        visible_[token] = static_cast<std::int32_t>(slots.size());
      }
      positions_[row] += offsets[row + 1] - offsets[row];
      self_groups_.push_back({offsets[row], offsets[row + 1] - offsets[row], 0, slots.size(), slots.data(),
                              causal ? visible_.data() + offsets[row] : nullptr});
    }
    group_sources(offsets);
  }

  /// Row i continues what was row parents[i]; rows that nobody continues are forgotten.
  void reorder(std::span<const std::size_t> parents) {
    next_slots_.resize(parents.size());
    next_positions_.clear();
    next_sources_.clear();
    for (std::size_t row = 0; row < parents.size(); ++row) {
      const std::size_t parent = parents[row];
      next_slots_[row].reserve(slots_[parent].capacity());
      next_slots_[row].assign(slots_[parent].begin(), slots_[parent].end());
      next_positions_.push_back(positions_[parent]);
      next_sources_.push_back(sources_[parent]);
    }
    slots_.swap(next_slots_);
    positions_.swap(next_positions_);
    sources_.swap(next_sources_);
    if (places_.empty()) return;
    std::vector<Places> places;
    for (std::size_t parent : parents) places.push_back(places_[parent]);
    places_ = std::move(places);
  }

  /// Row r forgets its last counts[r] tokens, none of which may be hidden.
  void drop_last(std::span<const std::size_t> counts) {
    for (std::size_t row = 0; row < rows(); ++row) {
      slots_[row].resize(slots_[row].size() - counts[row]);
      positions_[row] -= counts[row];
      if (!places_.empty()) places_[row].resize(slots_[row].size());
    }
  }

  /// The [new tokens, 2 · hidden] keys | values of a layer for the tokens that append() made room for.
  TensorView<T> new_self(std::size_t layer, std::size_t tokens) {
    return {self_[layer].get() + first_new_ * 2 * hidden_, {tokens, 2 * hidden_}};
  }
  /// All [slots, 2 · hidden] keys | values of a layer.
  TensorView<const T> self(std::size_t layer) const { return {self_[layer].get(), {used_, 2 * hidden_}}; }
  std::span<const AttentionGroup> self_groups() const { return self_groups_; }
  /// A copy of a layer's keys | values of one row, [tokens that are not hidden, 2 · hidden]: Hugging Face's
  /// past_key_values.
  Tensor<T> key_values(std::size_t layer, std::size_t row) const {
    Tensor<T> copy({slots_[row].size(), 2 * hidden_});
    for (std::size_t i = 0; i < slots_[row].size(); ++i) {
      std::copy_n(self(layer).row(static_cast<std::size_t>(slots_[row][i])), 2 * hidden_, copy.view().row(i));
    }
    return copy;
  }
  /// The last append()'s groups, one a row, with the positions of their keys.
  std::vector<AttentionRows> self_rows() const {
    std::vector<AttentionRows> rows;
    for (std::size_t row = 0; row < this->rows(); ++row) {
      rows.push_back({self_groups_[row], positions_[row], places_.empty() ? Places{} : places_[row]});
    }
    return rows;
  }

  /// Sets where each source's rows lie in the packed encoder states: source s at [offsets[s], offsets[s + 1]). At
  /// first, row r attends to source r. `keys`, of one list a source, hides what they leave out; empty: all visible.
  void set_sources(std::vector<std::size_t> offsets, std::vector<std::vector<std::int32_t>> keys) {
    source_offsets_ = std::move(offsets);
    source_keys_ = std::move(keys);
    first_new_source_row_ = 0;
    for (Tensor<T>& states : cross_) states = Tensor<T>({source_offsets_.back(), 2 * hidden_});
  }
  /// Adds sources behind those that there are, all of them visible, source s with offsets[s + 1] - offsets[s] rows, and
  /// for each a new row that attends to it. Sources that no row has any more make room.
  void append_sources(std::span<const std::size_t> offsets) {
    forget_sources();
    if (source_offsets_.empty()) source_offsets_.push_back(0);
    first_new_source_row_ = source_offsets_.back();
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
      sources_.push_back(source_offsets_.size() - 1);
      source_offsets_.push_back(first_new_source_row_ + offsets[s + 1]);
      slots_.emplace_back();
      positions_.push_back(0);
      if (!places_.empty()) places_.emplace_back();
    }
    for (Tensor<T>& states : cross_) {
      if (source_offsets_.back() * 2 * hidden_ <= states.size()) continue;
      Tensor<T> larger({2 * source_offsets_.back(), 2 * hidden_});
      std::copy(states.values().begin(), states.values().end(), larger.data());
      states = std::move(larger);
    }
  }
  /// [source rows, 2 · hidden] keys | values of a layer, perhaps with room behind them; empty without cross-attention.
  Tensor<T>& cross(std::size_t layer) { return cross_[layer]; }
  /// Those of the sources that came last.
  TensorView<T> new_cross(std::size_t layer) {
    return cross_[layer].view().middle_rows(first_new_source_row_, source_offsets_.back() - first_new_source_row_);
  }
  std::span<const AttentionGroup> cross_groups() const { return cross_groups_; }
  /// As self_rows(), for the tokens of these offsets; none without sources.
  std::vector<AttentionRows> cross_rows(std::span<const std::size_t> offsets) const {
    std::vector<AttentionRows> rows;
    for (std::size_t row = 0; row < this->rows() && !source_offsets_.empty(); ++row) {
      const AttentionGroup group = source_group(row, offsets);
      const std::size_t source = sources_[row];
      Places places;
      for (std::size_t key = 0; group.key_index != nullptr && key < group.key_count; ++key) {
        places.push_back(group.key_index[key] - static_cast<std::int32_t>(source_offsets_[source]));
      }
      rows.push_back({group, source_offsets_[source + 1] - source_offsets_[source], std::move(places)});
    }
    return rows;
  }

 private:
  using Places = std::vector<std::int32_t>;

  /// From now on some token is hidden, and places_ says which position each slot of a row has.
  void begin_places() {
    for (const std::vector<std::int32_t>& slots : slots_) {
      Places& places = places_.emplace_back(slots.size());
      std::iota(places.begin(), places.end(), 0);
    }
  }

  /// Moves the sources that rows have to the front, in their order, where they are less than half of all.
  void forget_sources() {
    std::vector<std::size_t> kept = sources_;
    std::sort(kept.begin(), kept.end());
    kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
    std::size_t rows = 0;
    for (std::size_t source : kept) rows += source_offsets_[source + 1] - source_offsets_[source];
    if (source_offsets_.empty() || 2 * rows >= source_offsets_.back()) return;
    std::vector<std::size_t> offsets = {0};
    for (std::size_t source : kept) {
      const std::size_t begin = source_offsets_[source];
      const std::size_t count = source_offsets_[source + 1] - begin;
      for (Tensor<T>& states : cross_) {
        std::copy_n(states.data() + begin * 2 * hidden_, count * 2 * hidden_,
                    states.data() + offsets.back() * 2 * hidden_);
      }
      offsets.push_back(offsets.back() + count);
    }
    for (std::size_t& source : sources_) {
      source = static_cast<std::size_t>(std::lower_bound(kept.begin(), kept.end(), source) - kept.begin());
    }
    source_offsets_ = std::move(offsets);
  }

  /// A row's tokens and the source that they attend to.
  AttentionGroup source_group(std::size_t row, std::span<const std::size_t> offsets) const {
    const std::size_t source = sources_[row];
    AttentionGroup group{offsets[row],
                         offsets[row + 1] - offsets[row],
                         source_offsets_[source],
                         source_offsets_[source + 1] - source_offsets_[source],
                         nullptr,
                         nullptr};
    if (!source_keys_.empty()) {
      group.key_index = source_keys_[source].data();
      group.key_count = source_keys_[source].size();
    }
    return group;
  }

  /// Neighbouring rows with the same source are one group: its keys are read once for all of them.
  void group_sources(std::span<const std::size_t> offsets) {
    cross_groups_.clear();
    if (source_offsets_.empty()) return;
    for (std::size_t row = 0; row < rows(); ++row) {
      if (row > 0 && sources_[row] == sources_[row - 1]) {
        cross_groups_.back().query_count += offsets[row + 1] - offsets[row];
      } else {
        cross_groups_.push_back(source_group(row, offsets));
      }
    }
  }

  /// Uninitialised, so that reserved slots cost no memory before they are written.
  std::unique_ptr<T[]> allocate(std::size_t slots) const { return std::unique_ptr<T[]>(new T[slots * 2 * hidden_]); }

  /// Room for `tokens` more: where slots are that no row has any more, or in new memory if they are less than half.
  void make_room(std::size_t tokens) {
    compact();
    if (2 * (used_ + tokens) > capacity_) grow(std::max(used_ + tokens, 2 * capacity_));
  }

  /// Moves the slots that rows have to the front, in their order.
  void compact() {
    std::vector<std::int32_t> moved(used_, -1);  // old slot -> new
    for (const std::vector<std::int32_t>& slots : slots_) {
      for (std::int32_t slot : slots) moved[static_cast<std::size_t>(slot)] = 0;
    }
    std::size_t kept = 0;
    for (std::size_t slot = 0; slot < used_; ++slot) {
      if (moved[slot] < 0) continue;
      for (std::unique_ptr<T[]>& memory : self_) {
        if (kept < slot) std::copy_n(&memory[slot * 2 * hidden_], 2 * hidden_, &memory[kept * 2 * hidden_]);
      }
      moved[slot] = static_cast<std::int32_t>(kept++);
    }
    for (std::vector<std::int32_t>& slots : slots_) {
      for (std::int32_t& slot : slots) slot = moved[static_cast<std::size_t>(slot)];
    }
    used_ = kept;
  }

  void grow(std::size_t capacity) {
    for (std::unique_ptr<T[]>& memory : self_) {
      std::unique_ptr<T[]> larger = allocate(capacity);
      std::copy_n(memory.get(), used_ * 2 * hidden_, larger.get());
      memory = std::move(larger);
    }
    capacity_ = capacity;
  }

  std::size_t hidden_;
  std::size_t capacity_;                    ///< slots there is memory for
  std::size_t used_ = 0;                    ///< slots given out
  std::size_t first_new_ = 0;               ///< the first slot of the last append()
  std::vector<std::unique_ptr<T[]>> self_;  // layer -> [capacity, 2 · hidden]
  std::vector<Tensor<T>> cross_;            // layer -> [source rows, 2 · hidden]
  std::vector<std::size_t> source_offsets_;
  std::size_t first_new_source_row_ = 0;
  std::vector<std::vector<std::int32_t>> source_keys_;
  // One entry a row, and the buffers that reorder() swaps them with.
  std::vector<std::vector<std::int32_t>> slots_, next_slots_;
  std::vector<std::size_t> positions_, next_positions_;
  std::vector<std::size_t> sources_, next_sources_;
  std::vector<Places> places_;  ///< row -> positions of its slots; empty while none is hidden
  // What the last append() set.
  std::vector<std::int32_t> visible_;
  std::vector<AttentionGroup> self_groups_;
  std::vector<AttentionGroup> cross_groups_;
};

}  // namespace bertgen
