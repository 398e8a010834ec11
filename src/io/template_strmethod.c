/* Methods of text. On markup the results are markup and text arguments are escaped first, as markupsafe does. */
#include "io/template_run.h"
#include "io/unicode_case.h"

#include <string.h>

/* One method call. */
struct on {
  struct tb_tpl_vm *vm;
  struct tb_tpl_str s, name;
  unsigned flags; /* TB_VAL_MARKUP or 0 */
  const struct tb_tpl_args *args;
  struct tb_val *out;
};

static bool give(const struct on *o, struct tb_tpl_str s) { return tb_tpl_result_str(o->vm, s, o->flags, o->out); }
static bool give_text(const struct on *o, const struct tb_tpl_text *t) {
  return tb_tpl_result(o->vm, t, o->flags, o->out);
}
static bool give_bool(const struct on *o, bool b) { return *o->out = tb_tpl_bool(b), true; }
static bool is(const struct on *o, const char *name) { return tb_tpl_str_is(o->name, name); }

static struct tb_tpl_text text(const struct on *o) {
  struct tb_tpl_text t;
  tb_tpl_text_init(&t, &o->vm->arena);
  return t;
}

/* Positional arguments by position; the names serve messages. */
static bool bind(const struct on *o, const char *params, size_t required, struct tb_val *a) {
  char what[24];
  size_t n = o->name.n < sizeof what - 1 ? o->name.n : sizeof what - 1;
  memcpy(what, o->name.s, n);
  what[n] = '\0';
  return tb_tpl_bind(o->vm, what, o->args, params, required, a);
}

/* A text argument, escaped when the method runs on markup. */
static bool str_arg(const struct on *o, struct tb_val v, struct tb_tpl_str *out) {
  if (!tb_tpl_arg_str(o->vm, "argument", v, out)) return false;
  return !o->flags || tb_tpl_escaped(o->vm, v, out);
}

static bool push_piece(const struct on *o, struct tb_tpl_list *l, size_t from, size_t to) {
  struct tb_val v;
  if (!tb_tpl_result_str(o->vm, tb_tpl_sub(o->s, from, to), o->flags, &v)) return false;
  return tb_tpl_list_push(&o->vm->arena, l, v) || tb_tpl_no_room(o->vm);
}

/* ------------------------------------------------------------------------------------------------------ strip and case */

static bool strip(const struct on *o) {
  struct tb_val a[1] = {tb_tpl_none()};
  struct tb_tpl_str chars;
  if (!bind(o, "chars", 0, a)) return false;
  bool given = !tb_tpl_is(a[0], TB_VAL_NONE);
  if (given && !str_arg(o, a[0], &chars)) return false;
  if (!tb_tpl_pay(o->vm, o->s.n * (given ? chars.n + 1 : 1))) return false;
  return give(o, tb_tpl_strip(o->s, given ? &chars : NULL, !is(o, "rstrip"), !is(o, "lstrip")));
}

static bool change_case(const struct on *o, enum tb_tpl_case how) {
  struct tb_tpl_text t = text(o);
  return bind(o, "", 0, NULL) && tb_tpl_case(o->vm, o->s, how, &t) && give_text(o, &t);
}

/* ---------------------------------------------------------------------------------------------------- split and join */

/* Split at runs of white space, from the left. */
static bool split_space(const struct on *o, struct tb_tpl_list *l, uint64_t max) {
  size_t at = 0, used;
  for (;;) {
    while (at < o->s.n && tb_ch_space(tb_ch_decode(o->s.s + at, o->s.n - at, &used))) at += used;
    if (at == o->s.n) return true;
    size_t from = at;
    if (!max) return push_piece(o, l, from, o->s.n);
    while (at < o->s.n && !tb_ch_space(tb_ch_decode(o->s.s + at, o->s.n - at, &used))) at += used;
    if (!push_piece(o, l, from, at)) return false;
    max--;
  }
}

static bool split_at(const struct on *o, struct tb_tpl_str sep, struct tb_tpl_list *l, uint64_t max) {
  size_t from = 0, hit;
  for (; max && (hit = tb_tpl_find(o->s, sep, from)) != SIZE_MAX; max--) {
    if (!push_piece(o, l, from, hit)) return false;
    from = hit + sep.n;
  }
  return push_piece(o, l, from, o->s.n);
}

