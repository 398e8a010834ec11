/* Malformed models: files that are well-formed GGUF but whose hyper-parameters, tensors, vocabulary or weights are
 * wrong, made field by field from good models. Each is refused with one line, or opens and then decodes to finite
 * logits or a typed error. Never a signal, a leak or a long wait. */
#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "tests/support/count_alloc.h"
#include "tests/support/gguf_edit.h"
#include "tests/support/tmpdir.h"
#include "thimble.h"

enum expect { OPENS, REFUSED, EITHER };

static struct tmpdir dir;
static struct {
  size_t cases, refused, numeric;
  double slowest;
} seen;

/* ---------------------------------------------------------------------------------------------------- one case */

static enum tb_status decode(struct tb_model *model, struct tb_error *err) {
  struct tb_model_info info;
  tb_model_get_info(model, &info);
  struct tb_context_options options = {.n_ctx = 16, .n_threads = 1, .type_k = "f32", .type_v = "f32"};
  struct tb_context *ctx;
  enum tb_status s = tb_context_create(&ctx, model, &options, err);
  if (s) return s;
  const tb_token ids[] = {0, 5 % (tb_token)info.n_vocab, (tb_token)info.n_vocab - 1};
  s = tb_eval(ctx, ids, 3, NULL, NULL, err);
  const float *logits = s ? NULL : tb_logits(ctx);
  for (uint32_t i = 0; logits && i < info.n_vocab; i++) assert_true(isfinite(logits[i]));
  tb_context_free(ctx);
  return s;
}

/* Text in, text out: whatever the vocabulary is, it neither crashes nor gives ids outside it. */
static void use_tokenizer(struct tb_model *model) {
  static const char text[] = "Hello, the world <|im_start|> 123 \xe2\x82\xac\xff";
  struct tb_model_info info;
  struct tb_error err;
  tb_token ids[64];
  size_t n = 0;
  char piece[64];
  tb_model_get_info(model, &info);
  if (tb_tokenize(model, text, sizeof text - 1, TB_TOKENIZE_SPECIAL_ADD | TB_TOKENIZE_SPECIAL_PARSE, ids, 64, &n, &err))
    return;
  for (size_t i = 0; i < n && i < 64; i++) {
    assert_true(ids[i] >= 0 && (uint32_t)ids[i] < info.n_vocab);
    tb_token_text(model, ids[i], true, piece, sizeof piece);
    tb_token_ends(model, ids[i]);
  }
}

/* Of this process: how long others keep it waiting does not count. */
static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What emulation and sanitizers may take longer. */
static double slowdown(void) {
#ifdef TB_SANITIZED
  return 20;
#else
  return tb_check_short() ? 100 : 1;
#endif
}

/* What is no weight. */
static size_t header_bytes(const struct gguf_edit *e, const char *path) {
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  size_t n = (size_t)st.st_size;
  for (size_t i = 0; i < e->n_tensors; i++) n -= e->tensors[i].n < n ? e->tensors[i].n : n;
  return n;
}

static void check_case(const struct gguf_edit *e, enum expect expect, const char *text, const char *what) {
  const char *path = tmpdir_file(&dir, "model.gguf");
  edit_write(e, path);
  struct count_alloc c;
  struct tb_error err = {0};
  struct tb_model *model = NULL;
  count_alloc_init(&c);
  struct tb_model_options options = {.allocator = &c.hooks};
  double start = cpu_seconds();
  enum tb_status s = tb_model_open(&model, path, &options, &err);
  double took = cpu_seconds() - start;
  seen.cases++;
  seen.refused += s != TB_OK;
  if (took > seen.slowest) seen.slowest = took;
  if (took > 0.1 * slowdown()) fail_msg("%s: took %.3f s", what, took);
  if (c.peak > 4 * header_bytes(e, path) + (1 << 20)) fail_msg("%s: %zu bytes of memory", what, c.peak);
  if (expect == OPENS && s) fail_msg("%s: refused: %s", what, err.text);
  if (expect == REFUSED && !s) fail_msg("%s: accepted", what);
  if (s) {
    if (s != TB_E_FORMAT && s != TB_E_UNSUPPORTED && s != TB_E_LIMIT) fail_msg("%s: status %d '%s'", what, s, err.text);
    if (err.status != s || strncmp(err.text, path, strlen(path)) != 0 || strchr(err.text, '\n'))
      fail_msg("%s: text '%s'", what, err.text);
    if (text && !strstr(err.text, text)) fail_msg("%s: '%s' does not name %s", what, err.text, text);
  } else {
    use_tokenizer(model);
    s = decode(model, &err);
    if (s && s != TB_E_NUMERIC && s != TB_E_LIMIT) fail_msg("%s: decoding gives %d '%s'", what, s, err.text);
    seen.numeric += s == TB_E_NUMERIC;
    tb_model_free(model);
  }
  if (c.blocks) fail_msg("%s: %zu blocks leak", what, c.blocks);
}

