// What a caller's own functions throw ends the call that they were given to, as it was thrown, and nothing else: the
// model, the session and the scheduler serve on. Each function in each search, at its first call, at one in the middle
// and at its last.
//
// Seen to fail with: a scope of the workspace that an exception does not end, a job that failed and leaves its rows in
// the scheduler's cache, a job whose streamer is told the end after its future is ready.
#include <gtest/gtest.h>

#include <array>
#include <exception>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "bertgen/runtime/scheduler.hpp"
#include "bertgen/runtime/session.hpp"
#include "support/checkpoint.hpp"

namespace bertgen {
namespace {

/// Of no type that the library knows.
struct Thrown : std::exception {};

/// Counts the calls of a function; one of them throws.
class Fuse {
 public:
  explicit Fuse(std::size_t at) : at_(at) {}
  void burn() {
    if (++calls_ == at_) throw Thrown();
  }
  std::size_t calls() const { return calls_; }

 private:
  std::size_t at_;
  std::size_t calls_ = 0;
};

class BurningProcessor final : public LogitsProcessor<float> {
 public:
  explicit BurningProcessor(Fuse& fuse) : fuse_(fuse) {}
  void process(const LogitsContext&, std::span<float>) const override { fuse_.burn(); }

 private:
  Fuse& fuse_;
};

enum class Function { put, end, logits_processor, prefix_allowed_tokens_fn, stopping_criterion, token_text };
constexpr std::array functions = {Function::put,
                                  Function::end,
                                  Function::logits_processor,
                                  Function::prefix_allowed_tokens_fn,
                                  Function::stopping_criterion,
                                  Function::token_text};
const char* name_of(Function function) {
  constexpr std::array names = {
      "put", "end", "logits_processor", "prefix_allowed_tokens_fn", "stopping_criterion", "token_text"};
  return names[static_cast<std::size_t>(function)];
}

/// A caller who listens, and one of whose functions throws at its call number `at`.
class Caller final : public BaseStreamer {
 public:
  Caller(Function function, std::size_t at) : function_(function), fuse_(at) {}

  void put(std::span<const TokenId>) override { burn(Function::put); }
  void end() override {
    ++ends;
    burn(Function::end);
  }
  /// Gives the function to a request of one row.
  void join(GenerateRequest<float>& request) {
    GenerateArguments<float>& arguments = request.arguments;
    if (request.config.num_return_sequences.value_or(1) == 1 || request.config.num_beams) arguments.streamers = {this};
    switch (function_) {
      case Function::logits_processor:
        arguments.logits_processor = {std::make_shared<BurningProcessor>(fuse_)};
        break;
      case Function::prefix_allowed_tokens_fn:
        arguments.prefix_allowed_tokens_fn = [this](std::size_t, std::span<const TokenId>) {
          fuse_.burn();
          return TokenIds{3, 4, 5, 6, 7, 8};
        };
        break;
      case Function::stopping_criterion:
        arguments.stopping_criteria = {[this](std::span<const TokenId>) {
          fuse_.burn();
          return false;
        }};
        break;
      case Function::token_text:
        request.config.stop_strings = {"xyz"};
        arguments.token_text = [this](TokenId) {
          fuse_.burn();
          return std::string("a");
        };
        break;
      case Function::put:
      case Function::end:
        break;
    }
  }
  std::size_t calls() const { return fuse_.calls(); }

  std::size_t ends = 0;

 private:
  void burn(Function function) {
    if (function == function_) fuse_.burn();
  }

