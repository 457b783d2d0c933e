#include "tokenizers/unicode.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace bertgen::detail {
namespace {

using nlohmann::json;

// What tokenizers makes of every code point.
const json& measured() {
  static const json value = [] {
    std::ifstream file(std::filesystem::path(BERTGEN_TEST_DATA) / "tokenizers" / "unicode.json");
    return json::parse(file);
  }();
  return value;
}

template <typename Action>
void for_each_code_point(Action&& action) {
  for (CodePoint c = 0; c < 0x110000; ++c) {
    if (c < 0xD800 || c > 0xDFFF) action(c);
  }
}

template <typename Predicate>
void expect_ranges(const std::string& name, Predicate&& predicate) {
  std::vector<bool> expected(0x110000, false);
  for (const json& range : measured()[name]) {
    for (auto c = range[0].get<CodePoint>(); c <= range[1].get<CodePoint>(); ++c) expected[c] = true;
  }
  std::size_t differences = 0;
  CodePoint first = 0;
  for_each_code_point([&](CodePoint c) {
    if (predicate(c) != expected[c] && differences++ == 0) first = c;
  });
  EXPECT_EQ(differences, 0U) << name << ": first at U+" << std::hex << first;
}

class Checksum {
 public:
  void add(CodePoint c) { value_ = (value_ ^ c) * 16777619U; }
  void add_mapping(CodePoint c, const CodePoints& target) {
    if (target.size == 1 && target.values[0] == c) return;
    ++count_;
    add(c);
    for (std::size_t i = 0; i < target.size; ++i) add(target.values[i]);
  }
  void expect(const std::string& name) const {
    EXPECT_EQ(count_, measured()[name]["count"].get<std::size_t>()) << name;
    EXPECT_EQ(value_, measured()[name]["checksum"].get<std::uint32_t>()) << name;
  }
  std::size_t count_ = 0;

 private:
  std::uint32_t value_ = 2166136261U;
};

TEST(UnicodeTest, ClassesOfAllCodePointsAreThoseOfTokenizers) {
  expect_ranges("dropped", is_removed_control);
  expect_ranges("space", [](CodePoint c) { return is_white_space(c) && !is_removed_control(c); });
  expect_ranges("chinese", is_chinese);
  expect_ranges("mark", is_nonspacing_mark);
  expect_ranges("punctuation", is_punctuation);
  expect_ranges("word", is_word_character);
  expect_ranges("class letter", [](CodePoint c) { return character_class(c) == CharacterClass::letter; });
  expect_ranges("class number", [](CodePoint c) { return character_class(c) == CharacterClass::number; });
  expect_ranges("class space", [](CodePoint c) { return character_class(c) == CharacterClass::space; });
}

TEST(UnicodeTest, MappingsOfAllCodePointsAreThoseOfTokenizers) {
  Checksum lower;
  Checksum decomposition;
  Checksum combining;
  for_each_code_point([&](CodePoint c) {
    lower.add_mapping(c, lower_case(c));
    decomposition.add_mapping(c, decompose(c));
    if (const int value = combining_class(c); value != 0) {
      ++combining.count_;
      combining.add(c);
      combining.add(static_cast<CodePoint>(value));
    }
  });
  lower.expect("lower");
  decomposition.expect("decomposition");
  combining.expect("combining");
}

TEST(UnicodeTest, Utf8IsReadAndWritten) {
  for_each_code_point([](CodePoint c) {
    if (c % 97 != 0 && c > 0x1000) return;
    std::string text = "x";
    append_utf8(text, c);
    EXPECT_EQ(decode_utf8(text, 1), (std::pair{c, text.size() - 1}));
  });
  for (const std::string bad : {"\xff", "\xc3", "\x80", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80"}) {
    EXPECT_EQ(decode_utf8(bad, 0), (std::pair{replacement_character, std::size_t{1}}));
  }
}

}  // namespace
}  // namespace bertgen::detail
