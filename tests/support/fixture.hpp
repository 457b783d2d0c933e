// The checkpoints of tests/data/models with what transformers answers for them.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bertgen/core/token.hpp"
#include "bertgen/io/safetensors.hpp"

namespace bertgen::test {

inline std::filesystem::path data_directory() { return BERTGEN_TEST_DATA; }

/// One directory: a checkpoint, and the float64 oracle's tensors and generated sequences.
class Fixture {
 public:
  explicit Fixture(const std::string& name) : name_(name), directory_(data_directory() / "models" / name) {
    read_safetensors(directory_ / "expected.safetensors", tensors_);
    std::ifstream file(directory_ / "expected.json");
    expected_ = nlohmann::json::parse(file);
  }

  const std::string& name() const { return name_; }
  const std::filesystem::path& directory() const { return directory_; }
  const nlohmann::json& expected() const { return expected_; }
  bool has(const std::string& tensor) const { return tensors_.contains(tensor); }

  /// A floating tensor.
  Tensor<double> tensor(const std::string& name) const { return tensors_.find(name)->to<double>(); }
  /// A [batch, length] tensor of integers as one vector a sequence.
  template <typename Value>
  std::vector<std::vector<Value>> rows(const std::string& name) const {
    const StoredTensor& stored = *tensors_.find(name);
    std::vector<std::vector<Value>> rows(stored.shape[0]);
    for (std::size_t i = 0; i < stored.shape.size(); ++i) {
      std::int64_t value = 0;
      if (stored.dtype == DType::i64) {
        std::memcpy(&value, stored.data + i * sizeof value, sizeof value);
      } else {
        value = std::to_integer<std::int64_t>(stored.data[i]);
      }
      rows[i / stored.shape[1]].push_back(static_cast<Value>(value));
    }
    return rows;
  }

 private:
  std::string name_;
  std::filesystem::path directory_;
  Weights tensors_;
  nlohmann::json expected_;
};

/// Names of the directories whose config.json has this model_type; "encoder-decoder" includes its old spelling.
inline std::vector<std::string> fixture_names(const std::string& model_type) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(data_directory() / "models")) {
    if (!entry.is_directory()) continue;
    std::ifstream file(entry.path() / "config.json");
    std::string type = nlohmann::json::parse(file).at("model_type");
    if (type == "encoder_decoder") type = "encoder-decoder";
    if (type == model_type) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// Names of the directories of single halves, of any family, with this tensor among what is expected of them;
/// warm-start, whose weights are read as another family's, apart.
inline std::vector<std::string> half_fixture_names(const std::string& tensor) {
  std::vector<std::string> names;
  for (const char* type : {"bert-generation", "bert", "roberta"}) {
    for (const std::string& name : fixture_names(type)) {
      if (name != "warm-start" && Fixture(name).has(tensor)) names.push_back(name);
    }
  }
  return names;
}

/// A test name that GoogleTest accepts.
inline std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

/// Fails with the place and both values if any element differs by more than `tolerance`.
template <typename T>
void expect_near(const Tensor<T>& got, const Tensor<double>& expected, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  std::size_t worst = 0;
  double largest = -1;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - expected[i]);
    if (!(difference <= largest)) largest = difference, worst = i;
  }
  if (got.size() == 0) return;
  EXPECT_LE(largest, tolerance) << what << ": worst at element " << worst << " of " << to_string(expected.shape())
                                << ": got " << got[worst] << ", expected " << expected[worst];
}

}  // namespace bertgen::test
