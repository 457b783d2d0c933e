# Cross-compiles for 64-bit arm with Debian's g++, on what tools/setup-arm64 unpacked, and runs what was built with qemu:
#   cmake -S . -B build/arm64 --toolchain cmake/arm64.cmake -DBERTGEN_ARM64_ROOT=build/arm64-root …
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64;-L;/usr/aarch64-linux-gnu)

# The try-compile projects of find_package read this file again.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES BERTGEN_ARM64_ROOT)
get_filename_component(BERTGEN_ARM64_ROOT "${BERTGEN_ARM64_ROOT}" ABSOLUTE BASE_DIR "${CMAKE_SOURCE_DIR}")
set(CMAKE_FIND_ROOT_PATH ${BERTGEN_ARM64_ROOT} /usr/aarch64-linux-gnu)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${BERTGEN_ARM64_ROOT})
set(ENV{PKG_CONFIG_LIBDIR}
    ${BERTGEN_ARM64_ROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${BERTGEN_ARM64_ROOT}/usr/share/pkgconfig)
