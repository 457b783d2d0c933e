#include "bertgen/tokenizers/tokenizers_backend.hpp"

#include <algorithm>
#include <system_error>
#include <utility>

#include "bertgen/core/error.hpp"
#include "tokenizers/pipeline.hpp"
#include "tokenizers/text.hpp"

namespace bertgen {

namespace {

// A model_input_names in tokenizer_config.json decides about token types.
bool names_token_types(const Json& config, bool missing) {
  const auto names = config.find("model_input_names");
  if (names == config.end() || !names->is_array()) return missing;
  return std::find(names->begin(), names->end(), "token_type_ids") != names->end();
}

}  // namespace

TokenizersBackend::TokenizersBackend(detail::TokenizerFiles files, detail::TokenizerPipeline pipeline)
    : Tokenizer(files.config.options, Backend::tokenizers) {
  pipeline.token_type_ids = names_token_types(files.config.json, pipeline.token_type_ids);
  files_ = std::make_unique<const detail::TokenizerFiles>(std::move(files));
  pipeline_ = std::make_unique<const detail::TokenizerPipeline>(std::move(pipeline));
}

TokenizersBackend::~TokenizersBackend() = default;

std::unique_ptr<TokenizersBackend> TokenizersBackend::from_pretrained(const std::filesystem::path& directory) {
  detail::TokenizerFiles files = detail::read_tokenizer_files(directory, {}, std::nullopt);
  detail::TokenizerPipeline pipeline = detail::read_pipeline(files.tokenizer_json, files.source);
  pipeline.tokenizer_class = "TokenizersBackend";
  if (pipeline.type == detail::ModelType::word_piece) {
    return std::unique_ptr<TokenizersBackend>(new BertTokenizer(std::move(files), std::move(pipeline)));
  }
  return std::unique_ptr<TokenizersBackend>(new RobertaTokenizer(std::move(files), std::move(pipeline)));
}

std::string TokenizersBackend::tokenizer_class() const { return pipeline_->tokenizer_class; }

std::size_t TokenizersBackend::vocab_size() const { return files_->vocabulary.size(); }

std::vector<Tokenizer::Piece> TokenizersBackend::tokenize(std::string_view text) const {
  std::vector<Piece> pieces;
  pieces.reserve(text.size() / 4);
  for (const Piece& part : split_added_tokens(text)) {
    if (part.id >= 0) {
      pieces.push_back(part);
    } else {
      encode_segment(text, part.begin, part.end, pieces);
    }
  }
  return pieces;
}

std::vector<Tokenizer::TemplateItem> TokenizersBackend::sequence_template(bool pair) const {
  std::vector<TemplateItem> items;
  for (const detail::TemplateStep& step : pair ? pipeline_->pair : pipeline_->single) {
    const bool by_name = step.sequence < 0 && step.id < 0;
    items.push_back({step.sequence, by_name ? *token_to_id(step.token) : step.id, step.token_type_id});
  }
  return items;
}

bool TokenizersBackend::has_token_type_ids() const { return pipeline_->token_type_ids; }

std::optional<TokenId> TokenizersBackend::find_in_vocabulary(std::string_view token) const {
  return files_->vocabulary.find(token);
}

std::optional<std::string> TokenizersBackend::vocabulary_token(TokenId id) const {
  const std::optional<std::string_view> token = files_->vocabulary.token(id);
  return token ? std::optional<std::string>(*token) : std::nullopt;
}

TokenId TokenizersBackend::unknown_id() const {
  return pipeline_->unk_token ? files_->vocabulary.find(*pipeline_->unk_token).value_or(-1) : -1;
}

std::vector<std::filesystem::path> TokenizersBackend::save_pretrained(const std::filesystem::path& directory) const {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  // Only a tokenizer that is all as tokenizer.json says has kept that.
  const bool as_read = !files_->tokenizer_json.is_null();
  const Json json = as_read ? files_->tokenizer_json : detail::serialize(*this, *files_, *pipeline_);
  std::vector<std::filesystem::path> written = {directory / "tokenizer.json"};
  detail::write_file(written.back(), json.dump(2) + "\n");

  Json config = files_->config.json;
  if (!as_read && pipeline_->type == detail::ModelType::word_piece) {
    const BertNormalization& normalization = pipeline_->normalization;
    config["do_lower_case"] = normalization.do_lower_case;
    config["tokenize_chinese_chars"] = normalization.tokenize_chinese_chars;
    config["strip_accents"] = normalization.strip_accents ? Json(*normalization.strip_accents) : Json();
  } else if (!as_read) {
    config["add_prefix_space"] = pipeline_->byte_level.add_prefix_space;
    config["trim_offsets"] = pipeline_->byte_level.trim_offsets;
  }
  for (auto& path : detail::write_tokenizer_config(directory, *this, std::move(config))) {
    written.push_back(std::move(path));
  }
  return written;
}

}  // namespace bertgen
