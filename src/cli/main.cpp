// The bertgen program: docs/cli.md describes it, README.md shows it.
#include <csignal>
#include <cstdlib>
#include <map>

#include "model.hpp"

namespace {

int run(const bertgen::cli::Options& options) {
  using namespace bertgen::cli;
  static const std::map<std::string, int (*)(const Options&)> commands = {
      {"fuse", run_generate},     {"generate", run_generate},     {"score", run_score},     {"encode", run_encode},
      {"tokenize", run_tokenize}, {"detokenize", run_detokenize}, {"inspect", run_inspect}, {"bench", run_bench},
  };
  return commands.at(options.command)(options);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace bertgen::cli;
  // A reader that goes away is an error of writing, reported like any other.
  std::signal(SIGPIPE, SIG_IGN);
  int status = all_answered;
  const auto options = parse_options(argc, argv, status);
  if (!options) return status;
  try {
    if (const char* isa = std::getenv("BERTGEN_FORCE_ISA"); isa != nullptr && *isa != '\0') {
      bertgen::set_isa(bertgen::isa_from_name(isa));
    }
    return run(*options);
  } catch (const std::exception&) {
    report(current_error().message);
    return could_not_run;
  }
}
