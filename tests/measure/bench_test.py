#!/usr/bin/env python3
"""thimble bench from outside: what is measured and how it is told, never how fast. usage: see program.py"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from program import COMMAND, EMULATED, HAVE_GNUPLOT, Program

# Sizes at which a start takes moments, emulated too.
SMALL = ("--shape", "tiny-head128:q4_0", "-r", "2")


class Bench(Program):
    verb = "bench"

    def names(self, *arguments):
        return [row["test"] for row in self.rows(*arguments)]


class Tests(Bench):
    def test_sizes_and_order(self):
        self.assertEqual(self.names(*SMALL, "-p", "8,4-6", "-n", "2", "-pg", "3,1", "-d", "0,16"),
                         [f"{size}{depth}" for depth in ("", " @ d16") for size in ("pp8", "pp4", "pp5", "pp6", "tg2", "pp3+tg1")])
        self.assertEqual(self.names(*SMALL, "-p", "2-8*2", "-p", "10-14+2", "-n", "0"),
                         ["pp2", "pp4", "pp8", "pp10", "pp12", "pp14"])

    def test_every_combination(self):
        rows = self.rows(*SMALL, "-p", "4", "-n", "0", "-ctk", "f16,q8_0", "-ctv", "f16", "-ctv", "q4_0", "-ub", "2,4", "-b", "3,8")
        self.assertEqual(len(rows), 16)
        self.assertEqual(len({(row["type_k"], row["type_v"]) for row in rows}), 4)
        self.assertEqual({row["n_batch"] for row in rows}, {2, 3, 4})

    def test_pairs_of_caches(self):
        rows = self.rows(*SMALL, "-p", "4", "-n", "0", "--cache", "q8_0", "--cache", "q8_0/q4_0")
        self.assertEqual([(row["type_k"], row["type_v"]) for row in rows], [("q8_0", "q8_0"), ("q8_0", "q4_0")])
        self.refused(*SMALL, "--cache", "q8_0/", word="--cache")

    def test_turns(self):
        rows = self.rows(*SMALL, "-p", "4", "-n", "2", "-d", "0,8", "--cache", "f16", "--cache", "q8_0", "--turns")
        self.assertEqual([(row["test"], row["type_k"]) for row in rows],
                         [(f"{size}{depth}", cache) for depth in ("", " @ d8") for size in ("pp4", "tg2") for cache in ("f16", "q8_0")])
        self.assertTrue(all(len(row["samples_ns"]) == 2 and row["peak_rss"] is None for row in rows))

    def test_fields(self):
        row = self.rows(*SMALL, "-p", "0", "-n", "3", "-d", "32", "-ctk", "q8_0", "-ctv", "q4_0", "-r", "3")[0]
        for key in ("build_commit", "cpu_info", "backends", "model_filename", "model_type", "model_size", "model_n_params",
                    "n_batch", "n_ubatch", "n_threads", "type_k", "type_v", "n_prompt", "n_gen", "n_depth", "test_time",
                    "avg_ns", "stddev_ns", "avg_ts", "stddev_ts", "samples_ns", "samples_ts", "peak_rss", "peak_anonymous",
                    "isa", "read_bandwidth", "bandwidth_used", "integer_peak", "integer_peak_used",
                    "celsius_after", "mhz", "throttled", "build_compiler"):
            self.assertIn(key, row)
        self.assertEqual((row["model_filename"], row["n_threads"], row["n_depth"]), ("tiny-head128:q4_0", 1, 32))
        self.assertEqual(len(row["samples_ns"]), 3)
        self.assertAlmostEqual(row["avg_ns"] / (sum(row["samples_ns"]) / 3), 1, places=6)
        self.assertAlmostEqual(row["avg_ts"] / (sum(3e9 / ns for ns in row["samples_ns"]) / 3), 1, places=6)
        # tiny-head128: 2 layers, 2 key-value heads of 128; 32 keys in q8_0 take 34 bytes, 32 values in q4_0 18
        self.assertEqual(row["kv_bytes_per_token"], 2 * 2 * 4 * (34 + 18))
        touched = row["weight_bytes_per_token"] + row["kv_bytes_per_token"] * 33.5
        self.assertAlmostEqual(row["bytes_touched_per_token"], touched, places=3)
        self.assertIsNone(row["bandwidth_used"])  # all of it stays in the processor's caches

    @unittest.skipIf(EMULATED, "takes minutes on an emulated CPU")
    def test_bandwidth(self):
        row = self.rows("--shape", "smollm2-135m:q4_0", "-p", "0", "-n", "1", "-r", "1", "--no-warmup")[0]
        self.assertAlmostEqual(row["bandwidth_used"] / (row["avg_ts"] * row["bytes_touched_per_token"] / row["read_bandwidth"]),
                               1, places=5)

    def test_integer_peak(self):
        row = self.rows(*SMALL, "-p", "8", "-n", "0", "-r", "1")[0]
        # tiny-head128's matrices but the embedding, once per token
        self.assertGreater(row["integer_peak"], 0)
        macs = row["integer_peak_used"] * row["integer_peak"] / row["avg_ts"]
        self.assertAlmostEqual(macs, round(macs), places=1)
        self.assertLess(macs, row["model_n_params"])
        self.assertIsNone(self.rows(*SMALL, "-p", "0", "-n", "1", "-r", "1")[0]["integer_peak"])

    def test_recall_reads_less(self):
        all_of_it, chosen = (self.rows(*SMALL, "-p", "0", "-n", "2", "-r", "1", "-d", "2000", "--kv-recall", n)[0] for n in ("0", "128"))
        weights = all_of_it["weight_bytes_per_token"]
        self.assertLess(chosen["bytes_touched_per_token"] - weights, 0.5 * (all_of_it["bytes_touched_per_token"] - weights))
        self.assertGreater(chosen["bytes_touched_per_token"], weights)

    def test_formats(self):
        rows = self.check_formats(*SMALL, "-p", "4", "-n", "2", keys=["test", "n_prompt", "n_gen", "type_k", "model_filename"])
        self.assertEqual(len(rows), 2)
        done = self.start(*SMALL, "-p", "4", "-n", "2", "-o", "csv", "-oe", "jsonl")
        self.assertEqual([json.loads(line)["test"] for line in done.stderr.splitlines()], ["pp4", "tg2"])
        self.assertEqual(len(done.stdout.splitlines()), 3)
        text = self.answer(*SMALL, "-p", "4", "-n", "2", "-ctk", "q8_0")
        for word in ("| model | size | params | backend | threads |", "type_k", "| pp4 |", "| tg2 |", "±"):
            self.assertIn(word, text)
        self.assertIn("| f16 | f16 | pp4 |", self.answer(*SMALL, "-p", "4", "-n", "0"))

    def test_plan_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".plan") as f:
            f.write("thimble-plan 1\n0 f16 f16\n1 q8_0 q8_0\n")
            f.flush()
            rows = self.rows(*SMALL, "-p", "0", "-n", "2", "--kv-plan", f.name)
            self.assertEqual([row["type_k"] for row in rows], [os.path.basename(f.name)])
            self.assertEqual(rows[0]["kv_bytes_per_token"], 2 * 2 * 256 + 2 * 2 * 4 * 34)

    def test_what_the_planner_chooses(self):
        rows = self.rows(*SMALL, "-p", "0", "-n", "2", "-d", "512", "--cache", "q8_0", "--ram", "1G")
        self.assertEqual([row["type_k"] for row in rows], ["q8_0", "planned"])
        self.assertGreater(rows[1]["kv_bytes"], rows[0]["kv_bytes"])  # there is room for more than 8 bits
        done = self.start(*SMALL, "-d", "100000", "--ram", "16M")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        for word in ("does not fit", "--ram", "These settings fit"):
            self.assertIn(word, done.stderr)
        self.refused(*SMALL, "--ram", "much", word="--ram")
        self.refused(*SMALL, "--prefer", "all", word="--prefer")

    def test_planned_when_nothing_is_said(self):
        row = self.rows(*SMALL, "-p", "0", "-n", "1")[0]  # all layers have the same types: told by their names
        self.assertEqual((row["type_k"], row["type_v"]), ("f16", "f16"))

    def test_a_shape_is_the_file_that_synth_writes(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "m.gguf")
            done = subprocess.run([*COMMAND, "synth", "--shape", "tiny-head128", "--type", "q4_0", "-o", path], check=False)
            self.assertEqual(done.returncode, 0)
            shape, file = self.rows(*SMALL, "-m", path, "-p", "4", "-n", "0")
            self.assertEqual((shape["model_filename"], file["model_filename"]), ("tiny-head128:q4_0", path))
            for key in ("model_size", "model_n_params", "weight_bytes_per_token", "kv_bytes", "kv_bytes_per_token"):
                self.assertEqual(shape[key], file[key], key)

    def test_flags_of_llama_bench(self):
        done = self.start(*SMALL, "-p", "4", "-n", "0", "-fa", "1", "-ngl", "99", "-mmp", "0", "--poll", "50", "--no-warmup",
                          "--delay", "0", "--progress")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr.count("ignored"), 4)

    def test_real_fill(self):
        self.assertEqual(self.names(*SMALL, "-p", "0", "-n", "2", "-d", "24", "--real-fill"), ["tg2 @ d24"])


class Series(Bench):
    def test_sweep(self):
        text = self.answer(*SMALL, "--sweep", "-c", "64", "-ub", "16")
        self.assertRegex(text.splitlines()[0], r"\|\s+PP \|\s+TG \|\s+N_KV \|\s+T_PP s \| S_PP t/s \|")
        self.assertEqual(len(text.splitlines()), 2 + 4)
        rows = [json.loads(x) for x in self.answer(*SMALL, "--sweep", "-c", "64", "-ub", "16", "-o", "jsonl").splitlines()]
        self.assertEqual([(row["pp"], row["tg"], row["n_kv"]) for row in rows], [(16, 4, n) for n in (0, 16, 32, 48)])
        self.assertTrue(all(row["speed_pp"] > 0 and row["speed_tg"] > 0 for row in rows))

    def test_sustain(self):
        rows = self.rows(*SMALL, "--sustain", "1s", "-n", "4", "-p", "0")
        self.assertGreater(len(rows), 1)
        times = [row["seconds"] for row in rows]
        self.assertEqual(times, sorted(times))
        self.assertTrue(all(row["test"] == "tg4" and row["avg_ts"] > 0 for row in rows))

    def test_best_threads(self):
        done = subprocess.run([*COMMAND, "bench", *SMALL, "-t", "auto", "-p", "0", "-n", "2", "-o", "json"], check=False,
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        taken = int(done.stderr.split("taken:")[1])
        self.assertEqual(json.loads(done.stdout)[0]["n_threads"], taken)
        self.assertIn(f" {taken}: ", done.stderr)

    def test_interrupted(self):
        with subprocess.Popen([*COMMAND, "bench", "-t", "1", *SMALL, "-p", "4", "-n", "0", "-r", "1000", "-d", "0,8,16,24",
                               "--delay", "1", "-o", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
            first = p.stdout.readline() + p.stdout.readline()  # "[" and the first test
            time.sleep(0.2)
            p.send_signal(signal.SIGINT)
            rows = json.loads(first + p.stdout.read())
            errors = p.stderr.read()
        self.assertGreaterEqual(len(rows), 1, errors)
        self.assertLess(len(rows), 4)


class Comparing(Bench):
    def test_ratio_and_verdict(self):
        with tempfile.TemporaryDirectory() as folder:
            arguments = (*SMALL, "-p", "4", "-n", "2", "-r", "1")  # one run has no spread that a busy machine could widen
            rows = self.rows(*arguments)
            for row in rows:
                row["avg_ts"] /= 1e6  # no pause of the machine is that long
                row["stddev_ts"] = 0
            old = os.path.join(folder, "old.json")
            for text in (json.dumps(rows), "".join(json.dumps(row) + "\n" for row in rows)):
                with open(old, "w", encoding="utf-8") as f:
                    f.write(text)
                lines = [line for line in self.answer(*arguments, "--compare", old).splitlines() if line.endswith("faster |")]
                self.assertEqual(len(lines), 2)
                self.assertGreater(float(lines[0].split("|")[7]), 2)
            self.assertIn("1 of 1 tests are not in", self.answer(*SMALL, "-p", "5", "-n", "0", "--compare", old))
            with open(old, "w", encoding="utf-8") as f:
                f.write("{]")
            done = self.start(*arguments, "--compare", old)
            self.assertEqual(done.returncode, 1)
            self.assertIn("--compare", done.stderr)

    @unittest.skipUnless(HAVE_GNUPLOT, "no gnuplot")
    def test_pictures(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "p.svg")
            self.answer(*SMALL, "-p", "0", "-n", "2", "-d", "0,16", "-ctk", "f16,q8_0", "--plot", path)
            picture = self.check_picture(path)
            for word in ("tg2 f16", "tg2 q8_0/f16", "tokens in the cache"):
                self.assertIn(word, picture)
            os.remove(path)
            self.answer(*SMALL, "-p", "0", "-n", "4", "--sustain", "1", "--plot", path)
            self.assertIn("seconds", self.check_picture(path))


class Memory(Program):
    verb = "plan"

    @unittest.skipUnless(HAVE_GNUPLOT, "no gnuplot")
    def test_picture(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "m.svg")
            self.answer("--shape", "llama-3.2-1b:q4_0", "--ram", "2G", "--plot", path)
            picture = self.check_picture(path)
            for word in ("f16", "q8_0", "q4_0", "--ram", "GiB", "context"):
                self.assertIn(word, picture)
            self.assertNotIn("f32", picture)
            self.answer("--shape", "llama-3.2-1b:q4_0", "--plot", path, "--plot-cache", "q8_0/q4_0")
            self.assertIn("q8_0/q4_0", self.check_picture(path))
            self.refused("--plot", path, "--plot-cache", "q8_0/", word="--plot-cache")
            self.refused("--plot", path, "--plot-cache", "q99", word="q99")
        self.refused("--plot", "m.txt", word="--plot")

    @unittest.skipUnless(HAVE_GNUPLOT, "no gnuplot")
    def test_loss_picture(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "m.svg")
            said = self.answer("--shape", "llama-3.2-1b:q4_0", "--ram", "2G", "-c", "65536", "--plot-loss", path)
            self.assertIn("context 65536", said)
            picture = self.check_picture(path)
            for word in ("f16", "q8_0", "q4_0", "chosen", "GiB", "uncalibrated"):
                self.assertIn(word, picture)
            self.answer("--shape", "llama-3.2-1b:q4_0", "--plot-loss", path, "--plot-cache", "q8_0/q4_0")
            self.assertIn("q8_0/q4_0", self.check_picture(path))
            self.refused("--plot-loss", path, "--plot-cache", "q99", word="q99")
        self.refused("--plot-loss", "m.txt", word="--plot")


class Mistakes(Bench):
    def test_lists(self):
        for option, value in (("-p", ""), ("-p", "x"), ("-p", "5-3"), ("-p", "1-"), ("-p", "1,,2"), ("-p", "1,"), ("-p", "0-8*2"),
                              ("-p", "1-8*1"), ("-p", "1-8+0"), ("-n", "-1"), ("-d", "99999999999"), ("-ub", "0"), ("-t", "257"),
                              ("-pg", "3"), ("-pg", "3,2,1"), ("-p", "1-1000")):
            self.refused(*SMALL, option, value, word=option)
        self.refused(*SMALL, "-ctk", "q8_0,", "-ctv", ",", word="-ctv")
        self.refused(*SMALL, "-p", "4", "-n", "0", "-ctk", "q99", word="q99")

    def test_others(self):
        self.refused("--shape", "no-such-shape:q4_0", word="no-such-shape")
        self.refused("--shape", "tiny-llama:q99", word="q99")
        self.refused(*SMALL, "-o", "xml", word="-o")
        self.refused(*SMALL, "--sustain", "soon", word="--sustain")
        self.refused(*SMALL, "--plot", "a.gif", word="--plot")
        self.refused_without_gnuplot(*SMALL, "--plot", "a.svg")
        self.refused(*SMALL, "--kv-plan", "/no/such", word="/no/such")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
