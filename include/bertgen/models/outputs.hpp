// What a forward pass takes and gives beside ids and logits.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/nn/cache.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// The attention weights of each layer: of each sequence [heads, queries, keys], 0 where a query sees no key. Keys are
/// all positions of the sequence, hidden ones and those in a cache too.
template <typename T>
using Attentions = std::vector<std::vector<Tensor<T>>>;

/// What a pass shows of itself where it is asked to.
template <typename T>
struct ForwardRecord {
  bool output_hidden_states = false;          ///< asks for hidden_states
  bool output_attentions = false;             ///< asks for both attentions
  std::vector<Tensor<T>> hidden_states = {};  ///< of the embeddings and of each layer, [rows, hidden]
  Attentions<T> attentions = {};              ///< of self-attention
  Attentions<T> cross_attentions = {};        ///< of cross-attention

  /// Adds a copy to hidden_states if they were asked for.
  void keep(TensorView<const T> hidden) {
    if (output_hidden_states) hidden_states.emplace_back(hidden.shape(), hidden.data());
  }
};

/// What an encoder gives (Hugging Face's BaseModelOutput); what was not asked for is empty.
template <typename T>
struct EncoderOutput {
  Tensor<T> last_hidden_state = {};       ///< [rows, hidden_size], row after row of each sequence
  std::vector<std::size_t> lengths = {};  ///< rows of each sequence
  /// @{
  /// Where asked for: see ForwardRecord.
  std::vector<Tensor<T>> hidden_states = {};
  Attentions<T> attentions = {};
  /// @}
};

/// What goes into EncoderDecoderModel::forward beside ids and masks, under transformers' names.
template <typename T>
struct ForwardArguments {
  bool output_hidden_states = false;                  ///< of both halves
  bool output_attentions = false;                     ///< of both halves
  bool use_cache = false;                             ///< past_key_values are returned
  std::vector<Tensor<T>> inputs_embeds = {};          ///< in place of input_ids: a sequence each, [length, hidden_size]
  std::vector<Tensor<T>> decoder_inputs_embeds = {};  ///< in place of decoder_input_ids
  const EncoderOutput<T>* encoder_outputs = nullptr;  ///< in place of a source; attention_mask still counts
  EncoderDecoderCache<T>* past_key_values = nullptr;  ///< is continued, and knows its sources; takes the new tokens
};

/// What comes out of it; what was not asked for is empty.
template <typename T>
struct Seq2SeqLMOutput {
  std::optional<T> loss = {};                ///< with labels: mean −log-probability of those that count
  std::vector<T> label_log_probs = {};       ///< with labels: of each that counts, in order
  Tensor<T> logits = {};                     ///< [decoder rows, vocab_size], row after row of each sequence
  Tensor<T> encoder_last_hidden_state = {};  ///< [encoder rows, encoder hidden_size], if the encoder ran
  std::optional<EncoderDecoderCache<T>> past_key_values = {};  ///< with use_cache: what the next call goes on from
  std::vector<Tensor<T>> encoder_hidden_states = {};           ///< of the embeddings and of each layer
  Attentions<T> encoder_attentions = {};                       ///< with output_attentions
  std::vector<Tensor<T>> decoder_hidden_states = {};           ///< as encoder_hidden_states
  Attentions<T> decoder_attentions = {};                       ///< of the decoder to itself
  Attentions<T> cross_attentions = {};                         ///< of the decoder to the encoder
};

}  // namespace bertgen
