#!/usr/bin/env python3
"""Holds real processes against their plans. usage: process_test.py THIMBLE [configurations]  (20; 200 take two minutes)

Configurations are drawn over shapes, weight types, contexts, batches, threads, cache types and policies: types of the
planner's choice, one type for all layers, another one for every layer, merged layers, recall. For each:

  * the most anonymous memory / plan is in 0.90 ... 1.00, where the plan is 8 MiB or more, in 0.80 ... 1.00 below it;
  * the process that may take exactly what was planned finishes, in a memory cgroup of the hard total, under RLIMIT_AS of
    the address total or RLIMIT_DATA of the data total, by turns; the one that may take 95 % of it is refused in words
    with exit code 2, not killed.

Then the nearest settings of plans that do not fit do fit, bench measures a plan where f16 does not, and weights that are
larger than a control group are read through it. A cgroup needs the right to make one (version 1, root);
elsewhere that part says that it was left out."""
import collections
import json
import os
import random
import sys
import tempfile

import processes

THIMBLE = sys.argv[1]
FLOOR = 8 << 20  # below it pages of the program and tables that are made in passing weigh more
WANTED = int(sys.argv[2]) if len(sys.argv) > 2 else 20
TYPES = ["f32", "f16", "q8_0", "q4_0", "skvqx4", "skvqx2", "skvqx2:rot=had", "skvq2:g=64", "skvq1.5:g=64", "lowrank:16", "lowrank:32:4",
         "lowrank:x2", "cskv:32", "cskv:64:4"]
FOR_VALUES = ["skvqx1.5", "skvqx1.5:rot=had"]
POLICIES = ["chosen", "one type", "one type", "by layer", "by layer", "merge", "recall", "recall"]
LIMITS = ["cgroup", "RLIMIT_AS", "cgroup", "RLIMIT_DATA"]
failures = []


def check(ok, what):
    if not ok:
        failures.append(what)
        print("FAILED:", what, flush=True)


class Model:
    def __init__(self, folder, name, kind, **keys):
        self.path, self.name = processes.make_model(THIMBLE, folder, name, kind, **keys), f"{name}:{kind}"
        self.layers = keys.get("n_layer", 4)
        done = processes.run(THIMBLE, ["calibrate", "-m", self.path, "-n", "256", "-c", "256", "--no-losses", "-q"])
        if done.code:
            sys.exit(done.err)


def make_models(folder):
    small = [Model(folder, "plain", "q4_0"), Model(folder, "tall", "q8_0", n_layer=9, n_head_kv=4),
             Model(folder, "words", "f16", n_layer=3, n_embd=256, n_vocab=30000)]
    if WANTED <= 20:
        return small
    return small + [Model(folder, "wide", "q4_0", n_layer=6, head_dim=128),
                    Model(folder, "three", "q4_k_m", architecture="qwen3", n_embd=256, n_head_kv=1, qk_norm="yes"),
                    Model(folder, "two", "q8_0", architecture="qwen2", n_embd=192, n_head=3, n_head_kv=3, bias="yes", tied="yes")]


# --------------------------------------------------------------------------------------------- drawing configurations


def plan_lines(rng, layers, policy):
    """A plan file in which every layer, or pair of merged layers, has types of its own."""
    lines = ["thimble-plan 1"]
    while len(lines) <= layers:
        i, k, v = len(lines) - 1, rng.choice(TYPES), rng.choice(TYPES + FOR_VALUES)
        window = f"window={rng.choice((0, 16, 128, 300))} sinks={rng.choice((0, 5))}"
        if policy == "merge" and i + 1 < layers and rng.random() < 0.7:
            retain = rng.choice((0, 8, 40))
            lines += [f"{i + j} {k} {v} {window} merge={way} retain={retain} cosine=0" for j, way in enumerate(("up", "down"))]
        else:
            if policy == "recall" and rng.random() < 0.7:
                window += f" recall={rng.choice((64, 1024, 4096))} cluster={rng.choice((0, 8, 32))}"
            lines.append(f"{i} {k} {v} {window}")
    return "\n".join(lines) + "\n"


