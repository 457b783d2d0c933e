// A model together with the memory and threads of one caller.
#pragma once

#include <memory>

#include "bertgen/core/export.hpp"
#include "bertgen/generation/generate.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Physical cores that this process may run on; at least 1.
int physical_cores();

/// Runs one model for one thread of the program. Sessions of one model share its weights and nothing else, so each
/// thread has its own. What is computed does not depend on `threads`.
template <typename T>
class BasicSession {
 public:
  /// `threads`: how many threads a call may use. Throws ArgumentError as Workspace does.
  explicit BasicSession(std::shared_ptr<const BasicEncoderDecoderModel<T>> model, int threads = physical_cores())
      : model_(std::move(model)), workspace_(threads) {}

  const BasicEncoderDecoderModel<T>& model() const { return *model_; }  ///< which sessions share
  Workspace& workspace() { return workspace_; }                         ///< for calls that take one

  /// See generation/generate.hpp.
  BasicGenerateOutput<T> generate(const GenerateInputs& inputs, const GenerationConfig& config,
                                  const GenerateArguments<T>& arguments = {}) {
    return bertgen::generate(*model_, inputs, config, workspace_, arguments);
  }
  /// With the checkpoint's own options.
  BasicGenerateOutput<T> generate(const GenerateInputs& inputs) {
    return generate(inputs, model_->generation_config());
  }
  /// See EncoderDecoderModel::forward.
  Seq2SeqLMOutput<T> forward(const EncoderDecoderInputs& inputs, const ForwardArguments<T>& arguments = {}) {
    return model_->forward(inputs, workspace_, arguments);
  }

 private:
  std::shared_ptr<const BasicEncoderDecoderModel<T>> model_;
  Workspace workspace_;
};

/// Of a float model.
using Session = BasicSession<float>;

}  // namespace bertgen
