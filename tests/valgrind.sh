#!/bin/sh
# Runs a test under valgrind's memcheck (TB_UNDER of the preset `valgrind`). It knows AVX2 and hides what is newer.
exec valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
  --suppressions="$(dirname "$0")/valgrind.supp" "$@"
