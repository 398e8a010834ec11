#include "simd/peak/peak.h"

#include "simd/kernels.h"

uint64_t tb_dot_peak_ref(uint32_t *sum, size_t rounds) {
  volatile int8_t one = 1; /* read and multiplied every time */
  *sum = 0;
  for (size_t i = 0; i < rounds; i++)
    *sum += (uint32_t)(one * one);
  return rounds;
}
