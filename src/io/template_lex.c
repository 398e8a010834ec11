/* Lexer of chat templates: Jinja2's with trim_blocks and lstrip_blocks. */
#include "io/template_code.h"
#include "io/unicode_case.h"

#include <string.h>

#define FAIL(...) tb_fail(err, TB_E_FORMAT, __VA_ARGS__)

/* ------------------------------------------------------------------------------------------------------- white space */

/* Length of the white space at `at`. */
static size_t space_at(const struct tb_tpl_lexer *lx, size_t at) {
  size_t from = at, used;
  while (at < lx->n && tb_ch_space(tb_ch_decode(lx->s + at, lx->n - at, &used))) at += used;
  return at - from;
}

/* `to` moved back over white space, not before `from`. */
static size_t rstrip(const struct tb_tpl_lexer *lx, size_t from, size_t to) {
  while (to > from) {
    size_t at = to - 1, used;
    while (at > from && to - at < 4 && ((unsigned char)lx->s[at] & 0xc0) == 0x80) at--;
    if (!tb_ch_space(tb_ch_decode(lx->s + at, to - at, &used)) || used != to - at) break;
    to = at;
  }
  return to;
}

/* lstrip_blocks: when only white space is between the line's start and a tag at `to`, the text ends at that start. */
static size_t lstrip_block(const struct tb_tpl_lexer *lx, size_t from, size_t to) {
  size_t start = to;
  while (start > from && lx->s[start - 1] != '\n') start--;
  bool at_line_start = start > from || from == 0 || lx->s[from - 1] == '\n';
  return at_line_start && rstrip(lx, start, to) == start ? start : to;
}

static void advance(struct tb_tpl_lexer *lx, size_t to) {
  for (; lx->at < to; lx->at++) lx->line += lx->s[lx->at] == '\n';
}

static bool is_at(const struct tb_tpl_lexer *lx, size_t at, const char *what) {
  size_t n = strlen(what);
  return lx->n - at >= n && memcmp(lx->s + at, what, n) == 0;
}

/* Length of a tag end (`close` is "%}", "#}" or "}}") at `at` with its sign and what it swallows; 0: none is there. */
static size_t tag_end(const struct tb_tpl_lexer *lx, size_t at, const char *close, bool trims) {
  if (at >= lx->n) return 0;
  bool plus = lx->s[at] == '+' && trims, minus = lx->s[at] == '-';
  size_t p = at + (plus || minus);
  if (!is_at(lx, p, close)) return 0;
  p += 2;
  if (minus) p += space_at(lx, p);
  else if (!plus && trims && p < lx->n && lx->s[p] == '\n') p++;
  return p - at;
}

/* --------------------------------------------------------------------------------------------------------------- text */

/* Length of "{% raw %}" at `at` (which holds "{%"), or 0. */
static size_t raw_begin(const struct tb_tpl_lexer *lx, size_t at) {
  size_t p = at + 2;
  if (p < lx->n && (lx->s[p] == '-' || lx->s[p] == '+')) p++;
  p += space_at(lx, p);
  if (!is_at(lx, p, "raw")) return 0;
  p += 3;
  p += space_at(lx, p);
  if (is_at(lx, p, "%}")) return p + 2 - at;
  if (!is_at(lx, p, "-%}")) return 0;
  p += 3;
  return p + space_at(lx, p) - at;
}

/* Length of "{% endraw %}" at `at`, or 0. */
static size_t raw_end(const struct tb_tpl_lexer *lx, size_t at) {
  size_t p = at + 2;
  if (p < lx->n && (lx->s[p] == '-' || lx->s[p] == '+')) p++;
  p += space_at(lx, p);
  if (!is_at(lx, p, "endraw")) return 0;
  p += 6;
  p += space_at(lx, p);
  size_t close = tag_end(lx, p, "%}", true);
  return close ? p + close - at : 0;
}

/* Where text that runs from `from` to a tag at `to` ends, given the tag's sign. */
static size_t text_end(const struct tb_tpl_lexer *lx, size_t from, size_t to, bool variable) {
  char sign = to + 2 < lx->n ? lx->s[to + 2] : '\0';
  if (sign == '-') return rstrip(lx, from, to);
  if (sign == '+' || variable) return to;
  return lstrip_block(lx, from, to);
}

