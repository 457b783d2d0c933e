// The command line as data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bertgen/core/token.hpp"

namespace bertgen::cli {

/// What `bertgen bench` runs.
struct BenchOptions {
  std::size_t batch_size = 1;
  std::size_t source_length = 32;
  std::size_t new_tokens = 32;
  std::size_t num_beams = 1;
  std::size_t repeat = 5;
  std::size_t warmup = 1;
  bool json = false;
};

/// What `bertgen warm-start` joins.
struct WarmStartOptions {
  std::string encoder;  ///< directories, or names in the hub's cache
  std::string decoder;
  std::optional<std::string> model_type;  ///< the family to read both as
  std::uint64_t seed = 0;
  std::optional<TokenId> decoder_start_token_id;
  std::optional<TokenId> bos_token_id;
  std::optional<TokenId> eos_token_id;
  std::optional<TokenId> pad_token_id;
};

/// Everything that was given, with the defaults of what was not.
struct Options {
  std::string command;
  std::string model;            ///< a checkpoint directory, or a name in the hub's cache; empty: the shipped one
  std::string assistant_model;  ///< the same; empty: none
  std::string destination;      ///< of convert and warm-start
  bool force = false;           ///< they replace what is there
  std::vector<std::string> texts;
  std::string input = "-";
  std::string output = "-";
  bool jsonl = false;
  bool quiet = false;
  std::size_t batch_size = 16;
  int threads = 1;
  std::string dtype = "auto";
  std::optional<bool> add_special_tokens;
  std::optional<bool> skip_special_tokens;
  std::optional<bool> clean_up_tokenization_spaces;
  std::string pooling = "none";
  std::string long_text = "error";  ///< LongText by name
  std::size_t window_overlap = 0;
  std::string generation = "{}";  ///< the generation options given, a JSON object
  BenchOptions bench;
  WarmStartOptions warm_start;
};

/// Reads the command line. Where there is nothing to run (--help, --version, wrong usage) it has printed what there is
/// to say and returns none; `status` is then the exit status. Throws std::runtime_error if that cannot be printed.
std::optional<Options> parse_options(int argc, char** argv, int& status);

}  // namespace bertgen::cli
