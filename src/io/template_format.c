/* "…" % values and "…".format(…). Text of the format keeps its provenance, and so does every value put in. */
#include "io/template_run.h"
#include "io/template_number.h"
#include "io/unicode_case.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH_MAX = 4096, PRECISION_MAX = 300, BODY = 768 }; /* BODY: digits of the largest double and a precision */

struct spec {
  uint32_t fill;
  char align; /* < > ^ =, or 0: by type */
  char sign;  /* + - or blank */
  char group; /* , _ or 0 */
  char type;  /* conversion letter or 0 */
  bool alternate;
  int width, precision; /* -1: none */
};

static const struct spec plain_spec = {.fill = ' ', .sign = '-', .width = -1, .precision = -1};

/* -------------------------------------------------------------------------------------------------------------- output */

static bool fill_with(struct tb_tpl_text *t, uint32_t fill, size_t n, bool trusted) {
  char utf8[4];
  size_t len = tb_ch_encode(fill, utf8);
  bool ok = true;
  while (ok && n--) ok = tb_tpl_text_put(t, utf8, len, trusted);
  return ok;
}

/* Writes sign and body padded to the spec's width; `=` pads between them. */
static bool put_padded(struct tb_tpl_vm *vm, struct tb_tpl_text *t, const struct spec *f, const char *sign,
                       struct tb_tpl_str body, char default_align) {
  size_t n = strlen(sign) + tb_tpl_chars(body), room = f->width > 0 && (size_t)f->width > n ? (size_t)f->width - n : 0;
  char align = f->align ? f->align : default_align;
  size_t before = align == '>' ? room : align == '^' ? room / 2 : 0, inside = align == '=' ? room : 0;
  bool trusted = tb_tpl_all_trusted(body);
  bool ok = fill_with(t, f->fill, before, trusted) && tb_tpl_text_put(t, sign, strlen(sign), trusted) &&
            fill_with(t, f->fill, inside, trusted) && tb_tpl_text_put_str(t, body) &&
            fill_with(t, f->fill, room - before - inside, trusted);
  return ok ? tb_tpl_pay(vm, body.n + room) : tb_tpl_no_room(vm);
}

/* Puts separators between the digits of the whole part of a number's text. */
static void group_digits(char *body, char separator) {
  size_t whole = strspn(body, "0123456789"), marks = whole ? (whole - 1) / 3 : 0;
  if (!separator || !marks) return;
  memmove(body + whole + marks, body + whole, strlen(body + whole) + 1);
  for (size_t from = whole, to = whole + marks, k = 0; from > 0; k++) {
    if (k && k % 3 == 0) body[--to] = separator;
    body[--to] = body[--from];
  }
}

static const char *sign_text(const struct spec *f, bool negative) {
  return negative ? "-" : f->sign == '+' ? "+" : f->sign == ' ' ? " " : "";
}

static bool put_number(struct tb_tpl_vm *vm, struct tb_tpl_text *t, const struct spec *f, bool negative, const char *prefix,
                       char *body, bool trusted) {
  char sign[8];
  snprintf(sign, sizeof sign, "%s%s", sign_text(f, negative), prefix);
  group_digits(body, f->group);
  return put_padded(vm, t, f, sign, (struct tb_tpl_str){.s = body, .n = strlen(body), .trusted = trusted}, '>');
}

static bool put_int(struct tb_tpl_vm *vm, struct tb_tpl_text *t, const struct spec *f, struct tb_val v, int digits) {
  char body[BODY], text[72];
  int64_t i = tb_tpl_int_of(v);
  uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
  const char *prefix = "";
  if (f->type == 'x') snprintf(text, sizeof text, "%llx", (unsigned long long)u), prefix = f->alternate ? "0x" : "";
  else if (f->type == 'X') snprintf(text, sizeof text, "%llX", (unsigned long long)u), prefix = f->alternate ? "0X" : "";
  else if (f->type == 'o') snprintf(text, sizeof text, "%llo", (unsigned long long)u), prefix = f->alternate ? "0o" : "";
  else if (f->type == 'b') {
    int n = 0, bits = 64;
    while (bits > 1 && !(u >> (bits - 1) & 1)) bits--;
    while (bits--) text[n++] = u >> bits & 1 ? '1' : '0';
    text[n] = '\0';
    prefix = f->alternate ? "0b" : "";
  } else snprintf(text, sizeof text, "%llu", (unsigned long long)u);
  int zeros = digits > (int)strlen(text) ? digits - (int)strlen(text) : 0;
  memset(body, '0', (size_t)zeros);
  snprintf(body + zeros, sizeof body - (size_t)zeros, "%s", text);
  return put_number(vm, t, f, i < 0, prefix, body, v.flags & TB_VAL_TRUSTED);
}

