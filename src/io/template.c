/* Compiling a template: its text is copied with line ends made \n, then parsed into code. */
#include "io/template_code.h"

#include <string.h>

/* Jinja2 reads \r\n and \r as \n, and drops one newline at the end of a template. */
static size_t normalise(char *out, const char *text, size_t len) {
  size_t n = 0;
  for (size_t i = 0; i < len; i++) {
    out[n++] = text[i] == '\r' ? '\n' : text[i];
    if (text[i] == '\r' && i + 1 < len && text[i + 1] == '\n') i++;
  }
  return n && out[n - 1] == '\n' ? n - 1 : n;
}

static enum tb_status compile(struct tb_template *t, const char *text, size_t len, struct tb_error *err) {
  char *source = tb_tpl_alloc(&t->arena, len, 1);
  t->name_index = tb_calloc(t->alloc, TB_TPL_NAME_INDEX, sizeof *t->name_index);
  if (!source || !t->name_index) return tb_fail(err, TB_E_NOMEM, "no memory to compile the template");
  return tb_tpl_parse(t, source, normalise(source, text, len), err);
}

enum tb_status tb_template_compile(struct tb_template **out, const char *text, size_t len, const struct tb_allocator *a,
                                   struct tb_error *err) {
  *out = NULL;
  if (len > TB_TEMPLATE_BYTES)
    return tb_fail(err, TB_E_LIMIT, "the template has %zu bytes, at most %d are supported", len, TB_TEMPLATE_BYTES);
  struct tb_template *t = tb_calloc(a, 1, sizeof *t);
  if (!t) return tb_fail(err, TB_E_NOMEM, "no memory to compile the template");
  t->alloc = a;
  tb_tpl_arena_init(&t->arena, a, SIZE_MAX / 2);
  enum tb_status st = compile(t, text, len, err);
  if (st) tb_template_free(t);
  else *out = t;
  return st;
}

void tb_template_free(struct tb_template *t) {
  if (!t) return;
  tb_tpl_arena_free(&t->arena);
  tb_free(t->alloc, t->code);
  tb_free(t->alloc, t->consts);
  tb_free(t->alloc, t->names);
  tb_free(t->alloc, t->name_index);
  tb_free(t->alloc, t->hidden);
  tb_free(t->alloc, t->keywords);
  tb_free(t->alloc, t->shapes);
  tb_free(t->alloc, t->macros);
  tb_free(t->alloc, t);
}
