#include "bertgen/io/torch_pickle.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "bertgen/core/error.hpp"
#include "bertgen/io/mapped_file.hpp"
#include "io/pickle.hpp"
#include "io/zip.hpp"

namespace bertgen {
namespace {

static_assert(std::endian::native == std::endian::little, "torch's files are little-endian and read in place");

constexpr std::string_view rebuild_tensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view rebuild_parameter = "torch._utils._rebuild_parameter";
constexpr std::string_view git_lfs = "version https://git-lfs";
constexpr std::uint64_t spare_copies = std::uint64_t{1} << 20;

/// What a pickle may name.
constexpr std::array<std::string_view, 12> globals = {
    rebuild_tensor,        rebuild_parameter,       "torch.FloatStorage", "torch.HalfStorage",
    "torch.DoubleStorage", "torch.BFloat16Storage", "torch.LongStorage",  "torch.IntStorage",
    "torch.ShortStorage",  "torch.CharStorage",     "torch.ByteStorage",  "torch.BoolStorage"};

std::optional<DType> dtype_of(std::string_view storage) {
  static constexpr std::pair<std::string_view, DType> types[] = {
      {"torch.FloatStorage", DType::f32},     {"torch.HalfStorage", DType::f16}, {"torch.DoubleStorage", DType::f64},
      {"torch.BFloat16Storage", DType::bf16}, {"torch.LongStorage", DType::i64}, {"torch.IntStorage", DType::i32},
      {"torch.ShortStorage", DType::i16},     {"torch.CharStorage", DType::i8},  {"torch.ByteStorage", DType::u8},
      {"torch.BoolStorage", DType::boolean}};
  for (const auto& [name, dtype] : types) {
    if (name == storage) return dtype;
  }
  return std::nullopt;
}

/// The memory that tensors lie in.
struct Storage {
  DType dtype = DType::f32;
  std::uint64_t size = 0;  ///< in elements
  std::span<const std::byte> bytes;
};
using Storages = std::map<std::string_view, Storage>;

/// A tensor as the pickle describes it.
struct Entry {
  std::string name;
  std::string_view storage;
  std::uint64_t offset = 0;  ///< in elements, like the strides
  Shape shape;
  std::array<std::uint64_t, Shape::max_rank> strides{};
};

/// Reads the tensors' descriptions out of a pickle.
class StateDict {
 public:
  /// `storage_arguments`: of a storage, 5 in archives and 6 in legacy files.
  StateDict(const Pickle& pickle, std::size_t storage_arguments, const std::string& where)
      : pickle_(pickle), storage_arguments_(storage_arguments), where_(where) {
    const Pickle::Value& root = pickle.root();
    if (root.kind != Kind::dict) fail("expected a dictionary of tensors, got " + describe(root));
    for (std::size_t i = 0; i < root.items.size(); i += 2) {
      const Pickle::Value& key = pickle[root.items[i]];
      if (key.kind != Kind::text) fail("expected the name of a tensor, got " + describe(key));
      name_ = key.text;
      entries_.push_back(read_tensor(pickle[root.items[i + 1]]));
    }
  }

  std::vector<Entry>& entries() { return entries_; }
  Storages& storages() { return storages_; }

 private:
  using Kind = Pickle::Kind;

  [[noreturn]] void fail(const std::string& what) const { throw CheckpointError(where_ + ": " + what); }
  [[noreturn]] void fail(const std::string& expected, const Pickle::Value& got) const {
    fail(std::string(name_) + ": expected " + expected + ", got " + describe(got));
  }

  /// The arguments of a call of `function`.
  const std::vector<Pickle::Index>& arguments_of(const Pickle::Value& call) const {
    return pickle_[call.items[1]].items;
  }
  std::string_view function_of(const Pickle::Value& call) const { return pickle_[call.items[0]].text; }

  std::uint64_t size(const Pickle::Value& value, const char* what) const {
    if (value.kind != Kind::integer || value.integer < 0) fail(std::string(what) + " of 0 or more", value);
    return static_cast<std::uint64_t>(value.integer);
  }

