// The programs that README.md and docs/ show are those of examples/, which the tests compile and run.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

const fs::path root = BERTGEN_SOURCE_DIR;

std::string read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// What stands between "```language" and "```".
std::vector<std::string> blocks(const std::string& text, const std::string& language) {
  const std::string fence = "```" + language + "\n";
  std::vector<std::string> found;
  for (std::size_t at = text.find(fence); at != std::string::npos; at = text.find(fence, at)) {
    at += fence.size();
    found.push_back(text.substr(at, text.find("```\n", at) - at));
  }
  return found;
}

std::vector<fs::path> pages() {
  std::vector<fs::path> pages = {root / "README.md"};
  for (const auto& entry : fs::directory_iterator(root / "docs")) {
    if (entry.path().extension() == ".md") pages.push_back(entry.path());
  }
  return pages;
}

TEST(ReadmeTest, ProgramsOfAllPagesAreExamples) {
  std::set<std::string> examples;
  for (const auto& entry : fs::directory_iterator(root / "examples")) {
    if (entry.is_regular_file()) examples.insert(read(entry.path()));
  }
  std::size_t programs = 0;
  for (const fs::path& page : pages()) {
    for (const char* language : {"cpp", "c"}) {
      for (const std::string& block : blocks(read(page), language)) {
        EXPECT_TRUE(examples.count(block)) << page << " shows what is no file of examples/:\n" << block;
        ++programs;
      }
    }
  }
  EXPECT_GE(programs, 2u) << "README.md and docs/c.md have one each";
}

}  // namespace
