/* The own engine: each expression of pretokenize_stages.def as a matcher over class bytes. A matcher gets the piece
 * s[0 … n) and returns the end of the match that starts at i, or i when there is none. */
#include <string.h>
#include "io/pretokenize_impl.h"
#include "io/unicode.h"

enum { LN = TB_UC_L | TB_UC_N, LM = TB_UC_L | TB_UC_M };

static bool is(uint8_t c, unsigned mask) { return tb_unicode_props[c] & mask; }
static bool newline_char(uint8_t c) { return c == '\r' || c == '\n'; }
static bool lower(uint8_t c) { return c >= 'a' && c <= 'z'; }
static bool upper(uint8_t c) { return c >= 'A' && c <= 'Z'; }

/* End of the longest run from i of classes that have, or have not, a property of the mask; at most `max` of them. */
static size_t run(const uint8_t *s, size_t n, size_t i, unsigned mask, size_t max) {
  size_t end = max < n - i ? i + max : n;
  while (i < end && is(s[i], mask)) i++;
  return i;
}

static size_t run_without(const uint8_t *s, size_t n, size_t i, unsigned mask) {
  while (i < n && !is(s[i], mask)) i++;
  return i;
}

static size_t newlines(const uint8_t *s, size_t n, size_t i) {
  while (i < n && newline_char(s[i])) i++;
  return i;
}

/* 's 't 'm 'd 're 've 'll; `fold`: in any case. */
static size_t contraction(const uint8_t *s, size_t n, size_t i, bool fold) {
  if (n - i < 2 || s[i] != '\'') return i;
  uint8_t bit = fold ? 0x20 : 0, a = s[i + 1] | bit;
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return i + 2;
  if (n - i < 3) return i;
  uint8_t b = s[i + 2] | bit;
  return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? i + 3 : i;
}

/* \s+(?!\S)|\s+ : a run of blanks, but its last one belongs to a word that follows. */
static size_t blanks(const uint8_t *s, size_t n, size_t i) {
  size_t end = run(s, n, i, TB_UC_WHITE, n);
  return end < n && end - i > 1 ? end - 1 : end;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ : up to the last newline of the run when it has one. */
static size_t lines_or_blanks(const uint8_t *s, size_t n, size_t i) {
  size_t last = i, end = i;
  for (; end < n && is(s[end], TB_UC_WHITE); end++)
    if (newline_char(s[end])) last = end + 1;
  if (last > i) return last;
  return end < n && end - i > 1 ? end - 1 : end;
}

/* " ?X+" where X is what has, or has not, a property of the mask. */
static size_t spaced(const uint8_t *s, size_t n, size_t i, unsigned mask, bool without) {
  size_t j = i + (s[i] == ' ');
  size_t end = without ? run_without(s, n, j, mask) : run(s, n, j, mask, n);
  return end > j ? end : i;
}

/* "\s?X+" */
static size_t after_blank(const uint8_t *s, size_t n, size_t i, unsigned mask) {
  size_t j = i + is(s[i], TB_UC_WHITE);
  size_t end = run(s, n, j, mask, n);
  return end > j ? end : i;
}

static size_t match_newline(const uint8_t *s, size_t n, size_t i) { return i + (i < n && newline_char(s[i])); }
static size_t match_digit(const uint8_t *s, size_t n, size_t i) { return run(s, n, i, TB_UC_N, 1); }
static size_t match_digits_3(const uint8_t *s, size_t n, size_t i) { return run(s, n, i, TB_UC_N, 3); }
static size_t match_digits(const uint8_t *s, size_t n, size_t i) { return run(s, n, i, TB_UC_N, n); }
static size_t match_cjk_run(const uint8_t *s, size_t n, size_t i) { return run(s, n, i, TB_UC_CJK, n); }
static size_t match_han_kana_run(const uint8_t *s, size_t n, size_t i) { return run(s, n, i, TB_UC_HAN_KANA, n); }
static size_t match_cased_run(const uint8_t *s, size_t n, size_t i) { return after_blank(s, n, i, TB_UC_CASED); }
static size_t match_letter_run(const uint8_t *s, size_t n, size_t i) { return after_blank(s, n, i, TB_UC_L); }
static size_t match_pure_punct_run(const uint8_t *s, size_t n, size_t i) { return after_blank(s, n, i, TB_UC_P); }
static size_t match_bloom(const uint8_t *s, size_t n, size_t i) {
  return spaced(s, n, i, TB_UC_WHITE | TB_UC_STOP, true);
}

static size_t match_ascii_digits_3(const uint8_t *s, size_t n, size_t i) {
  for (size_t j = i; j < i + 3; j++)
    if (j == n || s[j] < '0' || s[j] > '9') return i;
  return i + 3;
}

static size_t punct_or(const uint8_t *s, size_t n, size_t i, const char *more) {
  while (i < n && (is(s[i], TB_UC_P) || (s[i] && s[i] < 0x80 && strchr(more, s[i])))) i++;
  return i;
}
static size_t match_punct_run(const uint8_t *s, size_t n, size_t i) { return punct_or(s, n, i, "$+<=>^~|"); }
static size_t match_falcon_punct(const uint8_t *s, size_t n, size_t i) { return punct_or(s, n, i, "$+<=>^~|`"); }

static bool wide_punct(uint8_t c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '~') || is(c, TB_UC_WIDE_PUNCT);
}
static size_t match_wide_punct_run(const uint8_t *s, size_t n, size_t i) {
  size_t j = i + is(s[i], TB_UC_WHITE), end = j;
  while (end < n && wide_punct(s[end])) end++;
  return end > j ? end : i;
}

