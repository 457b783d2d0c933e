// The built program as its users have it: a process with pipes.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/files.hpp"

namespace bertgen::test {

using Json = nlohmann::json;
using Arguments = std::vector<std::string>;

/// Exit statuses that the program promises.
enum Status : int { all_answered = 0, could_not_run = 1, wrong_usage = 2, some_failed = 3 };

/// What a process finds around it, besides its arguments.
struct Surroundings {
  std::string program = BERTGEN_PROGRAM;                              ///< the executable
  std::vector<std::pair<std::string, std::string>> environment = {};  ///< added to the test's own
  std::string output = {};  ///< a file that standard output goes to, instead of a pipe
  bool terminal = false;    ///< standard error is a terminal
  int closed = -1;          ///< a standard stream that is closed
};

/// How a process ended, and everything it wrote.
struct Result {
  int status = -1;  ///< 128 + signal if one ended it
  std::string out;
  std::string err;
};

/// A running process. One that is left running, or takes longer than two minutes, is killed.
class Program {
 public:
  explicit Program(const Arguments& arguments, const Surroundings& surroundings = {}) {
    std::array<int, 2> in = new_pipe();
    std::array<int, 2> out = new_pipe();
    std::array<int, 2> err = surroundings.terminal ? new_terminal() : new_pipe();
    if (!surroundings.output.empty()) {
      ::close(out[1]);
      out[1] = ::open(surroundings.output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    }
    if (out[1] < 0) throw std::runtime_error("cannot open " + surroundings.output);
    std::signal(SIGPIPE, SIG_IGN);  // a program that ends early must not end the test
    process_ = ::fork();
    if (process_ == 0) execute(arguments, surroundings, in[0], out[1], err[1]);
    for (int descriptor : {in[0], out[1], err[1]}) ::close(descriptor);
    input_ = in[1];
    output_ = out[0];
    error_ = err[0];
    for (int descriptor : {input_, output_, error_}) ::fcntl(descriptor, F_SETFL, O_NONBLOCK);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    for (int* descriptor : {&input_, &output_, &error_}) close(*descriptor);
    if (process_ > 0) {
      ::kill(process_, SIGKILL);
      ::waitpid(process_, nullptr, 0);
    }
  }

  pid_t id() const { return process_; }

  /// Hands over `text`, without ending the input.
  void write(std::string_view text) {
    while (!text.empty() && input_ >= 0) exchange(text, false);
  }
  /// The next line of standard output without its end, once it is there.
  std::string read_line() {
    std::string_view nothing;
    std::size_t end = 0;
    while ((end = result_.out.find('\n', read_)) == std::string::npos) {
      if (output_ < 0) throw std::runtime_error("the output ended before a line: " + result_.err);
      exchange(nothing, true);
    }
    const std::size_t begin = std::exchange(read_, end + 1);
    return result_.out.substr(begin, end - begin);
  }
  /// Goes away as a reader does.
  void close_output() { close(output_); }

  /// Hands over the rest of the input, reads to the end and waits.
  Result finish(std::string_view input = {}) {
    write(input);
    close(input_);
    std::string_view nothing;
    while (output_ >= 0 || error_ >= 0) exchange(nothing, true);
    int status = 0;
    ::waitpid(std::exchange(process_, -1), &status, 0);
    result_.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result_;
  }

 private:
  using Clock = std::chrono::steady_clock;

  static std::array<int, 2> new_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    return ends;
  }
  static std::array<int, 2> new_terminal() {
    const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || ::grantpt(master) != 0 || ::unlockpt(master) != 0) throw std::runtime_error("no terminal");
    return {master, ::open(::ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC)};
  }
  static void close(int& descriptor) {
    if (descriptor >= 0) ::close(std::exchange(descriptor, -1));
  }

  [[noreturn]] static void execute(const Arguments& arguments, const Surroundings& surroundings, int in, int out,
                                   int err) {
    std::signal(SIGPIPE, SIG_DFL);
    for (const auto& [name, value] : surroundings.environment) ::setenv(name.c_str(), value.c_str(), 1);
    ::dup2(in, STDIN_FILENO);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(err, STDERR_FILENO);
    if (surroundings.closed >= 0) ::close(surroundings.closed);
    std::vector<char*> argv = {const_cast<char*>("bertgen")};
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    ::execv(surroundings.program.c_str(), argv.data());
    std::_Exit(127);
  }

