// The fast back end: oneDNN, with weights in the layout it asks for.
#include <omp.h>

#include <algorithm>
#include <dnnl.hpp>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <utility>

#include "backends.hpp"
#include "bertgen/core/isa.hpp"

namespace bertgen::detail {
namespace {

// Rows multiplied at a time. A product runs at full speed from about 16 rows on, so the size only bounds how many
// primitives a matrix needs: one for whole tiles, one for each remainder that occurs.
constexpr std::size_t row_tile = 64;

const dnnl::engine& engine() {
  static const dnnl::engine instance(dnnl::engine::kind::cpu, 0);
  return instance;
}

dnnl::stream& stream() {
  thread_local dnnl::stream instance(engine());
  return instance;
}

/// oneDNN runs on as many threads as OpenMP would; this sets the caller's number aside for a while.
class ThreadCount {
 public:
  explicit ThreadCount(int threads) : saved_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;
  ~ThreadCount() { omp_set_num_threads(saved_); }

 private:
  int saved_;
};

class OneDnnMatmul final : public MatmulKernel<float> {
 public:
  OneDnnMatmul(const MatrixRows& weight, std::vector<float> bias)
      : in_(static_cast<dnnl::memory::dim>(weight.in())),
        out_(static_cast<dnnl::memory::dim>(weight.out())),
        bias_(std::move(bias)) {
    using dnnl::memory;
    packed_ = memory(description(row_tile, memory::format_tag::any).weights_desc(), engine());
    // The file's [out, in] rows are [in, out] columns: the reorder transposes and blocks in one pass.
    const memory::desc plain({in_, out_}, memory::data_type::f32, memory::dims{1, in_});
    Tensor<float> rows({weight.out(), weight.in()});
    weight.read(0, weight.out(), rows.data());
    memory source(plain, engine(), rows.data());
    ThreadCount one(1);
    dnnl::reorder(source, packed_).execute(stream(), source, packed_);
    stream().wait();
  }
  OneDnnMatmul(const OneDnnMatmul&) = delete;
  OneDnnMatmul& operator=(const OneDnnMatmul&) = delete;

  void multiply(const float* x, std::size_t rows, float* y, Activation activation,
                Workspace& workspace) const override {
    ThreadCount count(workspace.threads());
    const auto in = static_cast<std::size_t>(in_);
    const auto out = static_cast<std::size_t>(out_);
    for (std::size_t first = 0; first < rows; first += row_tile) {
      const std::size_t tile = std::min(row_tile, rows - first);
      execute(product(tile, workspace.threads()), tile, x + first * in, y + first * out, workspace);
    }
    stream().wait();
    activate<float>(activation, {y, {rows, out}}, workspace);
  }

  std::size_t bytes() const override { return packed_.get_desc().get_size() + bias_.size() * sizeof(float); }

 private:
  using Descriptor = dnnl::matmul::primitive_desc;

  dnnl::memory::desc rows_of(std::size_t rows, dnnl::memory::dim columns) const {
    return {
        {static_cast<dnnl::memory::dim>(rows), columns}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::ab};
  }

  template <typename Format>
  Descriptor description(std::size_t rows, Format weight_format) const {
    return description(rows, dnnl::memory::desc({in_, out_}, dnnl::memory::data_type::f32, weight_format));
  }
  Descriptor description(std::size_t rows, const dnnl::memory::desc& weight) const {
    // Left to itself, oneDNN takes scratch from the thread that creates a primitive, which another may be running.
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return {dnnl::matmul::desc(rows_of(rows, in_), weight, rows_of(1, out_), rows_of(rows, out_)), attributes,
            engine()};
  }

  /// A product of a fixed number of rows on a fixed number of threads: oneDNN divides the work when it is created.
  struct Product {
    dnnl::matmul primitive;
    dnnl::memory::desc scratchpad;
  };

  const Product& product(std::size_t rows, int threads) const {
    const std::pair key(rows, threads);
    {
      const std::shared_lock<std::shared_mutex> lock(creation_);
      if (const auto found = products_.find(key); found != products_.end()) return found->second;
    }
    const Descriptor descriptor = description(rows, packed_.get_desc());
    Product created{dnnl::matmul(descriptor), descriptor.scratchpad_desc()};
    const std::unique_lock<std::shared_mutex> lock(creation_);
    return products_.try_emplace(key, std::move(created)).first->second;
  }

  void execute(const Product& product, std::size_t rows, const float* x, float* y, Workspace& workspace) const {
    Workspace::Scope scope(workspace);
    const auto scratch = scope.take<std::byte>({product.scratchpad.get_size()});
    dnnl::memory source(rows_of(rows, in_), engine(), const_cast<float*>(x));
    dnnl::memory bias(rows_of(1, out_), engine(), const_cast<float*>(bias_.data()));
    dnnl::memory destination(rows_of(rows, out_), engine(), y);
    dnnl::memory scratchpad(product.scratchpad, engine(), scratch.data());
    product.primitive.execute(stream(), {{DNNL_ARG_SRC, source},
                                         {DNNL_ARG_WEIGHTS, packed_},
                                         {DNNL_ARG_BIAS, bias},
                                         {DNNL_ARG_DST, destination},
                                         {DNNL_ARG_SCRATCHPAD, scratchpad}});
  }

  dnnl::memory::dim in_;
  dnnl::memory::dim out_;
  std::vector<float> bias_;  // [out]
  dnnl::memory packed_;      // [in, out] in oneDNN's blocked layout, which is the same for every row count
  mutable std::shared_mutex creation_;
  mutable std::map<std::pair<std::size_t, int>, Product> products_;  // by rows and threads; grows, never shrinks
};

}  // namespace

// Any x86-64 instruction set above the portable one; oneDNN itself is not asked, since that would settle its choice.
bool onednn_available() { return active_isa() != Isa::portable; }

std::unique_ptr<MatmulKernel<float>> make_onednn_matmul(const MatrixRows& weight, std::vector<float> bias) {
  return std::make_unique<OneDnnMatmul>(weight, std::move(bias));
}

}  // namespace bertgen::detail
