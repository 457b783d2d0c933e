// All that a forward pass takes and gives, against transformers; see tools/make_forward_fixtures.py.
#include "bertgen/generation/generate.hpp"
#include "support/checkpoint.hpp"
#include "support/errors.hpp"
#include "support/fixture.hpp"

namespace bertgen {
namespace {

/// One model's passes. All rows of a pass are equally long, so packed rows lie as transformers' do.
template <typename T>
class Passes {
 public:
  explicit Passes(const std::string& name)
      : model_(BasicEncoderDecoderModel<T>::from_pretrained(test::data_directory() / "models" / name)) {
    read_safetensors(test::data_directory() / "forward" / (name + ".safetensors"), tensors_);
  }

  static constexpr double tolerance = std::is_same_v<T, float> ? 1e-4 : 1e-9;

  const BasicEncoderDecoderModel<T>& model() const { return model_; }
  bool has(const std::string& name) const { return tensors_.contains(name); }
  Tensor<double> tensor(const std::string& name) const { return tensors_.find(name)->template to<double>(); }
  template <typename Value>
  std::vector<std::vector<Value>> rows(const std::string& name) const {
    if (!has(name)) return {};
    const StoredTensor& stored = *tensors_.find(name);
    std::vector<std::vector<Value>> rows(stored.shape[0]);
    for (std::size_t i = 0; i < stored.shape.size(); ++i) {
      std::int64_t value = 0;
      std::memcpy(&value, stored.data + i * sizeof value, sizeof value);
      rows[i / stored.shape[1]].push_back(static_cast<Value>(value));
    }
    return rows;
  }
  EncoderDecoderInputs inputs(const std::string& pass) const {
    EncoderDecoderInputs inputs;
    inputs.input_ids = rows<TokenId>(pass + "/input_ids");
    inputs.attention_mask = rows<std::uint8_t>(pass + "/attention_mask");
    inputs.token_type_ids = rows<TokenId>(pass + "/token_type_ids");
    inputs.position_ids = rows<std::int32_t>(pass + "/position_ids");
    inputs.decoder_input_ids = rows<TokenId>(pass + "/decoder_input_ids");
    inputs.decoder_attention_mask = rows<std::uint8_t>(pass + "/decoder_attention_mask");
    inputs.decoder_token_type_ids = rows<TokenId>(pass + "/decoder_token_type_ids");
    inputs.decoder_position_ids = rows<std::int32_t>(pass + "/decoder_position_ids");
    inputs.labels = rows<TokenId>(pass + "/labels");
    return inputs;
  }
  /// [rows, length, hidden] as a tensor a row.
  std::vector<Tensor<T>> vectors(const std::string& name) const {
    std::vector<Tensor<T>> found;
    if (!has(name)) return found;
    const Tensor<double> all = tensor(name);
    const Shape shape{all.shape()[1], all.shape()[2]};
    for (std::size_t row = 0; row < all.shape()[0]; ++row) {
      const double* begin = all.data() + row * shape.size();
      found.emplace_back(shape, std::vector<T>(begin, begin + shape.size()));
    }
    return found;
  }
  ForwardArguments<T> arguments(const std::string& pass) const {
    ForwardArguments<T> arguments;
    arguments.output_hidden_states = arguments.output_attentions = arguments.use_cache = true;
    arguments.inputs_embeds = vectors(pass + "/inputs_embeds");
    arguments.decoder_inputs_embeds = vectors(pass + "/decoder_inputs_embeds");
    return arguments;
  }