static struct gguf_edit base_model(const char *arch, const char *more) {
  char shape[512];
  struct tb_gguf *g;
  struct tb_error err = {0};
  struct gguf_edit e;
  snprintf(shape, sizeof shape, "architecture = %s\npre = qwen2\nn_layer = 2\nn_embd = 32\nn_head = 4\nn_head_kv = 2\n"
                                "head_dim = 16\nn_ff = 64\nn_vocab = 300\nn_ctx = 64\n%s", arch, more);
  struct tb_synth_options options = {shape, "q8_0", 1};
  const char *path = tmpdir_file(&dir, "base.gguf");
  if (tb_synth(path, &options, NULL, &err)) fail_msg("%s", err.text);
  if (tb_gguf_open(&g, path, &tb_system_allocator, &err)) fail_msg("%s", err.text);
  edit_read(&e, g);
  tb_gguf_free(g);
  return e;
}

static const struct {
  const char *arch, *more;
} bases[] = {{"llama", "rope_freqs = yes\nrope_factor = 8\nrope_orig_ctx = 32\n"},
             {"qwen2", "bias = yes\ntied = yes\n"},
             {"qwen3", "qk_norm = yes\nrope_scaling = yarn\nrope_factor = 2\nrope_orig_ctx = 32\n"}};
enum { N_BASES = sizeof bases / sizeof bases[0] };

/* --------------------------------------------------------------------------------------------------- metadata */

/* What the loader makes of each key. */
struct key_rule {
  const char *key;     /* "*." stands for the architecture */
  enum expect absent;  /* when it is missing */
  enum expect retyped; /* when it has a type that it cannot have */
};

static const struct key_rule rules[] = {
    {"general.architecture", REFUSED, REFUSED},
    {"*.block_count", REFUSED, REFUSED},
    {"*.context_length", REFUSED, REFUSED},
    {"*.embedding_length", REFUSED, REFUSED},
    {"*.feed_forward_length", REFUSED, REFUSED},
    {"*.attention.head_count", REFUSED, REFUSED},
    {"*.attention.head_count_kv", REFUSED, REFUSED}, /* absent: as many as heads, which is not the tensor's shape */
    {"*.attention.key_length", REFUSED, REFUSED},    /* absent: n_embd / n_head = 8, not 16 */
    {"*.attention.value_length", OPENS, REFUSED},
    {"*.attention.layer_norm_rms_epsilon", OPENS, REFUSED},
    {"*.rope.dimension_count", OPENS, REFUSED},
    {"*.rope.freq_base", OPENS, REFUSED},
    {"*.rope.scaling.type", OPENS, REFUSED},
    {"*.rope.scaling.factor", OPENS, REFUSED},
    {"*.rope.scaling.original_context_length", OPENS, REFUSED},
    {"tokenizer.ggml.model", REFUSED, REFUSED},
    {"tokenizer.ggml.tokens", REFUSED, REFUSED},
    {"tokenizer.ggml.pre", EITHER, EITHER},
    {"tokenizer.ggml.merges", EITHER, EITHER},
    {"tokenizer.ggml.token_type", EITHER, REFUSED},
    {"tokenizer.ggml.bos_token_id", OPENS, REFUSED},
    {"tokenizer.ggml.eos_token_id", OPENS, REFUSED},
    {"tokenizer.ggml.add_bos_token", OPENS, EITHER},
    {"tokenizer.ggml.padding_token_id", OPENS, EITHER},
    {"tokenizer.chat_template", OPENS, REFUSED},
    {"general.name", OPENS, REFUSED},
};

