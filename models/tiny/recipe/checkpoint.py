"""Reads the trainer's checkpoints: a header of 128 bytes, the parameters, then the optimiser's state; all float32.

The parameters lie layer by layer, [q k v] [o] [gate up] [down], then the embedding, the norms before attention, the
norms before the feed-forward part and the last norm. A matrix is stored as outputs × inputs.
"""
import collections
import struct

import numpy as np

HEADER = struct.Struct("<8s8i3q4d32x")
MAGIC = b"CTRN0001"
Shape = collections.namedtuple("Shape", "vocab width layers heads kv_heads head_size hidden step")


def parameter_shapes(shape):
    """(GGUF name, shape of the array) in the order of the file."""
    q, kv = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        yield block + "attn_q.weight", (q, shape.width)
        yield block + "attn_k.weight", (kv, shape.width)
        yield block + "attn_v.weight", (kv, shape.width)
        yield block + "attn_output.weight", (shape.width, q)
        yield block + "ffn_gate.weight", (shape.hidden, shape.width)
        yield block + "ffn_up.weight", (shape.hidden, shape.width)
        yield block + "ffn_down.weight", (shape.width, shape.hidden)
    yield "token_embd.weight", (shape.vocab, shape.width)
    for kind in ("attn_norm", "ffn_norm"):
        for layer in range(shape.layers):
            yield f"blk.{layer}.{kind}.weight", (shape.width,)
    yield "output_norm.weight", (shape.width,)


def read_checkpoint(path):
    """(Shape, [(GGUF name, array), ...])"""
    with open(path, "rb") as f:
        magic, *numbers = HEADER.unpack(f.read(HEADER.size))
        if magic != MAGIC:
            raise ValueError(f"{path}: not a checkpoint of the trainer")
        shape, n_parameters = Shape(*numbers[:8]), numbers[9]
        parameters = np.fromfile(f, "<f4", n_parameters)
    tensors, start = [], 0
    for name, dimensions in parameter_shapes(shape):
        n = int(np.prod(dimensions))
        tensors.append((name, parameters[start:start + n].reshape(dimensions)))
        start += n
    if start != n_parameters or len(parameters) != n_parameters:
        raise ValueError(f"{path}: {len(parameters)} parameters, expected {start}")
    return shape, tensors
