#!/usr/bin/env python3
"""Step 4: writes a checkpoint of trainer/ as GGUF.

usage: export_gguf.py CHECKPOINT TOKENIZER.JSON OUT.GGUF [f16|q8_0] [CONTEXT]

Matrices become F16 or Q8_0 (32 values with one F16 scale), norms stay F32. The format is described in
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""
import json
import struct
import sys

import numpy as np

from checkpoint import read_checkpoint

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
ALIGNMENT = 32
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9  # numbers of value types
TENSOR_F32, TENSOR_F16, TENSOR_Q8_0 = 0, 1, 8          # numbers of tensor types
NORMAL, CONTROL = 1, 3                                 # token types
SCALARS = {U32: "<I", I32: "<i", F32: "<f", BOOL: "<B"}


def pack_string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def pack_value(kind, value):
    if kind == STRING:
        return pack_string(value)
    if kind == ARRAY:
        element, values = value
        return struct.pack("<IQ", element, len(values)) + b"".join(pack_value(element, v) for v in values)
    return struct.pack(SCALARS[kind], value)


def metadata(shape, tokenizer, file_format, context):
    """(key, type, value) in the order of the file."""
    vocab, specials = tokenizer["vocab"], tokenizer["specials"]
    return [
        ("general.architecture", STRING, "llama"),
        ("general.name", STRING, "thimble-tiny-chat"),
        ("general.license", STRING, "apache-2.0"),
        ("general.file_type", U32, {"f16": 1, "q8_0": 7}[file_format]),
        ("general.quantization_version", U32, 2),
        ("llama.vocab_size", U32, len(vocab)),
        ("llama.context_length", U32, context),
        ("llama.embedding_length", U32, shape.width),
        ("llama.block_count", U32, shape.layers),
        ("llama.feed_forward_length", U32, shape.hidden),
        ("llama.attention.head_count", U32, shape.heads),
        ("llama.attention.head_count_kv", U32, shape.kv_heads),
        ("llama.attention.key_length", U32, shape.head_size),
        ("llama.attention.value_length", U32, shape.head_size),
        ("llama.rope.dimension_count", U32, shape.head_size),
        ("llama.rope.freq_base", F32, 1e5),
        ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, "smollm"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, vocab)),
        ("tokenizer.ggml.token_type", ARRAY, (I32, [CONTROL if token in specials else NORMAL for token in vocab])),
        ("tokenizer.ggml.merges", ARRAY, (STRING, [" ".join(pair) for pair in tokenizer["merges"]])),
        ("tokenizer.ggml.bos_token_id", U32, vocab.index("<|endoftext|>")),
        ("tokenizer.ggml.eos_token_id", U32, vocab.index("<|im_end|>")),
        ("tokenizer.ggml.padding_token_id", U32, vocab.index("<|endoftext|>")),
        ("tokenizer.ggml.add_bos_token", BOOL, 1),
        ("tokenizer.chat_template", STRING, CHAT_TEMPLATE),
    ]


def encode_tensor(x, file_format):
    """(tensor type, bytes)"""
    if x.ndim == 1:
        return TENSOR_F32, x.astype("<f4").tobytes()
    if file_format == "f16":
        return TENSOR_F16, x.astype("<f2").tobytes()
    blocks = x.reshape(-1, 32)
    scale = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.where(scale > 0, np.round(blocks / np.where(scale > 0, scale, 1)), 0).astype(np.int8)
    return TENSOR_Q8_0, b"".join(s.tobytes() + c.tobytes() for s, c in zip(scale.astype("<f2"), codes))


def write_gguf(path, pairs, tensors, file_format):
    infos, data = b"", b""
    for name, x in tensors:
        kind, raw = encode_tensor(x, file_format)
        data += b"\0" * (-len(data) % ALIGNMENT)
        infos += pack_string(name) + struct.pack(f"<I{x.ndim}Q", x.ndim, *reversed(x.shape))
        infos += struct.pack("<IQ", kind, len(data))
        data += raw
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(pairs))
    head += b"".join(pack_string(key) + struct.pack("<I", kind) + pack_value(kind, value) for key, kind, value in pairs)
    head += infos
    with open(path, "wb") as f:
        f.write(head + b"\0" * (-len(head) % ALIGNMENT) + data)


def main():
    if len(sys.argv) not in (4, 5, 6):
        sys.exit(__doc__)
    checkpoint, tokenizer_path, out = sys.argv[1:4]
    file_format = sys.argv[4] if len(sys.argv) > 4 else "f16"
    context = int(sys.argv[5]) if len(sys.argv) > 5 else 2048
    shape, tensors = read_checkpoint(checkpoint)
    with open(tokenizer_path, encoding="utf-8") as f:
        tokenizer = json.load(f)
    write_gguf(out, metadata(shape, tokenizer, file_format, context), tensors, file_format)


if __name__ == "__main__":
    main()
