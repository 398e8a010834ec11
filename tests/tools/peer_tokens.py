#!/usr/bin/env python3
"""Compares our ids with those of llama.cpp, for every vocabulary and every pre-tokenizer name. Not part of the tests: it
needs a built llama.cpp.

    peer_tokens.py --peer LLAMA_TOKENIZE --ours TOKEN_IDS --data SHARED_DATA [--strings 10000] [--aliases] [--only NAME ...]

TOKEN_IDS is the program of tests/tools/token_ids.c. The texts are those of the .inp files and random strings, joined by a
special token, so that one run of each program does them all; the ids between two separators belong to one text. Each
rule is tried with copies of two vocabularies, since each lacks what the other shows: Qwen's has no token of two digits,
GPT-2's hardly one that is not English.
"""
import argparse
import os
import random
import re
import subprocess
import sys
import tempfile

import vocab_gguf

SEPARATOR = "\n__ggml_vocab_test__\n"
RANGES = [(0x41, 0x5A), (0x61, 0x7A), (0x61, 0x7A), (0x30, 0x39), (0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E),
          (0xA1, 0xFF), (0x100, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x531, 0x58F), (0x5D0, 0x6FF), (0x900, 0x97F),
          (0xE01, 0xE5B), (0x1780, 0x17FF), (0x10A0, 0x10FF), (0x1E00, 0x1FFF), (0x2010, 0x2027), (0x2030, 0x205E),
          (0x2070, 0x2BFF), (0x3001, 0x30FF), (0x3100, 0x31BF), (0x4E00, 0x9FFF), (0xAC00, 0xD7FF), (0xFE30, 0xFE4F),
          (0xFF01, 0xFFEE), (0x10400, 0x1044F), (0x1D7CE, 0x1D7FF), (0x1E900, 0x1E94B), (0x1F300, 0x1FAFF),
          (0x20000, 0x2A6DF)]
BLANKS = "\t\n\v\f\r   \n\n  \x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000"
SNIPPETS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'Re", "don't", "I'm", " the", "Hello", "iPhone",
            "camelCase", "HTMLParser", "123", "1,234.56", "3333333", "\r\n", "\n\n\n", "    ", "\t\t", "//", "~/", "...",
            "?!", "<=", "e\u0301", "\u0915\u0940", "\u6f22\u5b57", "\u304b\u306a", "\ud55c\uae00", "\u3002", "\uff0c",
            "\U0001f600", "<", ">", "<0x41>", "\u2581"]


def random_text(rng):
    out = []
    for _ in range(rng.randint(1, 24)):
        kind = rng.random()
        if kind < 0.35:
            out.append(rng.choice(SNIPPETS))
        elif kind < 0.55:
            out.append(rng.choice(BLANKS) * rng.choice((1, 1, 1, 2, 3, 7)))
        elif kind < 0.97:
            a, b = rng.choice(RANGES)
            out.append("".join(chr(rng.randint(a, b)) for _ in range(rng.choice((1, 1, 2, 3, 8)))))
        else:  # any code point that UTF-8 can hold
            c = rng.randint(1, 0x10FFFF)
            out.append(chr(c) if not 0xD800 <= c < 0xE000 else "?")
    return "".join(out)


def texts(data, n):
    found = []
    for name in ("gpt-2", "llama-spm"):
        path = os.path.join(data, "tokenizers", "ggml-vocab-%s.gguf.inp" % name)
        with open(path, encoding="utf-8", newline="") as f:
            found += [t for t in f.read().split(SEPARATOR) if t]
    found.append("word" * 2500)  # 10,000 characters
    rng = random.Random(1)
    return found + [random_text(rng) for _ in range(n)]


def ids(command):
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if run.returncode != 0:
        sys.exit("%s: %s" % (" ".join(command), run.stderr.decode(errors="replace")[-400:]))
    return [int(x) for x in re.findall(rb"-?\d+", run.stdout)]


def split(numbers, separator):
    out = [[]]
    for x in numbers:
        if x == separator:
            out.append([])
        else:
            out[-1].append(x)
    return out


