// The README shows a program that the tests compile and run.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

namespace {

std::string read(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(std::string(BERTGEN_SOURCE_DIR) + "/" + path).rdbuf();
  return text.str();
}

TEST(ReadmeTest, ItsProgramIsTheExample) {
  const std::string example = read("examples/readme.cpp");
  ASSERT_FALSE(example.empty());
  EXPECT_NE(read("README.md").find("```cpp\n" + example + "```\n"), std::string::npos);
}

}  // namespace
