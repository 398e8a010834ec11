#!/usr/bin/env python3
"""Holds the source tree against the rules of the house that a compiler does not know. usage: sources.py FOLDER

Prints one line per violation, "file:line: what", and exits with 1 when there is any. lint_test.py shows that each rule
can fail."""
import os
import re
import subprocess
import sys

# Who may include whom. A file belongs to the first layer whose pattern matches its path; what it includes in quotes
# must match one of that layer's patterns, its own folder included. Paths as written: below the root or below src/.
KERNEL_TABLE = r"simd/(kernels|isa|formats|act|half|kvblock)\.h"
LAYERS = [
    (r"models/tiny/recipe/trainer/", [r"\w+\.h"]),  # a program of its own
    (r"src/include/", []),
    (r"src/base/", [r"base/", r"thimble\.h"]),
    (r"src/io/", [r"io/", r"base/", r"simd/(formats|half)\.(h|def)", r"thimble\.h"]),
    (r"src/core/", [r"core/", r"models/arch\.h", r"cache/(align|cache|stats|plan/\w+)\.h", KERNEL_TABLE, r"simd/formats\.def",
                    r"io/", r"base/", r"thimble\.h"]),
    (r"src/cli/bench_kernels\.c", [r"cli/", r"bench/kernels\.h", r"thimble\.h"]),
    (r"src/cli/", [r"cli/", r"thimble\.h"]),
    (r"cache/", [r"cache/", KERNEL_TABLE, r"io/", r"base/", r"thimble\.h"]),
    (r"models/", [r"models/", r"core/(ops|model)\.h", r"cache/cache\.h", r"base/", r"thimble\.h"]),
    (r"simd/vec/", [r"simd/vec/"]),
    (r"simd/(?P<family>[a-z0-9_]+)/", [r"simd/\w+\.(h|def)", r"simd/vec/", r"simd/{family}/"]),
    (r"simd/", [r"simd/"]),
]
# Headers from outside that only some files may use.
OUTSIDE = {
    r"\w+intrin\.h|arm_(neon|acle|sve)\.h|sleef\.h": "isa",
    r"cpuid\.h|sys/auxv\.h": r"simd/isa\.c|tests/",
    r"omp\.h": r"src/base/thread_omp\.c|models/tiny/recipe/trainer/",
    r"pcre2\.h|utf8proc\.h": r"src/io/|tests/",
    r"jansson\.h|histedit\.h|editline/.*": r"src/cli/|bench/|tests/",
    r"assert\.h": r"tests/|bench/",
}
ISAS = ("ref", "avx2", "avxvnni", "avx512", "avx512bf16", "neon", "dotprod", "i8mm")
LIBRARY = re.compile(r"(src/(?!cli/|include/)|simd/|cache/|models/(?!tiny/)).*\.[ch]$")
# Never, anywhere: they overrun, or cannot report an error.
UNSAFE = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|atof|strtok|alloca)\s*\(")
# Not in the library, which neither ends the process, prints, reads the environment nor owns memory of its own.
NOT_IN_LIBRARY = re.compile(
    r"\b(abort|exit|_exit|assert|getenv|setenv|printf|vprintf|puts|putchar|perror|malloc|calloc|realloc|free|rand|srand"
    r"|system|signal)\s*\(|\b(stdout|stderr|stdin)\b")
# What Android's headers declare to none but those who define _GNU_SOURCE, though other systems' do so sooner.
GNU_ON_ANDROID = re.compile(r"\b(preadv|pwritev|pipe2|sched_[gs]etaffinity|pthread_[gs]etaffinity_np|sincosf?|mempcpy|strchrnul)\b")
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK|st" r"ub|not imple" r"mented)\b")
MACHINE_PATH = re.compile(r"(?<![\w.$}])/(work|farm|root|home|mnt|Users)/[\w.]+")
TEXT = re.compile(r"(\.(c|h|def|cmake|py|sh|md|json|yml|kt|java)|CMakeLists\.txt|\.ci/run|(^|/)thimble)$")
CODE = re.compile(r"\.(c|h|def|py|sh|cmake)$|CMakeLists\.txt$|\.ci/run$|^thimble$")
MAX_LINES = 700
MAX_COLUMNS = 160  # the house writes 120; beyond this it is no slip


def list_files(root):
    """Every file of the tree that belongs to the project, relative paths."""
    if os.path.exists(os.path.join(root, ".git")):
        try:
            out = subprocess.run(["git", "-C", root, "ls-files", "-z", "-co", "--exclude-standard"],
                                 capture_output=True, check=True).stdout.decode()
            return sorted(f for f in out.split("\0") if f and os.path.isfile(os.path.join(root, f)))
        except (OSError, subprocess.CalledProcessError):
            pass
    found = []
    for folder, dirs, files in os.walk(root):
        dirs[:] = [d for d in dirs if d != "build" and (not d.startswith(".") or d == ".ci")]
        found += [os.path.relpath(os.path.join(folder, f), root) for f in files]
    return sorted(found)


