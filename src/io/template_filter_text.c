/* Filters on text. */
#include "io/template_filters.h"
#include "io/unicode_case.h"

#include <string.h>

static unsigned markup(struct tb_val v) { return tb_tpl_is(v, TB_VAL_STR) ? v.flags & TB_VAL_MARKUP : 0; }

static struct tb_tpl_text text(struct tb_tpl_vm *vm) {
  struct tb_tpl_text t;
  tb_tpl_text_init(&t, &vm->arena);
  return t;
}

static bool change_case(struct tb_tpl_vm *vm, const char *name, struct tb_val v, const struct tb_tpl_args *args,
                        enum tb_tpl_case how, struct tb_val *out) {
  struct tb_tpl_text t = text(vm);
  struct tb_tpl_str s;
  return tb_tpl_bind(vm, name, args, "", 0, NULL) && tb_tpl_str(vm, v, &s) && tb_tpl_case(vm, s, how, &t) &&
         tb_tpl_result(vm, &t, markup(v), out);
}

TB_FILTER(upper) { return change_case(vm, "upper", v, args, TB_CASE_UPPER, out); }
TB_FILTER(lower) { return change_case(vm, "lower", v, args, TB_CASE_LOWER, out); }
TB_FILTER(capitalize) { return change_case(vm, "capitalize", v, args, TB_CASE_CAPITALIZE, out); }

/* What separates words for title. */
static bool separates(uint32_t cp) { return tb_ch_space(cp) || (cp && cp < 0x80 && strchr("-({[<", (int)cp)); }

/* Unlike str.title: words begin after blanks and opening brackets only. */
TB_FILTER(title) {
  struct tb_tpl_text t = text(vm);
  struct tb_tpl_str s;
  size_t used = 0;
  if (!tb_tpl_bind(vm, "title", args, "", 0, NULL) || !tb_tpl_str(vm, v, &s)) return false;
  for (size_t i = 0, from; i < s.n;) {
    for (from = i; i < s.n && separates(tb_ch_decode(s.s + i, s.n - i, &used));) i += used;
    if (!tb_tpl_text_put_str(&t, tb_tpl_sub(s, from, i))) return tb_tpl_no_room(vm);
    if (i == s.n) break;
    tb_ch_decode(s.s + i, s.n - i, &used);
    if (!tb_tpl_case(vm, tb_tpl_sub(s, i, i + used), TB_CASE_UPPER, &t)) return false;
    for (from = i += used; i < s.n && !separates(tb_ch_decode(s.s + i, s.n - i, &used));) i += used;
    if (!tb_tpl_case(vm, tb_tpl_sub(s, from, i), TB_CASE_LOWER, &t)) return false;
  }
  return tb_tpl_result(vm, &t, 0, out);
}

TB_FILTER(trim) {
  struct tb_val a[1] = {tb_tpl_none()};
  struct tb_tpl_str s, chars;
  if (!tb_tpl_bind(vm, "trim", args, "chars", 0, a) || !tb_tpl_str(vm, v, &s)) return false;
  bool given = !tb_tpl_is(a[0], TB_VAL_NONE);
  if (given && !tb_tpl_arg_str(vm, "trim's chars", a[0], &chars)) return false;
  if (!tb_tpl_pay(vm, s.n * (given ? chars.n + 1 : 1))) return false;
  return tb_tpl_result_str(vm, tb_tpl_strip(s, given ? &chars : NULL, true, true), markup(v), out);
}

TB_FILTER(replace) {
  struct tb_val a[3] = {tb_tpl_missing(), tb_tpl_missing(), tb_tpl_none()};
  struct tb_tpl_str s, old, by;
  struct tb_tpl_text t = text(vm);
  int64_t count = -1;
  if (!tb_tpl_bind(vm, "replace", args, "old,new,count", 2, a) || !tb_tpl_str(vm, v, &s) || !tb_tpl_str(vm, a[0], &old) ||
      !tb_tpl_str(vm, a[1], &by))
    return false;
  if (!tb_tpl_is(a[2], TB_VAL_NONE) && !tb_tpl_arg_int(vm, "replace's count", a[2], &count)) return false;
  return tb_tpl_replace(vm, s, old, by, count, &t) && tb_tpl_result(vm, &t, 0, out);
}

TB_FILTER(string) {
  struct tb_tpl_str s;
  return tb_tpl_bind(vm, "string", args, "", 0, NULL) && tb_tpl_str(vm, v, &s) && tb_tpl_result_str(vm, s, markup(v), out);
}

