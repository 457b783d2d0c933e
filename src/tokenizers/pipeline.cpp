#include "tokenizers/pipeline.hpp"

#include <limits>
#include <utility>

#include "bertgen/core/error.hpp"
#include "tokenizers/text.hpp"

namespace bertgen::detail {

namespace {

// Real vocabularies have under 10 MB.
constexpr std::size_t largest_vocabulary = std::size_t{1} << 27;

// A value of tokenizer.json with its place, for errors that name the key.
class Node {
 public:
  Node(const Json& json, std::string where) : json_(&json), where_(std::move(where)) {}

  [[noreturn]] void fail(const std::string& expected) const {
    throw TokenizerError(where_ + ": expected " + expected + ", got " + excerpt(*json_));
  }

  const Json& json() const { return *json_; }
  const std::string& where() const { return where_; }
  bool is_null() const { return json_->is_null(); }

  // The value of a key, null where there is none.
  Node operator[](const char* key) const {
    static const Json null;
    if (!json_->is_object()) fail("an object");
    const auto found = json_->find(key);
    return {found != json_->end() ? *found : null, where_ + ": " + key};
  }
  std::vector<Node> items() const {
    if (!json_->is_array()) fail("a list");
    std::vector<Node> nodes;
    for (const Json& item : *json_) nodes.emplace_back(item, where_ + " " + std::to_string(nodes.size()));
    return nodes;
  }
  bool flag(const char* key, bool missing) const { return read_flag(where_, *json_, key, missing); }
  std::string text() const {
    if (!json_->is_string()) fail("a string");
    return json_->get<std::string>();
  }
  TokenId id() const {
    constexpr auto largest = static_cast<std::uint64_t>(std::numeric_limits<TokenId>::max());
    if (!json_->is_number_unsigned() || json_->get<std::uint64_t>() > largest) fail("a number from 0 to 2147483647");
    return json_->get<TokenId>();
  }
  // The component's type, nothing for null.
  std::string type() const { return is_null() ? std::string() : (*this)["type"].text(); }
  void refuse_type(const std::string& supported) const {
    (*this)["type"].fail(supported + " (others are not supported)");
  }

