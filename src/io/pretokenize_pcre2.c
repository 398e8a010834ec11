/* The PCRE2 engine. The library works in 8-bit mode without UTF on class bytes: \s and \p{...} are written out as sets of
 * bytes before an expression is compiled, so its own Unicode tables are never asked. No JIT: it would need executable
 * pages that hardened systems refuse, and merging costs far more than splitting. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>
#include "io/pretokenize_impl.h"
#include "io/unicode.h"

static const char *const patterns[] = {
#define TB_STAGE(id, pattern, matcher) pattern,
#include "io/pretokenize_stages.def"
#undef TB_STAGE
};

struct tb_pretok_pcre2 {
  const struct tb_allocator *a;
  pcre2_general_context *general;
  pcre2_code *code[TB_PRETOK_STAGES];
};

struct scratch {
  const struct tb_allocator *a;
  pcre2_match_context *limits;
  pcre2_match_data *match;
};

/* Sets that an expression may name: classes with a property of `mask`, less the ASCII range [but, but_last]. */
struct set {
  const char *name;
  unsigned mask;
  char but, but_last;
};
static const struct set sets[] = {
    {"s", TB_UC_WHITE, 0, 0}, {"L", TB_UC_L, 0, 0}, {"M", TB_UC_M, 0, 0},
    {"N", TB_UC_N, 0, 0}, {"P", TB_UC_P, 0, 0}, {"Symbol", TB_UC_S, '~', '~'},
    {"NotLower", TB_UC_L, 'a', 'z'}, {"NotUpper", TB_UC_L, 'A', 'Z'}, {"Cased", TB_UC_CASED, 0, 0},
    {"WidePunct", TB_UC_WIDE_PUNCT, 0, 0}, {"CJK", TB_UC_CJK, 0, 0}, {"HanKana", TB_UC_HAN_KANA, 0, 0},
    {"Stop", TB_UC_STOP, 0, 0},
};

static bool has(const struct set *set, unsigned c) {
  return tb_unicode_props[c] & set->mask && !(set->but && c >= (unsigned)set->but && c <= (unsigned)set->but_last);
}

struct out {
  char *text;
  size_t n, cap;
};

static void put(struct out *o, const char *s, size_t n) {
  if (o->cap - o->n > n) memcpy(o->text + o->n, s, n);
  else n = o->cap - o->n; /* full: the caller sees n == cap */
  o->n += n;
}

/* The members of a set (those outside it when `inverse`) as \xHH-\xHH ranges. */
static void put_set(struct out *o, const struct set *set, bool inverse) {
  for (unsigned c = 0; c < 256; c++) {
    if (has(set, c) == inverse) continue;
    unsigned first = c;
    while (c + 1 < 256 && has(set, c + 1) != inverse) c++;
    char range[16];
    put(o, range, (size_t)snprintf(range, sizeof range, "\\x%02x-\\x%02x", first, c));
  }
}

static const struct set *set_named(const char *name, size_t len) {
  for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
    if (strlen(sets[i].name) == len && memcmp(sets[i].name, name, len) == 0) return &sets[i];
  return NULL;
}

/* Reads the set that starts at p ("\s", "\S", "\p{...}"): bytes of the notation, 0 when there is none. */
static size_t read_set(const char *p, const struct set **set, bool *inverse) {
  if (p[0] != '\\') return 0;
  *inverse = p[1] == 'S';
  if (p[1] == 's' || p[1] == 'S') {
    *set = &sets[0];
    return 2;
  }
  if (p[1] != 'p' || p[2] != '{') return 0;
  size_t len = strcspn(p + 3, "}");
  *set = set_named(p + 3, len);
  return *set ? len + 4 : 0;
}

static void write_out(const char *p, struct out *o) {
  bool in_class = false;
  while (*p) {
    const struct set *set;
    bool inverse;
    size_t len = read_set(p, &set, &inverse);
    if (len > 0) {
      if (!in_class) put(o, "[", 1);
      put_set(o, set, inverse);
      if (!in_class) put(o, "]", 1);
    } else {
      if (*p == '[') in_class = true;
      if (*p == ']') in_class = false;
      len = *p == '\\' ? 2 : 1;
      put(o, p, len);
    }
    p += len;
  }
}

