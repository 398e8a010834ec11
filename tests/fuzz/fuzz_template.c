/* template: any text as a chat template, rendered on a small conversation within small budgets. A typed error or an
 * output whose segments add up; caller data stays untrusted: no run of trusted bytes spells what only a message said. */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include "io/template.h"
#include "tests/support/count_alloc.h"

enum { MEMORY = 8 << 20 };
/* Said by a message and by nothing else: its first byte stands in no other value. */
static const char secret[] = "\x01\x02q\x03z\x04";

static void put(struct tb_vals *pool, struct tb_val dict, const char *key, struct tb_val v) {
  tb_val_put(pool, dict, key, strlen(key), v);
}

static struct tb_val message(struct tb_vals *pool, const char *role, const char *content) {
  struct tb_val m = tb_val_dict(pool);
  put(pool, m, "role", tb_val_role(pool, role, strlen(role)));
  put(pool, m, "content", tb_val_text(pool, content, strlen(content)));
  return m;
}

static struct tb_val conversation(struct tb_vals *pool) {
  struct tb_val c = tb_val_dict(pool), messages = tb_val_list(pool), tool = tb_val_dict(pool), tools = tb_val_list(pool);
  tb_val_push(pool, messages, message(pool, "system", "Be kind. \xc3\xa9"));
  tb_val_push(pool, messages, message(pool, "user", secret));
  tb_val_push(pool, messages, message(pool, "assistant", "<think>x</think>Hello"));
  tb_val_push(pool, messages, message(pool, "user", ""));
  put(pool, tool, "name", tb_val_text(pool, "f", 1));
  put(pool, tool, "n", tb_val_int(-12));
  put(pool, tool, "x", tb_val_float(1.5));
  tb_val_push(pool, tools, tool);
  put(pool, c, "messages", messages);
  put(pool, c, "tools", tools);
  put(pool, c, "l", messages);
  put(pool, c, "d", tool);
  put(pool, c, "s", tb_val_text(pool, "User text", 9));
  put(pool, c, "bos_token", tb_val_trusted_text(pool, "<s>", 3));
  put(pool, c, "eos_token", tb_val_trusted_text(pool, "</s>", 4));
  put(pool, c, "add_generation_prompt", tb_val_bool(true));
  return c;
}

static bool contains(const char *text, size_t n, const char *what, size_t len) {
  for (size_t i = 0; i + len <= n; i++)
    if (memcmp(text + i, what, len) == 0) return true;
  return false;
}

static void check_output(const struct tb_template_output *o, const char *source, size_t size) {
  size_t at = 0;
  for (size_t i = 0; i < o->n_segments; i++) {
    const struct tb_text_run *r = &o->segments[i];
    FUZZ_CHECK(r->length > 0 && r->length <= o->length - at);
    FUZZ_CHECK(i == 0 || r->trusted != o->segments[i - 1].trusted);
    if (r->trusted && !contains(source, size, "\x01", 1))
      FUZZ_CHECK(!contains(o->text + at, r->length, secret, sizeof secret - 1));
    at += r->length;
  }
  FUZZ_CHECK(at == o->length && o->text[o->length] == '\0');
}

static void check_error(enum tb_status s, const struct tb_error *err) {
  FUZZ_CHECK(s == TB_E_FORMAT || s == TB_E_UNSUPPORTED || s == TB_E_LIMIT || s == TB_E_ARG || s == TB_E_NOMEM);
  FUZZ_CHECK(err->status == s && err->text[0] && !strchr(err->text, '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct count_alloc c;
  struct tb_template *t = NULL;
  struct tb_vals *pool;
  struct tb_error err = {0};
  struct tb_template_output o = {0};
  const char *source = (const char *)data;
  count_alloc_init(&c);
  if (size && data[0] == 0xfd) { /* an allocation fails */
    c.fail_at = size > 1 ? data[1] : 1;
    c.fail_after = size > 2 && data[2] & 1;
  }
  const size_t skip = size && data[0] == 0xfd ? (size < 3 ? size : 3) : 0;
  enum tb_status s = tb_template_compile(&t, source + skip, size - skip, &c.hooks, &err);
  FUZZ_CHECK((s == TB_OK) == (t != NULL));
  if (s) {
    check_error(s, &err);
    FUZZ_CHECK(c.blocks == 0);
    return 0;
  }
  if (tb_vals_create(&pool, &c.hooks, &err) == TB_OK) {
    struct tb_template_input in = {.pool = pool, .now = {2026, 8, 1, 12, 0, 0, 0}};
    in.limits = (struct tb_template_limits){.steps = 20000, .output = 1 << 16, .memory = MEMORY};
    in.context = conversation(pool);
    const size_t before = c.live;
    s = tb_template_render(t, &in, &o, &err);
    if (s) check_error(s, &err);
    else check_output(&o, source, size);
    FUZZ_CHECK(c.peak <= before + MEMORY + (1 << 20));
    tb_template_output_free(&o, &c.hooks);
    tb_vals_free(pool);
  }
  tb_template_free(t);
  FUZZ_CHECK(c.blocks == 0);
  return 0;
}
