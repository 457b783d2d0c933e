// Splits a long sentence into shorter ones.
#pragma once

#include "bertgen/core/export.hpp"
#include "bertgen/pipelines/text_pipeline.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Splits a long sentence into shorter ones, with a checkpoint that was trained to.
class Splitter : public TextPipeline {
 public:
  using TextPipeline::TextPipeline;
  /// From a pipeline that was made another way.
  explicit Splitter(TextPipeline pipeline) : TextPipeline(std::move(pipeline)) {}
  /// As TextPipeline::from_pretrained().
  static Splitter from_pretrained(const std::filesystem::path& directory, const TextPipelineOptions& options = {}) {
    return Splitter(TextPipeline::from_pretrained(directory, options));
  }

  /// @{
  /// As TextPipeline::operator()().
  TextAnswer split(const std::string& text) { return operator()(text); }
  std::vector<TextAnswer> split(const std::vector<std::string>& texts) { return operator()(texts); }
  /// @}
};

}  // namespace bertgen
