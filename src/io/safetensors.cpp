#include "bertgen/io/safetensors.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <tuple>
#include <vector>

#include "bertgen/core/error.hpp"
#include "bertgen/io/mapped_file.hpp"
#include "io/output_file.hpp"
#include "json.hpp"

namespace bertgen {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian and read in place");

constexpr std::uint64_t largest_header = 100'000'000;  // the reference implementation's limit

constexpr std::array all_dtypes = {DType::boolean, DType::u8,   DType::i8,  DType::u16, DType::i16,
                                   DType::f16,     DType::bf16, DType::u32, DType::i32, DType::f32,
                                   DType::u64,     DType::i64,  DType::f64};

/// One entry of the header, checked in itself.
struct Entry {
  std::string name;
  DType dtype;
  Shape shape;
  std::uint64_t begin;
  std::uint64_t end;
};

class Reader {
 public:
  Reader(const std::filesystem::path& path, FileAccess access)
      : path_(path.string()), file_(MappedFile::open(path, access)), bytes_(file_->bytes()) {}

  SafetensorsMetadata read(Weights& weights) {
    const Json header = parse_header();
    SafetensorsMetadata metadata;
    std::vector<Entry> entries;
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        metadata = parse_metadata(value);
      } else {
        entries.push_back(parse_entry(name, value));
      }
    }
    check_layout(entries);
    NamedTensors tensors;
    for (Entry& entry : entries) {
      tensors.emplace(std::move(entry.name), StoredTensor{.dtype = entry.dtype,
                                                          .shape = entry.shape,
                                                          .data = data_.data() + entry.begin,
                                                          .owner = file_,
                                                          .mapped = file_->access() == FileAccess::map});
    }
    weights.add(std::move(tensors), path_);
    return metadata;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw CheckpointError(path_ + ": " + what); }

  /// Also finds where the data begins.
  Json parse_header() {
    std::uint64_t length = 0;
    if (bytes_.size() < sizeof length) {
      fail("expected a safetensors file of at least 8 bytes, got " + std::to_string(bytes_.size()));
    }
    std::memcpy(&length, bytes_.data(), sizeof length);
    if (length > largest_header || length > bytes_.size() - sizeof length) {
      fail("expected a header within the file's " + std::to_string(bytes_.size()) + " bytes, got one of " +
           std::to_string(length) + " (truncated, or no safetensors file)");
    }
    data_ = bytes_.subspan(sizeof length + length);
    Json header;
    try {
      header = parse_json({reinterpret_cast<const char*>(bytes_.data() + sizeof length), length}, true);
    } catch (const JsonError& error) {
      fail(std::string("header: ") + error.what());
    }
    if (!header.is_object()) fail("header: expected an object, got " + excerpt(header));
    return header;
  }

  SafetensorsMetadata parse_metadata(const Json& value) const {
    if (!value.is_object()) fail("__metadata__: expected an object of strings, got " + excerpt(value));
    SafetensorsMetadata metadata;
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) fail("__metadata__." + key + ": expected a string, got " + excerpt(text));
      metadata[key] = text.get<std::string>();
    }
    return metadata;
  }

  Entry parse_entry(const std::string& name, const Json& value) const {
    const auto is_list_of_sizes = [](const Json& list) {
      return list.is_array() &&
             std::all_of(list.begin(), list.end(), [](const Json& n) { return n.is_number_unsigned(); });
    };
    if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() || !value.contains("shape") ||
        !is_list_of_sizes(value["shape"]) || !value.contains("data_offsets") ||
        !is_list_of_sizes(value["data_offsets"]) || value["data_offsets"].size() != 2) {
      fail(name + ": expected dtype, shape and two data_offsets, got " + excerpt(value));
    }
    const auto& type = value["dtype"].get_ref<const std::string&>();
    const auto dtype = std::find_if(all_dtypes.begin(), all_dtypes.end(),
                                    [&type](DType candidate) { return dtype_name(candidate) == type; });
    if (dtype == all_dtypes.end()) fail(name + ": expected a type this library knows, got \"" + type + "\"");
    if (value["shape"].size() > Shape::max_rank) {
      fail(name + ": expected at most 4 dimensions, got " + excerpt(value["shape"]));
    }
    const auto sizes = value["shape"].get<std::vector<std::uint64_t>>();
    std::uint64_t size = size_of(*dtype);
    for (std::uint64_t extent : sizes) {
      if (__builtin_mul_overflow(size, extent, &size))
        fail(name + ": its shape " + excerpt(value["shape"]) + " overflows");
    }
    Entry entry{name, *dtype, Shape(sizes.begin(), sizes.end()), value["data_offsets"][0].get<std::uint64_t>(),
                value["data_offsets"][1].get<std::uint64_t>()};
    if (entry.begin > entry.end || entry.end > data_.size()) {
      fail(name + ": expected data within the " + std::to_string(data_.size()) + " bytes after the header, got " +
           excerpt(value["data_offsets"]) + " (truncated?)");
    }
    if (entry.end - entry.begin != size) {
      fail(name + ": expected " + std::to_string(size) + " bytes for " + type + " " + to_string(entry.shape) +
           ", got " + std::to_string(entry.end - entry.begin));
    }
    return entry;
  }

  /// Tensors must follow one another from the first byte to the last, so that none overlap and nothing hides between.
  void check_layout(std::vector<Entry>& entries) const {
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
    });
    std::uint64_t expected = 0;
    for (const Entry& entry : entries) {
      if (entry.begin != expected) {
        fail(entry.name + ": expected its data at byte " + std::to_string(expected) + ", got " +
             std::to_string(entry.begin) + (entry.begin < expected ? " (overlap)" : " (gap)"));
      }
      expected = entry.end;
    }
    if (expected != data_.size()) {
      fail("expected tensors up to the end of the file, got " + std::to_string(data_.size() - expected) +
           " bytes more");
    }
  }

  std::string path_;
  std::shared_ptr<const MappedFile> file_;
  std::span<const std::byte> bytes_;
  std::span<const std::byte> data_;  // after the header
};