 private:
  const Json* json_;
  std::string where_;
};

// The type of a file's model, also where an old file does not name it.
ModelType model_type(const Node& file) {
  const Node model = file["model"];
  if (model["type"].is_null()) {
    // Files before tokenizers 0.9.
    if (!model["merges"].is_null()) return ModelType::bpe;
    if (!model["max_input_chars_per_word"].is_null()) return ModelType::word_piece;
  }
  if (model["type"].json() == "WordPiece") return ModelType::word_piece;
  if (model["type"].json() != "BPE") model.refuse_type("\"WordPiece\" or \"BPE\"");
  return ModelType::bpe;
}

// Components whose types are not supported; their settings are another matter.
void check_types(const Node& file, ModelType type) {
  const Node normalizer = file["normalizer"];
  const Node pre_tokenizer = file["pre_tokenizer"];
  const Node decoder = file["decoder"];
  const bool word_piece = type == ModelType::word_piece;
  const std::string model = word_piece ? "WordPiece" : "BPE";
  if (!normalizer.is_null() && !(word_piece && normalizer.type() == "BertNormalizer")) {
    normalizer.refuse_type(word_piece ? "\"BertNormalizer\" for the model WordPiece" : "null for the model BPE");
  }
  const std::string splitter = word_piece ? "BertPreTokenizer" : "ByteLevel";
  if (pre_tokenizer.type() != splitter) {
    if (pre_tokenizer.is_null()) pre_tokenizer.fail("\"" + splitter + "\" for the model " + model);
    pre_tokenizer.refuse_type("\"" + splitter + "\" for the model " + model);
  }
  const std::string joiner = word_piece ? "WordPiece" : "ByteLevel";
  if (decoder.type() != joiner) {
    if (decoder.is_null()) decoder.fail("\"" + joiner + "\" for the model " + model);
    decoder.refuse_type("\"" + joiner + "\" for the model " + model);
  }
}

// A [token, id] pair of BertProcessing and RobertaProcessing.
TemplateStep bound_token(const Node& node) {
  const std::vector<Node> items = node.items();
  if (items.size() != 2) node.fail("a token and its id");
  return {-1, items[0].text(), items[1].id(), 0};
}

// The special tokens of a TemplateProcessing may stand for several ids each.
void append_special(const Node& processor, const std::string& name, TokenId token_type_id,
                    std::vector<TemplateStep>& steps) {
  const Node token = processor["special_tokens"][name.c_str()];
  if (token.is_null()) token.fail("the ids of a special token");
  for (const Node& id : token["ids"].items()) steps.push_back({-1, name, id.id(), token_type_id});
}

std::vector<TemplateStep> read_template(const Node& processor, const char* key) {
  std::vector<TemplateStep> steps;
  for (const Node& item : processor[key].items()) {
    const Node special = item["SpecialToken"];
    const Node sequence = item["Sequence"];
    if (!special.is_null()) {
      append_special(processor, special["id"].text(), special["type_id"].id(), steps);
    } else if (!sequence.is_null() && (sequence["id"].json() == "A" || sequence["id"].json() == "B")) {
      steps.push_back({sequence["id"].json() == "A" ? 0 : 1, {}, -1, sequence["type_id"].id()});
    } else {
      item.fail("a Sequence A or B, or a SpecialToken");
    }
  }
  return steps;
}

void read_post_processor(const Node& processor, TokenizerPipeline& pipeline) {
  const std::string type = processor.type();
  const auto with_type = [](TemplateStep step, TokenId token_type_id) {
    step.token_type_id = token_type_id;
    return step;
  };
  if (type == "Sequence") {
    for (const Node& part : processor["processors"].items()) read_post_processor(part, pipeline);
  } else if (type == "TemplateProcessing") {
    pipeline.single = read_template(processor, "single");
    pipeline.pair = read_template(processor, "pair");
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    const TemplateStep cls = bound_token(processor["cls"]);
    const TemplateStep sep = bound_token(processor["sep"]);
    pipeline.single = {cls, {0, {}, -1, 0}, sep};
    if (type == "BertProcessing") {
      pipeline.pair = {cls, {0, {}, -1, 0}, sep, {1, {}, -1, 1}, with_type(sep, 1)};
    } else {
      pipeline.pair = {cls, {0, {}, -1, 0}, sep, sep, {1, {}, -1, 0}, sep};
      pipeline.byte_level.trim_offsets = processor.flag("trim_offsets", true);
    }
  } else if (type == "ByteLevel") {
    pipeline.byte_level.trim_offsets = processor.flag("trim_offsets", true);
  } else if (!type.empty()) {
    processor.refuse_type(
        "\"TemplateProcessing\", \"BertProcessing\", \"RobertaProcessing\", \"ByteLevel\" or "
        "\"Sequence\"");
  }
}

void read_word_piece(const Node& file, TokenizerPipeline& pipeline) {
  const Node normalizer = file["normalizer"];
  BertNormalization& normalization = pipeline.normalization;
  if (normalizer.is_null()) {
    normalization = {
        .do_lower_case = false, .tokenize_chinese_chars = false, .strip_accents = false, .clean_text = false};
  } else {
    normalization.clean_text = normalizer.flag("clean_text", true);
    normalization.tokenize_chinese_chars = normalizer.flag("handle_chinese_chars", true);
    normalization.do_lower_case = normalizer.flag("lowercase", true);
    if (!normalizer["strip_accents"].is_null()) normalization.strip_accents = normalizer.flag("strip_accents", true);
  }
  const Node model = file["model"];
  pipeline.unk_token = model["unk_token"].text();
  if (!model["continuing_subword_prefix"].is_null()) {
    pipeline.continuing_subword_prefix = model["continuing_subword_prefix"].text();
  }
  if (!model["max_input_chars_per_word"].is_null()) {
    pipeline.max_input_chars_per_word = static_cast<std::size_t>(model["max_input_chars_per_word"].id());
  }
  pipeline.decoder_cleanup = file["decoder"].flag("cleanup", true);
  const Node prefix = file["decoder"]["prefix"];
  if (!prefix.is_null() && prefix.text() != pipeline.continuing_subword_prefix) {
    prefix.fail("the model's continuing_subword_prefix");
  }
}

void read_bpe(const Node& file, TokenizerPipeline& pipeline) {
  const Node model = file["model"];
  const Node splitter = file["pre_tokenizer"];
  pipeline.byte_level.add_prefix_space = splitter.flag("add_prefix_space", true);
  if (!splitter.flag("use_regex", true)) splitter["use_regex"].fail("true (false is not supported)");
  for (const char* key : {"byte_fallback", "ignore_merges", "fuse_unk"}) {
    if (model.flag(key, false)) model[key].fail("false (true is not supported)");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model[key].is_null() && !model[key].text().empty()) model[key].fail("none (it is not supported)");
  }
  if (!model["dropout"].is_null() && model["dropout"].json() != 0.0) {
    model["dropout"].fail("none (it is not supported)");
  }
  if (!model["unk_token"].is_null()) pipeline.unk_token = model["unk_token"].text();
}

Json write_template(const std::vector<TemplateStep>& steps) {
  Json items = Json::array();
  for (const TemplateStep& step : steps) {
    const std::string name = step.sequence < 0 ? step.token : step.sequence == 0 ? "A" : "B";
    items.push_back(
        {{step.sequence < 0 ? "SpecialToken" : "Sequence", {{"id", name}, {"type_id", step.token_type_id}}}});
  }
  return items;
}

Json write_word_piece(const Tokenizer& tokenizer, const TokenizerPipeline& pipeline, Json vocabulary) {
  Json special = Json::object();
  for (const TemplateStep& step : pipeline.pair) {
    if (step.sequence >= 0) continue;
    const TokenId id = step.id >= 0 ? step.id : tokenizer.token_to_id(step.token).value();
    special[step.token] = {{"id", step.token}, {"ids", Json::array({id})}, {"tokens", Json::array({step.token})}};
  }
  const BertNormalization& normalization = pipeline.normalization;
  return {
      {"normalizer",
       {{"type", "BertNormalizer"},
        {"clean_text", normalization.clean_text},
        {"handle_chinese_chars", normalization.tokenize_chinese_chars},
        {"strip_accents", normalization.strip_accents ? Json(*normalization.strip_accents) : Json()},
        {"lowercase", normalization.do_lower_case}}},
      {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single", write_template(pipeline.single)},
        {"pair", write_template(pipeline.pair)},
        {"special_tokens", special}}},
      {"decoder",
       {{"type", "WordPiece"}, {"prefix", pipeline.continuing_subword_prefix}, {"cleanup", pipeline.decoder_cleanup}}},
      {"model",
       {{"type", "WordPiece"},
        {"unk_token", pipeline.unk_token.value_or("")},
        {"continuing_subword_prefix", pipeline.continuing_subword_prefix},
        {"max_input_chars_per_word", pipeline.max_input_chars_per_word},
        {"vocab", std::move(vocabulary)}}}};
}

