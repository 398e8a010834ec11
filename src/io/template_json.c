/* tojson as the Hugging Face library has it: json.dumps(x, ensure_ascii, indent, separators, sort_keys).
 *
 * Provenance: bytes of text keep theirs; the punctuation of containers is untrusted, because its shape is data. */
#include "io/template_run.h"
#include "io/template_number.h"
#include "io/unicode_case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A container that is being written. */
struct open {
  struct tb_val v;
  const size_t *order; /* of a dict's entries when keys are sorted */
  size_t at;
};

struct json {
  struct tb_tpl_vm *vm;
  struct tb_tpl_text out;
  bool ascii, sort, pretty;
  struct tb_tpl_str indent, comma, colon;
  struct open *open;
  size_t depth, cap;
};

static bool put(struct json *j, const char *s) {
  return tb_tpl_text_put(&j->out, s, strlen(s), false) || tb_tpl_no_room(j->vm);
}

static bool put_str(struct json *j, struct tb_tpl_str s) {
  return tb_tpl_text_put_str(&j->out, s) || tb_tpl_no_room(j->vm);
}

/* ------------------------------------------------------------------------------------------------------------- scalars */

/* Length of the bytes at s[i…] that need no escape. */
static size_t plain_run(const struct json *j, struct tb_tpl_str s, size_t i) {
  size_t from = i;
  for (; i < s.n; i++) {
    unsigned char c = (unsigned char)s.s[i];
    if (c < 0x20 || c == '"' || c == '\\' || (j->ascii && c >= 0x7f)) break;
  }
  return i - from;
}

static bool put_escape(struct json *j, uint32_t cp, bool trusted) {
  static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
  char text[16];
  const char *named = cp && cp < 0x80 ? strchr(from, (int)cp) : NULL;
  if (cp >= TB_CH_BAD_BYTE) cp = 0xfffd; /* no UTF-8: only reached when all is to be ASCII */
  if (named) snprintf(text, sizeof text, "\\%c", to[named - from]);
  else if (cp < 0x10000) snprintf(text, sizeof text, "\\u%04x", (unsigned)cp);
  else
    snprintf(text, sizeof text, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((cp - 0x10000) >> 10)),
             (unsigned)(0xdc00 + ((cp - 0x10000) & 0x3ff)));
  return tb_tpl_text_put(&j->out, text, strlen(text), trusted) || tb_tpl_no_room(j->vm);
}

static bool put_string(struct json *j, struct tb_tpl_str s) {
  bool trusted = tb_tpl_all_trusted(s);
  if (!tb_tpl_text_put(&j->out, "\"", 1, trusted)) return tb_tpl_no_room(j->vm);
  for (size_t i = 0, used; i < s.n; i += used) {
    size_t run = plain_run(j, s, i);
    if (!put_str(j, tb_tpl_sub(s, i, i + run))) return false;
    i += run;
    used = 0;
    if (i < s.n && !put_escape(j, tb_ch_decode(s.s + i, s.n - i, &used), tb_tpl_trusted_at(s, i))) return false;
  }
  if (!tb_tpl_text_put(&j->out, "\"", 1, trusted)) return tb_tpl_no_room(j->vm);
  return tb_tpl_pay(j->vm, s.n);
}

/* Text of null, a boolean or a number. */
static const char *number_text(struct tb_val v, char buf[TB_NUM_TEXT]) {
  if (tb_tpl_is(v, TB_VAL_NONE)) return "null";
  if (tb_tpl_is(v, TB_VAL_BOOL)) return v.u.b ? "true" : "false";
  if (tb_tpl_is(v, TB_VAL_INT)) return tb_num_int(v.u.i, buf), buf;
  if (isnan(v.u.f)) return "NaN";
  if (isinf(v.u.f)) return v.u.f < 0 ? "-Infinity" : "Infinity";
  return tb_num_repr(v.u.f, buf), buf;
}

static bool put_scalar(struct json *j, struct tb_val v) {
  char buf[TB_NUM_TEXT];
  if (tb_tpl_is(v, TB_VAL_STR)) return put_string(j, tb_tpl_str_of(v));
  if (tb_tpl_is(v, TB_VAL_UNDEFINED) || v.kind > TB_VAL_STR)
    return tb_tpl_fail(j->vm, TB_E_FORMAT, "Object of type %s is not JSON serializable", tb_tpl_type(v));
  const char *s = number_text(v, buf);
  bool trusted = v.flags & TB_VAL_TRUSTED;
  return tb_tpl_text_put(&j->out, s, strlen(s), trusted) || tb_tpl_no_room(j->vm);
}

static bool put_key(struct json *j, struct tb_val key) {
  char buf[TB_NUM_TEXT];
  if (tb_tpl_is(key, TB_VAL_STR)) return put_string(j, tb_tpl_str_of(key));
  if (tb_tpl_is(key, TB_VAL_TUPLE))
    return tb_tpl_fail(j->vm, TB_E_FORMAT, "keys must be str, int, float, bool or None, not tuple");
  struct tb_tpl_str s = tb_tpl_literal(number_text(key, buf));
  s.trusted = key.flags & TB_VAL_TRUSTED;
  return put_string(j, s);
}

/* ---------------------------------------------------------------------------------------------------------- containers */

static bool is_list(struct tb_val v) { return tb_tpl_is(v, TB_VAL_LIST) || tb_tpl_is(v, TB_VAL_TUPLE); }
static bool is_container(struct tb_val v) { return is_list(v) || tb_tpl_is(v, TB_VAL_DICT); }
static size_t size_of(struct tb_val v) { return is_list(v) ? tb_tpl_list_of(v)->n : tb_tpl_dict_of(v)->n; }

