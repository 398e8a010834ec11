#!/usr/bin/env python3
"""Step 2: training batches without end, on standard output.

Each batch is B rows of T+1 token ids (int32), then as many weights (float32): how much the loss of predicting that
token counts. Answers of the assistant count 1, what others say little, so that the model spends itself on recall. Rows
start at the beginning of a conversation, because what was stated before the row could not be recalled; a share of the
rows is plain text. --processes share the work of making them.
"""
import argparse
import multiprocessing
import os
import random

import numpy as np

from bpe import Tokenizer
from world import Generator, turns

END_OF_TEXT = 0
ANSWER_WEIGHT, OTHERS_WEIGHT, ROLE_WEIGHT = 1.0, 0.15, 0.1


def conversation_row(generator, tokenizer, scale, length, rng):
    ids, weights = [], []
    while len(ids) < length:
        ids.append(END_OF_TEXT)
        weights.append(0.0)
        for role, opening, text in turns(generator.conversation(rng.randrange(6, scale))):
            text_weight = ANSWER_WEIGHT if role == "assistant" else OTHERS_WEIGHT
            for part, weight in ((opening, ROLE_WEIGHT), (text, text_weight)):
                encoded = tokenizer.encode(part)
                ids += encoded
                weights += [weight] * len(encoded)
    return ids[:length], weights[:length]


def batches(seed, options):
    """Yields (ids, weights), each options.B × (options.T + 1)."""
    tokenizer, generator, rng = Tokenizer(options.tokenizer), Generator(seed), random.Random(seed + 1)
    text = np.load(options.text, mmap_mode="r") if options.text else None
    length = options.T + 1
    while True:
        ids, weights = np.empty((options.B, length), np.int32), np.ones((options.B, length), np.float32)
        for row in range(options.B):
            if text is not None and rng.random() < options.text_share:
                start = rng.randrange(len(text) - length)
                ids[row] = text[start:start + length]
                ids[row, 0] = END_OF_TEXT
            else:
                ids[row], weights[row] = conversation_row(generator, tokenizer, options.scale, length, rng)
        yield ids, weights


def write_batches(seed, options, fd, lock):
    try:
        for ids, weights in batches(seed, options):
            data = memoryview(ids.tobytes() + weights.tobytes())
            with lock:  # whole batches, whatever process they come from
                while data:
                    data = data[os.write(fd, data):]
    except BrokenPipeError:
        pass  # the trainer has had enough


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--T", type=int, default=512, help="predicted tokens of a row")
    parser.add_argument("--B", type=int, default=16, help="rows of a batch")
    parser.add_argument("--scale", type=int, default=24, help="longest documents, in sentences")
    parser.add_argument("--text", default="", help="text.npy of prepare_text.py")
    parser.add_argument("--text-share", type=float, default=0.3)
    parser.add_argument("--tokenizer", default="tokenizer.json")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    lock = multiprocessing.Lock()
    seeds = [options.seed * 1000 + i for i in range(options.processes)]
    workers = [multiprocessing.Process(target=write_batches, args=(seed, options, 1, lock), daemon=True) for seed in seeds]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
