#!/bin/sh
# Runs the tests of a built tree under every instruction tier: forced one by one on this CPU, and emulated.
#   sh tests/run_all.sh <source folder> <jobs> [options for ctest]        (./thimble test --all builds and calls it)
#
# Nothing is skipped silently: the tiers of this CPU, read from /proc/cpuinfo and not by our own detection, are required
# by name (TB_REQUIRE_ISA, TB_EXPECT_ISA), every skipped test is listed, and a run without tests fails. Tests that know
# nothing of tiers carry the label "once" and run in the first round only.
#
# The last line is "N passed, N failed"; the exit status is 0 when nothing failed.
set -u
root=$1 jobs=$2
shift 2
native=$root/build/release
logs=$root/build/rounds
mkdir -p "$logs" && rm -f "$logs"/* || exit 1
# Tests side by side: who waits for a thread of its own must not keep it from running.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
passed=0 failed=0 summary=''

# round <name> <build folder> <environment> [ctest options]
round() {
  name=$1 tree=$2 settings=$3
  shift 3
  log=$logs/$name.log
  echo
  echo "=== $name${settings:+ ($settings)}"
  # shellcheck disable=SC2086  # settings is a list of NAME=value
  {
    env $settings ctest --test-dir "$tree" --output-on-failure --no-tests=error --timeout 900 \
      --parallel "$jobs" "$@" 2>&1
    echo "status $?" >"$log.status"
  } | tee "$log"
  n_failed=$(sed -n 's/^.*tests passed, \([0-9]*\) tests failed out of [0-9]*$/\1/p' "$log")
  n_all=$(sed -n 's/^.*tests failed out of \([0-9]*\)$/\1/p' "$log")
  n_skipped=$(grep -c '\*\*\*Skipped\|\*\*\*Not Run (Disabled)' "$log")
  if [ -z "$n_all" ]; then
    n_all=1 n_failed=1 # ctest itself failed: no tests, no build folder
  elif [ "$n_failed" -eq 0 ] && ! grep -qx 'status 0' "$log.status"; then
    n_failed=1
  fi
  passed=$((passed + n_all - n_failed - n_skipped))
  failed=$((failed + n_failed))
  summary="$summary$(printf '%-22s %4d passed %4d failed' "$name" $((n_all - n_failed - n_skipped)) "$n_failed")
"
  list_skipped "$tree" "$log" >>"$logs/skipped"
}

# Whole tests that ctest calls skipped, and single cases that cmocka does. Kernel rows of tiers that the round is not
# about are no skips: check.h fails when a required one is left out.
list_skipped() {
  sed -n 's/^.*Test *#[0-9]*: \([^ ]*\) \.*\*\*\*\(Skipped\|Not Run\).*/'"$name"': \1/p' "$2"
  awk -v round="$name" '
    /^[0-9]+\/[0-9]+ Test: / { test = $3 }
    /^\[  SKIPPED \] [^ ]+$/ {
      if ($4 !~ /\/(avx2|avxvnni|avx512|avx512bf16|neon|dotprod|i8mm)$/ && !seen[test, $4]++) print round ": " test ": " $4
    }' "$1/Testing/Temporary/LastTest.log"
}

has() { grep -m1 -E '^(flags|Features)' /proc/cpuinfo | grep -qw "$1"; }
all_of() { for flag in "$@"; do has "$flag" || return 1; done; }

# Tiers of this CPU, lowest first (toolchains/cmake/Isa.cmake).
tiers=''
case $(uname -m) in
  x86_64 | amd64)
    tiers='avx2' # without AVX2 there is nothing to test here: let it fail
    all_of avx_vnni && tiers="$tiers avxvnni"
    all_of avx512f avx512bw avx512vl avx512dq avx512_vnni && {
      tiers="$tiers avx512"
      all_of avx512_bf16 && tiers="$tiers avx512bf16"
    } ;;
  aarch64 | arm64)
    tiers='neon'
    all_of asimddp && tiers="$tiers dotprod"
    all_of asimddp i8mm && tiers="$tiers i8mm" ;;
esac
required=$(echo "$tiers" | tr ' ' ',')

# The first round checks every kernel row of these tiers and runs everything else on the best one, which is chosen without
# being told; the forced ones run all that chooses kernels by tier on the others. What starts the program again and again
# (minutes each) chooses them in the same place as what calls the library.
best=${tiers##* }
program='cli$|eval$|bench$'
round native "$native" "TB_EXPECT_ISA=$best TB_REQUIRE_ISA=$required" "$@"
for tier in ref ${tiers%"$best"}; do
  short=''
  [ "$tier" != ref ] || short=' TB_TEST_SHORT=1' # written to be read, not to be fast
  round "native-$tier" "$native" "TB_ISA=$tier TB_REQUIRE_ISA=$tier$short" -LE once -E "^(kernels_|$program)" "$@"
done
case $(uname -m) in
  x86_64 | amd64)
    # The emulator has AVX2 and nothing above it: an instruction that leaked from a higher tier kills the test. Not so
    # for kernels_*: qemu 7.2 lets the masked-out lanes of AVX2's masked stores fault at the guard pages of these tests.
    # Their instructions are held against the tiers by lint_objects, their results by the first round. models_logits has
    # no guard pages, but the same emulator computes other products for Q4_K_M in batches than any real CPU does.
    # cache_conformance takes six minutes there and seconds with the same kernels in the forced round.
    round emulated-x86-avx2 "$native" \
      "TB_UNDER=qemu-x86_64-static QEMU_CPU=max TB_EXPECT_ISA=avx2 TB_REQUIRE_ISA=avx2" \
      -LE once -E "^(kernels_|models_logits$|cache_conformance$|$program)" "$@"
    arm=$root/build/aarch64 ;;
  *) arm=$native ;;
esac
for model in cortex-a72=neon cortex-a76=dotprod max=i8mm; do
  cpu=${model%=*} best=${model#*=}
  case $best in
    neon) required=neon ;;
    dotprod) required=neon,dotprod ;;
    i8mm) required=neon,dotprod,i8mm ;;
  esac
  settings="QEMU_CPU=$cpu TB_EXPECT_ISA=$best TB_REQUIRE_ISA=$required"
  # Minutes each, and no kernel that kernels_* and models_* do not run: in the first of these rounds only, eval natively.
  again='^(cli|eval|bench|lowrank|models_calibrate|cache_conformance)$'
  [ "$best" != neon ] || again='^eval$'
  [ "$arm" != "$native" ] || settings="TB_UNDER=qemu-aarch64-static $settings"
  round "emulated-$cpu" "$arm" "$settings" -LE once -E "$again" "$@"
done

echo
echo "=== all rounds; the logs are in $logs"
printf '%s' "$summary"
if [ -s "$logs/skipped" ]; then
  echo "skipped $(wc -l <"$logs/skipped") times:"
  sed 's/^/  /' "$logs/skipped"
else
  echo "skipped: none"
fi
echo "left out by design: tests labelled once; kernels_*, cli, eval, bench with a forced tier or the x86 emulator," \
  "models_logits, cache_conformance there; eval on emulated ARM, cli, bench, lowrank, models_calibrate, cache_conformance on" \
  "the second and third of them"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
