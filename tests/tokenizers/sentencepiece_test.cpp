// This project's SentencePiece encoder against the library that is installed, of whatever version. The library is not
// linked into bertgen: docs/design.md says why.
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bertgen/tokenizers/bert_generation.hpp"

namespace bertgen {
namespace {

const std::filesystem::path fixtures = std::filesystem::path(BERTGEN_TEST_DATA) / "tokenizers" / "bert_generation";
const std::filesystem::path shipped = std::filesystem::path(BERTGEN_SOURCE_DIR) / "examples" / "fuse-en";

/// Texts without special tokens, which transformers cuts out before SentencePiece sees the rest.
std::vector<std::string> texts() {
  std::ifstream file(fixtures / "cases.json");
  std::vector<std::string> all = nlohmann::json::parse(file).at("texts");
  std::ifstream readme(std::filesystem::path(BERTGEN_SOURCE_DIR) / "README.md");
  for (std::string line; std::getline(readme, line);) all.push_back(line);
  std::erase_if(all, [](const std::string& text) { return text.find('<') != std::string::npos; });
  return all;
}

double score_of(const sentencepiece::SentencePieceProcessor& library, const std::vector<int>& ids) {
  double sum = 0;
  for (int id : ids) sum += double(library.GetScore(id));
  return sum;
}

// Versions of the library round differently, which decides between segmentations of the same score, and score
// user-defined pieces differently: of those, the shipped vocabulary has none.
TEST(SentencePieceTest, AgreesWithTheLibraryButForTies) {
  sentencepiece::SentencePieceProcessor library;
  ASSERT_TRUE(library.Load((shipped / "spiece.model").string()).ok());
  const BertGenerationTokenizer tokenizer(shipped / "spiece.model");
  ASSERT_EQ(tokenizer.vocab_size(), static_cast<std::size_t>(library.GetPieceSize()));
  std::size_t equal = 0;
  const std::vector<std::string> all = texts();
  for (const std::string& text : all) {
    const TokenIds got = tokenizer.encode(text).input_ids;
    std::vector<int> expected;
    ASSERT_TRUE(library.Encode(text, &expected).ok());
    if (got == expected) {
      ++equal;
      continue;
    }
    // Scores are floats of a few hundred pieces below 20.
    EXPECT_NEAR(score_of(library, got), score_of(library, expected), 1e-2) << text;
  }
  EXPECT_GT(equal, all.size() * 98 / 100);
}

// Merges have no sums to round.
TEST(SentencePieceTest, AgreesWithTheLibraryOnBytePairs) {
  sentencepiece::SentencePieceProcessor library;
  ASSERT_TRUE(library.Load((fixtures / "bpe.model").string()).ok());
  const BertGenerationTokenizer tokenizer(fixtures / "bpe.model");
  for (const std::string& text : texts()) {
    std::vector<int> expected;
    ASSERT_TRUE(library.Encode(text, &expected).ok());
    EXPECT_EQ(tokenizer.encode(text).input_ids, expected) << text;
  }
}

}  // namespace
}  // namespace bertgen
