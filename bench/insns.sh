#!/bin/sh
# Instructions per multiply-accumulate of the ARM weight kernels, counted one by one under qemu (bench/arm.md).
#
# usage: bench/insns.sh BUILD_DIR     an aarch64 build
# COLUMNS (64) is the number of columns of gemm, VALUES (1024) that of values per row. CC names the cross compiler.
set -eu
build=${1:?usage: bench/insns.sh BUILD_DIR}
root=$(cd "$(dirname "$0")/.." && pwd)
columns=${COLUMNS:-64}
values=${VALUES:-1024}
cc=${CC:-aarch64-linux-gnu-gcc}
qemu=${QEMU:-qemu-aarch64-static}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
formats='q8_0 q4_0 q4_1 q5_0 q5_1 iq4_nl q2_k q3_k q4_k q5_k q6_k iq4_xs'

"$cc" -O2 -std=c11 -DVALUES="$values" -I"$root" "$root/bench/insns.c" "$build/libthimble.a" -static -pthread -lm -o "$dir/insns"

executed() { # tier model kind format calls columns
  QEMU_CPU=$2 "$qemu" -singlestep -d nochain,exec "$dir/insns" "$3" "$4" "$1" "$5" "$6" 2>&1 > /dev/null | wc -l
}

# The difference between two calls and one, per multiply-accumulate; "-" where there is no such kernel.
per_mac() { # tier model kind format columns
  if ! QEMU_CPU=$2 "$qemu" "$dir/insns" "$3" "$4" "$1" 1 "$5" 2> /dev/null; then
    echo -
    return
  fi
  one=$(executed "$1" "$2" "$3" "$4" 1 "$5")
  two=$(executed "$1" "$2" "$3" "$4" 2 "$5")
  awk -v n="$((two - one))" -v c="$5" -v k="$values" 'BEGIN { printf "%.3f\n", n / (k * 64 * c) }'
}

table() { # tier model formats
  for format in $3; do
    printf '%-8s %-7s %8s %8s\n' "$1" "$format" "$(per_mac "$1" "$2" gemv "$format" 1)" "$(per_mac "$1" "$2" gemm "$format" "$columns")"
  done
}

printf '%-8s %-7s %8s %8s\n' tier format gemv gemm
table neon cortex-a72 "f32 f16 bf16 $formats"
table dotprod cortex-a76 "$formats"
table i8mm max,sve=off 'q8_0 q4_0 q4_k q5_k q6_k'
