#!/usr/bin/env python3
"""The program in a hostile place: signals at any moment, a model that changes under it, closed and broken files, small
limits, a full disk, no /proc. It ends by itself, says why, and what was saved stays whole.
usage: hostile_test.py PROGRAM MODEL [ROUNDS [TESTS]]   (rounds of what is random, 2 by default; 500 for the long form)"""
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM, MODEL = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 2
QUESTION = b"What is the capital of France?\n"
ENDLESS = ["run", "--raw", "--ignore-eos", "--temp", "0", "-c", "8192", "-n", "8000", "-p", "Once upon a time"]
random.seed(20260801)


class Hostile(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="thimble-hostile-")
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.model = os.path.join(self.folder, "model.gguf")
        shutil.copyfile(MODEL, self.model)
        self.session = os.path.join(self.folder, "session")

    def start(self, *arguments, **keywords):
        keywords = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **keywords}
        child = subprocess.Popen([PROGRAM, *arguments], **keywords)
        self.addCleanup(self.put_away, child)
        return child

    @staticmethod
    def put_away(child):
        if child.poll() is None:
            child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe and not pipe.closed:
                try:
                    pipe.close()
                except OSError:
                    pass

    def ended(self, child, codes, **keywords):
        out, err = child.communicate(timeout=60, **keywords)
        self.assertIn(child.returncode, codes, (child.args, err))
        return out, err

    def run_it(self, *arguments, codes=(0,), stdin=b"", **keywords):
        return self.ended(self.start(*arguments, **keywords), codes, input=stdin)

    def make_session(self):
        self.run_it("chat", "-m", MODEL, "--session", self.session, "--temp", "0", stdin=QUESTION)
        with open(self.session, "rb") as f:
            return f.read()

    def messages(self):
        """Tokens of the saved conversation; fails when the file cannot be used."""
        _, err = self.run_it("run", "-m", MODEL, "--session", self.session, "-p", "And?", "-n", "1", "--temp", "0")
        return int(err.split(b"reused ")[1].split(b";")[0])

    def assert_clean(self):
        left = [n for n in os.listdir(self.folder) if n.endswith(".tmp")]
        self.assertEqual(left, [])


