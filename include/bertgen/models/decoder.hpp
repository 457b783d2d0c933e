// The decoder with its language-model head: token ids, and an encoder's states, to scores of the next token.
#pragma once

#include "bertgen/core/export.hpp"
#include "bertgen/models/encoder.hpp"
#include "bertgen/nn/lm_head.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// New tokens of a cache's rows: row r's are at [offsets[r], offsets[r + 1]) of each list.
template <typename T>
struct DecoderTokens {
  std::span<const TokenId> input_ids;                 ///< [tokens]
  std::span<const std::size_t> offsets;               ///< [rows + 1]
  std::span<const std::uint8_t> attention_mask = {};  ///< 0 hides a token from all queries; empty: none is hidden
  std::span<const TokenId> token_type_ids = {};       ///< empty: all 0
  std::span<const std::int32_t> position_ids = {};    ///< empty: those after what the cache has
  TensorView<const T> inputs_embeds = {};             ///< [ids, hidden_size], in place of the ids' embeddings
};

/// The decoder of any family with its head, as Hugging Face's AutoModelForCausalLM (BertGenerationDecoder,
/// BertLMHeadModel, RobertaForCausalLM). All methods are const and thread-safe, given a Workspace and a cache a thread.
template <typename T>
class BasicDecoder {
 public:
  /// Loads a directory with config.json and weights of a decoder. Throws ConfigError and CheckpointError.
  static BasicDecoder from_pretrained(const std::filesystem::path& directory, const LoadOptions& options = {});
  /// Reads the weights of a language model at `scope`, for instance `bert` and `lm_head`. Throws CheckpointError and
  /// ConfigError.
  BasicDecoder(const WeightScope& scope, const TransformerConfig& config, const BuildOptions& build = {})
      : config_(config),
        stack_(base_scope(scope, config.family()), config, build),
        lm_head_(scope, config.family().lm_head, config.layer_config(build), stack_.embeddings().word_embeddings(),
                 config.tie_word_embeddings) {
    const std::string head(config.family().lm_head.head);
    for (auto& [name, tensor] : (scope / head).weights().read_under((scope / head).path(""))) {
      tensors_.emplace(head + "." + name, tensor);
    }
    const std::string base = base_scope(scope, config.family()).path("");
    for (auto& [name, tensor] : scope.weights().read_under(base)) {
      if (name.compare(0, head.size(), head) != 0)
        tensors_.emplace(std::string(config.family().base) + "." + name, tensor);
    }
  }

  const TransformerConfig& config() const { return config_; }  ///< as loaded
  /// Bytes of packed weights.
  std::size_t bytes() const { return stack_.bytes() + lm_head_.bytes(); }
  /// As BasicEncoder::tensors(); a tied head's matrix is there once, as the word embeddings.
  const NamedTensors& tensors() const { return tensors_; }
  /// As BasicEncoder::save_pretrained().
  void save_pretrained(const std::filesystem::path& directory, const SaveOptions& options = {}) const;

  /// An empty cache for `rows` sequences, expected to become at most `most_rows` of up to `max_length` tokens. `pool`,
  /// if any, gives it memory and must outlive it.
  EncoderDecoderCache<T> make_cache(std::size_t rows, std::size_t most_rows = 0, std::size_t max_length = 0,
                                    PagePool* pool = nullptr) const {
    return {config_.num_hidden_layers, config_.hidden_size, rows, most_rows, max_length, pool, stack_.cache_dtype()};
  }

  /// Computes the cross-attention keys and values of the encoder's states, [source rows, hidden_size], that lie as
  /// `sources` says. Throws ConfigError if the decoder has no cross-attention, ShapeError for states of another shape,
  /// and as forward() for the cache.
  void attend_to(TensorView<const T> states, const PackedBatch& sources, EncoderDecoderCache<T>& cache,
                 Workspace& workspace) const {
    if (!config_.add_cross_attention) {
      throw ConfigError("decoder: expected add_cross_attention to attend to an encoder's states, got false");
    }
    check(cache);
    check(states, sources);
    cache.set_sources(sources.offsets, sources.key_lists);
    project_states(states, cache, workspace);
  }
  /// The same of sources that come to a cache in use, each with a new row; none of their positions is hidden.
  void attend_to_more(TensorView<const T> states, const PackedBatch& sources, EncoderDecoderCache<T>& cache,
                      Workspace& workspace) const {
    check(cache);
    check(states, sources);
    cache.append_sources(sources.offsets);
    project_states(states, cache, workspace);
  }

