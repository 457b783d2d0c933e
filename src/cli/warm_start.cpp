// warm-start: the encoder-decoder that training begins with, from two pretrained checkpoints.
#include <algorithm>

#include "bertgen/io/mapped_file.hpp"
#include "model.hpp"

namespace bertgen::cli {
namespace {

/// One of the two checkpoints.
struct Pretrained {
  std::filesystem::path directory;
  TransformerConfig config;  ///< of its own family
  std::map<std::string, std::filesystem::path> tokenizer_files;
  std::unique_ptr<const Tokenizer> tokenizer;  ///< null if it has none
};

Pretrained read_pretrained(const std::string& name) {
  Pretrained half;
  half.directory = resolve_checkpoint(name, hub_cache());
  const auto config = find_checkpoint(half.directory).config;
  half.config = TransformerConfig::from_json(read_text_file(config), config.string());
  half.tokenizer_files = tokenizer_files(half.directory);
  half.tokenizer = AutoTokenizer::from_pretrained(half.directory);
  // A BERT's config.json names neither; its texts lie between [CLS] and [SEP].
  if (half.tokenizer) {
    const Tokenizer& tokenizer = *half.tokenizer;
    const auto first = [](std::optional<TokenId> a, std::optional<TokenId> b) { return a ? a : b; };
    TransformerConfig& ids = half.config;
    ids.bos_token_id = first(ids.bos_token_id, first(tokenizer.bos_token_id(), tokenizer.cls_token_id()));
    ids.pad_token_id = first(ids.pad_token_id, tokenizer.pad_token_id());
    const auto eos = first(tokenizer.eos_token_id(), tokenizer.sep_token_id());
    if (ids.eos_token_id.empty() && eos) ids.eos_token_id = {*eos};
  }
  return half;
}

/// An id of the pair: as given, or the decoder's.
TokenId choose_id(const char* key, std::optional<TokenId> given, std::optional<TokenId> found,
                  const Pretrained& decoder) {
  const std::optional<TokenId> id = given ? given : found;
  if (!id) {
    std::string option = std::string("--") + key;
    std::replace(option.begin(), option.end(), '_', '-');
    throw ConfigError(decoder.directory.string() + ": expected " + key +
                      " in config.json or such a token of a tokenizer, found neither (" + option + " gives it)");
  }
  if (static_cast<std::size_t>(*id) >= decoder.config.vocab_size) {
    throw ConfigError(decoder.directory.string() + ": " + key + ": expected an id below vocab_size, " +
                      std::to_string(decoder.config.vocab_size) + ", got " + std::to_string(*id));
  }
  return *id;
}

EncoderDecoderConfig choose_ids(const WarmStartOptions& given, const Pretrained& decoder) {
  const TransformerConfig& found = decoder.config;
  const auto eos = found.eos_token_id.empty() ? std::nullopt : std::optional(found.eos_token_id.front());
  EncoderDecoderConfig config;
  config.bos_token_id = choose_id("bos_token_id", given.bos_token_id, found.bos_token_id, decoder);
  config.eos_token_id = {choose_id("eos_token_id", given.eos_token_id, eos, decoder)};
  config.pad_token_id = choose_id("pad_token_id", given.pad_token_id, found.pad_token_id, decoder);
  config.decoder_start_token_id =
      choose_id("decoder_start_token_id", given.decoder_start_token_id, config.bos_token_id, decoder);
  return config;
}

/// How to load a half: with the ids that were found for it.
LoadOptions load_options(const Pretrained& half, const WarmStartOptions& given) {
  LoadOptions options;
  options.model_type = given.model_type;
  options.bos_token_id = half.config.bos_token_id;
  options.pad_token_id = half.config.pad_token_id;
  if (!half.config.eos_token_id.empty()) options.eos_token_id = half.config.eos_token_id.front();
  options.seed = given.seed;
  return options;
}

bool same_content(const std::filesystem::path& a, const std::filesystem::path& b) {
  const auto first = MappedFile::open(a);
  const auto second = MappedFile::open(b);
  const auto x = first->bytes();
  const auto y = second->bytes();
  return std::equal(x.begin(), x.end(), y.begin(), y.end());
}

/// Whether one tokenizer serves both halves: they have the same files, or only one has any.
bool share_tokenizer(const Pretrained& encoder, const Pretrained& decoder) {
  const auto& a = encoder.tokenizer_files;
  const auto& b = decoder.tokenizer_files;
  if (!encoder.tokenizer || !decoder.tokenizer) return true;
  return encoder.tokenizer->tokenizer_class() == decoder.tokenizer->tokenizer_class() &&
         std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& one, const auto& other) {
           return one.first == other.first && same_content(one.second, other.second);
         });
}

}  // namespace

int run_warm_start(const Options& options) {
  const WarmStartOptions& given = options.warm_start;
  const Pretrained encoder = read_pretrained(given.encoder);
  const Pretrained decoder = read_pretrained(given.decoder);
  for (const Pretrained* half : {&encoder, &decoder}) require_apart(half->directory, options.destination);

  EncoderDecoderConfig config = choose_ids(given, decoder);
  SaveOptions save{.dtype = dtype_option(options), .replace = options.force, .files = {}};
  if (share_tokenizer(encoder, decoder)) {
    const Pretrained& half = encoder.tokenizer ? encoder : decoder;
    save.files = half.tokenizer_files;
    // The pair's config.json says nothing else of a tokenizer, and a family's own may be another.
    if (half.tokenizer) config.tokenizer_class = half.tokenizer->tokenizer_class();
  } else {
    for (const auto& [folder, half] : {std::pair{"encoder/", &encoder}, {"decoder/", &decoder}}) {
      for (const auto& [name, path] : half->tokenizer_files) save.files.emplace(folder + name, path);
      save.files.emplace(std::string(folder) + "config.json", half->directory / "config.json");  // says its class
    }
  }
  const auto model = EncoderDecoderModel::from_encoder_decoder_pretrained(
      encoder.directory, decoder.directory, load_options(encoder, given), load_options(decoder, given), config);
  model.save_pretrained(options.destination, save);
  return all_answered;
}

}  // namespace bertgen::cli
