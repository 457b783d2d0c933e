#include "bertgen/tokenizers/bert_generation.hpp"

#include <system_error>
#include <utility>

#include "bertgen/core/error.hpp"
#include "tokenizers/config.hpp"
#include "tokenizers/sentencepiece.hpp"
#include "tokenizers/text.hpp"

namespace bertgen {

namespace {

constexpr const char* vocab_file_name = "spiece.model";
// Real vocabularies have under 10 MB.
constexpr std::size_t largest_model = std::size_t{1} << 28;

// Settings that would change ids and that no BertGeneration checkpoint has.
void refuse_unsupported(const detail::TokenizerConfig& config) {
  const auto refuse = [&](const Json& object, const char* key, bool supported) {
    const auto found = object.find(key);
    if (found != object.end() && found->is_boolean() && found->get<bool>() != supported) {
      throw TokenizerError(config.source + ": " + key + ": expected " + (supported ? "true" : "false") +
                           ", the other is not supported");
    }
  };
  refuse(config.json, "legacy", true);
  const auto arguments = config.json.find("sp_model_kwargs");
  if (arguments == config.json.end() || !arguments->is_object()) return;
  for (const char* key : {"add_bos", "add_eos", "reverse"}) refuse(*arguments, key, false);
}

}  // namespace

struct BertGenerationTokenizer::Model {
  explicit Model(const std::filesystem::path& vocab_file)
      : bytes(detail::read_file(vocab_file, largest_model)), pieces(bytes, vocab_file.string()) {}

  // The file, to save it as it was.
  std::string bytes;
  detail::SentencePiece pieces;
  // What from_pretrained read, to save what is not ours.
  Json config = Json::object();
};

TokenizerOptions BertGenerationTokenizer::default_options() {
  TokenizerOptions options;
  options.bos_token = "<s>";
  options.eos_token = "</s>";
  options.unk_token = "<unk>";
  options.sep_token = "<::::>";
  options.pad_token = "<pad>";
  return options;
}

BertGenerationTokenizer::BertGenerationTokenizer(const std::filesystem::path& vocab_file, TokenizerOptions options)
    : BertGenerationTokenizer(std::make_unique<Model>(vocab_file), std::move(options)) {}

BertGenerationTokenizer::BertGenerationTokenizer(std::unique_ptr<const Model> model, TokenizerOptions options)
    : Tokenizer(std::move(options)), model_(std::move(model)) {
  add_special_tokens();
}

BertGenerationTokenizer::~BertGenerationTokenizer() = default;

std::unique_ptr<BertGenerationTokenizer> BertGenerationTokenizer::from_pretrained(
    const std::filesystem::path& directory) {
  auto model = std::make_unique<Model>(directory / vocab_file_name);
  detail::TokenizerConfig config = detail::read_tokenizer_config(directory, default_options());
  refuse_unsupported(config);
  model->config = std::move(config.json);
  return std::unique_ptr<BertGenerationTokenizer>(
      new BertGenerationTokenizer(std::move(model), std::move(config.options)));
}

std::string BertGenerationTokenizer::tokenizer_class() const { return "BertGenerationTokenizer"; }

std::size_t BertGenerationTokenizer::vocab_size() const { return model_->pieces.size(); }

std::vector<Tokenizer::Piece> BertGenerationTokenizer::tokenize(std::string_view text) const {
  std::vector<Piece> pieces;
  if (options().split_special_tokens) {
    encode_segment(text, 0, pieces);
    return pieces;
  }
  for (const Piece& part : split_added_tokens(text)) {
    if (part.id >= 0) {
      pieces.push_back(part);
    } else {
      encode_segment(text.substr(part.begin, part.end - part.begin), part.begin, pieces);
    }
  }
  return pieces;
}

void BertGenerationTokenizer::encode_segment(std::string_view segment, std::size_t begin,
                                             std::vector<Piece>& pieces) const {
  for (const detail::SentencePiece::Piece& piece : model_->pieces.encode(segment)) {
    // By string, as transformers does: unknown text that spells a piece or an added token gets that token's id.
    const TokenId id = piece.id < 0 ? piece_to_id(piece.text) : piece_to_id(piece.text, piece.id);
    pieces.push_back({id, begin + piece.begin, begin + piece.end});
  }
}

std::vector<Tokenizer::TemplateItem> BertGenerationTokenizer::sequence_template(bool pair) const {
  if (pair) return {{0, -1, 0}, {1, -1, 0}};
  return {{0, -1, 0}};
}

std::optional<TokenId> BertGenerationTokenizer::find_in_vocabulary(std::string_view token) const {
  return model_->pieces.find(token);
}

std::optional<std::string> BertGenerationTokenizer::vocabulary_token(TokenId id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= vocab_size()) return std::nullopt;
  return model_->pieces.text(id);
}

TokenId BertGenerationTokenizer::unknown_id() const { return model_->pieces.unknown_id(); }

std::string BertGenerationTokenizer::tokens_to_text(const std::vector<std::string>& tokens) const {
  std::string joined;
  for (const std::string& token : tokens) joined += token;
  return std::string(detail::strip(detail::replace_all(joined, detail::space_symbol, " ")));
}

std::vector<std::filesystem::path> BertGenerationTokenizer::save_vocabulary(
    const std::filesystem::path& directory) const {
  detail::require_directory(directory);
  std::filesystem::path path = directory / vocab_file_name;
  detail::write_file(path, model_->bytes);
  return {std::move(path)};
}

std::vector<std::filesystem::path> BertGenerationTokenizer::save_pretrained(
    const std::filesystem::path& directory) const {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  std::vector<std::filesystem::path> written = save_vocabulary(directory);
  for (auto& path : detail::write_tokenizer_config(directory, *this, model_->config)) {
    written.push_back(std::move(path));
  }
  return written;
}

}  // namespace bertgen