/* Only a run's first blank may start a match; otherwise every blank of a long run would look for the end again. */
static size_t match_trailing_blanks(const uint8_t *s, size_t n, size_t i) {
  if (i > 0 && is(s[i - 1], TB_UC_WHITE)) return i;
  return run(s, n, i, TB_UC_WHITE, n) == n ? n : i;
}

static size_t match_gpt2(const uint8_t *s, size_t n, size_t i) {
  size_t e = contraction(s, n, i, false);
  if (e == i) e = spaced(s, n, i, TB_UC_L, false);
  if (e == i) e = spaced(s, n, i, TB_UC_N, false);
  if (e == i) e = spaced(s, n, i, TB_UC_WHITE | LN, true);
  return e > i ? e : blanks(s, n, i);
}

/* [^\r\n\p{L}\p{N}]?X+ : where the run starts when the optional character is taken. */
static size_t lead(const uint8_t *s, size_t i) { return i + !(newline_char(s[i]) || is(s[i], LN)); }

/* X+ with X a set of letters and marks, after one leading character or none. */
static size_t led_word(const uint8_t *s, size_t n, size_t i, unsigned mask) {
  size_t j = lead(s, i), end = run(s, n, j, mask, n);
  if (end > j) return end;
  return run(s, n, i, mask, n); /* a mark can be the leading character or a word of its own */
}

enum { TAIL_NEWLINES = 1, TAIL_SLASH = 2, TAIL_ONE = 4 };

/* " ?[^\s\p{L}\p{N}]+" and what may follow it. */
static size_t punct(const uint8_t *s, size_t n, size_t i, unsigned word, unsigned tail) {
  size_t e = spaced(s, n, i, TB_UC_WHITE | TB_UC_N | word, true);
  if (e == i) return i;
  size_t end = tail & TAIL_ONE && e < n ? e + 1 : n;
  while (e < end && ((tail & TAIL_NEWLINES && newline_char(s[e])) || (tail & TAIL_SLASH && s[e] == '/'))) e++;
  return e;
}

static size_t llama3_like(const uint8_t *s, size_t n, size_t i, unsigned word, size_t digits, unsigned tail) {
  size_t e = contraction(s, n, i, true);
  if (e == i) e = led_word(s, n, i, word);
  if (e == i) e = run(s, n, i, TB_UC_N, digits);
  if (e == i) e = punct(s, n, i, word, tail);
  return e > i ? e : lines_or_blanks(s, n, i);
}