static enum tb_status data_token(struct tb_tpl_lexer *lx, struct tb_tpl_tok *tok, size_t text_to, size_t next) {
  *tok = (struct tb_tpl_tok){.type = TB_TOK_DATA, .line = lx->line, .s = lx->s + lx->at, .n = text_to - lx->at};
  advance(lx, next);
  return TB_OK;
}

/* The text of a raw block; the lexer stands behind its begin tag. */
static enum tb_status lex_raw(struct tb_tpl_lexer *lx, struct tb_tpl_tok *tok, struct tb_error *err) {
  for (size_t p = lx->at; p + 1 < lx->n; p++) {
    size_t len = lx->s[p] == '{' && lx->s[p + 1] == '%' ? raw_end(lx, p) : 0;
    if (!len) continue;
    lx->state = TB_LEX_TEXT;
    return data_token(lx, tok, text_end(lx, lx->at, p, false), p + len);
  }
  return FAIL("line %u: missing end of raw block", lx->line);
}

static enum tb_status skip_comment(struct tb_tpl_lexer *lx, struct tb_error *err) {
  for (size_t p = lx->at; p < lx->n; p++) {
    size_t len = tag_end(lx, p, "#}", true);
    if (!len) continue;
    advance(lx, p + len);
    return TB_OK;
  }
  return FAIL("line %u: missing end of comment", lx->line);
}

/* Text up to the next tag, and the tag's begin. */
static enum tb_status lex_text(struct tb_tpl_lexer *lx, struct tb_tpl_tok *tok, struct tb_error *err) {
  size_t p = lx->at;
  for (;; p++) {
    const char *brace = p < lx->n ? memchr(lx->s + p, '{', lx->n - p) : NULL;
    if (!brace || brace + 1 == lx->s + lx->n) return data_token(lx, tok, lx->n, lx->n);
    p = (size_t)(brace - lx->s);
    if (strchr("%{#", brace[1]) && brace[1]) break;
  }
  char kind = lx->s[p + 1];
  size_t end = text_end(lx, lx->at, p, kind == '{'), raw = kind == '%' ? raw_begin(lx, p) : 0;
  char sign = p + 2 < lx->n ? lx->s[p + 2] : '\0';
  size_t behind = raw ? p + raw : p + 2 + (sign == '-' || sign == '+');
  data_token(lx, tok, end, p);
  lx->pending_line = lx->line;
  advance(lx, behind);
  if (kind == '#') return skip_comment(lx, err);
  lx->state = raw ? TB_LEX_RAW : kind == '%' ? TB_LEX_BLOCK : TB_LEX_VAR;
  if (!raw) lx->pending = kind == '%' ? TB_TOK_BLOCK_BEGIN : TB_TOK_VAR_BEGIN;
  lx->n_open = 0;
  return TB_OK;
}

/* -------------------------------------------------------------------------------------------------------- inside tags */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

/* Length of digits with single underscores between them. */
static size_t digits(const struct tb_tpl_lexer *lx, size_t at) {
  size_t p = at;
  while (p < lx->n && (is_digit(lx->s[p]) || (lx->s[p] == '_' && p > at && p + 1 < lx->n && is_digit(lx->s[p + 1]))))
    p++;
  return p - at;
}

static size_t exponent(const struct tb_tpl_lexer *lx, size_t at) {
  if (at >= lx->n || lower(lx->s[at]) != 'e') return 0;
  size_t p = at + 1;
  if (p < lx->n && (lx->s[p] == '+' || lx->s[p] == '-')) p++;
  size_t d = digits(lx, p);
  return d ? p + d - at : 0;
}

/* Length of a float at `at`, or 0. */
static size_t float_at(const struct tb_tpl_lexer *lx, size_t at) {
  size_t d = digits(lx, at), p = at + d, fraction = 0;
  if (!d || (at > 0 && lx->s[at - 1] == '.')) return 0;
  if (p < lx->n && lx->s[p] == '.') fraction = digits(lx, p + 1);
  if (fraction) p += 1 + fraction;
  size_t e = exponent(lx, p);
  return fraction || e ? p + e - at : 0;
}

static bool in_base(char c, int base) {
  c = lower(c);
  return base == 16 ? is_digit(c) || (c >= 'a' && c <= 'f') : c >= '0' && c < '0' + base;
}