/// Types in the order of the reference implementation, which writes the last first.
constexpr std::array write_order = {DType::boolean, DType::u8,   DType::i8,  DType::i16, DType::u16,
                                    DType::f16,     DType::bf16, DType::i32, DType::u32, DType::f32,
                                    DType::f64,     DType::i64,  DType::u64};

/// One tensor to write.
struct Target {
  const std::string* name;
  const StoredTensor* tensor;
  DType dtype;

  std::size_t bytes() const { return tensor->shape.size() * size_of(dtype); }
};

std::string make_header(const std::vector<Target>& targets, const SafetensorsMetadata& metadata) {
  constexpr std::size_t alignment = 8;
  using Ordered = nlohmann::ordered_json;
  Ordered header = Ordered::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t begin = 0;
  for (const Target& target : targets) {
    const Shape& shape = target.tensor->shape;
    Ordered entry = {{"dtype", dtype_name(target.dtype)}};
    entry["shape"] = std::vector<std::size_t>(shape.begin(), shape.end());
    entry["data_offsets"] = {begin, begin + target.bytes()};
    if (*target.name == "__metadata__") throw ArgumentError("safetensors: no tensor can have the name __metadata__");
    header[*target.name] = std::move(entry);
    begin += target.bytes();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception&) {
    throw ArgumentError("safetensors: expected names in UTF-8, got another");
  }
  text.resize((text.size() + alignment - 1) / alignment * alignment, ' ');
  return text;
}

/// Writes the elements as the type `target` has, a piece at a time.
void write_elements(const Target& target, OutputFile& file) {
  constexpr std::size_t piece = std::size_t{1} << 16;
  const StoredTensor& tensor = *target.tensor;
  if (tensor.dtype == target.dtype) return file.write(tensor.data, target.bytes());
  std::vector<float> values(piece);
  std::vector<std::byte> rounded(piece * size_of(target.dtype));
  for (std::size_t first = 0; first < tensor.shape.size(); first += piece) {
    const std::size_t count = std::min(piece, tensor.shape.size() - first);
    convert(tensor.dtype, tensor.data + first * size_of(tensor.dtype), count, values.data());
    const std::size_t lost = narrow(values.data(), count, target.dtype, rounded.data());
    if (lost != count) {
      throw CheckpointError(*target.name + ": expected values that " + std::string(dtype_name(target.dtype)) +
                            " can hold, got " + std::to_string(values[lost]) + " at element " +
                            std::to_string(first + lost) + " (" + file.path().string() + ")");
    }
    file.write(rounded.data(), count * size_of(target.dtype));
  }
}

}  // namespace

SafetensorsMetadata read_safetensors(const std::filesystem::path& path, Weights& weights, FileAccess access) {
  return Reader(path, access).read(weights);
}

void write_safetensors(const std::filesystem::path& path,
                       const std::map<std::string, StoredTensor, std::less<>>& tensors,
                       const SafetensorsMetadata& metadata, std::optional<DType> dtype) {
  if (dtype && *dtype != DType::f32 && *dtype != DType::bf16 && *dtype != DType::f16) {
    throw ArgumentError("safetensors: expected to round to F32, BF16 or F16, got " + std::string(dtype_name(*dtype)));
  }
  std::vector<Target> targets;
  targets.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    targets.push_back({&name, &tensor, dtype && is_floating(tensor.dtype) ? *dtype : tensor.dtype});
  }
  std::stable_sort(targets.begin(), targets.end(), [](const Target& a, const Target& b) {
    const auto place = [](DType type) { return std::find(write_order.begin(), write_order.end(), type); };
    return place(a.dtype) > place(b.dtype);
  });
  const std::string header = make_header(targets, metadata);
  OutputFile file(path);
  const std::uint64_t length = header.size();
  file.write(&length, sizeof length);
  file.write(header.data(), header.size());
  for (const Target& target : targets) write_elements(target, file);
  file.commit();
}

}  // namespace bertgen
