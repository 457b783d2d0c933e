// inspect: what is in a checkpoint directory, and what loading made of it.
#include <array>
#include <cstdio>
#include <map>
#include <set>
#include <tuple>

#include "bertgen/io/mapped_file.hpp"
#include "model.hpp"
#include "output.hpp"

namespace bertgen::cli {
namespace {

constexpr std::string_view word_embeddings = "embeddings.word_embeddings.weight";

std::string decimal(double value, int digits) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

std::string bytes_text(std::size_t bytes) {
  const auto value = static_cast<double>(bytes);
  return value < 1e6 ? decimal(value / 1e3, 1) + " kB" : decimal(value / 1e6, 1) + " MB";
}

std::string parameters_text(std::size_t count) {
  const std::string number =
      count < 100'000 ? std::to_string(count) : decimal(static_cast<double>(count) / 1e6, 2) + " M";
  return number + " parameters";
}

std::string plural(std::size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

/// Collects "name: text" lines, names padded to one width.
class Report {
 public:
  void add(const std::string& name, const std::string& text) { lines_.emplace_back(name, text); }
  /// How many there are, and the first few; no line for none.
  void add_list(const std::string& name, const std::vector<std::string>& items) {
    constexpr std::size_t shown = 3;
    if (items.empty()) return;
    std::string text = std::to_string(items.size()) + ": ";
    for (std::size_t i = 0; i < std::min(shown, items.size()); ++i) text += (i == 0 ? "" : ", ") + items[i];
    add(name, text + (items.size() > shown ? ", …" : ""));
  }
  void write(Output& output) const {
    std::size_t width = 0;
    for (const auto& line : lines_) width = std::max(width, line.first.size());
    for (const auto& [name, text] : lines_) output.line(name + ":" + std::string(width + 1 - name.size(), ' ') + text);
    output.flush();
  }

 private:
  std::vector<std::pair<std::string, std::string>> lines_;
};

/// Tensors of floating types whose names begin with `prefix`; those that share their memory count once.
std::size_t count_parameters(const NamedTensors& tensors, std::string_view prefix = "") {
  std::set<const std::byte*> counted;
  std::size_t count = 0;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(prefix) && counted.insert(tensor.data).second) count += tensor.shape.size();
  }
  return count;
}

std::string describe(const TransformerConfig& config) {
  std::string text = config.model_type + ": " + plural(config.num_hidden_layers, "layer") + ", hidden " +
                     std::to_string(config.hidden_size) + ", " + plural(config.num_attention_heads, "head") +
                     ", intermediate " + std::to_string(config.intermediate_size) + ", " + config.hidden_act +
                     ", vocabulary " + std::to_string(config.vocab_size) + ", " +
                     std::to_string(config.max_position_embeddings) + " positions";
  if (config.padding_idx()) text += " behind padding id " + std::to_string(*config.padding_idx());
  if (config.type_vocab_size != 0) text += ", " + plural(config.type_vocab_size, "token type");
  if (config.is_decoder) text += ", causal";
  if (config.add_cross_attention) text += ", cross-attention";
  return text;
}

std::string describe(const Tokenizer& tokenizer) {
  std::string text = tokenizer.tokenizer_class() + ", " + plural(tokenizer.vocab_size(), "piece") + ", " +
                     std::to_string(tokenizer.size()) + " with added tokens; special:";
  for (const TokenId id : tokenizer.all_special_ids()) {
    text.append(" ").append(valid_utf8(tokenizer.id_to_token(id))).append(" ").append(std::to_string(id));
  }
  return text;
}

/// Whether the output matrix of the language model whose tensors begin with `scope` is the word embeddings.
bool has_tied_matrix(const NamedTensors& tensors, const std::string& scope, const Family& family) {
  const auto matrix = tensors.find(scope + std::string(family.lm_head.head) + ".decoder.weight");
  const auto words = tensors.find(scope + std::string(family.base) + "." + std::string(word_embeddings));
  return matrix == tensors.end() || same_content(matrix->second, words->second);
}

/// As measured (docs/performance.md): without instructions for bytes, int8 gains by what it leaves unread alone, and
/// without vectors not even that.
std::string_view fastest_type(Isa isa) {
  if (isa >= Isa::avx512_vnni) return "int8";
  return isa >= Isa::sse4 ? "int8 for few rows at a time, bf16 for many" : "bf16 for few rows at a time, f32 for many";
}

class Inspector {
 public:
  explicit Inspector(const Options& options)
      : options_(options),
        files_(find_checkpoint(options.model)),
        config_text_(read_text_file(files_.config)),
        config_(Json::parse(config_text_, nullptr, false)),
        stored_(load_weights(files_, &met_)) {
    if (!config_.is_object()) throw ConfigError(files_.config.string() + ": expected a JSON object");
  }

