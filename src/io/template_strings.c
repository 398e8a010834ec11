/* Text operations on characters (code points) that keep provenance. */
#include "io/template_run.h"
#include "io/unicode_case.h"

#include <string.h>

size_t tb_tpl_chars(struct tb_tpl_str s) {
  size_t n = 0;
  for (size_t i = 0, used; i < s.n; i += used, n++) tb_ch_decode(s.s + i, s.n - i, &used);
  return n;
}

size_t tb_tpl_char_at(struct tb_tpl_str s, size_t i) {
  size_t at = 0;
  for (size_t used; i > 0 && at < s.n; i--, at += used) tb_ch_decode(s.s + at, s.n - at, &used);
  return at;
}

/* -------------------------------------------------------------------------------------------------------------- strip */

static bool strips(uint32_t cp, const struct tb_tpl_str *chars) {
  if (!chars) return tb_ch_space(cp);
  for (size_t i = 0, used; i < chars->n; i += used)
    if (tb_ch_decode(chars->s + i, chars->n - i, &used) == cp) return true;
  return false;
}

struct tb_tpl_str tb_tpl_strip(struct tb_tpl_str s, const struct tb_tpl_str *chars, bool left, bool right) {
  size_t from = 0, to = s.n, used;
  while (left && from < to && strips(tb_ch_decode(s.s + from, to - from, &used), chars)) from += used;
  while (right && to > from) {
    size_t back = 1;
    while (back < 4 && to - back > from && ((unsigned char)s.s[to - back] & 0xc0) == 0x80) back++;
    uint32_t cp = tb_ch_decode(s.s + to - back, back, &used);
    if (used != back) back = 1, cp = TB_CH_BAD_BYTE + (unsigned char)s.s[to - 1];
    if (!strips(cp, chars)) break;
    to -= back;
  }
  return tb_tpl_sub(s, from, to);
}

/* ----------------------------------------------------------------------------------------------------------- replace */

/* Replacing nothing puts the new text before every character and at the end. */
static bool replace_empty(struct tb_tpl_str s, struct tb_tpl_str by, uint64_t max, struct tb_tpl_text *out) {
  bool ok = true;
  size_t used;
  for (size_t i = 0; ok && i < s.n; i += used) {
    if (max) ok = tb_tpl_text_put_str(out, by), max--;
    tb_ch_decode(s.s + i, s.n - i, &used);
    ok = ok && tb_tpl_text_put_str(out, tb_tpl_sub(s, i, i + used));
  }
  return ok && (!max || tb_tpl_text_put_str(out, by));
}

bool tb_tpl_replace(struct tb_tpl_vm *vm, struct tb_tpl_str s, struct tb_tpl_str old, struct tb_tpl_str by, int64_t count,
                    struct tb_tpl_text *out) {
  uint64_t max = count < 0 ? UINT64_MAX : (uint64_t)count;
  bool ok = true;
  size_t from = 0, hit;
  if (!old.n) {
    ok = replace_empty(s, by, max, out);
    from = s.n;
  }
  for (; ok && max && from < s.n && (hit = tb_tpl_find(s, old, from)) != SIZE_MAX; max--) {
    ok = tb_tpl_text_put_str(out, tb_tpl_sub(s, from, hit)) && tb_tpl_text_put_str(out, by);
    from = hit + old.n;
  }
  ok = ok && tb_tpl_text_put_str(out, tb_tpl_sub(s, from, s.n));
  return ok ? tb_tpl_pay(vm, s.n + out->n) : tb_tpl_no_room(vm);
}

bool tb_tpl_lines(struct tb_tpl_vm *vm, struct tb_tpl_str s, bool keep_ends, unsigned flags, struct tb_tpl_list **out) {
  if (!(*out = tb_tpl_list_new(&vm->arena, 0))) return tb_tpl_no_room(vm);
  for (size_t from = 0; from < s.n;) {
    size_t end = from, used = 0;
    while (end < s.n && !tb_ch_line_end(tb_ch_decode(s.s + end, s.n - end, &used))) end += used;
    size_t next = end < s.n ? end + used : end;
    if (end + 1 < s.n && s.s[end] == '\r' && s.s[end + 1] == '\n') next = end + 2;
    struct tb_val line;
    if (!tb_tpl_result_str(vm, tb_tpl_sub(s, from, keep_ends ? next : end), flags, &line)) return false;
    if (!tb_tpl_list_push(&vm->arena, *out, line)) return tb_tpl_no_room(vm);
    from = next;
  }
  return tb_tpl_pay(vm, s.n);
}

