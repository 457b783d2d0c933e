// Python's pickles as data: a reader that can run nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bertgen {

/// One pickle (protocol 2 to 5), read into values that refer to one another by index, so that cycles and deep nesting
/// cost nothing. Understands what torch.save writes for a dictionary of tensors: no instances, no classes of Python 2,
/// no sets, no extensions. A global is a name from a list of allowed ones, and calling it is a value that says so;
/// only `collections.OrderedDict` is understood, as an empty dictionary. Texts refer to the bytes that were read.
class Pickle {
 public:
  using Index = std::uint32_t;
  enum class Kind : std::uint8_t {
    none,
    boolean,
    integer,
    big,
    real,
    text,
    tuple,
    list,
    dict,
    global,
    call,
    persistent
  };
  struct Value {
    Kind kind = Kind::none;
    std::int64_t integer = 0;  ///< of boolean and integer
    std::string_view text;     ///< of text; a global's "module.name"; little-endian bytes of big, a longer integer
    std::vector<Index>
        items;  ///< of tuple, list; key, value, key, … of dict; global and tuple of call; id of persistent
  };

  /// Reads the pickle that `bytes` begin with; what follows it is not looked at. `globals` are the names that may
  /// occur besides OrderedDict. Throws CheckpointError, which names `where`, for everything else, for a pickle of
  /// more than 64 MB and for more than 4 million values.
  Pickle(std::span<const std::byte> bytes, std::span<const std::string_view> globals, const std::string& where);

  const Value& root() const { return values_[root_]; }
  const Value& operator[](Index index) const { return values_[index]; }
  /// Bytes of the pickle.
  std::size_t size() const { return size_; }

 private:
  friend class PickleReader;

  std::vector<Value> values_;
  Index root_ = 0;
  std::size_t size_ = 0;
};

/// A value for an error message: "a list", "the integer 3", "the text \"a\"".
std::string describe(const Pickle::Value& value);

/// Text of a file for an error message: quoted, of readable length, other than printable ASCII characters replaced.
std::string quote(std::string_view text);

}  // namespace bertgen
