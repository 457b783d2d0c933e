// Checkpoints made in memory: small, of any configuration, and easy to damage.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "bertgen/generation/generate.hpp"
#include "support/files.hpp"
#include "support/numbers.hpp"

namespace bertgen::test {

/// Sizes that no vector width divides.
inline TransformerConfig tiny_config() {
  TransformerConfig config;
  config.vocab_size = 19;
  config.hidden_size = 15;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 3;
  config.intermediate_size = 21;
  config.max_position_embeddings = 16;
  return config;
}

/// As tiny_config(), of a decoder; `cross`: one that attends to an encoder.
inline TransformerConfig tiny_decoder_config(bool cross = true) {
  TransformerConfig config = tiny_config();
  config.is_decoder = true;
  config.add_cross_attention = cross;
  return config;
}

/// An encoder-decoder of both: start 2, end 1, padding 0.
inline EncoderDecoderConfig tiny_pair() {
  EncoderDecoderConfig config;
  config.encoder = tiny_config();
  config.decoder = tiny_decoder_config();
  config.decoder_start_token_id = 2;
  config.eos_token_id = {1};
  config.pad_token_id = 0;
  return config;
}

/// Named float tensors with random values.
class Checkpoint {
 public:
  explicit Checkpoint(std::uint64_t seed = 1) : random_(seed) {}

  std::map<std::string, Tensor<float>>& tensors() { return tensors_; }
  /// Uniform in centre ± spread.
  void add(const std::string& name, Shape shape, double spread = 0.5, double centre = 0) {
    tensors_[name] = random_tensor<float>(shape, random_.bits(), centre - spread, centre + spread);
  }
  void add_linear(const std::string& name, std::size_t in, std::size_t out) {
    add(name + ".weight", {out, in});
    add(name + ".bias", {out});
  }
  void add_layer_norm(const std::string& name, std::size_t hidden) {
    add(name + ".weight", {hidden}, 0.2, 1);
    add(name + ".bias", {hidden});
  }
  void add_attention(const std::string& name, std::size_t hidden) {
    for (const char* part : {"query", "key", "value"}) add_linear(name + ".self." + part, hidden, hidden);
    add_linear(name + ".output.dense", hidden, hidden);
    add_layer_norm(name + ".output.LayerNorm", hidden);
  }
  /// `name` ends in a dot, or is empty.
  void add_layer(const std::string& name, const TransformerConfig& config) {
    add_attention(name + "attention", config.hidden_size);
    if (config.add_cross_attention) add_attention(name + "crossattention", config.hidden_size);
    add_linear(name + "intermediate.dense", config.hidden_size, config.intermediate_size);
    add_linear(name + "output.dense", config.intermediate_size, config.hidden_size);
    add_layer_norm(name + "output.LayerNorm", config.hidden_size);
  }
  void add_stack(const std::string& name, const TransformerConfig& config) {
    add(name + "embeddings.word_embeddings.weight", {config.vocab_size, config.hidden_size});
    add(name + "embeddings.position_embeddings.weight", {config.max_position_embeddings, config.hidden_size});
    add_layer_norm(name + "embeddings.LayerNorm", config.hidden_size);
    for (std::size_t i = 0; i < config.num_hidden_layers; ++i) {
      add_layer(name + "encoder.layer." + std::to_string(i) + ".", config);
    }
  }
  void add_language_model(const std::string& name, const TransformerConfig& config) {
    add_stack(name + "bert.", config);
    add(name + "lm_head.bias", {config.vocab_size});
  }

  /// The tensors as a model is built from them; they stay alive with the result.
  Weights weights() const {
    Weights weights("memory");
    for (const auto& [name, tensor] : tensors_) {
      auto owner = std::make_shared<const Tensor<float>>(tensor);
      const auto* data = reinterpret_cast<const std::byte*>(owner->data());
      weights.add(name, {DType::f32, owner->shape(), data, owner});
    }
    return weights;
  }
  /// The tensors as a file.
  SafetensorsBuilder file() const {
    SafetensorsBuilder builder;
    for (const auto& [name, tensor] : tensors_) {
      builder.add(name, "F32", {tensor.shape().begin(), tensor.shape().end()}, tensor.values());
    }
    return builder;
  }

 private:
  Random random_;
  std::map<std::string, Tensor<float>> tensors_;
};

inline Checkpoint make_checkpoint(const EncoderDecoderConfig& config, std::uint64_t seed = 1) {
  Checkpoint checkpoint(seed);
  checkpoint.add_stack("encoder.", config.encoder);
  checkpoint.add_language_model("decoder.", config.decoder);
  if (config.encoder.hidden_size != config.decoder.hidden_size) {
    checkpoint.add_linear("enc_to_dec_proj", config.encoder.hidden_size, config.decoder.hidden_size);
  }
  return checkpoint;
}

template <typename T>
BasicEncoder<T> make_encoder(const TransformerConfig& config = tiny_config(), std::uint64_t seed = 1,
                             const BuildOptions& build = {}) {
  Checkpoint checkpoint(seed);
  checkpoint.add_stack("", config);
  const Weights weights = checkpoint.weights();
  return {weights, config, build};
}

template <typename T>
BasicDecoder<T> make_decoder(const TransformerConfig& config = tiny_decoder_config(), std::uint64_t seed = 1,
                             const BuildOptions& build = {}) {
  Checkpoint checkpoint(seed);
  checkpoint.add_language_model("", config);
  const Weights weights = checkpoint.weights();
  return {weights, config, build};
}

template <typename T>
BasicEncoderDecoderModel<T> make_model(const EncoderDecoderConfig& config = tiny_pair(), std::uint64_t seed = 1) {
  const Weights weights = make_checkpoint(config, seed).weights();
  const WeightScope all(weights);
  std::optional<Linear<T>> projection;
  if (config.encoder.hidden_size != config.decoder.hidden_size) {
    projection.emplace(std::initializer_list<WeightScope>{all / "enc_to_dec_proj"}, config.encoder.hidden_size,
                       config.decoder.hidden_size, BuildOptions{});
  }
  return {BasicEncoder<T>(all / "encoder", config.encoder), BasicDecoder<T>(all / "decoder", config.decoder), config,
          std::move(projection)};
}

/// `count` sequences of 1 to `longest` ids of a vocabulary.
inline std::vector<TokenIds> random_ids(std::size_t count, std::size_t longest, std::size_t vocab, std::uint64_t seed) {
  Random random(seed);
  std::vector<TokenIds> rows(count);
  for (TokenIds& row : rows) {
    row.resize(1 + random.below(longest));
    for (TokenId& id : row) id = static_cast<TokenId>(random.below(vocab));
  }
  return rows;
}

}  // namespace bertgen::test
