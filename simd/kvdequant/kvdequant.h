/* kvdequant: one packed block (simd/kvblock.h) to rows of floats, for prefill tiles and for what is put back into the
 * window. Row t starts at x + t·ldx, ldx ≥ planes.
 *
 * keys2             x = u·step[c] + low[c]     one step and lower end per plane (low NULL: x += u·step[c], for the
 *                                              second plane of a channel)
 * values2, ternary  x = (u - centre)·step[t]   one step per token; centre (levels - 1)/2. add: added to x instead of
 *                                              stored
 * Each product, difference and sum is rounded on its own. Contract EXACT. */
#ifndef TB_SIMD_KVDEQUANT_H
#define TB_SIMD_KVDEQUANT_H

#include <stdbool.h>
#include "simd/kvblock.h"

#define TB_KVDEQUANT_KEYS_ARGS                                                                                         \
  (float *x, size_t ldx, const void *block, const float *step, const float *low, size_t planes)
#define TB_KVDEQUANT_VALUES_ARGS (float *x, size_t ldx, const void *block, const float *step, bool add, size_t planes)

typedef void tb_kvdequant_keys2_t TB_KVDEQUANT_KEYS_ARGS;
typedef void tb_kvdequant_values2_t TB_KVDEQUANT_VALUES_ARGS;
typedef void tb_kvdequant_ternary_t TB_KVDEQUANT_VALUES_ARGS;

#endif
