/* Searching text in text in linear time: templates and what they search may both be hostile. */
#include "io/template_run.h"

#include <string.h>

enum { SHORT = 64 }; /* up to here plain search costs at most SHORT comparisons per byte */

static size_t find_short(struct tb_tpl_str s, struct tb_tpl_str what, size_t from) {
  while (s.n - from >= what.n) {
    const char *hit = memchr(s.s + from, what.s[0], s.n - from - what.n + 1);
    if (!hit) break;
    if (memcmp(hit, what.s, what.n) == 0) return (size_t)(hit - s.s);
    from = (size_t)(hit - s.s) + 1;
  }
  return SIZE_MAX;
}

/* Start - 1 of the maximal suffix of x under one of the two byte orders, and its period. */
static ptrdiff_t maximal_suffix(const unsigned char *x, ptrdiff_t m, bool inverse, ptrdiff_t *period) {
  ptrdiff_t start = -1, j = 0, k = 1;
  *period = 1;
  while (j + k < m) {
    unsigned char a = x[j + k], b = x[start + k];
    if (inverse ? a > b : a < b) {
      j += k;
      k = 1;
      *period = j - start;
    } else if (a == b) {
      if (k != *period) k++;
      else j += *period, k = 1;
    } else {
      start = j++;
      k = *period = 1;
    }
  }
  return start;
}

/* Crochemore and Perrin, "Two-way string-matching" (1991). */
static size_t find_long(const unsigned char *y, ptrdiff_t n, const unsigned char *x, ptrdiff_t m) {
  ptrdiff_t period, other_period, split = maximal_suffix(x, m, false, &period);
  ptrdiff_t other = maximal_suffix(x, m, true, &other_period);
  if (other >= split) split = other, period = other_period;
  bool periodic = memcmp(x, x + period, (size_t)(split + 1)) == 0;
  if (!periodic) period = (split + 1 > m - split - 1 ? split + 1 : m - split - 1) + 1;
  for (ptrdiff_t pos = 0, known = -1; pos <= n - m;) {
    ptrdiff_t i = (split > known ? split : known) + 1;
    while (i < m && x[i] == y[i + pos]) i++;
    if (i < m) {
      pos += i - split;
      known = -1;
      continue;
    }
    i = split;
    while (i > known && x[i] == y[i + pos]) i--;
    if (i <= known) return (size_t)pos;
    pos += period;
    known = periodic ? m - period - 1 : -1;
  }
  return SIZE_MAX;
}

size_t tb_tpl_find(struct tb_tpl_str s, struct tb_tpl_str what, size_t from) {
  if (from > s.n || s.n - from < what.n) return SIZE_MAX;
  if (!what.n) return from;
  if (what.n <= SHORT) return find_short(s, what, from);
  size_t hit = find_long((const unsigned char *)s.s + from, (ptrdiff_t)(s.n - from), (const unsigned char *)what.s,
                         (ptrdiff_t)what.n);
  return hit == SIZE_MAX ? hit : hit + from;
}

bool tb_tpl_find_last(struct tb_tpl_vm *vm, struct tb_tpl_str s, struct tb_tpl_str what, size_t *hit) {
  *hit = SIZE_MAX;
  if (s.n < what.n) return true;
  for (size_t at = s.n - what.n + 1; at-- > 0;) {
    if (what.n && (s.s[at] != what.s[0] || s.s[at + what.n - 1] != what.s[what.n - 1])) continue;
    if (what.n > SHORT && !tb_tpl_pay(vm, what.n)) return false;
    if (memcmp(s.s + at, what.s, what.n) != 0) continue;
    *hit = at;
    break;
  }
  return tb_tpl_pay(vm, s.n);
}
