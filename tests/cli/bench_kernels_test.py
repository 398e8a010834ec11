#!/usr/bin/env python3
"""thimble bench --kernels: what it prints is what --compare reads, verdicts follow the times, and one line with a failing
status for what a user can get wrong. usage: bench_kernels_test.py PROGRAM"""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv[1]
SMALL = ("--mib", "1", "--columns", "4", "--width", "256", "--head", "32")


class Kernels(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="thimble-kernels-")
        self.addCleanup(self.folder.cleanup)

    def path(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return path

    def start(self, *arguments, **environment):
        return subprocess.run([PROGRAM, "bench", "--kernels", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=600, check=False, env={**os.environ, **environment})

    def answer(self, *arguments, **environment):
        done = self.start(*arguments, **environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
        return done.stdout

    def refused(self, *arguments, word, **environment):
        done = self.start(*arguments, **environment)
        self.assertIn(done.returncode, (1, 2), arguments)
        self.assertEqual((done.stdout, len(done.stderr.splitlines())), ("", 1), done.stderr)
        self.assertTrue(done.stderr.startswith("thimble bench: ") and word in done.stderr, done.stderr)

    def test_figures(self):
        for name, multiplies, integer in (("gemv/q8_0/", True, True), ("gemm/f32/ref", True, False),
                                          ("attn_score_keys2/ref", True, True), ("norm_rms/ref", False, False)):
            rows = json.loads(self.answer("--filter", name, "-o", "json", *SMALL))
            self.assertGreater(len(rows), 0)
            for row in rows:
                self.assertIn(name, row["kernel"])
                self.assertAlmostEqual(row["gb_per_s"], row["bytes"] / row["ns"], delta=1e-6 * row["gb_per_s"])
                self.assertGreater(row["bandwidth_used"], 0)
                self.assertGreater(row["ratio_to_reference"], 0)
                self.assertEqual(row["gmac_per_s"] is not None, multiplies, row)
                self.assertEqual(row["integer_peak_used"] is not None, integer, row)
        (row,) = [r for r in json.loads(self.answer("--filter", "gemv/q8_0/ref", "-o", "json", *SMALL))]
        self.assertEqual((row["bytes"], row["ratio_to_reference"]), (64 * 256 // 32 * 34, 1))

    def test_table_has_every_row(self):
        text = self.answer("--filter", "_0/ref", *SMALL)
        names = re.findall(r"^\| ([a-z]\w+/\w+/\w+) \| [0-9.e+]+ \|", text, re.M)
        self.assertIn("gemm/q5_0/ref", names)
        self.assertEqual(len(names), len(set(names)))

    def test_every_function_has_a_reference(self):
        for row in json.loads(self.answer("--filter", "/q4_0/", "-o", "json", *SMALL)):
            self.assertGreater(row["ratio_to_reference"], 0, row)

    def test_tiers(self):
        self.assertNotRegex(self.answer("--filter", "dot_peak", *SMALL, TB_ISA="ref"), r"dot_peak/(?!ref)")

    def test_compare(self):
        before = self.path("before.txt", "| a/x | 100.0 | 1 |\n| b/x | 100 |\n| c/x | 100 |\n| only/x | 5 |\n| a/x | 300 |\n")
        after = self.path("after.json", json.dumps([{"kernel": k, "ns": v} for k, v in (("a/x", 50), ("b/x", 98), ("c/x", 2e2))]))
        done = self.start("--compare", before, after)
        verdicts = dict(re.findall(r"^\| (\w/x) \| .* \| (\w+) \|$", done.stdout, re.M))
        self.assertEqual(verdicts, {"a/x": "faster", "b/x": "same", "c/x": "SLOWER"})
        self.assertEqual(done.returncode, 1)  # one is slower
        self.assertEqual(self.start("--compare", before, before).returncode, 0)
        old = self.path("old.txt", self.answer("--filter", "attn_max/ref", *SMALL).replace("| attn_max/ref | ", "| attn_max/ref | 9"))
        self.assertRegex(self.answer("--filter", "attn_max/ref", "--compare", old, *SMALL), r"\| faster \|")

    def test_mistakes(self):
        empty, other = self.path("empty", ""), self.path("other", "| z/x | 5 |\n")
        self.refused("--filter", "no-such-kernel", word="no-such-kernel")
        self.refused("--compare", os.path.join(self.folder.name, "missing"), word="missing")
        self.refused("--compare", empty, other, word="no times")
        self.refused("--filter", "a", "stray", word="stray")
        self.refused("-o", "xml", word="xml")
        self.refused("--width", "300", word="256")
        self.refused("--head", "48", word="32")
        self.refused("-t", "0", word="-t")
        self.refused("-p", "512", word="-p")
        self.refused("--filter", "attn_max", word="tier", TB_ISA="mmx")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
