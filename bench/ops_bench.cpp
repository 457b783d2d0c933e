// The operations that a decoder step and an encoder layer spend their time in, at the sizes of a 512-wide model.
//
//   build/bench/bertgen_bench --benchmark_filter=matmul
//   build/bench/bertgen_bench --benchmark_filter=memory 154000000     (bytes)
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "bertgen/bertgen.hpp"
#include "bertgen/core/pages.hpp"
#include "bertgen/ops/attention.hpp"
#include "bertgen/ops/layer_norm.hpp"
#include "bertgen/ops/matmul.hpp"
#include "parallel.hpp"

namespace {

using namespace bertgen;

Tensor<float> filled(Shape shape) {
  Tensor<float> tensor(shape);
  for (std::size_t i = 0; i < tensor.size(); ++i) tensor[i] = static_cast<float>(i * 7919 % 1009) / 1009 - 0.5f;
  return tensor;
}

std::size_t size(const benchmark::State& state, std::size_t index) {
  return static_cast<std::size_t>(state.range(index));
}

/// Arguments: rows, in, out, threads.
void matmul(benchmark::State& state, MatmulBackend backend, DType dtype) {
  const std::size_t rows = size(state, 0), in = size(state, 1), out = size(state, 2);
  Workspace workspace(static_cast<int>(state.range(3)));
  const Tensor<float> weight = filled({out, in}), x = filled({rows, in});
  Tensor<float> y({rows, out});
  const PackedMatrix<float> matrix(
      {{DType::f32, weight.shape(), reinterpret_cast<const std::byte*>(weight.data()), {}}}, filled({out}).values(),
      {backend, dtype});
  for (auto _ : state) matrix.multiply(x, y, workspace);
  state.counters["flop/s"] =
      benchmark::Counter(2.0 * static_cast<double>(rows * in * out), benchmark::Counter::kIsIterationInvariantRate);
  state.counters["B/s"] =
      benchmark::Counter(static_cast<double>(in * out * size_of(dtype)), benchmark::Counter::kIsIterationInvariantRate);
}
void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"rows", "in", "out", "threads"})->UseRealTime();
  for (int threads : {1, 2}) {
    for (int rows : {1, 4, 64}) {
      bench->Args({rows, 512, 32000, threads});
      bench->Args({rows, 512, 2048, threads});
      bench->Args({rows, 2048, 512, threads});
      bench->Args({rows, 512, 1536, threads});
    }
    bench->Args({2048, 768, 3072, threads});  // what bench/compare takes for the rate of products
  }
}
BENCHMARK_CAPTURE(matmul, panels_f32, MatmulBackend::panels, DType::f32)->Apply(sizes);
BENCHMARK_CAPTURE(matmul, onednn_f32, MatmulBackend::onednn, DType::f32)->Apply(sizes);
BENCHMARK_CAPTURE(matmul, panels_bf16, MatmulBackend::panels, DType::bf16)->Apply(sizes);
BENCHMARK_CAPTURE(matmul, onednn_bf16, MatmulBackend::onednn, DType::bf16)->Apply(sizes);
BENCHMARK_CAPTURE(matmul, panels_int8, MatmulBackend::panels, DType::i8)->Apply(sizes);
BENCHMARK_CAPTURE(matmul, onednn_int8, MatmulBackend::onednn, DType::i8)->Apply(sizes);
BENCHMARK_CAPTURE(matmul, eigen_f32, MatmulBackend::eigen, DType::f32)
    ->Args({4, 512, 2048, 1})
    ->Args({64, 512, 2048, 1});

/// Reads a buffer of so many bytes from one end to the other, on `threads` threads. What a decoder step cannot pass.
void read_memory(benchmark::State& state) {
  constexpr std::size_t page = std::size_t{2} << 20;
  const std::size_t pages = (size(state, 0) + page - 1) / page;
  const int threads = static_cast<int>(state.range(1));
  const std::unique_ptr<std::uint64_t, decltype(&std::free)> buffer(
      static_cast<std::uint64_t*>(std::aligned_alloc(page, pages * page)), &std::free);
  if (buffer == nullptr) return state.SkipWithError("no memory");
#ifdef MADV_HUGEPAGE
  madvise(buffer.get(), pages * page, MADV_HUGEPAGE);  // as packed weights have it
#endif
  const std::size_t words = pages * page / sizeof(std::uint64_t);
  std::fill_n(buffer.get(), words, 1);
  const std::size_t part = words / static_cast<std::size_t>(threads);
  for (auto _ : state) {
    parallel_for(static_cast<std::size_t>(threads), threads, [&](std::size_t index, std::size_t) {
      std::uint64_t total = 0;
      for (std::size_t begin = index * part; begin + 8 <= (index + 1) * part; begin += 8) {  // a cache line
        for (std::size_t i = 0; i < 8; ++i) total += buffer.get()[begin + i];
      }
      benchmark::DoNotOptimize(total);
    });
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(pages * page));
}

