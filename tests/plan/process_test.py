#!/usr/bin/env python3
"""Holds real processes against their plans. usage: process_test.py THIMBLE [configurations]

  * anonymous memory / plan is in 0.90 ... 1.00 where the plan is 32 MiB or more, and never above 1 (below that size the
    constants for program and tokenizer, about 1 MiB, decide);
  * a process that may take exactly what was planned (RLIMIT_AS, RLIMIT_DATA, a memory cgroup of the hard total) finishes,
    one that may take 95 % of it is refused in words with exit code 2;
  * the nearest settings of a plan that does not fit do fit.
A cgroup needs the right to make one (version 1, root); elsewhere that part says that it was left out."""
import json
import os
import random
import resource
import subprocess
import sys
import tempfile

THIMBLE = sys.argv[1]
WANTED = int(sys.argv[2]) if len(sys.argv) > 2 else 40
FLOOR = 32 << 20  # plans below it are only held against the upper bound
CGROUP = "/sys/fs/cgroup/memory"
failures = []


def check(ok, what):
    if not ok:
        failures.append(what)
        print("FAILED:", what)


def thimble(*args, limits=(), cgroup=None):
    def prepare():
        if cgroup:
            with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as f:
                f.write(str(os.getpid()))
        for kind, value in limits:
            resource.setrlimit(kind, (value, value))
    environment = dict(os.environ, OMP_WAIT_POLICY="passive")  # these threads only wait for one another
    return subprocess.run([THIMBLE, *args], env=environment, capture_output=True, text=True, errors="replace", preexec_fn=prepare, timeout=120, check=False)


def plan(*args):
    done = thimble("plan", "--json", *args)
    return json.loads(done.stdout), done.returncode


def make_model(folder, name, **keys):
    shape = dict(architecture="llama", n_layer=4, n_embd=128, n_head=4, n_head_kv=2, n_ff=256, n_vocab=1000, n_ctx=65536, head_dim=64)
    shape.update(keys)
    kind = shape.pop("type", "q4_0")
    text, out = os.path.join(folder, name + ".txt"), os.path.join(folder, name + ".gguf")
    with open(text, "w", encoding="ascii") as f:
        f.writelines(f"{k} = {v}\n" for k, v in shape.items())
    done = thimble("synth", "--shape", text, "--type", kind, "-o", out)
    if done.returncode:
        sys.exit(done.stderr)
    return out


def run_args(model, ids, config):
    return ["-m", model, "--tokens", ids, "-n", "3", "--ignore-eos", "-q", "--stats", *config]


def real_anonymous(stderr):
    line = next(line for line in stderr.split("\n") if "RssAnon" in line)
    return float(line.split()[-1])


def ratios(models, ids):
    rng = random.Random(5)
    low, high, counted = 2.0, 0.0, 0
    for i in range(WANTED):
        model = rng.choice(models)
        config = ["-c", str(rng.choice((300, 2048, 8192, 20000, 65536))), "-t", str(rng.choice((1, 2, 3, 5))), "-b", str(rng.choice((1, 32, 512)))]
        if i % 3:
            config += ["-ctk", rng.choice(("f16", "q8_0", "q4_0", "f32")), "-ctv", rng.choice(("f16", "q8_0", "q4_0"))]
        report, _ = plan("-m", model, *config)
        done = thimble("run", *run_args(model, ids, config))
        check(done.returncode == 0, f"{config}: {done.stderr.strip()[-300:]}")
        if done.returncode:
            continue
        ratio = real_anonymous(done.stderr)
        check(ratio <= 1, f"{os.path.basename(model)} {config}: {ratio} of the plan of {report['anonymous']}")
        if report["anonymous"] >= FLOOR:
            check(ratio >= 0.90, f"{os.path.basename(model)} {config}: only {ratio} of the plan of {report['anonymous']}")
            low, counted = min(low, ratio), counted + 1
        high = max(high, ratio)
    print(f"anonymous / plan: {WANTED} configurations, {counted} of 32 MiB or more: {low:.3f} ... {high:.3f}")


