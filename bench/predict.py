#!/usr/bin/env python3
"""Predicts tokens per second of a Raspberry Pi from bytes and cycles. Nothing here was measured on a board by thimble.

A token costs
    t(n) = max(W / B, P · m / (4 · f)) + L · n · (c / B + k / (4 · f))
W  bytes of the P weights that one token reads     m  cycles per multiply-accumulate of gemv (arm_cycles.txt)
B  bytes per second that four cores of the board read while decoding                             f  clock
n  tokens in the cache    L  layers    c  bytes of keys and values per token and layer    k  cycles of arithmetic on them
Memory and arithmetic of attention are added, as if no load were ever in flight while a core computes: cautious. For the
weights the slower of the two counts: they are read in long rows. Not in it: norms, activations, waiting for the other
threads, other programs.

B of a Raspberry Pi 5 is what a published decode curve implies, of ik_llama.cpp with Qwen3-30B-A3B at 2.66 bits per
weight and a q8_0 cache; B of a Raspberry Pi 4 what llama.cpp's 2.4 tokens per second with Qwen3.5-2B in Q4_K_M imply.

usage: predict.py            the published curve beside the model, packed caches, then the predictions
       predict.py --check    fails when a point of the curve is off by more than 6 %, or packed keys and values of eight query
                             heads are consumed more slowly than the peer's attention consumes its q8_0"""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# Published: tokens in the cache -> tokens per second (potato-os/core, context_window_48k_results.md, Raspberry Pi 5, 16 GB).
CURVE = {700: 8.8, 6400: 5.6, 12700: 4.0, 18900: 3.1, 25000: 2.6, 37000: 1.9, 48800: 1.5}
CURVE_BITS = 2.66
# The same run's extra time from 0 to 24k and to 48k tokens is 0.267 and 0.553 s for 1.27 and 2.55 GB: bytes of q8_0
# cache that the peer's attention gets through per second, memory and arithmetic together.
PEER_CACHE_RATE = 4.7e9

# "that model" of the curve, from its config.json: mixture of experts, 8 of 128 are read per token.
MODELS = {
    "Qwen3-30B-A3B": {"n_layer": 48, "n_embd": 2048, "n_head": 32, "n_head_kv": 4, "head_dim": 128, "n_ff": 768, "n_used": 8,
                      "n_expert": 128, "n_vocab": 151936},
}
SHAPES = {"Qwen3-0.6B": "qwen3-0.6b", "Qwen3-1.7B": "qwen3-1.7b", "Qwen3-4B": "qwen3-4b", "Llama-3.2-1B": "llama-3.2-1b",
          "Llama-3.2-3B": "llama-3.2-3b"}
DEPTHS = (0, 4096, 16384, 32768, 49152)
CACHES = ("f16", "q8_0", "q4_0", "skvqx2")
DENSE_BITS = 4.5  # Q4_0: 18 bytes for 32 weights
BLOCK = 160       # tokens of a packed block