def draw(rng, model, policy, folder):
    args = ["-c", str(rng.choice((300, 2048, 8192, 20000, 40000))), "-t", str(rng.choice((1, 2, 3, 5))), "-b", str(rng.choice((1, 32, 512)))]
    if policy == "chosen":
        args += ["--kv-spill", folder] if rng.random() < 0.5 else []
        return args + ["--ram", rng.choice(("24M", "60M", "200M")), "--prefer", rng.choice(("quality", "speed", "context"))]
    if policy == "one type" or (policy == "recall" and rng.random() < 0.5):
        args += ["-ctk", rng.choice(TYPES), "-ctv", rng.choice(TYPES + FOR_VALUES), "--kv-window", rng.choice(("-1", "64", "500"))]
        return args + (["--kv-recall", rng.choice(("128", "2048"))] if policy == "recall" else [])
    path = os.path.join(folder, "drawn.plan")
    with open(path, "w", encoding="ascii") as f:
        f.write(plan_lines(rng, model.layers, policy))
    return args + ["--kv-plan", path]


def drawn(rng, model, policy, folder):
    """A configuration that the stores allow, as a finished plan: (words, options, report). Others are refused in words."""
    final = os.path.join(folder, "final.plan")
    while True:
        args = draw(rng, model, policy, folder)
        report, done = processes.plan(THIMBLE, ["-m", model.path, *args, "-o", final])
        if report and report["fits"]:
            size = ["-c", str(report["n_ctx"]), "-t", str(report["n_threads"]), "-b", args[args.index("-b") + 1]]
            if any(layer["resident"] for layer in report["layers"]):
                size += ["--kv-spill", folder]
            return " ".join([model.name, policy, *args]), ["-m", model.path, *size, "--kv-plan", final], report
        check(done.code > 0 and done.err.startswith("thimble plan: "), f"{model.name} {args}: {done.says()}")


# --------------------------------------------------------------------------------------------------- held to the plan


