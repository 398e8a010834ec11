#!/bin/sh
# The launcher on a small project of its own, in a folder with a space in its name, with stand-ins for the tools of the
# system where a case needs another one. usage: launcher_test.sh LAUNCHER
set -u
launcher=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unset THIMBLE_CMAKE_ARGS TERMUX_VERSION CC 2>/dev/null
# The tools of this system before any stand-in is put in front of them.
real_path=$PATH
top="$scratch/a folder"
out=$scratch/out err=$scratch/err
failures=0

fail() {
  echo "FAILED: $name: $*"
  sed 's/^/  out: /' "$out"
  sed 's/^/  err: /' "$err"
  failures=$((failures + 1))
}
# start <command...>: runs it, keeps what it prints and its status.
start() { "$@" >"$out" 2>"$err" </dev/null; status=$?; }
expect_status() { [ "$status" -eq "$1" ] || fail "status $status, expected $1"; }
expect_out() { [ "$(cat "$out")" = "$1" ] || fail "printed '$(cat "$out")', expected '$1'"; }
expect_err() { grep -q -e "$1" "$err" || fail "no '$1' in the messages"; }
expect_no_err() { ! grep -q -e "$1" "$err" || fail "'$1' in the messages"; }
case_of() { name=$1; PATH=$real_path; rm -rf "${scratch:?}/bin"; mkdir "$scratch/bin"; echo "- $name"; }
# stand_in <tool> <shell text>: puts a tool of that name in front of the real ones.
stand_in() {
  printf '#!/bin/sh\n%s\n' "$2" >"$scratch/bin/$1"
  chmod +x "$scratch/bin/$1"
  PATH=$scratch/bin:$real_path
}

mkdir -p "$top/src"
cp "$launcher" "$top/thimble"
cat >"$top/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.22)
project(small C)
option(TB_TESTS "" ON)
add_executable(thimble src/main.c)
set_target_properties(thimble PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
if(TB_TESTS)
  if(NOT EXISTS ${CMAKE_SOURCE_DIR}/cmocka)
    message(FATAL_ERROR "no cmocka")
  endif()
  enable_testing()
  add_test(NAME small COMMAND thimble small)
endif()
END
program() {
  cat >"$top/src/main.c" <<END
#include <stdio.h>
int main(int argc, char **argv) {
  printf("$1");
  for (int i = 1; i < argc; i++) printf(" <%s>", argv[i]);
  return argc == 3 ? 7 : 0;
}
END
}
program one
# All it needs is here, as far as the launcher can see.
present() { stand_in pkg-config 'exit 0'; stand_in apt-get 'echo "apt-get was called" >&2; exit 1'; }

case_of "help builds nothing"
start "$top/thimble" --help
expect_status 0
grep -q 'thimble test' "$out" || fail "no help"
[ ! -e "$top/build" ] || fail "something was built"

case_of "first start builds and passes arguments and status on"
present
start "$top/thimble" run "two words" ""
expect_status 0
expect_out 'one <run> <two words> <>'
expect_err building
expect_no_err apt-get
start "$top/thimble" run x
expect_status 7

case_of "second start builds nothing, needs no tools, and is quick"
for tool in cmake ninja make cc gcc apt-get sudo pkg-config dpkg; do
  stand_in "$tool" "echo $tool was called >&2; exit 1"
done
before=$(date +%s%N)
start "$top/thimble" run
took=$((($(date +%s%N) - before) / 1000000))
expect_out 'one <run>'
[ ! -s "$err" ] || fail "it said something"
[ "$took" -lt 1000 ] || fail "it took $took ms"

case_of "a changed source is built"
present
sleep 0.02
program two
start "$top/thimble" run
expect_out 'two <run>'

case_of "a broken source: the end of the log, its path, failure; then mended"
present
echo 'int broken(' >>"$top/src/main.c"
start "$top/thimble" run
expect_status 1
expect_out ''
expect_err 'error'
expect_err 'build/release/build.log'
program three
start "$top/thimble" run
expect_out 'three <run>'

case_of "through links, from another folder, with relative arguments"
ln -s "a folder/thimble" "$scratch/link"
ln -s "$scratch/link" "$scratch/absolute"
(cd "$scratch" && start ./link run ./file && expect_out 'three <run> <./file>' && [ "$failures" -eq 0 ]) || failures=1
start "$scratch/absolute" run
expect_out 'three <run>'
(cd "$top" && start sh thimble run && expect_out 'three <run>' && [ "$failures" -eq 0 ]) || failures=1
mkdir "$scratch/path" && ln -s "$top/thimble" "$scratch/path/thimble"
PATH=$scratch/path:$real_path start thimble run
expect_out 'three <run>'

case_of "a copy of the tree is configured anew"
present
cp -rp "$top" "$scratch/copy"
start "$scratch/copy/thimble" run
expect_out 'three <run>'
expect_err building
grep -q "CMAKE_HOME_DIRECTORY:INTERNAL=$scratch/copy\$" "$scratch/copy/build/release/CMakeCache.txt" || fail "old cache"

case_of "a cut-off configuration and a stopped build are taken up again"
present
rm -rf "$scratch/copy/build/release/CMakeFiles" "$scratch/copy/build/release/.fresh"
head -c 300 "$top/build/release/CMakeCache.txt" >"$scratch/copy/build/release/CMakeCache.txt"
start "$scratch/copy/thimble" run
expect_out 'three <run>'
rm -f "$scratch/copy/build/release/.fresh"
find "$scratch/copy/build/release" -name '*.o' -delete
start "$scratch/copy/thimble" run
expect_out 'three <run>'

case_of "an interrupted build says so and goes on at the next start"
present
rm -rf "$scratch/copy/build"
# shellcheck disable=SC2016  # the stand-in's own variables
stand_in cmake 'case $1 in --version) echo cmake version 3.25.1 ;; *) kill -INT "$PPID"; exit 130 ;; esac'
start env --default-signal=INT "$scratch/copy/thimble" run
expect_status 130
expect_err interrupted
rm "$scratch/bin/cmake"
start "$scratch/copy/thimble" run
expect_out 'three <run>'

case_of "two starts at once do not build in each other's way"
present
rm -rf "$scratch/copy/build"
"$scratch/copy/thimble" run >"$scratch/first" 2>/dev/null </dev/null &
start "$scratch/copy/thimble" run
wait $!
expect_out 'three <run>'
[ "$(cat "$scratch/first")" = 'three <run>' ] || fail "the other start: $(cat "$scratch/first")"

case_of "32-bit and foreign systems are refused before anything is installed"
rm -rf "$scratch/copy/build"
present
stand_in getconf 'echo 32'
start "$scratch/copy/thimble" run
expect_status 1
expect_err 'this system is 32-bit'
rm "$scratch/bin/getconf"
for machine in armv7l i686 riscv64 ppc64le; do
  stand_in uname "[ \"\${1:-}\" = -s ] && echo Linux || echo $machine"
  start "$scratch/copy/thimble" run
  expect_status 1
  expect_err 'thimble \(maps\|runs\)\|this system is 32-bit'
  expect_no_err 'apt-get was called'
done
stand_in uname "echo Darwin"
start "$scratch/copy/thimble" run
expect_status 1
expect_err 'runs on Linux'

case_of "what is missing is installed as root, the line printed, the lists fetched when that helps"
rm -rf "$scratch/copy/build"
stand_in pkg-config "[ -e '$scratch/installed' ]"
stand_in id 'echo 1000'
stand_in sudo '"$@"'
stand_in dpkg 'exit 0'
stand_in apt-get "case \$1 in
  update) touch '$scratch/updated' ;;
  *) [ -e '$scratch/updated' ] && touch '$scratch/installed' ;;
