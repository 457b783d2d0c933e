// Files of torch.save made by hand: zip archives and pickles, right or wrong in any place.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "support/files.hpp"

namespace bertgen::test {

/// `value` in `bytes` little-endian bytes.
inline std::string number(std::uint64_t value, std::size_t bytes) { return little_endian(value).substr(0, bytes); }

/// One member of an archive, and what its headers say of it.
struct ZipMember {
  std::string name = {};
  std::string data = {};
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
  std::int64_t size_error = 0;        ///< added to both sizes in the directory
  std::int64_t local_size_error = 0;  ///< added to both sizes in the member's own header
  std::int64_t offset_error = 0;      ///< added to its place
  std::string local_name = {};        ///< in its own header; empty: its name
  bool descriptor = false;            ///< its sizes follow its data, and are not in its own header
  bool wide = false;                  ///< its sizes and place are 64-bit values in the extra field
};

/// A zip archive. `wide_end`: with end records of 64 bits, as torch writes them.
inline std::string zip(const std::vector<ZipMember>& members, bool wide_end = true) {
  std::string file;
  std::string directory;
  for (const ZipMember& member : members) {
    const std::uint64_t begin = file.size() + static_cast<std::uint64_t>(member.offset_error);
    const std::uint64_t local = member.data.size() + static_cast<std::uint64_t>(member.local_size_error);
    const std::uint64_t size = member.data.size() + static_cast<std::uint64_t>(member.size_error);
    const std::string& local_name = member.local_name.empty() ? member.name : member.local_name;
    const std::string flags = number(member.flags | (member.descriptor ? 8u : 0u), 2) + number(member.method, 2);
    const std::uint64_t all = 0xffffffff;
    const std::uint64_t in_header = member.descriptor ? 0 : member.wide ? all : local;
    const std::string local_extra =
        member.wide && !member.descriptor ? number(1, 2) + number(16, 2) + number(local, 8) + number(local, 8) : "";
    file += "PK\x03\x04" + number(20, 2) + flags + number(0, 8) + number(in_header, 4) + number(in_header, 4) +
            number(local_name.size(), 2) + number(local_extra.size(), 2) + local_name + local_extra + member.data;
    if (member.descriptor) {
      file += "PK\x07\x08" + number(0, 4) + number(local, member.wide ? 8 : 4) + number(local, member.wide ? 8 : 4);
    }
    const std::string extra =
        member.wide ? number(1, 2) + number(24, 2) + number(size, 8) + number(size, 8) + number(begin, 8) : "";
    directory += "PK\x01\x02" + number(20, 2) + number(20, 2) + flags + number(0, 8) +
                 number(member.wide ? all : size, 4) + number(member.wide ? all : size, 4) +
                 number(member.name.size(), 2) + number(extra.size(), 2) + number(0, 2) + number(0, 2) + number(0, 2) +
                 number(0, 4) + number(member.wide ? all : begin, 4) + member.name + extra;
  }
  const std::uint64_t begin = file.size();
  file += directory;
  const std::uint64_t end = file.size();
  if (wide_end) {
    file += "PK\x06\x06" + number(44, 8) + number(45, 2) + number(45, 2) + number(0, 8) + number(members.size(), 8) +
            number(members.size(), 8) + number(directory.size(), 8) + number(begin, 8) + "PK\x06\x07" + number(0, 4) +
            number(end, 8) + number(1, 4);
  }
  return file + "PK\x05\x06" + number(0, 4) + number(members.size(), 2) + number(members.size(), 2) +
         number(directory.size(), 4) + number(wide_end ? 0xffffffff : begin, 4) + number(0, 2);
}

/// Parts of a pickle of protocol 2.
inline std::string joined(std::initializer_list<std::string_view> parts) {
  std::string whole;
  for (std::string_view part : parts) whole += part;
  return whole;
}
inline std::string text(std::string_view value) { return joined({"X", number(value.size(), 4), value}); }
inline std::string integer(std::int64_t value) {
  return joined({"\x8a\x08", number(static_cast<std::uint64_t>(value), 8)});
}
inline std::string global(std::string_view module, std::string_view name) {
  return joined({"c", module, "\n", name, "\n"});
}
inline std::string tuple(const std::vector<std::string>& items) {
  std::string code = "(";
  for (const std::string& item : items) code += item;
  return code += "t";
}
inline std::string integers(const std::vector<std::int64_t>& values) {
  std::vector<std::string> items;
  for (std::int64_t value : values) items.push_back(integer(value));
  return tuple(items);
}
inline std::string pickle(std::string_view code) { return joined({"\x80\x02", code, "."}); }

/// A tensor in a pickle, in an archive's form.
struct TensorCode {
  std::int64_t offset = 0;
  std::vector<std::int64_t> sizes = {2, 3};
  std::vector<std::int64_t> strides = {3, 1};
  std::int64_t elements = 6;  ///< of the storage
  std::string key = "0";
  std::string type = "FloatStorage";
  std::string hooks = "}";
  std::string more = {};  ///< arguments behind the last

  std::string code() const {
    const std::string storage =
        tuple({text("storage"), global("torch", type), text(key), text("cpu"), integer(elements)});
    return global("torch._utils", "_rebuild_tensor_v2") +
           tuple({storage + "Q", integer(offset), integers(sizes), integers(strides), "\x89", hooks, more}) + "R";
  }
};

/// An archive of a dictionary's pickle and one storage of `bytes` bytes, 0, 1, 2, …
inline std::string torch_archive(const std::string& data_pickle, std::size_t bytes = 24) {
  std::string storage;
  for (std::size_t i = 0; i < bytes; ++i) storage += static_cast<char>(i);
  return zip({{"m/data.pkl", data_pickle}, {"m/byteorder", "little"}, {"m/data/0", storage}});
}
/// An archive of one tensor, "a".
inline std::string torch_archive(const TensorCode& tensor, std::size_t bytes = 24) {
  return torch_archive(pickle(joined({"}", text("a"), tensor.code(), "s"})), bytes);
}

}  // namespace bertgen::test
