/* The pre-tokenizers: what each rule cuts, that both engines cut the same, and that the Unicode table under them is
 * sound. The ids that follow from the cuts were compared with llama.cpp's by tests/tools/peer_tokens.py. */
#include "tests/check/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/pretokenize.h"
#include "io/unicode.h"

static struct tb_pretok *open_rule(const struct tb_pretok_rule *rule, enum tb_pretok_engine engine) {
  struct tb_pretok *p = NULL;
  struct tb_error err;
  enum tb_status s = tb_pretok_create(&p, rule, engine, &tb_system_allocator, &err);
  if (s == TB_E_UNSUPPORTED && engine == TB_PRETOK_PCRE2) return NULL;
  if (s != TB_OK) fail_msg("%s: %s", rule->names, err.text);
  return p;
}

/* The pieces of a text, joined by '|'. */
static const char *cut(const struct tb_pretok *p, const char *text, size_t n) {
  static char out[8192];
  static uint8_t cls[4096];
  struct tb_pretok_walk w = {0};
  assert_true(n <= sizeof cls);
  size_t chars = tb_unicode_classify(text, n, cls), used = 0, at = 0, seen = 0;
  assert_int_equal(tb_pretok_start(&w, p, cls, chars, NULL), TB_OK);
  for (size_t k; (k = tb_pretok_next(&w)) > 0;) {
    if (used) out[used++] = '|';
    for (; k > 0; k--, seen++) {
      size_t width = tb_unicode_width((unsigned char)text[at], cls[seen]);
      memcpy(out + used, text + at, width);
      used += width;
      at += width;
    }
  }
  tb_pretok_stop(&w);
  assert_int_equal(at, n);
  assert_int_equal(seen, chars);
  out[used] = '\0';
  return out;
}

static const struct {
  const char *pre, *text, *pieces;
} cases[] = {
    {"gpt-2", "I'll don'T  go\n\n 12345 a_b!?\tx  ", "I|'ll| don|'|T| | go|\n\n| 12345| a|_|b|!?|\t|x|  "},
    {"gpt-2", "caf\u00e9 \u4f60\u597d\u3002e\u0301\u3000\u00bd", "caf\u00e9| \u4f60\u597d|\u3002|e|\u0301|\u3000|\u00bd"},
    {"smollm", "in 2024, 3.14", "in| |2|0|2|4|,| |3|.|1|4"},
    {"refact", "x12 y", "x|1|2| y"},
    {"starcoder", "  12", "  |1|2"},
    {"falcon", "a+b= 12345.5 `x`  y", "a|+|b|=| |123|45|.|5| |`|x|`| | y"},
    {"default", "a 12345 <b>  $5", "a| |123|45| |<|b|>|  |$|5"},
    {"llama-bpe", "I'LL we're 12345 a_b!?\n\n  x\t\ty (z) \r\n \n", "I|'LL| we|'re| |123|45| a|_b|!?\n\n| | x|\t|\ty| (|z|)| \r\n \n"},
    {"qwen2", "I'LL 123 $x", "I|'LL| |1|2|3| $|x"},
    {"qwen2", "e\u0301t\u00e9", "e|\u0301t\u00e9"},
    {"qwen35", "e\u0301t\u00e9 \u0915\u0940 1", "e\u0301t\u00e9| \u0915\u0940| |1"},
    {"minicpm5", "a1234 b", "a|123|4| b"},
    {"seed-coder", "a!\n\nb 12", "a|!|\n\n|b| |1|2"},
    {"bailingmoe2", "a!\n\nb 12", "a|!\n\n|b| |1|2"},
    {"exaone-moe", "one two  three 12 x!\n\ny", "one two| | three| |1|2| x|!\n|\n|y"},
    {"tekken", "HTMLParser iPhone don't 123 a//\n x", "HTMLParser| i|Phone| don|'t| |1|2|3| a|//\n| x"},
    {"tekken", "ABC\u0416DEf \u0416\u0417", "ABC\u0416DEf| \u0416\u0417"},
    {"tekken", "aB\u0416C ", "a|B\u0416|C| "},
    {"gpt-4o", "HTMLParser's DON'T 12345 a//\n x", "HTMLParser's| DON'T| |123|45| a|//\n| x"},
    {"deepseek-llm", "caf\u00e9 na\u00efve 12345\n\u6f22\u5b57\u304b x\uff01  ",
     "caf|\u00e9| na|\u00ef|ve| |12345|\n|\u6f22\u5b57\u304b| x|\uff01|  "},
    {"deepseek-coder", "def f(x): 12\n", "def| f|(|x|):| |1|2|\n"},
    {"deepseek-v3", "x 12345 \u6f22\u5b57abc(def) ~/a ~\u00e9", "x| |123|45| |\u6f22\u5b57|abc|(def|)| |~|/a| |~\u00e9"},
    {"hunyuan-dense", "e\u0301t ?!\n\ny", "e\u0301t| ?!\n\n|y"},
    {"bloom", "Hello, world (x) 12", "Hello|,| world| (|x|)| 12"},
    {"viking", "no 12!", "no| |1|2|!"},
    {"command-r", "a'b", "a|'|b"},
};