  void expect(const std::string& name, const std::vector<T>& got) const {
    const Tensor<double> expected = tensor(name);
    ASSERT_EQ(got.size(), expected.size()) << name;
    test::expect_near(Tensor<T>({got.size()}, got), expected, tolerance, name);
  }
  void expect(const std::string& name, const std::vector<Tensor<T>>& got) const {
    std::vector<T> all;
    for (const Tensor<T>& part : got) all.insert(all.end(), part.values().begin(), part.values().end());
    expect(name, all);
  }
  void expect(const std::string& name, const Attentions<T>& got) const {
    std::vector<Tensor<T>> all;
    for (const auto& layer : got) all.insert(all.end(), layer.begin(), layer.end());
    expect(name, all);
  }
  void expect_output(const std::string& pass, const Seq2SeqLMOutput<T>& output) const {
    expect(pass + "/logits", output.logits.values());
    expect(pass + "/decoder_hidden_states", output.decoder_hidden_states);
    expect(pass + "/decoder_attentions", output.decoder_attentions);
    expect(pass + "/cross_attentions", output.cross_attentions);
    if (has(pass + "/encoder_last_hidden_state")) {
      expect(pass + "/encoder_last_hidden_state", output.encoder_last_hidden_state.values());
      expect(pass + "/encoder_hidden_states", output.encoder_hidden_states);
      expect(pass + "/encoder_attentions", output.encoder_attentions);
    }
    if (has(pass + "/loss")) expect(pass + "/loss", std::vector<T>{output.loss.value()});
  }
  /// The keys and values of all tokens but those that the mask of `plain` hides; we keep none of these.
  void expect_cache(const std::string& pass, const EncoderDecoderCache<T>& cache) const {
    const auto mask = rows<std::uint8_t>("plain/decoder_attention_mask");
    const std::size_t hidden = model_.config().decoder.hidden_size;
    for (const char* kind : {"keys", "values"}) {
      const Tensor<double> all = tensor(pass + "/" + kind);  // [layers, rows, heads, tokens, head_dim]
      const std::size_t tokens = all.size() / (cache.layers() * cache.rows() * hidden);
      const std::size_t head_dim = hidden / model_.config().decoder.num_attention_heads;
      for (std::size_t layer = 0; layer < cache.layers(); ++layer) {
        for (std::size_t row = 0; row < cache.rows(); ++row) {
          const Tensor<T> got = cache.key_values(layer, row);
          std::size_t slot = 0;
          for (std::size_t token = 0; token < tokens; ++token) {
            if (token < mask[row].size() && mask[row][token] == 0) continue;
            ASSERT_LT(slot, got.shape()[0]);
            for (std::size_t i = 0; i < hidden; ++i) {
              const std::size_t head = (layer * cache.rows() + row) * (hidden / head_dim) + i / head_dim;
              const double expected = all[(head * tokens + token) * head_dim + i % head_dim];
              const std::size_t column = i + (kind == std::string("values") ? hidden : 0);
              EXPECT_NEAR(got.view().row(slot)[column], expected, tolerance);
            }
            ++slot;
          }
          EXPECT_EQ(slot, got.shape()[0]);
        }
      }
    }
  }