static size_t prefixed_int(const struct tb_tpl_lexer *lx, size_t at, int base) {
  size_t p = at + 2, last = 0;
  for (; p < lx->n && (in_base(lx->s[p], base) || (lx->s[p] == '_' && lx->s[p - 1] != '_')); p++)
    if (lx->s[p] != '_') last = p + 1 - at;
  return last;
}

static size_t int_at(const struct tb_tpl_lexer *lx, size_t at) {
  if (lx->s[at] != '0') return digits(lx, at);
  char x = at + 1 < lx->n ? lower(lx->s[at + 1]) : '\0';
  size_t n = x == 'b' ? prefixed_int(lx, at, 2) : x == 'o' ? prefixed_int(lx, at, 8) : x == 'x' ? prefixed_int(lx, at, 16) : 0;
  if (n) return n;
  size_t p = at + 1;
  while (p < lx->n && (lx->s[p] == '0' || (lx->s[p] == '_' && p + 1 < lx->n && lx->s[p + 1] == '0'))) p++;
  return p - at;
}

static size_t name_at(const struct tb_tpl_lexer *lx, size_t at) {
  size_t p = at, used;
  while (p < lx->n) {
    uint32_t cp = tb_ch_decode(lx->s + p, lx->n - p, &used);
    if (cp != '_' && !(tb_ch_class(cp) & TB_CH_ALNUM)) break;
    p += used;
  }
  return p - at;
}

/* Length of a quoted string with its quotes, or 0 when it does not end. */
static size_t string_at(const struct tb_tpl_lexer *lx, size_t at) {
  char quote = lx->s[at];
  for (size_t p = at + 1; p < lx->n; p++) {
    if (lx->s[p] == quote) return p + 1 - at;
    if (lx->s[p] == '\\') p++;
  }
  return 0;
}

/* An operator with its length; 0 when no operator is there. */
static unsigned operator_at(const struct tb_tpl_lexer *lx, size_t at, size_t *n) {
  static const char two[][3] = {"//", "**", "==", "!=", ">=", "<="};
  for (size_t i = 0; i < sizeof two / sizeof two[0]; i++)
    if (is_at(lx, at, two[i])) return *n = 2, TB_OP2(two[i][0], two[i][1]);
  char c = lx->s[at];
  *n = 1;
  return c && strchr("+-/*%~[](){}><=.:|,;", c) ? (unsigned char)c : 0;
}

static enum tb_status balance(struct tb_tpl_lexer *lx, char c, struct tb_error *err) {
  if (strchr("([{", c)) {
    if (lx->n_open == TB_TPL_BALANCE) return tb_fail(err, TB_E_LIMIT, "line %u: too many open brackets", lx->line);
    lx->open[lx->n_open++] = c == '(' ? ')' : c == '[' ? ']' : '}';
  } else if (strchr(")]}", c)) {
    if (!lx->n_open) return FAIL("line %u: unexpected '%c'", lx->line, c);
    char due = lx->open[--lx->n_open];
    if (due != c) return FAIL("line %u: unexpected '%c', expected '%c'", lx->line, c, due);
  }
  return TB_OK;
}

static enum tb_status lex_tag(struct tb_tpl_lexer *lx, struct tb_tpl_tok *tok, struct tb_error *err) {
  advance(lx, lx->at + space_at(lx, lx->at));
  *tok = (struct tb_tpl_tok){.line = lx->line, .s = lx->s + lx->at};
  if (lx->at == lx->n) return TB_OK; /* EOF: the parser says what was missing */
  bool block = lx->state == TB_LEX_BLOCK;
  size_t at = lx->at, n = lx->n_open ? 0 : tag_end(lx, at, block ? "%}" : "}}", block);
  char c = lx->s[at];
  if (n) {
    tok->type = block ? TB_TOK_BLOCK_END : TB_TOK_VAR_END;
    lx->state = TB_LEX_TEXT;
  } else if (is_digit(c)) {
    n = float_at(lx, at);
    tok->type = n ? TB_TOK_FLOAT : TB_TOK_INT;
    if (!n) n = int_at(lx, at);
  } else if ((n = name_at(lx, at))) {
    tok->type = TB_TOK_NAME;
  } else if (c == '\'' || c == '"') {
    tok->type = TB_TOK_STRING;
    if (!(n = string_at(lx, at))) return FAIL("line %u: string without end", lx->line);
  } else if ((tok->op = operator_at(lx, at, &n))) {
    tok->type = TB_TOK_OP;
    enum tb_status st = n == 1 ? balance(lx, c, err) : TB_OK;
    if (st) return st;
  } else {
    return FAIL("line %u: unexpected character '%c'", lx->line, c);
  }
  tok->n = n;
  if (tok->type == TB_TOK_STRING) tok->s++, tok->n -= 2;
  advance(lx, at + n);
  return TB_OK;
}