/* From the right: the pieces come last first and are turned round at the end. */
static bool rsplit_at(const struct on *o, struct tb_tpl_str sep, struct tb_tpl_list *l, uint64_t max) {
  size_t to = o->s.n, hit;
  for (; max; max--) {
    if (!tb_tpl_find_last(o->vm, tb_tpl_sub(o->s, 0, to), sep, &hit)) return false;
    if (hit == SIZE_MAX) break;
    if (!push_piece(o, l, hit + sep.n, to)) return false;
    to = hit;
  }
  if (!push_piece(o, l, 0, to)) return false;
  for (size_t i = 0; i < l->n / 2; i++) {
    struct tb_val v = l->at[i];
    l->at[i] = l->at[l->n - 1 - i];
    l->at[l->n - 1 - i] = v;
  }
  return true;
}

static bool split(const struct on *o) {
  struct tb_val a[2] = {tb_tpl_none(), tb_tpl_missing()};
  int64_t max = -1;
  struct tb_tpl_str sep;
  bool right = is(o, "rsplit"), ok;
  if (!bind(o, "sep,maxsplit", 0, a) || !tb_tpl_arg_int(o->vm, "maxsplit", a[1], &max)) return false;
  struct tb_tpl_list *l = tb_tpl_list_new(&o->vm->arena, 0);
  if (!l) return tb_tpl_no_room(o->vm);
  uint64_t limit = max < 0 ? UINT64_MAX : (uint64_t)max;
  if (tb_tpl_is(a[0], TB_VAL_NONE)) {
    if (right && max >= 0) return tb_tpl_fail(o->vm, TB_E_UNSUPPORTED, "rsplit at white space is not supported");
    ok = split_space(o, l, limit);
  } else {
    if (!tb_tpl_arg_str(o->vm, "separator", a[0], &sep)) return false;
    if (!sep.n) return tb_tpl_fail(o->vm, TB_E_FORMAT, "empty separator");
    ok = right && max >= 0 ? rsplit_at(o, sep, l, limit) : split_at(o, sep, l, limit);
  }
  *o->out = tb_tpl_ref(TB_VAL_LIST, l);
  return ok && tb_tpl_pay(o->vm, o->s.n);
}

static bool splitlines(const struct on *o) {
  struct tb_val a[1] = {tb_tpl_bool(false)};
  struct tb_tpl_list *l;
  if (!bind(o, "keepends", 0, a) || !tb_tpl_lines(o->vm, o->s, tb_tpl_truth(a[0]), o->flags, &l)) return false;
  *o->out = tb_tpl_ref(TB_VAL_LIST, l);
  return true;
}

static bool partition(const struct on *o) {
  struct tb_val a[1];
  struct tb_tpl_str sep;
  bool right = is(o, "rpartition");
  struct tb_tpl_list *l = tb_tpl_list_new(&o->vm->arena, 3);
  if (!l) return tb_tpl_no_room(o->vm);
  if (!bind(o, "sep", 1, a) || !str_arg(o, a[0], &sep)) return false;
  if (!sep.n) return tb_tpl_fail(o->vm, TB_E_FORMAT, "empty separator");
  size_t hit = tb_tpl_find(o->s, sep, 0);
  if (right && !tb_tpl_find_last(o->vm, o->s, sep, &hit)) return false;
  size_t none = right ? 0 : o->s.n, from = hit == SIZE_MAX ? none : hit, to = hit == SIZE_MAX ? none : hit + sep.n;
  *o->out = tb_tpl_ref(TB_VAL_TUPLE, l);
  return push_piece(o, l, 0, from) && push_piece(o, l, from, to) && push_piece(o, l, to, o->s.n);
}

