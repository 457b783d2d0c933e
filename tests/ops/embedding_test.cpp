#include "bertgen/ops/embedding.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "support/errors.hpp"

namespace bertgen {
namespace {

class EmbeddingTest : public testing::Test {
 protected:
  static StoredTensor table(DType dtype, const void* values) {
    return {dtype, {3, 2}, static_cast<const std::byte*>(values), nullptr};
  }

  const float values_[6] = {1, 2, 3, 4, 5, 6};
  const std::uint16_t halves_[6] = {0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600};  // 1 to 6 as binary16
  Workspace workspace_;
};

TEST_F(EmbeddingTest, AddsTheRowOfEachIdToWhatIsThere) {
  Tensor<float> y({4, 2}, {10, 10, 20, 20, 30, 30, 40, 40});
  add_embedding<float>(table(DType::f32, values_), std::vector<std::int32_t>{2, 0, 0, 1}, "id", y.view(), workspace_);
  EXPECT_EQ(y.values(), (std::vector<float>{15, 16, 21, 22, 31, 32, 43, 44}));
}

TEST_F(EmbeddingTest, WidensTheStoredType) {
  Tensor<double> y({1, 2});
  add_embedding<double>(table(DType::f16, halves_), std::vector<std::int32_t>{2}, "id", y.view(), workspace_);
  EXPECT_EQ(y.values(), (std::vector<double>{5, 6}));
}

TEST_F(EmbeddingTest, ReadsAnUnalignedTable) {
  std::vector<std::byte> bytes(1 + sizeof values_);
  std::memcpy(bytes.data() + 1, values_, sizeof values_);
  Tensor<float> y({1, 2});
  add_embedding<float>(table(DType::f32, bytes.data() + 1), std::vector<std::int32_t>{1}, "id", y.view(), workspace_);
  EXPECT_EQ(y.values(), (std::vector<float>{3, 4}));
}

TEST_F(EmbeddingTest, NoIdsChangeNothing) {
  Tensor<float> y({0, 2});
  add_embedding<float>(table(DType::f32, values_), {}, "id", y.view(), workspace_);
}

TEST_F(EmbeddingTest, IdOutsideTheTableThrowsBeforeAnythingIsWritten) {
  for (std::int32_t id : {3, -1, std::numeric_limits<std::int32_t>::min()}) {
    Tensor<float> y({2, 2});
    test::expect_error<ArgumentError>(
        [&] {
          const std::vector<std::int32_t> ids = {0, id};
          add_embedding<float>(table(DType::f32, values_), ids, "token id", y.view(), workspace_);
        },
        {"token id: expected 0 to 2, got " + std::to_string(id)});
    EXPECT_EQ(y.values(), std::vector<float>(4, 0.0f));
  }
}

}  // namespace
}  // namespace bertgen
