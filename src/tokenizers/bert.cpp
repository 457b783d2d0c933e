#include "bertgen/tokenizers/bert.hpp"

#include <algorithm>
#include <utility>

#include "bertgen/core/error.hpp"
#include "tokenizers/pipeline.hpp"
#include "tokenizers/text.hpp"
#include "tokenizers/unicode.hpp"
#include "tokenizers/word_piece.hpp"

namespace bertgen {

namespace {

constexpr const char* vocab_file_name = "vocab.txt";

// [CLS] A [SEP] B [SEP]
detail::TokenizerPipeline bert_pipeline(const detail::TokenizerFiles& files, const BertNormalization& normalization) {
  const TokenizerOptions& options = files.config.options;
  const std::string& cls = detail::required_token(options.cls_token, "cls_token", files);
  const std::string& sep = detail::required_token(options.sep_token, "sep_token", files);
  detail::TokenizerPipeline pipeline;
  pipeline.normalization = normalization;
  pipeline.unk_token = detail::required_token(options.unk_token, "unk_token", files);
  pipeline.single = {{-1, cls, -1, 0}, {0, {}, -1, 0}, {-1, sep, -1, 0}};
  pipeline.pair = pipeline.single;
  pipeline.pair.push_back({1, {}, -1, 1});
  pipeline.pair.push_back({-1, sep, -1, 1});
  pipeline.tokenizer_class = "BertTokenizer";
  return pipeline;
}

detail::TokenizerFiles one_file(const std::filesystem::path& vocab_file, TokenizerOptions options) {
  detail::TokenizerFiles files = detail::read_word_piece_file(vocab_file);
  files.config.options = std::move(options);
  return files;
}

}  // namespace

struct BertTokenizer::Model {
  Model(const detail::TokenizerFiles& files, const detail::TokenizerPipeline& pipeline)
      : normalizer(pipeline.normalization),
        word_piece(files.vocabulary, detail::model_unknown_id(files, pipeline), pipeline.continuing_subword_prefix,
                   pipeline.max_input_chars_per_word) {}

  detail::BertNormalizer normalizer;
  detail::WordPiece word_piece;
};

TokenizerOptions BertTokenizer::default_options() {
  TokenizerOptions options;
  options.unk_token = "[UNK]";
  options.sep_token = "[SEP]";
  options.pad_token = "[PAD]";
  options.cls_token = "[CLS]";
  options.mask_token = "[MASK]";
  return options;
}

std::unique_ptr<BertTokenizer> BertTokenizer::from_pretrained(const std::filesystem::path& directory) {
  detail::TokenizerFiles files =
      detail::read_tokenizer_files(directory, default_options(), detail::ModelType::word_piece);
  files.tokenizer_json = nullptr;
  const Json& config = files.config.json;
  const std::string& source = files.config.source;
  BertNormalization normalization;
  normalization.do_lower_case = detail::read_flag(source, config, "do_lower_case", true);
  normalization.tokenize_chinese_chars = detail::read_flag(source, config, "tokenize_chinese_chars", true);
  if (config.contains("strip_accents") && !config["strip_accents"].is_null()) {
    normalization.strip_accents = detail::read_flag(source, config, "strip_accents", true);
  }
  detail::TokenizerPipeline pipeline = bert_pipeline(files, normalization);
  return std::unique_ptr<BertTokenizer>(new BertTokenizer(std::move(files), std::move(pipeline)));
}

BertTokenizer::BertTokenizer(const std::filesystem::path& vocab_file, TokenizerOptions options,
                             const BertNormalization& normalization)
    : BertTokenizer(one_file(vocab_file, std::move(options)), normalization) {}

BertTokenizer::BertTokenizer(detail::TokenizerFiles files, const BertNormalization& normalization)
    // The files are only moved from by the other constructor, when the pipeline is there.
    : BertTokenizer(std::move(files), bert_pipeline(files, normalization)) {}

BertTokenizer::BertTokenizer(detail::TokenizerFiles&& files, detail::TokenizerPipeline pipeline)
    : TokenizersBackend(std::move(files), std::move(pipeline)),
      model_(std::make_unique<const Model>(this->files(), this->pipeline())) {
  add_special_tokens();
}

BertTokenizer::~BertTokenizer() = default;

void BertTokenizer::encode_segment(std::string_view text, std::size_t begin, std::size_t end,
                                   std::vector<Piece>& pieces) const {
  const detail::NormalizedText normalized = model_->normalizer.normalize(text, begin, end);
  std::vector<detail::WordPiece::Piece> found;
  found.reserve(normalized.text.size() / 4);
  if (has_normalized_tokens()) {
    for (const Piece& part : split_normalized_tokens(normalized.text)) {
      if (part.id >= 0) {
        found.push_back({part.id, part.begin, part.end});
      } else {
        model_->word_piece.encode(normalized.text, part.begin, part.end, found);
      }
    }
  } else {
    model_->word_piece.encode(normalized.text, 0, normalized.text.size(), found);
  }

  // A character that normalisation turned into several belongs to the piece with the last of them.
  std::size_t covered = begin;
  for (const detail::WordPiece::Piece& piece : found) {
    if (piece.begin == piece.end) {
      pieces.push_back({piece.id, covered, covered});
      continue;
    }
    const std::size_t first = normalized.origins[piece.begin];
    const std::size_t last = normalized.origins[piece.end - 1];
    const bool shared = piece.end < normalized.text.size() && normalized.origins[piece.end] == last;
    const std::size_t last_end = shared ? last : last + detail::decode_utf8(text, last).second;
    const std::size_t piece_begin = std::max(first, covered);
    covered = std::max(last_end, piece_begin);
    pieces.push_back({piece.id, piece_begin, covered});
  }
}

std::string BertTokenizer::tokens_to_text(const std::vector<std::string>& tokens) const {
  return detail::join_word_pieces(tokens, pipeline().continuing_subword_prefix, pipeline().decoder_cleanup);
}

std::string BertTokenizer::normalized_content(std::string_view content) const {
  return model_->normalizer.normalize(content, 0, content.size()).text;
}

std::vector<std::filesystem::path> BertTokenizer::save_vocabulary(const std::filesystem::path& directory) const {
  detail::require_directory(directory);
  std::string lines;
  TokenId next = 0;
  for (const auto& [token, id] : files().vocabulary.tokens()) {
    for (; next < id; ++next) lines += '\n';
    const bool trimmed = detail::white_space_begin(token, 0, token.size()) != token.size();
    if (trimmed || token.find('\n') != std::string_view::npos) {
      throw TokenizerError((directory / vocab_file_name).string() + ": token " + std::to_string(id) +
                           ": expected one line without white space at its end, got " + excerpt(std::string(token)));
    }
    lines.append(token) += '\n';
    ++next;
  }
  std::filesystem::path path = directory / vocab_file_name;
  detail::write_file(path, lines);
  return {std::move(path)};
}

}  // namespace bertgen
