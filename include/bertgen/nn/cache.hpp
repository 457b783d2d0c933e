// What a decoder remembers between steps.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <new>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "bertgen/core/bfloat16.hpp"
#include "bertgen/core/export.hpp"
#include "bertgen/core/pages.hpp"
#include "bertgen/core/tensor.hpp"
#include "bertgen/ops/attention.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Keys and values of a decoder (Hugging Face's EncoderDecoderCache). Self-attention: each token of each row has a slot
/// that holds its keys and values of every layer; a row is the list of its tokens' slots. Rows that continue the same
/// row share slots, so a beam reorder copies lists of numbers, never keys or values. Cross-attention: computed once a
/// source, shared by all rows of that source. What throws leaves it as it was. Not thread-safe; belongs to one
/// generation.
template <typename T>
class EncoderDecoderCache {
 public:
  /// Starts with `rows` rows. Memory is reserved for `most_rows` rows of `max_length` tokens, and taken from the system
  /// as it is used. When it is full, what no row has any more is given out again, or it grows. Memory comes from `pool`
  /// and goes back to it, if there is one; it must outlive the cache. dtype: of keys and values, T's or, beside float,
  /// bf16. Throws ArgumentError for another.
  EncoderDecoderCache(std::size_t layers, std::size_t hidden, std::size_t rows, std::size_t most_rows,
                      std::size_t max_length, PagePool* pool = nullptr, DType dtype = dtype_of<T>)
      : hidden_(hidden),
        pool_(pool),
        dtype_(dtype),
        self_(layers),
        cross_(layers),
        slots_(rows),
        next_slots_(rows),
        positions_(rows),
        sources_(rows) {
    if (dtype != dtype_of<T> && (dtype != DType::bf16 || dtype_of<T> != DType::f32)) {
      throw ArgumentError("cache: expected keys and values of " + std::string(dtype_name(dtype_of<T>)) +
                          ", or of BF16 beside F32, got " + std::string(dtype_name(dtype)));
    }
    for (std::vector<std::int32_t>& slots : slots_) slots.reserve(max_length);
    std::iota(sources_.begin(), sources_.end(), std::size_t{0});
    for (std::size_t layer = 0; layer < layers; ++layer) {
      self_[layer] = allocate(most_rows * max_length, self_place(layer));
    }
    capacity_ = room_in(self_);
  }

  std::size_t rows() const { return slots_.size(); }   ///< sequences
  std::size_t layers() const { return self_.size(); }  ///< of the decoder
  DType dtype() const { return dtype_; }               ///< of keys and values
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
    if (places_.empty() && std::find(mask.begin(), mask.end(), 0) != mask.end()) begin_places();
    reserve(offsets);
    // From here on nothing throws.
    first_new_ = used_;
    used_ += tokens;
    visible_.resize(tokens);
    self_groups_.clear();
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

  /// Takes back the last append(): of a pass that failed, no row has tokens.
  void undo_append() noexcept {
    for (std::size_t row = 0; row < rows(); ++row) {
      std::vector<std::int32_t>& slots = slots_[row];
      while (!slots.empty() && static_cast<std::size_t>(slots.back()) >= first_new_) slots.pop_back();
      if (!places_.empty()) places_[row].resize(slots.size());
      positions_[row] -= self_groups_[row].query_count;
    }
    used_ = first_new_;
  }

  /// Row i continues what was row parents[i]; rows that nobody continues are forgotten.
  void reorder(std::span<const std::size_t> parents) {
    std::vector<Places> places;
    for (std::size_t parent : parents) {
      if (!places_.empty()) places.push_back(places_[parent]);
    }
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
    places_.swap(places);
  }

  /// Forgets all rows but the first `rows`, and the sources behind those that they attend to.
  void keep_rows(std::size_t rows) noexcept {
    slots_.resize(rows);
    positions_.resize(rows);
    sources_.resize(rows);
    if (!places_.empty()) places_.resize(rows);
    if (source_offsets_.empty()) return;
    const auto last = std::max_element(sources_.begin(), sources_.end());
    const std::size_t sources = last == sources_.end() ? 0 : *last + 1;
    source_offsets_.resize(sources + 1);
    if (!source_keys_.empty()) source_keys_.resize(sources);
  }

  /// Row r forgets its last counts[r] tokens, none of which may be hidden.
  void drop_last(std::span<const std::size_t> counts) {
    for (std::size_t row = 0; row < rows(); ++row) {
      slots_[row].resize(slots_[row].size() - counts[row]);
      positions_[row] -= counts[row];
      if (!places_.empty()) places_[row].resize(slots_[row].size());
    }
  }