  Function function_;
  Fuse fuse_;
};

struct Search {
  const char* name;
  const char* options;
  bool criteria = true;  ///< whether it takes any
  bool assistant = false;
};

std::string search_name(const testing::TestParamInfo<Search>& info) { return info.param.name; }

class CallbacksTest : public testing::TestWithParam<Search> {
 protected:
  GenerateRequest<float> request(TokenIds source) const {
    GenerateRequest<float> request{.inputs = {.input_ids = {std::move(source)}}, .config = model_->generation_config()};
    request.config.eos_token_id.reset();
    request.config.max_new_tokens = 5;
    request.config.update(GetParam().options, "test");
    if (GetParam().assistant) request.arguments.assistant_model = model_.get();
    return request;
  }
  static void expect_same(const GenerateOutput& got, const GenerateOutput& expected) {
    ASSERT_EQ(got.sequences.size(), expected.sequences.size());
    for (std::size_t i = 0; i < got.sequences.size(); ++i) {
      EXPECT_EQ(got.sequences[i].ids, expected.sequences[i].ids);
      EXPECT_EQ(got.sequences[i].score, expected.sequences[i].score);
    }
  }
  /// Calls check(function, calls to throw at) for all that the search calls; `run` answers one request.
  template <typename Run, typename Check>
  void for_each_fault(Run&& run, Check&& check) const {
    for (const Function function : functions) {
      const bool criterion = function == Function::stopping_criterion || function == Function::token_text;
      if (criterion && !GetParam().criteria) continue;
      SCOPED_TRACE(name_of(function));
      Caller counting(function, 0);
      auto counted = request(source_);
      counting.join(counted);
      run(counted);
      if (counted.arguments.streamers.empty() && (function == Function::put || function == Function::end)) continue;
      ASSERT_GT(counting.calls(), 0u);
      for (const std::size_t at : std::set<std::size_t>{1, (counting.calls() + 1) / 2, counting.calls()}) {
        SCOPED_TRACE("call " + std::to_string(at) + " of " + std::to_string(counting.calls()));
        check(function, at);
      }
    }
  }

  std::shared_ptr<const EncoderDecoderModel> model_ =
      std::make_shared<const EncoderDecoderModel>(test::make_model<float>());
  const TokenIds source_ = {3, 4, 5, 6, 4, 5};
};

INSTANTIATE_TEST_SUITE_P(
    Searches, CallbacksTest,
    testing::Values(Search{"Greedy", "{}"}, Search{"Sample", R"({"do_sample": true, "seed": 3})"},
                    Search{"Samples", R"({"do_sample": true, "seed": 3, "num_return_sequences": 2})"},
                    Search{"Beam", R"({"num_beams": 3, "num_return_sequences": 2})"},
                    Search{"BeamSample", R"({"num_beams": 3, "do_sample": true, "seed": 3})"},
                    Search{"Group", R"({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5})", false},
                    Search{"Constrained", R"({"num_beams": 3, "force_words_ids": [[7]]})", false},
                    Search{"Contrastive", R"({"penalty_alpha": 0.5, "top_k": 3})"},
                    Search{"Lookup", R"({"source_lookup_num_tokens": 3})"}, Search{"Assistant", "{}", true, true}),
    search_name);

TEST_P(CallbacksTest, ASessionServesOn) {
  Session session(model_, 2);
  const auto run = [&](const GenerateRequest<float>& request) {
    return session.generate(request.inputs, request.config, request.arguments);
  };
  const auto plain = request(source_);
  const GenerateOutput expected = run(plain);
  for_each_fault(run, [&](Function function, std::size_t at) {
    Caller caller(function, at);
    auto faulty = request(source_);
    caller.join(faulty);
    const std::size_t warm = session.workspace().capacity();
    EXPECT_THROW(run(faulty), Thrown);
    EXPECT_EQ(caller.ends, faulty.arguments.streamers.size());
    expect_same(run(plain), expected);
    EXPECT_EQ(session.workspace().capacity(), warm);
  });
}

TEST_P(CallbacksTest, ASchedulerServesOnAndItsOtherRequestsAreAnswered) {
  Scheduler scheduler(model_, {.threads = 1});
  const auto run = [&](const GenerateRequest<float>& request) { return scheduler.submit(request).get(); };
  const std::vector<GenerateRequest<float>> others = {request({7, 8}), request({9, 10, 11})};
  const std::vector<GenerateOutput> expected = {run(others[0]), run(others[1])};
  for_each_fault(run, [&](Function function, std::size_t at) {
    Caller caller(function, at);
    auto faulty = request(source_);
    caller.join(faulty);
    auto before = scheduler.submit(others[0]);
    auto refused = scheduler.submit(faulty);
    auto behind = scheduler.submit(others[1]);
    EXPECT_THROW(refused.get(), Thrown);
    EXPECT_EQ(caller.ends, faulty.arguments.streamers.size());
    expect_same(before.get(), expected[0]);
    expect_same(behind.get(), expected[1]);
    expect_same(run(others[0]), expected[0]);
  });
}

}  // namespace
}  // namespace bertgen