static bool join(const struct on *o) {
  struct tb_val a[1], item;
  struct tb_tpl_walk w;
  struct tb_tpl_text t = text(o);
  if (!bind(o, "iterable", 1, a) || !tb_tpl_walk(o->vm, a[0], &w)) return false;
  for (size_t i = 0;; i++) {
    bool more;
    struct tb_tpl_str s;
    if (!tb_tpl_walk_next(o->vm, &w, &item, &more)) return false;
    if (!more) return give_text(o, &t) && tb_tpl_pay(o->vm, t.n);
    if (!tb_tpl_is(item, TB_VAL_STR) && !o->flags)
      return tb_tpl_fail(o->vm, TB_E_FORMAT, "sequence item %zu: expected str instance, %s found", i, tb_tpl_type(item));
    if (o->flags ? !tb_tpl_escaped(o->vm, item, &s) : !tb_tpl_str(o->vm, item, &s)) return false;
    if ((i && !tb_tpl_text_put_str(&t, o->s)) || !tb_tpl_text_put_str(&t, s)) return tb_tpl_no_room(o->vm);
  }
}

/* -------------------------------------------------------------------------------------------------- find and replace */

/* Character positions a[1], a[2] (start, end; may be absent) as byte offsets; false when start is behind the end. */
static bool window(const struct on *o, const struct tb_val *a, size_t *from, size_t *to, bool *empty) {
  int64_t n = (int64_t)tb_tpl_chars(o->s), v[2] = {0, n};
  for (int i = 0; i < 2; i++) {
    if (!tb_tpl_is(a[i + 1], TB_VAL_NONE) && !tb_tpl_arg_int(o->vm, "position", a[i + 1], &v[i])) return false;
    if (v[i] < 0) v[i] = v[i] + n < 0 ? 0 : v[i] + n;
  }
  if (v[1] > n) v[1] = n;
  *empty = v[0] > v[1];
  *from = *empty ? 0 : tb_tpl_char_at(o->s, (size_t)v[0]);
  *to = *empty ? 0 : tb_tpl_char_at(o->s, (size_t)v[1]);
  return tb_tpl_pay(o->vm, o->s.n);
}

static bool has_affix(struct tb_tpl_str s, struct tb_tpl_str affix, bool suffix) {
  return affix.n <= s.n && (!affix.n || memcmp(s.s + (suffix ? s.n - affix.n : 0), affix.s, affix.n) == 0);
}

/* startswith, endswith: one text or a tuple of them. */
static bool affix(const struct on *o) {
  struct tb_val a[3] = {tb_tpl_missing(), tb_tpl_none(), tb_tpl_none()};
  struct tb_tpl_str s;
  size_t from, to;
  bool empty, suffix = is(o, "endswith");
  if (!bind(o, "prefix,start,end", 1, a) || !window(o, a, &from, &to, &empty)) return false;
  bool tuple = tb_tpl_is(a[0], TB_VAL_TUPLE);
  size_t n = tuple ? tb_tpl_list_of(a[0])->n : 1;
  for (size_t i = 0; i < n; i++) {
    struct tb_val v = tuple ? tb_tpl_list_of(a[0])->at[i] : a[0];
    if (!tb_tpl_is(v, TB_VAL_STR))
      return tb_tpl_fail(o->vm, TB_E_FORMAT, "%s first arg must be str or a tuple of str, not %s",
                         suffix ? "endswith" : "startswith", tb_tpl_type(v));
    s = tb_tpl_str_of(v);
    if (!empty && has_affix(tb_tpl_sub(o->s, from, to), s, suffix)) return give_bool(o, true);
  }
  return give_bool(o, false);
}

static bool find(const struct on *o) {
  struct tb_val a[3] = {tb_tpl_missing(), tb_tpl_none(), tb_tpl_none()};
  struct tb_tpl_str what;
  size_t from, to, hit = SIZE_MAX;
  bool empty, last = is(o, "rfind") || is(o, "rindex");
  if (!bind(o, "sub,start,end", 1, a) || !tb_tpl_arg_str(o->vm, "argument", a[0], &what)) return false;
  if (!window(o, a, &from, &to, &empty)) return false;
  struct tb_tpl_str in = tb_tpl_sub(o->s, from, to);
  if (!empty && !last) hit = tb_tpl_find(in, what, 0);
  if (!empty && last && !tb_tpl_find_last(o->vm, in, what, &hit)) return false;
  if (hit == SIZE_MAX && (is(o, "index") || is(o, "rindex")))
    return tb_tpl_fail(o->vm, TB_E_FORMAT, "substring not found");
  *o->out = tb_tpl_int(hit == SIZE_MAX ? -1 : (int64_t)tb_tpl_chars(tb_tpl_sub(o->s, 0, from + hit)));
  return true;
}

