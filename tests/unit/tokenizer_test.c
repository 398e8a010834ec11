/* Text to ids and back: vectors of real vocabularies (../shared/data, skipped where that is absent), and a small one made
 * here so that every rule is tested without them. */
#include "tests/check/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/support/count_alloc.h"
#include "tests/support/vocab_make.h"

#define BLANK "\xe2\x96\x81"
enum { PARSE = TB_TOKENIZE_SPECIAL_PARSE, ADD = TB_TOKENIZE_SPECIAL_ADD };

static tb_token id_of(const struct opened *o, const char *text) { return tb_tokenizer_find(o->t, text, strlen(text)); }

/* ----------------------------------------------------------------------------------------------- byte-level BPE */

static void test_bpe_merges(void **state) {
  (void)state;
  static struct vocab v;
  struct opened o;
  vocab_bpe(&v, "gpt-2");
  vocab_open(&o, &v, TB_PRETOK_BEST);
  assert_string_equal(vocab_pieces(&o, "", 0), "");
  assert_string_equal(vocab_pieces(&o, "the", 0), "the");
  /* "h e" has the lowest rank wherever it stands; "t he" needs its result. */
  assert_string_equal(vocab_pieces(&o, " theing thering", 0), " the|ing| the|r|ing");
  /* Of equal ranks the leftmost first: five a are aaaa and a. */
  assert_string_equal(vocab_pieces(&o, "aaaaa", 0), "aaaa|a");
  assert_string_equal(vocab_pieces(&o, "aaaaaaa", 0), "aaaa|aa|a");
  /* "o w" before "r o". */
  assert_string_equal(vocab_pieces(&o, "row", 0), "r|ow");
  assert_string_equal(vocab_pieces(&o, "12123 i'll", 0), "12|123| |i|'ll");
  /* Merges do not cross words. */
  assert_string_equal(vocab_pieces(&o, "h e the", 0), "h| |e| the");
  assert_string_equal(vocab_pieces(&o, "\xc3\xa9", 0), "\xc3|\xa9");
  vocab_close(&o);
}

static void test_bpe_odd_merges(void **state) {
  (void)state;
  static struct vocab v;
  struct opened o;
  vocab_bpe(&v, "gpt-2");
  v.merges[v.n_merges++] = "x y";   /* the result is no token: spelt in its characters again */
  v.merges[v.n_merges++] = "xy z";  /* neither is its left side, but the result is one */
  v.merges[v.n_merges++] = "q q";
  v.merges[v.n_merges++] = "h e";   /* a second time: the first rank counts */
  vocab_add(&v, "xyz", VOCAB_NORMAL, 0);
  vocab_add(&v, "qq", VOCAB_UNUSED, 0);
  vocab_open(&o, &v, TB_PRETOK_BEST);
  assert_string_equal(vocab_pieces(&o, "xy xyz axyxyzy", 0), "x|y| |xyz| a|x|y|xyz|y");
  assert_int_equal(id_of(&o, "xy"), -1);
  assert_string_equal(vocab_pieces(&o, "thehe", 0), "the|he");
  vocab_close(&o);

  /* A vocabulary without a token for some byte loses that byte, as in llama.cpp. */
  vocab_bpe(&v, "gpt-2");
  v.text['z'] = "removed";
  vocab_open(&o, &v, TB_PRETOK_BEST);
  assert_string_equal(vocab_pieces(&o, "azb", 0), "a|b");
  vocab_close(&o);
}

