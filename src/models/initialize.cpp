#include "initialize.hpp"

#include <cmath>
#include <numbers>
#include <random>

namespace bertgen {
namespace {

/// FNV-1a: the same number for a name everywhere, which std::hash does not promise.
std::uint64_t hash(std::string_view name) {
  std::uint64_t hash = 14695981039346656037ull;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return hash;
}

class Initializer {
 public:
  /// Matrices get a standard deviation of `range`.
  Initializer(Weights& weights, double range, std::uint64_t seed) : weights_(weights), range_(range), seed_(seed) {}

  /// torch.nn.Linear.
  void linear(const std::string& name, std::size_t in, std::size_t out) {
    add(name + ".weight", {out, in},
        [this, engine = std::mt19937_64(seed_ ^ hash(name))]() mutable { return normal(engine); });
    bias(name + ".bias", out);
  }
  void bias(const std::string& name, std::size_t size) {
    add(name, {size}, [] { return 0.0f; });
  }
  void layer_norm(const std::string& name, std::size_t hidden) {
    add(name + ".weight", {hidden}, [] { return 1.0f; });
    bias(name + ".bias", hidden);
  }

 private:
  template <typename Next>
  void add(const std::string& name, const Shape& shape, Next next) {
    if (weights_.contains(name)) return;
    auto tensor = std::make_shared<Tensor<float>>(shape);
    for (std::size_t i = 0; i < tensor->size(); ++i) tensor->data()[i] = next();
    const auto* data = reinterpret_cast<const std::byte*>(tensor->data());
    weights_.add(name, {DType::f32, shape, data, std::move(tensor)});
  }

  /// Box and Muller's, since the standard's normal_distribution is another one in every library.
  float normal(std::mt19937_64& engine) const {
    const double scale = 0x1p-53;
    const double radius = (static_cast<double>(engine() >> 11) + 1) * scale;  // in (0, 1]
    const double angle = static_cast<double>(engine() >> 11) * scale;
    return static_cast<float>(range_ * std::sqrt(-2 * std::log(radius)) * std::cos(2 * std::numbers::pi * angle));
  }

  Weights& weights_;
  double range_;
  std::uint64_t seed_;
};

}  // namespace

void initialize_missing_encoder(Weights& weights, const TransformerConfig& config, std::uint64_t seed) {
  if (!config.family().pooler) return;
  const std::string base = base_scope(weights, config.family()).path("");
  Initializer(weights, config.initializer_range, seed)
      .linear(base + "pooler.dense", config.hidden_size, config.hidden_size);
}

void initialize_missing_decoder(Weights& weights, const TransformerConfig& config, std::uint64_t seed) {
  const Family& family = config.family();
  const std::string base = base_scope(weights, family).path("");
  const std::size_t hidden = config.hidden_size;
  Initializer initializer(weights, config.initializer_range, seed);
  for (std::size_t i = 0; config.add_cross_attention && i < config.num_hidden_layers; ++i) {
    const std::string layer = base + "encoder.layer." + std::to_string(i) + ".crossattention.";
    for (const char* part : {"self.query", "self.key", "self.value", "output.dense"}) {
      initializer.linear(layer + part, hidden, hidden);
    }
    initializer.layer_norm(layer + "output.LayerNorm", hidden);
  }
  const std::string head = std::string(family.lm_head.head) + ".";
  if (!family.lm_head.dense.empty()) {
    initializer.linear(head + std::string(family.lm_head.dense), hidden, hidden);
    initializer.layer_norm(head + std::string(family.lm_head.layer_norm), hidden);
  }
  const bool has_matrix = config.tie_word_embeddings || weights.contains(head + "decoder.weight");
  if (!has_matrix) initializer.linear(head + "decoder", hidden, config.vocab_size);
  if (!weights.contains(head + "decoder.bias")) initializer.bias(head + "bias", config.vocab_size);
}

void initialize_projection(Weights& weights, std::size_t encoder_hidden_size, const TransformerConfig& decoder,
                           std::uint64_t seed) {
  Initializer(weights, decoder.initializer_range, seed)
      .linear("enc_to_dec_proj", encoder_hidden_size, decoder.hidden_size);
}

}  // namespace bertgen