  /// The call that makes a tensor's value; a parameter is made from a tensor.
  Entry read_tensor(const Pickle::Value& value) {
    const Pickle::Value* call = &value;
    if (call->kind == Kind::call && function_of(*call) == rebuild_parameter) {
      const auto& arguments = arguments_of(*call);
      if (arguments.size() != 3) fail("a parameter made from 3 arguments", pickle_[call->items[1]]);
      expect_no_hooks(pickle_[arguments[2]]);
      call = &pickle_[arguments[0]];
    }
    if (call->kind != Kind::call || function_of(*call) != rebuild_tensor) fail("a tensor", *call);
    const auto& arguments = arguments_of(*call);
    if (arguments.size() != 6 && arguments.size() != 7) fail("a tensor made from 6 arguments", pickle_[call->items[1]]);
    expect_no_hooks(pickle_[arguments[5]]);
    // A seventh says that the values are to be negated or conjugated.
    if (arguments.size() == 7) {
      const Pickle::Value& metadata = pickle_[arguments[6]];
      const bool empty = metadata.kind == Kind::none || (metadata.kind == Kind::dict && metadata.items.empty());
      if (!empty) fail("a tensor without metadata", metadata);
    }
    Entry entry;
    entry.name = name_;
    entry.storage = read_storage(pickle_[arguments[0]]);
    entry.offset = size(pickle_[arguments[1]], "an offset");
    const Pickle::Value& extents = pickle_[arguments[2]];
    const Pickle::Value& strides = pickle_[arguments[3]];
    if (extents.kind != Kind::tuple) fail("a tuple of sizes", extents);
    if (strides.kind != Kind::tuple || strides.items.size() != extents.items.size()) {
      fail("a tuple of " + std::to_string(extents.items.size()) + " strides", strides);
    }
    if (extents.items.size() > Shape::max_rank) fail("at most 4 dimensions", extents);
    std::array<std::size_t, Shape::max_rank> sizes{};
    for (std::size_t i = 0; i < extents.items.size(); ++i) {
      sizes[i] = size(pickle_[extents.items[i]], "a size");
      entry.strides[i] = size(pickle_[strides.items[i]], "a stride");
    }
    entry.shape = Shape(sizes.begin(), sizes.begin() + static_cast<std::ptrdiff_t>(extents.items.size()));
    return entry;
  }

  void expect_no_hooks(const Pickle::Value& hooks) const {
    if (hooks.kind != Kind::dict || !hooks.items.empty()) fail("a tensor without hooks", hooks);
  }

  /// Notes the storage that ("storage", its class, its key, a device, its size) stands for; returns its key.
  std::string_view read_storage(const Pickle::Value& value) {
    if (value.kind != Kind::persistent) fail("a storage", value);
    const Pickle::Value& id = pickle_[value.items[0]];
    if (id.kind != Kind::tuple || id.items.size() != storage_arguments_) {
      fail("a storage described by " + std::to_string(storage_arguments_) + " values", id);
    }
    const auto part = [&](std::size_t i) -> const Pickle::Value& { return pickle_[id.items[i]]; };
    if (part(0).kind != Kind::text || part(0).text != "storage") fail("a storage", part(0));
    const auto dtype = part(1).kind == Kind::global ? dtype_of(part(1).text) : std::nullopt;
    if (!dtype) fail("a storage's class", part(1));
    if (part(2).kind != Kind::text) fail("a storage's key", part(2));
    if (id.items.size() == 6 && part(5).kind != Kind::none) fail("a storage that is no view of another", part(5));
    const Storage storage{*dtype, size(part(4), "a storage's size"), {}};
    const auto [position, is_new] = storages_.emplace(part(2).text, storage);
    if (!is_new && (position->second.dtype != storage.dtype || position->second.size != storage.size)) {
      fail(std::string(name_) + ": expected one type and size of the storage " + quote(part(2).text) +
           ", got another than before");
    }
    return position->first;
  }

  const Pickle& pickle_;
  std::size_t storage_arguments_;
  const std::string& where_;
  std::string_view name_;  ///< of the tensor at work
  std::vector<Entry> entries_;
  Storages storages_;
};

class Reader {
 public:
  Reader(const std::filesystem::path& path, FileAccess access)
      : path_(path.string()), file_(MappedFile::open(path, access)), bytes_(file_->bytes()) {}

  TorchFormat read(Weights& weights) {
    const TorchFormat format = begins_with("PK") ? TorchFormat::zip : TorchFormat::legacy;
    weights.add(format == TorchFormat::zip ? read_archive() : read_legacy(), path_);
    return format;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw CheckpointError(path_ + ": " + what); }

  bool begins_with(std::string_view text) const {
    return bytes_.size() >= text.size() && std::memcmp(bytes_.data(), text.data(), text.size()) == 0;
  }