def read_shape(name):
    shape = {}
    with open(os.path.join(HERE, "shapes", name + ".txt"), encoding="utf-8") as f:
        for key, value in re.findall(r"^(\w+) = (.*)$", f.read(), re.M):
            shape[key] = int(value) if value.isdigit() else value
    shape.setdefault("head_dim", shape["n_embd"] // shape["n_head"])
    return shape


def weights_per_token(m):
    """Parameters that one token reads: every matrix once, of the experts those that are used, of the embedding one row."""
    attention = m["n_embd"] * m["head_dim"] * 2 * (m["n_head"] + m["n_head_kv"])
    feed_forward = 3 * m["n_embd"] * m["n_ff"] * m.get("n_used", 1) + m["n_embd"] * m.get("n_expert", 0)
    return m["n_layer"] * (attention + feed_forward) + m["n_embd"] * m["n_vocab"]


def cache_bytes(m, cache):
    """Of keys and values, per token and layer."""
    d = m["head_dim"]
    keys_values = {"f16": 2 * 2 * d, "q8_0": 2 * d // 32 * 34, "q4_0": 2 * d // 32 * 18,
                   # cache/store/skvqx.c: codes, per channel a step and a midpoint in fp16; codes, a byte per token, padding
                   "skvqx2": (40 * d + 4 * d + 40 * d + 192) / BLOCK}[cache]
    return m["n_head_kv"] * keys_values


def read_cycles():
    """arm_cycles.txt: {heads: {(kernel, core): cycles per unit}}, head size 128."""
    table, heads = {}, 0
    with open(os.path.join(HERE, "arm_cycles.txt"), encoding="utf-8") as f:
        for line in f:
            head = re.match(r"head size 128, 160 tokens, (\d+) query heads", line)
            row = re.match(r"(\S+)/(\w+) +(A\d+) +(?:MAC|token-head|value) +[\d.]+ +([\d.]+)", line)
            if head:
                heads = int(head.group(1))
            elif row:
                table.setdefault(heads, {})[row.group(1), row.group(3), row.group(2)] = float(row.group(4))
    return table


def fewest_cycles(table, kernel, core, heads):
    """Per unit, of the kernel's tiers, counted with the nearest number of heads."""
    for _, at in sorted(table.items(), key=lambda t: abs(t[0] - heads)):
        found = [v for (name, c, tier), v in at.items() if name == kernel and c == core]
        if found:
            return min(found)
    raise SystemExit(f"predict.py: arm_cycles.txt has no {kernel} for {core}")


def cycles_per_token(m, cache, core, table):
    """Of attention, per token and layer."""
    heads = m["n_head"] // m["n_head_kv"]

    def best(kernel):
        return fewest_cycles(table, kernel, core, heads)

    share = m["head_dim"] / 128  # of a kernel's work per token-head
    softmax = best("attn_max") + best("attn_exp")
    if cache == "skvqx2":  # per block and head: a query of head_dim values is folded, 160 weights are quantised
        each = (best("attn_score_keys2") + best("attn_accum_values2")) * share
        each += best("attn_fold") * m["head_dim"] / BLOCK + best("attn_weights")
    else:
        each = (best(f"attn_score/{cache}") + best(f"attn_accum/{cache}")) * share
    return m["n_head"] * (each + softmax)


def curve():
    """Prints the published points beside the model's; returns B and the largest relative error."""
    m = MODELS["Qwen3-30B-A3B"]
    weights = weights_per_token(m) * CURVE_BITS / 8
    cache = m["n_layer"] * cache_bytes(m, "q8_0")
    first = min(CURVE)
    rate = weights / (1 / CURVE[first] - first * cache / PEER_CACHE_RATE)
    print(f"Qwen3-30B-A3B: {weights_per_token(m) / 1e9:.3f} billion weights per token at {CURVE_BITS} bits = {weights / 1e9:.3f} GB; "
          f"cache {cache} bytes per token")
    print(f"B = {weights / 1e9:.3f} GB / (1/{CURVE[first]} s - {first} * {cache} / {PEER_CACHE_RATE / 1e9} GB/s) = {rate / 1e9:.2f} GB/s\n")
    print("| tokens in the cache | published, t/s | model, t/s | error |\n|---:|---:|---:|---:|")
    worst = 0
    for n, published in sorted({**CURVE, 24000: None, 48000: None}.items()):
        model = 1 / (weights / rate + n * cache / PEER_CACHE_RATE)
        error = f"{100 * (model / published - 1):+.1f} %" if published else ""
        worst = max(worst, abs(model / published - 1)) if published else worst
        print(f"| {n} | {published or ''} | {model:.2f} | {error} |")
    return rate, worst


def packed(table):
    """Bytes of packed keys and values that four A76 get through per second, arithmetic alone: scores and weighted sums,
    and with the softmax between them. One block of 160 tokens and head size 128. Returns the least of the first."""
    d, least = 128, float("inf")
    size = BLOCK * cache_bytes({"n_head_kv": 1, "head_dim": d}, "skvqx2")
    print(f"\nskvqx2, blocks of {BLOCK} tokens, head size {d}: {size:.0f} bytes of keys and values per block\n")
    print("| query heads per KV head | fold | scores | weights | sums | softmax | GB/s, four A76 | with softmax |\n" + "|---:" * 8 + "|")
    for heads, at in sorted(table.items()):
        if ("attn_score_keys2", "A76", "dotprod") not in at:
            continue
        cost = [at["attn_fold", "A76", "neon"] * d * heads, at["attn_score_keys2", "A76", "dotprod"] * BLOCK * heads,
                at["attn_weights", "A76", "neon"] * BLOCK * heads, at["attn_accum_values2", "A76", "dotprod"] * BLOCK * heads,
                (at["attn_max", "A76", "neon"] + at["attn_exp", "A76", "neon"]) * BLOCK * heads]
        rate = [size / cycles * 4 * 2.4 for cycles in (sum(cost[:4]), sum(cost))]
        print(f"| {heads} | " + " | ".join(f"{c:.0f}" for c in cost) + f" | {rate[0]:.2f} | {rate[1]:.2f} |")
        least = min(least, rate[0])
    return least * 1e9


def predictions(rate, table):
    boards = [("Raspberry Pi 5", "A76", 2.4e9, rate), ("Raspberry Pi 4", "A72", 1.8e9, 1.2e9 * 2.4)]
    models = [(name, read_shape(shape), DENSE_BITS, "gemv/q4_0") for name, shape in SHAPES.items()]
    models.append(("Qwen3-30B-A3B", MODELS["Qwen3-30B-A3B"], CURVE_BITS, "gemv/q2_k"))
    for board, core, clock, bandwidth in boards:
        print(f"\n{board}, four {core} at {clock / 1e9} GHz, B = {bandwidth / 1e9:.2f} GB/s: predicted tokens per second\n")
        print("| model | weights, GB/token | their arithmetic | cache | bytes/token | its arithmetic, GB/s | "
              + " | ".join(f"{n // 1024}k" for n in DEPTHS) + " |")
        print("|---|---:|---:|---|---:|---:|" + "---:|" * len(DEPTHS))
        for name, m, bits, gemv in models:
            weights = weights_per_token(m) * bits / 8
            compute = weights_per_token(m) * fewest_cycles(table, gemv, core, 1) / (4 * clock)
            base = max(weights / bandwidth, compute)
            for cache in CACHES:
                size, cycles = cache_bytes(m, cache), cycles_per_token(m, cache, core, table)
                per_token = m["n_layer"] * (size / bandwidth + cycles / (4 * clock))
                speeds = " | ".join(f"{1 / (base + n * per_token):.1f}" for n in DEPTHS)
                print(f"| {name} | {weights / 1e9:.2f} | {100 * compute / (weights / bandwidth):.0f} % | {cache} | "
                      f"{m['n_layer'] * size:.0f} | {size / cycles * 4 * clock / 1e9:.1f} | {speeds} |")


def main():
    rate, worst = curve()
    if worst > 0.06:
        sys.exit(f"predict.py: the model is off by {100 * worst:.0f} %")
    table = read_cycles()
    consumed = packed(table)
    if consumed < PEER_CACHE_RATE:
        sys.exit(f"predict.py: packed keys and values are consumed at {consumed / 1e9:.2f} GB/s, below {PEER_CACHE_RATE / 1e9}")
    if sys.argv[1:] != ["--check"]:
        predictions(rate, table)


if __name__ == "__main__":
    main()