static const struct key_rule *rule_of(const char *key, const char *arch) {
  static const struct key_rule ignored = {"", OPENS, OPENS};
  for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
    const char *rest = rules[i].key;
    size_t len = strlen(arch);
    if (strcmp(rest, key) == 0) return &rules[i];
    if (rest[0] == '*' && strncmp(key, arch, len) == 0 && strcmp(key + len, rest + 1) == 0) return &rules[i];
  }
  return &ignored;
}

static void test_missing_keys(void **state) {
  (void)state;
  for (int b = 0; b < N_BASES; b++) {
    struct gguf_edit good = base_model(bases[b].arch, bases[b].more);
    check_case(&good, OPENS, NULL, bases[b].arch);
    for (size_t i = 0; i < good.n_kvs; i++) {
      const char *key = good.kvs[i].key;
      const struct key_rule *r = rule_of(key, bases[b].arch);
      struct gguf_edit e = edit_copy(&good);
      edit_remove_kv(&e, key);
      bool named = r->absent == REFUSED && !strstr(key, "head_count_kv") && !strstr(key, "key_length");
      check_case(&e, r->absent, named ? key : NULL, key);
      edit_free(&e);
    }
    edit_free(&good);
  }
}

/* Values of every type, none of which a key should take by accident. */
static const struct wrong {
  const char *name;
  uint32_t type, elem;
  uint64_t count;
  const char *data;
  size_t n;
} wrongs[] = {
    {"bool", TB_GGUF_BOOL, TB_GGUF_BOOL, 1, "\1", 1},
    {"f32 NaN", TB_GGUF_F32, TB_GGUF_F32, 1, "\0\0\xc0\x7f", 4},
    {"f64 infinity", TB_GGUF_F64, TB_GGUF_F64, 1, "\0\0\0\0\0\0\xf0\x7f", 8},
    {"string", TB_GGUF_STRING, TB_GGUF_STRING, 1, "\1\0\0\0\0\0\0\0x", 9},
    {"empty string", TB_GGUF_STRING, TB_GGUF_STRING, 1, "\0\0\0\0\0\0\0\0", 8},
    {"i8", TB_GGUF_I8, TB_GGUF_I8, 1, "\xff", 1},
    {"i64", TB_GGUF_I64, TB_GGUF_I64, 1, "\0\0\0\0\0\0\0\x80", 8},
    {"u64", TB_GGUF_U64, TB_GGUF_U64, 1, "\xff\xff\xff\xff\xff\xff\xff\xff", 8},
    {"empty array of u32", TB_GGUF_ARRAY, TB_GGUF_U32, 0, "", 0},
    {"array of one u32", TB_GGUF_ARRAY, TB_GGUF_U32, 1, "\1\0\0\0", 4},
    {"array of f32", TB_GGUF_ARRAY, TB_GGUF_F32, 2, "\0\0\0\0\0\0\0\0", 8},
    {"array of bool", TB_GGUF_ARRAY, TB_GGUF_BOOL, 3, "\1\0\1", 3},
    {"array of strings", TB_GGUF_ARRAY, TB_GGUF_STRING, 1, "\1\0\0\0\0\0\0\0x", 9},
    {"empty array of strings", TB_GGUF_ARRAY, TB_GGUF_STRING, 0, "", 0},
};

static void test_retyped_keys(void **state) {
  (void)state;
  for (int b = 0; b < N_BASES; b++) {
    struct gguf_edit good = base_model(bases[b].arch, bases[b].more);
    for (size_t i = 0; i < good.n_kvs; i++) {
      for (size_t k = 0; k < sizeof wrongs / sizeof wrongs[0]; k++) {
        const struct edit_kv *kv = &good.kvs[i];
        const struct wrong *w = &wrongs[k];
        struct gguf_edit e = edit_copy(&good);
        char what[128];
        edit_set(&e, kv->key, w->type, w->elem, w->count, w->data, w->n);
        snprintf(what, sizeof what, "%s.%s as %s", bases[b].arch, kv->key, w->name);
        enum expect expect = rule_of(kv->key, bases[b].arch)->retyped;
        bool same_type = kv->type == w->type && kv->elem == w->elem;
        check_case(&e, same_type ? EITHER : expect, NULL, what);
        edit_free(&e);
      }
    }
    edit_free(&good);
  }
}

