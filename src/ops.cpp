// The float versions of the operations: checks and threads here, arithmetic in kernels/.
#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "bertgen/core/isa.hpp"
#include "bertgen/ops/activation.hpp"
#include "bertgen/ops/attention.hpp"
#include "bertgen/ops/layer_norm.hpp"
#include "bertgen/ops/search.hpp"
#include "bertgen/ops/softmax.hpp"
#include "kernels/kernels.hpp"
#include "parallel.hpp"

namespace bertgen {
namespace {

// Elements of element-wise work below which a second thread costs more than it saves (a fork and join take about
// 2 µs, in which one core normalises or activates some thousands of floats).
constexpr std::size_t elementwise_grain = 8192;
// Multiply-adds of attention below which the same holds.
constexpr std::size_t attention_grain = 65536;

/// Rows of element-wise work that are worth a thread.
std::size_t row_grain(std::size_t cols) {
  return std::max<std::size_t>(1, elementwise_grain / std::max<std::size_t>(1, cols));
}

}  // namespace

Activation activation_from_name(std::string_view name) {
  static const std::map<std::string_view, Activation> names = {
      {"gelu", Activation::gelu},
      {"gelu_python", Activation::gelu},
      {"gelu_new", Activation::gelu_tanh},
      {"gelu_fast", Activation::gelu_tanh},
      {"gelu_pytorch_tanh", Activation::gelu_tanh},
      {"gelu_python_tanh", Activation::gelu_tanh},
      {"gelu_accurate", Activation::gelu_tanh},
      {"gelu_10", Activation::gelu_10},
      {"quick_gelu", Activation::quick_gelu},
      {"relu", Activation::relu},
      {"relu2", Activation::relu2},
      {"relu6", Activation::relu6},
      {"leaky_relu", Activation::leaky_relu},
      {"silu", Activation::silu},
      {"swish", Activation::silu},
      {"mish", Activation::mish},
      {"tanh", Activation::tanh},
      {"sigmoid", Activation::sigmoid},
      {"linear", Activation::linear},
      {"hardswish", Activation::hardswish},
      {"laplace", Activation::laplace},
      {"sqrtsoftplus", Activation::sqrtsoftplus},
  };
  const auto found = names.find(name);
  if (found != names.end()) return found->second;
  std::string known;
  for (const auto& entry : names) known += (known.empty() ? "" : ", ") + std::string(entry.first);
  throw ConfigError("hidden_act: expected one of " + known + "; got \"" + std::string(name) + "\"");
}

template <>
void activate<float>(Activation activation, TensorView<float> x, const Workspace& workspace) {
  if (activation == Activation::linear) return;
  parallel_ranges(x.rows(), row_grain(x.cols()), workspace.threads(), [&](std::size_t first, std::size_t last) {
    for (std::size_t row = first; row < last; ++row) kernels::activate(activation, x.row(row), x.cols());
  });
}

template <>
void layer_norm<float>(TensorView<const float> x, TensorView<const float> residual, TensorView<const float> weight,
                       TensorView<const float> bias, double epsilon, TensorView<float> y, const Workspace& workspace) {
  parallel_ranges(x.rows(), row_grain(x.cols()), workspace.threads(), [&](std::size_t first, std::size_t last) {
    for (std::size_t row = first; row < last; ++row) {
      kernels::layer_norm_row(x.row(row), residual.size() == 0 ? nullptr : residual.row(row), weight.data(),
                              bias.data(), epsilon, x.cols(), y.row(row));
    }
  });
}

template <>
float log_sum_exp<float>(std::span<const float> x) {
  return kernels::log_sum_exp(x.data(), x.size());
}

template <>
void log_sum_exp_rows<float>(TensorView<const float> x, std::span<const std::size_t> rows, std::span<float> sums,
                             int threads) {
  parallel_ranges(rows.size(), row_grain(x.cols()), threads, [&](std::size_t first, std::size_t last) {
    for (std::size_t i = first; i < last; ++i) sums[i] = log_sum_exp<float>({x.row(rows[i]), x.cols()});
  });
}

template <>
void log_softmax_rows<float>(TensorView<float> x, int threads) {
  parallel_ranges(x.rows(), row_grain(x.cols()), threads, [&](std::size_t first, std::size_t last) {
    for (std::size_t row = first; row < last; ++row) log_softmax<float>({x.row(row), x.cols()});
  });
}

template <>
std::size_t arg_max<float>(std::span<const float> x) {
  return kernels::arg_max(x.data(), x.size());
}

template <>
std::size_t find_above<float>(std::span<const float> x, std::size_t begin, float less, float base, float bound) {
  return kernels::find_above(x.data(), begin, x.size(), less, base, bound);
}

namespace {

template <typename T>
void attend_groups(TensorView<const T> queries, TensorView<const T> keys, TensorView<const T> values,
                   std::span<const AttentionGroup> groups, std::size_t heads, TensorView<T> context,
                   Workspace& workspace) {
  const std::size_t head_dim = queries.cols() / heads;
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
  const auto bf16 = active_isa() >= Isa::avx512_bf16 ? kernels::HeadType::bf16_pairs : kernels::HeadType::bf16;
  const auto type = std::is_same_v<T, float> ? kernels::HeadType::f32 : bf16;
  std::size_t work = 0;
  for (const AttentionGroup& group : groups) work += group.query_count * group.key_count * queries.cols();
  const int threads = work < attention_grain ? 1 : workspace.threads();
  // All heads of a key lie side by side in memory: a task takes as many of them as leaves each thread some tasks.
  const std::size_t tasks_wanted = threads == 1 ? 1 : 8 * static_cast<std::size_t>(threads);
  const std::size_t parts = std::clamp<std::size_t>(tasks_wanted / std::max<std::size_t>(1, groups.size()), 1, heads);
  std::size_t scratch_size = 0;
  for (const AttentionGroup& group : groups) {
    const std::size_t size = kernels::attend_scratch(group.query_count, group.key_count, heads, head_dim, type);
    scratch_size = std::max(scratch_size, kernels::round_up(size, 16));  // each thread's begins at a cache line
  }
  Workspace::Scope scope(workspace);
  const auto scratch = scope.take<float>({static_cast<std::size_t>(threads), scratch_size});
  const auto work_of = [&](std::size_t task) {
    return groups[task / parts].query_count * groups[task / parts].key_count;
  };
  parallel_shares(groups.size() * parts, threads, work_of, [&](std::size_t task, std::size_t thread) {
    const std::size_t part = task % parts;
    const std::size_t first = heads * part / parts;
    const std::size_t count = heads * (part + 1) / parts - first;
    const auto of_head = [&](auto all) { return all.middle_cols(first * head_dim, count * head_dim).data(); };
    kernels::attend(groups[task / parts], {of_head(queries), queries.row_stride()}, {of_head(keys), keys.row_stride()},
                    {of_head(values), values.row_stride()}, count, head_dim, scale, type, of_head(context),
                    context.row_stride(), scratch.row(thread));
  });
}

}  // namespace

template <>
void attention<float>(TensorView<const float> queries, TensorView<const float> keys, TensorView<const float> values,
                      std::span<const AttentionGroup> groups, std::size_t heads, TensorView<float> context,
                      Workspace& workspace) {
  attend_groups(queries, keys, values, groups, heads, context, workspace);
}
template <>
void attention<BFloat16>(TensorView<const BFloat16> queries, TensorView<const BFloat16> keys,
                         TensorView<const BFloat16> values, std::span<const AttentionGroup> groups, std::size_t heads,
                         TensorView<BFloat16> context, Workspace& workspace) {
  attend_groups(queries, keys, values, groups, heads, context, workspace);
}

}  // namespace bertgen