static void test_cuts(void **state) {
  (void)state;
  unsigned wrong = 0;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct tb_pretok_rule *rule = tb_pretok_find(cases[i].pre, strlen(cases[i].pre));
    if (!rule) fail_msg("no rule %s", cases[i].pre);
    for (int e = TB_PRETOK_OWN; e <= TB_PRETOK_PCRE2; e++) {
      struct tb_pretok *p = open_rule(rule, (enum tb_pretok_engine)e);
      if (!p) continue;
      const char *got = cut(p, cases[i].text, strlen(cases[i].text));
      if (strcmp(got, cases[i].pieces) != 0 && ++wrong)
        print_error("%s, engine %d: '%s' gives\n  '%s', not\n  '%s'\n", cases[i].pre, e, cases[i].text, got, cases[i].pieces);
      tb_pretok_free(p);
    }
  }
  assert_int_equal(wrong, 0);
}

static void test_names(void **state) {
  (void)state;
  assert_null(tb_pretok_find("gpt", 3));
  assert_null(tb_pretok_find("", 0));
  assert_null(tb_pretok_find("gpt-2 phi-2", 11));
  assert_null(tb_pretok_find("llama-bpe\0", 10));
  size_t n = 0;
  for (const struct tb_pretok_rule *r; (r = tb_pretok_rule_at(n)); n++) {
    assert_in_range(r->n_stages, 1, TB_PRETOK_STAGES);
    for (const char *p = r->names; *p; p += strcspn(p, " "), p += strspn(p, " "))
      assert_ptr_equal(tb_pretok_find(p, strcspn(p, " ")), r);
  }
  assert_in_range(n, 15, 40);
}

/* ------------------------------------------------------------------------------------------------- both engines */

static const struct {
  uint32_t first, last;
} ranges[] = {{'a', 'z'}, {'a', 'z'}, {'A', 'Z'}, {'0', '9'}, {'0', '9'}, {'!', '/'}, {':', '@'}, {'[', '`'}, {'{', 0x7f},
              {0, 0x20}, {0x80, 0xff}, {0x100, 0x24f}, {0x300, 0x36f}, {0x370, 0x52f}, {0x900, 0x97f}, {0xe01, 0xe5b},
              {0x2000, 0x206f}, {0x2070, 0x2bff}, {0x3000, 0x30ff}, {0x4e00, 0x9fff}, {0xac00, 0xd7ff}, {0xff01, 0xffee},
              {0x10400, 0x1044f}, {0x1d7ce, 0x1d7ff}, {0x1f300, 0x1faff}, {0, 0x10ffff}};
static const char *const snippets[] = {"'s", "'ll", "'RE", "'d", " ", "  ", "\n", "\r\n", "\t", " \n", "\u3000", "\u00a0", "~",
                                       "//", "\u0301", "123", "\xff", "\xe2\x82", "\xc0\x80", "\xed\xa0\x80", "Ab", "bA"};

