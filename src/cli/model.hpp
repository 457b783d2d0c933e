// What the commands share: the checkpoint a run works with, and sources read from requests.
#pragma once

#include <filesystem>
#include <memory>

#include "bertgen/bertgen.hpp"
#include "engine.hpp"

namespace bertgen::cli {

/// A directory's tokenizers, and whether text is encoded with special tokens unless a request says otherwise.
struct TextCoder {
  std::filesystem::path directory;
  std::shared_ptr<const Tokenizer> tokenizer;          ///< null if the directory has none
  std::shared_ptr<const Tokenizer> decoder_tokenizer;  ///< of targets and answers; often the same
  bool add_special_tokens = true;

  /// Throws CheckpointError unless there is such a directory, and TokenizerError.
  TextCoder(const std::filesystem::path& directory, const Options& options);
  /// The tokenizer. Throws TokenizerError if there is none.
  const Tokenizer& require() const;
  /// The decoder's. Throws TokenizerError if there is none.
  const Tokenizer& require_decoder() const;
  /// Ids of a text, or nothing for a text without tokens.
  TokenIds encode(const std::string& text) const;
  /// Ids of a target.
  TokenIds encode_target(const std::string& text) const;
  /// Text of generated ids, without special tokens.
  std::string decode(const TokenIds& ids) const;
};

/// A source as a request gives it.
struct Source {
  TokenIds input_ids;
  AttentionMask attention_mask;
  TokenIds token_type_ids;
  bool empty_text = false;  ///< given as a text that has no tokens
};

/// What a text is answered from where it may be too long.
struct LongSource {
  std::vector<Source> sources;     ///< of its windows that have tokens
  std::vector<TextRange> windows;  ///< empty for what was not given as a text alone
  TextRange cut;                   ///< what is not read
};

/// Reads `text` or `input_ids`, `attention_mask` and `token_type_ids`. Throws ArgumentError unless there is exactly one
/// of the first two, ShapeError for others that do not fit.
Source read_source(const Json& request, const TextCoder& coder);

/// As read_source(), but of a text alone the windows that --long-text wants for an encoder of `positions`.
LongSource read_long_source(const Json& request, const TextCoder& coder, const Options& options, std::size_t positions);

/// Throws ArgumentError naming the field, `name`, if there are no ids.
void require_tokens(const TokenIds& ids, const char* name);

/// Prints what a loader noticed, unless --quiet.
void report_warnings(const std::vector<std::string>& warnings, const Options& options);

/// How --dtype and --threads say that a model is loaded.
LoadOptions load_options(const Options& options);

/// The type that --dtype names; none for auto.
std::optional<DType> dtype_option(const Options& options);

/// The folder of the hub's cache: HF_HUB_CACHE, or "hub" in HF_HOME, or in huggingface of the user's cache directory.
std::filesystem::path hub_cache();

/// The directory of the shipped checkpoint: beside the installed program, else in the source tree it was built from.
std::filesystem::path shipped_checkpoint();

// The commands. Each returns the program's exit status.
int run_generate(const Options& options);
int run_score(const Options& options);
int run_encode(const Options& options);
int run_tokenize(const Options& options);
int run_detokenize(const Options& options);
int run_inspect(const Options& options);
int run_bench(const Options& options);
int run_convert(const Options& options);
int run_warm_start(const Options& options);

}  // namespace bertgen::cli
