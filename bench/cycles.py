#!/usr/bin/env python3
"""What each ARM kernel costs on a core that is not at hand: the kernel is run once under qemu, every instruction it
executes is written down in order, and LLVM's machine code analyser (llvm-mca) says how many cycles a core needs for
exactly that sequence. Loads are taken to hit the first-level cache: this is arithmetic, memory is predict.py's part.

usage: cycles.py BUILD_DIR [--kernels REGEX] [--heads N]     BUILD_DIR: an aarch64 build without SLEEF (aarch64-musl)
       cycles.py --table FILE [--kernels REGEX] [--heads N]  what was printed into FILE, as a table, a kernel a line

One line per kernel "function/format/tier" and core: instructions and cycles per unit, the fewest cycles a unit can take
(its multiply instructions at the core's rate, or its loads and stores where there are none), and the bytes of cache or
weights consumed per second by four cores. A unit is a multiply-accumulate for gemv and gemm, a token of one query head
for attention, else a value. Needs qemu-aarch64-static, llvm-mca of LLVM 19 (LLVM_MCA) and the cross compiler (CC)."""
import argparse
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MCA = os.environ.get("LLVM_MCA", "llvm-mca-19")
CC = os.environ.get("CC", "aarch64-linux-gnu-gcc")
OBJDUMP = os.environ.get("OBJDUMP", "aarch64-linux-gnu-objdump")
QEMU = os.environ.get("QEMU", "qemu-aarch64-static")

# Core, options of llvm-mca, clock of the board in GHz. LLVM describes the Cortex-A76 by the A57; Neoverse N1 is the same
# core for servers, and both decode four instructions per cycle (Arm, Cortex-A76 software optimization guide, §2.1).
CORES = {
    "neon": [("A72", ["-mcpu=cortex-a72"], 1.8), ("A76", ["-mcpu=neoverse-n1", "-dispatch=4"], 2.4)],
    "dotprod": [("A76", ["-mcpu=neoverse-n1", "-dispatch=4"], 2.4)],
    "i8mm": [("A710", ["-mcpu=cortex-a710"], 2.8)],
}
QEMU_CPU = {"neon": "cortex-a72", "dotprod": "cortex-a76", "i8mm": "max,sve=off"}

# Shapes of cycles.c and kernels_calls.h.
WIDTH, ROWS, HEAD, TOKENS, KEYS = 1024, 32, 128, 160, 16
GEMM_WIDTH, GEMM_COLUMNS = 512, 64


def row_bytes(fmt, values):
    per_block = {"f32": (1, 4), "f16": (1, 2), "bf16": (1, 2), "q8_0": (32, 34), "q4_0": (32, 18), "q4_1": (32, 20),
                 "q5_0": (32, 22), "q5_1": (32, 24), "iq4_nl": (32, 18), "q2_k": (256, 84), "q3_k": (256, 110),
                 "q4_k": (256, 144), "q5_k": (256, 176), "q6_k": (256, 210), "iq4_xs": (256, 136)}
    n, size = per_block[fmt]
    return values // n * size


def work(function, fmt, heads):
    """(units, bytes of cache or weights, name of the unit, multiply-accumulates per unit)"""
    if function == "gemv":
        return ROWS * WIDTH, row_bytes(fmt, ROWS * WIDTH), "MAC", 1
    if function == "gemm":
        return ROWS * GEMM_WIDTH * GEMM_COLUMNS, row_bytes(fmt, ROWS * GEMM_WIDTH), "MAC", 1
    if function in ("attn_score", "attn_accum"):
        return TOKENS * heads, row_bytes(fmt, TOKENS * HEAD), "token-head", HEAD
    if function == "attn_score_keys2" or function == "attn_accum_values2":
        return TOKENS * heads, TOKENS * HEAD // 4, "token-head", HEAD
    if function == "attn_accum_ternary":
        return TOKENS * heads, TOKENS * HEAD // 5, "token-head", HEAD
    if function == "attn_fold":
        return heads * HEAD, 0, "value", 0
    if function == "attn_weights":
        return heads * TOKENS, 0, "value", 0
    if function in ("attn_max", "attn_exp"):
        return TOKENS, 0, "value", 0
    if function in ("tile_qk", "tile_pv"):
        return 16 * 64 * HEAD, 0, "MAC", 1
    if re.match(r"kv(pack|dequant)_|kvquant|cluster_(code|sum)|kvrow_expand", function):
        return TOKENS * HEAD, 0, "value", 0
    if function == "kvrow_pack":
        return TOKENS * WIDTH, 0, "value", 0
    if function == "cluster_score":
        return TOKENS * heads, TOKENS * HEAD, "token-head", HEAD
    if function == "cluster_assign":
        return TOKENS * KEYS * HEAD, 0, "MAC", 1
    if function in ("cluster_hist", "merge_scale"):  # scores: one per token and query head
        return TOKENS * heads, 0, "value", 0
    if function.startswith(("kvpack", "kvdequant", "rope", "hadamard")):
        return HEAD, 0, "value", 0
    return WIDTH, 0, "value", 0


