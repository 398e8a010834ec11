#!/usr/bin/env python3
"""Planned layer by layer against one cache type for all layers, on the bundled model, in the same bytes.

usage: plan_table.py THIMBLE [--contexts N] [--chunks N] [--profile FILE]

For 100, 50, 25, 16 and 12 percent of an f16 cache: the planner's choice, and those types for all layers (keys and values
each their own) that fit and lose least by the same measured losses, NEAREST of them. All are run: divergence from the f32
cache on stories of a seed that training did not see, and questions about what stands in the context. Windows are off, so
that what is stored is measured. The uniform column is the best of its candidates, for each measure another one if need be.

Bytes are those of a cache of LONG tokens, where tails that are not packed yet do not count. The profile is measured on
text of both kinds from another seed."""
import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in ("tests/quality", "models/tiny/recipe"):
    sys.path.insert(0, os.path.join(os.path.dirname(HERE), folder))

import quality  # noqa: E402  the folders are known only now
import recall_contexts  # noqa: E402
from world import Generator  # noqa: E402

SHARES = [100, 50, 25, 16, 12]
LONG = 32768
NEAREST = 4
MOST = 15  # caches that one eval takes
KEYS = ["f16", "q8_0", "q4_0", "skvqx4", "skvqx2", "lowrank:x4", "lowrank:x3", "lowrank:x2", "lowrank:x1"]
VALUES = KEYS + ["skvqx1.5"]
TASKS = ["lines20", "lines40", "pairs25", "facts20"]


def run(thimble, *args):
    done = subprocess.run([thimble, *args], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 2) or not done.stdout and done.stderr:
        sys.exit(f"{' '.join(args)}\n{done.stderr}")
    return done.stdout


def plan(thimble, profile, *args):
    return json.loads(run(thimble, "plan", "--json", "--kv-profile", profile, "-c", str(LONG), "-t", "1", "--kv-window", "-1", *args))


def planned(thimble, profile, budget, path):
    """Writes the best plan whose cache takes at most `budget` bytes: memory beside the cache hardly depends on types."""
    low, high = 0, plan(thimble, profile, "-ctk", "f16", "-ctv", "f16")["fast"] * 2
    while high - low > 4096:
        middle = (low + high) // 2
        report = plan(thimble, profile, "--ram", f"{middle / 2**20:.6f}M")
        low, high = (middle, high) if report["cache"] <= budget and report["fits"] or not report["fits"] else (low, middle)
    return plan(thimble, profile, "--ram", f"{low / 2**20:.6f}M", "-o", path)


def calibrate(thimble, folder):
    """A profile measured on what is asked and on stories, in equal parts, of another seed."""
    text, profile, generator, size = os.path.join(folder, "text"), os.path.join(folder, "profile"), Generator("plan table"), 0
    with open(text, "w", encoding="utf-8") as f:
        while size < 120000:  # characters; 16,384 tokens of them are used
            for task in TASKS:
                context = recall_contexts.context_of(generator, task, quality.CHARACTERS, 20)
                parts = context["context"] + [part for question in context["questions"] for part in question["parts"]]
                asked = told = f.write("".join(part["text"] for part in parts) + "\n")
                while told > 0:
                    told -= f.write(generator.story("Mia", "fox", "red key")[0] + "\n\n")
                size += 2 * asked
    run(thimble, "calibrate", "-f", text, "-o", profile, "-q", "-t", "1")
    return profile


def measure(thimble, profile, caches, source):
    """Results of `thimble eval` in the order of caches: names of types, or paths of plans."""
    types, plans = [c for c in caches if "/" != c[0]], [c for c in caches if "/" == c[0]]
    args = [w for c in types for w in ("--cache", c)] + [w for c in plans for w in ("--kv-plan", c)]
    rows = json.loads(run(thimble, "eval", "-o", "json", "--kv-profile", profile, "--kv-window", "-1", "-t", "1", *args, *source))
    return dict(zip(["f32", *types, *plans], rows))


def candidates(thimble, profile, budget):
    """The uniform choices that fit, least predicted loss first."""
    fit = []
    for k in KEYS:
        for v in VALUES:
            report = plan(thimble, profile, "-ctk", k, "-ctv", v)
            if report["cache"] <= budget:
                fit.append((report["loss"], f"{k}/{v}"))
    return [name for _, name in sorted(fit)[:NEAREST]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("thimble")
    parser.add_argument("--contexts", type=int, default=6, help="of questions, 20 each, for each of the tasks")
    parser.add_argument("--chunks", type=int, default=8, help="of 1024 tokens of text")
    parser.add_argument("--profile")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        profile = a.profile or calibrate(a.thimble, folder)
        text = quality.write_text(os.path.join(folder, "stories"), a.chunks)
        asked = quality.write_questions(os.path.join(folder, "questions"), TASKS, a.contexts, 20)
        whole = plan(a.thimble, profile, "-ctk", "f16", "-ctv", "f16")["cache"]
        uniform, plans, rows = {}, {}, {}
        for share in SHARES:
            budget = whole * share // 100
            path = os.path.join(folder, f"{share}.plan")
            plans[share] = (path, planned(a.thimble, profile, budget, path))
            uniform[share] = candidates(a.thimble, profile, budget)
        names = list(dict.fromkeys(n for list_ in uniform.values() for n in list_)) + [path for path, _ in plans.values()]
        for at in range(0, len(names), MOST):
            some = names[at:at + MOST]
            on_text, on_questions = measure(a.thimble, profile, some, text), measure(a.thimble, profile, some, asked)
            rows.update({n: (on_text[n]["kld_mean"], on_questions[n]["recall"]) for n in some})
        print(f"{on_questions['f32']['questions']} questions, f32: {on_questions['f32']['recall']:.3f}\n")
        print("| of f16 | planned: used | KLD | recall | uniform, least KLD | KLD | uniform, best recall | recall |")
        print("|---:|---:|---:|---:|---|---:|---|---:|")
        for share in SHARES:
            path, report = plans[share]
            least, best = min(uniform[share], key=lambda n: rows[n][0]), max(uniform[share], key=lambda n: rows[n][1])
            print(f"| {share} % | {100 * report['cache'] / whole:.1f} % | {rows[path][0]:.4f} | {rows[path][1]:.3f} | `{least}` | {rows[least][0]:.4f} |"
                  f" `{best}` | {rows[best][1]:.3f} |")


if __name__ == "__main__":
    main()
