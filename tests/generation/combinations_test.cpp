// Random combinations of options against what transformers answers for them; see tools/make_generation_fixtures.py.
#include <fstream>
#include <map>

#include "bertgen/generation/generate.hpp"
#include "support/fixture.hpp"

namespace bertgen {
namespace {

using Json = nlohmann::json;

Json read(const std::string& name) {
  std::ifstream file(test::data_directory() / "generation" / name);
  return Json::parse(file).at("entries");
}

/// What prefix_allowed_tokens_fn was.
PrefixAllowedTokens allowed(TokenId modulus) {
  return [modulus](std::size_t batch_id, std::span<const TokenId> ids) {
    TokenIds tokens;
    for (TokenId id = 0; id < 40; ++id) {
      if ((id + ids.back() + static_cast<TokenId>(batch_id)) % modulus == 0) tokens.push_back(id);
    }
    return tokens;
  };
}

template <typename T>
class CombinationsTest : public testing::Test {
 protected:
  static constexpr bool is_float = std::is_same_v<T, float>;
  // As in generate_test.cpp; what is printed has 8 digits behind the point.
  static constexpr double tolerance = is_float ? 1e-4 : 2e-8;

  const BasicEncoderDecoderModel<T>& model(const std::string& name) {
    auto& model = models_[name];
    if (!model) {
      model.emplace(BasicEncoderDecoderModel<T>::from_pretrained(test::data_directory() / "models" / name));
    }
    return *model;
  }

  BasicGenerateOutput<T> run(const Json& entry, const Json& more = Json::object(),
                             const BasicEncoderDecoderModel<T>* assistant = nullptr) {
    const auto& model = this->model(entry.at("model"));
    Json options = entry.at("generation");
    options.update(more);
    GenerateArguments<T> arguments;
    arguments.assistant_model = assistant;
    if (options.contains("prefix_modulus")) arguments.prefix_allowed_tokens_fn = allowed(options["prefix_modulus"]);
    options.erase("prefix_modulus");
    GenerationConfig config = model.generation_config();
    config.update(options.dump(), "entry");
    GenerateInputs inputs;
    inputs.input_ids = entry.at("input_ids").get<std::vector<TokenIds>>();
    if (entry.contains("attention_mask")) {
      inputs.attention_mask = entry["attention_mask"].get<std::vector<AttentionMask>>();
    }
    if (entry.contains("decoder_input_ids")) {
      inputs.decoder_input_ids = entry["decoder_input_ids"].get<std::vector<TokenIds>>();
    }
    return generate(model, inputs, config, workspace_, arguments);
  }

  /// `score_tolerance`: where the scores that were printed are float32's.
  void expect_answers(const std::string& file, std::size_t least, double score_tolerance) {
    const Json entries = read(file);
    ASSERT_GE(entries.size(), least);
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const Json& entry = entries[i];
      SCOPED_TRACE(file + " " + std::to_string(i) + " " + entry.at("model").get<std::string>() + " " +
                   entry.at("generation").dump());
      const auto sequences = run(entry).sequences;
      ASSERT_EQ(sequences.size(), entry.at("sequences").size());
      for (std::size_t s = 0; s < sequences.size(); ++s) {
        SCOPED_TRACE("sequence " + std::to_string(s));
        EXPECT_EQ(sequences[s].ids, entry["sequences"][s].get<TokenIds>());
        EXPECT_NEAR(sequences[s].score, entry.at("scores")[s].get<double>(), score_tolerance);
        if (entry.contains("beam_indices")) {
          EXPECT_EQ(sequences[s].beam_indices, entry["beam_indices"][s].get<std::vector<std::size_t>>());
        }
        if (!entry.contains("token_logprobs")) continue;
        const auto expected = entry["token_logprobs"][s].get<std::vector<double>>();
        ASSERT_EQ(sequences[s].token_log_probs.size(), expected.size());
        for (std::size_t t = 0; t < expected.size(); ++t) {
          EXPECT_NEAR(sequences[s].token_log_probs[t], expected[t], tolerance) << t;
        }
      }
    }
  }

 private:
  std::map<std::string, std::optional<BasicEncoderDecoderModel<T>>> models_;
  Workspace workspace_{1};
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(CombinationsTest, Scalars);

TYPED_TEST(CombinationsTest, AnswersAreThoseOfTransformers5) {
  this->expect_answers("combinations.json", 400, this->tolerance);
}

TYPED_TEST(CombinationsTest, AnswersOfRemovedSearchesAreThoseOfTransformers4) {
  this->expect_answers("combinations_v4.json", 300, 1e-4);
}

TYPED_TEST(CombinationsTest, GuessesChangeNoAnswer) {
  std::size_t steps = 0;
  std::size_t tokens = 0;
  for (const Json& entry : read("combinations.json")) {
    if (entry.at("generation").at("num_beams") != 1) continue;
    SCOPED_TRACE(entry.at("model").get<std::string>() + " " + entry.at("generation").dump());
    const auto expect_same = [&](const BasicGenerateOutput<TypeParam>& output) {
      for (std::size_t s = 0; s < output.sequences.size(); ++s) {
        EXPECT_EQ(output.sequences[s].ids, entry.at("sequences")[s].get<TokenIds>());
        EXPECT_NEAR(output.sequences[s].score, entry.at("scores")[s].get<double>(), this->tolerance);
        steps += output.sequences[s].steps;
        tokens += output.sequences[s].token_log_probs.size();
      }
    };
    expect_same(this->run(entry, {{"source_lookup_num_tokens", 4}, {"prompt_lookup_num_tokens", 3}}));
    const Json no_lookup = {{"prompt_lookup_num_tokens", nullptr}, {"assistant_confidence_threshold", 0.1}};
    expect_same(this->run(entry, no_lookup, &this->model(entry.at("model"))));
  }
  EXPECT_LT(steps, tokens * 3 / 4);
}

TYPED_TEST(CombinationsTest, ScoresAndLogitsAreThoseOfTransformers) {
  const Json entries = read("combinations.json");
  Weights tensors;
  read_safetensors(test::data_directory() / "generation/scores.safetensors", tensors);
  int found = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::string name = std::to_string(i) + "/";
    if (!tensors.contains(name + "scores")) continue;
    ++found;
    SCOPED_TRACE(name + entries[i].at("generation").dump());
    const auto output = this->run(entries[i], {{"output_scores", true}, {"output_logits", true}});
    for (const auto& [kind, steps] : {std::pair{"scores", &output.scores}, {"logits", &output.logits}}) {
      const Tensor<double> expected = tensors.find(name + kind)->template to<double>();
      ASSERT_EQ(steps->size(), expected.shape()[0]) << kind;
      for (std::size_t step = 0; step < steps->size(); ++step) {
        const Tensor<TypeParam>& got = (*steps)[step];
        ASSERT_EQ(got.shape(), (Shape{expected.shape()[1], expected.shape()[2]}));
        for (std::size_t j = 0; j < got.size(); ++j) {
          const double wanted = expected[step * got.size() + j];
          if (std::isfinite(wanted)) {
            // float32 has 24 bits, and values are below 32.
            ASSERT_NEAR(got[j], wanted, this->is_float ? 1e-4 : 4e-6) << kind << " step " << step << " element " << j;
          } else {
            ASSERT_EQ(got[j], wanted) << kind << " step " << step << " element " << j;
          }
        }
      }
    }
  }
  EXPECT_GE(found, 8);
}

}  // namespace
}  // namespace bertgen
