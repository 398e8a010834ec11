#include "io/template_number.h"
#include "io/unicode_case.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS_MAX = 512 }; /* longest number text that is read: beyond it more digits change nothing */

/* ------------------------------------------------------------------------------------------------------------ writing */

size_t tb_num_int(int64_t i, char out[TB_NUM_TEXT]) { return (size_t)snprintf(out, TB_NUM_TEXT, "%lld", (long long)i); }

/* Puts '.' where the locale's decimal point is. */
static size_t neutral(char *s) {
  const char *point = localeconv()->decimal_point;
  char *at = point && strcmp(point, ".") != 0 ? strstr(s, point) : NULL;
  if (at) {
    *at = '.';
    memmove(at + 1, at + strlen(point), strlen(at + strlen(point)) + 1);
  }
  return strlen(s);
}

size_t tb_num_printf(double f, char conv, int precision, bool alternate, char *out, size_t cap) {
  char format[] = {'%', alternate ? '#' : '.', alternate ? '.' : '*', alternate ? '*' : conv, alternate ? conv : '\0', '\0'};
  snprintf(out, cap, format, precision, f);
  return neutral(out);
}

static size_t special(double f, char out[TB_NUM_TEXT]) {
  return (size_t)snprintf(out, TB_NUM_TEXT, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
}

size_t tb_num_repr(double f, char out[TB_NUM_TEXT]) {
  if (!isfinite(f)) return special(f, out);
  char e[TB_NUM_TEXT], digits[TB_NUM_TEXT];
  int n = 0;
  for (int p = 0; p < 17; p++) { /* 17 significant digits identify any double */
    snprintf(e, sizeof e, "%.*e", p, f);
    if (strtod(e, NULL) == f) break;
  }
  const char *exponent = strchr(e, 'e');
  int exp10 = (int)strtol(exponent + 1, NULL, 10);
  for (const char *s = e; s < exponent; s++)
    if (*s >= '0' && *s <= '9') digits[n++] = *s;
  char *o = out;
  if (signbit(f)) *o++ = '-';
  /* repr uses an exponent from 1e16 on and below 1e-4. */
  if (exp10 < -4 || exp10 >= 16) {
    o += snprintf(o, 4, n > 1 ? "%c." : "%c", digits[0]);
    memcpy(o, digits + 1, (size_t)n - 1);
    o += n - 1;
    return (size_t)(o - out) + (size_t)snprintf(o, 8, "e%c%02d", exp10 < 0 ? '-' : '+', abs(exp10));
  }
  if (exp10 < 0) {
    memcpy(o, "0.000", (size_t)(1 - exp10));
    o += 1 - exp10;
    memcpy(o, digits, (size_t)n);
    o += n;
  } else {
    for (int i = 0; i <= exp10 || i < n; i++) {
      if (i == exp10 + 1) *o++ = '.';
      *o++ = i < n ? digits[i] : '0';
    }
    if (n <= exp10 + 1) *o++ = '.', *o++ = '0';
  }
  *o = '\0';
  return (size_t)(o - out);
}

double tb_num_round(double f, int digits) {
  /* Beyond these bounds rounding changes nothing, or leaves nothing. */
  if (!isfinite(f) || digits > 323) return f;
  if (digits < -308) return copysign(0, f);
  if (digits < 0) {
    double scale = pow(10, -digits);
    return nearbyint(f / scale) * scale;
  }
  char text[DIGITS_MAX + 512];
  snprintf(text, sizeof text, "%.*f", digits, f);
  return strtod(text, NULL);
}

/* ------------------------------------------------------------------------------------------------------------ reading */

static void trim(const char **s, size_t *n) {
  size_t used;
  while (*n && tb_ch_space(tb_ch_decode(*s, *n, &used))) *s += used, *n -= used;
  while (*n && tb_ch_space((unsigned char)(*s)[*n - 1]) && (unsigned char)(*s)[*n - 1] < 0x80) --*n;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Copies a number's text without its underscores; false when one does not stand between two digits. */
static bool plain(const char *s, size_t n, char *out) {
  size_t k = 0;
  for (size_t i = 0; i < n; i++) {
    if (s[i] != '_') out[k++] = s[i];
    else if (i == 0 || i + 1 == n || !is_digit(s[i - 1]) || !is_digit(s[i + 1])) return false;
  }
  out[k] = '\0';
  return true;
}

static bool is_word(const char *s, const char *word) {
  for (; *word; s++, word++)
    if ((*s | 32) != *word) return false;
  return !*s;
}

/* "[+-] digits [. digits] [e [+-] digits]" with at least one digit before the exponent. */
static bool float_syntax(const char *s) {
  size_t whole = strspn(s, "0123456789"), part = 0;
  s += whole;
  if (*s == '.') s += 1 + (part = strspn(s + 1, "0123456789"));
  if (!whole && !part) return false;
  if ((*s | 32) != 'e') return !*s;
  s++;
  s += *s == '+' || *s == '-';
  size_t e = strspn(s, "0123456789");
  return e && !s[e];
}

bool tb_num_parse_float(const char *s, size_t n, double *out) {
  char raw[DIGITS_MAX + 1], text[DIGITS_MAX + 16];
  trim(&s, &n);
  if (!n || n > DIGITS_MAX || memchr(s, '\0', n) || !plain(s, n, raw)) return false;
  const char *body = raw + (*raw == '+' || *raw == '-');
  double sign = *raw == '-' ? -1 : 1;
  if (is_word(body, "inf") || is_word(body, "infinity")) return *out = sign * INFINITY, true;
  if (is_word(body, "nan")) return *out = NAN, true;
  if (!float_syntax(body)) return false;
  const char *dot = strchr(body, '.'), *point = localeconv()->decimal_point;
  if (!dot || !point || strlen(point) > 8) snprintf(text, sizeof text, "%s", body);
  else snprintf(text, sizeof text, "%.*s%s%s", (int)(dot - body), body, point, dot + 1);
  *out = sign * strtod(text, NULL);
  return true;
}

static int digit_value(char c) {
  if (is_digit(c)) return c - '0';
  c |= 32;
  return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

bool tb_num_parse_int(const char *s, size_t n, int base, int64_t *out) {
  trim(&s, &n);
  bool negative = n && *s == '-';
  if (n && (*s == '+' || *s == '-')) s++, n--;
  char kind = n > 1 && *s == '0' ? (char)(s[1] | 32) : '\0';
  int prefix = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
  if (prefix && (base == 0 || base == prefix)) {
    s += 2, n -= 2, base = prefix;
    if (n && *s == '_') s++, n--;
  }
  bool any_zero = base == 0; /* without a prefix a leading zero is only allowed for zero itself */
  if (base == 0) base = 10;
  int64_t v = 0;
  bool nonzero = false;
  for (size_t i = 0; i < n; i++) {
    if (s[i] == '_' && i > 0 && i + 1 < n && s[i - 1] != '_') continue;
    int d = digit_value(s[i]);
    if (d >= base || __builtin_mul_overflow(v, base, &v) || __builtin_sub_overflow(v, d, &v)) return false;
    nonzero |= d != 0;
  }
  if (!n || (any_zero && nonzero && *s == '0' && n > 1)) return false;
  return negative ? (*out = v, true) : !__builtin_sub_overflow(0, v, out);
}
