/* profile: any bytes as a calibration profile (cache/profile.h). Refused with one line, or every statistic that stores ask
 * for is given out whole and finite; identities are stable; nothing leaks. */
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <string.h>
#include "cache/profile.h"
#include "tests/support/count_alloc.h"
#include "tests/support/gguf_make.h"

enum { D = 4, LAYERS = 2 };

static void use(const struct tb_profile *p) {
  static const char *const names[] = {"k.min", "k.max", "k.mean", "kr.mean", "v.min", "v.max", "v.mean", "k.moment", "kr.moment",
                                      "v.moment", "q.moment", "o.metric", "k.gram", "v.gram", "k.asvd", "v.asvd", ""};
  static const size_t sizes[] = {D, D * D, 2 * D, 1, 0};
  FUZZ_CHECK(tb_profile_identity(p) == tb_profile_identity(p));
  (void)tb_profile_model(p);
  (void)tb_profile_tokens(p);
  for (uint32_t layer = 0; layer < LAYERS + 1; layer++)
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
      for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        const float *values = NULL;
        struct tb_error err = {0};
        enum tb_status s = tb_profile_get(p, layer, names[i], sizes[k], &values, &err);
        FUZZ_CHECK(s == TB_OK || (s == TB_E_FORMAT && err.text[0]));
        for (size_t n = 0; s == TB_OK && values && n < sizes[k]; n++) FUZZ_CHECK(isfinite(values[n]));
      }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct count_alloc c;
  struct tb_error err = {0};
  struct tb_gguf *g = NULL;
  struct tb_profile *p = NULL;
  count_alloc_init(&c);
  if (tb_gguf_open_memory(&g, data, size, &c.hooks, &err) != TB_OK) return 0;
  enum tb_status s = tb_profile_from_gguf(&p, g, &c.hooks, &err);
  FUZZ_CHECK(s == TB_OK || s == TB_E_FORMAT || s == TB_E_UNSUPPORTED || s == TB_E_LIMIT);
  if (s) FUZZ_CHECK(err.status == s && err.text[0] && !strchr(err.text, '\n'));
  else use(p);
  if (!s) tb_profile_free(p);
  FUZZ_CHECK(c.blocks == 0);
  FUZZ_CHECK(c.peak <= 4 * size + (1 << 20));
  return 0;
}

static struct gguf_make sample(void) {
  struct gguf_make m;
  const uint64_t model = 12345, tokens = 99;
  make_begin(&m, 3, 4, 3);
  make_kv_u32(&m, "thimble.profile.version", 1);
  make_kv(&m, "thimble.profile.model", 10, &model, 8);
  make_kv(&m, "thimble.profile.tokens", 10, &tokens, 8);
  make_tensor(&m, "blk.0.k.min", 1, (const uint64_t[]){D}, 0, 0);
  make_tensor(&m, "blk.0.k.moment", 2, (const uint64_t[]){D, D}, 0, 32);
  make_tensor(&m, "blk.1.v.max", 1, (const uint64_t[]){D}, 0, 96);
  make_tensor(&m, "blk.1.q.moment", 3, (const uint64_t[]){2, 2, 1}, 0, 128);
  make_data(&m, 32, 160);
  return m;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
  static struct gguf_make made;
  if (!made.data) made = sample();
  return fuzz_mutate_gguf(data, size, max_size, seed, made.data, made.n);
}