static const uint32_t integers[] = {0,   1,   2,    3,    4,     5,     7,          8,          9,          15,
                                    16,  17,  31,   32,   33,    63,    64,         65,         127,        128,
                                    256, 300, 1000, 1024, 65535, 65536, 0x3fffffff, 0x7fffffff, 0x80000000, 0xffffffff};

/* Whether a model with this value is still consistent. */
static enum expect integer_rule(const char *suffix, uint32_t v, uint32_t good) {
  if (v == good) return OPENS;
  if (strcmp(suffix, "block_count") == 0) return v >= 1 && v < good ? OPENS : REFUSED; /* layers left over: unused */
  if (strcmp(suffix, "context_length") == 0) return v >= 1 && v <= UINT32_MAX / 4 ? OPENS : REFUSED;
  if (strcmp(suffix, "rope.dimension_count") == 0) return EITHER; /* the divisors' number has to match, where there are any */
  if (strcmp(suffix, "rope.scaling.original_context_length") == 0) return v ? EITHER : REFUSED;
  if (strcmp(suffix, "vocab_size") == 0) return OPENS; /* the vocabulary itself counts */
  return REFUSED;
}

static void test_integers(void **state) {
  (void)state;
  for (int b = 0; b < N_BASES; b++) {
    struct gguf_edit good = base_model(bases[b].arch, bases[b].more);
    for (size_t i = 0; i < good.n_kvs; i++) {
      const struct edit_kv *kv = &good.kvs[i];
      size_t len = strlen(bases[b].arch);
      if (kv->type != TB_GGUF_U32 || strncmp(kv->key, bases[b].arch, len) != 0) continue;
      uint32_t now;
      memcpy(&now, kv->data, sizeof now);
      for (size_t k = 0; k < sizeof integers / sizeof integers[0]; k++) {
        struct gguf_edit e = edit_copy(&good);
        char what[128];
        edit_set_u32(&e, kv->key, integers[k]);
        snprintf(what, sizeof what, "%s = %u", kv->key, integers[k]);
        check_case(&e, integer_rule(kv->key + len + 1, integers[k], now), NULL, what);
        edit_free(&e);
      }
    }
    edit_free(&good);
  }
}

static void test_floats(void **state) {
  (void)state;
  static const struct {
    const char *suffix;
    float value;
    enum expect expect;
  } cases[] = {
      {"attention.layer_norm_rms_epsilon", NAN, REFUSED},   {"attention.layer_norm_rms_epsilon", INFINITY, REFUSED},
      {"attention.layer_norm_rms_epsilon", -1e-5f, REFUSED}, {"attention.layer_norm_rms_epsilon", 0, REFUSED},
      {"attention.layer_norm_rms_epsilon", 1e-40f, OPENS},  {"attention.layer_norm_rms_epsilon", 2, REFUSED},
      {"rope.freq_base", NAN, REFUSED},                     {"rope.freq_base", -INFINITY, REFUSED},
      {"rope.freq_base", 0, REFUSED},                       {"rope.freq_base", -10000, REFUSED},
      {"rope.freq_base", 1e30f, REFUSED},                   {"rope.freq_base", 2, OPENS},
      {"rope.scaling.factor", NAN, REFUSED},                {"rope.scaling.factor", -1, REFUSED},
      {"rope.scaling.factor", 1e30f, REFUSED},              {"rope.scaling.factor", 4, OPENS},
      {"attention.scale", NAN, REFUSED},                    {"attention.scale", 1e30f, REFUSED},
      {"attention.scale", 0.1f, OPENS},                     {"rope.scaling.yarn_beta_fast", NAN, REFUSED},
      {"expert_count", 2, REFUSED},
  };
  struct gguf_edit good = base_model("qwen3", bases[2].more);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct gguf_edit e = edit_copy(&good);
    char key[96];
    snprintf(key, sizeof key, "qwen3.%s", cases[i].suffix);
    edit_set_f32(&e, key, cases[i].value);
    check_case(&e, cases[i].expect, cases[i].expect == REFUSED ? cases[i].suffix : NULL, key);
    edit_free(&e);
  }
  edit_free(&good);
}

