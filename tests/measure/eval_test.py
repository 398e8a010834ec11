#!/usr/bin/env python3
"""thimble eval from outside. usage: see program.py"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from program import COMMAND, EMULATED, HAVE_GNUPLOT, Program, questions, stories

CHUNKS = "1"
CONTEXT = "256" if EMULATED else "512"


class Eval(Program):
    verb = "eval"

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.text = cls.write("text.txt", stories(5, 6000))

    @classmethod
    def write(cls, name, text):
        path = os.path.join(cls.folder.name, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path


class Text(Eval):
    def test_protocols(self):
        for protocol, predictions in (("perplexity", lambda n: n - 1 - n // 2), ("A", lambda n: n - 1),
                                      ("B", lambda n: n - 1 - n // 2), ("D", lambda n: n - 1 - n // 8)):
            rows = self.rows("-f", self.text, "-c", CONTEXT, "--chunks", CHUNKS, "--protocol", protocol, "--cache", "q8_0",
                             "--cache", "q4_0")
            exact, eight, four = rows
            self.assertEqual(exact["predictions"], predictions(int(CONTEXT)), protocol)
            self.assertEqual((exact["kld_mean"], exact["same_top1"]), (0, 1))
            self.assertGreater(eight["kld_mean"], 0)
            self.assertGreater(four["kld_mean"], 2 * eight["kld_mean"], protocol)
            self.assertGreater(eight["same_top1"], 0.95)
            self.assertLess(exact["perplexity"], 40)
            for row in rows:
                self.assertLessEqual(row["kld_median"], row["kld_99"])
                self.assertLessEqual(row["kld_99"], row["kld_max"])
                self.assertAlmostEqual(sum(row["kld_quarters"]) / 4, row["kld_mean"], delta=0.02 * row["kld_mean"] + 1e-12)

    def test_a_cache_does_not_differ_from_itself(self):
        rows = self.rows("-f", self.text, "-c", "256", "--chunks", "1", "--cache", "f32")
        self.assertEqual((rows[1]["kld_max"], rows[1]["same_top1"]), (0, 1))
        self.assertEqual(rows[0]["perplexity"], rows[1]["perplexity"])

    def test_bits(self):
        bits = {row["cache"]: (row["bits_stored"], row["bits_all"])
                for row in self.rows("-f", self.text, "-c", "256", "--chunks", "1", "--cache", "f16", "--cache", "q8_0/q4_0")}
        self.assertEqual(bits, {"f32/f32": (32, 32), "f16/f16": (16, 16), "q8_0/q4_0": (6.5, 6.5)})

    def test_plan_file(self):
        plan = self.write("mixed.plan", "thimble-plan 1\n0-3 f16 f16\n4-7 q8_0 q8_0\n")
        rows = self.rows("-f", self.text, "-c", "256", "--chunks", "1", "--kv-plan", plan)
        self.assertEqual([(row["cache"], row["bits_stored"]) for row in rows], [("f32/f32", 32), ("mixed.plan", 12.25)])

    def test_what_the_planner_chooses(self):
        rows = self.rows("-f", self.text, "-c", "256", "--chunks", "1", "--ram", "1G")
        self.assertEqual([row["cache"] for row in rows], ["f32/f32", "planned"])
        done = self.start("-f", self.text, "--ram", "1M")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("does not fit", done.stderr)

    def test_same_numbers_again(self):
        arguments = ("-f", self.text, "-c", "256", "--chunks", "1", "--cache", "q8_0", "-o", "json")
        first, second = (json.loads(self.answer(*arguments)) for _ in range(2))
        for a, b in zip(first, second):
            for key in a:
                if not key.endswith("_ts"):
                    self.assertEqual(a[key], b[key], key)

    def test_greedy(self):
        rows = self.rows("-f", self.text, "-c", "128", "--greedy", "24", "--chunks", "4", "--cache", "f32", "--cache", "q4_0")
        self.assertEqual((rows[1]["greedy_median"], rows[1]["greedy_mean"]), (24, 24))
        self.assertLessEqual(rows[2]["greedy_mean"], 24)
        self.assertEqual(rows[2]["greedy_prompts"], 4)
        self.assertLess(rows[2]["greedy_mean"], 24)

    def test_formats(self):
        self.check_formats("-f", self.text, "-c", "128", "--chunks", "1", keys=["cache", "predictions", "protocol"])
        self.assertIn("| f16/f16 | 16.000", self.answer("-f", self.text, "-c", "128", "--chunks", "1"))

    @unittest.skipUnless(HAVE_GNUPLOT, "no gnuplot")
    def test_picture(self):
        path = os.path.join(self.folder.name, "quality.svg")
        self.answer("-f", self.text, "-c", "128", "--chunks", "1", "--cache", "q8_0", "--cache", "q4_0", "--plot", path)
        picture = self.check_picture(path)
        for word in ("q8_0/q8_0", "Pareto", "nats"):
            self.assertIn(word, picture)

    def test_mistakes(self):
        self.refused(word="-f TEXT or --recall")
        self.refused("-f", self.text, "--protocol", "E", word="--protocol")
        self.refused("-f", self.text, "-o", "xml", word="-o")
        self.refused("-f", self.text, "-c", "4000", word="less than one chunk")
        self.refused("-f", self.text, "--cache", "q99", word="q99")
        self.refused("-f", self.text, "--cache", "/q8_0", word="--cache")
        self.refused("-f", self.text, "--cache", "q8_0 frames=3", word="frames=3")
        self.refused("-f", self.text, "--kv-plan", "/no/such.plan", word="/no/such.plan")
        self.refused("-f", "/no/such/text", word="/no/such/text")
        self.refused("-f", self.text, "--plot", "x.pdf", word=".svg or .png")
        self.refused_without_gnuplot("-f", self.text, "--plot", "x.svg")
        self.refused("--recall", self.text, "--greedy", "8", word="--greedy")


class Recall(Eval):
    def test_contexts_that_are_asked_often(self):
        path = self.write("q.jsonl", questions(["lines10", "facts10"], 1, 4 if EMULATED else 10, 900))
        rows = self.rows("--recall", path, "-c", "1024", "--cache", "f32", "--cache", "q4_0")
        exact, again, four = rows
        self.assertGreater(exact["questions"], 7)
        self.assertGreaterEqual(exact["recall"], 0.8)
        self.assertEqual((again["right"], again["lost"], again["won"]), (exact["right"], 0, 0))
        self.assertEqual(four["right"], exact["right"] - four["lost"] + four["won"])
        self.assertLessEqual(four["recall_change_lo"], four["recall_change"])
        self.assertLessEqual(four["recall_change"], four["recall_change_hi"])
        self.assertGreater(again["recall_change_hi"], 0)  # equal answers are no proof of equality

    def test_order_of_questions_does_not_matter(self):
        item = json.loads(questions(["lines10"], 1, 6, 600))
        turned = {**item, "questions": item["questions"][::-1]}
        right = [self.rows("--recall", self.write("o.jsonl", json.dumps(x) + "\n"), "-c", "512", "--cache", "q4_0")[1]["right"]
                 for x in (item, turned)]
        self.assertEqual(right[0], right[1])

    def test_one_conversation(self):
        def message(text, **more):
            return {"text": text, "special": True, **more}
        line = {"parts": [message("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"),
                          message("The capital of France is Paris.<|im_end|>", score=True), message("\n"),
                          message("<|im_start|>user\nWhat does a dog say?<|im_end|>\n<|im_start|>assistant\n"),
                          message("A dog says meow.<|im_end|>", score=True)]}
        rows = self.rows("--recall", self.write("p.jsonl", json.dumps(line) + "\n"))
        self.assertEqual([(row["questions"], row["right"]) for row in rows], [(2, 1), (2, 1)])

    @unittest.skipIf(EMULATED, "minutes under an emulator")
    def test_late_questions_about_the_start(self):
        """What was told first is asked for last, token by token, with an eighth of the context attended to."""
        def asked(line):
            (told, *_), one = line["context"][1:], line["questions"]
            head, last = told["text"].rsplit("<|im_start|>user\nRemember", 1)
            return {**line, "context": [line["context"][0], special("<|im_start|>user\nRemember" + last + head)], "questions": one}

        def special(text):
            return {"text": text, "special": True}
        lines = [json.loads(x) for x in questions(["lines10"], 1, 8, 2300).splitlines()]
        path = self.write("late.jsonl", "".join(json.dumps(asked(x)) + "\n" for x in lines))
        common = ("--recall", path, "-c", "1024", "--cache", "f16")
        memory = self.rows(*common, "--kv-recall", "80")
        self.assertGreaterEqual(memory[0]["recall"], 0.7)
        self.assertGreaterEqual(memory[1]["right"], memory[0]["right"] - 1)

    def test_spilling_needs_recall_and_a_folder(self):
        common = ("--recall", self.write("spill.jsonl", questions(["lines10"], 1, 1, 600)), "-c", "512")
        self.refused(*common, "--kv-spill", self.folder.name, word="recall")
        self.refused(*common, "--kv-recall", "80", "--kv-spill", "/no/such/folder", word="/no/such/folder")

    def test_lines_of_longchat(self):
        lines = ["round-mirror: 69073", "broken-whistle: 25851", "lucky-candle: 83449"]
        prompt = "Remember these lines.\n" + "\n".join("line " + x for x in lines) + "\nWhat is in line broken-whistle?"
        case = {"prompt": prompt, "expected_number": 25851, "num_lines": 3, "random_idx": ["broken-whistle", 1]}
        wrong = {**case, "expected_number": 2585}  # part of a number is not the number
        path = self.write("l.jsonl", "".join(json.dumps(x) + "\n" for x in (case, wrong)))
        self.assertEqual([(row["questions"], row["right"]) for row in self.rows("--recall", path)], [(2, 1), (2, 1)])
        self.assertIn("| lines3 | 33-64 | 20-40 % | 2 |", self.answer("--recall", path))

    def test_mistakes(self):
        for text, word in (("{}\n", "no \"parts\""), ("nonsense\n", "line 1"), ("\n", "no question"),
                           ('{"context": [{"text": "a"}]}\n', "questions"), ('{"parts": [{"score": true}]}\n', "text"),
                           ('{"prompt": 1, "expected_number": 2}\n', "prompt")):
            self.refused("--recall", self.write("bad.jsonl", text), word=word)


class Interrupted(Eval):
    def test_what_is_done_is_printed(self):
        with subprocess.Popen([*COMMAND, "eval", "-t", "1", "-f", self.text, "-c", "32", "--protocol", "B", "-o", "json",
                               *["--cache", "q4_0"] * 12], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
            time.sleep(20 if EMULATED else 1)
            p.send_signal(signal.SIGINT)
            text = p.stdout.read()
            errors = p.stderr.read()
        if p.returncode:  # it was not faster than the signal
            self.assertIn("stopped", errors)
        self.assertEqual(len(json.loads(text)), 13)


class WindowsAreNotMeasured(Eval):
    """A block store of which the window held most is refused: its numbers would be those of f16."""

    def test_share(self):
        name = next(filter(None, self.block_types()), None)
        if not name:
            self.skipTest("no cache type that packs blocks")
        arguments = ("-f", self.text, "-c", "512", "--chunks", "1", "--cache", name)
        self.refused(*arguments, "--kv-window", "400", word="80 %")
        row = self.rows(*arguments, "--protocol", "A", "-c", "1024")[1]
        self.assertGreater(row["encoded"], 0.8)
        self.assertLess(row["encoded"], 1)
        self.assertGreater(row["bits_all"], row["bits_stored"])

    def block_types(self):
        """Names of types that keep a window; None for one that is not known."""
        for name in ("skvqx2", "skvq2", "skvqx1.5"):
            done = self.start("-f", self.text, "-c", "512", "--chunks", "1", "--cache", name, "--kv-window", "400")
            yield name if "80 %" in done.stderr else None


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
