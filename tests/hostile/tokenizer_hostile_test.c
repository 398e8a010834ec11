/* Vocabularies that are wrong, or meant to harm: each gives a typed error that names its key, or a tokenizer that takes
 * any text. */
#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/support/count_alloc.h"
#include "tests/support/vocab_make.h"

/* ------------------------------------------------------------------------------------------------- wrong fields */

#define KEY "tokenizer.ggml."
static const float zero[700];

static void scalar_tokens(struct gguf_make *m) { make_kv_u32(m, KEY "tokens", 3); }
static void number_tokens(struct gguf_make *m) { make_array(m, KEY "tokens", TB_GGUF_F32, 300, zero, 300 * sizeof *zero); }
static void no_tokens(struct gguf_make *m) { make_strings(m, KEY "tokens", 0, NULL); }
static void few_types(struct gguf_make *m) { make_array(m, KEY "token_type", TB_GGUF_I32, 3, zero, 12); }
static void text_types(struct gguf_make *m) { make_kv_str(m, KEY "token_type", "normal"); }
static void float_types(struct gguf_make *m) { make_array(m, KEY "token_type", TB_GGUF_F32, 700, zero, sizeof zero); }
static void few_scores(struct gguf_make *m) { make_array(m, KEY "scores", TB_GGUF_F32, 3, zero, 12); }
static void int_scores(struct gguf_make *m) { make_array(m, KEY "scores", TB_GGUF_I32, 700, zero, sizeof zero); }
static void number_merges(struct gguf_make *m) { make_array(m, KEY "merges", TB_GGUF_F32, 3, zero, 12); }
static void one_text_merge(struct gguf_make *m) { make_strings(m, KEY "merges", 2, (const char *const[]){"a b", "ab"}); }
static void half_merge(struct gguf_make *m) { make_strings(m, KEY "merges", 1, (const char *const[]){"ab "}); }
static void empty_merge(struct gguf_make *m) { make_strings(m, KEY "merges", 1, (const char *const[]){""}); }
static void model_bert(struct gguf_make *m) { make_kv_str(m, KEY "model", "bert"); }
static void model_number(struct gguf_make *m) { make_kv_u32(m, KEY "model", 1); }
static void pre_new(struct gguf_make *m) { make_kv_str(m, KEY "pre", "gpt-2 phi-2"); }
static void pre_empty(struct gguf_make *m) { make_kv_str(m, KEY "pre", ""); }
static void bos_far(struct gguf_make *m) { make_kv_u32(m, KEY "bos_token_id", 700); }
static void eos_none(struct gguf_make *m) { make_kv_u32(m, KEY "eos_token_id", UINT32_MAX); }
static void eot_text(struct gguf_make *m) { make_kv_str(m, KEY "eot_token_id", "</s>"); }
static void fim_far(struct gguf_make *m) { make_kv_u32(m, KEY "fim_pad_token_id", 70000); }
static void bos_flag_number(struct gguf_make *m) { make_kv_f32(m, KEY "add_bos_token", 1); }
static void nan_score(struct gguf_make *m) {
  float scores[700] = {0};
  scores[260] = NAN;
  make_array(m, KEY "scores", TB_GGUF_F32, 700, scores, sizeof scores);
}
static void inf_score(struct gguf_make *m) {
  float scores[700] = {0};
  scores[0] = -INFINITY;
  make_array(m, KEY "scores", TB_GGUF_F32, 700, scores, sizeof scores);
}

