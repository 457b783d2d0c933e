#!/bin/sh
# deb.sh BUILD_DIR WORK CPACK VERSION: makes the Debian package, unpacks it and uses what is in it.
set -eu
build=$1 work=$2 cpack=$3 version=$4
rm -rf "$work"
mkdir -p "$work"
"$cpack" -G DEB --config "$build/CPackConfig.cmake" -B "$work"
deb=$(ls "$work"/bertgen_"$version"_*.deb)
dpkg-deb -x "$deb" "$work/root"
dpkg-deb -f "$deb" Depends | grep -q libeigen3-dev
dpkg-deb -f "$deb" Depends | grep -q 'libc6 '
for file in bin/bertgen include/bertgen/bertgen.hpp include/bertgen/bertgen.h share/man/man1/bertgen.1 share/doc/bertgen/NOTICE share/bertgen/fuse-en/model.safetensors \
  share/bertgen/fuse-en/README.md; do
  [ -s "$work/root/usr/$file" ] || { echo "expected $file in the package" >&2; exit 1; }
done
[ -n "$(find "$work/root" -name 'libbertgen.*')" ] && [ -n "$(find "$work/root" -name bertgen-config.cmake)" ]
grep -q 'CC BY-SA 4.0' "$work/root/usr/share/doc/bertgen/NOTICE"
fuse() {
  "$work/root/usr/bin/bertgen" fuse "John lives in Paris. He works for a bank."
}
fuse | grep -q John
# It was the checkpoint beside the program that answered, not the source tree's.
echo broken > "$work/root/usr/share/bertgen/fuse-en/config.json"
! fuse 2>/dev/null