static bool put_float(struct tb_tpl_vm *vm, struct tb_tpl_text *t, const struct spec *f, struct tb_val v) {
  char body[BODY];
  double x = tb_tpl_float_of(v);
  char conv = f->type == '%' ? 'f' : f->type;
  if (f->type == '%') x *= 100;
  bool negative = signbit(x) && !isnan(x);
  if (!isfinite(x)) snprintf(body, sizeof body, "%s", isnan(x) ? "nan" : "inf");
  else if (!conv) tb_num_repr(fabs(x), body);
  else tb_num_printf(fabs(x), conv, f->precision < 0 ? 6 : f->precision, f->alternate, body, sizeof body);
  if (!isfinite(x) && isupper((unsigned char)conv))
    for (char *c = body; *c; c++) *c = (char)toupper((unsigned char)*c);
  if (f->type == '%') strncat(body, "%", sizeof body - strlen(body) - 1);
  return put_number(vm, t, f, negative, "", body, v.flags & TB_VAL_TRUSTED);
}

static bool put_text(struct tb_tpl_vm *vm, struct tb_tpl_text *t, const struct spec *f, struct tb_tpl_str s, char align) {
  if (f->precision >= 0) s = tb_tpl_sub(s, 0, tb_tpl_char_at(s, (size_t)f->precision));
  return put_padded(vm, t, f, "", s, align);
}

/* Reads a number of at most `max` at s[*i]; -1 when there is none. */
static bool small_number(struct tb_tpl_vm *vm, struct tb_tpl_str s, size_t *i, int max, int *out) {
  *out = -1;
  for (; *i < s.n && isdigit((unsigned char)s.s[*i]); ++*i) {
    *out = (*out < 0 ? 0 : *out) * 10 + (s.s[*i] - '0');
    if (*out > max) return tb_tpl_fail(vm, TB_E_LIMIT, "a width or precision in a format is above %d", max);
  }
  return true;
}

/* ------------------------------------------------------------------------------------------------------------------- % */

struct percent {
  struct tb_tpl_vm *vm;
  struct tb_tpl_str f;
  size_t i; /* behind what was read of f */
  struct tb_val values;
  size_t next; /* positional value that comes next */
  struct tb_tpl_text *out;
};

/* "(key)" of a mapping, or the next positional value. */
static bool percent_value(struct percent *p, bool keyed, struct tb_tpl_str key, struct tb_val *v) {
  if (keyed) {
    const struct tb_val *found = NULL;
    if (!tb_tpl_is(p->values, TB_VAL_DICT)) return tb_tpl_fail(p->vm, TB_E_FORMAT, "format requires a mapping");
    found = tb_tpl_dict_find(tb_tpl_dict_of(p->values), key);
    if (!found) return tb_tpl_fail(p->vm, TB_E_FORMAT, "format key '%.*s' is missing", (int)key.n, key.s);
    *v = *found;
    return true;
  }
  bool tuple = tb_tpl_is(p->values, TB_VAL_TUPLE);
  if (p->next >= (tuple ? tb_tpl_list_of(p->values)->n : 1))
    return tb_tpl_fail(p->vm, TB_E_FORMAT, "not enough arguments for format string");
  *v = tuple ? tb_tpl_list_of(p->values)->at[p->next] : p->values;
  p->next++;
  return true;
}

static bool percent_flags(struct percent *p, struct spec *f) {
  for (; p->i < p->f.n && strchr("-+ #0", p->f.s[p->i]) && p->f.s[p->i]; p->i++) {
    char c = p->f.s[p->i];
    if (c == '-') f->align = '<';
    if (c == '+' || (c == ' ' && f->sign != '+')) f->sign = c;
    if (c == '#') f->alternate = true;
    if (c == '0') f->fill = '0';
  }
  if (!small_number(p->vm, p->f, &p->i, WIDTH_MAX, &f->width)) return false;
  if (p->i < p->f.n && p->f.s[p->i] == '.') {
    p->i++;
    if (!small_number(p->vm, p->f, &p->i, PRECISION_MAX, &f->precision)) return false;
    if (f->precision < 0) f->precision = 0;
  }
  while (p->i < p->f.n && strchr("hlL", p->f.s[p->i]) && p->f.s[p->i]) p->i++;
  return true;
}

