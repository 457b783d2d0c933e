#include "io/pickle.hpp"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "bertgen/core/error.hpp"

namespace bertgen {
namespace {

constexpr std::size_t largest_pickle = std::size_t{64} << 20;
constexpr std::size_t most_values = std::size_t{4} << 20;
constexpr std::string_view ordered_dict = "collections.OrderedDict";

/// The opcodes that are read. Python's pickletools documents them.
enum Opcode : std::uint8_t {
  mark = '(',
  stop = '.',
  binfloat = 'G',
  binint = 'J',
  binint1 = 'K',
  binint2 = 'M',
  none = 'N',
  binpersid = 'Q',
  reduce = 'R',
  binunicode = 'X',
  empty_list = ']',
  append = 'a',
  build = 'b',
  global = 'c',
  appends = 'e',
  binget = 'h',
  long_binget = 'j',
  binput = 'q',
  long_binput = 'r',
  setitem = 's',
  tuple = 't',
  setitems = 'u',
  empty_tuple = ')',
  empty_dict = '}',
  proto = 0x80,
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  newtrue = 0x88,
  newfalse = 0x89,
  long1 = 0x8a,
  short_binunicode = 0x8c,
  binunicode8 = 0x8d,
  stack_global = 0x93,
  memoize = 0x94,
  frame = 0x95,
};

/// Names of the others, for errors.
std::string name_of_refused(std::uint8_t opcode) {
  static constexpr std::pair<std::uint8_t, const char*> names[] = {{'0', "POP"},
                                                                   {'1', "POP_MARK"},
                                                                   {'2', "DUP"},
                                                                   {'F', "FLOAT"},
                                                                   {'I', "INT"},
                                                                   {'L', "LONG"},
                                                                   {'P', "PERSID"},
                                                                   {'S', "STRING"},
                                                                   {'T', "BINSTRING"},
                                                                   {'U', "SHORT_BINSTRING"},
                                                                   {'V', "UNICODE"},
                                                                   {'B', "BINBYTES"},
                                                                   {'C', "SHORT_BINBYTES"},
                                                                   {'d', "DICT"},
                                                                   {'g', "GET"},
                                                                   {'i', "INST"},
                                                                   {'l', "LIST"},
                                                                   {'o', "OBJ"},
                                                                   {'p', "PUT"},
                                                                   {0x81, "NEWOBJ"},
                                                                   {0x82, "EXT1"},
                                                                   {0x83, "EXT2"},
                                                                   {0x84, "EXT4"},
                                                                   {0x8b, "LONG4"},
                                                                   {0x8e, "BINBYTES8"},
                                                                   {0x8f, "EMPTY_SET"},
                                                                   {0x90, "ADDITEMS"},
                                                                   {0x91, "FROZENSET"},
                                                                   {0x92, "NEWOBJ_EX"},
                                                                   {0x96, "BYTEARRAY8"},
                                                                   {0x97, "NEXT_BUFFER"},
                                                                   {0x98, "READONLY_BUFFER"}};
  for (const auto& [code, name] : names) {
    if (code == opcode) return std::string("the opcode ") + name;
  }
  return "the byte " + std::to_string(opcode) + ", which is no opcode";
}

}  // namespace

/// The machine that a pickle is a program for.
class PickleReader {
 public:
  PickleReader(std::span<const std::byte> bytes, std::span<const std::string_view> globals, const std::string& where,
               Pickle& pickle)
      : bytes_(bytes.first(std::min(bytes.size(), largest_pickle))),
        globals_(globals),
        where_(where),
        pickle_(pickle),
        values_(pickle.values_) {}

  void read() {
    if (take<std::uint8_t>() != proto) fail("expected a pickle of protocol 2 or later");
    if (const auto version = take<std::uint8_t>(); version < 2 || version > 5) {
      fail("expected a pickle of protocol 2 to 5, got " + std::to_string(version));
    }
    while (true) {
      start_ = position_;
      const auto opcode = take<std::uint8_t>();
      if (opcode == stop) break;
      execute(opcode);
    }
    pickle_.root_ = pop();
    if (!stack_.empty() || !marks_.empty()) fail("expected one value at the end, got more");
    pickle_.size_ = position_;
  }

 private:
  using Index = Pickle::Index;
  using Kind = Pickle::Kind;

  [[noreturn]] void fail(const std::string& what) const {
    throw CheckpointError(where_ + ": byte " + std::to_string(start_) + ": " + what);
  }