def compare(args, vocabulary, mark, all_texts, work):
    """mark: (text, id) of the separator. Returns the indices of texts whose ids differ, per engine of ours."""
    joined = os.path.join(work, "texts")
    with open(joined, "wb") as f:
        f.write(mark[0].join(all_texts).encode())
    theirs = split(ids([args.peer, "-m", vocabulary, "-f", joined, "--ids", "--no-bos", "--no-escape", "--log-disable"]),
                   mark[1])
    bad = {}
    for engine in args.engines:
        ours = split(ids([args.ours, vocabulary, joined, engine]), mark[1])
        assert len(ours) == len(theirs) == len(all_texts), (len(ours), len(theirs), len(all_texts))
        bad[engine] = [i for i in range(len(ours)) if ours[i] != theirs[i]]
        for i in bad[engine][:args.show]:
            print("  %r\n    ours   %s\n    theirs %s" % (all_texts[i], ours[i], theirs[i]))
    return bad


def names_of_rules(source, aliases):
    with open(source, encoding="utf-8") as f:
        rows = re.findall(r'^    \{"([^"]+)",', f.read(), re.M)
    return [name for row in rows for name in (row.split() if aliases else row.split()[:1])]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peer", required=True)
    p.add_argument("--ours", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--strings", type=int, default=10000)
    p.add_argument("--aliases", action="store_true", help="every name of a rule, not only its first")
    p.add_argument("--only", nargs="*", help="names of vocabularies, or of pre-tokenizers")
    p.add_argument("--show", type=int, default=2)
    p.add_argument("--engines", nargs="*", default=["own", "pcre2"])
    args = p.parse_args()
    t = os.path.join(args.data, "tokenizers")
    all_texts = texts(args.data, args.strings)
    failures = 0
    with tempfile.TemporaryDirectory() as work:
        made = lambda name: os.path.join(work, name + ".gguf")
        qwen = [os.path.join(t, "qwen2.5", x) for x in ("vocab.json", "merges.txt", "tokenizer_config.json")]
        vocab_gguf.write(made("qwen2.5"), vocab_gguf.from_qwen(*qwen, "qwen2"))
        vocab_gguf.write(made("smollm2"), vocab_gguf.from_tokenizer_json(os.path.join(t, "smollm2", "tokenizer.json"),
                                                                         "smollm"))
        for name, file in (("mistral-v1", "tokenizer.model.v1"), ("mistral-v3", "mistral_instruct_tokenizer_240323.model.v3")):
            vocab_gguf.write(made(name), vocab_gguf.from_sentencepiece(os.path.join(t, "mistral", file)))
        jobs = [(n, made(n), m) for n, m in (("qwen2.5", "<|endoftext|>"), ("smollm2", "<|endoftext|>"),
                                             ("mistral-v1", "</s>"), ("mistral-v3", "</s>"))]
        jobs += [(n, os.path.join(t, "ggml-vocab-%s.gguf" % n), m)
                 for n, m in (("gpt-2", "<|endoftext|>"), ("llama-spm", "</s>"), ("refact", "<|endoftext|>"),
                              ("starcoder", "<|endoftext|>"), ("falcon", "<|endoftext|>"))]
        gpt2 = os.path.join(t, "ggml-vocab-gpt-2.gguf")
        for pre in names_of_rules(os.path.join(here, "../../src/io/pretokenize.c"), args.aliases):
            jobs += [("%s as %s" % (n, pre), (v, pre), "<|endoftext|>") for n, v in (("qwen2.5", made("qwen2.5")),
                                                                                   ("gpt-2", gpt2))]
        for name, vocabulary, text in jobs:
            if args.only and not any(o == name or o == name.rpartition(" ")[2] for o in args.only):
                continue
            if isinstance(vocabulary, tuple):
                vocab_gguf.write(made("copy"), vocab_gguf.with_pre(*vocabulary))
                vocabulary = made("copy")
            tokens = vocab_gguf.read(vocabulary)["tokenizer.ggml.tokens"][1][1]
            bad = compare(args, vocabulary, (text, tokens.index(text.encode())), all_texts, work)
            print("%-28s %d texts, equal: %s" % (name, len(all_texts), ", ".join(
                "%s %d" % (e, len(all_texts) - len(b)) for e, b in bad.items())), flush=True)
            failures += sum(map(len, bad.values()))
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
