#include "bertgen/nn/layer.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support/checkpoint.hpp"
#include "support/errors.hpp"

namespace bertgen {
namespace {

using test::Checkpoint;
using test::random_tensor;
using Matrix = TensorView<double>::Matrix;

/// A layer by its definition, on Eigen matrices in double; `visible(query, key)` is the mask.
class ReferenceLayer {
 public:
  ReferenceLayer(const Checkpoint& checkpoint, const TransformerConfig& config)
      : weights_(checkpoint.weights()), config_(config) {}

  template <typename Visible>
  Matrix attend(const std::string& name, const Matrix& hidden, const Matrix& states, Visible visible) const {
    const Matrix q = linear(name + ".self.query", hidden);
    const Matrix k = linear(name + ".self.key", states);
    const Matrix v = linear(name + ".self.value", states);
    Matrix context = Matrix::Zero(q.rows(), q.cols());
    const auto heads = static_cast<Eigen::Index>(config_.num_attention_heads);
    const Eigen::Index d = q.cols() / heads;
    for (Eigen::Index head = 0; head < heads; ++head) {
      for (Eigen::Index i = 0; i < q.rows(); ++i) {
        double sum = 0;
        for (Eigen::Index j = 0; j < k.rows(); ++j) {
          if (!visible(i, j)) continue;
          const double weight =
              std::exp(q.block(i, head * d, 1, d).row(0).dot(k.block(j, head * d, 1, d).row(0)) / std::sqrt(double(d)));
          sum += weight;
          context.block(i, head * d, 1, d) += weight * v.block(j, head * d, 1, d);
        }
        if (sum != 0) context.block(i, head * d, 1, d) /= sum;
      }
    }
    return norm(name + ".output.LayerNorm", linear(name + ".output.dense", context) + hidden);
  }
  Matrix feed_forward(const Matrix& hidden) const {
    const Matrix wide = linear("intermediate.dense", hidden).unaryExpr([](double x) {
      return x * 0.5 * (1 + std::erf(x / std::sqrt(2.0)));
    });
    return norm("output.LayerNorm", linear("output.dense", wide) + hidden);
  }

 private:
  Matrix tensor(const std::string& name) const { return weights_.find(name)->to<double>().view().matrix(); }
  Matrix linear(const std::string& name, const Matrix& x) const {
    return (x * tensor(name + ".weight").transpose()).rowwise() + tensor(name + ".bias").row(0);
  }
  Matrix norm(const std::string& name, Matrix x) const {
    for (Eigen::Index i = 0; i < x.rows(); ++i) {
      x.row(i).array() -= x.row(i).mean();
      x.row(i) /= std::sqrt(x.row(i).squaredNorm() / static_cast<double>(x.cols()) + config_.layer_norm_eps);
    }
    return (x.array().rowwise() * tensor(name + ".weight").row(0).array()).matrix().rowwise() +
           tensor(name + ".bias").row(0);
  }

  Weights weights_;
  TransformerConfig config_;
};

/// Sums of up to 21 terms below 10 in at most ten operations one after another; the layer norms amplify by at most the
/// inverse of a deviation above 0.1.
template <typename T>
constexpr double tolerance = 10 * 10 * 10 * test::rounding<T>(24);

template <typename T>
class LayerTest : public testing::Test {
 protected:
  explicit LayerTest() { checkpoint_.add_layer("", config_); }

  Layer<T> layer() const {
    const Weights weights = checkpoint_.weights();
    return {weights, config_.layer_config({}), config_.add_cross_attention};
  }
  static Matrix as_double(const Tensor<T>& tensor) { return tensor.view().matrix().template cast<double>(); }
  static void expect_close(const Tensor<T>& got, const Matrix& expected) {
    EXPECT_LE((as_double(got) - expected).cwiseAbs().maxCoeff(), tolerance<T>);
  }