 private:
  BasicEncoderDecoderModel<T> model_;
  Weights tensors_;
};

class ForwardParityTest : public testing::TestWithParam<std::string> {
 protected:
  template <typename T>
  void expect_parity() {
    const Passes<T> passes(GetParam());
    Workspace workspace(1);
    auto plain = passes.model().forward(passes.inputs("plain"), workspace, passes.arguments("plain"));
    passes.expect_output("plain", plain);
    passes.expect_cache("plain", *plain.past_key_values);
    for (const char* pass : {"vectors", "counted"}) {
      passes.expect_output(pass, passes.model().forward(passes.inputs(pass), workspace, passes.arguments(pass)));
    }

    EncoderDecoderInputs more = passes.inputs("more");  // there the mask is of the past, too
    more.decoder_attention_mask.clear();
    ForwardArguments<T> arguments = passes.arguments("more");
    arguments.past_key_values = &*plain.past_key_values;
    const auto continued = passes.model().forward(more, workspace, arguments);
    passes.expect_output("more", continued);
    passes.expect_cache("more", *plain.past_key_values);
    EXPECT_FALSE(continued.past_key_values);
    ForwardArguments<T> by_vectors = passes.arguments("further");
    by_vectors.past_key_values = &*plain.past_key_values;
    passes.expect_output("further", passes.model().forward({}, workspace, by_vectors));
    EXPECT_TRUE(continued.encoder_last_hidden_state.empty());

    const EncoderOutput<T> encoded = passes.model().encode(passes.inputs("plain"), workspace);
    EXPECT_TRUE(test::same_bits(encoded.last_hidden_state, plain.encoder_last_hidden_state));
    EncoderDecoderInputs reused = passes.inputs("reused");
    reused.attention_mask = passes.inputs("plain").attention_mask;
    arguments.past_key_values = nullptr;
    arguments.encoder_outputs = &encoded;
    passes.expect_output("reused", passes.model().forward(reused, workspace, arguments));
  }
};

TEST_P(ForwardParityTest, FloatMatchesTheOracle) { expect_parity<float>(); }
TEST_P(ForwardParityTest, DoubleMatchesTheOracle) { expect_parity<double>(); }

INSTANTIATE_TEST_SUITE_P(Models, ForwardParityTest,
                         testing::Values("start-is-bos", "narrow-encoder", "bert-v4", "roberta-v4",
                                         "pair-generation-roberta", "pair-roberta-bert", "pair-bert-generation"),
                         test::test_name);

class ForwardTest : public testing::Test {
 protected:
  const BasicEncoderDecoderModel<float> model_ = test::make_model<float>();
  Workspace workspace_{1};
  const EncoderDecoderInputs inputs_{.input_ids = {{3, 4, 5}, {6}}, .decoder_input_ids = {{2, 7}, {2, 8, 9}}};
};

TEST_F(ForwardTest, GivesNothingThatIsNotAskedFor) {
  const auto output = model_.forward(inputs_, workspace_);
  EXPECT_TRUE(output.encoder_hidden_states.empty() && output.encoder_attentions.empty());
  EXPECT_TRUE(output.decoder_hidden_states.empty() && output.decoder_attentions.empty());
  EXPECT_TRUE(output.cross_attentions.empty() && !output.past_key_values && !output.loss);
}

TEST_F(ForwardTest, WhatIsAskedForChangesNoBit) {
  const auto output = model_.forward(inputs_, workspace_);
  const std::size_t warm = workspace_.capacity();
  const auto all =
      model_.forward(inputs_, workspace_, {.output_hidden_states = true, .output_attentions = true, .use_cache = true});
  EXPECT_TRUE(test::same_bits(all.logits, output.logits));
  EXPECT_EQ(workspace_.capacity(), warm);
  EXPECT_EQ(all.decoder_hidden_states.size(), 3u);
  EXPECT_TRUE(test::same_bits(all.encoder_hidden_states.back(), output.encoder_last_hidden_state));
  // Sequences of their own lengths: [heads, queries, keys].
  EXPECT_EQ(all.encoder_attentions.at(1).at(0).shape(), (Shape{3, 3, 3}));
  EXPECT_EQ(all.encoder_attentions.at(1).at(1).shape(), (Shape{3, 1, 1}));
  EXPECT_EQ(all.decoder_attentions.at(0).at(1).shape(), (Shape{3, 3, 3}));
  EXPECT_EQ(all.cross_attentions.at(0).at(1).shape(), (Shape{3, 3, 1}));
  EXPECT_EQ(all.past_key_values->key_values(0, 1).shape(), (Shape{3, 30}));
}

TEST_F(ForwardTest, ManyDecodersShareOneEncoding) {
  const EncoderOutput<float> encoded = model_.encode(inputs_, workspace_);
  const auto expected = model_.forward(inputs_, workspace_);
  const auto output =
      model_.forward({.decoder_input_ids = inputs_.decoder_input_ids}, workspace_, {.encoder_outputs = &encoded});
  EXPECT_TRUE(test::same_bits(output.logits, expected.logits));
  EXPECT_TRUE(output.encoder_last_hidden_state.empty());

  GenerationConfig config = model_.generation_config();
  config.max_new_tokens = 8;
  GenerateArguments<float> arguments;
  arguments.encoder_outputs = &encoded;
  for (std::size_t beams : {1u, 3u}) {
    config.num_beams = beams;
    const GenerateInputs inputs{.input_ids = inputs_.input_ids, .attention_mask = {{1, 0, 1}, {1}}};
    const EncoderOutput<float> masked =
        model_.encode({.input_ids = inputs.input_ids, .attention_mask = inputs.attention_mask}, workspace_);
    arguments.encoder_outputs = &masked;
    const auto answers = generate(model_, inputs, config, workspace_, arguments).sequences;
    const auto expected_answers = generate(model_, inputs, config, workspace_).sequences;
    for (std::size_t i = 0; i < answers.size(); ++i) EXPECT_EQ(answers[i].ids, expected_answers[i].ids);
  }
}

TEST_F(ForwardTest, WhatIsRefusedLeavesTheCacheAsItWas) {
  auto past = *model_.forward(inputs_, workspace_, {.use_cache = true}).past_key_values;
  for (const EncoderDecoderInputs& more :
       {EncoderDecoderInputs{.decoder_input_ids = {{99}, {3}}},
        EncoderDecoderInputs{.decoder_input_ids = {{4}, {3}}, .labels = {{5}, {6, 7}}},
        EncoderDecoderInputs{.decoder_input_ids = {{4}, {3}}, .labels = {{5}, {99}}},
        EncoderDecoderInputs{.decoder_input_ids = {{4}, {3}}, .decoder_position_ids = {{15}, {16}}}}) {
    EXPECT_THROW(model_.forward(more, workspace_, {.past_key_values = &past}), Error);
    EXPECT_EQ(past.length(0), 2u);
    EXPECT_EQ(past.length(1), 3u);
  }
}

TEST_F(ForwardTest, RefusesWhatDoesNotFit) {
  const auto expect_refused = [&](auto error, const EncoderDecoderInputs& inputs, const ForwardArguments<float>& given,
                                  std::initializer_list<std::string_view> parts) {
    test::expect_error<decltype(error)>([&] { model_.forward(inputs, workspace_, given); }, parts);
  };
  const Tensor<float> vectors({2, 15});
  expect_refused(ArgumentError(""), inputs_, {.inputs_embeds = {vectors, vectors}}, {"input_ids or inputs_embeds"});
  expect_refused(ArgumentError(""), inputs_, {.decoder_inputs_embeds = {vectors, vectors}},
                 {"decoder_input_ids or decoder_inputs_embeds"});
  expect_refused(ShapeError(""), {.decoder_input_ids = {{2}}}, {.inputs_embeds = {Tensor<float>({2, 14})}},
                 {"inputs_embeds", "[length, 15]", "[2, 14]"});
  EncoderDecoderInputs positions = inputs_;
  positions.position_ids = {{0, 1}, {}};
  expect_refused(ShapeError(""), positions, {}, {"position_ids", "row 0"});
  positions.position_ids = {{0, 1, 16}, {}};
  expect_refused(ArgumentError(""), positions, {}, {"max_position_embeddings", "16"});
  EncoderOutput<float> encoded = model_.encode(inputs_, workspace_);
  encoded.lengths = {3, 2};
  expect_refused(ShapeError(""), {.decoder_input_ids = {{2}, {2}}}, {.encoder_outputs = &encoded},
                 {"encoder_outputs", "[5, 15]", "[4, 15]"});
  positions = inputs_;
  positions.decoder_position_ids = {{0, 1}, {}};
  expect_refused(ShapeError(""), positions, {}, {"decoder_position_ids", "sequence 1"});
  auto cache = model_.decoder().make_cache(3);
  expect_refused(ShapeError(""), {.decoder_input_ids = {{2}}}, {.past_key_values = &cache}, {"expected 3", "got 1"});
  GenerateArguments<float> arguments;
  arguments.encoder_outputs = &encoded;
  test::expect_error<ShapeError>(
      [&] {
        GenerationConfig config = model_.generation_config();
        config.max_new_tokens = 3;
        generate(model_, {.input_ids = {{3, 4, 5}, {6}}}, config, workspace_, arguments);
      },
      {"encoder_outputs"});
}

}  // namespace
}  // namespace bertgen
