#!/usr/bin/env python3
"""The quality table: what each cache type costs on the bundled model.

usage: quality.py [--short] [--update] [--only WORD] PROGRAM

Runs `thimble eval` and holds it against results.csv: a row fails when it got worse by more than its tolerance. --short runs
the rows marked so (the test that every CI run makes), --update measures and writes the table, with rows for cache types
that are new; a change of it is reviewed like code. --only leaves rows of other caches as they are. PROGRAM may be several
words.

Text is what the bundled model knows: stories of models/tiny/recipe/world.py from a seed that training did not see. Questions
are recall_contexts.py's. Block types are measured without a window (protocol A, --kv-window -1), so that the type is measured
and not the window. Rows with profile "yes" use one that `thimble calibrate` made from its usual text, a book.
"""
import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from operator import itemgetter

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "models/tiny/recipe"))

import recall_contexts  # noqa: E402  the folder is known only now
from world import Generator  # noqa: E402

TABLE = os.path.join(HERE, "results.csv")
COLUMNS = ["suite", "cache", "profile", "bits", "kld", "same_top1", "questions", "recall", "lost", "won", "kld_tolerance",
           "recall_tolerance"]
CHARACTERS = 2300  # of a context: about 1000 tokens, as far as the model was trained

# Two keys and values of one type, and the mixes that people use. A type that the program does not know is left out.
# Behind them what others do at the bytes of skvqx2: rounding to the nearest per token and head, the form of KIVI (keys by
# channel, values by token, the whole range), and Hadamard with the levels that are best for a normal distribution.
ROUNDED, NORMAL = "skvq2:g=64+clip=100", "skvq2:g=64+had+shrink+clip=65"
CACHES = {
    "no": ["f16", "q8_0", "q4_0", "q8_0/q4_0", "skvqx4", "q8_0/skvqx4", "q8_0/skvqx2", "skvqx4/skvqx2", "skvqx2",
           "skvqx2/skvqx1.5", "q8_0/skvqx1.5", ROUNDED, f"skvqx2:rot=none+clip=100+fit=0/{ROUNDED}", NORMAL],
    "yes": ["skvqx4", "skvqx4/skvqx2", "skvqx2", "skvqx2/skvqx1.5", "lowrank:x3", "lowrank:x2", "skvq2:g=64"],
}

# name: (what is measured, size, in the short run)
SUITES = {
    "text-short": ("text", 2, True),
    "lines-short": (["lines40"], (1, 20), True),
    "text": ("text", 12, False),
    "lines": ([f"lines{n}" for n in (20, 30, 40, 50, 60)], (10, 40), False),
    "pairs": (["pairs25", "pairs50"], (6, 50), False),
    "facts": (["facts10", "facts20", "needle10"], (10, 20, 2900), False),  # as many tokens take more characters
}


def write_text(path, chunks):
    generator, text = Generator("quality text"), ""
    while len(text) < chunks * 1024 * 5:  # no token is longer than 5 characters on average
        hero, kind, thing = generator.pick(["Mia", "Tom", "Zoe", "Otis"]), generator.pick(["fox", "owl", "bear"]), "red key"
        text += generator.story(hero, kind, thing)[0] + "\n\n" + generator.filler(5) + "\n\n"
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return ["-f", path, "-c", "1024", "--chunks", str(chunks), "--protocol", "A"]


def write_questions(path, tasks, contexts, questions, characters=CHARACTERS):
    with open(path, "w", encoding="utf-8") as f:
        for task in tasks:
            generator = Generator(f"quality {task}")
            for _ in range(contexts):
                f.write(json.dumps(recall_contexts.context_of(generator, task, characters, questions)) + "\n")
    return ["--recall", path, "--kv-window", "-1"]


def make_profile(program, folder):
    path = os.path.join(folder, "profile")
    text = os.path.join(ROOT, "bench/texts/calibrate.txt")
    subprocess.run([*program, "calibrate", "-t", "1", "-n", "4096", "--no-losses", "-f", text, "-o", path], check=True,
                   capture_output=True)
    return path


def run(program, suite, caches, folder, profile):
    """Rows of one suite, as eval gives them, without that of f32."""
    what, size, _ = SUITES[suite]
    path = os.path.join(folder, suite)
    source = write_text(path, size) if what == "text" else write_questions(path, what, *size)
    command = [*program, "eval", "-t", "1", "-o", "json", "--kv-profile", profile, *source]
    for cache in caches:
        command += ["--cache", cache]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)[1:]


