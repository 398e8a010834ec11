/* Small deterministic generators: the same seed gives the same sequence on every machine. */
#ifndef TB_BASE_RNG_H
#define TB_BASE_RNG_H

#include <stdint.h>

struct tb_rng {
  uint64_t state;
};

/* SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014). */
static inline uint64_t tb_rng_next(struct tb_rng *r) {
  uint64_t z = r->state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/* Uniform in [0, 1), 24 bits: exact in float. */
static inline float tb_rng_unit(struct tb_rng *r) { return (float)(tb_rng_next(r) >> 40) * 0x1p-24f; }

/* Approximately normal (mean 0, variance 1) without libm, so that it is the same everywhere: sum of twelve uniforms. */
static inline float tb_rng_normal(struct tb_rng *r) {
  float sum = -6.0f;
  for (int i = 0; i < 12; i++) sum += tb_rng_unit(r);
  return sum;
}

#endif
