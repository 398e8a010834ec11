/* str() and repr() of values, as Python prints them. Containers are walked with a stack of their own. */
#include "io/template_run.h"
#include "io/template_number.h"
#include "io/unicode_case.h"

#include <stdio.h>
#include <string.h>

static bool put(struct tb_tpl_vm *vm, struct tb_tpl_text *t, const char *s, bool trusted) {
  return tb_tpl_text_put(t, s, strlen(s), trusted) || tb_tpl_no_room(vm);
}

bool tb_tpl_result_str(struct tb_tpl_vm *vm, struct tb_tpl_str s, unsigned flags, struct tb_val *out) {
  *out = tb_tpl_of_str(&vm->arena, s, flags);
  return !vm->arena.failed || tb_tpl_no_room(vm);
}

bool tb_tpl_result(struct tb_tpl_vm *vm, const struct tb_tpl_text *t, unsigned flags, struct tb_val *out) {
  return tb_tpl_result_str(vm, tb_tpl_text_str(t), flags, out);
}

/* ---------------------------------------------------------------------------------------------------------------- text */

/* One character of a quoted text, escaped where Python escapes it. */
static bool put_quoted_char(struct tb_tpl_text *t, const char *s, size_t used, uint32_t cp, char quote, bool trusted) {
  char esc[16];
  static const char plain[] = "\n\r\t", letters[] = "nrt";
  const char *named = cp && cp < 0x80 ? strchr(plain, (int)cp) : NULL;
  if (named) snprintf(esc, sizeof esc, "\\%c", letters[named - plain]);
  else if (cp == '\\' || cp == (unsigned char)quote) snprintf(esc, sizeof esc, "\\%c", (char)cp);
  else if (cp >= TB_CH_BAD_BYTE || tb_ch_class(cp) & TB_CH_PRINTABLE) return tb_tpl_text_put(t, s, used, trusted);
  else if (cp < 0x100) snprintf(esc, sizeof esc, "\\x%02x", (unsigned)cp);
  else if (cp < 0x10000) snprintf(esc, sizeof esc, "\\u%04x", (unsigned)cp);
  else snprintf(esc, sizeof esc, "\\U%08x", (unsigned)cp);
  return tb_tpl_text_put(t, esc, strlen(esc), trusted);
}

static bool put_quoted(struct tb_tpl_vm *vm, struct tb_tpl_text *t, struct tb_tpl_str s) {
  char quote[] = "'";
  if (s.n && memchr(s.s, '\'', s.n) && !memchr(s.s, '"', s.n)) quote[0] = '"';
  bool trusted = tb_tpl_all_trusted(s), ok = tb_tpl_text_put(t, quote, 1, trusted);
  for (size_t i = 0, used; ok && i < s.n; i += used) {
    uint32_t cp = tb_ch_decode(s.s + i, s.n - i, &used);
    ok = put_quoted_char(t, s.s + i, used, cp, quote[0], tb_tpl_trusted_at(s, i));
  }
  return (ok && tb_tpl_text_put(t, quote, 1, trusted)) ? tb_tpl_pay(vm, s.n) : tb_tpl_no_room(vm);
}

/* ------------------------------------------------------------------------------------------------------------- scalars */

static bool put_range(struct tb_tpl_vm *vm, struct tb_tpl_text *t, const struct tb_tpl_range *r) {
  char text[96];
  int n = snprintf(text, sizeof text, "range(%lld, %lld", (long long)r->start, (long long)r->stop);
  if (r->step != 1) n += snprintf(text + n, sizeof text - (size_t)n, ", %lld", (long long)r->step);
  snprintf(text + n, sizeof text - (size_t)n, ")");
  return put(vm, t, text, false);
}

/* Whatever holds no other values. What would print an address is refused. */
static bool put_scalar(struct tb_tpl_vm *vm, struct tb_tpl_text *t, struct tb_val v) {
  char number[TB_NUM_TEXT];
  bool trusted = v.flags & TB_VAL_TRUSTED;
  switch ((enum tb_tpl_kind)v.kind) {
  case TB_VAL_UNDEFINED: return put(vm, t, "Undefined", true);
  case TB_VAL_NONE: return put(vm, t, "None", true);
  case TB_VAL_BOOL: return put(vm, t, v.u.b ? "True" : "False", trusted);
  case TB_VAL_INT: tb_num_int(v.u.i, number); return put(vm, t, number, trusted);
  case TB_VAL_FLOAT: tb_num_repr(v.u.f, number); return put(vm, t, number, trusted);
  case TB_VAL_RANGE: return put_range(vm, t, v.u.p);
  case TB_VAL_STR:
    if (!(v.flags & TB_VAL_MARKUP)) return put_quoted(vm, t, tb_tpl_str_of(v));
    return put(vm, t, "Markup(", true) && put_quoted(vm, t, tb_tpl_str_of(v)) && put(vm, t, ")", true);
  default: return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "printing a value of type '%s' is not supported", tb_tpl_type(v));
  }
}