def known(program, folder, profile, caches):
    """Those of `caches` that this program has."""
    path = os.path.join(folder, "probe")
    write_text(path, 1)
    found = []
    for cache in caches:
        done = subprocess.run([*program, "eval", "-t", "1", "-f", path, "-c", "16", "--chunks", "1", "--kv-profile", profile,
                               "--cache", cache], capture_output=True, text=True, check=False)
        if "is not a cache type" in done.stderr:
            print(f"left out: {cache}: not in this program", file=sys.stderr)
        else:
            found.append(cache)
    return found


def as_row(suite, result, profile, old):
    """A line of the table; a tolerance that was chosen stays."""
    text = result["predictions"] > 0
    row = dict.fromkeys(COLUMNS, "")
    row.update(suite=suite, cache=result["cache"], profile=profile, bits=f"{result['bits_stored']:.4g}")
    if text:
        row.update(kld=f"{result['kld_mean']:.3e}", same_top1=f"{result['same_top1']:.4f}",
                   kld_tolerance=old.get("kld_tolerance") or "0.15")
    else:
        row.update(questions=result["questions"], recall=f"{result['recall']:.4f}", lost=result["lost"], won=result["won"],
                   recall_tolerance=old.get("recall_tolerance") or ("0.05" if SUITES[suite][2] else "0.01"))
    return row


def worse(row, result):
    """What got worse by more than the tolerance, in words; None: nothing did."""
    if float(result["bits_stored"]) > float(row["bits"]) * 1.001:
        return f"{result['bits_stored']:.4g} bits, {row['bits']} before"
    if row["kld"] and result["kld_mean"] > float(row["kld"]) * (1 + float(row["kld_tolerance"])) + 1e-5:
        return f"KL divergence {result['kld_mean']:.3e}, {row['kld']} before"
    if row["recall"] and result["recall"] < float(row["recall"]) - float(row["recall_tolerance"]):
        return f"recall {result['recall']:.4f}, {row['recall']} before"
    return None


def check(program, table, suites, only, folder, profiles):
    failures = 0
    for suite in suites:
        for profile, path in profiles.items():
            rows = [row for row in table if row["suite"] == suite and row["profile"] == profile and only in row["cache"]]
            results = run(program, suite, [row["cache"] for row in rows], folder, path) if rows else []
            for row, result in zip(rows, results):
                reason = worse(row, result)
                failures += reason is not None
                print(f"{'WORSE' if reason else 'ok':6}{suite:12} {row['cache']:22} {reason or ''}", flush=True)
    return failures


def update(program, table, suites, only, folder, profiles):
    key = itemgetter("suite", "cache", "profile")
    rows = {key(row): row for row in table}
    for suite in suites:
        for profile, path in profiles.items():
            caches = [cache for cache in known(program, folder, path, CACHES[profile]) if only in cache]
            for result in run(program, suite, caches, folder, path) if caches else []:
                old = rows.get((suite, result["cache"], profile), {})
                row = as_row(suite, result, profile, old)
                rows[key(row)] = row
                print(",".join(str(row[column]) for column in COLUMNS), flush=True)
    with open(TABLE, "w", encoding="utf-8", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows.values(), key=lambda row: (list(SUITES).index(row["suite"]), row["profile"])))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs=argparse.REMAINDER)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--only", default="", help="rows whose cache has this in its name")
    arguments = parser.parse_args()
    table = []
    if os.path.exists(TABLE):
        with open(TABLE, encoding="utf-8", newline="") as f:
            table = list(csv.DictReader(f))
    suites = [name for name, (_, _, short) in SUITES.items() if short or not arguments.short]
    with tempfile.TemporaryDirectory() as folder:
        profiles = {"no": "none", "yes": make_profile(arguments.program, folder)}
        if arguments.update:  # with --short or --only: the other rows stay
            update(arguments.program, table, suites, arguments.only, folder, profiles)
        elif not any(row["suite"] in suites for row in table):
            sys.exit("results.csv has no row for these suites")
        elif check(arguments.program, table, suites, arguments.only, folder, profiles):
            sys.exit(f"worse than results.csv; if that is meant: {sys.argv[0]} --update PROGRAM")


if __name__ == "__main__":
    main()
