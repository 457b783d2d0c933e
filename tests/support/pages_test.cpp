// Every block of code that README.md and docs/ show is compiled, run or read by the tests.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Lines = std::vector<std::string>;

const fs::path root = BERTGEN_SOURCE_DIR;

/// A block between "```language" and "```".
struct Block {
  std::string place;
  std::string language;
  Lines lines;
};

/// Lines without the indentation that all but the empty ones have.
Lines unindented(Lines lines) {
  std::size_t least = std::string::npos;
  for (const std::string& line : lines) least = std::min(least, line.find_first_not_of(' '));
  for (std::string& line : lines) line.erase(0, std::min(least, line.size()));
  return lines;
}

Lines lines_of(const fs::path& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  Lines lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::vector<Block> blocks_of(const fs::path& page) {
  std::vector<Block> blocks;
  bool inside = false;
  std::size_t number = 0;
  for (const std::string& line : lines_of(page)) {
    ++number;
    const std::size_t begin = std::min(line.find_first_not_of(' '), line.size());
    if (line.compare(begin, 3, "```") == 0) {
      inside = !inside;
      const std::string place = page.filename().string() + ":" + std::to_string(number);
      if (inside) blocks.push_back({place, line.substr(begin + 3), {}});
    } else if (inside) {
      blocks.back().lines.push_back(line);
    }
    EXPECT_NE(line.compare(begin, 3, "~~~"), 0) << page << ":" << number << ": a fence that no test knows";
  }
  EXPECT_FALSE(inside) << page << ": a block without an end";
  return blocks;
}

std::vector<fs::path> pages() {
  std::vector<fs::path> pages = {root / "README.md"};
  for (const auto& entry : fs::directory_iterator(root / "docs")) {
    if (entry.path().extension() == ".md") pages.push_back(entry.path());
  }
  return pages;
}

/// What a heading is called in a link: "## The program" is "the-program".
std::string anchor(const std::string& heading) {
  std::string name;
  for (char c : heading.substr(heading.find(' ') + 1)) {
    if (c == ' ') name += '-';
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_') {
      name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  return name;
}

bool has_anchor(const fs::path& page, const std::string& name) {
  const Lines lines = lines_of(page);
  return std::any_of(lines.begin(), lines.end(),
                     [&](const std::string& line) { return line[0] == '#' && anchor(line) == name; });
}

/// Whether the lines of `part` stand in `whole` one after another, however far they are indented there.
bool contains(const Lines& whole, const Lines& part) {
  const Lines wanted = unindented(part);
  for (std::size_t i = 0; i + wanted.size() <= whole.size(); ++i) {
    const auto first = whole.begin() + static_cast<std::ptrdiff_t>(i);
    if (unindented({first, first + static_cast<std::ptrdiff_t>(wanted.size())}) == wanted) return true;
  }
  return false;
}

bool any_contains(const std::vector<fs::path>& files, const Lines& part) {
  return std::any_of(files.begin(), files.end(), [&](const fs::path& file) { return contains(lines_of(file), part); });
}

/// The programs of examples/ that examples/CMakeLists.txt, or for C tests/capi, compiles and runs.
std::vector<fs::path> programs(const std::string& extension) {
  std::string run;
  for (const char* file : {"examples/CMakeLists.txt", "tests/capi/CMakeLists.txt"}) {
    for (const std::string& line : lines_of(root / file)) run += line + "\n";
  }
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(root / "examples")) {
    if (entry.path().extension() != extension) continue;
    const std::string stem = entry.path().stem();
    const bool runs = run.find("bertgen_add_example(" + stem + " ") != std::string::npos ||
                      run.find("examples/" + entry.path().filename().string()) != std::string::npos;
    EXPECT_TRUE(runs) << entry.path() << " is compiled by no test";
    files.push_back(entry.path());
  }
  return files;
}

/// The projects that the package tests build.
std::vector<fs::path> projects() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(root / "tests/package")) {
    if (entry.path().filename() == "CMakeLists.txt" && entry.path().parent_path() != root / "tests/package") {
      files.push_back(entry.path());
    }
  }
  return files;
}

bool is_json(const Lines& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  if (nlohmann::json::accept(text)) return true;
  return std::all_of(lines.begin(), lines.end(), [](const std::string& line) { return nlohmann::json::accept(line); });
}

// Seen to fail with a changed line in a block of each language, with a block without a language, and with one of
// Python.
TEST(PagesTest, EveryBlockIsCompiledOrRunOrRead) {
  const std::map<std::string, std::vector<fs::path>> sources = {
      {"c", programs(".c")}, {"cpp", programs(".cpp")}, {"cmake", projects()}};
  std::map<std::string, std::size_t> counts;
  std::vector<Block> blocks;
  for (const fs::path& page : pages()) {
    for (Block& block : blocks_of(page)) blocks.push_back(std::move(block));
  }
  for (const Block& block : blocks) {
    ++counts[block.language];
    if (sources.count(block.language) != 0) {
      EXPECT_TRUE(any_contains(sources.at(block.language), block.lines))
          << block.place << ": expected lines of a program of examples/ or a project of tests/package/";
    } else if (block.language == "json") {
      EXPECT_TRUE(is_json(block.lines)) << block.place << ": expected JSON, or a value of it a line";
    } else {
      // tests/package/pages.sh runs these and compares what they print.
      EXPECT_TRUE(block.language == "sh" || block.language == "text")
          << block.place << ": no test knows \"" << block.language << "\"";
    }
  }
  for (const char* language : {"c", "cmake", "cpp", "json", "sh", "text"}) {
    EXPECT_GT(counts[language], 0u) << "no block in \"" << language << "\": are they found?";
  }
}

// Seen to fail with the name of a file, and of a heading, changed.
TEST(PagesTest, LinksLeadSomewhere) {
  const std::regex link(R"(\]\(([^)#:]*)(#([^)]*))?\))");
  std::size_t links = 0;
  for (const fs::path& page : pages()) {
    for (const std::string& line : lines_of(page)) {
      for (std::sregex_iterator it(line.begin(), line.end(), link), end; it != end; ++it, ++links) {
        const fs::path target = it->str(1).empty() ? page : page.parent_path() / it->str(1);
        EXPECT_TRUE(fs::exists(target)) << page << ": " << it->str();
        EXPECT_TRUE(it->str(3).empty() || has_anchor(target, it->str(3))) << page << ": " << it->str();
      }
    }
  }
  EXPECT_GT(links, 30u) << "are they found?";
}

}  // namespace