  NamedTensors read_archive() {
    const auto members = read_zip(bytes_, path_);
    // All members lie in one folder, whose name is that of the file as it was saved.
    std::string folder;
    for (const auto& [name, data] : members) {
      if (const auto slash = name.find('/'); slash != std::string::npos && name.substr(slash) == "/data.pkl") {
        if (!folder.empty()) fail("expected one data.pkl, got " + quote(folder + "data.pkl") + " and " + quote(name));
        folder = name.substr(0, slash + 1);
      }
    }
    if (folder.empty()) fail("expected a file of torch.save, got a zip archive without data.pkl");
    if (const auto order = members.find(folder + "byteorder"); order != members.end()) {
      const std::string_view name(reinterpret_cast<const char*>(order->second.data()), order->second.size());
      if (name != "little") fail("byteorder: expected \"little\", got " + quote(name));
    }
    const std::string where = path_ + ": data.pkl";
    const auto data = members.find(folder + "data.pkl")->second;
    const Pickle pickle(data, globals, where);
    if (pickle.size() != data.size()) fail("data.pkl: expected one pickle, got bytes after it");
    StateDict state(pickle, 5, where);
    for (auto& [key, storage] : state.storages()) {
      const auto member = members.find(folder + "data/" + std::string(key));
      if (member == members.end())
        fail("expected the storage " + quote(folder + "data/" + std::string(key)) + ", found none");
      storage.bytes = member->second;
      if (size_in_bytes(key, storage) != storage.bytes.size()) {
        fail("the storage " + quote(key) + ": expected " + std::to_string(size_in_bytes(key, storage)) + " bytes for " +
             std::to_string(storage.size) + " of " + std::string(dtype_name(storage.dtype)) + ", got " +
             std::to_string(storage.bytes.size()));
      }
    }
    return build(state);
  }

  /// Five pickles – a magic number, the version, the machine, the dictionary, the storages' keys – and the storages.
  NamedTensors read_legacy() {
    if (begins_with(git_lfs)) fail("expected a file of torch.save, got a pointer of Git LFS: the file was not fetched");
    constexpr std::string_view magic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
    constexpr std::int64_t version = 1001;
    constexpr std::string_view not_saved = "expected a file of torch.save, got one that begins otherwise";
    if (bytes_.empty() || std::to_integer<int>(bytes_[0]) != 0x80) fail(std::string(not_saved));
    std::size_t place = 0;
    const auto next = [&](const char* what) {
      Pickle pickle(bytes_.subspan(place), globals, path_ + ": " + what);
      place += pickle.size();
      return pickle;
    };
    const Pickle first = next("the magic number");
    if (first.root().kind != Pickle::Kind::big || first.root().text != magic) fail(std::string(not_saved));
    const Pickle second = next("the version");
    if (second.root().kind != Pickle::Kind::integer || second.root().integer != version) {
      fail("the version: expected 1001, got " + describe(second.root()));
    }
    expect_little_endian(next("the machine"));
    const std::string where = path_ + ": the tensors";
    const Pickle pickle = next("the tensors");
    StateDict state(pickle, 6, where);
    const Pickle keys = next("the storages' keys");
    locate_storages(keys, place, state.storages());
    return build(state);
  }

  void expect_little_endian(const Pickle& machine) const {
    const auto& items = machine.root().items;
    if (machine.root().kind != Pickle::Kind::dict) {
      fail("the machine: expected a dictionary, got " + describe(machine.root()));
    }
    for (std::size_t i = 0; i < items.size(); i += 2) {
      const Pickle::Value& key = machine[items[i]];
      const Pickle::Value& value = machine[items[i + 1]];
      if (key.kind != Pickle::Kind::text || key.text != "little_endian") continue;
      if (value.kind == Pickle::Kind::boolean && value.integer != 0) return;
      fail("the machine: expected little_endian True, got " + describe(value));
    }
    fail("the machine: expected little_endian, found none");
  }

  /// Each storage is its number of elements in 8 bytes and its elements, in the order of the keys, to the file's end.
  void locate_storages(const Pickle& keys, std::size_t place, Storages& storages) const {
    if (keys.root().kind != Pickle::Kind::list) {
      fail("the storages' keys: expected a list, got " + describe(keys.root()));
    }
    std::size_t found = 0;
    for (Pickle::Index index : keys.root().items) {
      const Pickle::Value& key = keys[index];
      const auto position = key.kind == Pickle::Kind::text ? storages.find(key.text) : storages.end();
      if (position == storages.end()) fail("the storages' keys: expected one that a tensor has, got " + describe(key));
      Storage& storage = position->second;
      if (storage.bytes.data() != nullptr)
        fail("the storages' keys: expected each once, got " + describe(key) + " twice");
      std::uint64_t elements = 0;
      const std::uint64_t size = size_in_bytes(key.text, storage);
      const std::size_t left = bytes_.size() - place;
      if (left >= sizeof elements) std::memcpy(&elements, bytes_.data() + place, sizeof elements);
      if (left < sizeof elements || (elements == storage.size && left - sizeof elements < size)) {
        fail("the storage " + quote(key.text) + ": expected " + std::to_string(size) + " bytes and their number, got " +
             std::to_string(left) + " to the end of the file (truncated?)");
      }
      if (elements != storage.size) {
        fail("the storage " + quote(key.text) + ": expected " + std::to_string(storage.size) + " elements, got " +
             std::to_string(elements));
      }
      storage.bytes = bytes_.subspan(place + sizeof elements, size);
      place += sizeof elements + size;
      ++found;
    }
    if (found != storages.size()) {
      fail("expected " + std::to_string(storages.size()) + " storages, got " + std::to_string(found));
    }
    if (place != bytes_.size()) {
      fail("expected storages up to the end of the file, got " + std::to_string(bytes_.size() - place) + " bytes more");
    }
  }

