#!/usr/bin/env python3
"""Holds toolchains/android/api24.txt against the version lists of Android's C library, from which it was taken: every name
in it must be there for arm64 at API 24. Not a test, the lists are not ours: libc/libc.map.txt and libm/libm.map.txt of
platform/bionic.

usage: api24.py LIBC_MAP LIBM_MAP"""
import os
import re
import sys

LEVEL = 24
ARCHITECTURES = {"arm", "arm64", "x86", "x86_64", "riscv64"}
LIST = os.path.join(os.path.dirname(__file__), "..", "..", "toolchains", "android", "api24.txt")


def names(path):
    """What an app may use on arm64: {name: API level of its first version}."""
    found, version, inherited = {}, "", []
    with open(path, encoding="ascii") as f:
        for line in f:
            code, _, comment = line.partition("#")
            tags = comment.split()
            opening = re.match(r"(\w+) \{", code)
            if opening:
                version, inherited = opening.group(1), tags
            name = re.match(r"\s+(\w+);", code)
            if not name or re.search(r"PRIVATE|PLATFORM", version):
                continue
            tags += inherited
            if ARCHITECTURES & set(tags) and "arm64" not in tags:
                continue
            levels = [int(t.split("=")[1]) for t in tags if re.match(r"introduced(-arm64)?=\d+$", t)]
            found[name.group(1)] = max(levels, default=0)
    return found


def main(libc, libm):
    there = {**names(libm), **names(libc)}
    with open(LIST, encoding="ascii") as f:
        ours = [name for line in f if not line.startswith("#") for name in line.split()]
    wrong = [f"{name}: " + (f"API {there[name]}" if name in there else "not there") for name in ours
             if there.get(name, LEVEL + 1) > LEVEL]
    print("\n".join([*wrong, f"{len(ours) - len(wrong)} of {len(ours)} names are there at API {LEVEL}"]))
    return 1 if wrong or len(there) < 1000 else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
