#!/bin/sh
# Runs fuzz targets with libFuzzer (clang), one after the other.
#   sh tests/fuzz/run.sh SECONDS TARGET...      (TARGET: gguf, template, session …; "all": every one)
# SECONDS of processor time, so that a busy machine searches as much as an idle one. New inputs are kept in
# build/fuzz/corpus/TARGET and used again by the next run; a finding in build/fuzz/found, which ends with status 1. The
# last line of each target: executions, the processor seconds it really had, inputs kept. FUZZ_OPTIONS: more options for
# libFuzzer. Its time-out counts by the clock: short ones are findings of a busy machine.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build/fuzz
[ $# -ge 2 ] || { sed -n '3,8s/^# \{0,1\}//p' "$0"; exit 2; }
seconds=$1
shift
[ "$1" != all ] || {
  set --
  for file in "$root"/tests/fuzz/fuzz_*.c; do
    name=${file##*/fuzz_}
    set -- "$@" "${name%.c}"
  done
}
command -v clang >/dev/null || { echo "run.sh: clang is missing (Debian: clang)" >&2; exit 2; }
mkdir -p "$build/found"
cmake -S "$root" --preset fuzz >"$build/configure.log" 2>&1 || { tail -n 20 "$build/configure.log" >&2; exit 2; }
processor_seconds() { # of process $1, user and system; fails when it has ended
  awk -v hz="$(getconf CLK_TCK)" '$3 == "Z" { exit 1 } { print int(($14 + $15) / hz) }' "/proc/$1/stat" 2>/dev/null
}
trap '[ -z "${pid:-}" ] || kill $pid 2>/dev/null; exit 130' INT TERM
status=0
for target in "$@"; do
  [ -f "$root/tests/fuzz/fuzz_$target.c" ] || { echo "run.sh: no target '$target'" >&2; exit 2; }
  cmake --build "$build" --target "fuzz_$target" >"$build/build.log" 2>&1 || { tail -n 20 "$build/build.log" >&2; exit 2; }
  mkdir -p "$build/corpus/$target"
  words=''
  [ ! -f "$root/tests/fuzz/$target.dict" ] || words=-dict=$root/tests/fuzz/$target.dict
  log=$build/found/$target.log
  # shellcheck disable=SC2086  # empty, or words
  "$build/tests/fuzz/fuzz_$target" -timeout=240 -rss_limit_mb=4096 -max_len=16384 -print_final_stats=1 \
    -close_fd_mask=3 -artifact_prefix="$build/found/$target-" $words ${FUZZ_OPTIONS:-} \
    "$build/corpus/$target" "$root/tests/fuzz/corpus/$target" >"$log" 2>&1 &
  pid=$!
  used=0
  while now=$(processor_seconds $pid); do
    used=$now
    [ "$used" -lt "$seconds" ] || break
    rest=$(((seconds - used) / 8 + 1))
    sleep $((rest < 15 ? rest : 15))
  done
  kill -USR1 $pid 2>/dev/null # "finish as requested", status 0
  wait $pid
  code=$?
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
  kept=$(find "$build/corpus/$target" -type f | wc -l)
  if [ "$code" -eq 0 ]; then
    echo "$target: $runs executions in $used s, no findings, $kept inputs"
  else
    echo "$target: a finding after ${runs:-some} executions in $used s; see $log"
    grep -m 3 -E 'ERROR:|broken:|runtime error:|SUMMARY:' "$log"
    status=1
  fi
done
exit "$status"
