#include "tests/support/vocab_make.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define SP "\xc4\xa0" /* how byte-level BPE spells a space */

unsigned vocab_add(struct vocab *v, const char *text, int32_t type, float score) {
  assert_true(v->n < sizeof v->text / sizeof *v->text);
  v->text[v->n] = text;
  v->type[v->n] = type;
  v->score[v->n] = score;
  return v->n++;
}

void vocab_merge(struct vocab *v, const char *line) {
  assert_true(v->n_merges < sizeof v->merges / sizeof *v->merges);
  v->merges[v->n_merges++] = line;
  char joined[64], *end = joined;
  for (const char *p = line; *p; p++)
    if (*p != ' ') *end++ = *p;
  *end = '\0';
  for (unsigned i = 0; i < v->n; i++)
    if (strcmp(v->text[i], joined) == 0) return;
  assert_true(strlen(joined) < sizeof v->room[0]);
  memcpy(v->room[v->n], joined, strlen(joined) + 1);
  vocab_add(v, v->room[v->n], VOCAB_NORMAL, 0);
}

/* GPT-2's list: printable bytes as they are, the others numbered from U+0100 as they come. */
static void add_byte_level(struct vocab *v) {
  unsigned next = 0x100;
  for (unsigned b = 0; b < 256; b++) {
    bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
    unsigned cp = printable ? b : next++;
    char *s = v->room[v->n];
    if (cp < 0x80) s[0] = (char)cp, s[1] = '\0';
    else s[0] = (char)(0xc0 | cp >> 6), s[1] = (char)(0x80 | (cp & 0x3f)), s[2] = '\0';
    vocab_add(v, s, VOCAB_NORMAL, 0);
  }
}

void vocab_bpe(struct vocab *v, const char *pre) {
  static const char *const merges[] = {"h e", "t he", SP " the", "i n", "in g", SP " " SP, "1 2", "12 3", "a a", "aa aa",
                                       "l l", "' ll", "o w", "r o", SP " a"};
  memset(v, 0, sizeof *v);
  v->model = "gpt2";
  v->pre = pre;
  add_byte_level(v);
  for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) vocab_merge(v, merges[i]);
  vocab_add(v, "<|im_start|>", VOCAB_CONTROL, 0);
  vocab_add(v, "<|im_end|>", VOCAB_CONTROL, 0);
  vocab_add(v, "<tool>", VOCAB_USER, 0);
  vocab_add(v, "<tool>x", VOCAB_USER, 0);
}

void vocab_spm(struct vocab *v) {
  static const struct {
    const char *text;
    float score;
  } words[] = {{"\xe2\x96\x81", -1}, {"a", -2}, {"b", -3}, {"c", -4}, {"h", -5}, {"e", -6}, {"l", -7}, {"o", -8},
               {"s", -9}, {"<", -9}, {"/", -9}, {">", -9}, {"ab", -20}, {"bc", -10}, {"he", -12}, {"ll", -11},
               {"hell", -13}, {"hello", -14}, {"\xe2\x96\x81hello", -15}, {"\xe2\x96\x81" "a", -16}, {"s>", -17}, {"</", -18},
               {"aa", -30}, {"aaaa", -31}, {"\xe2\x96\x81\xe2\x96\x81", -19}};
  memset(v, 0, sizeof *v);
  v->model = "llama";
  vocab_add(v, "<unk>", VOCAB_UNKNOWN, 0);
  vocab_add(v, "<s>", VOCAB_CONTROL, 0);
  vocab_add(v, "</s>", VOCAB_CONTROL, 0);
  for (unsigned b = 0; b < 256; b++) {
    snprintf(v->room[v->n], sizeof v->room[0], "<0x%02X>", b);
    vocab_add(v, v->room[v->n], VOCAB_BYTE, 0);
  }
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) vocab_add(v, words[i].text, VOCAB_NORMAL, words[i].score);
}

static void extra(struct vocab *v, const char *key, uint32_t type, uint32_t value) {
  assert_true(v->n_extra < sizeof v->extra / sizeof *v->extra);
  v->extra[v->n_extra].key = key;
  v->extra[v->n_extra].type = type;
  v->extra[v->n_extra++].value = value;
}

void vocab_extra_u32(struct vocab *v, const char *key, uint32_t value) { extra(v, key, TB_GGUF_U32, value); }
void vocab_extra_bool(struct vocab *v, const char *key, bool value) { extra(v, key, TB_GGUF_BOOL, value); }

static bool keeps(const struct vocab *v, const char *key) { return !v->omit || strcmp(v->omit, key) != 0; }