static size_t match_llama3(const uint8_t *s, size_t n, size_t i) {
  return llama3_like(s, n, i, TB_UC_L, 3, TAIL_NEWLINES);
}
static size_t match_qwen2(const uint8_t *s, size_t n, size_t i) {
  return llama3_like(s, n, i, TB_UC_L, 1, TAIL_NEWLINES);
}
static size_t match_minicpm5(const uint8_t *s, size_t n, size_t i) {
  return llama3_like(s, n, i, TB_UC_L, n, TAIL_NEWLINES);
}
static size_t match_seed_coder(const uint8_t *s, size_t n, size_t i) { return llama3_like(s, n, i, TB_UC_L, 1, 0); }
static size_t match_qwen35(const uint8_t *s, size_t n, size_t i) { return llama3_like(s, n, i, LM, 1, TAIL_NEWLINES); }

static size_t match_exaone_moe(const uint8_t *s, size_t n, size_t i) {
  size_t e = contraction(s, n, i, true);
  if (e > i) return e;
  size_t j = lead(s, i);
  if (j < n && is(s[j], TB_UC_L)) {
    for (;;) {
      j = run(s, n, j, LM, n);
      if (n - j < 2 || s[j] != ' ' || !is(s[j + 1], TB_UC_L)) return j;
      j++;
    }
  }
  e = run(s, n, i, TB_UC_N, 1);
  if (e == i) e = punct(s, n, i, TB_UC_L, TAIL_NEWLINES | TAIL_SLASH | TAIL_ONE);
  return e > i ? e : lines_or_blanks(s, n, i);
}

/* U*W+|U+W* with U letters outside a-z, W letters outside A-Z; i when there is neither. */
static size_t cased_word(const uint8_t *s, size_t n, size_t i) {
  size_t k = i;
  while (k < n && is(s[k], TB_UC_L) && !lower(s[k])) k++;
  size_t e = k;
  while (e < n && is(s[e], TB_UC_L) && !upper(s[e])) e++;
  if (e > k) return e;
  /* Nothing lower follows: the first form ends after the last letter without case, the second takes all. */
  for (size_t u = k; u > i; u--)
    if (!upper(s[u - 1])) return u;
  return k;
}

static size_t cased(const uint8_t *s, size_t n, size_t i, size_t digits, bool suffix) {
  size_t j = lead(s, i), e = cased_word(s, n, j);
  if (e > j) return suffix && e < n ? contraction(s, n, e, true) : e;
  e = run(s, n, i, TB_UC_N, digits);
  if (e == i) e = punct(s, n, i, TB_UC_L, TAIL_NEWLINES | TAIL_SLASH);
  return e > i ? e : lines_or_blanks(s, n, i);
}

static size_t match_tekken(const uint8_t *s, size_t n, size_t i) { return cased(s, n, i, 1, false); }
static size_t match_gpt4o(const uint8_t *s, size_t n, size_t i) { return cased(s, n, i, 3, true); }

static bool symbol(uint8_t c) { return is(c, TB_UC_P) || (is(c, TB_UC_S) && c != '~'); }

static size_t match_deepseek3(const uint8_t *s, size_t n, size_t i) {
  if (s[i] < 0x80 && is(s[i], TB_UC_P | TB_UC_S)) {
    size_t e = i + 1;
    while (e < n && (lower(s[e]) || upper(s[e]))) e++;
    if (e > i + 1) return e;
  }
  if (!newline_char(s[i]) && !is(s[i], TB_UC_L) && !symbol(s[i])) {
    size_t e = run(s, n, i + 1, LM, n);
    if (e > i + 1) return e;
  }
  size_t e = run(s, n, i, LM, n);
  if (e > i) return e;
  size_t j = i + (s[i] == ' ');
  for (e = j; e < n && symbol(s[e]);) e++;
  return e > j ? newlines(s, n, e) : lines_or_blanks(s, n, i);
}

static size_t (*const matchers[])(const uint8_t *s, size_t n, size_t i) = {
#define TB_STAGE(id, pattern, matcher) match_##matcher,
#include "io/pretokenize_stages.def"
#undef TB_STAGE
};

bool tb_pretok_own_find(enum tb_pretok_stage stage, const uint8_t *s, size_t n, size_t from, size_t *begin,
                        size_t *end) {
  for (size_t i = from; i < n; i++) {
    size_t e = matchers[stage](s, n, i);
    if (e == i) continue;
    *begin = i;
    *end = e;
    return true;
  }
  return false;
}