static bool percent_number(struct percent *p, struct spec *f, struct tb_val v) {
  bool whole = strchr("diuxXo", f->type) != NULL;
  if (f->fill == '0') f->align = f->align == '<' ? '<' : '=';
  if (f->align == '<') f->fill = ' ';
  if (tb_tpl_is(v, TB_VAL_UNDEFINED)) return tb_tpl_fail_undefined(p->vm, v);
  if (!tb_tpl_is_number(v) || (tb_tpl_is(v, TB_VAL_FLOAT) && strchr("xXo", f->type)))
    return tb_tpl_fail(p->vm, TB_E_FORMAT, "%%%c format: a number is required, not %s", f->type, tb_tpl_type(v));
  if (!whole) return put_float(p->vm, p->out, f, v);
  if (tb_tpl_is(v, TB_VAL_FLOAT)) {
    if (!(fabs(v.u.f) < 9e18)) return tb_tpl_fail(p->vm, TB_E_LIMIT, "integer does not fit in 64 bits");
    v = (struct tb_val){.kind = TB_VAL_INT, .flags = v.flags, .u.i = (int64_t)v.u.f};
  }
  return put_int(p->vm, p->out, f, v, f->precision);
}

static bool percent_item(struct percent *p) {
  struct spec f = plain_spec;
  struct tb_val v;
  struct tb_tpl_str key = {0}, s;
  bool keyed = p->i < p->f.n && p->f.s[p->i] == '(';
  if (keyed) {
    const char *end = memchr(p->f.s + p->i, ')', p->f.n - p->i);
    if (!end) return tb_tpl_fail(p->vm, TB_E_FORMAT, "incomplete format key");
    key = tb_tpl_sub(p->f, p->i + 1, (size_t)(end - p->f.s));
    p->i = (size_t)(end - p->f.s) + 1;
  }
  if (!percent_flags(p, &f)) return false;
  if (p->i == p->f.n) return tb_tpl_fail(p->vm, TB_E_FORMAT, "incomplete format");
  f.type = p->f.s[p->i++];
  if (f.type == '%') return tb_tpl_text_put(p->out, "%", 1, tb_tpl_trusted_at(p->f, p->i - 1)) || tb_tpl_no_room(p->vm);
  if (f.type == '*') return tb_tpl_fail(p->vm, TB_E_UNSUPPORTED, "'*' in a format is not supported");
  if (!f.type || !strchr("srdiufFeEgGxXo", f.type))
    return tb_tpl_fail(p->vm, TB_E_UNSUPPORTED, "format character '%c' is not supported", f.type);
  if (!percent_value(p, keyed, key, &v)) return false;
  if (f.type != 's' && f.type != 'r') return percent_number(p, &f, v);
  f.fill = ' ';
  struct tb_tpl_text repr;
  tb_tpl_text_init(&repr, &p->vm->arena);
  if (f.type == 'r' ? !tb_tpl_put_repr(p->vm, &repr, v) : !tb_tpl_str(p->vm, v, &s)) return false;
  return put_text(p->vm, p->out, &f, f.type == 'r' ? tb_tpl_text_str(&repr) : s, '>');
}

bool tb_tpl_percent(struct tb_tpl_vm *vm, struct tb_tpl_str format, struct tb_val values, struct tb_tpl_text *out) {
  struct percent p = {.vm = vm, .f = format, .values = values, .out = out};
  while (p.i < format.n) {
    const char *hit = memchr(format.s + p.i, '%', format.n - p.i);
    size_t to = hit ? (size_t)(hit - format.s) : format.n;
    if (!tb_tpl_text_put_str(out, tb_tpl_sub(format, p.i, to))) return tb_tpl_no_room(vm);
    p.i = to + 1;
    if (hit && !percent_item(&p)) return false;
  }
  bool tuple = tb_tpl_is(values, TB_VAL_TUPLE), mapping = tb_tpl_is(values, TB_VAL_DICT) || tb_tpl_is(values, TB_VAL_LIST);
  if (!mapping && p.next < (tuple ? tb_tpl_list_of(values)->n : 1))
    return tb_tpl_fail(vm, TB_E_FORMAT, "not all arguments converted during string formatting");
  return tb_tpl_pay(vm, out->n);
}

/* ------------------------------------------------------------------------------------------------------------- format() */

