#include "initialize.hpp"

#include <cmath>
#include <numbers>
#include <random>

namespace bertgen {
namespace {

constexpr double initializer_range = 0.02;  // of all families' configurations

/// FNV-1a: the same number for a name everywhere, which std::hash does not promise.
std::uint64_t hash(std::string_view name) {
  std::uint64_t hash = 14695981039346656037ull;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return hash;
}

class Initializer {
 public:
  Initializer(Weights& weights, std::uint64_t seed) : weights_(weights), seed_(seed) {}

  /// torch.nn.Linear.
  void linear(const std::string& name, std::size_t in, std::size_t out) {
    add(name + ".weight", {out, in},
        [this, engine = std::mt19937_64(seed_ ^ hash(name))]() mutable { return normal(engine); });
    add(name + ".bias", {out}, [] { return 0.0f; });
  }
  void layer_norm(const std::string& name, std::size_t hidden) {
    add(name + ".weight", {hidden}, [] { return 1.0f; });
    add(name + ".bias", {hidden}, [] { return 0.0f; });
  }
  std::vector<std::string> added() && { return std::move(added_); }

 private:
  template <typename Next>
  void add(const std::string& name, const Shape& shape, Next next) {
    if (weights_.contains(name)) return;
    auto tensor = std::make_shared<Tensor<float>>(shape);
    for (std::size_t i = 0; i < tensor->size(); ++i) tensor->data()[i] = next();
    const auto* data = reinterpret_cast<const std::byte*>(tensor->data());
    weights_.add(name, {DType::f32, shape, data, std::move(tensor)});
    added_.push_back(name);
  }

  /// Box and Muller's, since the standard's normal_distribution is another one in every library.
  static float normal(std::mt19937_64& engine) {
    const double scale = 0x1p-53;
    const double radius = (static_cast<double>(engine() >> 11) + 1) * scale;  // in (0, 1]
    const double angle = static_cast<double>(engine() >> 11) * scale;
    return static_cast<float>(initializer_range * std::sqrt(-2 * std::log(radius)) *
                              std::cos(2 * std::numbers::pi * angle));
  }

  Weights& weights_;
  std::uint64_t seed_;
  std::vector<std::string> added_;
};

}  // namespace

std::vector<std::string> initialize_missing(Weights& weights, const std::string& scope, const TransformerConfig& config,
                                            std::uint64_t seed) {
  const Family& family = config.family();
  const std::string base = base_scope(WeightScope(weights, scope), family).path("");
  const std::size_t hidden = config.hidden_size;
  Initializer initializer(weights, seed);
  for (std::size_t i = 0; config.add_cross_attention && i < config.num_hidden_layers; ++i) {
    const std::string layer = base + "encoder.layer." + std::to_string(i) + ".crossattention.";
    for (const char* part : {"self.query", "self.key", "self.value", "output.dense"}) {
      initializer.linear(layer + part, hidden, hidden);
    }
    initializer.layer_norm(layer + "output.LayerNorm", hidden);
  }
  if (!family.lm_head.dense.empty()) {
    const std::string head = scope + std::string(family.lm_head.head) + ".";
    initializer.linear(head + std::string(family.lm_head.dense), hidden, hidden);
    initializer.layer_norm(head + std::string(family.lm_head.layer_norm), hidden);
  }
  return std::move(initializer).added();
}

void initialize_linear(Weights& weights, const std::string& name, std::size_t in, std::size_t out, std::uint64_t seed) {
  Initializer(weights, seed).linear(name, in, out);
}

}  // namespace bertgen