enum tb_status tb_tpl_lex(struct tb_tpl_lexer *lx, struct tb_tpl_tok *tok, struct tb_error *err) {
  if (lx->pending != TB_TOK_EOF) {
    *tok = (struct tb_tpl_tok){.type = lx->pending, .line = lx->pending_line};
    lx->pending = TB_TOK_EOF;
    return TB_OK;
  }
  if (lx->state == TB_LEX_VAR || lx->state == TB_LEX_BLOCK) return lex_tag(lx, tok, err);
  do {
    if (lx->state == TB_LEX_TEXT && lx->at == lx->n) {
      *tok = (struct tb_tpl_tok){.type = TB_TOK_EOF, .line = lx->line};
      return TB_OK;
    }
    enum tb_status st = lx->state == TB_LEX_RAW ? lex_raw(lx, tok, err) : lex_text(lx, tok, err);
    if (st) return st;
  } while (!tok->n && lx->pending == TB_TOK_EOF);
  return tok->n ? TB_OK : tb_tpl_lex(lx, tok, err); /* no text: the pending tag begin, one level deep */
}

/* ------------------------------------------------------------------------------------------------------------ strings */

/* Value of up to `max` digits of a base at s[*i]; moves *i behind them. */
static uint32_t escape_digits(const struct tb_tpl_tok *tok, size_t *i, int base, size_t max, size_t *n) {
  uint32_t v = 0;
  for (*n = 0; *n < max && *i < tok->n && in_base(tok->s[*i], base); (*n)++, (*i)++) {
    char c = lower(tok->s[*i]);
    v = v * (uint32_t)base + (uint32_t)(is_digit(c) ? c - '0' : c - 'a' + 10);
  }
  return v;
}

/* An escape at s[*i] (behind the backslash) that stands for one code point; false when it is malformed. */
static bool numeric_escape(const struct tb_tpl_tok *tok, size_t *i, uint32_t *cp) {
  char c = tok->s[*i];
  size_t n, want = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (!want) return *cp = escape_digits(tok, i, 8, 3, &n), true;
  ++*i;
  *cp = escape_digits(tok, i, 16, want, &n);
  return n == want && *cp <= 0x10ffff && (*cp < 0xd800 || *cp > 0xdfff);
}

enum tb_status tb_tpl_unescape(struct tb_tpl_arena *a, const struct tb_tpl_tok *tok, struct tb_tpl_str *out,
                               struct tb_error *err) {
  static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
  struct tb_tpl_text text;
  tb_tpl_text_init(&text, a);
  bool ok = tb_tpl_text_reserve(&text, tok->n + 1);
  for (size_t i = 0; ok && i < tok->n;) {
    const char *slash = memchr(tok->s + i, '\\', tok->n - i), *named;
    size_t plain = slash ? (size_t)(slash - tok->s) - i : tok->n - i;
    ok = tb_tpl_text_put(&text, tok->s + i, plain, true);
    i += plain + 1;
    if (!ok || !slash || i >= tok->n) continue; /* the lexer lets no string end in a lone backslash */
    char c = tok->s[i], buf[4];
    uint32_t cp;
    if (c == '\n') {
      i++;
    } else if (c && (named = strchr(from, c))) {
      ok = tb_tpl_text_put(&text, &to[named - from], 1, true);
      i++;
    } else if (c == 'N') {
      return tb_fail(err, TB_E_UNSUPPORTED, "line %u: \\N escapes are not supported", tok->line);
    } else if (in_base(c, 8) || c == 'x' || c == 'u' || c == 'U') {
      if (!numeric_escape(tok, &i, &cp)) return FAIL("line %u: malformed \\%c escape", tok->line, c);
      ok = tb_tpl_text_put(&text, buf, tb_ch_encode(cp, buf), true);
    } else {
      ok = tb_tpl_text_put(&text, "\\", 1, true); /* an unknown escape stands for itself */
    }
  }
  *out = tb_tpl_text_str(&text);
  return ok ? TB_OK : tb_fail(err, a->failed, "no memory for a template string");
}