struct brace {
  struct tb_tpl_vm *vm;
  const struct tb_tpl_args *args;
  struct tb_tpl_text *out;
  size_t next;         /* automatic field number */
  bool manual, automatic;
};

/* "[[fill]align][sign][#][0][width][,][.precision][type]" */
static bool read_spec(struct tb_tpl_vm *vm, struct tb_tpl_str s, struct spec *f) {
  size_t i = 0, used = 0;
  *f = plain_spec;
  if (s.n) {
    uint32_t cp = tb_ch_decode(s.s, s.n, &used);
    if (used < s.n && strchr("<>^=", s.s[used]) && s.s[used]) f->fill = cp, f->align = s.s[used], i = used + 1;
    else if (cp < 0x80 && strchr("<>^=", (int)cp) && cp) f->align = (char)cp, i = 1;
  }
  if (i < s.n && s.s[i] && strchr("+- ", s.s[i])) f->sign = s.s[i++];
  if (i < s.n && s.s[i] == '#') f->alternate = true, i++;
  if (i < s.n && s.s[i] == '0') {
    if (!f->align) f->fill = '0', f->align = '=';
    i++;
  }
  if (!small_number(vm, s, &i, WIDTH_MAX, &f->width)) return false;
  if (i < s.n && (s.s[i] == ',' || s.s[i] == '_')) f->group = s.s[i++];
  if (i < s.n && s.s[i] == '.') {
    i++;
    if (!small_number(vm, s, &i, PRECISION_MAX, &f->precision)) return false;
    if (f->precision < 0) return tb_tpl_fail(vm, TB_E_FORMAT, "Format specifier missing precision");
  }
  if (i < s.n) f->type = s.s[i++];
  return i == s.n || tb_tpl_fail(vm, TB_E_FORMAT, "Invalid format specifier");
}

static bool put_formatted(struct tb_tpl_vm *vm, struct tb_tpl_text *out, struct tb_val v, struct tb_tpl_str spec) {
  struct spec f;
  struct tb_tpl_str s;
  if (!spec.n) return tb_tpl_put_str(vm, out, v);
  if (!read_spec(vm, spec, &f)) return false;
  bool number = tb_tpl_is_number(v) && !(tb_tpl_is(v, TB_VAL_BOOL) && !f.type);
  const char *types = !number ? "s" : tb_tpl_is(v, TB_VAL_FLOAT) ? "eEfFgG%" : "dxXobeEfFgG%";
  if (f.type && !strchr(types, f.type))
    return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "format code '%c' for '%s' is not supported", f.type, tb_tpl_type(v));
  if (!number && v.kind != TB_VAL_STR && v.kind != TB_VAL_BOOL)
    return tb_tpl_fail(vm, TB_E_FORMAT, "unsupported format string passed to %s.__format__", tb_tpl_type(v));
  if (!number) return tb_tpl_str(vm, v, &s) && put_text(vm, out, &f, s, '<');
  if (tb_tpl_is(v, TB_VAL_FLOAT) || (f.type && strchr("eEfFgG%", f.type))) {
    if (!f.type && f.precision >= 0) return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "a precision without type is not supported");
    return put_float(vm, out, &f, v);
  }
  if (f.group && f.fill == '0') return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "grouped zero padding is not supported");
  if (f.precision >= 0) return tb_tpl_fail(vm, TB_E_FORMAT, "Precision not allowed in integer format specifier");
  return put_int(vm, out, &f, v, 0);
}

/* The argument a field begins with: a number, a keyword, or nothing for the next one. */
static bool field_first(struct brace *b, struct tb_tpl_str name, struct tb_val *v) {
  size_t i = 0;
  int n;
  if (!small_number(b->vm, name, &i, WIDTH_MAX, &n)) return false;
  bool number = i == name.n;
  b->automatic |= !name.n;
  b->manual |= name.n && number;
  if (b->automatic && b->manual)
    return tb_tpl_fail(b->vm, TB_E_FORMAT, "cannot switch between manual and automatic field numbering");
  size_t at = name.n ? (size_t)n : b->next++;
  if (number) {
    if (at >= b->args->n) return tb_tpl_fail(b->vm, TB_E_FORMAT, "Replacement index %zu out of range", at);
    return *v = b->args->pos[at], true;
  }
  for (size_t k = 0; k < b->args->n_kw; k++)
    if (tb_tpl_str_eq(b->args->kw[k].name, name)) return *v = b->args->kw[k].v, true;
  return tb_tpl_fail(b->vm, TB_E_FORMAT, "format() misses the argument '%.*s'", (int)name.n, name.s);
}

