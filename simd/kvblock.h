/* The blocks of the packed key-value stores: which bit of which byte holds which code. Shared by the families kvpack,
 * kvdequant, attn_score and attn_accum; a layout is part of the session file and the same on every machine.
 *
 * A block is TB_KV_BLOCK tokens of one KV head and one side, as `planes` columns of codes: a 2-bit channel is one plane,
 * a 4-bit channel two (high and low pair of bits). planes is a multiple of 32. 160 is divisible by 16 and 32 (lanes),
 * 4 (bytes of a dot product) and 20 (5 trits × 4). Blocks are aligned to 64 bytes.
 *
 * keys2      64-byte line = 32 tokens × 8 planes: lane i (4 bytes) belongs to tokens i and i+16, byte b of it is
 *                bits 0-1 (i, b)   2-3 (i+16, b)   4-5 (i, b+4)   6-7 (i+16, b+4)
 *            lines of one token group follow each other (plane 0, 8, 16 …), then the next 32 tokens.
 *            A lane is one token: dot products need no horizontal sums. The two codes of a nibble share their query
 *            value, so (nibble · q) and (low pair · q) give both tokens: one mask less per line.
 *
 * values2    64-byte line = 4 tokens × 64 planes: lane i, byte b (token b), bits 2s: plane 16·s + i
 *            40 lines (160 tokens) of 64 planes follow each other, then the next 64 planes; a remainder of 32 planes
 *            has 32-byte lines of 8 lanes (plane 8·s + i). All four codes of a byte share their weight, so masks 3, 15,
 *            63, 255 without any shift give sums whose differences are the four planes.
 *
 * ternary    64-byte line = 20 tokens × 16 planes: lane i is plane i, byte b holds the trits of tokens b, 4+b, … 16+b as
 *                y = ⌈256/243 · (81·t0 + 27·t1 + 9·t2 + 3·t3 + t4)⌉,   trit k = (3 · (3^k · y mod 256)) >> 8
 *            four lines (64 planes; two for a remainder of 32) of the same 20 tokens follow each other, then the next
 *            20 tokens, then the next 64 planes. Exactly 1.6 bits per value. */
#ifndef TB_SIMD_KVBLOCK_H
#define TB_SIMD_KVBLOCK_H

#include <stddef.h>
#include <stdint.h>

enum {
  TB_KV_BLOCK = 160,
  TB_KV_PART = 32, /* tokens: what of a block can be attended to alone */
  TB_KV_PLANES_MAX = 1024,
};

/* Bytes of a block's codes. */
static inline size_t tb_keys2_bytes(size_t planes) { return planes * (TB_KV_BLOCK / 4); }
static inline size_t tb_values2_bytes(size_t planes) { return planes * (TB_KV_BLOCK / 4); }
static inline size_t tb_ternary_bytes(size_t planes) { return planes * (TB_KV_BLOCK / 5); }

/* Position of a code in its block: byte and, for the 2-bit layouts, shift; for ternary, the trit's number. */
struct tb_kv_place {
  size_t byte;
  unsigned at;
};

static inline struct tb_kv_place tb_keys2_place(size_t planes, size_t token, size_t plane) {
  const size_t line = token / 32 * (planes / 8) + plane / 8;
  return (struct tb_kv_place){line * 64 + token % 16 * 4 + plane % 4, (unsigned)(plane % 8 / 4 * 4 + token % 32 / 16 * 2)};
}

static inline struct tb_kv_place tb_values2_place(size_t planes, size_t token, size_t plane) {
  const size_t first = plane / 64 * 64, width = planes - first < 64 ? 32 : 64, lanes = width / 4;
  return (struct tb_kv_place){first * (TB_KV_BLOCK / 4) + token / 4 * width + plane % 64 % lanes * 4 + token % 4,
                              (unsigned)(plane % 64 / lanes * 2)};
}

static inline struct tb_kv_place tb_ternary_place(size_t planes, size_t token, size_t plane) {
  const size_t first = plane / 64 * 64, lines = planes - first < 64 ? 2 : 4;
  return (struct tb_kv_place){first * (TB_KV_BLOCK / 5) + (token / 20 * lines + plane % 64 / 16) * 64 + plane % 16 * 4 + token % 4,
                              (unsigned)(token % 20 / 4)};
}

/* Token scales: 8 bits, unsigned, 4 of exponent and 4 of mantissa, above the block's base; code 0 is zero.
 *   value = 2^(base + code/16) · (1 + code%16/16)
 * as the float whose bits are (base + 127) << 23 plus code << 19. Range 2^16, relative step at most 1/16. */
static inline uint32_t tb_scale8_base_bits(int base) { return (uint32_t)(base + 127) << 23; }

#endif
