/* kvrow: rows of keys or values as SKVQ publishes them (arXiv 2405.06219): one token's channels of all KV heads, in groups
 * that each have their own scale and lower end. Groups are runs of the reordered row, so that channels of like range share
 * one, whatever their head.
 *
 * With y[c] = x[order[c]], and for each group the smallest and largest y (N = levels):
 *     lo = clip·min, hi = clip·max                                  as published: shifts a group that lies beside zero
 *     lo = mid - clip·half, hi = mid + clip·half                    shrink; mid = min/2 + max/2, half = max/2 - min/2
 *     s = max((hi - lo)/(N - 1), 1e-5);  s and lo rounded to what is stored, saturating: FP8-E4M3 (±448) or fp16
 *     q = clamp(round-half-to-even((y - lo)·(1/s)), 0, N - 1)       with the rounded s and lo; s = 0: q = 0
 *     ŷ = q·s + lo
 *
 * A row, without padding: W code bytes, the groups' scales, the groups' lower ends (one byte each, or two: little endian).
 *     4 levels   W = width/4     byte i: channels i, W + i, 2W + i, 3W + i of y at bits 0, 2, 4, 6
 *     3 levels   W = ⌈width/5⌉   byte i: channels i, W + i, … 4W + i, first the highest trit, as ternary in simd/kvblock.h;
 *                                channels from width on are 0
 *
 * kvrow_pack: n rows of `width` floats, ldx apart, to rows `stride` bytes apart.
 * kvrow_expand: of n rows, x[t·ldx + i] = the channel first + i, for i < count, in the order of the model.
 *
 * Contract EXACT: each product, sum and quotient is rounded on its own. x finite, |x| < 2^100; otherwise unspecified
 * values, no trap. No alignment needed. */
#ifndef TB_SIMD_KVROW_H
#define TB_SIMD_KVROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TB_KVROW_MAX = 4096 };

struct tb_kvrow {
  unsigned levels;      /* 4, or 3 */
  size_t width;         /* channels of a row: a multiple of 4, at most TB_KVROW_MAX */
  size_t n_groups;
  const uint16_t *ends; /* n_groups: where each group ends, rising, none empty; the last is width */
  const float *clip;    /* n_groups: in 0 … 1 */
  const int16_t *order; /* width: the model's channel at each place, or NULL for none but the model's order */
  const int16_t *place; /* width: its inverse; NULL when order is */
  bool shrink, f8;
};

static inline size_t tb_kvrow_code_bytes(const struct tb_kvrow *f) {
  return f->levels == 3 ? (f->width + 4) / 5 : f->width / 4;
}

static inline size_t tb_kvrow_bytes(const struct tb_kvrow *f) {
  return tb_kvrow_code_bytes(f) + f->n_groups * (f->f8 ? 2 : 4);
}

#define TB_KVROW_PACK_ARGS (void *rows, size_t stride, const struct tb_kvrow *f, const float *x, size_t ldx, size_t n)
#define TB_KVROW_EXPAND_ARGS                                                                                           \
  (float *x, size_t ldx, const struct tb_kvrow *f, const void *rows, size_t stride, size_t n, size_t first, size_t count)

typedef void tb_kvrow_pack_t TB_KVROW_PACK_ARGS;
typedef void tb_kvrow_expand_t TB_KVROW_EXPAND_ARGS;

#endif
