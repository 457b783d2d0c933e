#include <algorithm>
#include <chrono>
#include <fstream>
#include <random>

#include "model.hpp"
#include "output.hpp"

namespace bertgen::cli {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// The most memory the process has held: VmHWM of /proc/self/status.
std::size_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    std::size_t kilobytes = 0;
    if (word == "VmHWM:" && status >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

/// As --dtype spells it.
std::string_view compute_dtype_name(const EncoderDecoderModel& model, const LoadOptions& options) {
  const NamedTensors& tensors = model.encoder().tensors();
  const bool quantized =
      std::any_of(tensors.begin(), tensors.end(), [](const auto& entry) { return entry.second.scale != nullptr; });
  const DType dtype = compute_dtype(options.build.dtype, quantized);
  return dtype == DType::i8 ? "int8" : dtype == DType::bf16 ? "bf16" : "f32";
}

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options), bench_(options.bench) {
    const auto start = Clock::now();
    auto model = std::make_shared<const EncoderDecoderModel>(
        EncoderDecoderModel::from_pretrained(options.model, load_options(options)));
    load_seconds_ = seconds_since(start);
    report_warnings(model->warnings(), options);
    session_.emplace(std::move(model), options.threads);
    config_ = session_->model().generation_config();
    config_.max_new_tokens = config_.min_new_tokens = bench_.new_tokens;
    config_.num_beams = bench_.num_beams;
    config_.num_return_sequences = 1;
    config_.source_lookup_num_tokens = config_.prompt_lookup_num_tokens = std::nullopt;  // random ids copy nothing
    make_inputs();
  }

  Json run() {
    std::vector<double> seconds;
    std::vector<double> encode_seconds;
    for (std::size_t i = 0; i < bench_.warmup + bench_.repeat; ++i) {
      auto start = Clock::now();
      session_->generate(inputs_, config_);
      const double whole = seconds_since(start);
      start = Clock::now();
      encode();
      if (i < bench_.warmup) continue;
      seconds.push_back(whole);
      encode_seconds.push_back(seconds_since(start));
    }
    const double time = median(seconds);
    return {{"seconds", time},
            {"seconds_all", seconds},
            {"tokens_per_second", static_cast<double>(bench_.batch_size * bench_.new_tokens) / time},
            {"encode_seconds", median(encode_seconds)},
            {"step_seconds", step_seconds()},
            {"load_seconds", load_seconds_},
            {"peak_rss_bytes", peak_rss_bytes()},
            {"weights_bytes", session_->model().bytes()},
            {"threads", options_.threads},
            {"dtype", options_.dtype},
            {"compute_dtype", compute_dtype_name(session_->model(), load_options(options_))},
            {"isa", isa_name(active_isa())}};
  }

 private:
  void make_inputs() {
    // The same ids on every machine: mt19937's numbers are fixed by the standard, a distribution's are not.
    std::mt19937 random(0);
    const std::size_t vocab = session_->model().config().encoder.vocab_size;
    for (std::size_t s = 0; s < bench_.batch_size; ++s) {
      TokenIds ids;
      for (std::size_t i = 0; i < bench_.source_length; ++i) {
        ids.push_back(static_cast<TokenId>(vocab <= 4 ? random() % vocab : 4 + random() % (vocab - 4)));
      }
      inputs_.input_ids.push_back(std::move(ids));
    }
  }

  PackedBatch sources() const { return session_->model().encoder().pack(inputs_.input_ids, {}, HiddenPositions::drop); }
  Tensor<float> encode() { return session_->model().encoder().forward(sources(), session_->workspace()); }

  /// The median time of one decoder step, as generate() makes them, on as many rows as there are beams. A search's own
  /// work between two steps is not in it.
  double step_seconds() {
    if (bench_.new_tokens < 2) return 0;
    const EncoderDecoderModel& model = session_->model();
    Workspace& workspace = session_->workspace();
    std::vector<GenerationItem> items;
    const TokenId start = config_.decoder_start_token_id.value_or(config_.bos_token_id.value_or(0));
    for (const TokenIds& ids : inputs_.input_ids) items.push_back({ids, {start}, bench_.new_tokens + 1});
    const std::size_t rows = items.size() * bench_.num_beams;
    auto cache = model.decoder().make_cache(items.size(), rows, bench_.new_tokens + 1, &workspace.page_pool());
    model.attend_to(sources(), encode(), cache, workspace);
    Stepper<float> stepper(model.decoder(), cache, items, {.rows = rows}, workspace);
    stepper.prefill(items);
    std::vector<std::size_t> parents;
    for (std::size_t row = 0; row < rows; ++row) parents.push_back(row / bench_.num_beams);
    stepper.reorder(parents);
    const TokenIds ids(rows, start);
    std::vector<double> seconds;
    for (std::size_t i = 1; i < bench_.new_tokens; ++i) {
      const auto begin = Clock::now();
      stepper.next(ids);
      seconds.push_back(seconds_since(begin));
    }
    return median(seconds);
  }

  const Options& options_;
  const BenchOptions& bench_;
  std::optional<Session> session_;
  GenerationConfig config_;
  GenerateInputs inputs_;
  double load_seconds_ = 0;
};

}  // namespace

int run_bench(const Options& options) {
  const Json result = Bench(options).run();
  Output output(options.output);  // not before there is something to replace a file with
  if (options.bench.json) {
    output.line(dump_line(result));
  } else {
    constexpr std::size_t width = 18;
    for (const auto& [key, value] : result.items()) {
      output.line(key + std::string(key.size() < width ? width - key.size() : 1, ' ') + dump_line(value));
    }
  }
  output.flush();
  return all_answered;
}

}  // namespace bertgen::cli