  Report inspect() {
    report_.add("directory", std::filesystem::path(options_.model).lexically_normal().string());
    // Loading checks that every tensor is there, of the right shape, and that nothing is left over.
    if (config_.contains("encoder") || config_.contains("decoder")) {
      inspect_pair();
    } else {
      inspect_half();
    }
    inspect_files();
    inspect_names();
    inspect_tokenizers();
    inspect_memory();
    report_.add("cpu", std::string(isa_name(active_isa())) + ", " +
                           plural(static_cast<std::size_t>(physical_cores()), "core") +
                           "; fastest supported type: " + std::string(fastest_type(active_isa())));
    return report_;
  }

 private:
  void inspect_pair() {
    const auto model = EncoderDecoderModel::from_pretrained(options_.model);
    report_warnings(model.warnings(), options_);
    const TransformerConfig& encoder = model.config().encoder;
    const TransformerConfig& decoder = model.config().decoder;
    used_ = model.tensors();
    report_.add("model", "encoder-decoder, " + encoder.model_type + " to " + decoder.model_type + "; " +
                             parameters_text(count_parameters(used_)));
    report_.add("encoder", describe(encoder) + "; " + parameters_text(count_parameters(used_, "encoder.")));
    report_.add("decoder", describe(decoder) + "; " + parameters_text(count_parameters(used_, "decoder.")));
    if (used_.count("enc_to_dec_proj.weight") != 0) {
      report_.add("projection",
                  "from hidden " + std::to_string(encoder.hidden_size) + " to " + std::to_string(decoder.hidden_size));
    }
    const std::string words(word_embeddings);
    const bool shared = used_.at("encoder." + words).data ==
                        used_.at("decoder." + std::string(decoder.family().base) + "." + words).data;
    report_.add("halves", shared ? "shared: one stored copy serves both" : "stored separately");
    add_output_matrix("decoder.", decoder);
    for (const char* key : {"decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id"}) {
      report_.add(key, find_special_id(key));
    }
    report_.add("generation defaults", Json::parse(model.generation_config().to_json()).dump());
    halves_ = {encoder, decoder};
  }

  void inspect_half() {
    const auto config = TransformerConfig::from_json(config_text_, files_.config.string());
    const Family& family = config.family();
    const std::string head = std::string(family.lm_head.head) + ".";
    const auto first = stored_.tensors().lower_bound(head);
    const bool language_model = first != stored_.tensors().end() && first->first.starts_with(head);
    used_ = language_model ? Decoder::from_pretrained(options_.model).tensors()
                           : Encoder::from_pretrained(options_.model).tensors();
    report_.add("model", std::string(language_model ? "language model" : "encoder") + "; " +
                             parameters_text(count_parameters(used_)));
    report_.add(language_model ? "decoder" : "encoder", describe(config));
    if (language_model) add_output_matrix("", config);
    const Json values = Json::parse(config.to_json());
    for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
      const char* place = config_.contains(key) ? " (config.json)" : " (the family's default)";
      report_.add(key, values[key].is_null() ? "none" : values[key].dump() + place);
    }
    base_ = std::string(family.base).append(".");
    halves_ = {config};
  }

  void add_output_matrix(const std::string& scope, const TransformerConfig& config) {
    const bool tied = has_tied_matrix(used_, scope, config.family());
    const Family& family = config.family();
    add_packed(used_.at(scope + (tied ? std::string(family.base) + "." + std::string(word_embeddings)
                                      : std::string(family.lm_head.head) + ".decoder.weight")));
    report_.add("output matrix", tied ? "tied to the word embeddings" : "its own");
  }

  /// Where transformers would find an id, and so where it came from.
  std::string find_special_id(const char* key) const {
    std::vector<std::pair<std::string, Json>> places = {{"config.json", config_},
                                                        {"config.json, decoder", config_.value("decoder", Json())}};
    if (!files_.generation_config.empty()) {
      places = {{"generation_config.json", Json::parse(read_text_file(files_.generation_config), nullptr, false)}};
    }
    for (const auto& [name, object] : places) {
      if (!object.is_object() || !object.contains(key) || object[key].is_null()) continue;
      return object[key].dump() + " (" + name + ")";
    }
    return std::string(key) == "decoder_start_token_id" ? "none: bos_token_id stands for it" : "none";
  }

  /// The files that tensors were read from, what kind they are, and what they hold.
  void inspect_files() {
    std::string text = files_.weights.filename().string();
    if (met_.files != std::vector{files_.weights}) text += ", " + plural(met_.files.size(), "file");
    report_.add("files", text + " (" + met_.format + ")");
    std::map<std::string, std::size_t> bytes;
    std::set<const std::byte*> counted;  // tensors with several names are there once
    for (const auto& [name, tensor] : stored_.tensors()) {
      if (!tensor.is_weight() || !counted.insert(tensor.data).second) continue;
      bytes[std::string(dtype_name(tensor.dtype))] += tensor.shape.size() * size_of(tensor.dtype);
    }
    text = std::to_string(stored_.tensors().size());
    for (const auto& [type, size] : bytes) text += ", " + type + " " + bytes_text(size);
    report_.add("tensors", text);
  }

