// GoogleTest's main, with --isa=NAME: runs the tests capped at one instruction set, and fails unless it is in force.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <string_view>

#include "bertgen/core/error.hpp"
#include "bertgen/core/isa.hpp"

namespace {

constexpr int skipped = 77;  // what CMakeLists.txt tells ctest to read as "skipped"

bool known(std::string_view name) {
  try {
    bertgen::isa_from_name(name);
    return true;
  } catch (const bertgen::ArgumentError&) {
    return false;  // another architecture's
  }
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  constexpr std::string_view flag = "--isa=";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.substr(0, flag.size()) != flag) continue;
    const std::string_view name = argument.substr(flag.size());
    const auto supported = bertgen::supported_isas();
    if (!known(name) ||
        std::find(supported.begin(), supported.end(), bertgen::isa_from_name(name)) == supported.end()) {
      std::cout << "skipped: this CPU has no " << name << "\n";
      return skipped;
    }
    bertgen::set_isa(bertgen::isa_from_name(name));
    if (bertgen::isa_name(bertgen::active_isa()) != name) {
      std::cerr << "asked for " << name << ", running " << bertgen::isa_name(bertgen::active_isa()) << "\n";
      return 1;
    }
  }
  return RUN_ALL_TESTS();
}
