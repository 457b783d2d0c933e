// What goes into generate(), and the checks that it is fit to search from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bertgen/core/export.hpp"
#include "bertgen/generation/config.hpp"
#include "bertgen/generation/random.hpp"
#include "bertgen/generation/sequence.hpp"
#include "bertgen/models/encoder_decoder.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// What goes into generate(), under transformers' names; one vector a sequence.
struct GenerateInputs {
  std::vector<TokenIds> input_ids = {};            ///< the sources; none may be empty
  std::vector<AttentionMask> attention_mask = {};  ///< empty: all ids are visible, padding too
  std::vector<TokenIds> decoder_input_ids = {};    ///< empty: the start token
  std::vector<TokenIds> token_type_ids = {};       ///< of the source; empty: all 0
  /// With do_sample: the number of each row's request, by which its random numbers are told from those of others; so a
  /// request gets the same answer in whatever batch. Empty: 0, 1, 2, …
  std::vector<std::uint64_t> requests = {};
};

namespace detail {

/// transformers prepends the start token if no row begins with it; if one does, all are taken as they are.
inline std::vector<TokenIds> prompts(const GenerateInputs& inputs, TokenId start) {
  if (inputs.decoder_input_ids.empty()) return std::vector<TokenIds>(inputs.input_ids.size(), TokenIds{start});
  if (inputs.decoder_input_ids.size() != inputs.input_ids.size()) {
    throw ShapeError("decoder_input_ids: expected " + std::to_string(inputs.input_ids.size()) +
                     " sequences, as in input_ids, got " + std::to_string(inputs.decoder_input_ids.size()));
  }
  std::vector<TokenIds> prompts = inputs.decoder_input_ids;
  const bool some_begin = std::any_of(prompts.begin(), prompts.end(),
                                      [start](const TokenIds& row) { return !row.empty() && row.front() == start; });
  for (TokenIds& row : prompts) {
    if (row.empty()) throw ArgumentError("decoder_input_ids: expected at least one id in each row, got none");
    if (!some_begin) row.insert(row.begin(), start);
  }
  return prompts;
}

/// Throws ArgumentError unless every id is in the vocabulary. `where` is the field, "input_ids, row 3".
inline void check_ids(const std::string& where, const TokenIds& ids, std::size_t vocab) {
  for (TokenId id : ids) {
    if (id >= 0 && static_cast<std::size_t>(id) < vocab) continue;
    throw ArgumentError(where + ": expected ids of 0 to " + std::to_string(vocab - 1) + ", got " + std::to_string(id));
  }
}

/// Refuses a source that is empty or longer than the position table, or has an id that is in no vocabulary. `whose`:
/// "assistant_model, ".
inline void check_sources(const std::vector<TokenIds>& input_ids, const TransformerConfig& encoder,
                          const std::string& whose = "") {
  for (std::size_t s = 0; s < input_ids.size(); ++s) {
    if (input_ids[s].empty() || input_ids[s].size() > encoder.max_length()) {
      throw ArgumentError(whose + "input_ids: expected 1 to " + std::to_string(encoder.max_length()) +
                          " ids (the encoder's max_position_embeddings) in row " + std::to_string(s) + ", got " +
                          std::to_string(input_ids[s].size()));
    }
    check_ids(whose + "input_ids, row " + std::to_string(s), input_ids[s], encoder.vocab_size);
  }
}

/// Refuses ids that options force or look for and that are in no vocabulary, as transformers does; suppressing such an
/// id, or never ending by it, changes nothing.
inline void check_option_ids(const GenerationConfig& config, std::size_t vocab) {
  if (config.forced_bos_token_id) check_ids("forced_bos_token_id", {*config.forced_bos_token_id}, vocab);
  if (config.forced_eos_token_id) check_ids("forced_eos_token_id", *config.forced_eos_token_id, vocab);
  for (const TokenIds& word : config.bad_words_ids.value_or(std::vector<TokenIds>{})) {
    check_ids("bad_words_ids", word, vocab);
  }
  for (const ForcedWord& word : config.force_words_ids.value_or(std::vector<ForcedWord>{})) {
    for (const TokenIds& alternative : word) check_ids("force_words_ids", alternative, vocab);
  }
  if (!config.sequence_bias) return;
  for (const auto& [sequence, bias] : *config.sequence_bias) check_ids("sequence_bias", sequence, vocab);
}

/// The length at which a row ends. The last id is never read back, so it needs no position.
inline std::size_t row_limit(const GenerationConfig& config, std::size_t prompt_length, std::size_t positions) {
  const std::size_t limit =
      config.max_new_tokens ? prompt_length + *config.max_new_tokens : config.max_length.value_or(prompt_length + 20);
  if (limit <= prompt_length) {
    throw ArgumentError("max_length: expected more than the decoder prompt's " + std::to_string(prompt_length) +
                        " ids, got " + std::to_string(limit));
  }
  if (limit > positions + 1) {
    throw ArgumentError("max_length: expected at most " + std::to_string(positions + 1) +
                        " ids (the decoder's max_position_embeddings, and one that is not read back), got " +
                        std::to_string(limit) + " with a prompt of " + std::to_string(prompt_length));
  }
  return limit;
}

/// The rows of a call as the searches take them. Throws as generate() does.
inline std::vector<GenerationItem> make_items(const GenerateInputs& inputs, const GenerationConfig& config,
                                              const EncoderDecoderConfig& model) {
  const std::optional<TokenId> start =
      config.decoder_start_token_id ? config.decoder_start_token_id : config.bos_token_id;
  if (!start) throw ConfigError("decoder_start_token_id: expected it or bos_token_id to be set, got neither");
  check_sources(inputs.input_ids, model.encoder);
  check_option_ids(config, model.decoder.vocab_size);
  std::vector<TokenIds> starts = prompts(inputs, *start);
  std::vector<GenerationItem> items;
  for (std::size_t s = 0; s < inputs.input_ids.size(); ++s) {
    check_ids("decoder_input_ids, row " + std::to_string(s), starts[s], model.decoder.vocab_size);
    const std::size_t limit = row_limit(config, starts[s].size(), model.decoder.max_length());
    items.push_back({inputs.input_ids[s], std::move(starts[s]), limit});
  }
  return items;
}

/// The random numbers of each row, with do_sample.
inline std::vector<RequestRandom> make_randoms(const GenerateInputs& inputs, const GenerationConfig& config) {
  const std::size_t rows = inputs.input_ids.size();
  if (!inputs.requests.empty() && inputs.requests.size() != rows) {
    throw ShapeError("requests: expected " + std::to_string(rows) + " numbers, one a row of input_ids, got " +
                     std::to_string(inputs.requests.size()));
  }
  std::vector<RequestRandom> randoms;
  for (std::size_t s = 0; config.do_sample.value_or(false) && s < rows; ++s) {
    randoms.emplace_back(config.seed.value_or(0), inputs.requests.empty() ? s : inputs.requests[s]);
  }
  return randoms;
}

}  // namespace detail
}  // namespace bertgen
