#include "bertgen/core/isa.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "bertgen/core/error.hpp"
#include "bertgen/ops/matmul.hpp"
#include "kernels/kernels.hpp"
#include "support/errors.hpp"
#include "support/numbers.hpp"

namespace bertgen {
namespace {

/// What Highway may call the kernels compiled for an instruction set.
std::set<std::string> highway_names(Isa isa) {
  switch (isa) {
    case Isa::portable:
      return {"EMU128", "SCALAR"};  // the compiler decides which of the two Highway builds
    case Isa::neon:
      return {"NEON"};
    case Isa::sse4:
      return {"SSE4"};
    case Isa::avx2:
      return {"AVX2"};
    default:
      return {"AVX3"};
  }
}

/// What every CPU of the architecture has.
#if defined(__aarch64__)
constexpr Isa least = Isa::neon;
#else
constexpr Isa least = Isa::portable;
#endif

TEST(IsaTest, NamesReadBackAsWhatTheyName) {
  for (Isa isa : supported_isas()) EXPECT_EQ(isa_from_name(isa_name(isa)), isa);
}

TEST(IsaTest, EveryIsaHasAName) {
  constexpr std::pair<Isa, std::string_view> names[] = {{Isa::portable, "portable"},
                                                        {Isa::neon, "neon"},
                                                        {Isa::sse4, "sse4"},
                                                        {Isa::avx2, "avx2"},
                                                        {Isa::avx512, "avx512"},
                                                        {Isa::avx512_vnni, "avx512_vnni"},
                                                        {Isa::avx512_bf16, "avx512_bf16"},
                                                        {Isa::amx, "amx"}};
  for (const auto& [isa, name] : names) EXPECT_EQ(isa_name(isa), name);
}

TEST(IsaTest, UnknownNameListsTheKnownOnes) {
  test::expect_error<ArgumentError>([] { isa_from_name("sse9"); }, {std::string(isa_name(least)), "got \"sse9\""});
  test::expect_error<ArgumentError>([] { isa_from_name(""); }, {"got \"\""});
  test::expect_error<ArgumentError>([] { isa_from_name("PORTABLE"); }, {"got \"PORTABLE\""});
}

TEST(IsaTest, SupportRisesFromTheLeastToTheActiveOne) {
  const std::vector<Isa> isas = supported_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), least);
  EXPECT_EQ(isas.back(), active_isa());
  EXPECT_TRUE(std::is_sorted(isas.begin(), isas.end()));
}

TEST(IsaTest, KernelsRunTheActiveOne) { EXPECT_EQ(highway_names(active_isa()).count(kernels::target_name()), 1u); }

TEST(IsaTest, CannotBeSetToWhatIsNotSupported) {
  const Isa active = active_isa();
  const std::vector<Isa> isas = supported_isas();
  for (Isa isa : {Isa::neon, Isa::sse4, Isa::amx}) {
    if (std::find(isas.begin(), isas.end(), isa) != isas.end()) continue;
    test::expect_error<ArgumentError>([isa] { set_isa(isa); },
                                      {"the best is " + std::string(isa_name(active)), std::string(isa_name(isa))});
  }
  EXPECT_EQ(active_isa(), active);
}

TEST(IsaTest, CannotBeSetAfterTheFirstProduct) {
  if (!matmul_backend_available(MatmulBackend::onednn)) GTEST_SKIP() << "only oneDNN settles its choice";
  const auto weight = test::random_tensor<float>({8, 8}, 1);
  const PackedMatrix<float> packed({test::stored(weight)}, {}, {MatmulBackend::onednn});
  Workspace workspace;
  Tensor<float> y({1, 8});
  packed.multiply(weight.view().middle_rows(0, 1), y, workspace);
  const Isa active = active_isa();
  test::expect_error<ArgumentError>([] { set_isa(least); }, {"before the first model", "after"});
  EXPECT_EQ(active_isa(), active);
  EXPECT_EQ(highway_names(active).count(kernels::target_name()), 1u);
}

}  // namespace
}  // namespace bertgen
