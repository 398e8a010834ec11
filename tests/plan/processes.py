"""Processes that are held against their plans: models to run, limits to run under, the most they took."""
import contextlib
import json
import os
import resource
import subprocess
import time

CGROUP = "/sys/fs/cgroup/memory"
ADDRESS, DATA = resource.RLIMIT_AS, resource.RLIMIT_DATA


class Done:
    """How a process ended: code, what it said, the most anonymous memory that was seen of it."""

    def __init__(self, code, out, err, anonymous):
        self.code, self.out, self.err, self.anonymous = code, out, err, anonymous

    def says(self):
        return f"exit code {self.code}: {self.err.strip()[-300:]}"


def anonymous_now(pid):
    with contextlib.suppress(OSError, StopIteration), open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        return int(next(line for line in f if line.startswith("RssAnon")).split()[1]) << 10
    return 0


def run(program, args, limit=None, cgroup=None):
    """limit: (RLIMIT_…, bytes). Its anonymous memory is looked at every few milliseconds."""

    def prepare():
        if cgroup:
            with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as f:
                f.write(str(os.getpid()))
        if limit:
            resource.setrlimit(limit[0], (limit[1], limit[1]))

    environment = dict(os.environ, OMP_WAIT_POLICY="passive")  # these threads only wait for one another
    with subprocess.Popen([program, *args], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                          preexec_fn=prepare) as process:
        most, end = 0, time.monotonic() + 300
        while True:
            most = max(most, anonymous_now(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                out, err = process.communicate(timeout=0.004)
                return Done(process.returncode, out, err, most)
            if time.monotonic() > end:
                process.kill()


def plan(program, args):
    """The report, None where there is none, and how the process ended."""
    done = run(program, ["plan", "--json", *args])
    return (json.loads(done.out) if done.out else None), done


def make_model(program, folder, name, kind="q4_0", **keys):
    shape = {"architecture": "llama", "n_layer": 4, "n_embd": 128, "n_head": 4, "n_head_kv": 2, "n_ff": 256, "n_vocab": 1000, "n_ctx": 65536, "head_dim": 64}
    shape.update(keys)
    text, out = os.path.join(folder, name + ".txt"), os.path.join(folder, name + ".gguf")
    with open(text, "w", encoding="ascii") as f:
        f.writelines(f"{k} = {v}\n" for k, v in shape.items())
    done = run(program, ["synth", "--shape", text, "--type", kind, "-o", out])
    if done.code:
        raise SystemExit(done.err)
    return out


@contextlib.contextmanager
def memory_group(limit):
    """A control group of that many bytes (version 1, root's); None where none can be made."""
    folder = os.path.join(CGROUP, f"thimble-test-{os.getpid()}")
    try:
        os.mkdir(folder)
        set_limit(folder, limit)
    except OSError:
        if os.path.isdir(folder):
            os.rmdir(folder)
        yield None
        return
    try:
        yield folder
    finally:
        os.rmdir(folder)


def set_limit(folder, limit):
    with open(os.path.join(folder, "memory.limit_in_bytes"), "w", encoding="ascii") as f:
        f.write(str(limit))