struct gguf_make vocab_file(const struct vocab *v) {
  struct gguf_make m;
  const char *merging = strcmp(v->model, "llama") == 0 ? "tokenizer.ggml.scores" : "tokenizer.ggml.merges";
  make_begin(&m, 3, 0, 0);
  uint64_t n = 0;
  if (keeps(v, "tokenizer.ggml.model")) n++, make_kv_str(&m, "tokenizer.ggml.model", v->model);
  if (v->pre && keeps(v, "tokenizer.ggml.pre")) n++, make_kv_str(&m, "tokenizer.ggml.pre", v->pre);
  if (v->name) n++, make_kv_str(&m, "general.name", v->name);
  if (keeps(v, "tokenizer.ggml.tokens")) n++, make_strings(&m, "tokenizer.ggml.tokens", v->n, v->text);
  if (keeps(v, "tokenizer.ggml.token_type"))
    n++, make_array(&m, "tokenizer.ggml.token_type", TB_GGUF_I32, v->n, v->type, v->n * sizeof *v->type);
  if (keeps(v, merging) && merging[15] == 's')
    n++, make_array(&m, merging, TB_GGUF_F32, v->n, v->score, v->n * sizeof *v->score);
  if (keeps(v, merging) && merging[15] == 'm') n++, make_strings(&m, merging, v->n_merges, v->merges);
  for (unsigned i = 0; i < v->n_extra; i++, n++)
    make_kv(&m, v->extra[i].key, v->extra[i].type, &v->extra[i].value, v->extra[i].type == TB_GGUF_BOOL ? 1 : 4);
  if (v->instead) n++, v->instead(&m);
  make_set(&m, make_find(&m, MAKE_N_KVS, "", 0), n);
  return m;
}

void vocab_open(struct opened *o, const struct vocab *v, enum tb_pretok_engine engine) {
  struct tb_error err;
  o->file = vocab_file(v);
  if (tb_gguf_open_memory(&o->g, o->file.data, o->file.n, &tb_system_allocator, &err) != TB_OK) fail_msg("%s", err.text);
  if (tb_tokenizer_create_with(&o->t, o->g, engine, &tb_system_allocator, &err) != TB_OK) fail_msg("%s", err.text);
}

enum tb_status vocab_try(const struct gguf_make *file, struct tb_error *err) {
  struct tb_gguf *g;
  struct tb_tokenizer *t = NULL;
  if (tb_gguf_open_memory(&g, file->data, file->n, &tb_system_allocator, err) != TB_OK) fail_msg("%s", err->text);
  enum tb_status s = tb_tokenizer_create(&t, g, &tb_system_allocator, err);
  if (s == TB_OK) tb_tokenizer_free(t);
  else assert_null(t);
  tb_gguf_free(g);
  return s;
}

void vocab_close(struct opened *o) {
  tb_tokenizer_free(o->t);
  tb_gguf_free(o->g);
  make_free(&o->file);
}

static void encode(const struct opened *o, const char *text, size_t n, unsigned flags, struct tb_tokens *ids) {
  struct tb_error err;
  if (tb_tokenizer_encode(o->t, text, n, flags, ids, &err) != TB_OK) fail_msg("%s", err.text);
}

const char *vocab_pieces(const struct opened *o, const char *text, unsigned flags) {
  static char out[4096];
  size_t used = 0;
  struct tb_tokens ids = {0};
  encode(o, text, strlen(text), flags, &ids);
  for (size_t i = 0; i < ids.n; i++) {
    if (i) out[used++] = '|';
    used += tb_tokenizer_piece(o->t, ids.data[i], true, out + used, sizeof out - used);
    assert_true(used + 2 < sizeof out);
  }
  out[used] = '\0';
  tb_free(&tb_system_allocator, ids.data);
  return out;
}

void vocab_round_trip(const struct opened *o, const char *text, size_t n) {
  struct tb_tokens ids = {0};
  encode(o, text, n, 0, &ids);
  size_t cap = n + 8, used = 0;
  char *out = malloc(cap);
  assert_non_null(out);
  for (size_t i = 0; i < ids.n && used <= cap; i++)
    used += tb_tokenizer_piece(o->t, ids.data[i], false, out + used, cap - used);
  size_t skip = n > 0 && tb_tokenizer_space_prefix(o->t);
  assert_int_equal(used, n + skip);
  assert_memory_equal(out + skip, text, n);
  free(out);
  tb_free(&tb_system_allocator, ids.data);
}
