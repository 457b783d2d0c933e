// oneDNN, with weights in the layout that its AVX-512 and AMX kernels read: this library's panels.
#include <omp.h>

#include <algorithm>
#include <dnnl.hpp>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "backends.hpp"
#include "bertgen/core/isa.hpp"

namespace bertgen::detail {
namespace {

using dnnl::memory;

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

/// Types and layout of a product, by the type of its panels.
struct Format {
  memory::data_type input, weight, output;
  memory::format_tag panels;
};
Format format_of(DType dtype) {
  using Type = memory::data_type;
  using Tag = memory::format_tag;
  switch (dtype) {
    case DType::bf16:
      return {Type::bf16, Type::bf16, Type::f32, Tag::BA16a64b2a};
    case DType::i8:
      return {Type::u8, Type::s8, Type::s32, Tag::BA16a64b4a};
    default:
      return {Type::f32, Type::f32, Type::f32, Tag::BA16a64b};
  }
}

class Product final : public OneDnnProduct {
 public:
  Product(DType dtype, std::size_t in, std::size_t out, const void* panels, const float* bias)
      : format_(format_of(dtype)),
        in_(static_cast<memory::dim>(in)),
        out_(static_cast<memory::dim>(out)),
        weight_({{in_, out_}, format_.weight, format_.panels}, engine(), const_cast<void*>(panels)),
        bias_(bias) {}

  void multiply(const void* x, std::size_t x_stride, std::size_t rows, void* y, Workspace& workspace) const override {
    const ThreadCount count(workspace.threads());
    const Primitive& primitive = find({rows, x_stride, workspace.threads()});
    Workspace::Scope scope(workspace);
    const auto scratch = scope.take<std::byte>({primitive.scratchpad.get_size()});
    memory source(input(rows, x_stride), engine(), const_cast<void*>(x));
    memory destination(output(rows), engine(), y);
    memory scratchpad(primitive.scratchpad, engine(), scratch.data());
    std::unordered_map<int, memory> arguments = {{DNNL_ARG_SRC, source},
                                                 {DNNL_ARG_WEIGHTS, weight_},
                                                 {DNNL_ARG_DST, destination},
                                                 {DNNL_ARG_SCRATCHPAD, scratchpad}};
    if (bias_ != nullptr) {
      arguments.emplace(DNNL_ARG_BIAS, memory(bias_desc(), engine(), const_cast<float*>(bias_)));
    }
    primitive.matmul.execute(stream(), arguments);
    stream().wait();
  }

  /// Whether oneDNN has one of its fast kernels ("brg:…") for these panels.
  bool fast() const {
    try {
      return std::string_view(description(1, static_cast<std::size_t>(in_)).impl_info_str()).substr(0, 4) == "brg:";
    } catch (const dnnl::error&) {
      return false;  // it has none at all
    }
  }

 private:
  using Descriptor = dnnl::matmul::primitive_desc;
  /// oneDNN divides the work, and settles strides, when a primitive is created.
  struct Key {
    std::size_t rows, x_stride;
    int threads;
    auto operator<=>(const Key&) const = default;
  };
  struct Primitive {
    dnnl::matmul matmul;
    memory::desc scratchpad;
  };

  memory::desc input(std::size_t rows, std::size_t stride) const {
    return {{static_cast<memory::dim>(rows), in_}, format_.input, memory::dims{static_cast<memory::dim>(stride), 1}};
  }
  memory::desc output(std::size_t rows) const {
    return {{static_cast<memory::dim>(rows), out_}, format_.output, memory::format_tag::ab};
  }
  memory::desc bias_desc() const {
    if (bias_ == nullptr) return {};
    return {{1, out_}, memory::data_type::f32, memory::format_tag::ab};
  }

  Descriptor description(std::size_t rows, std::size_t x_stride) const {
    // Left to itself, oneDNN takes scratch from the thread that creates a primitive, which another may be running.
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return {dnnl::matmul::desc(input(rows, x_stride), weight_.get_desc(), bias_desc(), output(rows)), attributes,
            engine()};
  }

  const Primitive& find(const Key& key) const {
    {
      const std::shared_lock<std::shared_mutex> lock(creation_);
      if (const auto found = primitives_.find(key); found != primitives_.end()) return found->second;
    }
    const Descriptor descriptor = description(key.rows, key.x_stride);
    Primitive created{dnnl::matmul(descriptor), descriptor.scratchpad_desc()};
    const std::unique_lock<std::shared_mutex> lock(creation_);
    return primitives_.try_emplace(key, std::move(created)).first->second;
  }

  Format format_;
  memory::dim in_;
  memory::dim out_;
  memory weight_;      // [in, out] in panels
  const float* bias_;  // [out], or null
  mutable std::shared_mutex creation_;
  mutable std::map<Key, Primitive> primitives_;  // grows, never shrinks
};

}  // namespace

// oneDNN itself is not asked, since that would settle its choice.
bool onednn_available() { return active_isa() >= Isa::avx512; }

std::unique_ptr<OneDnnProduct> make_onednn_product(DType dtype, std::size_t in, std::size_t out, const void* panels,
                                                   const float* bias) {
  const bool has_instructions =
      dtype == DType::f32 || active_isa() >= (dtype == DType::i8 ? Isa::avx512_vnni : Isa::avx512_bf16);
  if (!onednn_available() || !has_instructions) return nullptr;
  auto product = std::make_unique<Product>(dtype, in, out, panels, bias);
  if (!product->fast()) return nullptr;
  return product;
}

}  // namespace bertgen::detail
