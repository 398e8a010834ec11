#!/usr/bin/env python3
"""Low rank and merged layers beside quantisation at equal bytes, on the bundled model: the tables of cache/README.md.

usage: equal_bytes.py PROGRAM     PROGRAM may be several words; about ten minutes

Stories, questions and profile are those of quality.py: 2 contexts of 1024 tokens, and 240 questions for lines of registers of
20 and 40. No window."""
import json
import os
import subprocess
import sys
import tempfile

import quality

METHODS = ("svd", "asvd", "closed", "weighted")
LATENTS = ("32:4", "12:16", "16:16", "64:4", "24:16", "96:4", "32:16")  # of 128 channels of both heads together
CACHES = ("lowrank:x1", "skvqx2/skvqx1.5", "lowrank:32:4", "skvqx2", "lowrank:x2", "lowrank:12", "skvqx4/skvqx2", "lowrank:x3",
          "skvqx4", "lowrank:x4", "q4_0", "q8_0")
LAYERS = 8
MERGED = [(cache, first) for cache in ("skvqx2", "skvqx4", "q4_0", "q8_0") for first in (0, 4, 6)]  # pairs from a layer on
TOGETHER = 12  # caches in one run of eval


def write_plan(path, cache, first):
    lines = ["thimble-plan 1"]
    for layer in range(LAYERS):
        role = f" merge={'down' if (layer - first) % 2 else 'up'} cosine=0" if layer >= first else ""
        lines.append(f"{layer} {cache} {cache}{role}")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


def measure(program, profile, source, options):
    """{name: result} of eval for the options of several caches."""
    found = {}
    for at in range(0, len(options), TOGETHER):
        chosen = [word for option in options[at:at + TOGETHER] for word in option]
        command = [*program, "eval", "-t", "1", "-o", "json", "--kv-window", "-1", "--kv-profile", profile, *source, *chosen]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        results = json.loads(done.stdout)
        found["f32"] = results[0]
        found.update((option[1], result) for option, result in zip(options[at:], results[1:]))
    return found


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        profile = quality.make_profile(program, folder)
        text = quality.write_text(os.path.join(folder, "text"), 2)
        questions = quality.write_questions(os.path.join(folder, "lines"), ["lines20", "lines40"], 4, 40)[:2]
        options = [("--cache", cache) for cache in CACHES]
        options += [("--cache", f"cskv:{latents}:{method}") for latents in LATENTS for method in METHODS]
        plans = {(cache, first): os.path.join(folder, f"{cache}.{first}") for cache, first in MERGED}
        for (cache, first), path in plans.items():
            write_plan(path, cache, first)
            options.append(("--kv-plan", path))
        losses = measure(program, profile, text, options)
        recall = measure(program, profile, questions, options)

        def bits(name):
            return f"{losses[name]['bits_stored']:.4g}"

        def says(name):
            return f"{losses[name]['kld_mean']:.3f} | {100 * recall[name]['recall']:.0f} %"

        print(f"f32: {100 * recall['f32']['recall']:.0f} % of {recall['f32']['questions']} questions\n")
        print("| cache | bits | KLD | recall |\n|---|---:|---:|---:|")
        for cache in CACHES:
            print(f"| `{cache}` | {bits(cache)} | {says(cache)} |")
        for (cache, first), path in plans.items():
            print(f"| `{cache}`, merged from layer {first} on | {bits(path)} | {says(path)} |")
        print("\n| latents | bits | " + " | ".join(f"{m}, KLD | recall" for m in METHODS) + " |\n|---|---:|" + "---:|---:|" * 4)
        for latents in LATENTS:
            names = [f"cskv:{latents}:{m}" for m in METHODS]
            print(f"| `cskv:{latents}` | {bits(names[0])} | " + " | ".join(map(says, names)) + " |")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