static void test_bpe_ignore_merges(void **state) {
  (void)state;
  static struct vocab v;
  struct opened o;
  static const char *const pre[] = {"gpt-2", "tekken"};
  for (int i = 0; i < 2; i++) {
    vocab_bpe(&v, pre[i]);
    vocab_add(&v, "wow", VOCAB_NORMAL, 0);
    vocab_add(&v, "\xc4\xa0wow", VOCAB_NORMAL, 0);
    vocab_add(&v, "END", VOCAB_CONTROL, 0);
    vocab_open(&o, &v, TB_PRETOK_BEST);
    assert_string_equal(vocab_pieces(&o, "wow wow wows", 0), i ? "wow| wow| |w|ow|s" : "w|ow| |w|ow| |w|ow|s");
    assert_string_equal(vocab_pieces(&o, "END", 0), "E|N|D"); /* a word never becomes a control token */
    vocab_close(&o);
  }
}

static void test_bpe_bytes(void **state) {
  (void)state;
  static struct vocab v;
  struct opened o;
  struct tb_rng rng = {7};
  static char text[300];
  static const char *const pre[] = {"gpt-2", "llama-bpe", "qwen2", "smollm", "falcon", "deepseek-llm", "gpt-4o"};
  for (size_t k = 0; k < sizeof pre / sizeof *pre; k++) {
    vocab_bpe(&v, pre[k]);
    vocab_open(&o, &v, k % 2 ? TB_PRETOK_OWN : TB_PRETOK_BEST);
    for (int i = 0; i < 400; i++) {
      size_t n = tb_rng_next(&rng) % sizeof text;
      for (size_t j = 0; j < n; j++) text[j] = (char)(tb_rng_next(&rng) & (i % 2 ? 0xff : 0x7f));
      vocab_round_trip(&o, text, n);
    }
    vocab_close(&o);
  }
}

/* ----------------------------------------------------------------------------------------------- SentencePiece */

static void test_spm_merges(void **state) {
  (void)state;
  static struct vocab v;
  struct opened o;
  vocab_spm(&v);
  vocab_open(&o, &v, TB_PRETOK_BEST);
  assert_string_equal(vocab_pieces(&o, "", 0), "");
  assert_string_equal(vocab_pieces(&o, "hello", 0), " hello");
  assert_string_equal(vocab_pieces(&o, "hello hello", 0), " hello| hello");
  /* bc has a better score than ab. */
  assert_string_equal(vocab_pieces(&o, "abc", 0), " a|bc");
  assert_string_equal(vocab_pieces(&o, "cab", 0), " |c|ab");
  /* " a" is better than "aa". */
  assert_string_equal(vocab_pieces(&o, "aaaaaa", 0), " a|aaaa|a");
  assert_string_equal(vocab_pieces(&o, "  a", 0), "  | a");
  /* A character without a token is its bytes, a token's text in U+2581 is a blank. */
  assert_string_equal(vocab_pieces(&o, "\xc3\xa9", 0), " |\xc3|\xa9");
  assert_string_equal(vocab_pieces(&o, "a" BLANK "a", 0), " a| a");
  assert_int_equal(tb_tokenizer_piece(o.t, id_of(&o, "<0x41>"), false, NULL, 0), 1);
  vocab_close(&o);
}

static void test_spm_flags(void **state) {
  (void)state;
  static struct vocab v;
  struct opened o;
  vocab_spm(&v);
  vocab_extra_bool(&v, "tokenizer.ggml.add_space_prefix", false);
  vocab_extra_bool(&v, "tokenizer.ggml.add_eos_token", true);
  vocab_open(&o, &v, TB_PRETOK_BEST);
  assert_string_equal(vocab_pieces(&o, "hello hello", ADD), "<s>|hello| hello|</s>");
  assert_string_equal(vocab_pieces(&o, "hello</s>hello", ADD | PARSE), "<s>|hello|</s>|hello|</s>");
  assert_false(tb_tokenizer_space_prefix(o.t));
  vocab_close(&o);

  vocab_spm(&v);
  vocab_extra_bool(&v, "tokenizer.ggml.remove_extra_whitespaces", true);
  vocab_open(&o, &v, TB_PRETOK_BEST);
  assert_string_equal(vocab_pieces(&o, "   hello   hello  ", ADD), "<s>| hello| hello");
  assert_string_equal(vocab_pieces(&o, "   ", 0), "");
  /* The dummy blank is put in front of each text, special tokens part texts. */
  assert_string_equal(vocab_pieces(&o, "hello</s>hello", PARSE), " hello|</s>| hello");
  vocab_close(&o);
}

