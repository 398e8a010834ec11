#!/bin/sh
# Runs a test, under the emulator that TB_UNDER names if it is set (QEMU_CPU then chooses the CPU), else plainly.
exec ${TB_UNDER:+"$TB_UNDER"} "$@"
