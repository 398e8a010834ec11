#!/usr/bin/env python3
"""The largest context that each model shape has within 1, 2 and 4 GiB (`--ram`, Q4_0 weights): with one cache type for all
layers, as other engines have it, and as the planner chooses. usage: context_table.py THIMBLE [SHAPE...]

Cells are tokens and the predicted loss (sum over layers of relative squared errors, cache/plan/loss.c: a prior, shapes
cannot be calibrated); "all" is the model's whole context, "-" means that it does not fit."""
import json
import subprocess
import sys

SHAPES = ["smollm2-135m", "qwen3-0.6b", "llama-3.2-1b", "qwen2.5-1.5b", "qwen3-1.7b", "llama-3.2-3b", "qwen3-4b", "mistral-7b"]
RAM = ["1G", "2G", "4G"]
CHOICES = {"f16": ["-ctk", "f16", "-ctv", "f16"], "q8_0": ["-ctk", "q8_0", "-ctv", "q8_0"],
           "q4_0": ["-ctk", "q4_0", "-ctv", "q4_0"], "thimble": [], "thimble, `--prefer context`": ["--prefer", "context"]}


def cell(thimble, shape, ram, options):
    command = [thimble, "plan", "--shape", shape + ":q4_0", "--ram", ram, "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        sys.exit(done.stderr)
    plan = json.loads(done.stdout)
    if not plan["fits"]:
        return "-"
    tokens = "all" if plan["n_ctx"] == plan["n_ctx_train"] else f"{plan['n_ctx']:,}"
    return f"{tokens} ({plan['loss']:.1g})"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    print("| shape | RAM | " + " | ".join(CHOICES) + " |\n|---|---:|" + "---:|" * len(CHOICES))
    for shape in sys.argv[2:] or SHAPES:
        for ram in RAM:
            cells = [cell(sys.argv[1], shape, ram, options) for options in CHOICES.values()]
            print(f"| {shape} | {ram} | " + " | ".join(cells) + " |", flush=True)


main()
