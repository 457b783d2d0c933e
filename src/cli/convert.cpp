#include "model.hpp"

namespace bertgen::cli {

int run_convert(const Options& options) {
  ConvertOptions convert;
  convert.replace = options.force;
  if (options.dtype == "f32") convert.dtype = DType::f32;
  if (options.dtype == "bf16") convert.dtype = DType::bf16;
  if (options.dtype == "f16") convert.dtype = DType::f16;
  convert_checkpoint(options.model, options.destination, convert);
  return all_answered;
}

}  // namespace bertgen::cli
