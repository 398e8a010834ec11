#!/bin/sh
# Cycles that LLVM's machine code analyser predicts for the inner loops of the ARM weight kernels, beside what the core
# could do at best (bench/arm.md explains the columns).
#
# usage: bench/mca.sh BUILD_DIR [PATTERN]     BUILD_DIR: an aarch64 build; PATTERN: extended regular expression on
#                                             "family file function", e.g. 'gemm.*dotprod'
# Needs llvm-mca of LLVM 19 (LLVM_MCA names it) and an objdump for aarch64 (OBJDUMP).
set -eu
build=${1:?usage: bench/mca.sh BUILD_DIR [PATTERN]}
pattern=${2:-.}
mca=${LLVM_MCA:-llvm-mca-19}
if [ -z "${OBJDUMP:-}" ]; then
  OBJDUMP=objdump
  [ "$(uname -m)" = aarch64 ] || OBJDUMP=aarch64-linux-gnu-objdump
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Writes the loop of each function that multiplies most, one file per function, and prints "file function macs insns".
# A multiply-accumulate of 8-bit values counts by what its instruction does (sdot 16, smmla 32, smull and smlal 8);
# in files named *float* an fmla counts four.
loops() {
  "$OBJDUMP" -d --no-show-raw-insn "$1" | awk -v dir="$dir" -v float="$(case $1 in *float*) echo 1 ;; *) echo 0 ;; esac)" '
    function macs(text) {
      if (text ~ /^sdot/) return 16
      if (text ~ /^smmla/) return 32
      if (text ~ /^sm(ull|lal)2?[ \t]+v[0-9]+\.8h/) return 8
      if (float && text ~ /^fmla[ \t]+v[0-9]+\.4s/) return 4
      return 0
    }
    function finish(   i, j, m, best, from, to, inner, starts, n) {
      if (name == "") return
      for (i = 0; i < count; i++) {
        if (!(i in target) || !(target[i] in index_of)) continue
        j = index_of[target[i]]
        if (j > i) continue
        inner = 1
        for (n = j; n < i; n++) if (n in target && target[n] in index_of && index_of[target[n]] >= j && index_of[target[n]] <= n) inner = 0
        if (!inner) continue
        m = 0
        for (n = j; n <= i; n++) m += macs(text_of[n])
        if (m > best) { best = m; from = j; to = i }
      }
      if (best) {
        out = dir "/" name ".s"
        printf "" > out
        for (n = from; n <= to; n++) if (!(n in target) && text_of[n] !~ /^adr/) print text_of[n] > out
        close(out)
        print name, best, to - from + 1
      }
    }
    /^[0-9a-f]+ <.*>:$/ {
      finish()
      name = $2; gsub(/[<>:]/, "", name)
      count = 0; split("", target); split("", index_of); split("", text_of)
      next
    }
    /^ +[0-9a-f]+:/ {
      address = $1; sub(/:/, "", address)
      text = $0; sub(/^ +[0-9a-f]+:[ \t]*/, "", text); sub(/[ \t]*\/\/.*/, "", text)
      index_of[address] = count; text_of[count] = text
      if (text ~ /^(b|b\.[a-z]+|cbn?z|tbn?z)[ \t]/) {
        t = text; sub(/ *<.*/, "", t); sub(/.*[ ,\t]/, "", t)
        target[count] = t
      }
      count++
    }
    END { finish() }'
}

# cycles FILE CPU: of 200 iterations.
cycles() {
  # shellcheck disable=SC2086 # the model is a list of options
  "$mca" -mtriple=aarch64 -mattr=+dotprod,+i8mm $2 -iterations=200 "$1" | awk '/^Total Cycles/ { print $3 / 200 }'
}

# Multiply-accumulates per cycle when nothing else is in the way: a run of independent instructions.
peak() {
  i=0
  while [ $i -lt 28 ]; do
    echo "$2" | sed "s/V/v$i/"
    i=$((i + 1))
  done > "$dir/peak.s"
  cycles "$dir/peak.s" "$1" | awk -v m="$3" '{ printf "%.0f", 28 * m / $1 }'
}

a72='-mcpu=cortex-a72'
a76='-mcpu=neoverse-n1 -dispatch=4'
i8mm='-mcpu=cortex-a710'
peak_a72=$(peak "$a72" 'smull V.8h, v30.8b, v31.8b' 8)
peak_a76=$(peak "$a76" 'sdot V.4s, v30.16b, v31.16b' 16)
peak_i8mm=$(peak "$i8mm" 'smmla V.4s, v30.16b, v31.16b' 32)
peak_f72=$(peak "$a72" 'fmla V.4s, v30.4s, v31.4s' 4)
peak_f76=$(peak "$a76" 'fmla V.4s, v30.4s, v31.4s' 4)

line() { # kernel core model peak macs insns file
  cycles "$7" "$3" | awk -v k="$1" -v core="$2" -v p="$4" -v m="$5" -v n="$6" '
    { printf "%-28s %-11s %9.3f %12.1f %9.1f %6.0f %%\n", k, core, n / m, 1000 * $1 / m, 1000 / p, 100 * m / $1 / p }'
}

printf '%-28s %-11s %9s %12s %9s %8s\n' kernel core insns/MAC cycles/kMAC roofline 'of peak'
for object in "$build"/CMakeFiles/thimble_lib.dir/simd/gem[vm]/gem*_neon.c.o \
  "$build"/CMakeFiles/thimble_lib.dir/simd/gem[vm]/gem*_dotprod.c.o \
  "$build"/CMakeFiles/thimble_lib.dir/simd/gem[vm]/gem*_i8mm.c.o; do
  [ -f "$object" ] || continue
  file=$(basename "$object" .c.o)
  loops "$object" | while read -r name macs insns; do
    case $name in tb_*) kernel=${name#tb_} ;; *) kernel=$file/${name#micro_} ;; esac
    echo "$file $kernel" | grep -Eq "$pattern" || continue
    s=$dir/$name.s
    case $file in
      *float*)
        line "$kernel" cortex-a72 "$a72" "$peak_f72" "$macs" "$insns" "$s"
        line "$kernel" cortex-a76 "$a76" "$peak_f76" "$macs" "$insns" "$s" ;;
      *neon) line "$kernel" cortex-a72 "$a72" "$peak_a72" "$macs" "$insns" "$s" ;;
      *dotprod) line "$kernel" cortex-a76 "$a76" "$peak_a76" "$macs" "$insns" "$s" ;;
      *i8mm) line "$kernel" cortex-a710 "$i8mm" "$peak_i8mm" "$macs" "$insns" "$s" ;;
    esac
  done
done
