/* peak: the most that a tier can multiply: its own way to multiply and add bytes, on registers alone, in independent
 * chains. What a weight kernel reaches is quoted as a share of it (bench/kernels_time.c).
 *   dot_peak returns the number of multiply-accumulates it did: rounds times a number that depends on the tier.
 *   All factors are one, and *sum receives the sum of all accumulators, modulo 2^32.
 * Contract: *sum is the number returned, modulo 2^32. */
#ifndef TB_SIMD_PEAK_H
#define TB_SIMD_PEAK_H

#include <stddef.h>
#include <stdint.h>

#define TB_DOT_PEAK_ARGS (uint32_t * sum, size_t rounds)
typedef uint64_t tb_dot_peak_t TB_DOT_PEAK_ARGS;

#endif