  TransformerConfig config_ = test::tiny_decoder_config();
  Checkpoint checkpoint_{7};
  Workspace workspace_{2};
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(LayerTest, Scalars);

TYPED_TEST(LayerTest, InAnEncoderEachGroupFollowsTheDefinition) {
  Tensor<TypeParam> hidden = random_tensor<TypeParam>({7, 15}, 1);
  const ReferenceLayer reference(this->checkpoint_, this->config_);
  const auto same_group = [](Eigen::Index i, Eigen::Index j) { return (i < 4) == (j < 4); };
  const Matrix x = this->as_double(hidden);
  const Matrix expected = reference.feed_forward(reference.attend("attention", x, x, same_group));
  const std::vector<AttentionGroup> groups = {{0, 4, 0, 4, nullptr, nullptr}, {4, 3, 4, 3, nullptr, nullptr}};
  this->layer().forward(hidden.view(), groups, this->workspace_);
  this->expect_close(hidden, expected);
}

TYPED_TEST(LayerTest, InADecoderItIsCausalAndThenLooksAtTheSource) {
  Tensor<TypeParam> hidden = random_tensor<TypeParam>({5, 15}, 1);
  const Tensor<TypeParam> states = random_tensor<TypeParam>({4, 15}, 2);
  const ReferenceLayer reference(this->checkpoint_, this->config_);
  const Matrix x = this->as_double(hidden);
  Matrix expected = reference.attend("attention", x, x, [](Eigen::Index i, Eigen::Index j) { return j <= i; });
  expected = reference.attend("crossattention", expected, this->as_double(states),
                              [](Eigen::Index, Eigen::Index j) { return j != 2; });
  expected = reference.feed_forward(expected);

  EncoderDecoderCache<TypeParam> cache(1, 15, 1, 1, 5);
  cache.set_sources({0, 4}, {{0, 1, 3}});
  const Layer<TypeParam> layer = this->layer();
  layer.project_states(states, cache, 0, this->workspace_);
  cache.append(std::vector<std::size_t>{0, 5}, {}, true);
  layer.forward(hidden.view(), cache, 0, this->workspace_);
  this->expect_close(hidden, expected);
}

TYPED_TEST(LayerTest, StepByStepEqualsOnePass) {
  const Tensor<TypeParam> states = random_tensor<TypeParam>({4, 15}, 2);
  const Tensor<TypeParam> x = random_tensor<TypeParam>({6, 15}, 3);
  const Layer<TypeParam> layer = this->layer();
  const auto run = [&](std::size_t tokens) {
    EncoderDecoderCache<TypeParam> cache(1, 15, 1, 1, 6);
    cache.set_sources({0, 4}, {});
    layer.project_states(states, cache, 0, this->workspace_);
    Tensor<TypeParam> hidden = x;
    for (std::size_t first = 0; first < 6; first += tokens) {
      cache.append(std::vector<std::size_t>{0, tokens}, {}, true);
      layer.forward(hidden.view().middle_rows(first, tokens), cache, 0, this->workspace_);
    }
    return hidden;
  };
  EXPECT_LE(test::largest_difference(run(6), run(1)), tolerance<TypeParam>);
  EXPECT_LE(test::largest_difference(run(6), run(3)), tolerance<TypeParam>);
}

TYPED_TEST(LayerTest, WithoutASourceCrossAttentionIsSkipped) {
  Tensor<TypeParam> hidden = random_tensor<TypeParam>({3, 15}, 1);
  Tensor<TypeParam> alone = hidden;
  EncoderDecoderCache<TypeParam> cache(1, 15, 1, 1, 3);
  cache.append(std::vector<std::size_t>{0, 3}, {}, false);
  const Layer<TypeParam> layer = this->layer();
  EXPECT_TRUE(layer.has_cross_attention());
  layer.forward(hidden.view(), cache, 0, this->workspace_);
  const std::vector<AttentionGroup> groups = {{0, 3, 0, 3, nullptr, nullptr}};
  layer.forward(alone.view(), groups, this->workspace_);
  EXPECT_LE(test::largest_difference(hidden, alone), tolerance<TypeParam>);
}

TYPED_TEST(LayerTest, NoRowsAreNoError) {
  Tensor<TypeParam> hidden({0, 15});
  this->layer().forward(hidden.view(), {}, this->workspace_);
}

TYPED_TEST(LayerTest, MissingTensorIsNamedWithItsPath) {
  for (const char* name : {"attention.self.key.weight", "attention.self.value.bias", "attention.output.dense.weight",
                           "attention.output.LayerNorm.bias", "crossattention.self.query.weight",
                           "intermediate.dense.bias", "output.dense.weight", "output.LayerNorm.weight"}) {
    Checkpoint damaged = this->checkpoint_;
    damaged.tensors().erase(name);
    const Weights weights = damaged.weights();
    test::expect_error<CheckpointError>([&] { Layer<TypeParam>(weights, this->config_.layer_config({}), true); },
                                        {std::string(name) + ": expected a tensor of shape [", "found none"});
  }
}

TYPED_TEST(LayerTest, ReadsEveryTensorOfALayer) {
  const Weights weights = this->checkpoint_.weights();
  const Layer<TypeParam> layer(weights, this->config_.layer_config({}), true);
  weights.require_all_used();
  // Eight square matrices and two of 15 × 21, at least.
  EXPECT_GE(layer.bytes(), (8 * 15 * 15 + 2 * 15 * 21) * sizeof(TypeParam));
}

/// A layer whose products are of a narrower type, and what lies between them of bf16. The wider sizes are read where
/// they lie, the others filled up.
class NarrowLayerTest : public testing::TestWithParam<std::tuple<DType, std::size_t>> {
 protected:
  NarrowLayerTest() {
    config_.hidden_size = std::get<1>(GetParam());
    config_.intermediate_size = 2 * config_.hidden_size;
    checkpoint_.add_layer("", config_);
  }
  Layer<float> layer() const {
    const Weights weights = checkpoint_.weights();
    return {weights, config_.layer_config({.dtype = std::get<0>(GetParam())}), true};
  }
  EncoderDecoderCache<float> cache(const Layer<float>& layer) const {
    return {1, config_.hidden_size, 1, 1, 20, nullptr, layer.cache_dtype()};
  }

