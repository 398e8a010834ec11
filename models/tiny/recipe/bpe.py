"""Byte-level BPE: training, encoding, decoding.

Text is cut into words by the pattern that GGUF files call "smollm" (each digit alone, else GPT-2's pattern); the bytes
of a word are written with GPT-2's alphabet of 256 printable characters and then merged pair by pair.
"""
import collections
import functools
import json

import regex  # Debian: python3-regex; \p{L} is not in the standard library

WORD = regex.compile(r"""\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""")


@functools.lru_cache(None)
def byte_alphabet():
    """byte -> character: printable Latin-1 characters stand for themselves, the other bytes for U+0100 and on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in alphabet:
            alphabet[byte] = chr(256 + len(alphabet) - len(printable))
    return alphabet


def split_words(text):
    alphabet = byte_alphabet()
    return ["".join(alphabet[byte] for byte in word.encode()) for word in WORD.findall(text)]


def any_of(literals):
    return "|".join(map(regex.escape, literals))


def merge_pair(symbols, pair):
    """The symbols with each occurrence of the pair, from the left, made one."""
    merged, i = [], 0
    while i < len(symbols):
        if symbols[i:i + 2] == list(pair):
            merged.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return merged


def train(texts, n_vocab, specials):
    """Learns merges until the vocabulary has n_vocab entries: specials, 256 bytes, merges. Returns (vocab, merges)."""
    counts = collections.Counter()
    for text in texts:
        for part in regex.split(any_of(specials), text):
            counts.update(split_words(part))
    words = [[list(word), count] for word, count in counts.items() if count > 1]
    vocab = [*specials, *(byte_alphabet()[byte] for byte in range(256))]
    merges = []
    pair_counts, where = collections.Counter(), collections.defaultdict(set)
    for i, (symbols, count) in enumerate(words):
        for pair in zip(symbols, symbols[1:]):
            pair_counts[pair] += count
            where[pair].add(i)
    while len(vocab) < n_vocab:
        pair, count = max(pair_counts.items(), key=lambda item: (item[1], item[0]))
        if count < 2:
            break
        merges.append(pair)
        vocab.append(pair[0] + pair[1])
        for i in list(where[pair]):
            symbols, count = words[i]
            for old in zip(symbols, symbols[1:]):
                pair_counts[old] -= count
                where[old].discard(i)
            words[i][0] = symbols = merge_pair(symbols, pair)
            for new in zip(symbols, symbols[1:]):
                pair_counts[new] += count
                where[new].add(i)
        del pair_counts[pair]
    return vocab, merges


class Tokenizer:
    """Reads the JSON file that prepare_text.py writes: {"vocab": [...], "merges": [[a, b], ...], "specials": [...]}."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as f:
            file = json.load(f)
        self.vocab, self.specials = file["vocab"], file["specials"]
        self.ids = {text: i for i, text in enumerate(self.vocab)}
        self.ranks = {tuple(pair): rank for rank, pair in enumerate(file["merges"])}
        self.split_specials = regex.compile(f"({any_of(self.specials)})")
        self.bytes = {character: byte for byte, character in byte_alphabet().items()}
        self.known_words = {}

    def encode_word(self, word):
        if word not in self.known_words:
            symbols = list(word)
            while len(symbols) > 1:
                pairs = zip(symbols, symbols[1:])
                rank, i = min((self.ranks.get(pair, len(self.ranks)), i) for i, pair in enumerate(pairs))
                if rank == len(self.ranks):
                    break
                symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]
            self.known_words[word] = [self.ids[symbol] for symbol in symbols]
        return self.known_words[word]

    def encode(self, text):
        ids = []
        for part in self.split_specials.split(text):
            if part in self.specials:
                ids.append(self.ids[part])
            else:
                for word in split_words(part):
                    ids += self.encode_word(word)
        return ids

    def decode(self, ids):
        text = b""
        for i in ids:
            entry = self.vocab[i]
            text += entry.encode() if entry in self.specials else bytes(self.bytes[c] for c in entry)
        return text.decode(errors="replace")
