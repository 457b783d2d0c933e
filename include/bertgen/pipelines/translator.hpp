// Says a text in another language.
#pragma once

#include "bertgen/core/export.hpp"
#include "bertgen/pipelines/text_pipeline.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Says a text in another language, with a checkpoint that was trained to.
class Translator : public TextPipeline {
 public:
  using TextPipeline::TextPipeline;
  /// From a pipeline that was made another way.
  explicit Translator(TextPipeline pipeline) : TextPipeline(std::move(pipeline)) {}
  /// As TextPipeline::from_pretrained().
  static Translator from_pretrained(const std::filesystem::path& directory, const TextPipelineOptions& options = {}) {
    return Translator(TextPipeline::from_pretrained(directory, options));
  }

  /// @{
  /// As TextPipeline::operator()().
  TextAnswer translate(const std::string& text) { return operator()(text); }
  std::vector<TextAnswer> translate(const std::vector<std::string>& texts) { return operator()(texts); }
  /// @}
};

}  // namespace bertgen