def strip_c(text, strings=True):
    """C source with comments (and the contents of strings) blanked, lines kept."""
    def blank(match):
        s = match.group(0)
        if s.startswith(("/*", "//")):
            return re.sub(r"[^\n]", " ", s)
        return '""' if strings and s.startswith('"') else s
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(\\.|[^"\\\n])*"|\'(\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def is_isa_file(path):
    """simd/vec/… or a kernel file or template whose name carries its tier: gemv_avx2.c, attn_neon_tmpl.h."""
    words = os.path.splitext(os.path.basename(path))[0].split("_")
    if path.startswith(("simd/vec/", "models/tiny/recipe/trainer/")):
        return True
    return path.startswith("simd/") and any(w in (*ISAS[1:], "arm", "x86") for w in words)


def check_includes(path, text):
    for number, line in enumerate(strip_c(text, strings=False).split("\n"), 1):
        match = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
        if not match:
            continue
        kind, name = match.groups()
        for pattern, where in OUTSIDE.items():
            if re.fullmatch(pattern, name) and not (is_isa_file(path) if where == "isa" else re.match(where, path)):
                yield number, f"<{name}> does not belong here"
        if kind == "<":
            continue
        for pattern, allowed in LAYERS:
            layer = re.match(pattern, path)
            if layer:
                names = [p.format(**layer.groupdict()) if "{family}" in p else p for p in allowed]
                if not any(re.match(p, name) for p in names):
                    yield number, f'"{name}" may not be included from {layer.group(0)}'
                break


def check_code(path, text):
    code = strip_c(text)
    for number, line in enumerate(code.split("\n"), 1):
        match = UNSAFE.search(line)
        if match:
            yield number, f"{match.group(1)} is banned"
        if LIBRARY.match(path) and path != "src/base/alloc.c":
            match = NOT_IN_LIBRARY.search(line)
            if match:
                yield number, f"{match.group(1) or match.group(2)} is not for the library"
        match = GNU_ON_ANDROID.search(line)
        if match and path.startswith("src/") and not re.search(r"^#define _GNU_SOURCE\b", code, re.M):
            yield number, f"{match.group(1)} needs _GNU_SOURCE on Android"
        if re.match(r"\s*#\s*pragma\s+omp\b", line) and not re.match(OUTSIDE[r"omp\.h"], path):
            yield number, "OpenMP pragmas belong in src/base/thread_omp.c"


def check_text(path, text):
    generated = re.search(r"[Gg]enerated by (\S+\.py)", text[:400])
    for number, line in enumerate(text.split("\n"), 1):
        if "\t" in line:
            yield number, "tab"
        if line != line.rstrip():
            yield number, "carriage return" if line.endswith("\r") else "blanks at the end of the line"
        if CODE.search(path) and len(line) > MAX_COLUMNS and not generated:
            yield number, f"{len(line)} columns, at most {MAX_COLUMNS}"
        if CODE.search(path) and UNFINISHED.search(line):
            yield number, "unfinished by its own words"
        match = MACHINE_PATH.search(line)
        if match and path != "tests/lint/sources.py":
            yield number, f"path of one machine: {match.group(0)}"
    if text and not text.endswith("\n"):
        yield text.count("\n") + 1, "no newline at the end of the file"
    if re.search(r"\.[ch]$", path) and text.count("\n") > MAX_LINES and not generated:
        yield 1, f"{text.count(chr(10))} lines, at most {MAX_LINES}"


def check_registered(root, files):
    """Every test program stands in a CMakeLists.txt: a file that nobody builds tests nothing."""
    lists = ""
    for name in files:
        if name.startswith("tests/") and name.endswith("CMakeLists.txt"):
            with open(os.path.join(root, name), encoding="utf-8") as f:
                lists += f.read()
    for name in files:
        if re.match(r"tests/.*_test\.(c|py|sh)$", name) and os.path.basename(name) not in lists:
            yield name, 1, "is not registered in tests/CMakeLists.txt"


def check_tree(root):
    files = list_files(root)
    for path in files:
        if not TEXT.search(path):
            continue
        with open(os.path.join(root, path), "rb") as f:
            raw = f.read()
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as e:
            yield path, raw[:e.start].count(b"\n") + 1, "not UTF-8"
            continue
        checks = [check_text(path, text)]
        if re.search(r"\.(c|h|def)$", path):
            checks += [check_includes(path, text), check_code(path, text)]
        for check in checks:
            for number, what in check:
                yield path, number, what
    yield from check_registered(root, files)


def main():
    root = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)
    violations = list(check_tree(root))
    for path, number, what in violations:
        print(f"{path}:{number}: {what}")
    print(f"{len(list_files(root))} files, {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
