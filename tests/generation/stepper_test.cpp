#include "bertgen/generation/stepper.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "bertgen/core/isa.hpp"
#include "support/allocations.hpp"
#include "support/checkpoint.hpp"

namespace bertgen {
namespace {

/// Allocations of each of the decoder's steps, on `beams` rows that change places from step to step.
std::vector<std::size_t> allocations_of_steps(DType dtype, std::size_t beams, int threads) {
  TransformerConfig config = test::tiny_decoder_config();
  config.max_position_embeddings = 64;
  const auto decoder = test::make_decoder<float>(config, 1, {.dtype = dtype, .threads = threads});
  Workspace workspace(threads);
  const std::vector<GenerationItem> items(2, {TokenIds{3, 4, 5}, TokenIds{2}, 40});
  const std::size_t rows = items.size() * beams;
  auto cache = decoder.make_cache(items.size(), rows, 40);
  Tensor<float> states({6, config.hidden_size}, std::vector<float>(6 * config.hidden_size, 0.5f));
  const std::vector<TokenIds> sources(2, {3, 4, 5});
  decoder.attend_to(states, pack(sources, {}, HiddenPositions::drop), cache, workspace);
  Stepper<float> stepper(decoder, cache, items, {.rows = rows}, workspace);
  stepper.prefill(items);
  std::vector<std::size_t> parents;
  for (std::size_t row = 0; row < rows; ++row) parents.push_back(row / beams);
  stepper.reorder(parents);
  const TokenIds ids(rows, 7);
  std::vector<std::size_t> counts;
  for (std::size_t step = 0; step < 30; ++step) {
    const std::size_t before = test::allocation_count();
    stepper.next(ids);
    for (std::size_t row = 0; row < rows; ++row) parents[row] = row / beams * beams + (step + row / 2) % beams;
    stepper.reorder(parents);
    counts.push_back(test::allocation_count() - before);
  }
  return counts;
}

TEST(StepperTest, ASteadyStepAllocatesNothing) {
  constexpr std::size_t warm = 2;  // both sets of buffers that a reorder swaps have been used
  for (const DType dtype : {DType::f32, DType::bf16, DType::i8}) {
    for (const std::size_t beams : {1u, 3u}) {
      for (const int threads : {1, 2}) {
        std::vector<std::size_t> counts = allocations_of_steps(dtype, beams, threads);
        counts.erase(counts.begin(), counts.begin() + warm);
        EXPECT_EQ(counts, std::vector<std::size_t>(counts.size(), 0))
            << dtype_name(dtype) << ", " << beams << " beams, " << threads << " threads";
      }
    }
  }
}

}  // namespace
}  // namespace bertgen
