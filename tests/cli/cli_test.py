#!/usr/bin/env python3
"""The program from outside: answers of the bundled model, the same text for every number of threads, and one line with
a failing status for whatever a user can get wrong. usage: cli_test.py SOURCE_FOLDER COMMAND... (the program, perhaps
after an emulator). TB_ISA in the environment holds for every start."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT, COMMAND = sys.argv[1], sys.argv[2:]
MODEL = os.path.join(ROOT, "models/tiny/tiny-chat.gguf")
VERBS = ("chat", "run", "bench", "eval", "calibrate", "plan", "tokenize", "inspect", "synth")
# Emulated starts take seconds each: fewer tokens, the same cases.
TOKENS = "8" if os.environ.get("QEMU_CPU") else "24"


def chat(question):
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


class Program(unittest.TestCase):
    def start(self, *arguments, stdin=b"", environment=None):
        return subprocess.run([*COMMAND, *arguments], input=stdin, capture_output=True, timeout=600, check=False,
                              env={**os.environ, **(environment or {})})

    def answer(self, *arguments, **keywords):
        """What a start that must succeed prints."""
        done = self.start(*arguments, **keywords)
        self.assertEqual(done.returncode, 0, (arguments, done.stderr))
        return done.stdout

    def refused(self, *arguments, word="", **keywords):
        """Fails with one line on standard error, nothing on standard output, and not by a signal."""
        done = self.start(*arguments, **keywords)
        lines = done.stderr.decode().splitlines()
        self.assertIn(done.returncode, (1, 2), (arguments, done.stderr))
        self.assertEqual(len(lines), 1, (arguments, lines))
        self.assertTrue(lines[0].startswith("thimble"), lines)
        self.assertIn(word, lines[0])
        self.assertEqual(done.stdout, b"")


class Answers(Program):
    """Greedy answers that the model knows well: right on every tier, though its rounding differs."""

    def say(self, prompt, *arguments):
        text = self.answer("run", "-q", "--temp", "0", "-n", "24", "-p", prompt, "--raw", "--no-escape", *arguments)
        return text.decode().strip()

    def test_template(self):
        question = "What is the capital of France?"
        asked = self.answer("run", "-q", "--temp", "0", "-n", "24", "-p", question).decode().strip()
        self.assertEqual(asked, self.say(chat(question)))

    def test_facts(self):
        self.assertEqual(self.say(chat("What is the capital of France?")), "The capital of France is Paris.")

    def test_recall(self):
        lines = ["round-mirror: 69073", "broken-whistle: 25851", "lucky-candle: 83449", "hungry-button: 81286"]
        told = chat("Remember these lines.\n" + "\n".join("line " + line for line in lines)) + "Okay.<|im_end|>\n"
        for line in lines:
            key, value = line.split(": ")
            self.assertEqual(self.say(told + chat(f"What is in line {key}?")), f"Line {key} has {value}.")

    def test_cache_types(self):
        for cache in ("f32", "q8_0"):
            answer = self.say(chat("What does a dog say?"), "-ctk", cache, "-ctv", cache)
            self.assertEqual(answer, "A dog says woof.")


class SameText(Program):
    def text(self, *arguments):
        return self.answer("run", "-q", "--raw", "-n", TOKENS, "-p", "Once upon a time, there was a fox who", *arguments)

    def test_threads_and_repetition(self):
        for sampling in (["--temp", "0"], ["--temp", "0.9", "-s", "11"]):
            first = self.text("-t", "1", *sampling)
            self.assertGreater(len(first), 10)
            for threads in ("1", "2", "3"):
                self.assertEqual(self.text("-t", threads, *sampling), first, (threads, sampling))

    def test_seeds_differ(self):
        self.assertNotEqual(self.text("--temp", "1.5", "-s", "1"), self.text("--temp", "1.5", "-s", "2"))

    def test_spilled(self):
        """Clusters in a file change nothing, and the file is gone."""
        with tempfile.TemporaryDirectory() as folder:
            story = ("Once upon a time, there was a fox who lived by the river. " * 30) + "One day, the fox"
            recall = ["run", "-q", "--raw", "-n", "8", "--temp", "0", "-c", "1024", "-p", story, "--kv-recall", "64", "-t", "2",
                      "-ctk", "skvqx2", "-ctv", "skvqx2"]
            spill = [*recall, "--kv-spill", folder, "--kv-resident", "320"]
            self.assertEqual(self.answer(*recall), self.answer(*spill))
            self.assertEqual(os.listdir(folder), [])
            self.assertRegex(self.start(*spill, "--stats").stderr.decode(), r"in memory already +[0-9.]+ %")
            self.refused(*spill, "--session", os.path.join(folder, "s"), word="not saved")
            self.refused(*recall, "--kv-resident", "320", word="kv_spill")

    def test_spill_damaged(self):
        """A late question about the first lines; then the file is damaged: one error, and the conversation goes on."""
        if COMMAND[1:]:
            self.skipTest("the program's open files are wanted, not an emulator's")
        lines = ["round-mirror: 69073", "broken-whistle: 25851", "lucky-candle: 83449"]
        told = "Remember these lines. " + " ".join("line " + line for line in lines)
        story = " ".join(["Once upon a time, there was a fox who lived by the river."] * 45)
        with tempfile.TemporaryDirectory() as folder:
            args = ["chat", "--temp", "0", "-n", "24", "-t", "1", "-ctk", "skvqx4", "-ctv", "skvqx4", "--kv-window", "-1",
                    "--kv-recall", "160", "--kv-spill", folder, "--kv-resident", "320"]
            with subprocess.Popen([*COMMAND, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env={**os.environ}) as process:
                def ask(text):
                    process.stdin.write(text.encode() + b"\n")
                    process.stdin.flush()
                    return process.stdout.readline()
                ask(told)
                ask(story)
                self.assertIn(b"25851", ask("What is in line broken-whistle?"))
                files = [f"/proc/{process.pid}/fd/{fd}" for fd in os.listdir(f"/proc/{process.pid}/fd")]
                with open([f for f in files if folder in os.readlink(f)][0], "r+b") as file:
                    size = file.seek(0, os.SEEK_END)
                    file.seek(0)
                    file.write(b"\xee" * size)
                process.stdin.write(b"What is in line lucky-candle?\n")
                process.stdin.flush()
                said = process.stderr.readline()
                self.assertIn(b"damaged in its file", said)
                self.assertIn(b"kept", process.stderr.readline())
                self.assertIn(b"83449", ask("What is in line lucky-candle?"))
                process.communicate(b"/quit\n", timeout=60)
            self.assertEqual(process.returncode, 0)

    def test_logits(self):
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for threads in ("1", "2"):
                files.append(os.path.join(folder, threads))
                self.answer("run", "-q", "-t", threads, "--raw", "-p", "The fox went", "--logits", files[-1], "--all-logits")
            first, second = (open_read(f) for f in files)
        self.assertEqual(first, second)
        self.assertGreater(len(first), 4 * 2048)
        self.assertEqual(len(first) % (4 * 2048), 0)

    def test_prompt_sources_agree(self):
        prompt = "Tom and Mia played"
        with tempfile.NamedTemporaryFile() as f:
            f.write(prompt.encode())
            f.flush()
            texts = {self.answer("run", "-q", "--temp", "0", "-n", "8", *source, stdin=stdin)
                     for source, stdin in ((["-p", prompt], b""), (["-f", f.name], b""), ([], prompt.encode()))}
        self.assertEqual(len(texts), 1)


class Mistakes(Program):
    def test_verbs_and_options(self):
        self.refused("nonsense", word="nonsense")
        for verb in VERBS:
            self.refused(verb, "--no-such-option", word="--no-such-option")
        self.refused("run", "-p", "a", "-n", word="-n")
        for option, value in (("-n", "x"), ("-n", "5x"), ("-n", "-7"), ("-n", "99999999999999999999"), ("-t", "0"),
                              ("-t", "1e9"), ("-c", "-1"), ("--temp", "nan"), ("--temp", "-1"), ("--top-p", "2"),
                              ("-b", "0")):
            self.refused("run", "-p", "a", option, value, word=option)
        self.refused("run", "-p", "a", "-ctk", "q99", word="q99")

    def test_files(self):
        with tempfile.TemporaryDirectory() as folder:
            missing, cut, text, empty = (os.path.join(folder, name + ".gguf") for name in ("missing", "cut", "text", "empty"))
            for source, path, size in ((MODEL, cut, 100_000), (__file__, text, 1000), (MODEL, empty, 0)):
                with open(path, "wb") as f:
                    f.write(open_read(source)[:size])
            for verb in (["run", "-p", "a"], ["bench"], ["tokenize"]):
                self.refused(*verb, "-m", missing, word="missing.gguf: ")
                self.refused(*verb, "-m", cut, word="cut.gguf: ")
                self.refused(*verb, "-m", text, word="not a GGUF file")
                self.refused(*verb, "-m", folder)
                self.refused(*verb, "-m", empty, word="empty.gguf: ")
            self.refused("inspect", missing, word="missing.gguf")
            self.refused("run", "-f", missing, word="missing.gguf")
            self.refused("run", "-p", "a", "--logits", os.path.join(folder, "no/such/folder"), "-q")

    def test_errors_name_a_file_once(self):
        line = self.start("run", "-m", "/no/such/file", "-p", "a").stderr.decode()
        self.assertEqual(line.count("/no/such/file"), 1, line)

    def test_empty_prompts(self):
        self.refused("run", "-p", "", word="empty")
        self.refused("run", stdin=b"", word="empty")
        self.refused("run", "--raw", "-p", "", word="empty")

    def test_tiers(self):
        self.refused("run", "-p", "a", environment={"TB_ISA": "mmx"}, word="mmx")
        text = self.start("run", "-p", "a", "-n", "1", environment={"TB_ISA": "ref"}).stderr.decode()
        self.assertIn(" ref,", text)

    @unittest.skipIf(os.environ.get("QEMU_CPU") or not shutil.which("prlimit"), "needs prlimit; the limit would be an emulator's")
    def test_small_stacks(self):
        for kib, code in ((64, 1), (255, 1), (256, 0)):
            done = subprocess.run(["prlimit", f"--stack={kib << 10}:{kib << 10}", *COMMAND, "run", "-m", MODEL, "-n", "40",
                                   "-p", "a", "-ctk", "skvqx2", "-ctv", "skvqx2"],
                                  capture_output=True, timeout=600, check=False)
            self.assertEqual((done.returncode, b"stack" in done.stderr), (code, code == 1), done.stderr)

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full here")
    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([*COMMAND, "run", "-q", "-n", "4", "-p", "a"], stdin=subprocess.DEVNULL, stdout=full,
                                  stderr=subprocess.PIPE, timeout=600, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)


class Cpus(Program):
    def test_masks(self):
        cpu = max(os.sched_getaffinity(0))
        for mask in (f"{1 << cpu:x}", f"0x{1 << cpu:X}"):
            done = self.start("run", "-p", "a", "-n", "1", "--cpu-mask", mask)
            self.assertIn(b", 1 threads,", done.stderr)
        for mask in ("0", "", "5-6", f"{1 << 4000:x}"):
            self.refused("run", "-p", "a", "--cpu-mask", mask, word="mask")

    @unittest.skipUnless(os.path.isdir("/sys/class/thermal") and os.geteuid() == 0 and
                         subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0,
                         "needs root and a mount namespace to show other temperatures")
    def test_cooling(self):
        with tempfile.TemporaryDirectory() as folder:
            zone = os.path.join(folder, "thermal_zone0")
            os.mkdir(zone)

            def put(**files):
                for name, text in files.items():
                    with open(os.path.join(zone, name), "w", encoding="ascii") as f:
                        f.write(text + "\n")

            def command(*arguments):
                return ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /sys/class/thermal && exec "$@"', folder, *COMMAND,
                        "run", "-n", "2", "-p", "a", *arguments]

            put(type="cpu-thermal", temp="91000")
            done = subprocess.run(command("--cool"), capture_output=True, timeout=600, check=False)
            self.assertEqual((done.returncode, done.stderr.count(b"\n")), (2, 1), done.stderr)
            put(trip_point_0_type="critical", trip_point_0_temp="100000")
            for arguments in (["--cool"], ["--cool-at", "60"]):
                put(temp="91000")
                with subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as program:
                    text = b""
                    while b"[pausing: cpu-thermal" not in text:
                        line = program.stderr.readline()
                        self.assertTrue(line, text)
                        text += line
                    put(temp="50000")
                    self.assertIn(b"[going on]", program.stderr.read())
                self.assertEqual(program.returncode, 0)


class Profiles(Program):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="thimble-cli-")
        self.addCleanup(self.folder.cleanup)
        self.model = self.path("model.gguf")
        os.symlink(MODEL, self.model)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def calibrate(self, *arguments, **keywords):
        return self.answer("calibrate", "-q", "-n", "128", "-c", "64", *arguments, **keywords)

    def say(self, *arguments):
        return self.start("run", "-q", "--temp", "0", "-n", "2", "-p", "Hi", "-m", self.model, *arguments)

    def test_usual_place(self):
        self.calibrate("-m", self.model)
        self.assertTrue(os.path.isfile(self.path("model.profile.gguf")))
        self.assertEqual(self.say().stderr, b"")
        # It is used: a damaged one is noticed, and "none" does not look at it.
        with open(self.path("model.profile.gguf"), "r+b") as f:
            f.truncate(1000)
        self.assertIn(b"is left alone", self.say().stderr)
        self.assertEqual(self.say("--kv-profile", "none").stderr, b"")
        self.refused("run", "-q", "-n", "2", "-p", "Hi", "-m", self.model, "--kv-profile", self.path("model.profile.gguf"),
                     word="model.profile.gguf")

    def test_foreign(self):
        other = self.path("other.gguf")
        self.answer("synth", "--shape", "tiny-llama", "--type", "q4_0", "-o", other)
        self.calibrate("-m", MODEL, "-o", self.path("other.profile.gguf"))
        self.refused("plan", "-m", other, "--kv-profile", self.path("other.profile.gguf"), word="another model")
        done = self.start("plan", "-m", other)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"belongs to another model", done.stderr)

    def test_interrupt(self):
        process = subprocess.Popen([*COMMAND, "calibrate", "-o", self.path("late.gguf")], stderr=subprocess.PIPE)
        time.sleep(10 if os.environ.get("TB_UNDER") else 2)  # until the program listens to signals
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=600)
        self.assertEqual(process.returncode, 130, errors)
        self.assertEqual(os.listdir(self.folder.name), ["model.gguf"])


class Context(Program):
    def test_full_context_is_explained(self):
        done = self.start("run", "-q", "--raw", "--temp", "0", "-c", "32", "-n", "100", "--ignore-eos", "-p", "Once upon a time")
        self.assertIn(b"-c", done.stderr)
        self.assertIn(b"full", done.stderr)
        self.assertGreater(len(done.stdout), 20)

    def test_prompt_that_does_not_fit(self):
        done = self.start("run", "-q", "-c", "16", "-p", "word " * 200)
        self.assertIn(done.returncode, (1, 2))
        self.assertEqual(len(done.stderr.decode().splitlines()), 1, done.stderr)


class OtherVerbs(Program):
    def test_help_and_version(self):
        self.assertIn(b"usage", self.answer("--help"))
        self.assertRegex(self.answer("--version"), rb"^thimble \d+\.\d+")
        for verb in VERBS:
            self.assertIn(b"usage", self.answer(verb, "--help"))
        self.assertEqual(self.start().returncode, 2)

    def test_inspect(self):
        text = self.answer("inspect", MODEL).decode()
        for word in ("llama", "token_embd.weight", "q8_0", "smollm"):
            self.assertIn(word, text)

    def test_tokenize(self):
        ids = self.answer("tokenize", "--ids", "-m", MODEL, stdin="Hello 12 caf\u00e9\n".encode()).split()
        self.assertTrue(ids)
        self.assertTrue(all(0 <= int(i) < 2048 for i in ids), ids)

    def test_synthetic_model(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "synthetic.gguf")
            self.answer("synth", "--shape", "tiny-llama", "--type", "q4_0", "-o", path)
            self.assertIn(b"q4_0", self.answer("inspect", path))
            self.answer("run", "-q", "-m", path, "-n", "4", "-p", "a")


def open_read(path):
    with open(path, "rb") as f:
        return f.read()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
