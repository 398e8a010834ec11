#!/usr/bin/env python3
"""Makes GGUF files that hold a vocabulary and no model.

    vocab_gguf.py bpe VOCAB.json MERGES.txt TOKENIZER_CONFIG.json PRE OUT.gguf     (Qwen's files)
    vocab_gguf.py tokenizer TOKENIZER.json PRE OUT.gguf                            (a Hugging Face tokenizer.json)
    vocab_gguf.py spm TOKENIZER.model OUT.gguf                                     (a SentencePiece model)
    vocab_gguf.py pre IN.gguf PRE OUT.gguf                                         (a copy with another pre-tokenizer)
"""
import json
import struct
import sys

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
FIXED = {0: "B", 1: "b", 2: "H", 3: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", 10: "Q", 11: "q", 12: "d"}


def encode(kind, value):
    if kind == STRING:
        data = value if isinstance(value, bytes) else value.encode()
        return struct.pack("<Q", len(data)) + data
    if kind == ARRAY:
        elem, items = value
        return struct.pack("<IQ", elem, len(items)) + b"".join(encode(elem, x) for x in items)
    return struct.pack("<" + FIXED[kind], value)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, fmt):
        (value,) = struct.unpack_from("<" + fmt, self.data, self.at)
        self.at += struct.calcsize("<" + fmt)
        return value

    def value(self, kind):
        if kind == STRING:
            n = self.take("Q")
            self.at += n
            return self.data[self.at - n:self.at]
        if kind == ARRAY:
            elem, n = self.take("I"), self.take("Q")
            return elem, [self.value(elem) for _ in range(n)]
        return self.take(FIXED[kind])


def read(path):
    """Metadata as {key: (kind, value)}; strings as bytes."""
    with open(path, "rb") as f:
        r = Reader(f.read())
    assert r.take("I") == 0x46554747 and r.take("I") == 3
    _, n = r.take("Q"), r.take("Q")
    return {r.value(STRING).decode(): (kind := r.take("I"), r.value(kind)) for _ in range(n)}


def write(path, meta):
    with open(path, "wb") as f:
        f.write(struct.pack("<IIQQ", 0x46554747, 3, 0, len(meta)))
        for key, (kind, value) in meta.items():
            f.write(encode(STRING, key) + struct.pack("<I", kind) + encode(kind, value))


def base(model, tokens, types):
    """The keys that a loader of vocabularies alone asks for."""
    meta = {"general.architecture": (STRING, "llama"), "general.name": (STRING, "vocabulary")}
    for key, value in (("context_length", 2048), ("embedding_length", 64), ("block_count", 1),
                       ("feed_forward_length", 64), ("attention.head_count", 1)):
        meta["llama." + key] = (U32, value)
    meta["llama.attention.layer_norm_rms_epsilon"] = (F32, 1e-5)
    meta["tokenizer.ggml.model"] = (STRING, model)
    meta["tokenizer.ggml.tokens"] = (ARRAY, (STRING, tokens))
    meta["tokenizer.ggml.token_type"] = (ARRAY, (I32, types))
    return meta


def bpe(vocab, merges, added, pre, bos, eos):
    """vocab {text: id}, added {id: (text, special)}."""
    texts = {i: t for t, i in vocab.items()}
    texts.update({i: t for i, (t, _) in added.items()})
    n = max(texts) + 1
    tokens = [texts.get(i, "[PAD%d]" % i) for i in range(n)]
    types = [UNUSED if i not in texts else NORMAL if i not in added else CONTROL if added[i][1] else USER_DEFINED
             for i in range(n)]
    meta = base("gpt2", tokens, types)
    meta["tokenizer.ggml.pre"] = (STRING, pre)
    meta["tokenizer.ggml.merges"] = (ARRAY, (STRING, merges))
    ids = {t: i for i, t in texts.items()}
    meta["tokenizer.ggml.bos_token_id"] = (U32, ids[bos])
    meta["tokenizer.ggml.eos_token_id"] = (U32, ids[eos])
    meta["tokenizer.ggml.add_bos_token"] = (BOOL, False)
    return meta


def from_qwen(vocab, merges, config, pre):
    with open(vocab, encoding="utf-8") as f:
        texts = json.load(f)
    with open(merges, encoding="utf-8") as f:
        lines = [x.rstrip("\n") for x in f if x.strip() and not x.startswith("#version")]
    with open(config, encoding="utf-8") as f:
        added = {int(i): (t["content"], t["special"]) for i, t in json.load(f)["added_tokens_decoder"].items()}
    return bpe(texts, lines, added, pre, "<|endoftext|>", "<|im_end|>")


def from_tokenizer_json(path, pre):
    with open(path, encoding="utf-8") as f:
        d = json.load(f)
    added = {t["id"]: (t["content"], t["special"]) for t in d["added_tokens"]}
    merges = [m if isinstance(m, str) else " ".join(m) for m in d["model"]["merges"]]
    return bpe(d["model"]["vocab"], merges, added, pre, "<|im_start|>", "<|im_end|>")


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    """(number, value) of a protocol buffer message; length-delimited values as bytes, fixed 32-bit ones as floats."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        elif tag & 7 == 2:
            n, at = varint(data, at)
            value, at = data[at:at + n], at + n
        elif tag & 7 == 5:
            value, at = struct.unpack_from("<f", data, at)[0], at + 4
        else:
            raise ValueError("wire type %d" % (tag & 7))
        yield tag >> 3, value


def from_sentencepiece(path):
    """sentencepiece_model.proto: pieces are field 1 (text 1, score 2, type 3), the normalizer is field 3."""
    tokens, scores, types, normalizer = [], [], [], {}
    with open(path, "rb") as f:
        data = f.read()
    for number, value in fields(data):
        if number == 1:
            piece = dict(fields(value))
            tokens.append(piece[1])
            scores.append(piece.get(2, 0.0))
            types.append(piece.get(3, NORMAL))
        elif number == 3:
            normalizer = dict(fields(value))
    for i, kind in enumerate(types):  # as converters do: a user's text has blanks, not U+2581
        if kind == USER_DEFINED:
            tokens[i] = tokens[i].replace("\u2581".encode(), b" ")
    meta = base("llama", tokens, types)
    meta["tokenizer.ggml.pre"] = (STRING, "default")
    meta["tokenizer.ggml.scores"] = (ARRAY, (F32, scores))
    for key, text in (("bos", b"<s>"), ("eos", b"</s>"), ("unknown", b"<unk>")):
        meta["tokenizer.ggml.%s_token_id" % key] = (U32, tokens.index(text))
    meta["tokenizer.ggml.add_space_prefix"] = (BOOL, bool(normalizer.get(3, 1)))
    return meta


def with_pre(path, pre):
    meta = read(path)
    meta["tokenizer.ggml.pre"] = (STRING, pre)
    meta["tokenizer.ggml.add_bos_token"] = (BOOL, False)
    return meta


def main(argv):
    makers = {"bpe": from_qwen, "tokenizer": from_tokenizer_json, "spm": from_sentencepiece, "pre": with_pre}
    if len(argv) < 4 or argv[1] not in makers:
        sys.exit(__doc__)
    write(argv[-1], makers[argv[1]](*argv[2:-1]))


if __name__ == "__main__":
    main(sys.argv)