  /// A tensor's name without what the base model is called: a half's file may say it or not.
  std::string without_base(const std::string& name) const {
    return !base_.empty() && name.starts_with(base_) ? name.substr(base_.size()) : name;
  }

  /// Tensors with several names, and those that nobody reads.
  void inspect_names() {
    std::map<std::tuple<const std::byte*, DType, std::string>, std::string> firsts;
    std::vector<std::string> tied;
    for (const auto& [name, tensor] : stored_.tensors()) {
      if (tensor.shape.size() == 0 || met_.aliases.count(name) != 0) continue;
      const auto [first, is_new] = firsts.emplace(std::tuple(tensor.data, tensor.dtype, to_string(tensor.shape)), name);
      if (!is_new) tied.push_back(name + " = " + first->second);
    }
    report_.add_list("tied in the file", tied);
    std::vector<std::string> aliases;
    for (const auto& [alias, kept] : met_.aliases) aliases.push_back(alias + " = " + kept);
    report_.add_list("aliases in its metadata", aliases);

    std::set<std::string> stored;
    for (const auto& [name, tensor] : stored_.tensors()) stored.insert(without_base(name));
    std::set<std::string> used;
    for (const auto& [name, tensor] : used_) used.insert(without_base(name));
    std::vector<std::string> filled;
    std::set_difference(used.begin(), used.end(), stored.begin(), stored.end(), std::back_inserter(filled));
    report_.add_list("taken from the other half", filled);
    std::vector<std::string> ignored;
    std::set_difference(stored.begin(), stored.end(), used.begin(), used.end(), std::back_inserter(ignored));
    report_.add_list("ignored", ignored);
  }

  void inspect_tokenizers() {
    const auto [encoder, decoder] = EncoderDecoderTokenizers::from_pretrained(options_.model);
    if (!encoder) return report_.add("tokenizer", "none: ids only");
    report_.add(encoder == decoder ? "tokenizer" : "encoder's tokenizer", describe(*encoder));
    if (encoder != decoder) report_.add("decoder's tokenizer", describe(*decoder));
  }

  /// As what a tensor that is computed with stays in memory: quantized as it is, else as f32.
  void add_packed(const StoredTensor& tensor) {
    const bool quantized = tensor.scale != nullptr;
    packed_ += tensor.shape.size() * (quantized ? 1 : sizeof(float));
    if (quantized) packed_ += tensor.scale->shape.size() * sizeof(float);
    quantized_ |= quantized;
  }

  /// Tables of embeddings stay in the map; every other tensor that is computed with is packed, an output matrix also
  /// where it is the word embeddings. The cache grows by the keys and values of each layer, in bf16 where all products
  /// of the decoder's attention are of int8.
  void inspect_memory() {
    std::size_t mapped = 0;
    std::set<const std::byte*> counted;
    for (const auto& [name, tensor] : used_) {
      if (!name.ends_with("_embeddings.weight")) {
        const bool in_use = name.find("pooler.") == std::string::npos && !name.ends_with(".decoder.weight");
        if (in_use) add_packed(tensor);
      } else if (counted.insert(tensor.data).second) {
        mapped += tensor.shape.size() * size_of(tensor.dtype);
      }
    }
    const TransformerConfig& last = halves_.back();
    std::string cache;
    if (last.is_decoder) {
      const auto of_floats = [this](const auto& entry) {
        const auto& [name, tensor] = entry;
        const bool in_decoder = halves_.size() == 1 || name.starts_with("decoder.");
        return in_decoder && name.find("attention.") != std::string::npos && tensor.shape.rank() == 2 &&
               tensor.scale == nullptr;
      };
      const DType type = std::any_of(used_.begin(), used_.end(), of_floats) ? DType::f32 : DType::bf16;
      const std::size_t step = 2 * last.num_hidden_layers * last.hidden_size * size_of(type);
      cache = ", " + bytes_text(step) + " of cache for each token of a beam";
      if (last.add_cross_attention) cache += " and of a source";
    }
    report_.add("memory", bytes_text(packed_) + " of weights in " + (quantized_ ? "int8" : "f32") + ", " +
                              bytes_text(mapped) + " of embeddings mapped from the file" + cache);
  }

  const Options& options_;
  CheckpointFiles files_;
  std::string config_text_;
  Json config_;
  WeightsReport met_;                      ///< filled by the member that follows
  Weights stored_;                         ///< what the files hold
  NamedTensors used_;                      ///< what the model has, by the names of transformers' class
  std::string base_;                       ///< of a half by itself, "bert."
  std::vector<TransformerConfig> halves_;  ///< the decoder last
  std::size_t packed_ = 0;                 ///< bytes
  bool quantized_ = false;                 ///< whether some of them are int8
  Report report_;
};

}  // namespace

int run_inspect(const Options& options) {
  const Report report = Inspector(options).inspect();
  Output output(options.output);  // not before there is something to replace a file with
  report.write(output);
  return all_answered;
}

}  // namespace bertgen::cli
