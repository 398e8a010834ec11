/* rope: rotates pairs of one head's vector in place (RoFormer, arXiv 2104.09864). cos and sin hold n_rot/2 values of
 * the position; elements from n_rot on stay.
 *   norm: pairs (x[2i], x[2i+1])      neox: pairs (x[i], x[i + n_rot/2])
 *   a' = a·cos - b·sin,  b' = a·sin + b·cos, each product and the sum rounded on its own.  Contract EXACT. */
#ifndef TB_SIMD_ROPE_H
#define TB_SIMD_ROPE_H

#include <stddef.h>

#define TB_ROPE_ARGS (float *x, const float *cos, const float *sin, size_t n_rot)
typedef void tb_rope_norm_t TB_ROPE_ARGS;
typedef void tb_rope_neox_t TB_ROPE_ARGS;

#endif