Json write_bpe(const Tokenizer& tokenizer, const TokenizerPipeline& pipeline, Json vocabulary, const Merges& merges) {
  const ByteLevelOptions& byte_level = pipeline.byte_level;
  const auto bound = [&](const TemplateStep& step) {
    return Json::array({step.token, step.id >= 0 ? step.id : tokenizer.token_to_id(step.token).value()});
  };
  Json pairs = Json::array();
  for (const auto& [left, right] : merges) pairs.push_back(Json::array({left, right}));
  return {{"normalizer", Json()},
          {"pre_tokenizer",
           {{"type", "ByteLevel"},
            {"add_prefix_space", byte_level.add_prefix_space},
            {"trim_offsets", true},
            {"use_regex", true}}},
          {"post_processor",
           {{"type", "RobertaProcessing"},
            {"sep", bound(pipeline.single.back())},
            {"cls", bound(pipeline.single.front())},
            {"trim_offsets", byte_level.trim_offsets},
            {"add_prefix_space", byte_level.add_prefix_space}}},
          {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", Json()},
            {"unk_token", Json()},
            {"continuing_subword_prefix", ""},
            {"end_of_word_suffix", ""},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", std::move(vocabulary)},
            {"merges", std::move(pairs)}}}};
}

}  // namespace