/* ---------------------------------------------------------------------------------------------------------------- case */

/* A sigma is final after a cased letter and before none (case-ignorable characters are skipped). */
static bool final_sigma(struct tb_tpl_str s, size_t at, bool after_cased) {
  if (!after_cased) return false;
  for (size_t i = at + 2, used; i < s.n; i += used) {
    unsigned c = tb_ch_class(tb_ch_decode(s.s + i, s.n - i, &used));
    if (!(c & TB_CH_IGNORABLE)) return !(c & TB_CH_CASED);
  }
  return true;
}

static size_t map_char(uint32_t cp, enum tb_tpl_case how, bool inside_word, uint32_t out[3]) {
  switch (how) {
  case TB_CASE_UPPER: return tb_ch_upper(cp, out);
  case TB_CASE_LOWER: return tb_ch_lower(cp, out);
  case TB_CASE_SWAP:
    if (tb_ch_class(cp) & TB_CH_UPPER) return tb_ch_lower(cp, out);
    if (tb_ch_class(cp) & TB_CH_LOWER) return tb_ch_upper(cp, out);
    out[0] = cp;
    return 1;
  default: return inside_word ? tb_ch_lower(cp, out) : tb_ch_title(cp, out);
  }
}

bool tb_tpl_case(struct tb_tpl_vm *vm, struct tb_tpl_str s, enum tb_tpl_case how, struct tb_tpl_text *out) {
  bool inside = false;      /* TITLE: behind a cased character; CAPITALIZE: behind the first one */
  bool after_cased = false; /* what final sigmas look at */
  if (!tb_tpl_text_reserve(out, s.n)) return tb_tpl_no_room(vm);
  for (size_t i = 0, used; i < s.n; i += used) {
    uint32_t cp = tb_ch_decode(s.s + i, s.n - i, &used), to[3];
    unsigned c = tb_ch_class(cp);
    size_t n = map_char(cp, how, inside, to);
    if (cp == 0x3a3 && to[0] == 0x3c3 && final_sigma(s, i, after_cased)) to[0] = 0x3c2;
    for (size_t k = 0; k < n; k++) {
      char utf8[4];
      if (!tb_tpl_text_put(out, utf8, tb_ch_encode(to[k], utf8), tb_tpl_trusted_at(s, i))) return tb_tpl_no_room(vm);
    }
    inside = how == TB_CASE_CAPITALIZE || (how == TB_CASE_TITLE && c & TB_CH_CASED);
    if (!(c & TB_CH_IGNORABLE)) after_cased = c & TB_CH_CASED;
  }
  return tb_tpl_pay(vm, s.n * 4);
}

/* -------------------------------------------------------------------------------------------------------------- markup */

bool tb_tpl_escape(struct tb_tpl_vm *vm, struct tb_tpl_str s, struct tb_tpl_text *out) {
  static const char special[] = "&<>\"'";
  static const char *const entity[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
  size_t from = 0;
  bool ok = true;
  for (size_t i = 0; ok && i < s.n; i++) {
    const char *hit = s.s[i] ? strchr(special, s.s[i]) : NULL;
    if (!hit) continue;
    const char *e = entity[hit - special];
    ok = tb_tpl_text_put_str(out, tb_tpl_sub(s, from, i)) && tb_tpl_text_put(out, e, strlen(e), tb_tpl_trusted_at(s, i));
    from = i + 1;
  }
  ok = ok && tb_tpl_text_put_str(out, tb_tpl_sub(s, from, s.n));
  return ok ? tb_tpl_pay(vm, s.n) : tb_tpl_no_room(vm);
}

bool tb_tpl_escaped(struct tb_tpl_vm *vm, struct tb_val v, struct tb_tpl_str *out) {
  if (!tb_tpl_str(vm, v, out)) return false;
  if (tb_tpl_is(v, TB_VAL_STR) && v.flags & TB_VAL_MARKUP) return true;
  struct tb_tpl_text t;
  tb_tpl_text_init(&t, &vm->arena);
  if (!tb_tpl_escape(vm, *out, &t)) return false;
  *out = tb_tpl_text_str(&t);
  return true;
}
