// Joins the sentences of a text to one.
#pragma once

#include "bertgen/core/export.hpp"
#include "bertgen/pipelines/text_pipeline.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Joins the sentences of a text to one, with a checkpoint that was trained to.
class Fuser : public TextPipeline {
 public:
  using TextPipeline::TextPipeline;
  /// From a pipeline that was made another way.
  explicit Fuser(TextPipeline pipeline) : TextPipeline(std::move(pipeline)) {}
  /// As TextPipeline::from_pretrained().
  static Fuser from_pretrained(const std::filesystem::path& directory, const TextPipelineOptions& options = {}) {
    return Fuser(TextPipeline::from_pretrained(directory, options));
  }

  /// @{
  /// As TextPipeline::operator()().
  TextAnswer fuse(const std::string& text) { return operator()(text); }
  std::vector<TextAnswer> fuse(const std::vector<std::string>& texts) { return operator()(texts); }
  /// @}
};

}  // namespace bertgen
