/* Calls one kernel once, for cycles.py to follow instruction by instruction under emulation.
 * usage: cycles FUNCTION FORMAT TIER HEADS     FORMAT "-": none; HEADS: query heads that share the KV head
 * Vectors of 1024 values (gemm: 512, and 64 columns of them), head size 128, one block of tokens. */
#include <stdlib.h>
#include <string.h>

#include "bench/kernels_calls.h"

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  struct call_operands o = {0};
  struct call_shape shape = {.width = 1024, .rows = 32, .gemm_rows = 32, .columns = 64, .head = 128};
  if (strcmp(argv[1], "gemm") == 0) shape.width = 512;
  shape.heads = (size_t)strtoul(argv[4], NULL, 10);
  if (shape.heads < 1 || shape.heads > CALL_HEADS || !call_operands_new(&o, &shape)) return 2;
  for (size_t i = 0; i < n_kernel_calls; i++) {
    const struct kernel_call *k = &kernel_calls[i];
    if (strcmp(k->function, argv[1]) != 0 || strcmp(k->format, argv[2]) != 0 || strcmp(k->tier, argv[3]) != 0) continue;
    k->call(&o);
    return 0;
  }
  return 3;
}
