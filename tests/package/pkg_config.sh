#!/bin/sh
# pkg_config.sh CXX PREFIX BUILD_DIR CHECK…: builds the consumer with what pkg-config says of the library in PREFIX, then runs the check.
set -eu
compiler=$1 prefix=$2 build=$3
shift 3
pc=$(find "$prefix" -name bertgen.pc)
mkdir -p "$build"
flags=$(PKG_CONFIG_PATH=$(dirname "$pc") pkg-config --cflags --libs bertgen)
"$compiler" -std=c++20 -O1 -o "$build/consumer" "$(dirname "$0")/consumer.cpp" $flags -Wl,-rpath,"$(dirname "$pc")/.."
"$@"
