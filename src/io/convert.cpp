#include "bertgen/io/convert.hpp"

#include <string>
#include <utility>

#include "bertgen/core/error.hpp"
#include "bertgen/io/mapped_file.hpp"
#include "io/shared_halves.hpp"
#include "io/write_checkpoint.hpp"

namespace bertgen {
namespace {

namespace fs = std::filesystem;

Json read_config(const fs::path& path) {
  try {
    Json config = parse_json(read_text_file(path));
    if (config.is_object()) return config;
    throw JsonError("expected an object, got " + excerpt(config));
  } catch (const JsonError& error) {
    throw ConfigError(path.string() + ": " + error.what());
  }
}

}  // namespace

void convert_checkpoint(const fs::path& source, const fs::path& destination, const SaveOptions& options) {
  const CheckpointFiles files = find_checkpoint(source);
  require_apart(source, destination);
  WeightsReport report;
  CheckpointContent content{read_config(files.config), {}, load_weights(files, &report).tensors()};
  for (const std::string& name : report.ignored) content.tensors.erase(name);
  content.tensors.merge(shared_tensors(content.tensors, content.config.value("tie_encoder_decoder", Json()) == true));
  // A spelling of early files that transformers no longer finds.
  if (content.config.value("model_type", Json()) == "encoder_decoder") content.config["model_type"] = "encoder-decoder";

  SaveOptions save = options;
  if (!files.generation_config.empty()) save.files.emplace("generation_config.json", files.generation_config);
  save.files.merge(tokenizer_files(source));
  write_checkpoint(destination, std::move(content), save);
}

}  // namespace bertgen
