#include "bertgen/tokenizers/roberta.hpp"

#include <algorithm>
#include <utility>

#include "bertgen/core/error.hpp"
#include "tokenizers/byte_level.hpp"
#include "tokenizers/byte_pairs.hpp"
#include "tokenizers/pipeline.hpp"
#include "tokenizers/text.hpp"
#include "tokenizers/unicode.hpp"

namespace bertgen {

namespace {

// Text that differs from the given one: each byte knows which bytes it stands for.
struct ChangedText {
  // The last of them stands for all of [begin, end).
  void append(std::string_view bytes, std::size_t begin, std::size_t end) {
    text += bytes;
    begins.resize(text.size(), begin);
    ends.resize(text.size(), begin);
    ends.back() = end;
  }

  std::string text;
  std::vector<std::size_t> begins;
  std::vector<std::size_t> ends;
};

// <s> A </s></s> B </s>
detail::TokenizerPipeline roberta_pipeline(const detail::TokenizerFiles& files, const ByteLevelOptions& byte_level) {
  const TokenizerOptions& options = files.config.options;
  const detail::TemplateStep cls = {-1, detail::required_token(options.cls_token, "cls_token", files), -1, 0};
  const detail::TemplateStep sep = {-1, detail::required_token(options.sep_token, "sep_token", files), -1, 0};
  detail::TokenizerPipeline pipeline;
  pipeline.type = detail::ModelType::bpe;
  pipeline.byte_level = byte_level;
  pipeline.single = {cls, {0, {}, -1, 0}, sep};
  pipeline.pair = {cls, {0, {}, -1, 0}, sep, sep, {1, {}, -1, 0}, sep};
  pipeline.token_type_ids = false;
  pipeline.tokenizer_class = "RobertaTokenizer";
  return pipeline;
}

detail::TokenizerFiles two_files(const std::filesystem::path& vocab_file, const std::filesystem::path& merges_file,
                                 TokenizerOptions options) {
  detail::TokenizerFiles files = detail::read_byte_level_files(vocab_file, merges_file);
  files.config.options = std::move(options);
  return files;
}

}  // namespace

struct RobertaTokenizer::Model {
  Model(const detail::TokenizerFiles& files, const detail::TokenizerPipeline& pipeline)
      : byte_pairs(files.vocabulary, files.merges, detail::model_unknown_id(files, pipeline), files.source) {}

