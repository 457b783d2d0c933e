// Says in short what a text says.
#pragma once

#include "bertgen/core/export.hpp"
#include "bertgen/pipelines/text_pipeline.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Says in short what a text says, with a checkpoint that was trained to.
class Summarizer : public TextPipeline {
 public:
  using TextPipeline::TextPipeline;
  /// From a pipeline that was made another way.
  explicit Summarizer(TextPipeline pipeline) : TextPipeline(std::move(pipeline)) {}
  /// As TextPipeline::from_pretrained().
  static Summarizer from_pretrained(const std::filesystem::path& directory, const TextPipelineOptions& options = {}) {
    return Summarizer(TextPipeline::from_pretrained(directory, options));
  }

  /// @{
  /// As TextPipeline::operator()().
  TextAnswer summarize(const std::string& text) { return operator()(text); }
  std::vector<TextAnswer> summarize(const std::vector<std::string>& texts) { return operator()(texts); }
  /// @}
};

}  // namespace bertgen
