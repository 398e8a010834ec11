#!/bin/sh
# Branch coverage of src/io, the files that read untrusted input, by the tests that reach them (clang and its llvm-cov).
#   sh tests/coverage.sh [LEAST]      fails when less than LEAST percent (90) of the branches are taken
# The lines that are not covered: build/coverage/src_io.txt
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/coverage
least=${1:-90}
tests='outfile spillfile session_file gguf gguf_files gguf_hostile synth inspect tokenizer tokenizer_hostile pretokenize template template_torture
template_oracle model_hostile models_torture models_session faults faults_kinds crash plan plan_file
fuzz_gguf fuzz_vocab fuzz_tokenise fuzz_detokenise fuzz_template fuzz_session fuzz_hparams fuzz_cli'
tool() { # llvm-cov, or the versioned name that Debian gives it
  command -v "$1" || for n in 19 18 17 16 15 14; do command -v "$1-$n" && return; done
}
cov=$(tool llvm-cov | head -n 1) profdata=$(tool llvm-profdata | head -n 1)
[ -n "$cov$profdata" ] || { echo "coverage.sh: llvm-cov is missing (Debian: clang llvm)" >&2; exit 2; }
mkdir -p "$build" && rm -rf "$build/raw" || exit 2
cmake -S "$root" --preset coverage >"$build/configure.log" 2>&1 || { tail -n 20 "$build/configure.log" >&2; exit 2; }
# Tests have the names of their programs, but for those that run other programs.
targets=$(echo "$tests" | tr ' ' '\n' | sed 's/^template_oracle$/template_render/')
# shellcheck disable=SC2086  # words
cmake --build "$build" --target $targets >"$build/build.log" 2>&1 || { tail -n 20 "$build/build.log" >&2; exit 2; }
status=0
: >"$build/test.log"
for name in $tests; do # each to a file of its own: programs whose functions differ cannot be merged while they run
  LLVM_PROFILE_FILE=$build/raw/$name.%m.profraw \
    ctest --test-dir "$build" -R "^$name\$" --output-on-failure --no-tests=error >>"$build/test.log" 2>&1 || {
    echo "$name failed; see $build/test.log"
    status=1
  }
done
"$profdata" merge -o "$build/all.profdata" "$build"/raw/*.profraw || exit 2
set --
for program in "$build"/tests/* "$build"/tests/*/*; do
  [ -f "$program" ] && [ -x "$program" ] && set -- "$@" ${1:+-object} "$program"
done
"$cov" report "$@" -instr-profile="$build/all.profdata" --show-branch-summary --show-region-summary=false "$root/src/io" |
  sed "s|$root/||" >"$build/report.txt"
"$cov" show "$@" -instr-profile="$build/all.profdata" --show-branches=count >"$build/src_io.txt"
cat "$build/report.txt"
taken=$(awk '/^TOTAL/ { sub("%", "", $NF); print $NF }' "$build/report.txt")
echo "branches of src/io taken: $taken %, at least $least wanted"
[ "$status" -eq 0 ] && awk -v a="$taken" -v b="$least" 'BEGIN { exit !(a + 0 >= b + 0) }'
