#include "model.hpp"

#include <cstdlib>

#include "bertgen/io/mapped_file.hpp"

namespace bertgen::cli {

TextCoder::TextCoder(const std::filesystem::path& checkpoint, const Options& options) : directory(checkpoint) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(directory, ignored)) {
    throw CheckpointError(directory.string() + ": expected a checkpoint directory, found " +
                          (std::filesystem::exists(directory, ignored) ? "a file" : "nothing"));
  }
  const auto halves = EncoderDecoderTokenizers::from_pretrained(directory);
  tokenizer = halves.encoder;
  decoder_tokenizer = halves.decoder;
  // BertGeneration models were trained without special tokens around the text, whatever their tokenizer could add.
  bool bert_generation = false;
  if (std::filesystem::exists(directory / "config.json", ignored)) {
    const Json config = Json::parse(read_text_file(directory / "config.json"), nullptr, false);
    if (config.is_object()) {
      const Json& half = config.contains("encoder") && config["encoder"].is_object() ? config["encoder"] : config;
      bert_generation = half.contains("model_type") && half["model_type"] == "bert-generation";
    }
  }
  add_special_tokens = options.add_special_tokens.value_or(!bert_generation);
}

const Tokenizer& TextCoder::require() const {
  if (!tokenizer) throw TokenizerError(directory.string() + ": expected the files of a tokenizer in it, found none");
  return *tokenizer;
}

const Tokenizer& TextCoder::require_decoder() const {
  require();  // there are both or none
  return *decoder_tokenizer;
}

TokenIds TextCoder::encode(const std::string& text) const {
  EncodeOptions encode_options;
  encode_options.add_special_tokens = add_special_tokens;
  return require().encode(text, encode_options).input_ids;
}

TokenIds TextCoder::encode_target(const std::string& text) const {
  EncodeOptions encode_options;
  encode_options.add_special_tokens = add_special_tokens;
  return require_decoder().encode(text, encode_options).input_ids;
}

std::string TextCoder::decode(const TokenIds& ids) const {
  DecodeOptions decode_options;
  decode_options.skip_special_tokens = true;
  return require_decoder().decode(ids, decode_options);
}

Source read_source(const Json& request, const TextCoder& coder) {
  const auto text = text_field(request, "text");
  const auto ids = ids_field(request, "input_ids");
  if (text.has_value() == ids.has_value()) {
    throw ArgumentError(std::string("request: expected text or input_ids, got ") + (text ? "both" : "neither"));
  }
  Source source;
  source.input_ids = text ? coder.encode(*text) : *ids;
  source.empty_text = text && source.input_ids.empty();
  const auto require_parallel = [&source](const char* field, const auto& values) {
    if (!values || values->size() == source.input_ids.size()) return;
    throw ShapeError(std::string(field) + ": expected " + std::to_string(source.input_ids.size()) +
                     " values, one for each input id, got " + std::to_string(values->size()));
  };
  const auto mask = mask_field(request, "attention_mask");
  require_parallel("attention_mask", mask);
  source.attention_mask = mask.value_or(AttentionMask{});
  const auto types = ids_field(request, "token_type_ids");
  require_parallel("token_type_ids", types);
  source.token_type_ids = types.value_or(TokenIds{});
  return source;
}

LongSource read_long_source(const Json& request, const TextCoder& coder, const Options& options,
                            std::size_t positions) {
  const auto text = text_field(request, "text");
  const auto lacks = [&request](const char* key) { return find_field(request, key) == nullptr; };
  const bool alone = text && lacks("input_ids") && lacks("attention_mask") && lacks("token_type_ids");
  if (options.long_text == "error" || !alone) return {{read_source(request, coder)}, {}, {}};
  const LongText policy = options.long_text == "windows" ? LongText::windows : LongText::truncate;
  LongSource result;
  const std::size_t added = coder.encode("").size();
  result.windows =
      text_windows(coder.require(), *text, positions - std::min(added, positions), policy, options.window_overlap);
  result.cut = {result.windows.back().end, text->size()};
  for (const TextRange& window : result.windows) {
    Source source;
    source.input_ids = coder.encode(text->substr(window.begin, window.end - window.begin));
    if (!source.input_ids.empty()) result.sources.push_back(std::move(source));
  }
  return result;
}

void require_tokens(const TokenIds& ids, const char* name) {
  if (ids.empty()) throw ArgumentError(std::string(name) + ": expected at least one token, got none");
}

void report_warnings(const std::vector<std::string>& warnings, const Options& options) {
  if (options.quiet) return;
  for (const std::string& warning : warnings) report("warning: " + warning);
}

LoadOptions load_options(const Options& options) {
  LoadOptions load;
  load.build.dtype = dtype_option(options);
  load.build.threads = options.threads;
  return load;
}

std::optional<DType> dtype_option(const Options& options) {
  if (options.dtype == "f32") return DType::f32;
  if (options.dtype == "bf16") return DType::bf16;
  if (options.dtype == "f16") return DType::f16;
  if (options.dtype == "int8") return DType::i8;
  return std::nullopt;
}

std::filesystem::path hub_cache() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::filesystem::path(value == nullptr ? "" : value);
  };
  // In the order in which huggingface_hub looks.
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (auto path = variable(name); !path.empty()) return path;
  }
  if (const auto home = variable("HF_HOME"); !home.empty()) return home / "hub";
  auto cache = variable("XDG_CACHE_HOME");
  if (cache.empty()) cache = variable("HOME") / ".cache";
  return cache / "huggingface" / "hub";
}

std::filesystem::path shipped_checkpoint() {
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const auto installed = program.parent_path() / ".." / "share" / "bertgen" / "fuse-en";
  if (std::filesystem::exists(installed / "config.json", ignored)) return installed.lexically_normal();
  return std::filesystem::path(BERTGEN_SOURCE_DIR) / "examples" / "fuse-en";
}

}  // namespace bertgen::cli