static const struct {
  bool spm;
  const char *omit; /* also what the error must name, unless `named` is set */
  void (*instead)(struct gguf_make *m);
  enum tb_status status;
  const char *named;
} wrong[] = {
    {false, KEY "model", NULL, TB_E_FORMAT, NULL},
    {false, KEY "model", model_bert, TB_E_UNSUPPORTED, "'bert'"},
    {false, KEY "model", model_number, TB_E_FORMAT, NULL},
    {false, KEY "pre", pre_new, TB_E_UNSUPPORTED, "'gpt-2 phi-2'"},
    {false, KEY "pre", pre_empty, TB_E_UNSUPPORTED, "''"},
    {false, KEY "tokens", NULL, TB_E_FORMAT, NULL},
    {true, KEY "tokens", scalar_tokens, TB_E_FORMAT, NULL},
    {true, KEY "tokens", number_tokens, TB_E_FORMAT, NULL},
    {true, KEY "tokens", no_tokens, TB_E_FORMAT, NULL},
    {true, KEY "token_type", few_types, TB_E_FORMAT, NULL},
    {true, KEY "token_type", text_types, TB_E_FORMAT, NULL},
    {true, KEY "token_type", float_types, TB_E_FORMAT, NULL},
    {true, KEY "scores", few_scores, TB_E_FORMAT, NULL},
    {true, KEY "scores", int_scores, TB_E_FORMAT, NULL},
    {true, KEY "scores", nan_score, TB_E_FORMAT, KEY "scores[260]"},
    {true, KEY "scores", inf_score, TB_E_FORMAT, KEY "scores[0]"},
    {false, KEY "merges", NULL, TB_E_FORMAT, NULL},
    {false, KEY "merges", number_merges, TB_E_FORMAT, NULL},
    {false, KEY "merges", one_text_merge, TB_E_FORMAT, KEY "merges[1]"},
    {false, KEY "merges", half_merge, TB_E_FORMAT, KEY "merges[0]"},
    {false, KEY "merges", empty_merge, TB_E_FORMAT, KEY "merges[0]"},
    {false, KEY "bos_token_id", bos_far, TB_E_FORMAT, NULL},
    {true, KEY "eos_token_id", eos_none, TB_E_FORMAT, NULL},
    {true, KEY "eot_token_id", eot_text, TB_E_FORMAT, NULL},
    {true, KEY "fim_pad_token_id", fim_far, TB_E_FORMAT, NULL},
    {true, KEY "add_bos_token", bos_flag_number, TB_E_FORMAT, NULL},
};

static void test_wrong_fields(void **state) {
  (void)state;
  static struct vocab v;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    if (wrong[i].spm) vocab_spm(&v);
    else vocab_bpe(&v, "gpt-2");
    v.omit = wrong[i].omit;
    v.instead = wrong[i].instead;
    struct gguf_make m = vocab_file(&v);
    struct tb_error err = {0};
    enum tb_status s = vocab_try(&m, &err);
    const char *named = wrong[i].named ? wrong[i].named : wrong[i].omit;
    if (s != wrong[i].status || !strstr(err.text, named)) fail_msg("case %zu: status %d, '%s'", i, s, err.text);
    make_free(&m);
  }
}

/* What is absent has a meaning. */
static void test_absent(void **state) {
  (void)state;
  static struct vocab v;
  static const char *const keys[] = {KEY "pre", KEY "token_type", KEY "scores"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    if (i == 2) vocab_spm(&v);
    else vocab_bpe(&v, "gpt-2");
    v.omit = keys[i];
    struct opened o;
    vocab_open(&o, &v, TB_PRETOK_BEST);
    vocab_round_trip(&o, "hello <tool> the", 16);
    vocab_close(&o);
  }
}

/* --------------------------------------------------------------------------------------------------- odd texts */

/* Equal texts: the later id is found, both can be shown. Empty texts are never found. */
static void test_duplicates(void **state) {
  (void)state;
  static struct vocab v;
  struct opened o;
  vocab_bpe(&v, "gpt-2");
  unsigned again = vocab_add(&v, "the", VOCAB_NORMAL, 0);
  vocab_add(&v, "", VOCAB_CONTROL, 0);
  vocab_add(&v, "", VOCAB_USER, 0);
  unsigned tool = vocab_add(&v, "<tool>", VOCAB_USER, 0);
  vocab_open(&o, &v, TB_PRETOK_BEST);
  assert_int_equal(tb_tokenizer_find(o.t, "the", 3), again);
  assert_int_equal(tb_tokenizer_find(o.t, "<tool>", 6), tool);
  assert_int_equal(tb_tokenizer_find(o.t, "", 0), -1);
  assert_string_equal(vocab_pieces(&o, "the<tool>", TB_TOKENIZE_SPECIAL_PARSE), "the|<tool>");
  assert_int_equal(tb_tokenizer_piece(o.t, 257, false, NULL, 0), 3);
  vocab_close(&o);
}

