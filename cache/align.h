/* How two neighbouring layers' rows agree once the upper layer's are turned by what attention does not notice: each KV
 * head by a rotation of its own (keys: of each pair that RoPE rotates, arXiv 2104.09864, with which it commutes;
 * values: of all channels), and heads exchanged. From E[u wᵀ] of unit rows u of the lower and w of the upper layer. */
#ifndef TB_CACHE_ALIGN_H
#define TB_CACHE_ALIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tb_align {
  bool values;
  uint32_t n, d;    /* KV heads, head size ≤ 512 */
  uint32_t rotated; /* keys: channels that RoPE rotates, an even number */
  const float
      *cross; /* [lower head][upper head] of: values d×d, E[u wᵀ]; keys d: per rotated pair p, with u and w as
                 complex numbers, real and imaginary part of E[u·conj(w)] at 2p, 2p+1, then E[u·w] per channel */
};

struct tb_align_map {
  uint32_t *head;   /* n: the lower head that each upper head joins, a permutation */
  float *map;       /* n of tb_align_map_floats. Keys: cosines, then sines, of the rotated pairs. Values: d×d */
  double cosine;    /* mean over heads of E[cos] between u and the turned w */
  double untouched; /* the same before, head by head */
};

size_t tb_align_map_floats(bool values, uint32_t d); /* per head */
size_t tb_align_bytes(uint32_t n, uint32_t d);       /* of work, aligned to 8 */
/* The best map: angles of the complex correlations; orthogonal Procrustes (Schönemann 1966); the permutation by
 * exchanges. align false: the identity. */
void tb_align_solve(const struct tb_align *p, bool align, struct tb_align_map *out, void *work);

#endif