  detail::BytePairs byte_pairs;
};

TokenizerOptions RobertaTokenizer::default_options() {
  TokenizerOptions options;
  options.bos_token = "<s>";
  options.eos_token = "</s>";
  options.unk_token = "<unk>";
  options.sep_token = "</s>";
  options.pad_token = "<pad>";
  options.cls_token = "<s>";
  options.mask_token = "<mask>";
  return options;
}

std::unique_ptr<RobertaTokenizer> RobertaTokenizer::from_pretrained(const std::filesystem::path& directory) {
  detail::TokenizerFiles files = detail::read_tokenizer_files(directory, default_options(), detail::ModelType::bpe);
  files.tokenizer_json = nullptr;
  ByteLevelOptions byte_level;
  const Json& config = files.config.json;
  byte_level.add_prefix_space = detail::read_flag(files.config.source, config, "add_prefix_space", false);
  byte_level.trim_offsets = detail::read_flag(files.config.source, config, "trim_offsets", true);
  detail::TokenizerPipeline pipeline = roberta_pipeline(files, byte_level);
  return std::unique_ptr<RobertaTokenizer>(new RobertaTokenizer(std::move(files), std::move(pipeline)));
}

RobertaTokenizer::RobertaTokenizer(const std::filesystem::path& vocab_file, const std::filesystem::path& merges_file,
                                   TokenizerOptions options, const ByteLevelOptions& byte_level)
    : RobertaTokenizer(two_files(vocab_file, merges_file, std::move(options)), byte_level) {}

RobertaTokenizer::RobertaTokenizer(detail::TokenizerFiles files, const ByteLevelOptions& byte_level)
    // The files are only moved from by the other constructor, when the pipeline is there.
    : RobertaTokenizer(std::move(files), roberta_pipeline(files, byte_level)) {}

RobertaTokenizer::RobertaTokenizer(detail::TokenizerFiles&& files, detail::TokenizerPipeline pipeline)
    : TokenizersBackend(std::move(files), std::move(pipeline)),
      model_(std::make_unique<const Model>(this->files(), this->pipeline())) {
  add_special_tokens();
}

RobertaTokenizer::~RobertaTokenizer() = default;

void RobertaTokenizer::encode_segment(std::string_view text, std::size_t begin, std::size_t end,
                                      std::vector<Piece>& pieces) const {
  if (!has_normalized_tokens()) return encode_words(text, begin, end, pieces);
  for (Piece part : split_normalized_tokens(text.substr(begin, end - begin))) {
    part.begin += begin;
    part.end += begin;
    if (part.id >= 0) {
      pieces.push_back(part);
    } else {
      encode_words(text, part.begin, part.end, pieces);
    }
  }
}

void RobertaTokenizer::encode_words(std::string_view text, std::size_t begin, std::size_t end,
                                    std::vector<Piece>& pieces) const {
  // Where the segment's text differs from the given one, each byte knows where it comes from.
  std::string_view segment = text.substr(begin, end - begin);
  ChangedText changed;
  const bool as_given =
      (!pipeline().byte_level.add_prefix_space || segment.starts_with(' ')) && detail::is_valid_utf8(segment);
  if (!as_given) {
    if (pipeline().byte_level.add_prefix_space && !segment.starts_with(' ')) changed.append(" ", 0, 0);
    for (std::size_t at = 0; at < segment.size();) {
      const std::size_t length = detail::utf8_length(segment.substr(at));
      if (length > 0) {
        for (std::size_t i = 0; i < length; ++i) changed.append(segment.substr(at + i, 1), at + i, at + i + 1);
      } else {
        changed.append("\xEF\xBF\xBD", at, at + 1);
      }
      at += std::max<std::size_t>(length, 1);
    }
    segment = changed.text;
  }
  const bool trim = pipeline().byte_level.trim_offsets;
  detail::BytePairs::Scratch scratch;
  std::vector<detail::BytePairs::Piece> found;
  for (std::size_t word = 0; word < segment.size();) {
    const std::size_t word_end = detail::word_end(segment, word);
    model_->byte_pairs.encode(segment.substr(word, word_end - word), found, scratch);
    for (const detail::BytePairs::Piece& piece : found) {
      std::size_t piece_begin = begin + (as_given ? word + piece.begin : changed.begins[word + piece.begin]);
      std::size_t piece_end = begin + (as_given ? word + piece.end : changed.ends[word + piece.end - 1]);
      if (trim) {
        while (piece_begin < piece_end && text[piece_begin] == ' ') ++piece_begin;
        while (piece_end > piece_begin && text[piece_end - 1] == ' ') --piece_end;
      }
      pieces.push_back({piece.id, piece_begin, piece_end});
    }
    word = word_end;
  }
}

std::string RobertaTokenizer::tokens_to_text(const std::vector<std::string>& tokens) const {
  std::string bytes;
  for (const std::string& token : tokens) bytes += text_of_token(token);
  return detail::lossy_utf8(bytes);
}

std::string RobertaTokenizer::text_of_token(const std::string& token) const {
  std::string bytes;
  return detail::bytes_of_characters(token, bytes) ? bytes : token;
}

std::vector<std::filesystem::path> RobertaTokenizer::save_vocabulary(const std::filesystem::path& directory) const {
  detail::require_directory(directory);
  std::vector<std::filesystem::path> written = {directory / "vocab.json", directory / "merges.txt"};
  std::string merges = "#version: 0.2\n";
  for (const auto& [left, right] : files().merges) {
    if ((left + right).find_first_of(" \n\r") != std::string::npos || left.starts_with("#version")) {
      throw TokenizerError(written[1].string() + ": expected merges without spaces and line breaks, got " +
                           excerpt(left) + " with " + excerpt(right));
    }
    merges.append(left).append(" ").append(right) += '\n';
  }
  std::string vocabulary = "{";
  for (const auto& [token, id] : files().vocabulary.tokens()) {
    if (vocabulary.size() > 1) vocabulary += ", ";
    vocabulary += Json(token).dump() + ": " + std::to_string(id);
  }
  detail::write_file(written[0], vocabulary + "}\n");
  detail::write_file(written[1], merges);
  return written;
}

}  // namespace bertgen
