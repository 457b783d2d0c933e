#include "options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <map>
#include <sstream>

#include "bertgen/generation/config.hpp"
#include "bertgen/runtime/session.hpp"
#include "engine.hpp"
#include "json_lines.hpp"
#include "output.hpp"

namespace bertgen::cli {
namespace {

constexpr int most_texts = 1 << 20;  // more than a command line can have
constexpr const char* version = "bertgen " BERTGEN_VERSION;

std::string kebab(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

/// A value of a generation option: JSON where it reads as JSON ("4", "true", "[[1, 2]]"), else a string ("never").
Json option_value(const std::string& text) {
  Json value = Json::parse(text, nullptr, false);
  return value.is_discarded() ? Json(text) : value;
}

/// Refuses the empty path that an unset variable of a shell leaves; it must not stand for a default.
const CLI::Validator path_given([](std::string& path) { return path.empty() ? "expected a path, got none" : ""; }, "");

/// CLI11 would take an empty value for one that is not given.
const CLI::IsMember boolean({"true", "false"});

class Parser {
 public:
  Parser() : app_("Runs BertGeneration encoder-decoders: text in, text out.", "bertgen") {
    app_.set_version_flag("--version", version);
    app_.require_subcommand(1);
    add_generating("fuse", "Fuses sentences, by default with the checkpoint that ships with bertgen", false);
    add_generating("generate", "Generates with any supported checkpoint: text or ids in, text and ids out", true);
    add_answering("score", "Loss and log-probabilities of given targets (needs --jsonl)");
    CLI::App* encode = add_answering("encode", "Hidden states of the encoder (needs --jsonl)");
    encode->add_option("--pooling", options_.pooling, "One vector a text instead of one a token")
        ->check(CLI::IsMember({"none", "mean", "cls"}))
        ->capture_default_str();
    add_answering("tokenize", "Text to ids");
    CLI::App* detokenize = add_answering("detokenize", "Ids to text");
    detokenize->get_option("TEXT")->description("Ids, separated by spaces");
    detokenize->add_option("--skip-special-tokens", options_.skip_special_tokens, "Leave out special tokens")
        ->check(boolean);
    detokenize
        ->add_option("--clean-up-tokenization-spaces", options_.clean_up_tokenization_spaces,
                     "Join punctuation to the word before it")
        ->check(boolean);
    CLI::App* inspect = add("inspect", "What is in a checkpoint");
    inspect->add_option("DIR", options_.model, "Checkpoint directory")->required()->check(path_given);
    add_bench();
    add_convert();
    add_warm_start();
  }

  std::optional<Options> parse(int argc, char** argv, int& status) {
    try {
      app_.parse(argc, argv);
      options_.command = app_.get_subcommands().front()->get_name();
      check();
    } catch (const CLI::ParseError& error) {
      std::ostringstream help;
      status = app_.exit(error, help, std::cerr) == 0 ? all_answered : wrong_usage;
      if (status == all_answered) {
        Output output("-");
        output.text(help.str());
        output.flush();
      }
      return std::nullopt;
    }
    Json generation = Json::object();
    for (const auto& [key, value] : generation_) {
      if (value) generation[key] = option_value(*value);
    }
    options_.generation = dump_line(generation);
    return options_;
  }

 private:
  CLI::App* add(const char* name, const char* what) {
    CLI::App* command = app_.add_subcommand(name, what);
    command->set_version_flag("--version", version);
    command->add_flag("--quiet", options_.quiet, "No warnings, no progress bar");
    command->add_option("--output", options_.output, "File to write; - is standard output")
        ->check(path_given)
        ->capture_default_str();
    command->add_option("--dtype", options_.dtype, "Type to compute in: auto, f32, bf16, f16, int8")
        ->check(CLI::IsMember({"auto", "f32", "bf16", "f16", "int8"}))
        ->capture_default_str();
    options_.threads = physical_cores();
    command->add_option("--threads", options_.threads, "Threads; by default one a physical core")
        ->check(CLI::Range(1, Workspace::most_threads))
        ->capture_default_str();
    return command;
  }

  void add_model(CLI::App* command, bool required) {
    command->add_option("--model", options_.model, "Checkpoint directory, or a model's name in the hub's cache")
        ->required(required)
        ->check(path_given);
  }

  /// A command that answers requests.
  CLI::App* add_answering(const char* name, const char* what, bool model_required = true) {
    CLI::App* command = add(name, what);
    add_model(command, model_required);
    command->add_option("TEXT", options_.texts, "Texts; without any, the lines of --input")
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)  // fewer than expected will do
        ->expected(most_texts, -1)
        ->allow_extra_args(false);  // else "[a, b]" is two texts
    command->add_option("--input", options_.input, "File to read; - is standard input")
        ->check(path_given)
        ->capture_default_str();
    command->add_flag("--jsonl", options_.jsonl, "One JSON object a line, in and out");
    command->add_option("--batch-size", options_.batch_size, "Requests computed together")
        ->check(CLI::Range(1, 65536))
        ->capture_default_str();
    command->add_option("--add-special-tokens", options_.add_special_tokens, "Encode with the model's special tokens")
        ->check(boolean);
    return command;
  }

  void add_generating(const char* name, const char* what, bool model_required) {
    CLI::App* command = add_answering(name, what, model_required);
    command
        ->add_option("--assistant-model", options_.assistant_model,
                     "Checkpoint of a smaller model with the same ids, which guesses; the answers are the same")
        ->check(path_given)
        ->group("Generation options");
    command
        ->add_option("--long-text", options_.long_text,
                     "What becomes of a text that is longer than the model's positions")
        ->check(CLI::IsMember({"error", "truncate", "windows"}))
        ->capture_default_str();
    command->add_option("--window-overlap", options_.window_overlap, "Tokens that a window shares with the one before")
        ->check(CLI::Range(0, 65536))
        ->capture_default_str();
    for (const std::string& key : GenerationConfig::keys()) {
      command->add_option("--" + kebab(key), generation_[key], "See transformers' GenerationConfig")
          ->group("Generation options");
    }
  }

  void add_bench() {
    CLI::App* command = add("bench", "Times generate on random ids");
    add_model(command, true);
    const auto number = [command](const char* name, std::size_t& value, const char* what, std::size_t least,
                                  std::size_t most = std::size_t{1} << 20) {
      command->add_option(name, value, what)->check(CLI::Range(least, most))->capture_default_str();
    };
    number("--batch-size", options_.bench.batch_size, "Sources generated from together", 1);
    number("--source-length", options_.bench.source_length, "Ids of each source", 1);
    number("--new-tokens", options_.bench.new_tokens, "Ids generated for each, no more and no fewer", 1);
    number("--num-beams", options_.bench.num_beams, "Beams; 1 is greedy", 1, GenerationConfig::most_rows);
    number("--repeat", options_.bench.repeat, "Runs that count", 1);
    number("--warmup", options_.bench.warmup, "Runs before them", 0);
    command->add_flag("--json", options_.bench.json, "Print one JSON object");
  }

  /// A command that writes a checkpoint.
  CLI::App* add_writing(const char* name, const char* what) {
    CLI::App* command = app_.add_subcommand(name, what);
    command->set_version_flag("--version", version);
    command->add_flag("--quiet", options_.quiet, "No warnings, no progress bar");
    command->add_option("--dtype", options_.dtype, "Type to store: f32, bf16, f16, int8; auto keeps every tensor's")
        ->check(CLI::IsMember({"auto", "f32", "bf16", "f16", "int8"}))
        ->capture_default_str();
    command->add_flag("--force", options_.force, "Remove what is in DST");
    return command;
  }

  void add_destination(CLI::App* command) {
    command->add_option("DST", options_.destination, "Directory to write")->required()->check(path_given);
  }

  void add_convert() {
    CLI::App* command = add_writing("convert", "Rewrites a checkpoint as one directory of safetensors");
    command->add_option("SRC", options_.model, "Checkpoint directory to read")->required()->check(path_given);
    add_destination(command);
  }

  void add_warm_start() {
    CLI::App* command = add_writing("warm-start", "Joins two pretrained checkpoints to an encoder-decoder to train");
    WarmStartOptions& start = options_.warm_start;
    const auto checkpoint = [command](const char* name, std::string& value, const char* what) {
      command->add_option(name, value, what)->required()->check(path_given);
    };
    checkpoint("--encoder", start.encoder, "Checkpoint of the encoder");
    checkpoint("--decoder", start.decoder, "Checkpoint of the decoder; may be the same");
    command->add_option("--model-type", start.model_type, "Family to read both as: bert-generation drops token types")
        ->check(CLI::IsMember({"bert-generation", "bert", "roberta"}));
    command->add_option("--seed", start.seed, "Seed of the weights that are drawn")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    const auto id = [command](const char* name, std::optional<TokenId>& value) {
      command->add_option(name, value, "By default what the decoder's files say")->check(CLI::NonNegativeNumber);
    };
    id("--decoder-start-token-id", start.decoder_start_token_id);
    id("--bos-token-id", start.bos_token_id);
    id("--eos-token-id", start.eos_token_id);
    id("--pad-token-id", start.pad_token_id);
    add_destination(command);
  }

  /// What CLI11's own checks do not cover.
  void check() const {
    const bool json_only = options_.command == "score" || options_.command == "encode";
    if (json_only && !options_.jsonl) {
      throw CLI::ValidationError(options_.command + " needs --jsonl", CLI::ExitCodes::ValidationError);
    }
    if (options_.jsonl && !options_.texts.empty()) {
      throw CLI::ValidationError("--jsonl reads requests from --input, not from TEXT", CLI::ExitCodes::ValidationError);
    }
  }

  CLI::App app_;
  Options options_;
  std::map<std::string, std::optional<std::string>> generation_;
};

}  // namespace

std::optional<Options> parse_options(int argc, char** argv, int& status) { return Parser().parse(argc, argv, status); }

}  // namespace bertgen::cli
