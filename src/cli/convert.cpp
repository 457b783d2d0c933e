#include "model.hpp"

namespace bertgen::cli {

int run_convert(const Options& options) {
  convert_checkpoint(options.model, options.destination, {.dtype = dtype_option(options), .replace = options.force});
  return all_answered;
}

}  // namespace bertgen::cli