def limited(args, kind, report, share):
    """Runs with `share` percent of what was planned; None where that limit cannot be set."""
    if kind == "cgroup":
        with processes.memory_group((report["hard"] * share // 100 + 4095) // 4096 * 4096) as group:
            return processes.run(THIMBLE, args, cgroup=group) if group else None
    limit, total = {"RLIMIT_AS": (processes.ADDRESS, "address"), "RLIMIT_DATA": (processes.DATA, "data")}[kind]
    return processes.run(THIMBLE, args, limit=(limit, report[total] * share // 100))


def configurations(models, folder):
    rng = random.Random(5)
    ids = os.path.join(folder, "ids")
    with open(ids, "w", encoding="ascii") as f:
        f.write(" ".join(str(i % 900) for i in range(200)))
    ratios, small, counts = [], [], collections.Counter()
    i = -1
    while len(ratios) < WANTED and len(failures) < 10:
        i += 1
        model, policy, kind = models[i % len(models)], POLICIES[i % len(POLICIES)], LIMITS[i // 3 % len(LIMITS)]
        words, options, report = drawn(rng, model, policy, folder)
        # of fewer tokens some runs would be over before anyone looked at their memory
        args = ["run", *options, "--tokens", ids, "-n", "40", "--ignore-eos", "-q"]
        done, refused = limited(args, kind, report, 100), limited(args, kind, report, 95)
        if done is None:
            counts["cgroup left out"] += 1
            done = processes.run(THIMBLE, args)
        else:
            counts[kind] += 1
            check(refused.code == 2 and "does not fit" in refused.err and kind in refused.err, f"{words}: 95 % of {kind}: {refused.says()}")
        check(done.code == 0, f"{words}: {kind} of the plan: {done.says()}")
        ratio = done.anonymous / report["anonymous"]
        least = 0.90 if report["anonymous"] >= FLOOR else 0.80
        for _ in range(2 if done.code == 0 else 0):  # on a busy machine nobody may have looked at the right moment
            if ratio < least:
                ratio = max(ratio, processes.run(THIMBLE, args).anonymous / report["anonymous"])
        check(ratio <= 1, f"{words}: {ratio:.4f} of the plan of {report['anonymous']}")
        if done.code == 0:
            check(ratio >= least, f"{words}: only {ratio:.3f} of the plan of {report['anonymous']}")
            (ratios if report["anonymous"] >= FLOOR else small).append(ratio)
        counts[policy] += 1
    print(f"{i + 1} configurations:", ", ".join(f"{n} {what}" for what, n in counts.items()))
    print(f"most anonymous memory / plan, {len(ratios)} of 8 MiB or more: {min(ratios):.3f} ... {max(ratios):.3f}")
    if small:
        print(f"the same, {len(small)} below: {min(small):.3f} ... {max(small):.3f}")


def nearest_fit(model):
    tried = 0
    for ram in ("20M", "30M", "60M"):
        for more in ([], ["-ctk", "f16", "-ctv", "f16"], ["-t", "4"]):
            report, done = processes.plan(THIMBLE, ["-m", model.path, "--ram", ram, "-c", "60000", *more])
            check(done.code == (0 if report["fits"] else 2), f"{ram} {more}: {done.says()}")
            for setting in report["settings"] if not report["fits"] else []:
                words = setting["options"].split()
                rest = [] if "-t" in words else more[:2] if more[:1] == ["-t"] else []
                again, done = processes.plan(THIMBLE, ["-m", model.path, "--ram", ram, *words, *rest])
                check(done.code == 0 and again["n_ctx"] == setting["n_ctx"], f"{ram} {more}: '{setting['options']}' does not fit")
                tried += 1
    check(tried > 5, "no settings were suggested")
    report, _ = processes.plan(THIMBLE, ["-m", model.path, "--ram", "60M"])
    for setting in report["settings"]:
        gib = f"{setting['ram'] / 2**30:.2f}G"
        again, done = processes.plan(THIMBLE, ["-m", model.path, "--ram", gib, *setting["options"].split()])
        check(done.code == 0 and again["loss"] <= setting["loss"] * 1.0001, f"--ram {gib} {setting['options']} does not fit")
    print(f"{tried} nearest settings were tried")


def weights_that_do_not_stay(folder):
    """In a group of exactly the hard total a model much larger than that is read again for every token, not killed."""
    large = Model(folder, "large", "f16", n_vocab=60000, n_embd=512, n_ff=4096, n_layer=6)
    with open(large.path, "rb") as f:  # what is in memory already would not count as the group's
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    args = ["-m", large.path, "-c", "1024", "-ctk", "f16", "-ctv", "f16"]
    report, _ = processes.plan(THIMBLE, args)
    check(report["hard"] < os.path.getsize(large.path), f"hard {report['hard']} covers the whole file")
    with processes.memory_group((report["hard"] + 4095) // 4096 * 4096) as group:
        if not group:
            print("cgroup left out: weights that do not stay")
            return
        done = processes.run(THIMBLE, ["run", *args, "-p", "a", "-n", "3", "--ignore-eos", "-q"], cgroup=group)
    check(done.code == 0, f"weights of {os.path.getsize(large.path)} in {report['hard']}: {done.says()}")


def bench_plans(model):
    """Without a word about the cache bench measures f16 where that fits, else what does."""
    depth = 20000
    report, _ = processes.plan(THIMBLE, ["-m", model.path, "-c", str(depth + 1), "-ctk", "f16", "-ctv", "f16"])
    args = ["bench", "-m", model.path, "-d", str(depth), "-p", "0", "-n", "1", "-r", "1", "-o", "json"]
    for percent, types, share in ((200, ("f16", "f16"), 1), (80, ("planned", ""), 0.8)):
        done = processes.run(THIMBLE, args, limit=(processes.ADDRESS, report["address"] * percent // 100))
        row = json.loads(done.out)[0] if done.code == 0 else {"type_k": done.says(), "type_v": "", "kv_bytes": 0}
        check((row["type_k"], row["type_v"]) == types, f"bench at {percent} % of f16: {row['type_k']}/{row['type_v']}")
        check(0.5 < row["kv_bytes"] / (share * report["cache"]) < 1.01, f"bench at {percent} % of f16: {row['kv_bytes']} bytes")


def main():
    with tempfile.TemporaryDirectory() as folder:
        models = make_models(folder)
        configurations(models, folder)
        nearest_fit(models[1])
        bench_plans(models[1])
        weights_that_do_not_stay(folder)
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