/* Values per layer in place of one. */
static void test_arrays_per_layer(void **state) {
  (void)state;
  static const struct {
    uint32_t values[3];
    uint64_t n;
    enum expect expect;
  } cases[] = {{{2, 2}, 2, OPENS},   {{2, 2, 2}, 3, OPENS}, {{2}, 1, REFUSED},
               {{0, 2}, 2, REFUSED}, {{2, 4}, 2, REFUSED},  {{0xffffffff, 2}, 2, REFUSED}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct gguf_edit e = base_model("llama", "");
    edit_set(&e, "llama.attention.head_count_kv", TB_GGUF_ARRAY, TB_GGUF_U32, cases[i].n, cases[i].values,
             cases[i].n * 4);
    check_case(&e, cases[i].expect, NULL, "array of head counts");
    edit_free(&e);
  }
}

static void test_unknown_names(void **state) {
  (void)state;
  static const char *const archs[] = {"", "gpt2", "LLAMA", "llama\n", "llamallamallamallamallamallamallamallama", "\xff"};
  struct gguf_edit good = base_model("llama", "");
  for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++) {
    struct gguf_edit e = edit_copy(&good);
    edit_set_str(&e, "general.architecture", archs[i], strlen(archs[i]));
    check_case(&e, REFUSED, "general.architecture", "architecture");
    edit_free(&e);
  }
  static const struct {
    const char *key, *value, *text;
  } names[] = {{"tokenizer.ggml.model", "t6", "t6"},
               {"tokenizer.ggml.pre", "no-such-rule", "no-such-rule"},
               {"llama.rope.scaling.type", "spiral", "spiral"}};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    struct gguf_edit e = edit_copy(&good);
    edit_set_str(&e, names[i].key, names[i].value, strlen(names[i].value));
    check_case(&e, REFUSED, names[i].text, names[i].key);
    edit_free(&e);
  }
  edit_free(&good);
}

/* ---------------------------------------------------------------------------------------------------- tensors */

/* Tensors that a model can do without. */
static bool optional(const char *arch, const char *name) {
  if (strcmp(name, "output.weight") == 0 || strcmp(name, "rope_freqs.weight") == 0) return true;
  return strcmp(arch, "llama") == 0 && strstr(name, ".bias");
}

static void test_tensors(void **state) {
  (void)state;
  for (int b = 0; b < N_BASES; b++) {
    struct gguf_edit good = base_model(bases[b].arch, bases[b].more);
    for (size_t i = 0; i < good.n_tensors; i++) {
      const char *name = good.tensors[i].name;
      bool may_miss = optional(bases[b].arch, name), vector = good.tensors[i].n_dims == 1;
      struct gguf_edit e = edit_copy(&good);
      edit_remove_tensor(&e, name);
      check_case(&e, may_miss ? OPENS : REFUSED, may_miss ? NULL : name, name);
      edit_free(&e);
      e = edit_copy(&good); /* under another name */
      e.tensors[i].name[0] ^= 1;
      check_case(&e, may_miss ? OPENS : REFUSED, may_miss ? NULL : name, name);
      edit_free(&e);
      for (int d = 0; d < 4; d++) { /* each extent larger, halved, and all of them turned round */
        e = edit_copy(&good);
        struct edit_tensor *t = &e.tensors[i];
        t->ne[d] += d == 0 && !vector ? 32 : 1;
        if (t->n_dims < (uint32_t)d + 1) t->n_dims = (uint32_t)d + 1;
        edit_resize(t, 4 * t->n + 4096);
        check_case(&e, REFUSED, name, "larger extent");
        edit_free(&e);
      }
      e = edit_copy(&good);
      e.tensors[i].ne[vector ? 0 : 1] /= 2;
      check_case(&e, REFUSED, name, "half an extent");
      edit_free(&e);
      e = edit_copy(&good); /* extents of 1 say nothing */
      e.tensors[i].n_dims = 4;
      check_case(&e, OPENS, NULL, "four dimensions");
      edit_free(&e);
    }
    edit_free(&good);
  }
}

/* Every matrix in every format; every vector in the wrong one. */
static void test_tensor_types(void **state) {
  (void)state;
  struct gguf_edit good = base_model("qwen2", bases[1].more);
  for (size_t i = 0; i < good.n_tensors; i++) {
    for (int f = 0; f < TB_FMT_COUNT; f++) {
      struct gguf_edit e = edit_copy(&good);
      struct edit_tensor *t = &e.tensors[i];
      if (t->ne[0] % tb_formats[f].block_values == 0 && tb_formats[f].gguf_id != t->id) {
        edit_resize(t, tb_row_bytes((enum tb_format)f, (size_t)t->ne[0]) * (size_t)t->ne[1]);
        t->id = tb_formats[f].gguf_id;
        bool refused = t->n_dims == 1;
        check_case(&e, refused ? REFUSED : OPENS, refused ? t->name : NULL, t->name);
      }
      edit_free(&e);
    }
  }
  edit_free(&good);
}