  std::string_view take_bytes(std::uint64_t count) {
    if (count > bytes_.size() - position_) {
      fail(bytes_.size() == largest_pickle ? "expected a pickle of at most 64 MB, got a longer one"
                                           : "expected a pickle that ends, got one that is cut off");
    }
    const auto* begin = reinterpret_cast<const char*>(bytes_.data() + position_);
    position_ += static_cast<std::size_t>(count);
    return {begin, static_cast<std::size_t>(count)};
  }
  template <typename Number>
  Number take() {
    Number number{};
    std::memcpy(&number, take_bytes(sizeof number).data(), sizeof number);
    return number;
  }
  std::string_view take_line() {
    const auto* begin = reinterpret_cast<const char*>(bytes_.data() + position_);
    const std::size_t end = std::string_view(begin, bytes_.size() - position_).find('\n');
    const std::string_view line = take_bytes(end == std::string_view::npos ? bytes_.size() + 1 : end + 1);
    return line.substr(0, line.size() - 1);
  }

  Index add(Pickle::Value value) {
    if (values_.size() == most_values) fail("expected at most " + std::to_string(most_values) + " values, got more");
    values_.push_back(std::move(value));
    return static_cast<Index>(values_.size() - 1);
  }
  void push(Index index) { stack_.push_back(index); }
  void push(Pickle::Value value) { push(add(std::move(value))); }
  void push(Kind kind, std::int64_t integer = 0) { push({kind, integer, {}, {}}); }
  void push(std::string_view text) { push({Kind::text, 0, text, {}}); }

  /// Values above the last mark.
  std::size_t available() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }
  Index pop() {
    if (available() == 0) fail("expected a value on the stack, got none");
    const Index index = stack_.back();
    stack_.pop_back();
    return index;
  }
  std::vector<Index> pop(std::size_t count) {
    if (available() < count) fail("expected " + std::to_string(count) + " values on the stack, got fewer");
    const auto first = stack_.end() - static_cast<std::ptrdiff_t>(count);
    std::vector<Index> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    return items;
  }
  std::vector<Index> pop_to_mark() {
    if (marks_.empty()) fail("expected a mark, got none");
    std::vector<Index> items = pop(available());
    marks_.pop_back();
    return items;
  }
  /// The value that stays on top of the stack; it must be of this kind.
  Pickle::Value& top(Kind kind) {
    if (available() == 0) fail("expected a value on the stack, got none");
    Pickle::Value& value = values_[stack_.back()];
    if (value.kind != kind) {
      fail(std::string("expected a ") + (kind == Kind::list ? "list" : "dictionary") + " to fill, got " +
           describe(value));
    }
    return value;
  }

  void execute(std::uint8_t opcode) {
    switch (opcode) {
      case frame:  // says how many bytes a reader should fetch; all are here
        if (take<std::uint64_t>() > bytes_.size() - position_)
          fail("expected a frame within the file, got a longer one");
        return;
      case none:
        return push(Kind::none);
      case newtrue:
      case newfalse:
        return push(Kind::boolean, opcode == newtrue ? 1 : 0);
      case binint:
        return push(Kind::integer, take<std::int32_t>());
      case binint1:
        return push(Kind::integer, take<std::uint8_t>());
      case binint2:
        return push(Kind::integer, take<std::uint16_t>());
      case long1:
        return push_long(take_bytes(take<std::uint8_t>()));
      case binfloat:
        take_bytes(8);  // no float is of use
        return push(Kind::real);
      case short_binunicode:
        return push(take_bytes(take<std::uint8_t>()));
      case binunicode:
        return push(take_bytes(take<std::uint32_t>()));
      case binunicode8:
        return push(take_bytes(take<std::uint64_t>()));
      case mark:
        return marks_.push_back(stack_.size());
      case empty_tuple:
        return push(Kind::tuple);
      case tuple1:
      case tuple2:
      case tuple3:
        return push({Kind::tuple, 0, {}, pop(opcode - std::size_t{tuple1} + 1)});
      case tuple:
        return push({Kind::tuple, 0, {}, pop_to_mark()});
      case empty_list:
        return push(Kind::list);
      case append:
        return fill(Kind::list, pop(1));
      case appends:
        return fill(Kind::list, pop_to_mark());
      case empty_dict:
        return push(Kind::dict);
      case setitem:
        return fill(Kind::dict, pop(2));
      case setitems:
        return fill(Kind::dict, pop_to_mark());
      case binput:
        return remember(take<std::uint8_t>());
      case long_binput:
        return remember(take<std::uint32_t>());
      case memoize:
        return remember(static_cast<std::uint32_t>(memo_.size()));
      case binget:
        return recall(take<std::uint8_t>());
      case long_binget:
        return recall(take<std::uint32_t>());
      case binpersid:
        return push({Kind::persistent, 0, {}, pop(1)});
      case global: {
        const std::string_view module = take_line();
        return push_global(module, take_line());
      }
      case stack_global:
        return push_global_named_on_stack();
      case reduce:
        return push_call();
      case build:
        return ignore_state();
      default:
        fail("expected only what a dictionary of tensors needs, got " + name_of_refused(opcode));
    }
  }

