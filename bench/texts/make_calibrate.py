#!/usr/bin/env python3
"""Writes calibrate.txt: what `thimble calibrate` reads when it is given no text. usage: make_calibrate.py ALICE > calibrate.txt

ALICE is Lewis Carroll's Alice's Adventures in Wonderland (1865, public domain) as a plain text file. Pieces of it take
turns with conversations of models/tiny/recipe/world.py in ChatML form, so that the first 16,000 tokens hold both."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../models/tiny/recipe"))
from world import Generator, render  # noqa: E402

PIECE = 4000  # characters of a turn
SEED = 20  # none of the seeds that training or evaluation use


def paragraphs(text):
    """Without line breaks inside of paragraphs, and with double quotes for speech."""
    for paragraph in re.split(r"\n\s*\n", text):
        line = " ".join(paragraph.split())
        line = re.sub(r"(?<![A-Za-z])`|(?<![A-Za-z])'(?=[A-Z])", '"', line)
        yield re.sub(r"(?<=[.,!?;:)-])'(?![a-z])", '"', line)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="ascii") as f:
        story = list(paragraphs(f.read().split("THE MILLENNIUM FULCRUM EDITION 2.9")[1]))
    generator, piece = Generator(SEED), []
    for line in story:
        if line:
            piece.append(line)
        if sum(map(len, piece)) < PIECE:
            continue
        print("\n\n".join(piece) + "\n")
        piece, conversations = [], ""
        while len(conversations) < PIECE:
            conversations += render(generator.conversation(20))
        print(conversations)
    print("\n\n".join(piece))


main()
