/* gguf: any bytes as a model file. Refused with one line or opened, then every getter on everything; never more memory
 * than 4 × the file + 1 MiB, nothing leaked. */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include "io/gguf.h"
#include "tests/support/count_alloc.h"
#include "tests/support/gguf_make.h"
#include "tests/support/gguf_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct count_alloc c;
  struct tb_error err = {0};
  struct tb_gguf *g = NULL;
  count_alloc_init(&c);
  enum tb_status s = tb_gguf_open_memory(&g, data, size, &c.hooks, &err);
  FUZZ_CHECK(s == TB_OK || s == TB_E_FORMAT || s == TB_E_UNSUPPORTED || s == TB_E_LIMIT);
  FUZZ_CHECK((s == TB_OK) == (g != NULL));
  if (s) FUZZ_CHECK(err.status == s && err.text[0] && !strchr(err.text, '\n'));
  else gguf_walk(g);
  tb_gguf_free(g);
  FUZZ_CHECK(c.blocks == 0);
  FUZZ_CHECK(c.peak <= 4 * size + (1 << 20));
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
  static struct gguf_make sample;
  if (!sample.data) sample = make_sample();
  return fuzz_mutate_gguf(data, size, max_size, seed, sample.data, sample.n);
}