static size_t random_text(struct tb_rng *rng, char *out, size_t cap) {
  size_t n = 0, pieces = 1 + tb_rng_next(rng) % 24;
  for (size_t i = 0; i < pieces && n + 64 < cap; i++) {
    size_t k = tb_rng_next(rng) % (sizeof ranges / sizeof *ranges + sizeof snippets / sizeof *snippets);
    size_t times = 1 + (tb_rng_next(rng) % 3 == 0 ? tb_rng_next(rng) % 6 : 0);
    for (size_t j = 0; j < times; j++) {
      if (k < sizeof ranges / sizeof *ranges) {
        n += tb_utf8_encode(ranges[k].first + (uint32_t)(tb_rng_next(rng) % (ranges[k].last - ranges[k].first + 1)), out + n);
      } else {
        const char *s = snippets[k - sizeof ranges / sizeof *ranges];
        memcpy(out + n, s, strlen(s));
        n += strlen(s);
      }
    }
  }
  return n;
}

static void test_engines_agree(void **state) {
  (void)state;
  unsigned strings = getenv("QEMU_CPU") || getenv("TB_TEST_SHORT") ? 300 : 10000;
  static char text[2048], first[8192];
  const struct tb_pretok_rule *rule;
  for (size_t r = 0; (rule = tb_pretok_rule_at(r)); r++) {
    struct tb_pretok *own = open_rule(rule, TB_PRETOK_OWN), *pcre2 = open_rule(rule, TB_PRETOK_PCRE2);
    if (!pcre2) {
      tb_pretok_free(own);
      print_message("SKIPPED: this build has no PCRE2 to compare with\n");
      skip();
    }
    struct tb_rng rng = {r + 1};
    for (unsigned i = 0; i < strings; i++) {
      size_t n = random_text(&rng, text, sizeof text);
      snprintf(first, sizeof first, "%s", cut(own, text, n));
      const char *second = cut(pcre2, text, n);
      if (strcmp(first, second) != 0) fail_msg("%s: own '%s', PCRE2 '%s'", rule->names, first, second);
    }
    tb_pretok_free(own);
    tb_pretok_free(pcre2);
  }
}

/* Long runs of what each expression could look at again and again: a quadratic one would take hours here. */
static void test_long_runs(void **state) {
  (void)state;
  static const char *const units[] = {"a", "A", " ", "\n", " \n", "1", "!", "\x01", "\x95", "a ", "'", "~", "\xc3\xa9", "aA",
                                      "Ax", "1a"};
  enum { N = 400000 };
  uint8_t *cls = malloc(N);
  assert_non_null(cls);
  const struct tb_pretok_rule *rule;
  unsigned shorter = getenv("QEMU_CPU") || getenv("TB_TEST_SHORT") ? 10 : 1;
  for (size_t r = 0; (rule = tb_pretok_rule_at(r)); r++) {
    size_t pieces[2] = {0};
    for (int e = 0; e < 2; e++) {
      struct tb_pretok *p = open_rule(rule, e ? TB_PRETOK_PCRE2 : TB_PRETOK_OWN);
      for (size_t u = 0; p && u < sizeof units / sizeof *units; u++) {
        struct tb_pretok_walk w = {0};
        size_t len = strlen(units[u]), n = N / shorter, sum = 0;
        for (size_t i = 0; i < n; i++) cls[i] = (uint8_t)units[u][i % len];
        cls[n - 1] = 'x'; /* what follows decides about a run of blanks */
        assert_int_equal(tb_pretok_start(&w, p, cls, n, NULL), TB_OK);
        for (size_t k; (k = tb_pretok_next(&w)) > 0; pieces[e]++) sum += k;
        tb_pretok_stop(&w);
        assert_int_equal(sum, n);
      }
      if (!p) pieces[1] = pieces[0];
      tb_pretok_free(p);
    }
    assert_int_equal(pieces[0], pieces[1]);
  }
  free(cls);
}

/* ----------------------------------------------------------------------------------------------------- Unicode */

