#include "bertgen/ops/activation.hpp"

#include "kernels/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activation.cpp"
#include "hwy/foreach_target.h"
// After foreach_target, which includes this file once per target.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace bertgen::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class V>
HWY_INLINE V Constant(V, float value) {
  return hn::Set(hn::DFromV<V>(), value);
}

/// erf(x), absolute error below 1.5e-7, from the rational approximation x·P(x²)/Q(x²) on [−4, 4]; beyond, erf is ±1
/// in float. The coefficients are the Cephes/Eigen ones for float erf.
template <class V>
HWY_INLINE V Erf(V v) {
  const V x = hn::Max(Constant(v, -4.0f), hn::Min(Constant(v, 4.0f), v));
  const V x2 = hn::Mul(x, x);
  V p = Constant(v, -2.72614225801306e-10f);
  p = hn::MulAdd(p, x2, Constant(v, 2.77068142495902e-08f));
  p = hn::MulAdd(p, x2, Constant(v, -2.10102402082508e-06f));
  p = hn::MulAdd(p, x2, Constant(v, -5.69250639462346e-05f));
  p = hn::MulAdd(p, x2, Constant(v, -7.34990630326855e-04f));
  p = hn::MulAdd(p, x2, Constant(v, -2.95459980854025e-03f));
  p = hn::MulAdd(p, x2, Constant(v, -1.60960333262415e-02f));
  V q = Constant(v, -1.45660718464996e-05f);
  q = hn::MulAdd(q, x2, Constant(v, -2.13374055278905e-04f));
  q = hn::MulAdd(q, x2, Constant(v, -1.68282697438203e-03f));
  q = hn::MulAdd(q, x2, Constant(v, -7.37332916720468e-03f));
  q = hn::MulAdd(q, x2, Constant(v, -1.42647390514189e-02f));
  return hn::Div(hn::Mul(x, p), q);
}

template <class V>
HWY_INLINE V Exp(V v) {
  return hn::Exp(hn::DFromV<V>(), v);
}
template <class V>
HWY_INLINE V Tanh(V v) {
  return hn::Tanh(hn::DFromV<V>(), v);
}
template <class V>
HWY_INLINE V Sigmoid(V v) {
  // exp overflows to infinity from 88.7 on, where the quotient is 0 as it should be.
  const V one = Constant(v, 1.0f);
  return hn::Div(one, hn::Add(one, Exp(hn::Min(hn::Neg(v), Constant(v, 88.0f)))));
}
template <class V>
HWY_INLINE V Softplus(V v) {
  // max(v, 0) + log1p(exp(−|v|)) equals torch's log1p(exp(v)), and v itself above its threshold of 20.
  return hn::Add(hn::Max(v, hn::Zero(hn::DFromV<V>())), hn::Log1p(hn::DFromV<V>(), Exp(hn::Neg(hn::Abs(v)))));
}
template <class V>
HWY_INLINE V Gelu(V v) {
  const V half = Constant(v, 0.5f);
  return hn::Mul(v, hn::MulAdd(half, Erf(hn::Mul(v, Constant(v, 0.70710678f))), half));
}

