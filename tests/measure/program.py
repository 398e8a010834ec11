"""What the tests of bench and eval share. Their command line: SOURCE_FOLDER COMMAND... (the program, perhaps after an
emulator)."""
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import unittest

ROOT, COMMAND = sys.argv[1], [shutil.which(sys.argv[2]) or sys.argv[2], *sys.argv[3:]]
RECIPE = os.path.join(ROOT, "models/tiny/recipe")
sys.path.insert(0, RECIPE)

import recall_contexts  # noqa: E402  the folder is known only now
from world import Generator  # noqa: E402

EMULATED = bool(os.environ.get("QEMU_CPU") or os.environ.get("TB_UNDER"))  # a hundred times slower
HAVE_GNUPLOT = shutil.which("gnuplot") is not None


def stories(seed, characters):
    """Text of the kind that the bundled model knows."""
    generator, text = Generator(seed), ""
    while len(text) < characters:
        text += generator.story(generator.pick(["Mia", "Tom", "Zoe"]), "fox", "key")[0] + "\n\n"
    return text


def questions(tasks, contexts, n_questions, characters, seed=1):
    """Lines of recall_contexts.py."""
    text = ""
    for task in tasks:
        generator = Generator(f"{seed} {task}")
        for _ in range(contexts):
            text += json.dumps(recall_contexts.context_of(generator, task, characters, n_questions)) + "\n"
    return text


class Program(unittest.TestCase):
    verb = ""

    def start(self, *arguments, environment=None):
        return subprocess.run([*COMMAND, self.verb, "-t", "1", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=900, check=False, text=True, env={**os.environ, **(environment or {})})

    def answer(self, *arguments, **keywords):
        done = self.start(*arguments, **keywords)
        self.assertEqual(done.returncode, 0, (arguments, done.stderr))
        return done.stdout

    def refused(self, *arguments, word="", **keywords):
        """One line on standard error, none on standard output, a failing status."""
        done = self.start(*arguments, **keywords)
        self.assertIn(done.returncode, (1, 2), (arguments, done.stderr))
        self.assertEqual(len(done.stderr.splitlines()), 1, (arguments, done.stderr))
        self.assertIn(word, done.stderr)
        self.assertEqual(done.stdout, "")
        return done.stderr

    def refused_without_gnuplot(self, *arguments):
        if not os.environ.get("TB_UNDER"):  # whose emulator would not be found either
            self.refused(*arguments, word="gnuplot-nox", environment={"PATH": "/nowhere"})

    def rows(self, *arguments, **keywords):
        """The results as JSON."""
        return json.loads(self.answer(*arguments, "-o", "json", **keywords))

    def check_formats(self, *arguments, keys):
        """All formats tell the same tests; JSON lines hold what JSON holds."""
        rows = self.rows(*arguments)
        lines = [json.loads(line) for line in self.answer(*arguments, "-o", "jsonl").splitlines()]
        table = list(csv.DictReader(io.StringIO(self.answer(*arguments, "-o", "csv"))))
        sql = self.answer(*arguments, "-o", "sql")
        self.assertEqual(sql.count("INSERT INTO"), len(rows))
        self.assertEqual(sql.count("CREATE TABLE"), 1)
        self.assertEqual((len(lines), len(table)), (len(rows), len(rows)))
        for key in keys:
            values = [row[key] for row in rows]
            self.assertEqual([line[key] for line in lines], values)
            self.assertEqual([row[key] for row in table], [str(value) for value in values])
        return rows

    def check_picture(self, path):
        with open(path, encoding="utf-8") as f:
            picture = f.read()
        self.assertRegex(picture, "<svg")
        return re.sub(r"<[^>]*>", " ", picture)