static void test_weights(void **state) {
  (void)state;
  static const unsigned char bytes[] = {0x00, 0x7f, 0x80, 0xff};
  static const float values[] = {NAN, INFINITY, -INFINITY, 3e38f, 0};
  for (int b = 0; b < N_BASES; b++) {
    struct gguf_edit good = base_model(bases[b].arch, bases[b].more);
    for (size_t i = 0; i < good.n_tensors; i++) {
      bool vector = good.tensors[i].n_dims == 1;
      for (size_t k = 0; k < (vector ? sizeof values / sizeof values[0] : sizeof bytes); k++) {
        struct gguf_edit e = edit_copy(&good);
        struct edit_tensor *t = &e.tensors[i];
        if (vector) memcpy(t->data + t->n - 4, &values[k], 4);
        else memset(t->data, bytes[k], t->n);
        check_case(&e, vector && !isfinite(values[k]) ? REFUSED : EITHER, NULL, t->name);
        edit_free(&e);
      }
    }
    edit_free(&good);
  }
}

/* ------------------------------------------------------------------------------------------------- vocabulary */

static void test_tokens(void **state) {
  (void)state;
  static const struct {
    const char *text;
    size_t len;
  } texts[] = {{"", 0},     {"\0", 1},  {"\xff", 1},      {"\xc4", 1}, {"\xed\xa0\x80", 3}, {" ", 1},
               {"\n", 1},   {"A", 1},   {"<|im_end|>", 10}, {"<0x41>", 6}, {"<0xZZ>", 6},   {"\xf4\x90\x80\x80", 4}};
  static const uint64_t at[] = {0, 65, 255, 256, 270, 286, 288, 299};
  struct gguf_edit good = base_model("llama", "");
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    for (size_t k = 0; k < sizeof at / sizeof at[0]; k++) {
      struct gguf_edit e = edit_copy(&good);
      edit_set_element(&e, "tokenizer.ggml.tokens", at[k], texts[i].text, texts[i].len);
      check_case(&e, EITHER, NULL, "token text");
      edit_free(&e);
    }
  }
  char *longest = malloc(1 << 20);
  memset(longest, 'a', 1 << 20);
  struct gguf_edit e = edit_copy(&good);
  edit_set_element(&e, "tokenizer.ggml.tokens", 290, longest, 1 << 20);
  check_case(&e, EITHER, NULL, "a token of a megabyte");
  edit_set_element(&e, "tokenizer.ggml.merges", 3, longest, 1 << 20);
  check_case(&e, EITHER, NULL, "a merge of a megabyte");
  free(longest);
  edit_free(&e);
  edit_free(&good);
}

/* Fewer or more tokens than rows of the embedding. */
static void test_token_counts(void **state) {
  (void)state;
  static const char *const few[] = {"a", "b"};
  struct gguf_edit good = base_model("llama", "");
  struct gguf_edit e = edit_copy(&good);
  edit_set_strings(&e, "tokenizer.ggml.tokens", few, 2);
  edit_remove_kv(&e, "tokenizer.ggml.merges");
  check_case(&e, REFUSED, NULL, "two tokens");
  edit_free(&e);
  e = edit_copy(&good);
  edit_set_strings(&e, "tokenizer.ggml.tokens", few, 0);
  check_case(&e, REFUSED, "tokenizer.ggml.tokens", "no tokens");
  edit_free(&e);
  edit_free(&good);
  e = base_model("llama", "n_vocab = 310\n");
  struct edit_tensor *t = edit_tensor(&e, "token_embd.weight");
  t->ne[1] = 300;
  check_case(&e, REFUSED, "token_embd.weight", "more tokens than rows");
  edit_free(&e);
}