  /// Little-endian, in two's complement.
  void push_long(std::string_view digits) {
    if (digits.size() > sizeof(std::int64_t)) return push({Kind::big, 0, digits, {}});
    const bool negative = !digits.empty() && (static_cast<unsigned char>(digits.back()) & 0x80u) != 0;
    std::int64_t integer = negative ? -1 : 0;
    std::memcpy(&integer, digits.data(), digits.size());
    push(Kind::integer, integer);
  }

  void push_global(std::string_view module, std::string_view name) {
    const std::string path = std::string(module) + "." + std::string(name);
    if (path == ordered_dict) return push({Kind::global, 0, ordered_dict, {}});
    const auto found = std::find(globals_.begin(), globals_.end(), path);
    if (found == globals_.end()) {
      fail("expected only what a dictionary of tensors needs, got the global " + quote(path));
    }
    push({Kind::global, 0, *found, {}});
  }

  void push_global_named_on_stack() {
    const std::vector<Index> names = pop(2);
    for (Index name : names) {
      if (values_[name].kind != Kind::text) fail("expected a global's name, got " + describe(values_[name]));
    }
    push_global(values_[names[0]].text, values_[names[1]].text);
  }

  void push_call() {
    const std::vector<Index> call = pop(2);
    const Pickle::Value& function = values_[call[0]];
    const Pickle::Value& arguments = values_[call[1]];
    if (function.kind != Kind::global) fail("expected a global to call, got " + describe(function));
    if (arguments.kind != Kind::tuple) fail("expected a tuple of arguments, got " + describe(arguments));
    if (function.text != ordered_dict) return push({Kind::call, 0, {}, call});
    if (!arguments.items.empty()) fail("expected OrderedDict without arguments, got some");
    push(Kind::dict);
  }

  /// torch's dictionaries of tensors have an attribute, `_metadata`. Nothing else that is read can have a state.
  void ignore_state() {
    if (const Pickle::Value& state = values_[pop()]; state.kind != Kind::dict) {
      fail("expected a dictionary's attributes, got " + describe(state));
    }
    top(Kind::dict);
  }

  void fill(Kind kind, const std::vector<Index>& items) {
    if (kind == Kind::dict && items.size() % 2 != 0) fail("expected pairs of keys and values, got an odd number");
    auto& filled = top(kind).items;
    filled.insert(filled.end(), items.begin(), items.end());
  }

  void remember(std::uint32_t key) {
    if (available() == 0) fail("expected a value on the stack, got none");
    memo_[key] = stack_.back();
  }
  void recall(std::uint32_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) fail("expected a value with the number " + std::to_string(key) + ", found none");
    push(found->second);
  }

  std::span<const std::byte> bytes_;
  std::span<const std::string_view> globals_;
  const std::string& where_;
  Pickle& pickle_;
  std::vector<Pickle::Value>& values_;
  std::vector<Index> stack_;
  std::vector<std::size_t> marks_;  ///< sizes of the stack
  std::unordered_map<std::uint32_t, Index> memo_;
  std::size_t position_ = 0;
  std::size_t start_ = 0;  ///< of the opcode at work
};

Pickle::Pickle(std::span<const std::byte> bytes, std::span<const std::string_view> globals, const std::string& where) {
  PickleReader(bytes, globals, where, *this).read();
}

std::string describe(const Pickle::Value& value) {
  switch (value.kind) {
    case Pickle::Kind::none:
      return "None";
    case Pickle::Kind::boolean:
      return value.integer != 0 ? "True" : "False";
    case Pickle::Kind::integer:
      return "the integer " + std::to_string(value.integer);
    case Pickle::Kind::big:
      return "an integer of " + std::to_string(value.text.size()) + " bytes";
    case Pickle::Kind::real:
      return "a float";
    case Pickle::Kind::text:
      return "the text " + quote(value.text);
    case Pickle::Kind::tuple:
      return "a tuple of " + std::to_string(value.items.size());
    case Pickle::Kind::list:
      return "a list of " + std::to_string(value.items.size());
    case Pickle::Kind::dict:
      return "a dictionary of " + std::to_string(value.items.size() / 2);
    case Pickle::Kind::global:
      return "the global " + quote(value.text);
    case Pickle::Kind::call:
      return "a function's result";
    case Pickle::Kind::persistent:
      return "a storage";
  }
  return "?";
}

std::string quote(std::string_view text) {
  constexpr std::size_t longest = 100;
  std::string result = "\"";
  for (char c : text.substr(0, longest)) result += c >= ' ' && c <= '~' ? c : '?';
  return result + (text.size() > longest ? "…\"" : "\"");
}

}  // namespace bertgen