  /// Continues every row of the cache by its tokens: row r's are at [offsets[r], offsets[r + 1]) of `ids`, and take
  /// the positions after those the cache has. mask: one flag an id, 0 hides it from all queries; empty: none is
  /// hidden. hidden: [ids, hidden_size], written. With is_decoder a token sees those before it only; without, all given
  /// with it. Throws ArgumentError for an id outside the vocabulary, a position past max_position_embeddings, or a
  /// cache that is not of the type make_cache() gives. Whatever is thrown, the cache has no more tokens than before.
  void forward(std::span<const TokenId> ids, std::span<const std::size_t> offsets, std::span<const std::uint8_t> mask,
               EncoderDecoderCache<T>& cache, TensorView<T> hidden, Workspace& workspace) const {
    forward({ids, offsets, mask}, cache, hidden, workspace);
  }
  /// The same with all that tokens may have. `record`: takes what it asks for.
  void forward(const DecoderTokens<T>& tokens, EncoderDecoderCache<T>& cache, TensorView<T> hidden,
               Workspace& workspace, ForwardRecord<T>* record = nullptr) const {
    check(cache);
    embed(tokens, cache, hidden, workspace);
    cache.append(tokens.offsets, tokens.attention_mask, config_.is_decoder);
    PendingTokens<T> pending(cache);
    std::optional<AttentionRecord<T>> self;
    std::optional<AttentionRecord<T>> cross;
    if (record != nullptr) {
      record->keep(hidden);
      if (record->output_attentions) {
        self = AttentionRecord<T>{cache.self_rows()};
        cross = AttentionRecord<T>{cache.cross_rows(tokens.offsets)};
      }
    }
    for (std::size_t i = 0; i < stack_.layers().size(); ++i) {
      stack_.layers()[i].forward(hidden, cache, i, workspace, self ? &*self : nullptr, cross ? &*cross : nullptr);
      if (record != nullptr) record->keep(hidden);
    }
    pending.keep();
    if (record == nullptr || !record->output_attentions) return;
    record->attentions = std::move(self->weights);
    record->cross_attentions = std::move(cross->weights);
  }

  /// Scores of the next token. hidden: [rows, hidden_size], logits: [rows, vocab_size].
  void logits(TensorView<const T> hidden, TensorView<T> logits, Workspace& workspace) const {
    lm_head_.forward(hidden, logits, workspace);
  }

  /// Logits of whole sequences, without an encoder: [rows, vocab_size], for sequences of equal length that is
  /// [batch, length, vocab_size]. attention_mask: as input_ids, or empty.
  Tensor<T> forward(std::span<const TokenIds> input_ids, std::span<const AttentionMask> attention_mask,
                    Workspace& workspace) const {
    EncoderDecoderCache<T> cache = make_cache(input_ids.size());
    return forward(input_ids, attention_mask, cache, workspace);
  }
  /// The same with a cache that attend_to() may have filled.
  Tensor<T> forward(std::span<const TokenIds> input_ids, std::span<const AttentionMask> attention_mask,
                    EncoderDecoderCache<T>& cache, Workspace& workspace) const {
    const PackedBatch batch = pack(input_ids, {}, HiddenPositions::keep);
    const AttentionMask mask = joined_mask(input_ids, attention_mask);
    Tensor<T> hidden({batch.rows(), config_.hidden_size});
    forward(batch.input_ids, batch.offsets, mask, cache, hidden, workspace);
    Tensor<T> scores({batch.rows(), config_.vocab_size});
    logits(hidden, scores, workspace);
    return scores;
  }

 private:
  void check(const EncoderDecoderCache<T>& cache) const {
    if (cache.dtype() == stack_.cache_dtype()) return;
    throw ArgumentError("decoder: expected a cache of " + std::string(dtype_name(stack_.cache_dtype())) +
                        ", as make_cache() gives, got " + std::string(dtype_name(cache.dtype())));
  }
  void check(TensorView<const T> states, const PackedBatch& sources) const {
    if (states.rows() == sources.offsets.back() && states.cols() == config_.hidden_size) return;
    throw ShapeError("decoder: expected states of [" + std::to_string(sources.offsets.back()) + ", " +
                     std::to_string(config_.hidden_size) + "], a row for each id of the sources, got " +
                     to_string(states.shape()));
  }
  void project_states(TensorView<const T> states, EncoderDecoderCache<T>& cache, Workspace& workspace) const {
    for (std::size_t i = 0; i < stack_.layers().size(); ++i) {
      stack_.layers()[i].project_states(states, cache, i, workspace);
    }
  }

  /// What enters the first layer. RoBERTa counts the positions of vectors from the first, whatever the cache has.
  void embed(const DecoderTokens<T>& tokens, const EncoderDecoderCache<T>& cache, TensorView<T> hidden,
             Workspace& workspace) const {
    const auto& [ids, offsets, mask, types, given, vectors] = tokens;
    if (!given.empty()) return stack_.embeddings().forward(ids, types, given, hidden, workspace, vectors);
    Workspace::Scope scope(workspace);
    const auto positions = scope.take<std::int32_t>({ids.size()});
    for (std::size_t row = 0; row + 1 < offsets.size(); ++row) {
      const bool anew = vectors.size() != 0 && config_.padding_idx();
      write_positions(ids.subspan(offsets[row], offsets[row + 1] - offsets[row]), anew ? 0 : cache.length(row),
                      config_.padding_idx(), positions.data() + offsets[row]);
    }
    stack_.embeddings().forward(ids, types, {positions.data(), ids.size()}, hidden, workspace, vectors);
  }

  TransformerConfig config_;
  TransformerStack<T> stack_;
  LMHead<T> lm_head_;
  NamedTensors tensors_;
};

extern template class BasicDecoder<float>;
extern template class BasicDecoder<double>;

/// Computes in float32, its products as BuildOptions::dtype says.
using Decoder = BasicDecoder<float>;

/// As BertGenerationEncoder, the other half.
struct BertGenerationDecoder : Decoder {
  using Decoder::Decoder;
  /// From a decoder of this family.
  explicit BertGenerationDecoder(Decoder decoder) : Decoder(std::move(decoder)) {}
  /// As Decoder::from_pretrained(), with model_type "bert-generation".
  static BertGenerationDecoder from_pretrained(const std::filesystem::path& directory, LoadOptions options = {}) {
    options.model_type = "bert-generation";
    return BertGenerationDecoder(Decoder::from_pretrained(directory, options));
  }
};

}  // namespace bertgen