static bool count(const struct on *o) {
  struct tb_val a[3] = {tb_tpl_missing(), tb_tpl_none(), tb_tpl_none()};
  struct tb_tpl_str what;
  size_t from, to, hit;
  int64_t n = 0;
  bool empty;
  if (!bind(o, "sub,start,end", 1, a) || !tb_tpl_arg_str(o->vm, "argument", a[0], &what)) return false;
  if (!window(o, a, &from, &to, &empty)) return false;
  struct tb_tpl_str in = tb_tpl_sub(o->s, from, to);
  if (!empty && !what.n) n = (int64_t)tb_tpl_chars(in) + 1;
  else if (!empty)
    for (size_t at = 0; (hit = tb_tpl_find(in, what, at)) != SIZE_MAX; at = hit + what.n) n++;
  *o->out = tb_tpl_int(n);
  return true;
}

static bool replace(const struct on *o) {
  struct tb_val a[3] = {tb_tpl_missing(), tb_tpl_missing(), tb_tpl_missing()};
  struct tb_tpl_str old, by;
  int64_t max = -1;
  struct tb_tpl_text t = text(o);
  if (!bind(o, "old,new,count", 2, a) || !str_arg(o, a[0], &old) || !str_arg(o, a[1], &by)) return false;
  if (!tb_tpl_arg_int(o->vm, "count", a[2], &max)) return false;
  return tb_tpl_replace(o->vm, o->s, old, by, max, &t) && give_text(o, &t);
}

static bool remove_affix(const struct on *o) {
  struct tb_val a[1];
  struct tb_tpl_str s;
  bool suffix = is(o, "removesuffix");
  if (!bind(o, "affix", 1, a) || !tb_tpl_arg_str(o->vm, "argument", a[0], &s)) return false;
  if (!has_affix(o->s, s, suffix)) return give(o, o->s);
  return give(o, suffix ? tb_tpl_sub(o->s, 0, o->s.n - s.n) : tb_tpl_sub(o->s, s.n, o->s.n));
}

/* ------------------------------------------------------------------------------------------------------ classes, padding */

/* isdigit and its like: every character is of the class, and there is one. */
static bool classify(const struct on *o, unsigned class) {
  if (!bind(o, "", 0, NULL) || !tb_tpl_pay(o->vm, o->s.n)) return false;
  for (size_t i = 0, used; i < o->s.n; i += used) {
    uint32_t cp = tb_ch_decode(o->s.s + i, o->s.n - i, &used);
    if (class ? !(tb_ch_class(cp) & class) : !tb_ch_space(cp)) return give_bool(o, false);
  }
  return give_bool(o, o->s.n != 0);
}

/* islower, isupper: a cased character, and none of the other case. */
static bool cased(const struct on *o, unsigned want, unsigned other) {
  bool any = false;
  if (!bind(o, "", 0, NULL) || !tb_tpl_pay(o->vm, o->s.n)) return false;
  for (size_t i = 0, used; i < o->s.n; i += used) {
    unsigned c = tb_ch_class(tb_ch_decode(o->s.s + i, o->s.n - i, &used));
    if (c & (other | TB_CH_TITLE)) return give_bool(o, false);
    any |= (c & want) != 0;
  }
  return give_bool(o, any);
}