def rows():
    """(function, format or "-", tier) of the ARM kernels, as the compiler sees the lists."""
    text = '#define TB_ROW(f, i) @f/-/i\n#define TB_ROW_FMT(f, t, i) @f/t/i\n#include "simd/kernels.def"\n'
    out = subprocess.run([CC, "-E", "-P", "-I", ROOT, "-"], input=text, capture_output=True, text=True, check=True).stdout
    found = [tuple(m.split("/")) for m in re.findall(r"@(\w+/[\w-]+/\w+)", re.sub(r"\s*/\s*", "/", out))]
    return [r for r in found if r[2] in CORES and r[0] != "dot_peak"]


class Program:
    def __init__(self, folder, build):
        self.path = os.path.join(folder, "cycles")
        self.log = os.path.join(folder, "log")
        specs = re.search(r"CMAKE_C_FLAGS:\w+=(.*)", open(os.path.join(build, "CMakeCache.txt"), encoding="utf-8").read())
        library = os.path.join(build, "libthimble.a")
        subprocess.run([CC, *specs.group(1).split(), "-O2", "-std=c11", f"-I{ROOT}", f"-I{ROOT}/src", f"-I{ROOT}/src/include",
                        f"{ROOT}/bench/cycles.c", f"{ROOT}/bench/kernels_calls.c", library, "-static", "-lm", "-o", self.path],
                       check=True)
        self.text, self.name = {}, {}
        function = ""
        for line in subprocess.run([OBJDUMP, "-d", "--no-show-raw-insn", self.path], capture_output=True, text=True,
                                   check=True).stdout.splitlines():
            head = re.match(r"[0-9a-f]+ <(.*)>:$", line)
            if head:
                function = head.group(1)
            body = re.match(r" +([0-9a-f]+):\t(.*?)\s*(//.*)?$", line)
            if body:
                self.text[int(body.group(1), 16)] = body.group(2)
                self.name[int(body.group(1), 16)] = function
        own = [pc for pc, name in self.name.items() if name.startswith("tb_")]
        self.library = f"{min(own):#x}..{max(self.name):#x}"  # and what follows it, not cycles.c before it

    def trace(self, row, heads):
        """The instructions that one call executes, in order."""
        function, fmt, tier = row
        kernel = f"tb_{function}_{tier}" if fmt == "-" else f"tb_{function}_{fmt}_{tier}"
        subprocess.run([QEMU, "-singlestep", "-d", "exec,nochain", "-dfilter", self.library, "-D", self.log, self.path,
                        function, fmt, tier, str(heads)], env={**os.environ, "QEMU_CPU": QEMU_CPU[tier]}, check=True)
        found, depth = [], 0
        with open(self.log, encoding="ascii", errors="replace") as log:
            for line in log:
                match = re.search(r"/0*([0-9a-f]+)/[0-9a-f]+/[0-9a-f]+\]", line)
                if not match:
                    continue
                pc = int(match.group(1), 16)
                if not found and self.name.get(pc) != kernel:
                    continue
                found.append(self.text[pc])
                depth += found[-1].startswith("bl") - (found[-1] == "ret")
                if depth < 0:
                    return found
        raise SystemExit(f"cycles.py: {kernel} was not called, or did not return")


def straight(text):
    """The instruction without its target, which means nothing outside the program."""
    words = text.split(None, 1)
    op, rest = words[0], re.sub(r"\s*<.*>", "", words[1]) if len(words) > 1 else ""
    if op in ("ret", "bl", "blr", "br", "b"):
        return "b #4"
    if op.startswith("b."):
        return f"{op} #4"
    if op in ("cbz", "cbnz", "tbz", "tbnz"):
        return f"{op} {rest.rsplit(',', 1)[0]}, #4"
    if op == "adrp" or op == "adr":
        return f"{op} {rest.split(',')[0]}, #0"
    if op == "ldr" and "[" not in rest:
        return f"{op} {rest.split(',')[0]}, #8"
    return f"{op} {rest}"


