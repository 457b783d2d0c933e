// The loop that every command with requests runs: read, answer in batches, write in order.
#pragma once

#include <string>
#include <vector>

#include "json_lines.hpp"
#include "options.hpp"

namespace bertgen::cli {

/// Exit statuses of the program.
enum Status : int { all_answered = 0, could_not_run = 1, wrong_usage = 2, some_failed = 3 };

/// What a command does with its requests.
class Handler {
 public:
  virtual ~Handler() = default;
  /// One answer a request, in order. `requests` are objects; those with another fault never come here.
  virtual std::vector<Answer> answer(const std::vector<Json>& requests) = 0;
  /// The request that a line of plain mode stands for. Throws Error.
  virtual Json request_from_line(std::string line) const { return {{"text", std::move(line)}}; }
};

/// Answers each request by itself; an exception becomes its error answer.
template <typename Function>
std::vector<Answer> answer_each(const std::vector<Json>& requests, Function&& function) {
  std::vector<Answer> answers(requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    try {
      answers[i] = function(requests[i]);
    } catch (...) {
      answers[i].error = current_error();
    }
  }
  return answers;
}

/// Answers a group of requests by one call of `function`; if it throws, each by a call of its own, so that the error
/// finds its request.
template <typename Function>
void answer_together(const std::vector<std::size_t>& group, std::vector<Answer>& answers, Function&& function) {
  try {
    function(group);
  } catch (...) {
    if (group.size() > 1) {
      for (std::size_t i : group) answer_together({i}, answers, function);
    } else {
      answers[group.front()].error = current_error();
    }
  }
}

/// Runs until the input ends. Returns the exit status; throws std::runtime_error if the input or output fails.
int run_requests(const Options& options, Handler& handler);

/// Prints a message to standard error, on one line that begins with the program's name.
void report(const std::string& message);

}  // namespace bertgen::cli
