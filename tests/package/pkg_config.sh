#!/bin/sh
# pkg_config.sh CXX PREFIX BUILD_DIR CHECK…: builds the consumer and docs/c.md's program with what
# pkg-config says of the library in PREFIX, runs that program and then the check.
set -eu
compiler=$1 prefix=$2 build=$3
shift 3
pc=$(find "$prefix" -name bertgen.pc)
mkdir -p "$build"
flags=$(PKG_CONFIG_PATH=$(dirname "$pc") pkg-config --cflags --libs bertgen)
"$compiler" -std=c++20 -O1 -o "$build/consumer" "$(dirname "$0")/consumer.cpp" $flags -Wl,-rpath,"$(dirname "$pc")/.."
examples=$(dirname "$0")/../../examples
cc -std=c99 -o "$build/c_interface" "$examples/c_interface.c" $flags -Wl,-rpath,"$(dirname "$pc")/.."
"$build/c_interface" "$examples/fuse-en" | grep -q '^John lives in Paris'
"$@"