/* center, ljust, rjust, zfill. Padding is trusted only around trusted text. */
static bool pad(const struct on *o) {
  bool zero = is(o, "zfill");
  struct tb_val a[2] = {tb_tpl_missing(), tb_tpl_missing()};
  struct tb_tpl_str fill = {.s = zero ? "0" : " ", .n = 1, .trusted = tb_tpl_all_trusted(o->s)};
  int64_t width = 0, n = (int64_t)tb_tpl_chars(o->s);
  struct tb_tpl_text t = text(o);
  if (!bind(o, zero ? "width" : "width,fillchar", 1, a) || !tb_tpl_arg_int(o->vm, "width", a[0], &width)) return false;
  if (!tb_tpl_is(a[1], TB_VAL_MISSING) && !str_arg(o, a[1], &fill)) return false;
  if (tb_tpl_chars(fill) != 1)
    return tb_tpl_fail(o->vm, TB_E_FORMAT, "The fill character must be exactly one character long");
  int64_t room = width > n ? width - n : 0, left = is(o, "ljust") ? 0 : room;
  if (is(o, "center")) left = room / 2 + (room & width & 1);
  bool sign = zero && o->s.n && (o->s.s[0] == '+' || o->s.s[0] == '-');
  if ((uint64_t)room > o->vm->arena.limit) return tb_tpl_fail(o->vm, TB_E_LIMIT, "text is padded too far");
  if (!tb_tpl_pay(o->vm, (size_t)room * 8)) return false;
  bool ok = tb_tpl_text_put_str(&t, tb_tpl_sub(o->s, 0, sign));
  for (int64_t i = 0; ok && i < left; i++) ok = tb_tpl_text_put_str(&t, fill);
  ok = ok && tb_tpl_text_put_str(&t, tb_tpl_sub(o->s, sign, o->s.n));
  for (int64_t i = left; ok && i < room; i++) ok = tb_tpl_text_put_str(&t, fill);
  return ok ? give_text(o, &t) : tb_tpl_no_room(o->vm);
}

static bool format(const struct on *o) {
  struct tb_tpl_text t = text(o);
  if (o->flags) return tb_tpl_fail(o->vm, TB_E_UNSUPPORTED, "format() of safe text is not supported");
  return tb_tpl_format(o->vm, o->s, o->args, &t) && give_text(o, &t);
}

/* ------------------------------------------------------------------------------------------------------------ dispatch */

static bool by_class(const struct on *o, bool *known) {
  if (is(o, "isdigit")) return classify(o, TB_CH_DIGIT | TB_CH_DECIMAL);
  if (is(o, "isdecimal")) return classify(o, TB_CH_DECIMAL);
  if (is(o, "isnumeric")) return classify(o, TB_CH_NUMERIC);
  if (is(o, "isalpha")) return classify(o, TB_CH_ALPHA);
  if (is(o, "isalnum")) return classify(o, TB_CH_ALNUM);
  if (is(o, "isspace")) return classify(o, 0);
  if (is(o, "islower")) return cased(o, TB_CH_LOWER, TB_CH_UPPER);
  if (is(o, "isupper")) return cased(o, TB_CH_UPPER, TB_CH_LOWER);
  *known = false;
  return true;
}

static bool by_case(const struct on *o, bool *known) {
  if (is(o, "upper")) return change_case(o, TB_CASE_UPPER);
  if (is(o, "lower")) return change_case(o, TB_CASE_LOWER);
  if (is(o, "title")) return change_case(o, TB_CASE_TITLE);
  if (is(o, "capitalize")) return change_case(o, TB_CASE_CAPITALIZE);
  if (is(o, "swapcase")) return change_case(o, TB_CASE_SWAP);
  return by_class(o, known);
}

bool tb_tpl_str_method(struct tb_tpl_vm *vm, struct tb_val self, struct tb_tpl_str name, const struct tb_tpl_args *args,
                       struct tb_val *out, bool *known) {
  static const struct {
    const char *name;
    bool (*run)(const struct on *);
  } methods[] = {{"strip", strip},         {"lstrip", strip},          {"rstrip", strip},        {"split", split},
                 {"rsplit", split},        {"splitlines", splitlines}, {"partition", partition}, {"rpartition", partition},
                 {"join", join},           {"startswith", affix},      {"endswith", affix},      {"find", find},
                 {"rfind", find},          {"index", find},            {"rindex", find},         {"count", count},
                 {"replace", replace},     {"removeprefix", remove_affix}, {"removesuffix", remove_affix},
                 {"center", pad},          {"ljust", pad},             {"rjust", pad},           {"zfill", pad},
                 {"format", format}};
  struct on o = {.vm = vm, .s = tb_tpl_str_of(self), .name = name, .flags = self.flags & TB_VAL_MARKUP, .args = args, .out = out};
  for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
    if (is(&o, methods[i].name)) return methods[i].run(&o);
  return by_case(&o, known);
}