/* "</" and "s>" are tokens, and so is what they make, but a user's text must not end the answer. */
static void test_spm_no_control(void **state) {
  (void)state;
  static struct vocab v;
  struct opened o;
  vocab_spm(&v);
  vocab_open(&o, &v, TB_PRETOK_BEST);
  assert_string_equal(vocab_pieces(&o, "</s>", 0), " |</|s>");
  assert_string_equal(vocab_pieces(&o, "</s>", PARSE), "</s>");
  assert_string_equal(vocab_pieces(&o, "<0x41>", PARSE), " |<|0|x|4|1|>");
  vocab_close(&o);
}

static void test_spm_unknown(void **state) {
  (void)state;
  static struct vocab v;
  struct opened o;
  vocab_spm(&v);
  for (int b = 0; b < 256; b++) v.text[3 + b] = ""; /* no byte tokens */
  vocab_open(&o, &v, TB_PRETOK_BEST);
  assert_string_equal(vocab_pieces(&o, "a\xc3\xa9zb", 0), " a|<unk>|<unk>|b");
  vocab_close(&o);
  /* A byte token may also be spelt as the byte itself. */
  v.text[3] = "\xc3";
  v.text[4] = "\xa9";
  vocab_open(&o, &v, TB_PRETOK_BEST);
  assert_string_equal(vocab_pieces(&o, "a\xc3\xa9", 0), " a||"); /* type BYTE, but no <0xXX>: no text */
  vocab_close(&o);
}

static void test_spm_bytes(void **state) {
  (void)state;
  static struct vocab v;
  struct opened o;
  struct tb_rng rng = {9};
  static char text[300];
  vocab_spm(&v);
  vocab_open(&o, &v, TB_PRETOK_BEST);
  for (int i = 0; i < 600; i++) {
    size_t n = tb_rng_next(&rng) % sizeof text;
    for (size_t j = 0; j < n; j++) text[j] = i % 2 ? (char)tb_rng_next(&rng) : "helo abc</s>"[tb_rng_next(&rng) % 12];
    /* U+2581 comes back as a blank: the one text that does not survive. */
    for (size_t j = 0; j + 2 < n; j++)
      if (memcmp(text + j, BLANK, 3) == 0) text[j] = 'a';
    vocab_round_trip(&o, text, n);
  }
  vocab_close(&o);
}

/* ---------------------------------------------------------------------------------------------- special tokens */

