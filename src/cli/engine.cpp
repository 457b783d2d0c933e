#include "engine.hpp"

#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "bertgen/core/error.hpp"
#include "input.hpp"
#include "output.hpp"

namespace bertgen::cli {
namespace {

/// A line of progress on a terminal's standard error, redrawn after each batch.
class Progress {
 public:
  explicit Progress(bool quiet) : shown_(!quiet && ::isatty(STDERR_FILENO) != 0) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() {
    if (drawn_) std::fputs("\r\033[K", stderr);
  }

  void update(const Input& input, std::size_t answered, bool more) {
    if (!shown_ || (!more && !drawn_)) return;  // an input of one batch needs no bar
    drawn_ = true;
    if (input.total() && *input.total() > 0) {
      constexpr int width = 40;
      const double share = static_cast<double>(input.done()) / static_cast<double>(*input.total());
      const int filled = static_cast<int>(std::lround(share * width));
      std::fprintf(stderr, "\r[%.*s%*s] %3.0f %%  %zu answered", filled, "########################################",
                   width - filled, "", share * 100, answered);
    } else {
      std::fprintf(stderr, "\r%zu answered", answered);
    }
    std::fflush(stderr);
  }

 private:
  bool shown_;
  bool drawn_ = false;
};

/// One line that was read: a request for the handler, or what is wrong with it.
// NOLINTNEXTLINE(bugprone-exception-escape): the moves of Json are noexcept, whatever they call.
struct Request {
  std::size_t number = 0;  ///< of the line, from 1
  Json id;
  Json body;
  std::optional<RequestError> error;
};

Request read_request(Line line, std::size_t number, const Options& options, const Handler& handler) {
  Request request;
  request.number = number;
  try {
    if (line.too_long) {
      throw ArgumentError("expected at most " + std::to_string(Input::longest_line) + " bytes in a line, got more");
    }
    if (!options.jsonl) {
      request.body = handler.request_from_line(std::move(line.text));
      return request;
    }
    request.body = parse_line(line.text);
    if (!request.body.is_object()) throw JsonLineError("line: expected an object, got " + excerpt(request.body));
    const Json id = request.body.value("id", Json());
    if (!id.is_null() && !id.is_string() && !id.is_number()) {
      throw ArgumentError("id: expected a string, a number or null, got " + excerpt(id));
    }
    request.id = id;
  } catch (...) {
    request.error = current_error();
  }
  return request;
}

std::string one_line(const std::string& text) {
  std::string line;
  for (char c : text) {
    if (c == '\n') {
      line += "\\n";
    } else {
      line += c;
    }
  }
  return line;
}

void write_answer(const Options& options, const Request& request, const Answer& answer, Output& output) {
  if (!options.jsonl) {
    const std::string which = (options.texts.empty() ? "line " : "text ") + std::to_string(request.number) + ": ";
    if (answer.error) report(which + answer.error->message);
    if (answer.warning && !options.quiet) report("warning: " + which + *answer.warning);
    output.line(answer.error ? std::string() : valid_utf8(one_line(answer.plain)));
    return;
  }
  Json line = answer.error ? Json{{"error", {{"type", answer.error->type}, {"message", answer.error->message}}}}
                           : answer.fields;
  line["id"] = request.id;
  output.line(dump_line(line));
}

/// Answers the requests of a batch that have no error yet.
std::vector<Answer> answer_batch(std::vector<Request>& batch, Handler& handler) {
  std::vector<Json> bodies;
  for (Request& request : batch) {
    if (!request.error) bodies.push_back(std::move(request.body));
  }
  std::vector<Answer> computed;
  if (!bodies.empty()) computed = handler.answer(bodies);
  std::vector<Answer> answers;
  std::size_t next = 0;
  for (const Request& request : batch) {
    if (request.error) {
      answers.push_back({.error = request.error});
    } else {
      answers.push_back(std::move(computed[next++]));
    }
  }
  return answers;
}

}  // namespace

void report(const std::string& message) { std::fprintf(stderr, "bertgen: %s\n", one_line(message).c_str()); }

int run_requests(const Options& options, Handler& handler) {
  Input input = options.texts.empty() ? Input(options.input) : Input(options.texts);
  if (options.output != "-" && input.reads(options.output)) {
    throw std::runtime_error(options.output +
                             ": expected another file to write than the one that is read, got the same");
  }
  Output output(options.output);  // not before the input is open: it replaces a file
  Progress progress(options.quiet);
  std::size_t answered = 0;
  bool failed = false;
  std::optional<Line> line = input.next(true);
  while (line) {
    std::vector<Request> batch;
    while (line) {
      batch.push_back(read_request(std::move(*line), answered + batch.size() + 1, options, handler));
      if (batch.size() == options.batch_size) break;
      line = input.next(false);  // more, if it is there already
    }
    const std::vector<Answer> answers = answer_batch(batch, handler);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      failed = failed || answers[i].error.has_value();
      write_answer(options, batch[i], answers[i], output);
    }
    output.flush();
    answered += batch.size();
    line = input.next(true);
    progress.update(input, answered, line.has_value());
  }
  return failed ? some_failed : all_answered;
}

}  // namespace bertgen::cli
