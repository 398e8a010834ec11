/* kvpack: one block of codes to its packed form (simd/kvblock.h). Contract EXACT.
 *
 * codes: TB_KV_BLOCK rows (tokens) of `planes` bytes, token after token: 0…3 (keys2, values2) or 0…2 (ternary).
 * block: tb_<layout>_bytes(planes) bytes, every one written by packing. planes: a multiple of 32. No alignment needed. */
#ifndef TB_SIMD_KVPACK_H
#define TB_SIMD_KVPACK_H

#include "simd/kvblock.h"

#define TB_KVPACK_BLOCK_ARGS (void *block, const uint8_t *codes, size_t planes)

typedef void tb_kvpack_keys2_t TB_KVPACK_BLOCK_ARGS;
typedef void tb_kvpack_values2_t TB_KVPACK_BLOCK_ARGS;
typedef void tb_kvpack_ternary_t TB_KVPACK_BLOCK_ARGS;

#endif
