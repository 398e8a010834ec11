/* Text with provenance (template_value.h). */
#include "io/template_value.h"

#include <string.h>

void tb_tpl_text_init(struct tb_tpl_text *t, struct tb_tpl_arena *a) { *t = (struct tb_tpl_text){.arena = a}; }

bool tb_tpl_text_reserve(struct tb_tpl_text *t, size_t more) {
  size_t need, cap;
  if (!tb_add(t->n, more, &need)) return t->arena->failed = TB_E_LIMIT, false;
  if (need <= t->cap) return true;
  if (!tb_add(need, need / 2 + 16, &cap)) cap = need;
  char *data = tb_tpl_alloc(t->arena, cap, 1);
  uint8_t *marks = t->marks ? tb_tpl_alloc(t->arena, cap, 1) : NULL;
  if (!data || (t->marks && !marks)) return false;
  if (t->n) memcpy(data, t->data, t->n);
  if (t->n && marks) memcpy(marks, t->marks, t->n);
  t->data = data;
  t->marks = marks;
  t->cap = cap;
  return true;
}

/* From here on every byte has a mark of its own. */
static bool start_marks(struct tb_tpl_text *t) {
  if (t->marks) return true;
  uint8_t *marks = tb_tpl_alloc(t->arena, t->cap, 1);
  if (!marks) return false;
  memset(marks, t->trusted, t->n);
  t->marks = marks;
  return true;
}

bool tb_tpl_text_put(struct tb_tpl_text *t, const char *s, size_t n, bool trusted) {
  if (!n) return true;
  if (!tb_tpl_text_reserve(t, n)) return false;
  if (!t->n && !t->marks) t->trusted = trusted;
  if (t->trusted != trusted && !start_marks(t)) return false;
  memcpy(t->data + t->n, s, n);
  if (t->marks) memset(t->marks + t->n, trusted, n);
  t->n += n;
  return true;
}

bool tb_tpl_text_put_str(struct tb_tpl_text *t, struct tb_tpl_str s) {
  if (!s.marks) return tb_tpl_text_put(t, s.s, s.n, s.trusted);
  if (!s.n) return true;
  if (!tb_tpl_text_reserve(t, s.n) || !start_marks(t)) return false;
  memcpy(t->data + t->n, s.s, s.n);
  memcpy(t->marks + t->n, s.marks, s.n);
  t->n += s.n;
  return true;
}

struct tb_tpl_str tb_tpl_text_str(const struct tb_tpl_text *t) {
  return (struct tb_tpl_str){.s = t->n ? t->data : "", .marks = t->marks, .n = t->n, .trusted = t->trusted || !t->n};
}

struct tb_tpl_str tb_tpl_sub(struct tb_tpl_str s, size_t from, size_t to) {
  s.s += from;
  if (s.marks) s.marks += from;
  if (to != s.n) s.tail = NULL;
  s.n = to - from;
  return s;
}

bool tb_tpl_all_trusted(struct tb_tpl_str s) {
  if (!s.marks) return s.trusted;
  return !memchr(s.marks, 0, s.n ? s.n : 0);
}

/* Where a ends its growing text, b is appended there: bytes that others may see never change. */
static bool append_in_place(struct tb_tpl_str a, struct tb_tpl_str b, struct tb_tpl_str *out) {
  struct tb_tpl_text *t = a.tail;
  size_t from = t->n - a.n;
  if (!tb_tpl_text_put_str(t, b)) return false;
  *out = tb_tpl_sub(tb_tpl_text_str(t), from, t->n);
  out->tail = t;
  return true;
}

bool tb_tpl_concat(struct tb_tpl_arena *ar, struct tb_tpl_str a, struct tb_tpl_str b, struct tb_tpl_str *out) {
  if (!a.n || !b.n) return *out = a.n ? a : b, true;
  if (a.tail && a.s + a.n == a.tail->data + a.tail->n) return append_in_place(a, b, out);
  struct tb_tpl_text *t = tb_tpl_alloc(ar, 1, sizeof *t);
  if (!t) return false;
  tb_tpl_text_init(t, ar);
  if (!tb_tpl_text_reserve(t, a.n + b.n) || !tb_tpl_text_put_str(t, a) || !tb_tpl_text_put_str(t, b)) return false;
  *out = tb_tpl_text_str(t);
  out->tail = t;
  return true;
}

struct tb_tpl_str tb_tpl_literal(const char *s) {
  return (struct tb_tpl_str){.s = s, .n = strlen(s), .trusted = true};
}

bool tb_tpl_str_eq(struct tb_tpl_str a, struct tb_tpl_str b) {
  return a.n == b.n && (a.n == 0 || memcmp(a.s, b.s, a.n) == 0);
}

bool tb_tpl_str_is(struct tb_tpl_str a, const char *literal) { return tb_tpl_str_eq(a, tb_tpl_literal(literal)); }

struct tb_val tb_tpl_of_str(struct tb_tpl_arena *a, struct tb_tpl_str s, unsigned flags) {
  struct tb_tpl_str *p = tb_tpl_alloc(a, 1, sizeof *p);
  if (!p) return (struct tb_val){.kind = TB_VAL_UNDEFINED};
  *p = s;
  return (struct tb_val){.kind = TB_VAL_STR, .flags = (uint8_t)(flags & TB_VAL_MARKUP), .u.p = p};
}
