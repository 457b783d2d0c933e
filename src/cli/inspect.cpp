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

std::string decimal(double value, int digits) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}
std::string megabytes(std::size_t bytes) { return decimal(static_cast<double>(bytes) / 1e6, 1) + " MB"; }
std::string millions(std::size_t count) { return decimal(static_cast<double>(count) / 1e6, 2) + " M"; }

/// Collects "name: text" lines, names padded to one width.
class Report {
 public:
  void add(const std::string& name, const std::string& text) { lines_.emplace_back(name, text); }
  void write(Output& output) const {
    std::size_t width = 0;
    for (const auto& line : lines_) width = std::max(width, line.first.size());
    for (const auto& [name, text] : lines_) output.line(name + ":" + std::string(width + 1 - name.size(), ' ') + text);
    output.flush();
  }

 private:
  std::vector<std::pair<std::string, std::string>> lines_;
};

class Inspector {
 public:
  explicit Inspector(const Options& options)
      : options_(options),
        files_(find_checkpoint(options.model)),
        config_text_(read_text_file(files_.config)),
        config_(Json::parse(config_text_, nullptr, false)),
        weights_(load_weights(files_, &stored_)) {
    if (!config_.is_object()) throw ConfigError(files_.config.string() + ": expected a JSON object");
    if (!files_.generation_config.empty()) {
      generation_ = Json::parse(read_text_file(files_.generation_config), nullptr, false);
    }
  }

  Report inspect() {
    report_.add("directory", std::filesystem::path(options_.model).lexically_normal().string());
    if (config_.contains("encoder") || config_.contains("decoder")) {
      encoder_decoder();
    } else {
      single_half();
    }
    files();
    tensors();
    names();
    tokenizer();
    cpu();
    return report_;
  }

 private:
  void encoder_decoder() {
    const auto config = EncoderDecoderConfig::from_json(config_text_, files_.config.string());
    // Loading checks that every tensor is there, of the right shape, and that nothing is left over.
    const auto model = EncoderDecoderModel::from_pretrained(options_.model);
    report_warnings(model.warnings(), options_);
    report_.add("model", "encoder-decoder, " + config.encoder.model_type + " to " + config.decoder.model_type);
    half("encoder", config.encoder, "encoder.");
    half("decoder", config.decoder, "decoder.");
    report_.add("output matrix", has_own_head() ? "its own" : "tied to the decoder's word embeddings");
    report_.add("halves", weights_.contains("encoder.embeddings.word_embeddings.weight") &&
                                  weights_.contains("decoder.bert.embeddings.word_embeddings.weight")
                              ? "stored separately"
                              : "shared: one half is stored, both have its weights");
    for (const char* id : {"decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id"}) special_id(id);
    std::string defaults = model.generation_config().to_json();
    report_.add("generation defaults", Json::parse(defaults).dump());
    memory(model.bytes());
  }

  /// Whether the output matrix is stored, and not as another name of the word embeddings.
  bool has_own_head() const {
    for (const char* head : {"decoder.lm_head.decoder.weight", "decoder.cls.predictions.decoder.weight"}) {
      const StoredTensor* matrix = weights_.find(head);
      if (matrix == nullptr) continue;
      for (const char* base : {"decoder.bert.", "decoder.roberta."}) {
        const StoredTensor* words = weights_.find(std::string(base) + "embeddings.word_embeddings.weight");
        if (words != nullptr && words->data == matrix->data) return false;
      }
      return true;
    }
    return false;
  }

  void single_half() {
    const auto config = TransformerConfig::from_json(config_text_, files_.config.string());
    half("model", config, "");
    // As above, loading checks the tensors.
    const bool language_model = weights_.contains("bert.embeddings.word_embeddings.weight");
    memory(language_model ? BertGenerationDecoder::from_pretrained(options_.model).bytes()
                          : BertGenerationEncoder::from_pretrained(options_.model).bytes());
  }

  /// Embeddings stay in the map; every other matrix is packed in the type computed in.
  void memory(std::size_t bytes) {
    report_.add("memory", megabytes(bytes) + " of packed f32 weights, and the mapped file");
  }

