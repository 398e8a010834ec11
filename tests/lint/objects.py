#!/usr/bin/env python3
"""Holds the compiled library against the rules of the house. usage: objects.py LIBTHIMBLE.A [OBJDUMP]

Prints one line per violation and exits with 1 when there is any:
  * every symbol it exports starts with tb_;
  * it keeps no mutable globals: nothing in .data or .bss;
  * it does not call what ends the process, prints or reads the environment;
  * an object holds instructions of its own tier and below only, and portable objects those of the base line;
  * tb_<function>_<isa> is defined in <file>_<isa>.c, and such a file exports nothing else."""
import re
import subprocess
import sys

BANNED = set("abort exit _exit __assert_fail getenv secure_getenv setenv printf __printf_chk vprintf puts putchar "
             "perror stdout stderr stdin strcpy strcat sprintf __sprintf_chk atoi atol atof gets strtok rand srand system "
             "signal sigaction".split())
ISAS = {"x86-64": ("avx2", "avxvnni", "avx512", "avx512bf16"), "aarch64": ("neon", "dotprod", "i8mm")}

# What the objects of a tier may not hold, as patterns for one line of disassembly (mnemonic and operands).
VEX = r"^v(?!er[rw]|mcall|mrun|mload|mread|mwrite)[a-z]|%[yz]mm|^(mulx|pext|pdep|bzhi|rorx|sarx|shlx|shrx)\b"
EVEX = r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])|%k[0-7]"
VNNI = r"^(\{vex\}\s*)?vpdp(bu|ws)"
BF16 = r"^v(dpbf16ps|cvtne2?ps2bf16)"
SVE = r"\bz\d+\.[bhsdq]|\bp\d+/[mz]"
MATMUL = r"^(smmla|ummla|usmmla|usdot|sudot|bfmmla|bfdot)\b"
DOT = r"^(sdot|udot)\b"
HALF = r"^(fmla|fadd|fmul|fsub)\s+v\d+\.[48]h"
FORBIDDEN = {
    "x86-64": {"portable": VEX, "avx2": f"{EVEX}|{VNNI}", "avxvnni": EVEX, "avx512": BF16, "avx512bf16": r"$^"},
    "aarch64": {"portable": "|".join((SVE, MATMUL, DOT, HALF)), "neon": "|".join((SVE, MATMUL, DOT, HALF)),
                "dotprod": "|".join((SVE, MATMUL)), "i8mm": SVE},
}


def run(*command):
    return subprocess.run(command, capture_output=True, check=True, encoding="utf-8", errors="replace").stdout


# Heads the output for an archive member: "a.c.o:  file format …", from llvm-objdump "lib.a(a.c.o): file format …".
MEMBER = re.compile(r"(?:.*\()?([^()]+?)\)?:\s+file format")


def tier_of(member, isas):
    """The tier in an object's name: gemv_avx2.c.o, gemv_q4_0_ref.c.o; None for one that is no kernel file."""
    match = re.search(r"_([a-z0-9]+)\.c\.o(bj)?$", member)
    return match.group(1) if match and match.group(1) in (*isas, "ref") else None


def symbols(objdump, archive):
    """(member, name, flags, section) of every symbol; flags as objdump prints them: scope, weakness, ..., F or O."""
    member = ""
    for line in run(objdump, "-t", archive).split("\n"):
        match = MEMBER.match(line)
        if match:
            member = match.group(1)
        match = re.match(r"[0-9a-f]{16} (.{7}) (\S+)\s+[0-9a-f]+ (?:\.hidden )?(\S+)$", line)
        if match:
            yield member, match.group(3), match.group(1), match.group(2)


def check_symbols(objdump, archive, isas):
    for member, name, flags, section in symbols(objdump, archive):
        tier = tier_of(member, isas)
        if section == "*UND*":
            if name in BANNED:
                yield f"{member}: uses {name}"
            continue
        if flags[6] != "f" and not name.startswith(".") and re.match(r"\.t?(data|bss)(?!\.rel\.ro)|\*COM\*", section):
            yield f"{member}: {name} is a mutable global ({section})"
        if flags[0] not in "gu!" and flags[1] != "w":
            continue
        if not name.startswith("tb_"):
            yield f"{member}: exports {name}, which does not start with tb_"
        suffix = name.rsplit("_", 1)[-1]
        if suffix in (*isas, "ref") and suffix != tier:
            yield f"{member}: {name} belongs in a file named after {suffix}"
        elif tier and suffix != tier and flags[6] == "F":
            yield f"{member}: {name} does not carry the tier of its file"


def check_instructions(objdump, archive, isas, forbidden):
    member = function = None
    for line in run(objdump, "-d", "--no-show-raw-insn", archive).split("\n"):
        match = MEMBER.match(line)
        if match:
            member, function = match.group(1), None
            tier = tier_of(member, isas)
            pattern = re.compile(forbidden[tier if tier in isas else "portable"])
            continue
        match = re.match(r"[0-9a-f]+ <(.+)>:$", line)
        if match:
            function = match.group(1)  # one report for each is enough
            continue
        match = re.match(r"\s+[0-9a-f]+:\s+(.*)$", line)
        if match and function and pattern.search(match.group(1)):
            yield f"{member}: {function} holds an instruction above its tier: {' '.join(match.group(1).split())}"
            function = None


def check_archive(archive, objdump="objdump"):
    header = run(objdump, "-f", archive)
    arch = "aarch64" if "elf64-littleaarch64" in header else "x86-64"
    if f"elf64-{'littleaarch64' if arch == 'aarch64' else 'x86-64'}" not in header:
        return ["no objects of an architecture that is known here"]
    isas = ISAS[arch]
    return [*check_symbols(objdump, archive, isas), *check_instructions(objdump, archive, isas, FORBIDDEN[arch])]


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    violations = check_archive(*sys.argv[1:])
    for line in violations:
        print(line)
    print(f"{len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
