// The bertgen program: docs/cli.md describes it, README.md shows it.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <map>

#include "model.hpp"

namespace {

int run(bertgen::cli::Options options) {
  using namespace bertgen::cli;
  static const std::map<std::string, int (*)(const Options&)> commands = {
      {"fuse", run_generate},     {"generate", run_generate},     {"score", run_score},     {"encode", run_encode},
      {"tokenize", run_tokenize}, {"detokenize", run_detokenize}, {"inspect", run_inspect}, {"bench", run_bench},
      {"convert", run_convert},   {"warm-start", run_warm_start},
  };
  for (std::string* model : {&options.model, &options.assistant_model}) {
    if (!model->empty()) *model = bertgen::resolve_checkpoint(*model, hub_cache()).string();
  }
  return commands.at(options.command)(options);
}

/// Gives each closed standard stream a descriptor, lest a file opened later takes its number and messages go into it.
void occupy_standard_streams() {
  for (int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) >= 0) continue;
    // open() takes the lowest free number, this one; the wrong way round, so that its use stays an error.
    if (::open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) return;
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace bertgen::cli;
  occupy_standard_streams();
  // A reader that goes away is an error of writing, reported like any other.
  std::signal(SIGPIPE, SIG_IGN);
  try {
    int status = all_answered;
    const auto options = parse_options(argc, argv, status);
    if (!options) return status;
    if (const char* isa = std::getenv("BERTGEN_FORCE_ISA"); isa != nullptr && *isa != '\0') {
      bertgen::set_isa(bertgen::isa_from_name(isa));
    }
    return run(*options);
  } catch (const std::exception&) {
    report(current_error().message);
    return could_not_run;
  }
}