static void test_special(void **state) {
  (void)state;
  static struct vocab v;
  struct opened o;
  vocab_bpe(&v, "gpt-2");
  vocab_extra_u32(&v, "tokenizer.ggml.bos_token_id", 271);
  vocab_extra_u32(&v, "tokenizer.ggml.eos_token_id", 272);
  vocab_extra_bool(&v, "tokenizer.ggml.add_bos_token", true);
  vocab_open(&o, &v, TB_PRETOK_BEST);
  assert_int_equal(id_of(&o, "<|im_start|>"), 271);
  assert_string_equal(vocab_pieces(&o, "<|im_start|>the<|im_end|><|im_end|>", PARSE),
                      "<|im_start|>|the|<|im_end|>|<|im_end|>");
  assert_string_equal(vocab_pieces(&o, "<|im_end|>", 0), "<|||i|m|_|e|n|d|||>");
  /* User-defined tokens are text of the vocabulary: always parsed, the longest first. */
  assert_string_equal(vocab_pieces(&o, "<tool>y<tool>xx<tool", 0), "<tool>|y|<tool>x|x|<|t|o|o|l");
  assert_string_equal(vocab_pieces(&o, "the", ADD), "<|im_start|>|the");
  assert_string_equal(vocab_pieces(&o, "", ADD), "<|im_start|>");
  /* A cut-off one at the end, and one that only begins like another. */
  assert_string_equal(vocab_pieces(&o, "<|im_st", PARSE), "<|||i|m|_|s|t");
  char buf[4];
  assert_int_equal(tb_tokenizer_piece(o.t, 271, false, buf, sizeof buf), 0);
  assert_int_equal(tb_tokenizer_piece(o.t, 271, true, buf, sizeof buf), 12);
  assert_memory_equal(buf, "<|im", 4);
  assert_int_equal(tb_tokenizer_piece(o.t, -1, true, buf, sizeof buf), 0);
  assert_int_equal(tb_tokenizer_piece(o.t, (tb_token)v.n, true, buf, sizeof buf), 0);
  assert_int_equal(tb_tokenizer_find(o.t, "<|im_end|> ", 11), -1);
  assert_int_equal(tb_tokenizer_size(o.t), v.n);
  assert_int_equal(tb_tokenizer_bos(o.t), 271);
  assert_int_equal(tb_tokenizer_eos(o.t), 272);
  vocab_close(&o);
}

static void test_rstrip(void **state) {
  (void)state;
  static struct vocab v;
  struct opened o;
  vocab_spm(&v);
  vocab_add(&v, "<|user|>", VOCAB_CONTROL, 0);
  v.name = "Phi-3 Mini";
  vocab_open(&o, &v, TB_PRETOK_BEST);
  assert_string_equal(vocab_pieces(&o, "<|user|> \n\thello", PARSE), "<|user|>| hello");
  assert_string_equal(vocab_pieces(&o, "<s> hello", PARSE), "<s>| | hello");
  vocab_close(&o);
  v.name = "Llama";
  vocab_open(&o, &v, TB_PRETOK_BEST);
  assert_string_equal(vocab_pieces(&o, "<|user|> \nhello", PARSE), "<|user|>|  |\n|hello");
  vocab_close(&o);
}

static void test_ends(void **state) {
  (void)state;
  static struct vocab v;
  struct opened o;
  vocab_bpe(&v, "gpt-2");
  unsigned first = v.n;
  static const char *const texts[] = {"<|eot_id|>", "<|endoftext|>", "<end_of_turn>", "<|file_sep|>", "</s>", "<other>",
                                      "<eos>", "<mine>", "<yours>"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) vocab_add(&v, texts[i], VOCAB_NORMAL, 0);
  vocab_extra_u32(&v, "tokenizer.ggml.eos_token_id", first + 7);
  vocab_extra_u32(&v, "tokenizer.ggml.eot_token_id", first + 8);
  vocab_extra_u32(&v, "tokenizer.ggml.eom_token_id", 65);
  vocab_open(&o, &v, TB_PRETOK_BEST);
  unsigned count = 0;
  for (unsigned i = 0; i < v.n; i++) count += tb_tokenizer_ends(o.t, (tb_token)i);
  assert_int_equal(count, 10); /* all but <other>, and <|im_end|>, and 65 */
  assert_false(tb_tokenizer_ends(o.t, id_of(&o, "<other>")));
  assert_true(tb_tokenizer_ends(o.t, id_of(&o, "<|im_end|>")));
  assert_true(tb_tokenizer_ends(o.t, 65));
  assert_false(tb_tokenizer_ends(o.t, -1));
  assert_false(tb_tokenizer_ends(o.t, (tb_token)v.n));
  /* What looks like an end is a control token, whatever its type in the file. */
  assert_string_equal(vocab_pieces(&o, "<eos>", 0), "<|e|o|s|>");
  vocab_close(&o);

  /* Channels: <|end|> only ends a message where <|return|> and <|call|> exist, and is shown. */
  for (int i = 0; i < 2; i++) {
    vocab_bpe(&v, "gpt-4o");
    vocab_add(&v, "<|end|>", VOCAB_CONTROL, 0);
    vocab_add(&v, "<|channel|>", VOCAB_CONTROL, 0);
    if (i) vocab_add(&v, "<|return|>", VOCAB_CONTROL, 0), vocab_add(&v, "<|call|>", VOCAB_CONTROL, 0);
    vocab_open(&o, &v, TB_PRETOK_BEST);
    assert_int_equal(tb_tokenizer_ends(o.t, id_of(&o, "<|end|>")), !i);
    assert_int_equal(tb_tokenizer_piece(o.t, id_of(&o, "<|end|>"), false, NULL, 0), i ? 7 : 0);
    assert_int_equal(tb_tokenizer_piece(o.t, id_of(&o, "<|channel|>"), false, NULL, 0), 11);
    assert_string_equal(vocab_pieces(&o, "<|channel|>", 0), "<|||c|h|a|n|n|e|l|||>");
    vocab_close(&o);
  }
}