  /// The [new tokens, 2 · hidden] keys | values of a layer for the tokens that append() made room for. V, here and
  /// below: the type of dtype(). Throws ArgumentError for another.
  template <typename V = T>
  TensorView<V> new_self(std::size_t layer, std::size_t tokens) {
    return rows_of<V>(self_[layer], first_new_, tokens);
  }
  /// All [slots, 2 · hidden] keys | values of a layer.
  template <typename V = T>
  TensorView<const V> self(std::size_t layer) const {
    return rows_of<V>(self_[layer], 0, used_);
  }
  /// Which keys each row's new tokens see; the same for all layers.
  std::span<const AttentionGroup> self_groups() const { return self_groups_; }
  /// A copy of a layer's keys | values of one row, [tokens that are not hidden, 2 · hidden]: Hugging Face's
  /// past_key_values.
  Tensor<T> key_values(std::size_t layer, std::size_t row) const {
    Tensor<T> copy({slots_[row].size(), 2 * hidden_});
    for (std::size_t i = 0; i < slots_[row].size(); ++i) {
      convert(dtype_, slot(self_[layer], static_cast<std::size_t>(slots_[row][i])), 2 * hidden_, copy.view().row(i));
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
    std::vector<Pages> memory(cross_.size());
    for (std::size_t layer = 0; layer < layers(); ++layer) {
      memory[layer] = allocate(offsets.back(), cross_place(layer));
    }
    cross_ = std::move(memory);
    cross_capacity_ = room_in(cross_);
    source_offsets_ = std::move(offsets);
    source_keys_ = std::move(keys);
    first_new_source_row_ = 0;
  }
  /// Adds sources behind those that there are, all of them visible, source s with offsets[s + 1] - offsets[s] rows, and
  /// for each a new row that attends to it. Sources that no row has any more make room.
  void append_sources(std::span<const std::size_t> offsets) {
    forget_sources();
    if (source_offsets_.empty()) source_offsets_.push_back(0);
    const std::size_t begin = source_offsets_.back();
    if (begin + offsets.back() > cross_capacity_) {
      const std::size_t capacity = 2 * (begin + offsets.back());
      for (std::size_t layer = 0; layer < layers(); ++layer) {
        move_to(capacity, begin, cross_[layer], cross_place(layer));
      }
      cross_capacity_ = room_in(cross_);
    }
    const std::size_t more = offsets.size() - 1;
    reserve_more(sources_, more);
    reserve_more(source_offsets_, more);
    reserve_more(slots_, more);
    reserve_more(positions_, more);
    if (!places_.empty()) reserve_more(places_, more);
    // From here on nothing throws.
    first_new_source_row_ = begin;
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
      sources_.push_back(source_offsets_.size() - 1);
      source_offsets_.push_back(first_new_source_row_ + offsets[s + 1]);
      slots_.emplace_back();
      positions_.push_back(0);
      if (!places_.empty()) places_.emplace_back();
    }
  }
  /// [source rows, 2 · hidden] keys | values of a layer; uninitialised at first, and empty without cross-attention.
  template <typename V = T>
  TensorView<const V> cross(std::size_t layer) const {
    return rows_of<V>(cross_[layer], 0, source_offsets_.empty() ? 0 : source_offsets_.back());
  }
  /// Those of the sources that came last.
  template <typename V = T>
  TensorView<V> new_cross(std::size_t layer) {
    return rows_of<V>(cross_[layer], first_new_source_row_, source_offsets_.back() - first_new_source_row_);
  }
  /// As self_groups(), for self's counterpart cross().
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
    std::vector<Places> all;
    for (const std::vector<std::int32_t>& slots : slots_) {
      Places& places = all.emplace_back(slots.size());
      std::iota(places.begin(), places.end(), 0);
    }
    places_ = std::move(all);
  }

  template <typename Value>
  static void reserve_more(std::vector<Value>& values, std::size_t more) {
    const std::size_t wanted = values.size() + more;
    if (wanted > values.capacity()) values.reserve(std::max(wanted, 2 * values.capacity()));
  }

  /// Takes the memory that append() needs for its lists.
  void reserve(std::span<const std::size_t> offsets) {
    visible_.reserve(offsets.back());
    self_groups_.reserve(rows());
    cross_groups_.reserve(rows());
    for (std::size_t row = 0; row < rows(); ++row) {
      const std::size_t more = offsets[row + 1] - offsets[row];
      reserve_more(slots_[row], more);
      if (!places_.empty()) reserve_more(places_[row], more);
    }
  }

  /// Moves the sources that rows have to the front, in their order, where they are less than half of all.
  void forget_sources() {
    if (source_offsets_.empty()) return;
    std::vector<std::size_t> kept = sources_;
    std::sort(kept.begin(), kept.end());
    kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
    std::size_t rows = 0;
    for (std::size_t source : kept) rows += source_offsets_[source + 1] - source_offsets_[source];
    if (2 * rows >= source_offsets_.back()) return;
    std::vector<std::size_t> offsets = {0};
    offsets.reserve(kept.size() + 1);  // from here on nothing throws
    for (std::size_t source : kept) {
      const std::size_t begin = source_offsets_[source];
      const std::size_t count = source_offsets_[source + 1] - begin;
      for (const Pages& memory : cross_) {
        std::copy_n(slot(memory, begin), count * slot_bytes(), slot(memory, offsets.back()));
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

  /// Reserved slots cost no memory before they are written. Little may be written of what is reserved, so huge pages
  /// serve large reservations alone, such as 32 rows of 64 tokens that are 512 wide, in bf16.
  Pages allocate(std::size_t slots, std::size_t place) const {
    constexpr std::size_t huge_from = std::size_t{4} << 20;
    if (slots > std::numeric_limits<std::size_t>::max() / slot_bytes()) throw std::bad_alloc();
    const std::size_t bytes = slots * slot_bytes();
    return pool_ == nullptr ? allocate_pages(bytes, huge_from) : pool_->allocate(place, bytes, huge_from);
  }
  static std::size_t self_place(std::size_t layer) { return 2 * layer; }
  static std::size_t cross_place(std::size_t layer) { return 2 * layer + 1; }
  std::size_t slot_bytes() const { return 2 * hidden_ * size_of(dtype_); }
  /// Slots that there is memory for in every layer. It may be more than was asked for: what an earlier cache had grown
  /// to need not grow again.
  std::size_t room_in(const std::vector<Pages>& layers) const {
    std::size_t bytes = std::numeric_limits<std::size_t>::max();
    for (const Pages& memory : layers) bytes = std::min(bytes, memory.get_deleter().size);
    return bytes / slot_bytes();
  }
  std::byte* slot(const Pages& memory, std::size_t index) const { return memory.get() + index * slot_bytes(); }
  /// [count, 2 · hidden]
  template <typename V>
  TensorView<V> rows_of(const Pages& memory, std::size_t first, std::size_t count) const {
    if (dtype_of<std::remove_const_t<V>> != dtype_) {
      throw ArgumentError("cache: expected " + std::string(dtype_name(dtype_)) +
                          " to look at its keys and values, got " +
                          std::string(dtype_name(dtype_of<std::remove_const_t<V>>)));
    }
    return {reinterpret_cast<V*>(slot(memory, first)), {count, 2 * hidden_}};
  }
  /// Memory of `capacity` slots with the first `kept` of what was in `memory`.
  void move_to(std::size_t capacity, std::size_t kept, Pages& memory, std::size_t place) const {
    Pages larger = allocate(capacity, place);
    if (kept != 0) std::copy_n(slot(memory, 0), kept * slot_bytes(), slot(larger, 0));
    memory = std::move(larger);
  }

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
    for (std::size_t old = 0; old < used_; ++old) {
      if (moved[old] < 0) continue;
      for (const Pages& memory : self_) {
        if (kept < old) std::copy_n(slot(memory, old), slot_bytes(), slot(memory, kept));
      }
      moved[old] = static_cast<std::int32_t>(kept++);
    }
    for (std::vector<std::int32_t>& slots : slots_) {
      for (std::int32_t& slot : slots) slot = moved[static_cast<std::size_t>(slot)];
    }
    used_ = kept;
  }

  void grow(std::size_t capacity) {
    for (std::size_t layer = 0; layer < layers(); ++layer) move_to(capacity, used_, self_[layer], self_place(layer));
    capacity_ = room_in(self_);
  }

  std::size_t hidden_;
  PagePool* pool_;
  DType dtype_;
  std::size_t capacity_ = 0;   ///< slots there is memory for
  std::size_t used_ = 0;       ///< slots given out
  std::size_t first_new_ = 0;  ///< the first slot of the last append()
  std::vector<Pages> self_;    // layer -> [capacity, 2 · hidden]
  std::vector<Pages> cross_;   // layer -> [cross_capacity_, 2 · hidden]
  std::size_t cross_capacity_ = 0;
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

/// Takes back the cache's last append(), unless keep() says that the pass over its tokens went well.
template <typename T>
class PendingTokens {
 public:
  explicit PendingTokens(EncoderDecoderCache<T>& cache) : cache_(&cache) {}  ///< right after append()
  PendingTokens(const PendingTokens&) = delete;
  PendingTokens& operator=(const PendingTokens&) = delete;
  ~PendingTokens() {
    if (cache_ != nullptr) cache_->undo_append();
  }
  void keep() { cache_ = nullptr; }  ///< the tokens

 private:
  EncoderDecoderCache<T>* cache_;
};

}  // namespace bertgen
