#include "bertgen/core/isa.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <string>

#include "bertgen/core/error.hpp"
#include "hwy/targets.h"

#if HWY_ARCH_X86
#include <cpuid.h>
#endif
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifdef BERTGEN_WITH_ONEDNN
#include <dnnl.hpp>
#endif

namespace bertgen {
namespace {

struct Entry {
  Isa isa;
  std::string_view name;
  std::int64_t highway;  ///< the Highway target of this set
  bool (*present)();     ///< what Highway's target does not cover
};

bool always() { return true; }

#if HWY_ARCH_X86

/// ECX and EDX of cpuid leaf 7, and EAX of its sub-leaf 1. oneDNN could tell what the CPU has, but asking it settles
/// its choice, which set_isa() must be able to change.
struct Features {
  unsigned ecx = 0, edx = 0, eax1 = 0;
  Features() {
    unsigned eax = 0, ebx = 0, other = 0;
    __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
    __get_cpuid_count(7, 1, &eax1, &ebx, &other, &other);
  }
};
/// Intel's products of bf16 pairs take longer than the two multiply-adds of floats that do the same
/// (docs/performance.md).
bool is_intel() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  __get_cpuid(0, &eax, &ebx, &ecx, &edx);
  return ebx == signature_INTEL_ebx;
}
bool has_vnni() { return (Features().ecx >> 11 & 1u) != 0; }
bool has_bf16() { return has_vnni() && (Features().eax1 >> 5 & 1u) != 0; }
bool has_fast_bf16() { return has_bf16() && !is_intel(); }
/// Linux lets a process use AMX's tiles once it has asked to: they make what is saved of a thread larger. It says no
/// where a thread's stack for signals is too small for that.
bool may_use_tiles() {
#ifdef __linux__
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM of asm/prctl.h
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}
bool has_amx() {
  const unsigned edx = Features().edx;
  const bool present = (edx >> 22 & 1u) != 0 && (edx >> 24 & 1u) != 0 && (edx >> 25 & 1u) != 0;  // bf16, tile, int8
  return has_bf16() && present && may_use_tiles();
}

constexpr std::array table = {
    Entry{Isa::portable, "portable", HWY_BASELINE_SCALAR, always},
    Entry{Isa::sse4, "sse4", HWY_SSE4, always},
    Entry{Isa::avx2, "avx2", HWY_AVX2, always},
    Entry{Isa::avx512, "avx512", HWY_AVX3, always},
    Entry{Isa::avx512_vnni, "avx512_vnni", HWY_AVX3, has_vnni},
    Entry{Isa::avx512_bf16, "avx512_bf16", HWY_AVX3, has_fast_bf16},
    Entry{Isa::amx, "amx", HWY_AVX3, has_amx},
};
#elif HWY_ARCH_ARM_A64
constexpr std::array table = {Entry{Isa::neon, "neon", HWY_NEON, always}};  // every such CPU has it
#else
constexpr std::array table = {Entry{Isa::portable, "portable", HWY_BASELINE_SCALAR, always}};
#endif

const Entry* find(Isa isa) {
  const auto found = std::find_if(table.begin(), table.end(), [isa](const Entry& entry) { return entry.isa == isa; });
  return found == table.end() ? nullptr : &*found;
}

/// What active_isa() answers: what set_isa() chose, or the best; below 0 until one of them is called.
std::atomic<int> active{-1};

/// What this CPU and build support, worst first. Asked once: a virtual machine takes its time to answer for its CPU.
const std::vector<Isa>& in_cpu() {
  static const std::vector<Isa> isas = [] {
    std::vector<Isa> found;
    const std::int64_t compiled = hwy::SupportedTargets();
    for (const Entry& entry : table) {
      const bool built = entry.isa == Isa::portable || (compiled & entry.highway) != 0;
      if (built && entry.present()) found.push_back(entry.isa);
    }
    return found;
  }();
  return isas;
}

#ifdef BERTGEN_WITH_ONEDNN
dnnl::cpu_isa onednn_isa(Isa isa) {
  switch (isa) {
    case Isa::avx2:
      return dnnl::cpu_isa::avx2;
    case Isa::avx512:
      return dnnl::cpu_isa::avx512_core;
    case Isa::avx512_vnni:
      return dnnl::cpu_isa::avx512_core_vnni;
    case Isa::avx512_bf16:
      return dnnl::cpu_isa::avx512_core_bf16;
    case Isa::amx:
      return dnnl::cpu_isa::avx512_core_amx;
    default:
      return dnnl::cpu_isa::sse41;  // oneDNN has nothing lower; the portable set does not call it
  }
}
#endif

}  // namespace

std::string_view isa_name(Isa isa) {
  // Not from the table: that has this architecture's sets only.
  constexpr std::array<std::string_view, 8> names = {"portable", "neon",        "sse4",        "avx2",
                                                     "avx512",   "avx512_vnni", "avx512_bf16", "amx"};
  return names[static_cast<std::size_t>(isa)];
}

Isa isa_from_name(std::string_view name) {
  std::string known;
  for (const Entry& entry : table) {
    if (entry.name == name) return entry.isa;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw ArgumentError("isa: expected one of " + known + "; got \"" + std::string(name) + "\"");
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> isas = in_cpu();
  std::erase_if(isas, [best = active_isa()](Isa isa) { return isa > best; });
  return isas;
}

Isa active_isa() {
  if (const int known = active.load(std::memory_order_relaxed); known >= 0) return static_cast<Isa>(known);
  active = static_cast<int>(in_cpu().back());
  return in_cpu().back();
}

void set_isa(Isa isa) {
  const Entry* entry = find(isa);
  const std::vector<Isa> supported = supported_isas();
  if (entry == nullptr || std::find(supported.begin(), supported.end(), isa) == supported.end()) {
    throw ArgumentError("isa: expected one that this CPU and build support (the best is " +
                        std::string(isa_name(active_isa())) + "), got " + std::string(isa_name(isa)));
  }
#ifdef BERTGEN_WITH_ONEDNN
  if (dnnl::set_max_cpu_isa(onednn_isa(isa)) != dnnl::status::success) {
    throw ArgumentError("isa: expected set_isa() once, before the first model is loaded, got it after");
  }
#endif
  // Highway numbers its targets from the best up: this keeps the wanted one and all below it.
  hwy::SetSupportedTargetsForTest((hwy::SupportedTargets() & ~(entry->highway - 1)) | entry->highway);
  active = static_cast<int>(isa);
}

}  // namespace bertgen
