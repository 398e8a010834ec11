#!/usr/bin/env python3
"""Questions by the hundreds for `thimble eval --recall FILE`: each context is read once and then asked many times.

usage: recall_contexts.py [TASK...] [--contexts N] [--questions N] [--characters N] [--seed N]

One line of JSON for each context: {"task", "context": [part...], "questions": [{"depth", "parts"}...]}, with parts as in
recall_questions.py. Whatever the task, a context has about as many characters: stories and small talk come first, what is
asked for last, so that its amount and its distance can be told apart. `depth` says where in the context the answer stands,
0 the beginning. The seeds are none that training saw. Needs nothing but Python.
"""
import argparse
import json
import re

from world import ACKNOWLEDGEMENTS, READ_IT, Generator, exchange, render

END = "<|im_end|>"


def lines(generator, n):
    return register(generator.lines(n, n))


def pairs(generator, n):
    return register(generator.pairs(n, n))


def register(messages):
    """(messages that tell, [(question, answer, what to look for)])."""
    told, asked = messages[:2], messages[2:]
    return told, [(q, a, re.findall(r"\S+", q.rstrip("?"))[-1]) for (_, q), (_, a) in zip(asked[::2], asked[1::2])]


def facts(generator, n):
    """n statements with filler between them, in several turns."""
    used, messages = set(), []
    found = [fact for fact in (generator.fact(used) for _ in range(n)) if fact]
    for first in range(0, len(found), 4):
        text = " ".join(statement + " " + generator.filler(1) for statement, _, _ in found[first:first + 4])
        messages += exchange(text, generator.pick(ACKNOWLEDGEMENTS))
    return messages, [(question, answer, statement) for statement, question, answer in found]


def needle(generator, n):
    """n facts hidden in one long text of 5 sentences for each."""
    used, text = set(), [generator.sentence() for _ in range(5 * n)]
    found = [fact for fact in (generator.fact(used) for _ in range(n)) if fact]
    for statement, _, _ in found:
        text.insert(generator.random.randrange(len(text) + 1), statement)
    return exchange("Read this text. " + " ".join(text), READ_IT), [(q, a, s) for s, q, a in found]


TASKS = {**{f"lines{n}": (lines, n) for n in (10, 20, 30, 40, 50, 60)}, **{f"pairs{n}": (pairs, n) for n in (25, 50, 100)},
         **{f"facts{n}": (facts, n) for n in (10, 20, 30)}, **{f"needle{n}": (needle, n) for n in (5, 10)}}


def special(text, **more):
    return {"text": text, "special": True, **more}


def padding(generator, characters):
    """Other conversations, as many as fit."""
    text = ""
    while True:
        more = render(generator.story_time() if generator.random.random() < 0.7 else generator.small_talk())
        if len(text) + len(more) > characters:
            return text
        text += more


def context_of(generator, task, characters, n_questions):
    make, n = TASKS[task]
    told, asked = make(generator, n)
    body = render(told)
    text = padding(generator, characters - len(body)) + body
    questions = []
    for question, answer, key in generator.random.sample(asked, min(n_questions, len(asked))):
        opening = f"<|im_start|>user\n{question}{END}\n<|im_start|>assistant\n"
        questions.append({"depth": round(text.rindex(key) / len(text), 3),
                          "parts": [special(opening), special(answer + END, score=True)]})
    return {"task": task, "context": [special("<|endoftext|>"), special(text)], "questions": questions}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=" ".join(TASKS) + " (default: the lines)")
    parser.add_argument("--contexts", type=int, default=12, help="of each task (12)")
    parser.add_argument("--questions", type=int, default=30, help="at most, of each context (30)")
    parser.add_argument("--characters", type=int, default=2300, help="of a context, about (2300)")
    parser.add_argument("--seed", type=int, default=987654321)
    arguments = parser.parse_args()
    for task in arguments.tasks or [name for name in TASKS if name.startswith("lines")]:
        if task not in TASKS:
            parser.error(f"{task} is not a task ({' '.join(TASKS)})")
        generator = Generator(f"{arguments.seed} {task}")
        for _ in range(arguments.contexts):
            print(json.dumps(context_of(generator, task, arguments.characters, arguments.questions)))


if __name__ == "__main__":
    main()