  std::uint64_t size_in_bytes(std::string_view key, const Storage& storage) const {
    std::uint64_t size = 0;
    if (__builtin_mul_overflow(storage.size, size_of(storage.dtype), &size)) {
      fail("the storage " + quote(key) + ": its size of " + std::to_string(storage.size) + " elements overflows");
    }
    return size;
  }

  NamedTensors build(StateDict& state) {
    NamedTensors tensors;
    for (Entry& entry : state.entries()) {
      StoredTensor tensor = place(entry, state.storages().at(entry.storage));
      const auto [position, is_new] = tensors.emplace(std::move(entry.name), std::move(tensor));
      if (!is_new) fail(position->first + ": expected it once, got it twice");
    }
    return tensors;
  }

  StoredTensor place(const Entry& entry, const Storage& storage) {
    const std::size_t width = size_of(storage.dtype);
    const bool empty = std::find(entry.shape.begin(), entry.shape.end(), 0u) != entry.shape.end();
    if (empty) return {storage.dtype, entry.shape, storage.bytes.data(), file_};
    // The last element's place, and whether elements follow one another.
    std::uint64_t last = entry.offset;
    std::uint64_t count = 1;
    bool overflows = false;
    bool adjacent = true;
    for (std::size_t i = entry.shape.rank(); i-- > 0;) {
      std::uint64_t distance = 0;
      overflows |= __builtin_mul_overflow(entry.shape[i] - 1, entry.strides[i], &distance);
      overflows |= __builtin_add_overflow(last, distance, &last);
      adjacent = adjacent && (entry.shape[i] == 1 || entry.strides[i] == count);
      overflows |= __builtin_mul_overflow(count, entry.shape[i], &count);
    }
    if (overflows || last >= storage.size) {
      fail(entry.name + ": expected " + to_string(entry.shape) + " within a storage of " +
           std::to_string(storage.size) + " elements, got element " +
           (overflows ? "2^64 or later" : std::to_string(last)));
    }
    const std::byte* first = storage.bytes.data() + entry.offset * width;
    if (adjacent) {
      return {.dtype = storage.dtype,
              .shape = entry.shape,
              .data = first,
              .owner = file_,
              .mapped = file_->access() == FileAccess::map};
    }
    // Strides of zero make a tensor of any size from little; files of models do not have them.
    std::uint64_t size = 0;
    overflows = __builtin_mul_overflow(count, width, &size) || __builtin_add_overflow(copied_, size, &copied_);
    if (overflows || copied_ > bytes_.size() + spare_copies) {
      fail(entry.name + ": expected copies of elements that lie apart to be no larger than the file, got " +
           to_string(entry.shape));
    }
    auto copy = std::make_shared<std::vector<std::byte>>(size);
    copy_elements(entry, width, first, copy->data());
    const std::byte* data = copy->data();
    return {storage.dtype, entry.shape, data, std::move(copy)};
  }

  static void copy_elements(const Entry& entry, std::size_t width, const std::byte* from, std::byte* to) {
    std::array<std::size_t, Shape::max_rank> at{};
    const std::size_t count = entry.shape.size();
    for (std::size_t n = 0; n < count; ++n) {
      std::uint64_t offset = 0;
      for (std::size_t i = 0; i < entry.shape.rank(); ++i) offset += at[i] * entry.strides[i];
      std::memcpy(to + n * width, from + offset * width, width);
      for (std::size_t i = entry.shape.rank(); i-- > 0;) {
        if (++at[i] < entry.shape[i]) break;
        at[i] = 0;
      }
    }
  }

  std::string path_;
  std::shared_ptr<const MappedFile> file_;
  std::span<const std::byte> bytes_;
  std::uint64_t copied_ = 0;  ///< bytes of tensors that do not lie in the map
};

}  // namespace

TorchFormat read_torch_pickle(const std::filesystem::path& path, Weights& weights, FileAccess access) {
  return Reader(path, access).read(weights);
}

}  // namespace bertgen
