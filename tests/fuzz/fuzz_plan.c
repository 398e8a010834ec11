/* plan: any text as a plan file. Refused with one line, or every layer is planned and the plan written again reads back
 * as itself. Byte 0: number of layers. */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include "cache/plan/plan_file.h"

enum { MAX_LAYERS = 64 };

struct text {
  char data[1 << 16];
  size_t n;
};

static bool append(void *user, const char *piece, size_t n) {
  struct text *t = user;
  FUZZ_CHECK(n <= sizeof t->data - t->n);
  memcpy(t->data + t->n, piece, n);
  t->n += n;
  return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct tb_plan_layer plan[MAX_LAYERS], again[MAX_LAYERS];
  static struct text text;
  static const struct tb_plan_layer defaults = {.window = 128, .sinks = 5};
  struct fuzz_input in = {data, size};
  struct tb_error err = {0};
  const uint32_t layers = 1 + fuzz_u8(&in) % MAX_LAYERS;
  memset(plan, 0, sizeof plan);
  enum tb_status s = tb_plan_parse((const char *)in.p, in.n, layers, &defaults, plan, &err);
  if (s) {
    FUZZ_CHECK(s == TB_E_FORMAT || s == TB_E_LIMIT || s == TB_E_UNSUPPORTED || s == TB_E_ARG);
    FUZZ_CHECK(err.status == s && err.text[0] && !strchr(err.text, '\n'));
    return 0;
  }
  text.n = 0;
  FUZZ_CHECK(tb_plan_write(plan, layers, append, &text));
  memset(again, 0, sizeof again);
  FUZZ_CHECK(tb_plan_parse(text.data, text.n, layers, &defaults, again, &err) == TB_OK);
  for (uint32_t i = 0; i < layers; i++) {
    FUZZ_CHECK(tb_store_find(plan[i].type_k) && tb_store_find(plan[i].type_v));
    FUZZ_CHECK(strcmp(plan[i].type_k, again[i].type_k) == 0 && strcmp(plan[i].type_v, again[i].type_v) == 0);
    FUZZ_CHECK(plan[i].window == again[i].window && plan[i].sinks == again[i].sinks);
  }
  return 0;
}
