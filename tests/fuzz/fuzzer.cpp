// The fuzzer of the reader BERTGEN_FUZZ_READER.
#include <cstddef>
#include <cstdint>

#include "fuzz/readers.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bertgen::fuzz::Reader reader = bertgen::fuzz::readers().at(BERTGEN_FUZZ_READER);
  reader({reinterpret_cast<const char*>(data), size});
  return 0;
}