def exact_limits(model, ids):
    for threads in ("1", "3"):
        config = ["-c", "40000", "-t", threads, "-ctk", "q8_0", "-ctv", "f16"]
        report, _ = plan("-m", model, *config)
        for name, kind, total in (("RLIMIT_AS", resource.RLIMIT_AS, "address"), ("RLIMIT_DATA", resource.RLIMIT_DATA, "data")):
            done = thimble("run", *run_args(model, ids, config), limits=[(kind, report[total])])
            check(done.returncode == 0, f"{name} of the plan, {threads} threads: {done.returncode} {done.stderr[-300:]}")
            done = thimble("run", *run_args(model, ids, config), limits=[(kind, report[total] * 95 // 100)])
            check(done.returncode == 2 and "does not fit" in done.stderr and name in done.stderr,
                  f"95 % of {name}: {done.returncode} {done.stderr[-300:]}")
        in_cgroup(model, ids, config, (report["hard"] + 4095) // 4096 * 4096)  # limits are whole pages


def in_cgroup(model, ids, config, hard):
    folder = os.path.join(CGROUP, f"thimble-test-{os.getpid()}")
    try:
        os.mkdir(folder)
        with open(os.path.join(folder, "memory.limit_in_bytes"), "w", encoding="ascii") as f:
            f.write(str(hard))
    except OSError as e:
        print(f"left out: no memory cgroup can be made here ({e.strerror})")
        if os.path.isdir(folder):
            os.rmdir(folder)
        return
    try:
        done = thimble("run", *run_args(model, ids, config), cgroup=folder)
        check(done.returncode == 0, f"cgroup of the hard total {hard}: {done.returncode} {done.stderr[-300:]}")
        with open(os.path.join(folder, "memory.limit_in_bytes"), "w", encoding="ascii") as f:
            f.write(str(hard * 95 // 100))
        done = thimble("run", *run_args(model, ids, config), cgroup=folder)
        check(done.returncode == 2 and "cgroup" in done.stderr, f"95 % of the cgroup: {done.returncode} {done.stderr[-300:]}")
        print(f"cgroup of {hard} bytes: finishes; at 95 % refused")
    finally:
        os.rmdir(folder)


def nearest_fit(model, ids):
    tried = 0
    for ram in ("20M", "30M", "60M"):
        for more in ([], ["-ctk", "f16", "-ctv", "f16"], ["-t", "4"]):
            report, code = plan("-m", model, "--ram", ram, "-c", "60000", *more)
            check(code == (0 if report["fits"] else 2), f"{ram} {more}: exit code {code}")
            for setting in report["settings"] if not report["fits"] else []:
                words = setting["options"].split()
                rest = [] if "-t" in words else more[:2] if more[:1] == ["-t"] else []
                again, code = plan("-m", model, "--ram", ram, *words, *rest)
                check(code == 0 and again["n_ctx"] == setting["n_ctx"], f"{ram} {more}: '{setting['options']}' does not fit")
                tried += 1
    check(tried > 5, "no settings were suggested")
    report, code = plan("-m", model, "--ram", "60M")
    for setting in report["settings"]:
        gib = f"{setting['ram'] / 2**30:.2f}G"
        again, code = plan("-m", model, "--ram", gib, *setting["options"].split())
        check(code == 0 and again["loss"] <= setting["loss"] * 1.0001, f"--ram {gib} {setting['options']} does not fit")
    print(f"{tried} nearest settings were tried")


def main():
    with tempfile.TemporaryDirectory() as folder:
        models = [make_model(folder, "a"), make_model(folder, "b", n_layer=9, n_head_kv=4, type="q8_0"),
                  make_model(folder, "c", n_layer=3, n_embd=256, n_vocab=30000, type="f16"), make_model(folder, "d", n_layer=6, head_dim=128)]
        ids = os.path.join(folder, "ids")
        with open(ids, "w", encoding="ascii") as f:
            f.write(" ".join(str(i % 900) for i in range(200)))
        ratios(models, ids)
        exact_limits(models[1], ids)
        nearest_fit(models[1], ids)
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