/* ---------------------------------------------------------------------------------------------------- long words */

/* A word of one repeated character: the heap keeps it near-linear, and parts bound the memory beside the lists of ids. */
static void test_long_words(void **state) {
  (void)state;
  static struct vocab v;
  struct opened o;
  enum { N = 1 << 20 };
  char *text = malloc(N);
  assert_non_null(text);
  static const char *const fill[] = {"a", " ", "\n", "1", "\xcc\x81", "\xe6\xbc\xa2", "a ", "aA", "\xff"};
  for (int spm = 0; spm < 2; spm++) {
    if (spm) vocab_spm(&v);
    else vocab_bpe(&v, "llama-bpe");
    vocab_open(&o, &v, TB_PRETOK_BEST);
    for (size_t k = 0; k < sizeof fill / sizeof *fill; k++) {
      size_t w = strlen(fill[k]);
      for (size_t i = 0; i < N; i++) text[i] = fill[k][i % w];
      vocab_round_trip(&o, text, N / w * w);
    }
    vocab_close(&o);
  }
  free(text);
}

static void test_memory(void **state) {
  (void)state;
  static struct vocab v;
  struct count_alloc c;
  struct gguf_make m;
  struct tb_gguf *g;
  struct tb_tokenizer *t;
  struct tb_tokens ids = {0};
  struct tb_error err;
  enum { N = 1 << 20 };
  count_alloc_init(&c);
  vocab_bpe(&v, "gpt-2");
  m = vocab_file(&v);
  assert_int_equal(tb_gguf_open_memory(&g, m.data, m.n, &c.hooks, &err), TB_OK);
  assert_int_equal(tb_tokenizer_create(&t, g, &c.hooks, &err), TB_OK);
  char *text = malloc(N);
  memset(text, 'a', N);
  c.peak = c.live;
  size_t before = c.live;
  assert_int_equal(tb_tokenizer_encode(t, text, N, 0, &ids, &err), TB_OK);
  assert_int_equal(ids.n, N / 4);
  /* Class bytes (1), ids (4 per token, while growing twice that and a half), one part (4 and 16 per byte of 64 KiB,
   * growing), the regular expression library. */
  assert_in_range(c.peak - before, N, N + 10 * (N / 4) + 60 * 65536 + 200000);
  tb_free(&c.hooks, ids.data);
  assert_int_equal(c.live, before);
  tb_tokenizer_free(t);
  tb_gguf_free(g);
  make_free(&m);
  free(text);
  assert_int_equal(c.blocks, 0);
}

/* ----------------------------------------------------------------------------------------------------- real ones */

static bool data_file(char path[4096], const char *name, const char *suffix) {
  const char *dir = getenv("TB_SHARED_DATA");
  snprintf(path, 4096, "%s/tokenizers/ggml-vocab-%s.gguf%s", dir && *dir ? dir : TB_SOURCE_DIR "/../shared/data", name, suffix);
  return access(path, R_OK) == 0;
}