/* Texts with NUL, broken UTF-8, halves of characters that merges put together. */
static void test_broken_texts(void **state) {
  (void)state;
  static struct vocab v;
  struct opened o;
  struct tb_rng rng = {5};
  for (int spm = 0; spm < 2; spm++) {
    if (spm) vocab_spm(&v);
    else vocab_bpe(&v, "llama-bpe");
    v.text[30] = "\xc3";
    v.text[31] = "\xa9";
    v.text[32] = "\xe2\x96";
    v.text[33] = "\x81";
    v.text[34] = "\xff\xfe";
    v.text[35] = "<0x";
    v.text[36] = "<0xZZ>";
    v.type[35] = v.type[36] = VOCAB_BYTE;
    v.type[40] = -5;
    v.type[41] = 99;
    vocab_add(&v, "\xe2\x96\x81\xe2", VOCAB_NORMAL, -1);
    if (!spm) {
      v.merges[v.n_merges++] = "\xc3 \xa9";
      v.merges[v.n_merges++] = "\xe2\x96 \x81";
      v.merges[v.n_merges++] = "  \xff";
      v.merges[v.n_merges++] = "a a"; /* a second time */
    }
    vocab_open(&o, &v, TB_PRETOK_BEST);
    char text[256];
    struct tb_tokens ids = {0};
    for (int i = 0; i < 2000; i++) {
      size_t n = tb_rng_next(&rng) % sizeof text;
      for (size_t k = 0; k < n; k++) text[k] = i % 2 ? (char)tb_rng_next(&rng) : "\xc3\xa9\xe2\x96\x81\xff\xfe<0x a"[tb_rng_next(&rng) % 12];
      ids.n = 0;
      assert_int_equal(tb_tokenizer_encode(o.t, text, n, 3, &ids, NULL), TB_OK);
      for (size_t k = 0; k < ids.n; k++) {
        assert_in_range(ids.data[k], 0, v.n - 1);
        char piece[16];
        tb_tokenizer_piece(o.t, ids.data[k], true, piece, sizeof piece);
      }
    }
    tb_free(&tb_system_allocator, ids.data);
    vocab_close(&o);
  }
}

/* A special token is looked for at every position of a text: its length has a limit. */
static void test_long_special(void **state) {
  (void)state;
  static struct vocab v;
  static char text[TB_SPECIAL_MAX + 2];
  struct tb_error err;
  for (int over = 0; over < 2; over++) {
    memset(text, 'a', TB_SPECIAL_MAX + (size_t)over);
    vocab_bpe(&v, "gpt-2");
    vocab_add(&v, text, VOCAB_CONTROL, 0);
    struct gguf_make m = vocab_file(&v);
    assert_int_equal(vocab_try(&m, &err), over ? TB_E_LIMIT : TB_OK);
    if (over) assert_non_null(strstr(err.text, KEY "tokens["));
    make_free(&m);
  }
}

/* Texts that crowd into one place: a table far too small stands for a table full of collisions. It refuses in time and
 * still finds all it took. */
static void test_collisions(void **state) {
  (void)state;
  enum { N = 3000 };
  static char texts[N][9];
  static struct tb_str strs[N];
  const struct tb_texts all = {.more = strs};
  struct tb_map map = {0};
  struct tb_pair_map pairs = {0};
  for (int i = 0; i < N; i++) {
    snprintf(texts[i], sizeof *texts, "%08d", i);
    strs[i] = (struct tb_str){texts[i], 8};
  }
  assert_true(tb_map_init(&map, &tb_system_allocator, 900));
  assert_true(tb_map_init(&pairs.map, &tb_system_allocator, 900));
  pairs.all = tb_alloc(&tb_system_allocator, N, sizeof *pairs.all);
  assert_non_null(pairs.all);
  uint32_t n = 0, n_pairs = 0;
  while (n < N && tb_text_map_put(&map, &all, n)) n++;
  while (n_pairs < N && tb_pair_map_put(&pairs, n_pairs, (struct tb_pair){n_pairs, 7, n_pairs})) n_pairs++;
  assert_in_range(n, 901, 2047);
  assert_in_range(n_pairs, 901, 2047);
  for (uint32_t i = 0; i < n; i++) assert_int_equal(tb_text_map_find(&map, &all, texts[i], 8), i);
  for (uint32_t i = 0; i < n_pairs; i++) assert_int_equal(tb_pair_map_find(&pairs, i, 7), i);
  tb_free(&tb_system_allocator, map.slots);
  tb_free(&tb_system_allocator, pairs.all);
  tb_free(&tb_system_allocator, pairs.map.slots);
}

/* --------------------------------------------------------------------------------------------- damaged anywhere */

