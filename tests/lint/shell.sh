#!/bin/sh
# Every shell script parses under its own shell and pleases shellcheck. usage: shell.sh FOLDER. 77: no shellcheck here.
set -u
cd "$1" || exit 1
status=0 checked=0
for file in thimble .ci/run $(find tests toolchains bench -name '*.sh' 2>/dev/null); do
  case $(head -n 1 "$file") in
    '#!/bin/sh') shell=$(command -v dash || echo sh) ;;
    '#!/usr/bin/env bash') shell=bash ;;
    *) echo "$file: no shebang that is known here"; status=1; continue ;;
  esac
  "$shell" -n "$file" || status=1
  if command -v shellcheck >/dev/null; then shellcheck "$file" || status=1; fi
  checked=$((checked + 1))
done
echo "$checked scripts"
[ "$status" -eq 0 ] || exit 1
command -v shellcheck >/dev/null || { echo "shellcheck is not installed"; exit 77; }