/* ---------------------------------------------------------------------------------------------------------- containers */

/* A container that is being written. */
struct open {
  struct tb_val v;
  size_t at;
  const char *close;
};

static bool is_container(struct tb_val v) {
  return (v.kind >= TB_VAL_LIST && v.kind <= TB_VAL_NAMESPACE) || v.kind == TB_VAL_VIEW;
}

static const struct tb_tpl_dict *dict_in(struct tb_val v) {
  return tb_tpl_is(v, TB_VAL_VIEW) ? ((const struct tb_tpl_view *)v.u.p)->dict : tb_tpl_dict_of(v);
}

static bool is_list(struct tb_val v) { return tb_tpl_is(v, TB_VAL_LIST) || tb_tpl_is(v, TB_VAL_TUPLE); }
static size_t size_of(struct tb_val v) { return is_list(v) ? tb_tpl_list_of(v)->n : dict_in(v)->n; }

static bool begin(struct tb_tpl_vm *vm, struct tb_tpl_text *t, struct open *o, struct tb_val v) {
  static const char *const views[] = {"dict_keys([", "dict_values([", "dict_items(["};
  const char *head = "[";
  *o = (struct open){.v = v, .close = "]"};
  switch ((enum tb_tpl_kind)v.kind) {
  case TB_VAL_TUPLE: head = "(", o->close = size_of(v) == 1 ? ",)" : ")"; break;
  case TB_VAL_DICT: head = "{", o->close = "}"; break;
  case TB_VAL_NAMESPACE: head = "<Namespace {", o->close = "}>"; break;
  case TB_VAL_VIEW: head = views[((const struct tb_tpl_view *)v.u.p)->kind], o->close = "])"; break;
  default: break;
  }
  return put(vm, t, head, false);
}

/* Writes what goes before the next item (a dict's key with it) and finds the item. */
static bool item(struct tb_tpl_vm *vm, struct tb_tpl_text *t, struct open *o, struct tb_val *out) {
  size_t i = o->at++;
  if (i && !put(vm, t, ", ", false)) return false;
  if (is_list(o->v)) return *out = tb_tpl_list_of(o->v)->at[i], true;
  const struct tb_tpl_dict *d = dict_in(o->v);
  *out = d->vals[i];
  if (!tb_tpl_is(o->v, TB_VAL_VIEW)) {
    if (!is_container(d->keys[i])) return put_scalar(vm, t, d->keys[i]) && put(vm, t, ": ", false);
    return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "printing a dict with a tuple as key is not supported");
  }
  struct tb_tpl_walk w = {.of = o->v, .at = i};
  bool more;
  return tb_tpl_walk_next(vm, &w, out, &more);
}

bool tb_tpl_put_repr(struct tb_tpl_vm *vm, struct tb_tpl_text *t, struct tb_val v) {
  if (!is_container(v)) return put_scalar(vm, t, v);
  size_t depth = 0, cap = 8;
  struct open *open = tb_tpl_alloc(&vm->arena, cap, sizeof *open);
  if (!open) return tb_tpl_no_room(vm);
  if (!begin(vm, t, &open[depth++], v)) return false;
  while (depth) {
    struct open *o = &open[depth - 1];
    if (!tb_tpl_pay(vm, 0)) return false;
    if (o->at == size_of(o->v)) {
      if (!put(vm, t, o->close, false)) return false;
      depth--;
      continue;
    }
    if (!item(vm, t, o, &v)) return false;
    if (!is_container(v)) {
      if (!put_scalar(vm, t, v)) return false;
      continue;
    }
    if (depth == TB_TPL_NESTING) return tb_tpl_fail(vm, TB_E_LIMIT, "a value nested too deep to print");
    if (depth == cap) {
      struct open *grown = tb_tpl_alloc(&vm->arena, cap * 2, sizeof *grown);
      if (!grown) return tb_tpl_no_room(vm);
      memcpy(grown, open, cap * sizeof *grown);
      open = grown;
      cap *= 2;
    }
    if (!begin(vm, t, &open[depth++], v)) return false;
  }
  return true;
}

bool tb_tpl_put_str(struct tb_tpl_vm *vm, struct tb_tpl_text *t, struct tb_val v) {
  if (tb_tpl_is(v, TB_VAL_UNDEFINED)) return !vm->arena.failed || tb_tpl_no_room(vm);
  if (tb_tpl_is(v, TB_VAL_STR)) return tb_tpl_text_put_str(t, tb_tpl_str_of(v)) || tb_tpl_no_room(vm);
  return tb_tpl_put_repr(vm, t, v);
}

bool tb_tpl_str(struct tb_tpl_vm *vm, struct tb_val v, struct tb_tpl_str *out) {
  if (tb_tpl_is(v, TB_VAL_STR)) return *out = tb_tpl_str_of(v), true;
  struct tb_tpl_text t;
  tb_tpl_text_init(&t, &vm->arena);
  bool ok = tb_tpl_put_str(vm, &t, v);
  *out = tb_tpl_text_str(&t);
  return ok;
}