/* Each byte of the metadata changed in turn, and many at random: whatever still opens must take any text. */
static bool use(const struct tb_gguf *g) {
  static const char text[] = "hello the \xc3\xa9 12345 <|im_end|> aaaaaaa \xe2\x96\x81 \xff <tool>x </s>\n\n  x";
  struct tb_tokenizer *t;
  struct tb_tokens ids = {0};
  if (tb_tokenizer_create(&t, g, &tb_system_allocator, NULL) != TB_OK) return false;
  assert_int_equal(tb_tokenizer_encode(t, text, sizeof text, 3, &ids, NULL), TB_OK);
  for (size_t i = 0; i < ids.n; i++) {
    char piece[64];
    assert_in_range(ids.data[i], 0, tb_tokenizer_size(t) - 1);
    tb_tokenizer_piece(t, ids.data[i], true, piece, sizeof piece);
  }
  tb_free(&tb_system_allocator, ids.data);
  tb_tokenizer_free(t);
  return true;
}

static void test_damaged(void **state) {
  (void)state;
  static struct vocab v;
  struct tb_rng rng = {11};
  bool brief = getenv("QEMU_CPU") || getenv("TB_TEST_SHORT");
  for (int spm = 0; spm < 2; spm++) {
    if (spm) vocab_spm(&v);
    else vocab_bpe(&v, "default");
    struct gguf_make m = vocab_file(&v);
    unsigned usable = 0, refused = 0;
    for (size_t i = 0; i < m.n + 2000; i += brief ? 29 : 1) {
      struct gguf_make c = make_copy(&m);
      unsigned changes = i < m.n ? 1 : 1 + (unsigned)(tb_rng_next(&rng) % 4);
      for (unsigned k = 0; k < changes; k++)
        c.data[i < m.n ? i : tb_rng_next(&rng) % m.n] ^= (unsigned char)(1u << tb_rng_next(&rng) % 8);
      struct tb_gguf *g;
      if (tb_gguf_open_memory(&g, c.data, c.n, &tb_system_allocator, NULL) == TB_OK) {
        usable += use(g);
        tb_gguf_free(g);
      } else {
        refused++;
      }
      make_free(&c);
    }
    assert_in_range(usable, m.n / (brief ? 300 : 8), m.n + 2000);
    assert_in_range(refused, 1, m.n + 2000);
    make_free(&m);
  }
}

/* ------------------------------------------------------------------------------------------------ out of memory */

/* Every allocation of opening and encoding fails in turn, once and for good: an error, nothing leaked, ids untouched. */
static bool round_with(struct count_alloc *c, const struct gguf_make *m) {
  struct tb_gguf *g;
  struct tb_tokenizer *t = NULL;
  struct tb_tokens ids = {0};
  struct tb_error err;
  bool ok = false;
  assert_int_equal(tb_gguf_open_memory(&g, m->data, m->n, &tb_system_allocator, &err), TB_OK);
  enum tb_status s = tb_tokenizer_create(&t, g, &c->hooks, &err);
  if (s == TB_OK) {
    s = tb_tokenizer_encode(t, "hello the aaaa 123 <tool>", 25, 3, &ids, &err);
    if (s != TB_OK) assert_int_equal(ids.n, 0);
    ok = s == TB_OK && ids.n > 0;
  }
  if (s != TB_OK) assert_int_equal(s, TB_E_NOMEM);
  tb_free(&c->hooks, ids.data);
  tb_tokenizer_free(t);
  tb_gguf_free(g);
  assert_int_equal(c->blocks, 0);
  return ok;
}

static void test_out_of_memory(void **state) {
  (void)state;
  static struct vocab v;
  for (int kind = 0; kind < 4; kind++) {
    if (kind % 2) vocab_spm(&v);
    else vocab_bpe(&v, "llama-bpe");
    if (kind == 0) v.merges[v.n_merges++] = "x y"; /* symbols beyond the tokens */
    struct gguf_make m = vocab_file(&v);
    struct count_alloc c;
    for (size_t at = 1;; at++) {
      count_alloc_init(&c);
      c.fail_at = at;
      c.fail_after = kind >= 2;
      bool ok = round_with(&c, &m);
      if (c.calls < at) {
        assert_true(ok);
        break;
      }
      assert_in_range(at, 1, 400);
    }
    make_free(&m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_wrong_fields), cmocka_unit_test(test_absent),       cmocka_unit_test(test_duplicates),
      cmocka_unit_test(test_broken_texts), cmocka_unit_test(test_long_special), cmocka_unit_test(test_collisions),
      cmocka_unit_test(test_damaged),      cmocka_unit_test(test_out_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
