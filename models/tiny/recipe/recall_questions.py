#!/usr/bin/env python3
"""Step 5: questions for `thimble eval --recall FILE`, from seeds that training never saw.

usage: recall_questions.py TASK [CONVERSATIONS [SEED]]        TASK: one of TASKS below, or "all" (CONVERSATIONS of each)

One line of JSON for each conversation: {"parts": [{"text", "special", "score"}, ...]}. The engine reads the parts in
order; scored ones are the answers, which count as right when every one of their tokens, the end mark included, is the
model's first choice given everything before it (teacher forcing). Conversations are cut at 2048 tokens.
"""
import json
import sys

from bpe import Tokenizer
from world import ACKNOWLEDGEMENTS, READ_IT, Generator

MAX_TOKENS = 2048
TASKS = {
    "lines5": lambda g: g.lines(5, 5),
    "lines20": lambda g: g.lines(20, 6),
    "lines60": lambda g: g.lines(60, 6),
    "facts10": lambda g: g.facts(10, 1, 6),
    "facts40": lambda g: g.facts(40, 3, 8),
    "document30": lambda g: g.document(30, 6, 5),
    "document80": lambda g: g.document(80, 10, 6),
    "small": lambda g: g.small_talk(),
}


def parts_of(messages, tokenizer):
    parts, n_tokens = [{"text": "<|endoftext|>", "special": True}], 1
    for role, text in messages:
        scored = role == "assistant" and text not in ACKNOWLEDGEMENTS + [READ_IT]
        message = [{"text": f"<|im_start|>{role}\n", "special": True},
                   {"text": f"{text}<|im_end|>", "special": True, "score": scored}, {"text": "\n"}]
        n_tokens += sum(len(tokenizer.encode(part["text"])) for part in message)
        if n_tokens > MAX_TOKENS:
            break
        parts += message
    return parts


def main():
    if len(sys.argv) not in (2, 3, 4) or sys.argv[1] not in [*TASKS, "all"]:
        sys.exit(__doc__)
    tasks = TASKS if sys.argv[1] == "all" else [sys.argv[1]]
    conversations = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    generator = Generator(int(sys.argv[3]) if len(sys.argv) > 3 else 987654321)
    tokenizer = Tokenizer("tokenizer.json")
    for task in tasks:
        for _ in range(conversations):
            print(json.dumps({"parts": parts_of(TASKS[task](generator), tokenizer)}))


if __name__ == "__main__":
    main()
