#!/bin/sh
# Makes the .deb and the tarball of a built tree, installs the one with dpkg into a root of its own, unpacks the other,
# and asks the program of each a question that only its own bundled model can answer. 77: there is no dpkg here.
#
# usage: packages.sh BUILD_DIR ARCHITECTURE [EMULATOR...]     ARCHITECTURE: Debian's name for it
set -eu
build=$1 architecture=$2
shift 2
for tool in dpkg cpack; do command -v $tool >/dev/null || { echo "no $tool"; exit 77; }; done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "$*"; cat "$dir/log"; exit 1; }

cpack --config "$build/CPackConfig.cmake" -G 'DEB;TGZ' -B "$dir/out" > "$dir/log" 2>&1 || fail "cpack failed"
deb=$(echo "$dir"/out/*.deb) tarball=$(echo "$dir"/out/*.tar.gz)

[ "$(dpkg-deb -f "$deb" Architecture)" = "$architecture" ] || fail "the package is for $(dpkg-deb -f "$deb" Architecture)"
if command -v dpkg-shlibdeps >/dev/null; then
  dpkg-deb -f "$deb" Depends | grep -q libc6 || fail "no dependency on the C library: $(dpkg-deb -f "$deb" Depends)"
fi

# The libraries stay those of this system: dpkg is only told not to look for them in the new root.
mkdir -p "$dir/root/var/lib/dpkg/info" "$dir/root/var/lib/dpkg/updates"
: > "$dir/root/var/lib/dpkg/status"
dpkg --root="$dir/root" --force-architecture --force-depends --force-not-root --no-triggers -i "$deb" > "$dir/log" 2>&1 ||
  fail "dpkg could not install it"
dpkg --root="$dir/root" -s thimble | grep -q '^Status: install ok installed' || fail "dpkg does not call it installed"
mkdir "$dir/tar" && tar -xzf "$tarball" -C "$dir/tar"

for prefix in "$dir/root/usr" "$dir"/tar/*; do
  answer=$("$@" "$prefix/bin/thimble" run -q --temp 0 -p 'What is the capital of France?' 2>"$dir/log") || fail "$prefix: it does not run"
  [ "$answer" = 'The capital of France is Paris.' ] || fail "$prefix: it said: $answer"
  # Another file in the model's place is noticed: the program took the one that was installed.
  mv "$prefix/share/thimble/tiny-chat.gguf" "$dir/kept"
  echo nonsense > "$prefix/share/thimble/tiny-chat.gguf"
  if "$@" "$prefix/bin/thimble" run -q -p a >"$dir/log" 2>&1; then fail "$prefix: another model answered"; fi
  mv "$dir/kept" "$prefix/share/thimble/tiny-chat.gguf"
  "$@" "$prefix/bin/thimble" plan --shape llama-3.2-1b:q4_0 --ram 2G >"$dir/log" 2>&1 || fail "$prefix: the shapes are not there"
done

# The library serves another program.
cat > "$dir/use.c" <<'C'
#include <stdio.h>
#include "thimble.h"
int main(void) { puts(*tb_isa_names()); return 0; }
C
if [ -z "$*" ] && command -v pkg-config >/dev/null; then
  pc=$(dirname "$(find "$dir/root/usr" -name thimble.pc)")
  # shellcheck disable=SC2046 # lists of options
  cc "$dir/use.c" -o "$dir/use" $(PKG_CONFIG_PATH=$pc pkg-config --cflags --libs thimble) > "$dir/log" 2>&1 ||
    fail "thimble.pc does not link"
  "$dir/use" > "$dir/log" || fail "a program with the library does not run"
fi
dpkg --root="$dir/root" --force-not-root -P thimble > "$dir/log" 2>&1 || fail "dpkg could not remove it"
[ ! -e "$dir/root/usr/bin/thimble" ] || fail "the program is still there"
echo "$(basename "$deb") and $(basename "$tarball") installed and run"