static bool new_line(struct json *j) {
  if (!j->pretty) return true;
  if (!put(j, "\n")) return false;
  for (size_t i = 0; i < j->depth; i++)
    if (!put_str(j, j->indent)) return false;
  return tb_tpl_pay(j->vm, j->depth * j->indent.n);
}

/* Entry numbers of a dict in the order of its keys. */
static bool sorted_order(struct json *j, const struct tb_tpl_dict *d, const size_t **out) {
  struct tb_val *keys = tb_tpl_alloc(&j->vm->arena, d->n, sizeof *keys);
  struct tb_val *at = tb_tpl_alloc(&j->vm->arena, d->n, sizeof *at);
  size_t *order = tb_tpl_alloc(&j->vm->arena, d->n, sizeof *order);
  if (!keys || !at || !order) return tb_tpl_no_room(j->vm);
  for (size_t i = 0; i < d->n; i++) keys[i] = d->keys[i], at[i] = tb_tpl_int((int64_t)i);
  if (!tb_tpl_sort(j->vm, at, keys, d->n, false)) return false;
  for (size_t i = 0; i < d->n; i++) order[i] = (size_t)at[i].u.i;
  *out = order;
  return true;
}

static bool begin(struct json *j, struct tb_val v) {
  if (!size_of(v)) return put(j, is_list(v) ? "[]" : "{}");
  if (j->depth == TB_TPL_NESTING) return tb_tpl_fail(j->vm, TB_E_LIMIT, "a value nested too deep for tojson");
  if (j->depth == j->cap) {
    size_t cap = j->cap ? j->cap * 2 : 8;
    struct open *grown = tb_tpl_alloc(&j->vm->arena, cap, sizeof *grown);
    if (!grown) return tb_tpl_no_room(j->vm);
    if (j->depth) memcpy(grown, j->open, j->depth * sizeof *grown);
    j->open = grown;
    j->cap = cap;
  }
  struct open *o = &j->open[j->depth++];
  *o = (struct open){.v = v};
  if (j->sort && !is_list(v) && !sorted_order(j, tb_tpl_dict_of(v), &o->order)) return false;
  return put(j, is_list(v) ? "[" : "{") && new_line(j);
}

/* Writes what goes before the next item of the innermost container, and finds the item. */
static bool next_item(struct json *j, struct tb_val *item) {
  struct open *o = &j->open[j->depth - 1];
  size_t i = o->at++;
  if (i && (!put_str(j, j->comma) || !new_line(j))) return false;
  if (is_list(o->v)) return *item = tb_tpl_list_of(o->v)->at[i], true;
  const struct tb_tpl_dict *d = tb_tpl_dict_of(o->v);
  if (o->order) i = o->order[i];
  *item = d->vals[i];
  return put_key(j, d->keys[i]) && put_str(j, j->colon);
}

static bool write_value(struct json *j, struct tb_val v) {
  if (!is_container(v)) return put_scalar(j, v);
  if (!begin(j, v)) return false;
  while (j->depth) {
    struct open *o = &j->open[j->depth - 1];
    if (!tb_tpl_pay(j->vm, 0)) return false;
    if (o->at == size_of(o->v)) {
      bool list = is_list(o->v);
      j->depth--;
      if (!new_line(j) || !put(j, list ? "]" : "}")) return false;
    } else if (!next_item(j, &v) || !(is_container(v) ? begin(j, v) : put_scalar(j, v))) {
      return false;
    }
  }
  return true;
}

/* ----------------------------------------------------------------------------------------------------------- arguments */

static bool read_indent(struct json *j, struct tb_val v) {
  enum { INDENT_MAX = 64 };
  static const char blanks[INDENT_MAX + 1] = "                                                                ";
  if (tb_tpl_is(v, TB_VAL_NONE)) return true;
  j->pretty = true;
  if (tb_tpl_is(v, TB_VAL_STR)) return j->indent = tb_tpl_str_of(v), true;
  int64_t n = 0;
  if (!tb_tpl_arg_int(j->vm, "tojson's indent", v, &n)) return false;
  if (n > INDENT_MAX) return tb_tpl_fail(j->vm, TB_E_LIMIT, "tojson's indent is above %d", INDENT_MAX);
  j->indent = (struct tb_tpl_str){.s = blanks, .n = n > 0 ? (size_t)n : 0};
  return true;
}

static bool read_separators(struct json *j, struct tb_val v) {
  j->comma = (struct tb_tpl_str){.s = ", ", .n = j->pretty ? 1 : 2};
  j->colon = (struct tb_tpl_str){.s = ": ", .n = 2};
  if (tb_tpl_is(v, TB_VAL_NONE)) return true;
  if (!is_list(v) || tb_tpl_list_of(v)->n != 2)
    return tb_tpl_fail(j->vm, TB_E_FORMAT, "tojson's separators must be a pair of texts");
  const struct tb_val *at = tb_tpl_list_of(v)->at;
  return tb_tpl_arg_str(j->vm, "tojson's separator", at[0], &j->comma) &&
         tb_tpl_arg_str(j->vm, "tojson's separator", at[1], &j->colon);
}

bool tb_tpl_json(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args, struct tb_val *out) {
  struct json j = {.vm = vm};
  struct tb_val a[4] = {tb_tpl_bool(false), tb_tpl_none(), tb_tpl_none(), tb_tpl_bool(false)};
  tb_tpl_text_init(&j.out, &vm->arena);
  if (!tb_tpl_bind(vm, "tojson", args, "ensure_ascii,indent,separators,sort_keys", 0, a)) return false;
  j.ascii = tb_tpl_truth(a[0]);
  j.sort = tb_tpl_truth(a[3]);
  if (!read_indent(&j, a[1]) || !read_separators(&j, a[2])) return false;
  return write_value(&j, v) && tb_tpl_result(vm, &j.out, 0, out);
}
