// Which instruction set the compiled kernels use.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "bertgen/core/export.hpp"

namespace BERTGEN_PUBLIC bertgen {

/// Instruction sets code is chosen for at run time, each containing those before it on its architecture.
enum class Isa : std::uint8_t {
  portable,     ///< plain C++ on any CPU but arm64's; products by Eigen
  neon,         ///< arm64, every CPU of it
  sse4,         ///< x86-64 from here on: SSE4.1
  avx2,         ///< with FMA and F16C
  avx512,       ///< F, BW, CD, DQ, VL
  avx512_vnni,  ///< with int8 dot products
  avx512_bf16,  ///< with bf16 dot products that are faster than f32's, as AMD has
  amx,          ///< with AMX tiles for bf16 and int8
};

/// "portable", "neon", "sse4", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx".
std::string_view isa_name(Isa isa);
/// Throws ArgumentError for an unknown name.
Isa isa_from_name(std::string_view name);

/// What this CPU and this build can use, from the least to the best.
std::vector<Isa> supported_isas();
/// What is used now: the best one, or what set_isa() chose.
Isa active_isa();
/// Caps the kernels and the products at `isa`, for the whole process. To be called once, before the first model is
/// loaded. Throws ArgumentError if the CPU lacks `isa` or if products have run already. Not thread-safe.
void set_isa(Isa isa);

}  // namespace bertgen