  void half(const std::string& name, const TransformerConfig& config, const std::string& prefix) {
    std::size_t parameters = 0;
    for (const auto& [tensor_name, tensor] : weights_.tensors()) {
      if (tensor_name.substr(0, prefix.size()) == prefix && is_floating(tensor.dtype))
        parameters += tensor.shape.size();
    }
    report_.add(name, config.model_type + ": " + std::to_string(config.num_hidden_layers) + " layers, hidden " +
                          std::to_string(config.hidden_size) + ", " + std::to_string(config.num_attention_heads) +
                          " heads, intermediate " + std::to_string(config.intermediate_size) + ", " +
                          config.hidden_act + ", vocabulary " + std::to_string(config.vocab_size) + ", " +
                          std::to_string(config.max_position_embeddings) + " positions" +
                          (config.is_decoder ? ", decoder" : "") +
                          (config.add_cross_attention ? ", cross-attention" : "") + "; " + millions(parameters) +
                          " parameters stored");
  }

  /// Where transformers would find an id, and so where it came from.
  void special_id(const char* key) {
    std::vector<std::pair<std::string, Json>> places;
    if (!files_.generation_config.empty()) {
      places.emplace_back("generation_config.json", generation_);
    } else {
      places.emplace_back("config.json", config_);
      places.emplace_back("config.json, decoder", config_.value("decoder", Json::object()));
    }
    for (const auto& [name, object] : places) {
      if (!object.is_object() || !object.contains(key) || object[key].is_null()) continue;
      report_.add(key, object[key].dump() + " (" + name + ")");
      return;
    }
    report_.add(key, "none");
  }

  /// The files that tensors were read from, and what kind they are.
  void files() {
    std::string text = files_.weights.filename().string();
    if (stored_.files != std::vector{files_.weights}) text += ", " + std::to_string(stored_.files.size()) + " files";
    report_.add("files", text + " (" + stored_.format + ")");
  }

  void tensors() {
    std::map<std::string, std::size_t> bytes;
    std::set<const std::byte*> counted;  // tensors with several names are there once
    std::size_t ignored = 0;
    for (const auto& [name, tensor] : weights_.tensors()) {
      if (is_floating(tensor.dtype)) {
        if (!counted.insert(tensor.data).second) continue;
        bytes[std::string(dtype_name(tensor.dtype))] += tensor.shape.size() * size_of(tensor.dtype);
      } else {
        ++ignored;
      }
    }
    std::string text = std::to_string(weights_.tensors().size()) + " in " + files_.weights.filename().string();
    for (const auto& [type, size] : bytes) text += ", " + type + " " + megabytes(size);
    if (ignored > 0) text += ", " + std::to_string(ignored) + " buffers ignored";
    report_.add("tensors", text);
  }

  /// Tensors with several names, and those that nobody reads.
  void names() {
    std::map<std::tuple<const std::byte*, DType, std::string>, std::string> firsts;
    std::vector<std::string> tied;
    for (const auto& [name, tensor] : weights_.tensors()) {
      if (tensor.shape.size() == 0 || stored_.aliases.count(name) != 0) continue;
      const auto [first, is_new] = firsts.emplace(std::tuple(tensor.data, tensor.dtype, to_string(tensor.shape)), name);
      if (!is_new) tied.push_back(name + " = " + first->second);
    }
    list("tied in the file", tied);
    std::vector<std::string> aliases;
    for (const auto& [alias, kept] : stored_.aliases) aliases.push_back(alias + " = " + kept);
    list("aliases in its metadata", aliases);
    list("ignored", stored_.ignored);
  }

  /// How many there are, and the first few; nothing for none.
  void list(const std::string& what, const std::vector<std::string>& items) {
    constexpr std::size_t shown = 3;
    if (items.empty()) return;
    std::string text = std::to_string(items.size()) + ": ";
    for (std::size_t i = 0; i < std::min(shown, items.size()); ++i) text += (i == 0 ? "" : ", ") + items[i];
    report_.add(what, text + (items.size() > shown ? ", …" : ""));
  }

  void tokenizer() {
    const auto [encoder, decoder] = EncoderDecoderTokenizers::from_pretrained(options_.model);
    if (!encoder) return report_.add("tokenizer", "none: ids only");
    const auto describe = [](const Tokenizer& tokenizer) {
      return tokenizer.tokenizer_class() + ", " + std::to_string(tokenizer.vocab_size()) + " pieces, " +
             std::to_string(tokenizer.size()) + " with added tokens";
    };
    report_.add(encoder == decoder ? "tokenizer" : "encoder's tokenizer", describe(*encoder));
    if (encoder != decoder) report_.add("decoder's tokenizer", describe(*decoder));
  }

  void cpu() {
    report_.add("cpu", std::string(isa_name(active_isa())) + ", " + std::to_string(physical_cores()) +
                           " cores; fastest supported type: f32");
  }

  const Options& options_;
  CheckpointFiles files_;
  std::string config_text_;
  Json config_;
  WeightsReport stored_;  ///< filled by the member that follows
  Weights weights_;
  Json generation_;
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