static void test_utf8(void **state) {
  (void)state;
  char out[4];
  uint32_t cp;
  for (uint32_t c = 0; c <= 0x10ffff; c++) {
    size_t n = tb_utf8_encode(c, out);
    bool surrogate = c >= 0xd800 && c < 0xe000;
    assert_int_equal(tb_utf8_decode((unsigned char *)out, n, &cp), surrogate ? 0 : n);
    if (!surrogate) assert_int_equal(cp, c);
    if (n > 1) assert_int_equal(tb_utf8_decode((unsigned char *)out, n - 1, &cp), 0);
    uint8_t cls[4];
    assert_int_equal(tb_unicode_classify(out, n, cls), surrogate ? 3 : 1);
    if (!surrogate) {
      assert_int_equal(cls[0], tb_unicode_class(c));
      assert_int_equal(tb_unicode_width((unsigned char)out[0], cls[0]), n);
    }
  }
  static const char *const wrong[] = {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80", "\xff", "\xe2\x28\xa1"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    assert_int_equal(tb_utf8_decode((const unsigned char *)wrong[i], strlen(wrong[i]), &cp), 0);
}

static void test_classes(void **state) {
  (void)state;
  static const struct {
    uint32_t cp;
    unsigned props;
  } known[] = {{'a', TB_UC_L}, {'Z', TB_UC_L}, {'7', TB_UC_N}, {'!', TB_UC_P}, {'$', TB_UC_S}, {'~', TB_UC_S}, {' ', TB_UC_WHITE},
               {'\n', TB_UC_WHITE}, {0x1c, 0}, {0x85, TB_UC_WHITE}, {0xa0, TB_UC_WHITE}, {0x200b, 0}, {0xaa, TB_UC_L},
               {0xbd, TB_UC_N}, {0x301, TB_UC_M}, {0x903, TB_UC_M}, {0x660, TB_UC_N}, {0x2028, TB_UC_WHITE}, {0x3000, TB_UC_WHITE},
               {0x4e00, TB_UC_L}, {0x2160, TB_UC_N}, {0x20ac, TB_UC_S}, {0x1f600, TB_UC_S}, {0xfffd, TB_UC_S}, {0xe000, 0},
               {0x2ebf0, TB_UC_L} /* Unicode 15.1 */, {0x378, 0} /* unassigned */, {0x10ffff, 0}};
  const unsigned general = TB_UC_L | TB_UC_M | TB_UC_N | TB_UC_P | TB_UC_S | TB_UC_WHITE;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if ((tb_unicode_props[tb_unicode_class(known[i].cp)] & general) != known[i].props)
      fail_msg("U+%04X has properties %#x", (unsigned)known[i].cp, tb_unicode_props[tb_unicode_class(known[i].cp)]);
  assert_int_equal(tb_unicode_props[tb_unicode_invalid], tb_unicode_props[tb_unicode_class(0xfffd)]);
  /* Every code point has at most one of the general properties. */
  for (uint32_t c = 0; c <= 0x10ffff; c++) {
    unsigned p = tb_unicode_props[tb_unicode_class(c)] & general;
    assert_int_equal(p & (p - 1), 0);
  }
}

/* Every byte has a character of its own, and back. */
static void test_byte_alphabet(void **state) {
  (void)state;
  bool seen[0x144] = {false};
  for (unsigned b = 0; b < 256; b++) {
    uint32_t c = tb_byte_to_char((unsigned char)b);
    assert_in_range(c, '!', 0x143);
    assert_false(seen[c]);
    seen[c] = true;
    assert_int_equal(tb_char_to_byte(c), b);
  }
  assert_int_equal(tb_byte_to_char(' '), 0x120);
  assert_int_equal(tb_byte_to_char('\n'), 0x10a);
  assert_int_equal(tb_byte_to_char(0xad), 0x143);
  assert_int_equal(tb_char_to_byte(' '), -1);
  assert_int_equal(tb_char_to_byte(0xad), -1);
  assert_int_equal(tb_char_to_byte(0x144), -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cuts), cmocka_unit_test(test_names),   cmocka_unit_test(test_engines_agree),
      cmocka_unit_test(test_long_runs), cmocka_unit_test(test_utf8), cmocka_unit_test(test_classes),
      cmocka_unit_test(test_byte_alphabet),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