TB_FILTER(safe) {
  struct tb_tpl_str s;
  return tb_tpl_bind(vm, "safe", args, "", 0, NULL) && tb_tpl_str(vm, v, &s) &&
         tb_tpl_result_str(vm, s, TB_VAL_MARKUP, out);
}

TB_FILTER(escape) {
  struct tb_tpl_str s;
  return tb_tpl_bind(vm, "escape", args, "", 0, NULL) && tb_tpl_escaped(vm, v, &s) &&
         tb_tpl_result_str(vm, s, TB_VAL_MARKUP, out);
}

TB_FILTER(forceescape) {
  struct tb_tpl_str s;
  struct tb_tpl_text t = text(vm);
  return tb_tpl_bind(vm, "forceescape", args, "", 0, NULL) && tb_tpl_str(vm, v, &s) && tb_tpl_escape(vm, s, &t) &&
         tb_tpl_result(vm, &t, TB_VAL_MARKUP, out);
}

TB_FILTER(format) {
  struct tb_tpl_str s;
  struct tb_tpl_text t = text(vm);
  struct tb_val values;
  if (args->n && args->n_kw)
    return tb_tpl_fail(vm, TB_E_FORMAT, "can't handle positional and keyword arguments at the same time");
  if (markup(v)) return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "format of safe text is not supported");
  if (args->n_kw) {
    struct tb_tpl_dict *d = tb_tpl_dict_new(&vm->arena, args->n_kw);
    for (size_t i = 0; d && i < args->n_kw; i++) {
      struct tb_val key = tb_tpl_of_str(&vm->arena, args->kw[i].name, 0);
      if (vm->arena.failed || !tb_tpl_dict_put(&vm->arena, d, key, args->kw[i].v)) return tb_tpl_no_room(vm);
    }
    if (!d) return tb_tpl_no_room(vm);
    values = tb_tpl_ref(TB_VAL_DICT, d);
  } else {
    struct tb_tpl_list *l = tb_tpl_list_new(&vm->arena, args->n);
    for (size_t i = 0; l && i < args->n; i++) l->at[l->n++] = args->pos[i];
    if (!l) return tb_tpl_no_room(vm);
    values = tb_tpl_ref(TB_VAL_TUPLE, l);
  }
  return tb_tpl_str(vm, v, &s) && tb_tpl_percent(vm, s, values, &t) && tb_tpl_result(vm, &t, 0, out);
}

/* Padding on both sides; it is trusted only around trusted text. */
TB_FILTER(center) {
  struct tb_val a[1] = {tb_tpl_int(80)};
  struct tb_tpl_str s;
  struct tb_tpl_text t = text(vm);
  int64_t width = 0;
  if (!tb_tpl_bind(vm, "center", args, "width", 0, a) || !tb_tpl_arg_int(vm, "center's width", a[0], &width) ||
      !tb_tpl_str(vm, v, &s))
    return false;
  int64_t n = (int64_t)tb_tpl_chars(s), room = width > n ? width - n : 0, left = room / 2 + (room & width & 1);
  bool trusted = tb_tpl_all_trusted(s), ok = true;
  if ((uint64_t)room > vm->arena.limit) return tb_tpl_fail(vm, TB_E_LIMIT, "text is padded too far");
  if (!tb_tpl_pay(vm, (size_t)room * 8)) return false;
  for (int64_t i = 0; ok && i < left; i++) ok = tb_tpl_text_put(&t, " ", 1, trusted);
  ok = ok && tb_tpl_text_put_str(&t, s);
  for (int64_t i = left; ok && i < room; i++) ok = tb_tpl_text_put(&t, " ", 1, trusted);
  return ok ? tb_tpl_result(vm, &t, markup(v), out) : tb_tpl_no_room(vm);
}

/* The margin of indent: a text, or that many blanks (trusted only before trusted text). */
static bool margin(struct tb_tpl_vm *vm, struct tb_val width, bool trusted, struct tb_tpl_str *out) {
  static const char blanks[] = "                                                                ";
  int64_t n = 0;
  if (tb_tpl_is(width, TB_VAL_STR)) return *out = tb_tpl_str_of(width), true;
  if (!tb_tpl_arg_int(vm, "indent's width", width, &n)) return false;
  if (n > (int64_t)sizeof blanks - 1) return tb_tpl_fail(vm, TB_E_LIMIT, "indent by more than %zu", sizeof blanks - 1);
  *out = (struct tb_tpl_str){.s = blanks, .n = n > 0 ? (size_t)n : 0, .trusted = trusted};
  return true;
}

