#include <array>
#include <cstdio>
#include <map>

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
        weights_(load_weights(files_)) {
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
    tensors();
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
    const bool own_head = weights_.contains("decoder.lm_head.decoder.weight");
    report_.add("output matrix", own_head ? "its own" : "tied to the decoder's word embeddings");
    report_.add("halves", weights_.contains("encoder.embeddings.word_embeddings.weight") &&
                                  weights_.contains("decoder.bert.embeddings.word_embeddings.weight")
                              ? "stored separately"
                              : "shared: one half is stored, both have its weights");
    for (const char* id : {"decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id"}) special_id(id);
    std::string defaults = model.generation_config().to_json();
    report_.add("generation defaults", Json::parse(defaults).dump());
    memory(model.bytes());
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

  void tensors() {
    std::map<std::string, std::size_t> bytes;
    std::size_t ignored = 0;
    for (const auto& [name, tensor] : weights_.tensors()) {
      if (is_floating(tensor.dtype)) {
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
