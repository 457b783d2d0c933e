// Reads the source tree: who includes whom, and what must stay inside src/.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace bertgen {
namespace {

namespace fs = std::filesystem;

const fs::path root = BERTGEN_SOURCE_DIR;
const fs::path headers = root / "include/bertgen";

/// What a folder of include/bertgen may include, beside itself and the standard library.
const std::map<std::string, std::set<std::string>> allowed = {
    {"core", {}},
    {"ops", {"core"}},
    {"nn", {"core", "ops"}},
    {"io", {"core"}},
    {"tokenizers", {"core"}},
    {"models", {"core", "ops", "nn", "io"}},
    {"generation", {"core", "ops", "nn", "models"}},
    {"runtime", {"core", "ops", "nn", "models", "generation"}},
    {"pipelines", {"core", "ops", "nn", "models", "generation", "runtime", "tokenizers"}},
};

/// Files that may include Eigen. Elsewhere it comes through them.
const std::set<std::string> eigen_users = {"core/tensor.hpp"};

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string without_comments(const std::string& text) {
  std::istringstream lines(text);
  std::string code;
  for (std::string line; std::getline(lines, line);) code += line.substr(0, line.find("//")) + "\n";
  return code;
}

std::vector<fs::path> sources_under(const fs::path& directory) {
  std::vector<fs::path> files;
  if (!fs::exists(directory)) return files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    const std::string extension = entry.path().extension().string();
    if (entry.is_regular_file() && (extension == ".hpp" || extension == ".cpp")) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// What stands behind each #include, with its quotes or brackets.
std::vector<std::string> includes_of(const fs::path& path) {
  std::istringstream text(text_of(path));
  std::vector<std::string> includes;
  for (std::string line; std::getline(text, line);) {
    std::istringstream words(line);
    std::string directive;
    std::string target;
    words >> directive;
    if (directive == "#include" && words >> target) includes.push_back(target);
  }
  return includes;
}

std::string folder_of(const std::string& relative) {
  const auto slash = relative.find('/');
  return slash == std::string::npos ? "" : relative.substr(0, slash);
}

/// "\"bertgen/ops/matmul.hpp\"" → "ops/matmul.hpp"; empty for another include.
std::string own_header(const std::string& include) {
  constexpr std::string_view begin = "\"bertgen/";
  if (include.compare(0, begin.size(), begin) != 0) return {};
  return include.substr(begin.size(), include.size() - begin.size() - 1);
}

TEST(IncludeOrderTest, PublicHeadersShowTheirNamesInASharedLibrary) {
  for (const fs::path& header : sources_under(headers)) {
    EXPECT_EQ(text_of(header).find("\nnamespace bertgen {"), std::string::npos)
        << header << ": expected namespace BERTGEN_PUBLIC bertgen (core/export.hpp)";
  }
}

TEST(IncludeOrderTest, FindsTheHeaders) { EXPECT_GE(sources_under(headers).size(), 30u) << headers; }

TEST(IncludeOrderTest, EachFolderIncludesOnlyThoseBelowIt) {
  for (const fs::path& path : sources_under(headers)) {
    const std::string relative = fs::relative(path, headers).generic_string();
    const std::string folder = folder_of(relative);
    if (folder.empty()) continue;  // the umbrella header includes all
    ASSERT_TRUE(allowed.count(folder)) << relative << ": a folder that this test does not know";
    for (const std::string& include : includes_of(path)) {
      const std::string other = folder_of(own_header(include));
      if (other.empty() || other == folder) continue;
      EXPECT_TRUE(allowed.at(folder).count(other)) << relative << " includes " << include;
    }
  }
}

TEST(IncludeOrderTest, HeadersIncludeOnlyTheLibraryEigenAndTheStandard) {
  for (const fs::path& path : sources_under(headers)) {
    const std::string relative = fs::relative(path, headers).generic_string();
    for (const std::string& include : includes_of(path)) {
      if (include[0] == '"') {
        EXPECT_TRUE(fs::exists(headers / own_header(include)) && !own_header(include).empty())
            << relative << " includes " << include;
      } else if (include.find('/') != std::string::npos || include.find(".h") != std::string::npos) {
        EXPECT_TRUE(include.compare(0, 7, "<Eigen/") == 0 && eigen_users.count(relative))
            << relative << " includes " << include;
      }
    }
  }
}

TEST(IncludeOrderTest, HeadersBeginWithWhatTheyAreForAndPragmaOnce) {
  for (const fs::path& path : sources_under(headers)) {
    const std::string text = text_of(path);
    EXPECT_EQ(text.compare(0, 3, "// "), 0) << path;
    EXPECT_NE(text.find("\n#pragma once\n"), std::string::npos) << path;
  }
}

TEST(IncludeOrderTest, OpenMPStaysInSources) {
  for (const char* folder : {"include", "src/cli", "examples", "bench"}) {
    for (const fs::path& path : sources_under(root / folder)) {
      const std::string text = text_of(path);
      EXPECT_EQ(text.find("#pragma omp"), std::string::npos) << path;
      EXPECT_EQ(text.find("omp.h"), std::string::npos) << path;
    }
  }
}

TEST(IncludeOrderTest, LibraryNeverPrintsExitsOrReadsTheEnvironment) {
  std::vector<fs::path> files = sources_under(headers);
  for (const fs::path& path : sources_under(root / "src")) {
    if (path.generic_string().find("/src/cli/") == std::string::npos) files.push_back(path);
  }
  for (const fs::path& path : files) {
    const std::string text = without_comments(text_of(path));
    for (const char* word : {"std::cout", "std::cerr", "printf(", "getenv(", "exit(", "abort("}) {
      EXPECT_EQ(text.find(word), std::string::npos) << path << " has " << word;
    }
  }
}

TEST(IncludeOrderTest, ProgramsAndTheCInterfaceUseThePublicHeadersOnly) {
  for (const char* folder : {"src/capi", "src/cli", "examples"}) {
    for (const fs::path& path : sources_under(root / folder)) {
      for (const std::string& include : includes_of(path)) {
        if (include[0] != '"') continue;
        const std::string name = include.substr(1, include.size() - 2);
        const bool is_public = !own_header(include).empty() && fs::exists(headers / own_header(include));
        const bool own = name.find("..") == std::string::npos &&
                         (fs::exists(path.parent_path() / name) || name.compare(0, 4, "cli/") == 0);
        EXPECT_TRUE(is_public || own) << path << " includes " << include;
      }
    }
  }
}

}  // namespace
}  // namespace bertgen
