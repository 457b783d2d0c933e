#include "bertgen/core/tensor.hpp"

#include <gtest/gtest.h>

#include "support/errors.hpp"

namespace bertgen {
namespace {

TEST(ShapeTest, ScalarHasOneElement) {
  const Shape scalar;
  EXPECT_EQ(scalar.rank(), 0u);
  EXPECT_EQ(scalar.size(), 1u);
  EXPECT_EQ(scalar.rows(), 1u);
  EXPECT_EQ(scalar.cols(), 1u);
  EXPECT_EQ(to_string(scalar), "[]");
}

TEST(ShapeTest, LastDimensionIsColumnsAndTheOthersAreRows) {
  const Shape shape{2, 3, 5, 7};
  EXPECT_EQ(shape.size(), 210u);
  EXPECT_EQ(shape.rows(), 30u);
  EXPECT_EQ(shape.cols(), 7u);
  EXPECT_EQ(Shape{4}.rows(), 1u);
  EXPECT_EQ(to_string(shape), "[2, 3, 5, 7]");
}

TEST(ShapeTest, ZeroExtentHasNoElements) {
  EXPECT_EQ((Shape{0, 5}).size(), 0u);
  EXPECT_EQ((Shape{0, 5}).rows(), 0u);
  EXPECT_EQ((Shape{5, 0}).rows(), 5u);
}

TEST(ShapeTest, RefusesFiveDimensions) {
  test::expect_error<ShapeError>([] { Shape{1, 2, 3, 4, 5}; }, {"at most 4 dimensions"});
}

TEST(ShapeTest, ComparesRankAndExtents) {
  EXPECT_EQ((Shape{2, 3}), (Shape{2, 3}));
  EXPECT_NE((Shape{2, 3}), (Shape{3, 2}));
  EXPECT_NE((Shape{2}), (Shape{2, 1}));
  EXPECT_NE(Shape{}, Shape{0});
}

TEST(TensorTest, BeginsAsZeros) {
  const Tensor<float> tensor({2, 3});
  EXPECT_EQ(tensor.values(), std::vector<float>(6, 0.0f));
  EXPECT_TRUE(Tensor<float>().empty());
  EXPECT_TRUE(Tensor<float>({0, 3}).empty());
}

TEST(TensorTest, RefusesAsManyValuesAsTheShapeHasNot) {
  test::expect_error<ShapeError>([] { Tensor<float>({2, 3}, {1, 2, 3}); }, {"expected 6", "[2, 3]", "got 3"});
}

TEST(TensorTest, CopyHasElementsOfItsOwn) {
  Tensor<int> first({2}, {1, 2});
  Tensor<int> second = first;
  second[0] = 9;
  EXPECT_EQ(first[0], 1);
}

class TensorViewTest : public testing::Test {
 protected:
  Tensor<int> tensor_{{2, 2, 3}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}};
};

TEST_F(TensorViewTest, RowsFollowOneAnother) {
  const TensorView<int> view = tensor_.view();
  EXPECT_EQ(view.rows(), 4u);
  EXPECT_EQ(view.row(3)[2], 11);
  EXPECT_TRUE(view.contiguous());
  EXPECT_EQ(view.matrix()(2, 1), 7);
}

TEST_F(TensorViewTest, MiddleColumnsKeepTheDistanceOfRows) {
  const TensorView<int> columns = tensor_.view().middle_cols(1, 2);
  EXPECT_EQ(columns.shape(), (Shape{4, 2}));
  EXPECT_EQ(columns.row_stride(), 3u);
  EXPECT_FALSE(columns.contiguous());
  EXPECT_EQ(columns.row(2)[1], 8);
  EXPECT_EQ(columns.matrix()(3, 0), 10);
  EXPECT_EQ(columns.middle_rows(1, 2).row(1)[0], 7);
}

TEST_F(TensorViewTest, OneRowIsAlwaysContiguous) {
  EXPECT_TRUE(tensor_.view().middle_cols(1, 2).middle_rows(0, 1).contiguous());
  EXPECT_TRUE(tensor_.view().middle_cols(1, 2).middle_rows(0, 0).contiguous());
}

TEST_F(TensorViewTest, WritesThroughToTheTensor) {
  tensor_.view().middle_cols(2, 1).matrix().setConstant(-1);
  EXPECT_EQ(tensor_.values(), (std::vector<int>{0, 1, -1, 3, 4, -1, 6, 7, -1, 9, 10, -1}));
}

TEST_F(TensorViewTest, MutableViewConvertsToAConstantOne) {
  const TensorView<const int> view = tensor_.view().middle_cols(1, 2);
  EXPECT_EQ(view.data(), tensor_.data() + 1);
  EXPECT_EQ(view.row_stride(), 3u);
  static_assert(!std::is_convertible_v<TensorView<const int>, TensorView<int>>);
}

TEST_F(TensorViewTest, DefaultIsEmpty) {
  const TensorView<int> view;
  EXPECT_EQ(view.size(), 0u);
  EXPECT_EQ(view.data(), nullptr);
}

}  // namespace
}  // namespace bertgen
