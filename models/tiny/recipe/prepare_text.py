#!/usr/bin/env python3
"""Step 1: learns the tokenizer and turns the texts into token ids.

usage: prepare_text.py BOOKS_FOLDER TINYSTORIES_FILE

Reads books as Markdown or text files (*.md, *.txt) whose names hold one of TITLES, and a file of stories separated by
<|endoftext|> or empty lines. Writes tokenizer.json and text.npy (uint16 ids; each text starts with <|endoftext|>).
"""
import glob
import json
import os
import re
import sys

import numpy as np

from bpe import Tokenizer, train
from world import Generator, render

N_VOCAB = 2048
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END_OF_TEXT = 0
# Public-domain books for children.
TITLES = ["Alice's Adventures", "Irish Fairy", "Peter Pan", "Treasure Island", "Beatrix Potter", "Five Children",
          "Railway Children", "Book of Dragons", "Heidi", "Jungle Book", "Wonderful Wizard of Oz",
          "Marvelous Land of Oz", "Dorothy and the Wizard", "Secret Garden", "Little Princess", "Black Beauty",
          "Grimms", "Doctor Dolittle", "Andersen", "Little Mermaid", "Aesop", "Pinocchio", "Anne of Green"]
# Never trained on: text for measuring perplexity.
HELD_OUT = ["The Wind in the Willows", "Through the Looking-Glass", "Ozma of Oz"]
STORY_REPEATS = 3  # the stories are read three times for each reading of the books
PLAIN = {"\r": "", "\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"', "\u2014": "--", "\u2013": "-", "_": "",
         "\u00a0": " ", "\u2026": "..."}


def read_clean(path):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    for old, new in PLAIN.items():
        text = text.replace(old, new)
    return re.sub(r"\n{3,}", "\n\n", text)


def find_books(folder):
    for path in sorted(glob.glob(folder + "/**/*.*", recursive=True)):
        name = os.path.basename(path)
        if name.endswith((".md", ".txt")) and any(t in name for t in TITLES) and not any(h in name for h in HELD_OUT):
            yield path


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    books = [read_clean(path) for path in find_books(sys.argv[1])]
    stories_text = read_clean(sys.argv[2])
    stories = [s for s in re.split(r"<\|endoftext\|>|\n\s*\n\s*\n", stories_text) if len(s) > 50]
    print(f"{len(books)} books, {len(stories)} stories")

    generator = Generator(7)
    conversations = [render(generator.conversation(20)) for _ in range(5000)]
    sample = [*conversations, *(book[:250_000] for book in books), stories_text[:1_500_000]]
    vocab, merges = train(sample, N_VOCAB, SPECIALS)
    with open("tokenizer.json", "w", encoding="utf-8") as f:
        json.dump({"vocab": vocab, "merges": merges, "specials": SPECIALS}, f)

    tokenizer, ids = Tokenizer("tokenizer.json"), []
    for text in books + [story.strip() for story in stories] * STORY_REPEATS:
        ids += [END_OF_TEXT, *tokenizer.encode(text)]
    np.save("text.npy", np.array(ids, np.uint16))
    print(f"{len(ids)} tokens")


if __name__ == "__main__":
    main()