def catches(pid, number):
    """True once the process has a handler for the signal."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith("SigCgt:"):
                    return int(line.split()[1], 16) >> (number - 1) & 1
    except OSError:
        pass
    return False


class Signals(Hostile):
    slowest = 0.0

    def signalled(self, child, number, delay, codes):
        while not catches(child.pid, number) and child.poll() is None:
            time.sleep(0.0005)
        time.sleep(delay)
        sent = time.monotonic()
        if child.poll() is None:
            child.send_signal(number)
        out, err = child.communicate(timeout=60)
        Signals.slowest = max(Signals.slowest, time.monotonic() - sent)
        self.assertIn(child.returncode, codes, (child.args, number, delay, err))
        return out, err

    def test_terminate_at_any_moment(self):
        for _ in range(ROUNDS):
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                delay = random.choice((0, 0.002, 0.01, 0.05, 0.2)) * random.random()
                child = self.start(*ENDLESS, "-m", self.model, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                self.signalled(child, number, delay, (128 + number,))

    def test_terminate_a_chat_at_any_moment(self):
        before = self.make_session()
        for _ in range(ROUNDS):
            with open(self.session, "wb") as f:
                f.write(before)
            child = self.start("chat", "-m", self.model, "--session", self.session, "-n", "400")
            child.stdin.write(b"Tell me a story about a fox.\n" * 3)
            child.stdin.flush()
            self.signalled(child, signal.SIGTERM, 0.3 * random.random(), (0, 143))
            self.assertGreater(self.messages(), 0)
            self.assert_clean()

    def test_terminate_while_waiting(self):
        child = self.start("chat", "-m", self.model, "--session", self.session, "--temp", "0")
        child.stdin.write(QUESTION)
        child.stdin.flush()
        self.assertIn(b"Paris", child.stdout.readline())
        time.sleep(0.1)
        self.signalled(child, signal.SIGTERM, 0, (0,))
        self.assertGreater(self.messages(), 10)

    def test_terminate_other_verbs(self):
        """Whatever it was doing: it ends, and what it was to write is not there or whole."""
        profile, made = os.path.join(self.folder, "profile.gguf"), os.path.join(self.folder, "made.gguf")
        text, shape = os.path.join(self.folder, "text"), os.path.join(self.folder, "shape")
        with open(text, "w", encoding="ascii") as f:
            f.write("The fox and the hen were friends. " * 4000)
        with open(shape, "w", encoding="ascii") as f:
            f.write("architecture = llama\npre = smollm\nn_layer = 8\nn_embd = 512\nn_head = 8\nn_head_kv = 4\nn_ff = 2048\n"
                    "n_vocab = 4000\nn_ctx = 512\nrope_base = 10000\nrms_eps = 1e-5\ntied = yes\n")
        verbs = [["bench", "-m", self.model, "-p", "256", "-n", "64", "-r", "9"],
                 ["calibrate", "-m", self.model, "-f", text, "-o", profile],
                 ["eval", "-m", self.model, "-f", text],
                 ["plan", "-m", self.model],
                 ["inspect", "-m", self.model],
                 ["tokenize", "-m", self.model],
                 ["synth", "--shape", shape, "--type", "q8_0", "-o", made]]
        for verb in verbs:
            for _ in range(ROUNDS):
                with open(text, "rb") as f:
                    child = self.start(*verb, stdin=f, stdout=subprocess.DEVNULL)
                self.signalled(child, signal.SIGTERM, random.choice((0, 0.02, 0.3)) * random.random(), (0, 143))
                for path in (profile, made):
                    if os.path.exists(path):
                        self.run_it("inspect", "-m", path)

    def slow_chat(self):
        """A chat in the middle of an answer that takes its time."""
        child = self.start("chat", "-m", self.model, "--temp", "0", "-t", "1", "--session", self.session, bufsize=0,
                           env={**os.environ, "TB_ISA": "ref"})
        child.stdin.write(b"Tell me a story about a fox.\n")
        child.stdout.read(10)
        return child

    def test_interrupt_stops_an_answer_first(self):
        child = self.slow_chat()
        child.send_signal(signal.SIGINT)
        rest = child.stdout.readline()
        self.assertLess(len(rest), 300)
        child.stdin.write(QUESTION)  # it still listens
        self.assertIn(b"Paris", child.stdout.readline())
        self.ended(child, (0,), input=b"/exit\n")
        self.assertGreater(self.messages(), 20)

    def test_second_interrupt_leaves(self):
        child = self.slow_chat()
        for _ in range(3):
            child.send_signal(signal.SIGINT)
            time.sleep(0.001)
        self.ended(child, (0, 130))  # 0: the answer had stopped before the second one came

    def test_saved_during_an_answer(self):
        child = self.start(*ENDLESS, "-m", self.model, "--session", self.session)
        while not os.path.exists(self.session):
            self.assertTrue(child.stdout.read(100))
        child.kill()
        child.wait()
        self.run_it("run", "--raw", "-m", self.model, "-c", "8192", "--session", self.session, "-p", "x", "-n", "1")

    @classmethod
    def tearDownClass(cls):
        print(f"slowest end after a signal: {cls.slowest:.3f} s", flush=True)


class ModelChanges(Hostile):
    """The file is cut or rewritten while it is mapped."""

    def cut(self, size):
        os.truncate(self.model, size)

    def rewrite(self, _):
        with open(self.model, "r+b") as f:
            f.seek(os.path.getsize(self.model) // 2)
            f.write(bytes(100_000))

    def chat_with(self, change, size):
        child = self.start("chat", "-m", self.model, "--session", self.session, "--temp", "0")
        child.stdin.write(QUESTION)
        child.stdin.flush()
        self.assertIn(b"Paris", child.stdout.readline())
        change(size)
        _, err = self.ended(child, (1,), input=b"Tell me a story about a fox.\n")
        self.assertIn(b"model.gguf", err)
        self.assertEqual(len(err.splitlines()), 1, err)
        self.assertGreater(self.messages(), 20)

    def test_cut_between_turns(self):
        for size in (0, 4096, os.path.getsize(MODEL) // 2, os.path.getsize(MODEL) - 1):
            shutil.copyfile(MODEL, self.model)
            self.chat_with(self.cut, size)

    def test_rewritten_between_turns(self):
        self.chat_with(self.rewrite, 0)

    def test_replaced_by_rename(self):
        child = self.start("chat", "-m", self.model, "--temp", "0")
        child.stdin.write(QUESTION)
        child.stdin.flush()
        child.stdout.readline()
        os.rename(shutil.copyfile(__file__, self.model + ".new"), self.model)
        out, _ = self.ended(child, (0,), input=QUESTION)
        self.assertIn(b"Paris", out)

    def test_while_answering(self):
        for i in range(ROUNDS):
            shutil.copyfile(MODEL, self.model)
            session = [] if i % 2 else ["--session", self.session]
            child = self.start(*ENDLESS, "-m", self.model, *session)
            child.stdout.read(200)
            (self.rewrite if i % 3 == 2 else self.cut)(random.choice((0, 4096, 1_000_000)))
            _, err = self.ended(child, (1,))
            self.assertIn(b"model.gguf", err)
            if session:
                self.run_it("run", "--raw", "-m", MODEL, "-c", "8192", *session, "-p", "x", "-n", "1")
                os.unlink(self.session)

    def test_while_loading(self):
        for verb in (["run", "-p", "a", "-n", "2"], ["bench", "-p", "8", "-n", "2", "-r", "1"], ["inspect"], ["plan"]):
            for _ in range(ROUNDS):
                shutil.copyfile(MODEL, self.model)
                child = self.start(*verb, "-m", self.model)
                time.sleep(0.03 * random.random())
                self.cut(random.choice((0, 4096, 1_000_000)))
                _, err = self.ended(child, (0, 1))
                if child.returncode:
                    self.assertIn(b"model.gguf", err)


    def test_profile(self):
        """What a cache needs of its profile it has read by the time it is made."""
        profile = os.path.join(self.folder, "profile")
        self.run_it("calibrate", "-m", MODEL, "-t", "1", "-n", "100", "--no-losses", "-o", profile)
        for change in (lambda f: f.truncate(0), lambda f: f.write(bytes(100_000)), lambda f: f.truncate(200_000)):
            child = self.start("chat", "-m", self.model, "--session", self.session, "--temp", "0", "-ctk", "skvqx2", "-ctv",
                               "skvqx4", "--kv-profile", profile)
            child.stdin.write(QUESTION)
            child.stdin.flush()
            self.assertIn(b"Paris", child.stdout.readline())
            whole = shutil.copyfile(profile, os.path.join(self.folder, "kept"))
            with open(profile, "r+b") as f:
                change(f)
            out, _ = self.ended(child, (0,), input=b"And of Italy?\n/reset\n" + QUESTION)
            self.assertIn(b"Paris", out)
            os.rename(whole, profile)
            self.run_it("run", "-m", MODEL, "--session", self.session, "-p", "And?", "-n", "1", "-ctk", "skvqx2", "-ctv",
                        "skvqx4", "--kv-profile", profile)
            os.unlink(self.session)


class Files(Hostile):
    """Standard files that are closed, broken or full; nothing where a program expects the system."""

    def in_shell(self, line, codes, **keywords):
        done = subprocess.run(["sh", "-c", line, "sh", PROGRAM, self.model, self.session], capture_output=True, timeout=60,
                              check=False, stdin=subprocess.DEVNULL, **keywords)
        self.assertIn(done.returncode, codes, (line, done.stderr))
        return done

    def test_broken_output(self):
        self.in_shell('"$1" run -m "$2" --raw --ignore-eos -n 2000 -c 4096 -p a 2>/dev/null | head -c 1; true', (0,))
        child = self.start(*ENDLESS, "-m", self.model)
        child.stdout.read(10)
        child.stdout.close()
        self.assertEqual(child.wait(timeout=60), 1)

    def test_full_output(self):
        for verb in ("--help", "--version", 'inspect -m "$2"', 'plan -m "$2"', 'tokenize --help'):
            done = self.in_shell(f'"$1" {verb} >/dev/full', (1,))
            self.assertIn(b"cannot write to standard output", done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_endless_input(self):
        done = self.in_shell('"$1" run -m "$2" -f /dev/zero', (1,))
        self.assertEqual(done.stderr, b"thimble run: cannot read /dev/zero: File too large\n")

    def test_closed_files(self):
        before = self.make_session()
        ask = '"$1" run -m "$2" --session "$3" -p "And of Italy?" -n 20 --temp 0 '
        self.in_shell(ask + ">&-", (1,))
        self.in_shell(ask + ">&- 2>&- <&-", (1,))
        self.in_shell(ask + "2>&-", (0,))
        self.in_shell('"$1" chat -m "$2" --session "$3" <&-', (0, 1))
        self.assertGreater(self.messages(), 10)
        self.assertTrue(before)
        with open(self.model, "rb") as a, open(MODEL, "rb") as b:
            self.assertEqual(a.read(), b.read())

    def test_empty_environment(self):
        self.in_shell('"$1" run -m "$2" -p hi -n 2', (0,), env={})
        self.in_shell('cd / && "$1" run -m "$2" -p hi -n 2', (0,), env={"HOME": "/no/such/folder"})

    def test_without_proc_and_sys(self):
        line = 'mount -t tmpfs none /proc && mount -t tmpfs none /sys && "$1" run -m "$2" -p hi -n 2 --session "$3"'
        if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
            self.skipTest("no rights to unshare")
        done = subprocess.run(["unshare", "-m", "sh", "-c", line, "sh", PROGRAM, self.model, self.session],
                              capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(self.messages(), 0)


class Limits(Hostile):
    def limited(self, what, soft, *arguments, codes=(0, 1, 2), stdin=b""):
        def limit():
            resource.setrlimit(what, (soft, soft))
        child = self.start(*arguments, preexec_fn=limit)
        out, err = child.communicate(input=stdin, timeout=60)
        # 127: the loader, before the program began
        self.assertIn(child.returncode, (*codes, 127), (arguments, soft, err))
        return child.returncode, out, err

    def sweep(self, what, first, last, *more, least=10):
        """From too little to enough: at every step it works or says why not."""
        worked = refused = 0
        steps = max(least, ROUNDS)
        for i in range(steps):
            soft = int(first * (last / first) ** (i / (steps - 1)))
            code, _, err = self.limited(what, soft, "run", "-m", self.model, "-p", "hi", "-n", "4", "-c", "512", "-t", "2",
                                        *more)
            worked += code == 0
            refused += code != 0
            if code:
                self.assertTrue(err.strip(), soft)
        self.assertGreater(worked, 0)
        self.assertGreater(refused, 0)

    def test_address_space(self):
        self.sweep(resource.RLIMIT_AS, 12 << 20, 512 << 20)  # less ends in the loader

    def test_data(self):
        self.sweep(resource.RLIMIT_DATA, 512 << 10, 512 << 20)  # less does not hold the program

    def test_caches(self):
        """The same with packed types from a profile, with recall, with clusters in a file and with merged layers."""
        profile, plan = os.path.join(self.folder, "profile"), os.path.join(self.folder, "merge")
        self.run_it("calibrate", "-m", MODEL, "-t", "1", "-n", "100", "--no-losses", "-o", profile)
        with open(plan, "w", encoding="ascii") as f:
            f.write("thimble-plan 1\n0-2 f16 f16\n3 q8_0 skvqx2 merge=up cosine=0\n4 q8_0 skvqx2 merge=down cosine=0\n"
                    "5-7 f16 f16\n")
        for more in (["-ctk", "skvqx2", "-ctv", "skvqx4", "--kv-profile", profile], ["--kv-recall", "64"],
                     ["--kv-recall", "64", "--kv-resident", "160", "--kv-spill", self.folder],
                     ["--kv-plan", plan, "--kv-profile", profile]):
            self.run_it("run", "-m", self.model, "-p", "hi", "-n", "4", "-c", "512", *more)
            self.sweep(resource.RLIMIT_AS, 12 << 20, 512 << 20, *more, least=4)
            self.sweep(resource.RLIMIT_DATA, 512 << 10, 512 << 20, *more, least=4)

    def test_file_of_clusters(self):
        """No room for it is said at the start."""
        ask = ["run", "-m", self.model, "-p", "hi", "-n", "4", "--kv-recall", "64", "--kv-spill", self.folder]
        for limit in (0, 1, 4096, 100_000):
            code, _, err = self.limited(resource.RLIMIT_FSIZE, limit, *ask)
            self.assertEqual(code, 1, err)
            self.assertIn(b"no room for a file", err)
            self.assertEqual(sorted(os.listdir(self.folder)), ["model.gguf"])

    def test_others(self):
        ask = ["run", "-m", self.model, "-p", "hi", "-n", "4"]
        for n in range(3, 12):
            self.limited(resource.RLIMIT_NOFILE, n, *ask)
        for size in (96 << 10, 256 << 10, 1 << 20):
            self.limited(resource.RLIMIT_STACK, size, *ask)
        self.limited(resource.RLIMIT_CORE, 0, *ask, codes=(0,))

    def test_file_size(self):
        before = self.make_session()
        ask = ["run", "-m", self.model, "--session", self.session, "-p", "And of Italy?", "-n", "20", "--temp", "0"]
        for limit in (0, 1, 1000, len(before), len(before) + 100):
            code, out, err = self.limited(resource.RLIMIT_FSIZE, limit, *ask)
            self.assertEqual(code, 1, err)
            self.assertIn(b"not saved", err)
            self.assertTrue(out.strip())
            with open(self.session, "rb") as f:
                self.assertEqual(f.read(), before)
            self.assert_clean()

    def test_outputs_on_a_full_disk(self):
        """What a verb was to write is as it was: an older file whole, a new one not there."""
        if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
            self.skipTest("no rights to unshare")
        disk, old = os.path.join(self.folder, "disk"), os.path.join(self.folder, "old")
        os.mkdir(disk)
        line = ('mount -t tmpfs -o size=64k none "$1" || exit 9; cd "$1"; shift; cp "$OLD" old.svg; '
                'dd if=/dev/zero of=fill bs=4k 2>/dev/null; "$@"; code=$?; cmp -s old.svg "$OLD" || exit 8; '
                '[ "$(ls -A | tr "\\n" " ")" = "fill old.svg " ] || exit 7; exit $code')
        with open(old, "wb") as f:
            f.write(b"an older file")
        writers = [["plan", "-m", self.model, "-o"], ["run", "-m", self.model, "--raw", "-p", "hi", "--logits"],
                   ["run", "-m", self.model, "--raw", "-p", "hi and more", "--all-logits", "--logits"],
                   ["calibrate", "-m", self.model, "-n", "64", "-t", "1", "--no-losses", "-o"]]
        if shutil.which("gnuplot"):
            writers.append(["plan", "-m", self.model, "--plot"])
        for words in writers:
            for name in ("old.svg", "new.svg"):
                done = subprocess.run(["unshare", "-m", "sh", "-c", line, "sh", disk, PROGRAM, *words, name], timeout=60,
                                      check=False, capture_output=True, stdin=subprocess.DEVNULL,
                                      env={**os.environ, "OLD": old})
                self.assertEqual(done.returncode, 1, (words, name, done.stderr))
                self.assertIn(name.encode(), done.stderr)

    def test_full_disk(self):
        before = self.make_session()
        line = ('mount -t tmpfs -o size=512k none "$4" && cp "$3" "$4/session" && dd if=/dev/zero of="$4/fill" 2>/dev/null; '
                '"$1" run -m "$2" --session "$4/session" -p "And?" -n 9 --temp 0; code=$?; cmp "$3" "$4/session" || exit 9; '
                'ls -A "$4" | grep -c tmp && exit 8; exit $code')
        disk = os.path.join(self.folder, "disk")
        os.mkdir(disk)
        if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
            self.skipTest("no rights to unshare")
        done = subprocess.run(["unshare", "-m", "sh", "-c", line, "sh", PROGRAM, self.model, self.session, disk],
                              capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 1, (done.stdout, done.stderr))
        self.assertIn(b"no room", done.stderr)
        self.assertTrue(before)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
