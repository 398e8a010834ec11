#!/bin/sh
# The public header compiles alone, as C11 and as C++17, without a warning. usage: header.sh INCLUDE_FOLDER C_COMPILER
set -eu
strict='-Wall -Wextra -Wpedantic -Werror -fsyntax-only'
# shellcheck disable=SC2086  # a list of flags
"$2" -std=c11 $strict -x c "$1/thimble.h"
for cxx in g++ clang++; do
  command -v "$cxx" >/dev/null || continue
  # shellcheck disable=SC2086
  "$cxx" -std=c++17 $strict -x c++ "$1/thimble.h"
  exit 0
done
echo "no C++ compiler here: checked as C only"
exit 77