static char *read_text(const char *name, const char *suffix) {
  char path[4096];
  assert_true(data_file(path, name, suffix));
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  char *s = calloc(1, 1 << 16);
  assert_in_range(fread(s, 1, (1 << 16) - 1, f), 1, (1 << 16) - 2);
  fclose(f);
  return s;
}

/* Compares with one line of numbers; returns the start of the next line. */
static const char *expect_line(const char *line, const struct tb_tokens *ids, const char *text, size_t n) {
  size_t i = 0;
  for (;; i++) {
    while (*line == ' ') line++;
    if (*line == '\n' || *line == '\0') break;
    char *end;
    long want = strtol(line, &end, 10);
    if (i >= ids->n || ids->data[i] != want) fail_msg("'%.*s': id %zu is not %ld", (int)n, text, i, want);
    line = end;
  }
  if (i != ids->n) fail_msg("'%.*s': %zu ids instead of %zu", (int)n, text, ids->n, i);
  return *line ? line + 1 : line;
}

static void check_vectors(const char *name, enum tb_pretok_engine engine) {
  static const char separator[] = "\n__ggml_vocab_test__\n";
  char path[4096];
  struct tb_gguf *g;
  struct tb_tokenizer *t;
  struct tb_tokens ids = {0};
  struct tb_error err;
  data_file(path, name, "");
  if (tb_gguf_open(&g, path, &tb_system_allocator, &err) != TB_OK) fail_msg("%s", err.text);
  enum tb_status s = tb_tokenizer_create_with(&t, g, engine, &tb_system_allocator, &err);
  if (s != TB_OK && engine == TB_PRETOK_PCRE2) {
    print_message("SKIPPED: %s with PCRE2: %s\n", name, err.text);
    tb_gguf_free(g);
    return;
  }
  if (s != TB_OK) fail_msg("%s", err.text);
  char *texts = read_text(name, ".inp"), *numbers = read_text(name, ".out");
  const char *line = numbers, *text = texts;
  unsigned count = 0;
  for (const char *end; (end = strstr(text, separator)); text = end + strlen(separator), count++) {
    ids.n = 0;
    assert_int_equal(tb_tokenizer_encode(t, text, (size_t)(end - text), 0, &ids, &err), TB_OK);
    line = expect_line(line, &ids, text, (size_t)(end - text));
  }
  assert_int_equal(count, 46);
  assert_int_equal(*line, '\0');
  free(texts);
  free(numbers);
  tb_free(&tb_system_allocator, ids.data);
  tb_tokenizer_free(t);
  tb_gguf_free(g);
}

static void test_vectors(void **state) {
  (void)state;
  static const char *const names[] = {"gpt-2", "llama-spm", "refact", "starcoder", "falcon"};
  char path[4096];
  if (!data_file(path, names[0], "")) {
    print_message("SKIPPED: no shared test data (set TB_SHARED_DATA to its folder)\n");
    skip();
  }
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    check_vectors(names[i], TB_PRETOK_OWN);
    check_vectors(names[i], TB_PRETOK_PCRE2);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bpe_merges),     cmocka_unit_test(test_bpe_odd_merges), cmocka_unit_test(test_bpe_ignore_merges),
      cmocka_unit_test(test_bpe_bytes),      cmocka_unit_test(test_spm_merges),     cmocka_unit_test(test_spm_flags),
      cmocka_unit_test(test_spm_no_control), cmocka_unit_test(test_spm_unknown),    cmocka_unit_test(test_spm_bytes),
      cmocka_unit_test(test_special),        cmocka_unit_test(test_rstrip),         cmocka_unit_test(test_ends),
      cmocka_unit_test(test_long_words),     cmocka_unit_test(test_memory),         cmocka_unit_test(test_vectors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