static void test_token_types(void **state) {
  (void)state;
  static const int32_t types[] = {-1, 0, 1, 2, 3, 4, 5, 6, 7, 100, INT32_MAX, INT32_MIN};
  struct gguf_edit good = base_model("llama", "");
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    struct gguf_edit e = edit_copy(&good);
    struct edit_kv *kv = edit_kv(&e, "tokenizer.ggml.token_type");
    for (size_t k = 0; k < kv->n; k += 4) memcpy(kv->data + k, &types[i], 4);
    check_case(&e, EITHER, NULL, "token types");
    edit_free(&e);
  }
  struct gguf_edit e = edit_copy(&good); /* fewer types than tokens */
  struct edit_kv *kv = edit_kv(&e, "tokenizer.ggml.token_type");
  edit_set(&e, kv->key, TB_GGUF_ARRAY, TB_GGUF_I32, 299, kv->data, 4 * 299);
  check_case(&e, REFUSED, "tokenizer.ggml.token_type", "a type is missing");
  edit_free(&e);
  edit_free(&good);
}

static void test_merges(void **state) {
  (void)state;
  static const char *const merges[] = {"",    " ",    "  ",  "a",     "ab",       " a",       "a ",    "a b c",
                                       "a  b", "h e", "h e", "zz zz", "\xff \xff", "he he", "\xc4\xa0 \xc4\xa0"};
  struct gguf_edit good = base_model("llama", "");
  for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++) {
    for (uint64_t at = 0; at < 30; at += 29) {
      struct gguf_edit e = edit_copy(&good);
      edit_set_element(&e, "tokenizer.ggml.merges", at, merges[i], strlen(merges[i]));
      check_case(&e, EITHER, NULL, "merge");
      edit_free(&e);
    }
  }
  edit_free(&good);
}

static void test_special_ids(void **state) {
  (void)state;
  static const char *const keys[] = {"bos", "eos", "unknown", "padding", "eot", "eom", "mask", "sep", "cls"};
  static const uint32_t ids[] = {0, 299, 300, 301, 0x7fffffff, 0x80000000, 0xffffffff};
  struct gguf_edit good = base_model("llama", "");
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
    for (size_t k = 0; k < sizeof ids / sizeof ids[0]; k++) {
      struct gguf_edit e = edit_copy(&good);
      char key[64];
      snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", keys[i]);
      edit_set_u32(&e, key, ids[k]);
      bool read = i < 2; /* the ids that every model has */
      check_case(&e, ids[k] < 300 ? OPENS : read ? REFUSED : EITHER, ids[k] >= 300 && read ? key : NULL, key);
      edit_free(&e);
    }
  }
  edit_free(&good);
}

/* The same vocabulary read as SentencePiece, with scores of all kinds. */
static void test_spm_scores(void **state) {
  (void)state;
  static const float scores[] = {0, NAN, INFINITY, -INFINITY, 1e30f};
  struct gguf_edit good = base_model("llama", "");
  edit_set_str(&good, "tokenizer.ggml.model", "llama", 5);
  check_case(&good, EITHER, NULL, "no scores");
  for (size_t i = 0; i < sizeof scores / sizeof scores[0]; i++) {
    for (uint64_t n = 298; n < 302; n++) {
      struct gguf_edit e = edit_copy(&good);
      float all[302];
      for (int k = 0; k < 302; k++) all[k] = scores[i];
      edit_set(&e, "tokenizer.ggml.scores", TB_GGUF_ARRAY, TB_GGUF_F32, n, all, n * 4);
      check_case(&e, n < 300 || isnan(scores[i]) ? REFUSED : EITHER, "tokenizer.ggml.scores", "scores");
      edit_free(&e);
    }
  }
  edit_free(&good);
}

static int setup(void **state) {
  (void)state;
  tmpdir_make(&dir);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  tmpdir_remove(&dir);
  print_message("so far %zu cases, %zu refused, %zu not finite, slowest open %.6f s\n", seen.cases, seen.refused,
                seen.numeric, seen.slowest);
  return 0;
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(test_missing_keys),     TEST(test_retyped_keys),  TEST(test_integers),    TEST(test_floats),
      TEST(test_arrays_per_layer), TEST(test_unknown_names), TEST(test_tensors),     TEST(test_tensor_types),
      TEST(test_weights),          TEST(test_tokens),        TEST(test_token_counts), TEST(test_token_types),
      TEST(test_merges),           TEST(test_special_ids),   TEST(test_spm_scores),
  };
  int failed = cmocka_run_group_tests_name("hostile models", tests, NULL, NULL);
  return failed ? failed : seen.cases < 400;
}