/* One ".name" or "[key]" of a field at f[*i]. */
static bool field_step(struct brace *b, struct tb_tpl_str f, size_t *i, struct tb_val *v) {
  bool bracket = f.s[*i] == '[', again = false;
  size_t from = ++*i, digits = 0;
  int n;
  while (*i < f.n && (bracket ? f.s[*i] != ']' : f.s[*i] != '.' && f.s[*i] != '[')) ++*i;
  struct tb_tpl_str part = tb_tpl_sub(f, from, *i);
  if (!part.n || (bracket && *i == f.n)) return tb_tpl_fail(b->vm, TB_E_FORMAT, "malformed field in a format string");
  if (bracket) ++*i;
  struct tb_val key = tb_tpl_of_str(&b->vm->arena, part, 0);
  if (b->vm->arena.failed) return tb_tpl_no_room(b->vm);
  if (!bracket) return tb_tpl_attr(b->vm, *v, key, v, &again) && !again;
  if (!small_number(b->vm, part, &digits, 1 << 20, &n)) return false;
  return tb_tpl_item(b->vm, *v, digits == part.n ? tb_tpl_int(n) : key, v, &again) && !again;
}

static bool put_field(struct brace *b, struct tb_tpl_str field) {
  const char *colon = memchr(field.s, ':', field.n), *bang = memchr(field.s, '!', field.n);
  if (bang && colon && bang > colon) bang = NULL;
  size_t spec_at = colon ? (size_t)(colon - field.s) + 1 : field.n, end = bang ? (size_t)(bang - field.s) : colon ? spec_at - 1 : field.n;
  size_t i = 0;
  struct tb_val v;
  while (i < end && field.s[i] != '.' && field.s[i] != '[') i++;
  if (!field_first(b, tb_tpl_sub(field, 0, i), &v)) return false;
  struct tb_tpl_str name = tb_tpl_sub(field, 0, end);
  while (i < end) {
    if (field.s[i] != '.' && field.s[i] != '[') return tb_tpl_fail(b->vm, TB_E_FORMAT, "malformed field in a format string");
    if (!field_step(b, name, &i, &v))
      return b->vm->status ? false : tb_tpl_fail(b->vm, TB_E_UNSUPPORTED, "'loop' in a format string is not supported");
  }
  if (bang) {
    char conv = bang + 1 < field.s + field.n ? bang[1] : '\0';
    struct tb_tpl_text t;
    tb_tpl_text_init(&t, &b->vm->arena);
    if (conv != 'r' && conv != 's') return tb_tpl_fail(b->vm, TB_E_UNSUPPORTED, "this conversion in a format string is not supported");
    if (conv == 'r' ? !tb_tpl_put_repr(b->vm, &t, v) : !tb_tpl_put_str(b->vm, &t, v)) return false;
    if (!tb_tpl_result(b->vm, &t, 0, &v)) return false;
  }
  return put_formatted(b->vm, b->out, v, tb_tpl_sub(field, spec_at, field.n));
}

bool tb_tpl_format(struct tb_tpl_vm *vm, struct tb_tpl_str f, const struct tb_tpl_args *args, struct tb_tpl_text *out) {
  struct brace b = {.vm = vm, .args = args, .out = out};
  for (size_t i = 0; i < f.n;) {
    size_t from = i;
    while (i < f.n && f.s[i] != '{' && f.s[i] != '}') i++;
    bool doubled = i + 1 < f.n && f.s[i] == f.s[i + 1];
    if (!tb_tpl_text_put_str(out, tb_tpl_sub(f, from, i + doubled))) return tb_tpl_no_room(vm);
    if (i == f.n) break;
    if (doubled) {
      i += 2;
      continue;
    }
    const char *end = f.s[i] == '{' ? memchr(f.s + i, '}', f.n - i) : NULL;
    if (!end) return tb_tpl_fail(vm, TB_E_FORMAT, "Single '%c' encountered in format string", f.s[i]);
    struct tb_tpl_str field = tb_tpl_sub(f, i + 1, (size_t)(end - f.s));
    if (memchr(field.s, '{', field.n)) return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "nested fields in a format string are not supported");
    if (!put_field(&b, field)) return false;
    i = (size_t)(end - f.s) + 1;
  }
  return tb_tpl_pay(vm, out->n);
}