// One functor a function, so that the loop below is compiled with the function inlined.
struct GeluOp {
  template <class V>
  HWY_INLINE V operator()(V v) const {
    return Gelu(v);
  }
};
struct GeluTanhOp {
  template <class V>
  HWY_INLINE V operator()(V v) const {
    const V cubed = hn::Mul(hn::Mul(v, v), v);
    const V inner = hn::Mul(Constant(v, 0.79788456f), hn::MulAdd(Constant(v, 0.044715f), cubed, v));
    const V half = Constant(v, 0.5f);
    return hn::Mul(v, hn::MulAdd(half, Tanh(inner), half));
  }
};
struct Gelu10Op {
  template <class V>
  HWY_INLINE V operator()(V v) const {
    return hn::Max(Constant(v, -10.0f), hn::Min(Constant(v, 10.0f), Gelu(v)));
  }
};
struct QuickGeluOp {
  template <class V>
  HWY_INLINE V operator()(V v) const {
    return hn::Mul(v, Sigmoid(hn::Mul(Constant(v, 1.702f), v)));
  }
};
struct ReluOp {
  template <class V>
  HWY_INLINE V operator()(V v) const {
    return hn::Max(v, hn::Zero(hn::DFromV<V>()));
  }
};
struct Relu2Op {
  template <class V>
  HWY_INLINE V operator()(V v) const {
    const V positive = ReluOp()(v);
    return hn::Mul(positive, positive);
  }
};
struct Relu6Op {
  template <class V>
  HWY_INLINE V operator()(V v) const {
    return hn::Min(ReluOp()(v), Constant(v, 6.0f));
  }
};
struct LeakyReluOp {
  template <class V>
  HWY_INLINE V operator()(V v) const {
    return hn::Max(v, hn::Mul(Constant(v, 0.01f), v));
  }
};
struct SiluOp {
  template <class V>
  HWY_INLINE V operator()(V v) const {
    return hn::Mul(v, Sigmoid(v));
  }
};
struct MishOp {
  template <class V>
  HWY_INLINE V operator()(V v) const {
    return hn::Mul(v, Tanh(Softplus(v)));
  }
};
struct TanhOp {
  template <class V>
  HWY_INLINE V operator()(V v) const {
    return Tanh(v);
  }
};
struct SigmoidOp {
  template <class V>
  HWY_INLINE V operator()(V v) const {
    return Sigmoid(v);
  }
};
struct HardswishOp {
  template <class V>
  HWY_INLINE V operator()(V v) const {
    return hn::Mul(v, hn::Mul(Relu6Op()(hn::Add(v, Constant(v, 3.0f))), Constant(v, 1.0f / 6.0f)));
  }
};
struct LaplaceOp {
  template <class V>
  HWY_INLINE V operator()(V v) const {
    const V half = Constant(v, 0.5f);
    const V inner = hn::Mul(hn::Sub(v, Constant(v, 0.707107f)), Constant(v, 1.0f / (0.282095f * 1.41421356f)));
    return hn::MulAdd(half, Erf(inner), half);
  }
};
struct SqrtSoftplusOp {
  template <class V>
  HWY_INLINE V operator()(V v) const {
    return hn::Sqrt(Softplus(v));
  }
};

/// Whole vectors, then what is left through a padded buffer, so that an element's result does not depend on where in
/// the row it stands. A NaN is kept here and never reaches `op`: Max, Min and Exp may drop it, and Exp of Highway's
/// portable target would convert it to an integer, which is undefined.
template <class Op>
HWY_INLINE void Transform(float* HWY_RESTRICT x, size_t count, Op op) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto keep_nan = [&op](auto v) {
    const auto nan = hn::IsNaN(v);
    return hn::IfThenElse(nan, v, op(hn::IfThenZeroElse(nan, v)));
  };
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(keep_nan(hn::LoadU(d, x + i)), d, x + i);
  if (i == count) return;
  HWY_ALIGN float tail[HWY_MAX_BYTES / sizeof(float)] = {};
  for (size_t j = i; j < count; ++j) tail[j - i] = x[j];
  hn::Store(keep_nan(hn::Load(d, tail)), d, tail);
  for (size_t j = i; j < count; ++j) x[j] = tail[j - i];
}

const char* Name() { return hwy::TargetName(HWY_TARGET); }

void Activate(Activation activation, float* x, size_t count) {
  switch (activation) {
    case Activation::linear:
      return;
    case Activation::gelu:
      return Transform(x, count, GeluOp());
    case Activation::gelu_tanh:
      return Transform(x, count, GeluTanhOp());
    case Activation::gelu_10:
      return Transform(x, count, Gelu10Op());
    case Activation::quick_gelu:
      return Transform(x, count, QuickGeluOp());
    case Activation::relu:
      return Transform(x, count, ReluOp());
    case Activation::relu2:
      return Transform(x, count, Relu2Op());
    case Activation::relu6:
      return Transform(x, count, Relu6Op());
    case Activation::leaky_relu:
      return Transform(x, count, LeakyReluOp());
    case Activation::silu:
      return Transform(x, count, SiluOp());
    case Activation::mish:
      return Transform(x, count, MishOp());
    case Activation::tanh:
      return Transform(x, count, TanhOp());
    case Activation::sigmoid:
      return Transform(x, count, SigmoidOp());
    case Activation::hardswish:
      return Transform(x, count, HardswishOp());
    case Activation::laplace:
      return Transform(x, count, LaplaceOp());
    case Activation::sqrtsoftplus:
      return Transform(x, count, SqrtSoftplusOp());
  }
}

}  // namespace bertgen::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bertgen::kernels {
HWY_EXPORT(Activate);
HWY_EXPORT(Name);

const char* target_name() { return HWY_DYNAMIC_DISPATCH(Name)(); }

void activate(Activation activation, float* x, std::size_t count) {
  HWY_DYNAMIC_DISPATCH(Activate)(activation, x, count);
}

}  // namespace bertgen::kernels
#endif
