#!/usr/bin/env python3
"""Holds the template interpreter against Jinja2 set up as the Hugging Face library sets it up.

usage: template_oracle.py RENDERER TEMPLATES_FOLDER

RENDERER is the program template_render. Every *.jinja of the folder is rendered for every conversation, and every short
template of template_cases.py for its context; outputs must be equal, and where Jinja2 raises the interpreter must fail
(with the same message for raise_exception and for undefined values). Text that came from messages must not be marked
trusted. Exit status 77: python3-jinja2 or the folder is missing.
"""
import datetime
import glob
import json
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

try:
    import jinja2
    import jinja2.ext
    import jinja2.sandbox
except ImportError:
    print("SKIPPED: python3-jinja2 is not installed")
    sys.exit(77)

import template_cases

NOW = [2026, 8, 9, 7, 5, 3]


class Generation(jinja2.ext.Extension):
    """{% generation %}: a call block whose contents are what is rendered."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def strftime_now(text):
    return datetime.datetime(*NOW).strftime(text)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


ENV = environment()
COMPILED = {}


class Renderer:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, template, context):
        job = {"template": template, "context": context, "now": NOW}
        self.process.stdin.write(json.dumps(job).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            print("FAILED: the renderer died on", json.dumps(job)[:3000])
            sys.exit(1)
        return json.loads(line)


def reference(template, context):
    """(text, None) or (None, exception)."""
    try:
        if template not in COMPILED:
            COMPILED[template] = ENV.from_string(template)
        return COMPILED[template].render(**context), None
    except Exception as e:  # whatever Python raises, the template failed
        return None, e


def printable(message):
    """As the library's error texts: one line."""
    return re.sub(r"[\x00-\x1f\x7f]", "?", str(message))


def same_message(error, e):
    """raise_exception and undefined values must say the same; other errors only have to fail."""
    exact = isinstance(e, jinja2.exceptions.UndefinedError) or type(e) is jinja2.exceptions.TemplateError
    if isinstance(e, jinja2.exceptions.SecurityError):
        exact = True
    if not exact:
        return True
    said = re.sub(r"^line \d+: ", "", error)
    want = re.sub(r" on line \d+ ", " ", printable(e))
    return said == want or (len(want) > 440 and want.startswith(said))


def trusted_text(out):
    data, at, pieces = out["text"].encode(), 0, []
    for length, trusted in out["segments"]:
        if trusted:
            pieces.append(data[at:at + length].decode(errors="replace"))
        at += length
    assert at == len(data), "segments do not cover the output"
    return pieces


def check(render, name, template, context, counts):
    """None, or what is wrong."""
    want, e = reference(template, context)
    counts["raised" if e else "rendered"] += 1
    got = render(template, context)
    if e is not None:
        if "error" not in got:
            return f"{name}: jinja2 raises {type(e).__name__}: {e}\n  ours: {got['text'][-300:]!r}"
        if not same_message(got["error"], e):
            return f"{name}: messages differ\n  jinja2 ({type(e).__name__}): {e}\n  ours: {got['error']}"
        return None
    if "error" in got:
        return f"{name}: ours fails: {got['error']}\n  jinja2: {want[-300:]!r}"
    if got["text"] != want:
        at = next((i for i, (a, b) in enumerate(zip(got["text"], want)) if a != b), min(len(want), len(got["text"])))
        return f"{name}: texts differ at {at}\n  jinja2: {want[max(0, at - 60):at + 60]!r}\n  ours:   {got['text'][max(0, at - 60):at + 60]!r}"
    for piece in trusted_text(got):
        if template_cases.MARK in piece:
            return f"{name}: text of a message is trusted: {piece[-100:]!r}"
    return None


def main():
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    if not os.path.isdir(sys.argv[2]):
        print(f"SKIPPED: no folder {sys.argv[2]}")
        return 77
    render = Renderer(sys.argv[1])
    failures, counts = [], {"raised": 0, "rendered": 0}
    for path in sorted(glob.glob(os.path.join(sys.argv[2], "*.jinja"))):
        with open(path, encoding="utf-8", newline="") as f:
            template = f.read()
        for name, context in template_cases.conversations():
            failures.append(check(render, f"{os.path.basename(path)} / {name}", template, context, counts))
    files, raised = len(failures), counts["raised"]
    for i, (template, context) in enumerate(template_cases.language()):
        failures.append(check(render, f"case {i}: {template[:200]!r}", template, context, counts))
    wrong = [f for f in failures if f]
    print("\n".join(wrong))
    print(f"{len(failures)} renderings ({files} of files, {raised} of these raise), {len(wrong)} differ")
    return 1 if wrong or not files else 0


if __name__ == "__main__":
    sys.exit(main())
