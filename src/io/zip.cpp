#include "io/zip.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "bertgen/core/error.hpp"
#include "io/pickle.hpp"

namespace bertgen {
namespace {

// Signatures and fixed sizes of the parts, from PKWARE's APPNOTE.TXT; numbers are little-endian.
constexpr std::uint32_t local_signature = 0x04034b50;
constexpr std::uint32_t descriptor_signature = 0x08074b50;
constexpr std::uint32_t central_signature = 0x02014b50;
constexpr std::uint32_t end_signature = 0x06054b50;
constexpr std::uint32_t end64_signature = 0x06064b50;
constexpr std::uint32_t locator64_signature = 0x07064b50;
constexpr std::size_t local_size = 30;
constexpr std::size_t central_size = 46;
constexpr std::size_t end_size = 22;
constexpr std::size_t end64_size = 56;
constexpr std::size_t locator64_size = 20;
constexpr std::size_t longest_comment = 0xffff;
constexpr std::uint32_t in_extra32 = 0xffffffff;  // the value stands in the 64-bit extra field
constexpr std::uint16_t in_extra16 = 0xffff;
constexpr std::uint16_t extra64 = 1;
constexpr unsigned encrypted = 1u << 0;
constexpr unsigned described = 1u << 3;  // sizes follow the data
constexpr unsigned encrypted_directory = 1u << 13;

/// One entry of the central directory.
struct Entry {
  std::string name;
  unsigned flags = 0;
  std::uint32_t checksum = 0;
  std::uint64_t size = 0;
  std::uint64_t header = 0;  ///< offset of the member's own header
  std::uint64_t begin = 0;   ///< of its data
  std::uint64_t end = 0;     ///< of its data and descriptor
};

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  std::map<std::string, std::span<const std::byte>, std::less<>> read() {
    std::vector<Entry> entries = read_directory();
    for (Entry& entry : entries) locate(entry);
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.header < b.header; });
    std::map<std::string, std::span<const std::byte>, std::less<>> members;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const Entry& entry = entries[i];
      if (i + 1 < entries.size() && entry.end > entries[i + 1].header) {
        fail("the member " + quote(entry.name) + ": expected it to end before " + quote(entries[i + 1].name) +
             " begins, got an overlap");
      }
      if (!members.emplace(entry.name, bytes_.subspan(entry.begin, entry.size)).second) {
        fail("the member " + quote(entry.name) + ": expected each name once, got it twice");
      }
    }
    return members;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw CheckpointError(where_ + ": " + what); }
  [[noreturn]] void fail_truncated() const { fail("expected a whole zip archive, got one that is cut off or damaged"); }

  /// True if [offset, offset + count) lies before `end`.
  static bool within(std::uint64_t offset, std::uint64_t count, std::uint64_t end) {
    return offset <= end && count <= end - offset;
  }
  template <typename Number>
  Number number(std::uint64_t offset) const {
    if (!within(offset, sizeof(Number), bytes_.size())) fail_truncated();
    Number value{};
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
  }
  std::string text(std::uint64_t offset, std::uint64_t count) const {
    if (!within(offset, count, bytes_.size())) fail_truncated();
    return {reinterpret_cast<const char*>(bytes_.data() + offset), static_cast<std::size_t>(count)};
  }

  /// The end record is the last thing in the file but for a comment of at most 64 KB.
  std::uint64_t find_end() const {
    if (bytes_.size() < end_size) fail_truncated();
    const std::uint64_t last = bytes_.size() - end_size;
    for (std::uint64_t comment = 0; comment <= std::min<std::uint64_t>(last, longest_comment); ++comment) {
      const std::uint64_t place = last - comment;
      if (number<std::uint32_t>(place) == end_signature && number<std::uint16_t>(place + 20) == comment) return place;
    }
    fail_truncated();
  }

  std::vector<Entry> read_directory() {
    const std::uint64_t end = find_end();
    std::uint64_t count = number<std::uint16_t>(end + 10);
    std::uint64_t size = number<std::uint32_t>(end + 12);
    std::uint64_t begin = number<std::uint32_t>(end + 16);
    std::uint64_t directory_end = end;
    if (number<std::uint16_t>(end + 4) != 0 || number<std::uint16_t>(end + 6) != 0) {
      fail("expected an archive of one file, got a part of a split one");
    }
    if (end >= locator64_size && number<std::uint32_t>(end - locator64_size) == locator64_signature) {
      const auto end64 = number<std::uint64_t>(end - locator64_size + 8);
      if (!within(end64, end64_size, end - locator64_size) || number<std::uint32_t>(end64) != end64_signature) {
        fail_truncated();
      }
      const auto count64 = number<std::uint64_t>(end64 + 32);
      const auto size64 = number<std::uint64_t>(end64 + 40);
      const auto begin64 = number<std::uint64_t>(end64 + 48);
      if ((count != in_extra16 && count != count64) || (size != in_extra32 && size != size64) ||
          (begin != in_extra32 && begin != begin64)) {
        fail("expected the same directory in both end records, got two");
      }
      count = count64, size = size64, begin = begin64, directory_end = end64;
    }
    if (!within(begin, size, directory_end) || begin + size != directory_end || count > size / central_size) {
      fail("expected a directory of " + std::to_string(count) + " members up to its end record, got " +
           std::to_string(size) + " bytes at " + std::to_string(begin));
    }
    directory_ = begin;
    std::vector<Entry> entries;
    std::uint64_t place = begin;
    for (std::uint64_t i = 0; i < count; ++i) entries.push_back(read_entry(place, directory_end));
    if (place != directory_end) fail("expected " + std::to_string(count) + " members in the directory, got others");
    return entries;
  }

  /// Reads the entry at `place`, which moves behind it.
  Entry read_entry(std::uint64_t& place, std::uint64_t directory_end) const {
    if (!within(place, central_size, directory_end) || number<std::uint32_t>(place) != central_signature) {
      fail_truncated();
    }
    Entry entry;
    entry.flags = number<std::uint16_t>(place + 8);
    entry.checksum = number<std::uint32_t>(place + 16);
    const auto method = number<std::uint16_t>(place + 10);
    const std::uint64_t name_size = number<std::uint16_t>(place + 28);
    const std::uint64_t extra_size = number<std::uint16_t>(place + 30);
    const std::uint64_t total = central_size + name_size + extra_size + number<std::uint16_t>(place + 32);
    if (!within(place, total, directory_end)) fail_truncated();
    entry.name = text(place + central_size, name_size);
    const std::string who = "the member " + quote(entry.name) + ": ";
    if (method != 0) {
      fail(who + "expected a stored member, as torch.save writes it, got one compressed by method " +
           std::to_string(method));
    }
    if ((entry.flags & (encrypted | encrypted_directory)) != 0) fail(who + "expected plain data, got encrypted data");
    if (number<std::uint16_t>(place + 34) != 0)
      fail(who + "expected an archive of one file, got a part of a split one");
    // Values that do not fit 32 bits stand in the extra field, in this order.
    Extra extra = find_extra64(place + central_size + name_size, extra_size, who);
    entry.size = wide(number<std::uint32_t>(place + 24), extra, who);
    const std::uint64_t stored = wide(number<std::uint32_t>(place + 20), extra, who);
    entry.header = wide(number<std::uint32_t>(place + 42), extra, who);
    if (stored != entry.size) {
      fail(who + "expected as many stored bytes as bytes, got " + std::to_string(stored) + " and " +
           std::to_string(entry.size));
    }
    place += total;
    return entry;
  }

  /// The 64-bit values of an extra field that are not read yet.
  struct Extra {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  Extra find_extra64(std::uint64_t begin, std::uint64_t size, const std::string& who) const {
    const std::uint64_t end = begin + size;
    while (within(begin, 4, end)) {
      const std::uint64_t field = number<std::uint16_t>(begin + 2);
      if (!within(begin + 4, field, end)) fail(who + "expected an extra field within its header, got a longer one");
      if (number<std::uint16_t>(begin) == extra64) return {begin + 4, begin + 4 + field};
      begin += 4 + field;
    }
    return {};
  }
  std::uint64_t wide(std::uint32_t narrow, Extra& extra, const std::string& who) const {
    if (narrow != in_extra32) return narrow;
    if (!within(extra.begin, 8, extra.end)) fail(who + "expected its 64-bit size or place, found none");
    const auto value = number<std::uint64_t>(extra.begin);
    extra.begin += 8;
    return value;
  }

  /// Finds a member's data behind its own header, which must say what the directory says.
  void locate(Entry& entry) const {
    const std::string who = "the member " + quote(entry.name) + ": ";
    const auto refuse = [&] { fail(who + "expected the header that the directory says, got another"); };
    if (!within(entry.header, local_size, directory_) || number<std::uint32_t>(entry.header) != local_signature) {
      fail(who + "expected it before the directory, got byte " + std::to_string(entry.header));
    }
    const std::uint64_t name_size = number<std::uint16_t>(entry.header + 26);
    const std::uint64_t extra_size = number<std::uint16_t>(entry.header + 28);
    const std::uint64_t header_size = local_size + name_size + extra_size;
    if (!within(entry.header, header_size, directory_)) refuse();
    if (text(entry.header + local_size, name_size) != entry.name) refuse();
    if (number<std::uint16_t>(entry.header + 6) != entry.flags || number<std::uint16_t>(entry.header + 8) != 0) {
      refuse();
    }
    const bool sizes_follow = (entry.flags & described) != 0;
    Extra extra = find_extra64(entry.header + local_size + name_size, extra_size, who);
    const std::uint64_t size = wide(number<std::uint32_t>(entry.header + 22), extra, who);
    const std::uint64_t stored = wide(number<std::uint32_t>(entry.header + 18), extra, who);
    const bool left_out = sizes_follow && size == 0 && stored == 0;
    if (!left_out && (size != entry.size || stored != entry.size)) {
      fail(who + "expected " + std::to_string(entry.size) + " bytes, as the directory says, got " +
           std::to_string(size));
    }
    entry.begin = entry.header + header_size;
    if (!within(entry.begin, entry.size, directory_)) {
      fail(who + "expected " + std::to_string(entry.size) + " bytes before the directory, got " +
           std::to_string(directory_ - entry.begin));
    }
    entry.end = entry.begin + entry.size;
    if (sizes_follow) entry.end += descriptor_size(entry, who);
  }

  /// A descriptor is the checksum and both sizes, of 4 or 8 bytes each, mostly with a signature before them.
  std::uint64_t descriptor_size(const Entry& entry, const std::string& who) const {
    for (const std::uint64_t signature : {std::uint64_t{4}, std::uint64_t{0}}) {
      for (const std::uint64_t width : {std::uint64_t{4}, std::uint64_t{8}}) {
        const std::uint64_t total = signature + 4 + 2 * width;
        if (!within(entry.end, total, directory_)) continue;
        const std::uint64_t fields = entry.end + signature;
        if (signature != 0 && number<std::uint32_t>(entry.end) != descriptor_signature) continue;
        if (number<std::uint32_t>(fields) != entry.checksum) continue;
        const auto sized = [&](std::uint64_t place) {
          return width == 4 ? number<std::uint32_t>(place) : number<std::uint64_t>(place);
        };
        if (sized(fields + 4) == entry.size && sized(fields + 4 + width) == entry.size) return total;
      }
    }
    fail(who + "expected its size behind its data, as the directory says, got another");
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  std::uint64_t directory_ = 0;  ///< offset of the central directory; all members lie before it
};

}  // namespace

std::map<std::string, std::span<const std::byte>, std::less<>> read_zip(std::span<const std::byte> bytes,
                                                                        const std::string& where) {
  return Reader(bytes, where).read();
}

}  // namespace bertgen