def mca(options, lines):
    out = subprocess.run([MCA, "-mtriple=aarch64", "-mattr=+dotprod,+i8mm,+fullfp16,+bf16", *options, "-iterations=1",
                          "-instruction-info=0", "-resource-pressure=0"], input="\n".join(lines) + "\n",
                         capture_output=True, text=True, check=False)
    match = re.search(r"Total Cycles:\s+(\d+)", out.stdout)
    if not match:
        raise SystemExit(f"cycles.py: llvm-mca: {out.stderr[:400]}")
    return int(match.group(1))


# Multiply-accumulates of one instruction: of 8-bit codes for the integer kernels, of floats for the others.
MULTIPLY = [(r"[su]dot\s", 16), (r"[su]mmla\s", 32), (r"[su]ml?a?l2?\s+v\d+\.8h", 8), (r"[su]mull2?\s+v\d+\.8h", 8),
            (r"fm(la|ls)\s+v\d+\.4s", 4)]


def fewest(options, lines, macs, known={}):  # noqa: B006 (a cache)
    """Cycles when nothing but the multiplications, or without any the loads and stores, were to be done."""
    counts = {}
    for line in lines:
        for pattern, each in MULTIPLY:
            if re.match(pattern, line):
                counts[pattern, each] = counts.get((pattern, each), 0) + 1
    if macs and counts:
        (pattern, each), _ = max(counts.items(), key=lambda c: c[0][1] * c[1])
        sample = {16: "sdot v{}.4s, v30.16b, v31.16b", 32: "smmla v{}.4s, v30.16b, v31.16b",
                  8: "smull v{}.8h, v30.8b, v31.8b", 4: "fmla v{}.4s, v30.4s, v31.4s"}[each]
        key = (tuple(options), each)
        if key not in known:
            known[key] = mca(options, [sample.format(i % 28) for i in range(560)]) / 560
        return known[key] * macs / each
    memory = [line for line in lines if re.match(r"(ld|st)", line)]
    return max(1, len(memory) / 2)  # two a cycle


def table(path, heads, kernels):
    """Prints the section of `heads` in a file of results, cores side by side: cycles, and how much of the fewest they are."""
    found, section = {}, 0
    with open(path, encoding="utf-8") as f:
        for line in f:
            head = re.match(r"head size 128, 160 tokens, (\d+) query heads", line)
            row = re.match(r"(\S+) +(A\d+) +(MAC|token-head|value) +([\d.]+) +([\d.]+) +[\d.]+ +(\d+ %)", line)
            section = int(head.group(1)) if head else section
            if row and section == heads and re.search(kernels, row.group(1)):
                name, core, unit, insns, cycles, share = row.groups()
                found.setdefault((name, unit, insns), {})[core] = f"{cycles} | {share}"
    cores = [core for core in ("A72", "A76", "A710") if any(core in at for at in found.values())]
    print("| kernel | unit | insns | " + " | ".join(f"{c}, cycles | of it" for c in cores) + " |")
    print("|---|---|---:|" + "---:|---:|" * len(cores))
    for (name, unit, insns), at in found.items():
        print(f"| {name} | {unit} | {insns} | " + " | ".join(at.get(c, " | ") for c in cores) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build", nargs="?")
    parser.add_argument("--table", metavar="FILE")
    parser.add_argument("--kernels", default=".", help="regular expression on function/format/tier")
    parser.add_argument("--heads", type=int, default=4, help="query heads per KV head (4)")
    a = parser.parse_args()
    if a.table:
        table(a.table, a.heads, a.kernels)
        return 0
    if not a.build:
        parser.error("BUILD_DIR or --table FILE")
    with tempfile.TemporaryDirectory() as folder:
        program = Program(folder, a.build)
        print(f"head size {HEAD}, {TOKENS} tokens, {a.heads} query heads per KV head")
        print(f"{'kernel':34} {'core':5} {'unit':10} {'insns':>8} {'cycles':>8} {'fewest':>8} {'of it':>6} {'GB/s x 4':>9}")
        for row in rows():
            if not re.search(a.kernels, "/".join(row)):
                continue
            lines = [straight(text) for text in program.trace(row, a.heads)]
            units, size, unit, macs = work(row[0], row[1], a.heads)
            for core, options, ghz in CORES[row[2]]:
                cycles = mca(options, lines)
                least = fewest(options, lines, macs * units)
                rate = f"{size / cycles * ghz * 4:9.2f}" if size else f"{'':9}"
                print(f"{'/'.join(row).replace('/-/', '/'):34} {core:5} {unit:10} {len(lines) / units:8.3f} "
                      f"{cycles / units:8.3f} {least / units:8.3f} {100 * least / cycles:4.0f} % {rate}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