/// Copies so many bytes into memory that is new each time, which the system has to find and to clear. What loading
/// weights cannot pass.
void copy_to_new_memory(benchmark::State& state) {
  constexpr std::size_t page = std::size_t{2} << 20;
  const std::size_t bytes = size(state, 0);
  const Pages source = allocate_pages(bytes, page);
  std::fill_n(source.get(), bytes, std::byte{1});
  for (auto _ : state) {
    Pages copy = allocate_pages(bytes, page);
    std::copy_n(source.get(), bytes, copy.get());
    benchmark::DoNotOptimize(copy.get());
    state.PauseTiming();
    copy.reset();
    state.ResumeTiming();
  }
  state.SetBytesProcessed(2 * state.iterations() * static_cast<std::int64_t>(bytes));
}

/// Arguments: sequences, queries a sequence, keys a sequence; 8 heads of 64.
void self_attention(benchmark::State& state) {
  const std::size_t batch = size(state, 0), queries = size(state, 1), keys = size(state, 2), hidden = 512;
  Workspace workspace(1);
  const Tensor<float> q = filled({batch * queries, hidden}), k = filled({batch * keys, hidden}),
                      v = filled({batch * keys, hidden});
  Tensor<float> context({batch * queries, hidden});
  std::vector<AttentionGroup> groups;
  for (std::size_t i = 0; i < batch; ++i) groups.push_back({i * queries, queries, i * keys, keys, nullptr, nullptr});
  for (auto _ : state) attention<float>(q, k, v, groups, 8, context, workspace);
  state.counters["flop/s"] = benchmark::Counter(4.0 * static_cast<double>(batch * queries * keys * hidden),
                                                benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(self_attention)->Args({8, 256, 256})->Args({1, 32, 32})->Args({4, 1, 32})->Args({64, 1, 32});

/// Arguments: rows, hidden.
void layer_norm_residual(benchmark::State& state) {
  const Shape shape{size(state, 0), size(state, 1)};
  const Workspace workspace(1);
  const Tensor<float> x = filled(shape), residual = filled(shape), weight = filled({shape[1]}),
                      bias = filled({shape[1]});
  Tensor<float> y(shape);
  for (auto _ : state) layer_norm<float>(x, residual, weight, bias, 1e-12, y, workspace);
  state.SetItemsProcessed(state.iterations() * state.range(0) * state.range(1));
}
BENCHMARK(layer_norm_residual)->Args({1, 512})->Args({2048, 512});

/// Arguments: rows, intermediate.
void gelu(benchmark::State& state) {
  const Workspace workspace(1);
  Tensor<float> x = filled({size(state, 0), size(state, 1)});
  for (auto _ : state) activate<float>(Activation::gelu, x, workspace);
  state.SetItemsProcessed(state.iterations() * state.range(0) * state.range(1));
}
BENCHMARK(gelu)->Args({1, 2048})->Args({2048, 2048});

void log_sum_exp_of_logits(benchmark::State& state) {
  const Tensor<float> logits = filled({size(state, 0)});
  for (auto _ : state) benchmark::DoNotOptimize(log_sum_exp<float>(logits.values()));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(log_sum_exp_of_logits)->Arg(32000);

}  // namespace

int main(int count, char** arguments) {
  benchmark::Initialize(&count, arguments);
  for (int i = 1; i < count; ++i) {
    benchmark::RegisterBenchmark("read_memory", read_memory)
        ->ArgNames({"bytes", "threads"})
        ->Args({std::atoll(arguments[i]), 1})
        ->Args({std::atoll(arguments[i]), 2})
        ->UseRealTime();
    benchmark::RegisterBenchmark("copy_to_new_memory", copy_to_new_memory)
        ->ArgName("bytes")
        ->Arg(std::atoll(arguments[i]))
        ->UseRealTime();
  }
  benchmark::RunSpecifiedBenchmarks();
}
