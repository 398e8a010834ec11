#!/bin/sh
# Fetches a C library for static 64-bit ARM programs (musl, from Debian's or Ubuntu's own packages) and unpacks it into
# DIR, for toolchains/aarch64-musl.cmake. Installs nothing; needs apt with the arm64 architecture added
# (dpkg --add-architecture arm64) and up-to-date lists.
#
# usage: toolchains/musl-sysroot.sh DIR
set -eu
dir=${1:?usage: toolchains/musl-sysroot.sh DIR}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
cd "$dir"
apt-get download musl:arm64 musl-dev:arm64 >&2 # which talks on the standard output
for package in musl_*.deb musl-dev_*.deb; do
  dpkg -x "$package" .
  rm "$package"
done
# The package's file tells gcc where the library is once it is installed; ours says where it was unpacked.
sed "s|/usr/|$dir/usr/|g" usr/lib/aarch64-linux-musl/musl-gcc.specs > musl-gcc.specs
echo "$dir"