esac"
start "$scratch/copy/thimble" run
expect_status 0
expect_out 'three <run>'
expect_err '^+ sudo env DEBIAN_FRONTEND=noninteractive apt-get .* install -y --no-install-recommends .*libsleef-dev'
expect_err '^+ sudo apt-get update$'
[ "$(grep -c 'apt-get .* install' "$err")" -eq 2 ] || fail "not tried twice"
rm -rf "$scratch/copy/build" "$scratch/installed"
stand_in id 'echo 0'
start "$scratch/copy/thimble" run
expect_no_err sudo
expect_err '^+ env DEBIAN_FRONTEND'

case_of "without root, optional libraries are done without and others named"
rm -rf "$scratch/copy/build" "$scratch/installed"
stand_in pkg-config 'exit 1'
stand_in id 'echo 1000'
stand_in sudo 'exit 1'
stand_in dpkg 'exit 0'
stand_in apt-get 'exit 1'
start "$scratch/copy/thimble" run
expect_out 'three <run>'
expect_err 'going on without'
start "$scratch/copy/thimble" test
expect_status 1
expect_err 'missing: libcmocka-dev'
stand_in cmake 'echo cmake version 3.18.4'
rm -rf "$scratch/copy/build"
start "$scratch/copy/thimble" run
expect_status 1
expect_err 'this one is 3.18'

case_of "the test verb runs the tests and hands options to ctest"
present
touch "$top/cmocka"
start "$top/thimble" test
expect_status 0
grep -q '100% tests passed, 0 tests failed out of 1' "$out" || fail "no totals"
start "$top/thimble" test -R nothing-of-this-name
[ "$status" -ne 0 ] || fail "no tests, but success"

case_of "a tree with tests is of use when the test library is gone, and a configuration that failed is no tree"
rm "$top/cmocka"
# shellcheck disable=SC2016
stand_in pkg-config '[ "$2" != cmocka ]'
sleep 0.02
program four
start "$top/thimble" run
expect_out 'four <run>'
rm -rf "$top/build"
cmake -S "$top" -B "$top/build/release" >/dev/null 2>&1 && fail "configured without cmocka"
start "$top/thimble" run
expect_out 'four <run>'

echo "$failures failures"
[ "$failures" -eq 0 ]