  /// Waits until something can be moved, and moves it: input while there is some, output and errors always.
  void exchange(std::string_view& input, bool reading) {
    std::array<struct pollfd, 3> ready = {
        {{input.empty() ? -1 : input_, POLLOUT, 0}, {output_, POLLIN, 0}, {error_, POLLIN, 0}}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
    if (left <= 0 || ::poll(ready.data(), ready.size(), static_cast<int>(left)) == 0) {
      throw std::runtime_error(std::string("the program does not ") + (reading ? "answer" : "read") + ": " +
                               result_.err);
    }
    if (ready[0].revents != 0) {
      const ssize_t count = ::write(input_, input.data(), input.size());
      if (count > 0) input.remove_prefix(static_cast<std::size_t>(count));
      if (count < 0 && errno != EAGAIN) close(input_);
    }
    if (ready[1].revents != 0) read_from(output_, result_.out);
    if (ready[2].revents != 0) read_from(error_, result_.err);
  }
  static void read_from(int& descriptor, std::string& text) {
    std::array<char, 1 << 16> buffer{};
    const ssize_t count = ::read(descriptor, buffer.data(), buffer.size());
    if (count > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(count));
    } else if (count == 0 || errno != EAGAIN) {  // a terminal ends with an error
      close(descriptor);
    }
  }

  pid_t process_ = -1;
  int input_ = -1;
  int output_ = -1;
  int error_ = -1;
  Result result_;
  std::size_t read_ = 0;  ///< what read_line() has given out
  Clock::time_point deadline_ = Clock::now() + std::chrono::minutes(2);
};

inline Result run(const Arguments& arguments, std::string_view input = {}, const Surroundings& surroundings = {}) {
  return Program(arguments, surroundings).finish(input);
}

/// The lines of a text; fails if the last one has no end.
inline std::vector<std::string> lines_of(const std::string& text) {
  EXPECT_TRUE(text.empty() || text.back() == '\n') << "no line end after: " << text.substr(text.rfind('\n') + 1);
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

/// Each line of the output as JSON.
inline std::vector<Json> answers_of(const Result& result) {
  std::vector<Json> answers;
  for (const std::string& line : lines_of(result.out)) answers.push_back(Json::parse(line));
  return answers;
}

/// Requests, one a line.
inline std::string lines(const std::vector<Json>& requests) {
  std::string text;
  for (const Json& request : requests) text += request.dump() + "\n";
  return text;
}

/// A checkpoint of tests/data/models.
inline std::string fixture(const std::string& name) { return BERTGEN_TEST_DATA "/models/" + name; }
/// The shipped checkpoint.
inline std::string shipped() { return BERTGEN_SOURCE_DIR "/examples/fuse-en"; }

/// A copy of a fixture's checkpoint, to damage.
inline std::string copy_of(const std::string& name, const TemporaryDirectory& directory) {
  for (const char* file : {"config.json", "generation_config.json", "model.safetensors"}) {
    const auto path = std::filesystem::path(fixture(name)) / file;
    if (std::filesystem::exists(path)) std::filesystem::copy(path, directory.path());
  }
  return directory.path();
}

/// Changes the output bias of one token in a copy of an encoder-decoder's checkpoint in float.
inline void set_bias(const TemporaryDirectory& directory, std::size_t token, float value) {
  std::string file = content_of(directory.path() / "model.safetensors");
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, file.data(), sizeof header_size);
  const Json bias = Json::parse(file.substr(sizeof header_size, header_size)).at("decoder.lm_head.bias");
  const auto begin = sizeof header_size + header_size + bias.at("data_offsets")[0].get<std::size_t>();
  std::memcpy(file.data() + begin + token * sizeof value, &value, sizeof value);
  directory.write("model.safetensors", file);
}

/// Runs a command with --jsonl on a checkpoint; the answers must be as many as the requests.
inline std::vector<Json> ask(const std::string& command, const std::string& model, const std::vector<Json>& requests,
                             Arguments more = {}, int status = all_answered) {
  Arguments arguments = {command, "--model", model, "--jsonl"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Result result = run(arguments, lines(requests));
  EXPECT_EQ(result.status, status) << result.err;
  std::vector<Json> answers = answers_of(result);
  EXPECT_EQ(answers.size(), requests.size());
  answers.resize(requests.size());
  return answers;
}

/// Type of an error answer; empty if it is none. Fails unless an error has the promised shape.
inline std::string error_type(const Json& answer) {
  if (!answer.is_object() || !answer.contains("error")) return {};
  EXPECT_EQ(answer.size(), 2u) << answer;
  EXPECT_TRUE(answer.contains("id")) << answer;
  EXPECT_EQ(answer["error"].size(), 2u) << answer;
  EXPECT_FALSE(answer["error"].value("message", "").empty()) << answer;
  return answer["error"].value("type", "");
}

/// Fails unless the program ended with status 1, no answer and one line on standard error that has all of `words`.
inline void expect_could_not_run(const Result& result, std::initializer_list<std::string_view> words) {
  EXPECT_EQ(result.status, could_not_run);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(lines_of(result.err).size(), 1u) << result.err;
  for (std::string_view word : words)
    EXPECT_NE(result.err.find(word), std::string::npos) << word << " in " << result.err;
}

}  // namespace bertgen::test
