#!/bin/sh
# Instructions per multiply-accumulate of the ARM weight kernels, counted one by one under qemu, beside a peer's for the
# same formats (bench/arm.md).
#
# usage: bench/insns.sh BUILD_DIR [LLAMA_DIR]     BUILD_DIR: an aarch64 build; LLAMA_DIR: a checkout of llama.cpp, of
#                                                 which three files are compiled into a temporary folder
# COLUMNS (64) is the number of columns of gemm. CC and CXX name the cross compilers.
set -eu
build=${1:?usage: bench/insns.sh BUILD_DIR [LLAMA_DIR]}
peer=${2:-}
root=$(cd "$(dirname "$0")/.." && pwd)
columns=${COLUMNS:-64}
cc=${CC:-aarch64-linux-gnu-gcc}
cxx=${CXX:-aarch64-linux-gnu-g++}
qemu=${QEMU:-qemu-aarch64-static}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
formats='q8_0 q4_0 q4_1 q5_0 q5_1 iq4_nl q2_k q3_k q4_k q5_k q6_k iq4_xs'

# One program per tier: the peer chooses its instructions when it is compiled.
program() { # tier march
  objects=
  if [ -n "$peer" ]; then
    ggml=$peer/ggml
    flags="-O3 -DNDEBUG -D_GNU_SOURCE -march=$2 -I$ggml/include -I$ggml/src -I$ggml/src/ggml-cpu"
    # shellcheck disable=SC2086 # flags is a list
    {
      "$cc" $flags -w -c "$ggml/src/ggml-cpu/arch/arm/quants.c" -o "$dir/quants.o"
      "$cxx" $flags -w -std=c++17 -c "$ggml/src/ggml-cpu/arch/arm/repack.cpp" -o "$dir/repack.o"
      "$cxx" $flags -w -std=c++17 -c "$ggml/src/ggml-cpu/vec.cpp" -o "$dir/vec.o"
    }
    objects="-DWITH_PEER $dir/quants.o $dir/repack.o $dir/vec.o"
  fi
  # Functions of the peer that no counted kernel calls stay undefined.
  # shellcheck disable=SC2086
  "$cc" -O2 -std=c11 -I"$root" "$root/bench/insns.c" $objects "$build/libthimble.a" -static -fopenmp -lm \
    -Wl,--unresolved-symbols=ignore-all -o "$dir/$1" 2> "$dir/log" || { cat "$dir/log"; exit 1; }
}

executed() { # tier model kind format calls columns
  QEMU_CPU=$2 "$qemu" -singlestep -d nochain,exec "$dir/$1" "$3" "$4" "$1" "$5" "$6" 2>&1 > /dev/null | wc -l
}

# The difference between two calls and one, per multiply-accumulate; "-" where there is no such kernel.
per_mac() { # tier model kind format columns
  if ! QEMU_CPU=$2 "$qemu" "$dir/$1" "$3" "$4" "$1" 1 "$5" 2> /dev/null; then
    echo -
    return
  fi
  one=$(executed "$1" "$2" "$3" "$4" 1 "$5")
  two=$(executed "$1" "$2" "$3" "$4" 2 "$5")
  awk -v n="$((two - one))" -v c="$5" 'BEGIN { printf "%.3f\n", n / (1024 * 64 * c) }'
}

table() { # tier model formats
  for format in $3; do
    printf '%-8s %-7s %8s %9s %14s %8s %14s\n' "$1" "$format" "$(per_mac "$1" "$2" gemv "$format" 1)" \
      "$(per_mac "$1" "$2" dot "$format" 1)" "$(per_mac "$1" "$2" repacked-gemv "$format" 1)" \
      "$(per_mac "$1" "$2" gemm "$format" "$columns")" "$(per_mac "$1" "$2" repacked-gemm "$format" "$columns")"
  done
}

program neon armv8-a
program dotprod armv8.2-a+dotprod+fp16
program i8mm armv8.2-a+dotprod+fp16+i8mm
printf '%-8s %-7s %8s %9s %14s %8s %14s\n' tier format gemv 'peer dot' 'peer repacked' gemm 'peer repacked'
table neon cortex-a72 "f32 f16 bf16 $formats"
table dotprod cortex-a76 "$formats"
table i8mm max,sve=off 'q8_0 q4_0 q4_k q5_k q6_k'