  TransformerConfig config_ = test::tiny_decoder_config();
  Checkpoint checkpoint_{7};
  Workspace workspace_{2};
};
INSTANTIATE_TEST_SUITE_P(Types, NarrowLayerTest,
                         testing::Combine(testing::Values(DType::bf16, DType::i8), testing::Values(15u, 96u)),
                         [](const auto& param) {
                           return std::string(dtype_name(std::get<0>(param.param))) + "_" +
                                  std::to_string(std::get<1>(param.param));
                         });

// Rounding was seen to change the result by up to 0.032 of its size. Seen to fail with keys in the place of values, and
// with queries kept in the cache for keys.
TEST_P(NarrowLayerTest, FollowsTheDefinition) {
  const std::size_t hidden_size = config_.hidden_size;
  const Layer<float> layer = this->layer();
  const Tensor<float> states = random_tensor<float>({4, hidden_size}, 2);
  const ReferenceLayer reference(checkpoint_, config_);
  for (std::size_t tokens : {5u, 19u}) {
    Tensor<float> hidden = random_tensor<float>({tokens, hidden_size}, 1);
    const auto as_double = [](const Tensor<float>& tensor) -> Matrix { return tensor.view().matrix().cast<double>(); };
    Matrix expected = reference.attend("attention", as_double(hidden), as_double(hidden),
                                       [](Eigen::Index i, Eigen::Index j) { return j <= i; });
    expected = reference.attend("crossattention", expected, as_double(states),
                                [](Eigen::Index, Eigen::Index j) { return j != 2; });
    expected = reference.feed_forward(expected);
    EncoderDecoderCache<float> cache = this->cache(layer);
    cache.set_sources({0, 4}, {{0, 1, 3}});
    layer.project_states(states, cache, 0, workspace_);
    cache.append(std::vector<std::size_t>{0, tokens}, {}, true);
    layer.forward(hidden.view(), cache, 0, workspace_);
    EXPECT_LE((as_double(hidden) - expected).norm() / expected.norm(), 0.05) << tokens;
  }
}

// Seen to fail with the first row's keys and values for all.
TEST_P(NarrowLayerTest, StepByStepGivesTheBitsOfOnePass) {
  const Layer<float> layer = this->layer();
  const Tensor<float> x = random_tensor<float>({6, config_.hidden_size}, 3);
  const auto run = [&](std::size_t tokens, bool as_encoder) {
    EncoderDecoderCache<float> cache = this->cache(layer);
    Tensor<float> hidden = x;
    const AttentionGroup all{0, 6, 0, 6, nullptr, nullptr};
    if (as_encoder) layer.forward(hidden.view(), std::span(&all, 1), workspace_);
    for (std::size_t first = 0; !as_encoder && first < 6; first += tokens) {
      cache.append(std::vector<std::size_t>{0, tokens}, {}, tokens != 6);
      layer.forward(hidden.view().middle_rows(first, tokens), cache, 0, workspace_);
    }
    return hidden;
  };
  EXPECT_TRUE(test::same_bits(run(6, false), run(6, true)));
  EXPECT_TRUE(test::same_bits(run(1, false), run(3, false)));
}

// Seen to fail with the bits of BFloat16 taken for numbers.
TEST_P(NarrowLayerTest, WeightsOfAttentionAreThoseOfFloats) {
  const Weights weights = checkpoint_.weights();
  const auto attentions_of = [&](const Layer<float>& one) {
    Tensor<float> hidden = random_tensor<float>({11, config_.hidden_size}, 3);
    const AttentionGroup all{0, 11, 0, 11, nullptr, nullptr};
    AttentionRecord<float> record{{{all, 11}}};
    one.forward(hidden.view(), std::span(&all, 1), workspace_, &record);
    return record.weights.at(0).at(0);
  };
  const Tensor<float> narrow = attentions_of(layer());
  const Tensor<float> wide = attentions_of(Layer<float>(weights, config_.layer_config({}), true));
  ASSERT_EQ(narrow.shape(), wide.shape());
  const auto spread = wide.view().matrix().array() - 1.0f / 11;
  EXPECT_LE((narrow.view().matrix() - wide.view().matrix()).norm() / spread.matrix().norm(), 0.05);
}

/// The checkpoint's tensors, but int8 those whose names begin with one of `quantized` and end in ".weight".
Weights partly_quantized(Checkpoint checkpoint, std::initializer_list<std::string> quantized) {
  Weights weights("memory");
  for (const auto& [name, floats] : checkpoint.tensors()) {
    const bool chosen = std::any_of(quantized.begin(), quantized.end(),
                                    [&, &name = name](const std::string& start) { return name.starts_with(start); });
    if (!chosen || floats.shape().rank() != 2) {
      weights.add(name, test::stored(floats));
      continue;
    }
    const auto values = std::make_shared<std::vector<std::int8_t>>();
    const auto scales = std::make_shared<std::vector<float>>();
    for (std::size_t row = 0; row < floats.shape().rows(); ++row) {
      const auto of_row = floats.view().middle_rows(row, 1).matrix();
      scales->push_back(of_row.cwiseAbs().maxCoeff() / 127);
      for (Eigen::Index i = 0; i < of_row.cols(); ++i) {
        values->push_back(static_cast<std::int8_t>(std::lround(of_row(0, i) / scales->back())));
      }
    }
    const auto scale = std::make_shared<StoredTensor>(
        StoredTensor{DType::f32, {scales->size()}, reinterpret_cast<const std::byte*>(scales->data()), scales});
    weights.add(name, {DType::i8, floats.shape(), reinterpret_cast<const std::byte*>(values->data()), values, scale});
  }
  return weights;
}

// What lies between products is of the wider type where one of them is, and only then. Seen to fail with the type of
// the product behind attention forgotten, of the feed-forward's second, and of cross-attention.
TEST(PartlyQuantizedLayerTest, ComputesAsOneOfFloats) {
  const TransformerConfig config = test::tiny_decoder_config();
  Checkpoint checkpoint(7);
  checkpoint.add_layer("", config);
  Workspace workspace;
  const auto run = [&](const Layer<float>& layer) {
    const Tensor<float> states = random_tensor<float>({4, 15}, 2);
    Tensor<float> hidden = random_tensor<float>({5, 15}, 1);
    EncoderDecoderCache<float> cache(1, 15, 1, 1, 5, nullptr, layer.cache_dtype());
    cache.set_sources({0, 4}, {});
    layer.project_states(states, cache, 0, workspace);
    cache.append(std::vector<std::size_t>{0, 5}, {}, true);
    layer.forward(hidden.view(), cache, 0, workspace);
    return hidden;
  };
  const Weights floats = checkpoint.weights();
  const Tensor<float> expected = run(Layer<float>(floats, config.layer_config({}), true));
  const auto check = [&](std::initializer_list<std::string> quantized, DType cache) {
    const Weights weights = partly_quantized(checkpoint, quantized);
    const Layer<float> layer(weights, config.layer_config({}), true);
    EXPECT_EQ(layer.cache_dtype(), cache) << *quantized.begin();
    const Tensor<float> got = run(layer);
    EXPECT_LE((got.view().matrix() - expected.view().matrix()).norm() / expected.view().matrix().norm(), 0.05)
        << *quantized.begin();
  };
  check({"intermediate.dense"}, DType::f32);
  check({"output.dense"}, DType::f32);
  check({"attention.self"}, DType::f32);
  check({"attention.self.query"}, DType::f32);
  check({"attention.output"}, DType::f32);
  check({"attention"}, DType::f32);
  check({"crossattention"}, DType::f32);
  check({"crossattention.self.query", "attention"}, DType::f32);
  check({"crossattention.self", "attention"}, DType::f32);
  check({"crossattention", "attention.self"}, DType::f32);
  check({"crossattention", "attention"}, DType::bf16);
  check({"crossattention", "attention", "intermediate", "output"}, DType::bf16);
}

TEST_P(NarrowLayerTest, TakesACacheOfFloatsButGivesItsOwnToNoLayerOfFloats) {
  const Layer<float> layer = this->layer();
  EXPECT_EQ(layer.cache_dtype(), DType::bf16);
  const Weights weights = checkpoint_.weights();
  const Layer<float> of_floats(weights, config_.layer_config({}), true);
  EXPECT_EQ(of_floats.cache_dtype(), DType::f32);
  const auto run = [&](const Layer<float>& one, EncoderDecoderCache<float>&& cache) {
    Tensor<float> hidden = random_tensor<float>({3, config_.hidden_size}, 3);
    cache.append(std::vector<std::size_t>{0, 3}, {}, true);
    one.forward(hidden.view(), cache, 0, workspace_);
    return hidden;
  };
  EXPECT_LE(test::largest_difference(run(layer, cache(of_floats)), run(layer, cache(layer))), 0.1);
  test::expect_error<ArgumentError>([&] { run(of_floats, cache(layer)); }, {"expected rows of F32", "got BF16"});
}

}  // namespace
}  // namespace bertgen