TokenizerPipeline read_pipeline(const Json& tokenizer_json, const std::string& source) {
  const Node file(tokenizer_json, source);
  TokenizerPipeline pipeline;
  pipeline.type = model_type(file);
  pipeline.single = {{0, {}, -1, 0}};
  pipeline.pair = {{0, {}, -1, 0}, {1, {}, -1, 1}};
  pipeline.byte_level.trim_offsets = false;
  pipeline.token_type_ids = false;  // unless model_input_names says otherwise
  read_post_processor(file["post_processor"], pipeline);
  if (pipeline.type == ModelType::word_piece) {
    read_word_piece(file, pipeline);
  } else {
    read_bpe(file, pipeline);
  }
  return pipeline;
}

TokenizerFiles read_word_piece_file(const std::filesystem::path& vocab_file) {
  TokenizerFiles files;
  files.source = vocab_file.string();
  files.vocabulary = Vocabulary::from_lines(read_file(vocab_file, largest_vocabulary), files.source);
  return files;
}

TokenizerFiles read_byte_level_files(const std::filesystem::path& vocab_file,
                                     const std::filesystem::path& merges_file) {
  TokenizerFiles files;
  files.source = vocab_file.string();
  const auto vocabulary = read_json_object(vocab_file, /*unique_keys=*/true);
  if (!vocabulary) throw TokenizerError(files.source + ": expected a file, got nothing");
  files.vocabulary = Vocabulary::from_json(*vocabulary, files.source);
  files.merges = read_merges(read_file(merges_file, largest_vocabulary), merges_file.string());
  return files;
}

const std::string& required_token(const std::optional<std::string>& token, const char* key,
                                  const TokenizerFiles& files) {
  if (token && !token->empty()) return *token;
  const std::string& where = files.config.source.empty() ? files.source : files.config.source;
  throw TokenizerError(where + ": " + key + ": expected a token, got none");
}

TokenId model_unknown_id(const TokenizerFiles& files, const TokenizerPipeline& pipeline) {
  if (!pipeline.unk_token) return -1;
  const std::optional<TokenId> id = files.vocabulary.find(*pipeline.unk_token);
  if (id) return *id;
  throw TokenizerError(files.source + ": expected the unknown token " + excerpt(*pipeline.unk_token) +
                       " in the vocabulary, got none");
}

TokenizerFiles read_tokenizer_files(const std::filesystem::path& directory, TokenizerOptions defaults,
                                    std::optional<ModelType> type) {
  TokenizerFiles files;
  const std::filesystem::path serialized = directory / "tokenizer.json";
  bool word_piece = type == ModelType::word_piece;
  if (auto json = read_json_object(serialized, /*unique_keys=*/true)) {
    files.source = serialized.string();
    const Node file(*json, files.source);
    const Node model = file["model"];
    const ModelType found = model_type(file);
    if (type && found != *type) {
      model["type"].fail(std::string(word_piece ? "\"WordPiece\"" : "\"BPE\"") + ", as its tokenizer_class says");
    }
    word_piece = found == ModelType::word_piece;
    check_types(file, found);
    files.vocabulary = Vocabulary::from_json(model["vocab"].json(), files.source + ": model: vocab");
    if (!word_piece) files.merges = read_merge_list(model["merges"].json(), files.source + ": model");
    files.tokenizer_json = std::move(*json);
  } else if (!type) {
    throw TokenizerError(serialized.string() + ": expected a file, got nothing");
  } else {
    files = word_piece ? read_word_piece_file(directory / "vocab.txt")
                       : read_byte_level_files(directory / "vocab.json", directory / "merges.txt");
  }
  files.config = read_tokenizer_config(directory, std::move(defaults),
                                       files.tokenizer_json.is_null() ? nullptr : &files.tokenizer_json);
  return files;
}

Json serialize(const Tokenizer& tokenizer, const TokenizerFiles& files, const TokenizerPipeline& pipeline) {
  Json vocabulary = Json::object();
  for (const auto& [token, id] : files.vocabulary.tokens()) vocabulary[std::string(token)] = id;
  Json json = pipeline.type == ModelType::word_piece
                  ? write_word_piece(tokenizer, pipeline, std::move(vocabulary))
                  : write_bpe(tokenizer, pipeline, std::move(vocabulary), files.merges);
  json["version"] = "1.0";
  json["truncation"] = Json();
  json["padding"] = Json();
  json["added_tokens"] = Json::array();
  for (const auto& [id, token] : tokenizer.added_tokens_decoder()) {
    Json entry = to_json(token);
    entry["id"] = id;
    json["added_tokens"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace bertgen::detail