TB_FILTER(indent) {
  struct tb_val a[3] = {tb_tpl_int(4), tb_tpl_bool(false), tb_tpl_bool(false)};
  struct tb_tpl_str s, left;
  struct tb_tpl_list *lines;
  struct tb_tpl_text t = text(vm);
  if (!tb_tpl_bind(vm, "indent", args, "width,first,blank", 0, a)) return false;
  if (tb_tpl_is(v, TB_VAL_UNDEFINED)) return tb_tpl_fail_undefined(vm, v);
  if (!tb_tpl_is(v, TB_VAL_STR)) return tb_tpl_fail(vm, TB_E_FORMAT, "indent needs text, not '%s'", tb_tpl_type(v));
  s = tb_tpl_str_of(v);
  bool trusted = tb_tpl_all_trusted(s), ok = true, first = tb_tpl_truth(a[1]), blank = tb_tpl_truth(a[2]);
  if (!margin(vm, a[0], trusted, &left)) return false;
  struct tb_tpl_str with_end;
  if (!tb_tpl_concat(&vm->arena, s, (struct tb_tpl_str){.s = "\n", .n = 1, .trusted = trusted}, &with_end)) return tb_tpl_no_room(vm);
  if (!tb_tpl_lines(vm, with_end, false, 0, &lines)) return false;
  for (size_t i = 0; ok && i < lines->n; i++) {
    struct tb_tpl_str line = tb_tpl_str_of(lines->at[i]);
    if (i) ok = tb_tpl_text_put(&t, "\n", 1, trusted);
    if (i ? blank || line.n : first) ok = ok && tb_tpl_text_put_str(&t, left);
    ok = ok && tb_tpl_text_put_str(&t, line);
  }
  return ok ? tb_tpl_pay(vm, t.n) && tb_tpl_result(vm, &t, markup(v), out) : tb_tpl_no_room(vm);
}

TB_FILTER(truncate) {
  struct tb_val a[4] = {tb_tpl_int(255), tb_tpl_bool(false), tb_tpl_missing(), tb_tpl_int(5)};
  struct tb_tpl_str s, end = tb_tpl_literal("..."), cut;
  int64_t length = 0, leeway = 5;
  size_t hit;
  if (!tb_tpl_bind(vm, "truncate", args, "length,killwords,end,leeway", 0, a)) return false;
  if (tb_tpl_is(a[3], TB_VAL_NONE)) a[3] = tb_tpl_int(5);
  if (!tb_tpl_arg_int(vm, "truncate's length", a[0], &length) || !tb_tpl_arg_str(vm, "truncate's end", a[2], &end) ||
      !tb_tpl_arg_int(vm, "truncate's leeway", a[3], &leeway))
    return false;
  if (!tb_tpl_is(v, TB_VAL_STR) || markup(v)) return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "truncate of anything but text is not supported");
  s = tb_tpl_str_of(v);
  int64_t keep = length - (int64_t)tb_tpl_chars(end);
  if (keep < 0 || leeway < 0) return tb_tpl_fail(vm, TB_E_FORMAT, "expected length >= %zu, got %lld", tb_tpl_chars(end), (long long)length);
  int64_t n = (int64_t)tb_tpl_chars(s);
  if (n <= length || n - length <= leeway) return *out = v, true;
  cut = tb_tpl_sub(s, 0, tb_tpl_char_at(s, (size_t)keep));
  if (!tb_tpl_truth(a[1])) {
    if (!tb_tpl_find_last(vm, cut, tb_tpl_literal(" "), &hit)) return false;
    if (hit != SIZE_MAX) cut = tb_tpl_sub(cut, 0, hit);
  }
  if (!tb_tpl_concat(&vm->arena, cut, end, &cut)) return tb_tpl_no_room(vm);
  return tb_tpl_result_str(vm, cut, 0, out) && tb_tpl_pay(vm, s.n);
}

TB_FILTER(wordcount) {
  struct tb_tpl_str s;
  int64_t n = 0;
  bool inside = false;
  if (!tb_tpl_bind(vm, "wordcount", args, "", 0, NULL) || !tb_tpl_str(vm, v, &s)) return false;
  for (size_t i = 0, used; i < s.n; i += used) {
    uint32_t cp = tb_ch_decode(s.s + i, s.n - i, &used);
    bool word = cp == '_' || tb_ch_class(cp) & TB_CH_ALNUM;
    n += word && !inside;
    inside = word;
  }
  *out = tb_tpl_int(n);
  return tb_tpl_pay(vm, s.n);
}