static void *hook_alloc(PCRE2_SIZE n, void *user) { return tb_alloc(user, n, 1); }
static void hook_free(void *block, void *user) { tb_free(user, block); }

static enum tb_status compile(struct tb_pretok_pcre2 *p, unsigned i, const char *pattern, struct tb_error *err) {
  struct out o = {.cap = 16384};
  o.text = tb_alloc(p->a, o.cap, 1);
  if (!o.text) return tb_fail(err, TB_E_NOMEM, "pre-tokenizer: out of memory");
  write_out(pattern, &o);
  int code = 0;
  PCRE2_SIZE offset = 0;
  pcre2_compile_context *c = pcre2_compile_context_create(p->general);
  if (c && o.n < o.cap)
    p->code[i] = pcre2_compile((PCRE2_SPTR)o.text, o.n, PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_UTF, &code, &offset, c);
  pcre2_compile_context_free(c);
  tb_free(p->a, o.text);
  if (p->code[i]) return TB_OK;
  /* The expressions are ours, so memory is the only thing that can be wrong in a tested build. */
  return tb_fail(err, TB_E_NOMEM, "pre-tokenizer: PCRE2 error %d at %zu of expression %u", code, (size_t)offset, i);
}

enum tb_status tb_pretok_pcre2_create(struct tb_pretok_pcre2 **out, const struct tb_pretok_rule *rule,
                                      const struct tb_allocator *a, struct tb_error *err) {
  struct tb_pretok_pcre2 *p = tb_calloc(a, 1, sizeof *p);
  if (!p) return tb_fail(err, TB_E_NOMEM, "pre-tokenizer: out of memory");
  *out = p; /* the caller frees it on failure, too */
  p->a = a;
  union {
    const struct tb_allocator *in;
    void *out;
  } user = {.in = a}; /* the library's hooks want a pointer without const */
  p->general = pcre2_general_context_create(hook_alloc, hook_free, user.out);
  if (!p->general) return tb_fail(err, TB_E_NOMEM, "pre-tokenizer: out of memory");
  enum tb_status s = TB_OK;
  for (unsigned i = 0; i < rule->n_stages && s == TB_OK; i++) s = compile(p, i, patterns[rule->stages[i]], err);
  return s;
}

void tb_pretok_pcre2_free(struct tb_pretok_pcre2 *p) {
  if (!p) return;
  for (unsigned i = 0; i < TB_PRETOK_STAGES; i++) pcre2_code_free(p->code[i]);
  pcre2_general_context_free(p->general);
  tb_free(p->a, p);
}

void *tb_pretok_pcre2_scratch(const struct tb_pretok_pcre2 *p) {
  struct scratch *s = tb_calloc(p->a, 1, sizeof *s);
  if (!s) return NULL;
  s->a = p->a;
  s->limits = pcre2_match_context_create(p->general);
  s->match = pcre2_match_data_create(1, p->general);
  if (s->limits && s->match) return s;
  tb_pretok_pcre2_scratch_free(s);
  return NULL;
}

void tb_pretok_pcre2_scratch_free(void *scratch) {
  struct scratch *s = scratch;
  if (!s) return;
  pcre2_match_data_free(s->match);
  pcre2_match_context_free(s->limits);
  tb_free(s->a, s);
}

bool tb_pretok_pcre2_find(const struct tb_pretok_pcre2 *p, void *scratch, unsigned stage, const uint8_t *s, size_t n,
                          size_t from, size_t *begin, size_t *end, bool *failed) {
  struct scratch *x = scratch;
  /* No expression needs more than a few steps per character, so that this only stops what would be a mistake of ours. */
  uint64_t steps = 1000 + 16 * (uint64_t)(n - from);
  pcre2_set_match_limit(x->limits, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
  int rc = pcre2_match(p->code[stage], s, n, from, 0, x->match, x->limits);
  *failed = rc < 0 && rc != PCRE2_ERROR_NOMATCH;
  if (rc < 0) return false;
  const PCRE2_SIZE *span = pcre2_get_ovector_pointer(x->match);
  *begin = span[0];
  *end = span[1];
  return true;
}
