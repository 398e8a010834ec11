/* Synthetic models: every shape, format and mix gives a file that opens, has the tensors of the real model, and holds
 * weights of the promised size. */
#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/gguf.h"
#include "io/synth_impl.h"
#include "simd/kernels.h"
#include "tests/support/count_alloc.h"
#include "tests/support/gguf_walk.h"
#include "tests/support/tmpdir.h"

static struct tmpdir dir;

static int setup(void **state) {
  (void)state;
  tmpdir_make(&dir);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  tmpdir_remove(&dir);
  return 0;
}

/* The text of bench/shapes/<name>.txt with `more` behind it; lives until the next call. */
static const char *shape_text(const char *name, const char *more) {
  static char text[8192];
  char path[512];
  snprintf(path, sizeof path, "%s/bench/shapes/%s.txt", TB_SOURCE_DIR, name);
  FILE *f = fopen(path, "rb");
  if (!f) fail_msg("%s is missing", path);
  size_t n = fread(text, 1, sizeof text / 2, f);
  fclose(f);
  snprintf(text + n, sizeof text - n, "\n%s", more);
  return text;
}

static struct tb_gguf *synth(const char *name, const char *more, const char *type) {
  struct tb_synth_options options = {.shape = shape_text(name, more), .type = type, .seed = 1};
  struct tb_error err = {0};
  struct tb_gguf *g;
  const char *path = tmpdir_file(&dir, "synth.gguf");
  if (tb_synth(path, &options, NULL, &err)) fail_msg("%s as %s: %s", name, type, err.text);
  if (tb_gguf_open(&g, path, &tb_system_allocator, &err)) fail_msg("%s as %s: %s", name, type, err.text);
  assert_int_equal(tmpdir_count(&dir), 1);
  return g;
}

/* ---------------------------------------------------------------------------------------------------------- shapes */

/* Parameters of the real models, from their cards and checkpoints, in thousands. */
static const struct {
  const char *name;
  double thousands;
} real[] = {
    {"smollm2-135m", 134515},   {"smollm2-360m", 361821},  {"smollm2-1.7b", 1711376},   {"qwen2.5-0.5b", 494033},
    {"qwen2.5-1.5b", 1543714},  {"qwen3-0.6b", 596050},    {"qwen3-1.7b", 1720575},     {"qwen3-4b", 4022468},
    {"qwen3-8b", 8190735},      {"llama-3.2-1b", 1235814}, {"llama-3.2-3b", 3212750},   {"llama-3.1-8b", 8030261},
    {"tinyllama-1.1b", 1100048}, {"mistral-7b", 7248024},
};

static double values(const struct tb_gguf_tensor *t) {
  return (double)t->ne[0] * (double)t->ne[1] * (double)t->ne[2] * (double)t->ne[3];
}

/* One layer and a small vocabulary are written; the parameters of the whole follow from them. */
static void test_real_shapes(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof real / sizeof real[0]; i++) {
    if (tb_check_short() && real[i].thousands > 500000) continue;
    struct tb_synth_shape s;
    struct tb_error err = {0};
    if (tb_synth_read_shape(&s, shape_text(real[i].name, ""), &err)) fail_msg("%s: %s", real[i].name, err.text);
    struct tb_gguf *g = synth(real[i].name, "n_layer = 1\nn_vocab = 320", "q2_k");
    double sum = 0;
    for (size_t k = 0; k < tb_gguf_tensor_count(g); k++) {
      const struct tb_gguf_tensor *t = tb_gguf_tensor_at(g, k);
      if (t->name.len > 4 && memcmp(t->name.ptr, "blk.", 4) == 0) sum += s.n_layer * values(t);
      else if (t->n_dims == 2) sum += values(t) / 320 * s.n_vocab;
      else if (!tb_str_is(t->name, "rope_freqs.weight")) sum += values(t);
    }
    if (fabs(sum / 1000 - real[i].thousands) > 1)
      fail_msg("%s: %.0f thousand parameters, expected %.0f", real[i].name, sum / 1000, real[i].thousands);
    uint32_t layers = 0;
    char key[64];
    snprintf(key, sizeof key, "%s.block_count", s.architecture);
    assert_int_equal(tb_gguf_get_u32(g, key, true, &layers, NULL), TB_OK);
    assert_int_equal(layers, 1);
    tb_gguf_free(g);
  }
}

static const char *const tiny[] = {"tiny-llama", "tiny-mha",  "tiny-qwen2",  "tiny-qwen3",
                                   "tiny-head128", "tiny-k256", "tiny-llama3"};
static const char *const mixes[] = {"q2_k_m", "q3_k_m", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q4_0+q6_k", "iq4_xs+f16"};

static void test_tiny_shapes(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof tiny / sizeof tiny[0]; i++) {
    for (size_t t = 0; t < TB_FMT_COUNT + sizeof mixes / sizeof mixes[0]; t++) {
      struct tb_gguf *g = synth(tiny[i], "", t < TB_FMT_COUNT ? tb_formats[t].name : mixes[t - TB_FMT_COUNT]);
      gguf_walk(g);
      assert_true(tb_gguf_file_bytes(g) < 8 << 20);
      tb_gguf_free(g);
    }
  }
}

/* Every file in the folder is in one of the lists above. */
static void test_all_shapes_are_tested(void **state) {
  (void)state;
  struct tmpdir shapes;
  snprintf(shapes.path, sizeof shapes.path, "%s/bench/shapes", TB_SOURCE_DIR);
  size_t expected = sizeof real / sizeof real[0] + sizeof tiny / sizeof tiny[0] + 1; /* and README.md */
  assert_int_equal(tmpdir_count(&shapes), expected);
}

/* ----------------------------------------------------------------------------------------------------- type choice */

static const struct tb_synth_shape llama_8b = {
    .architecture = "llama", .n_layer = 32, .n_embd = 4096, .n_head = 32, .n_head_kv = 8, .n_ff = 14336};
static const struct tb_synth_shape llama_7b = {
    .architecture = "llama", .n_layer = 32, .n_embd = 4096, .n_head = 32, .n_head_kv = 32, .n_ff = 11008};
static const struct tb_synth_shape qwen_half = {
    .architecture = "qwen2", .n_layer = 24, .n_embd = 896, .n_head = 14, .n_head_kv = 2, .n_ff = 4864, .tied = true};

/* How many matrices of each format real files of these models have, as their loaders list them. */
static const struct {
  const struct tb_synth_shape *shape;
  const char *type;
  struct {
    enum tb_format format;
    unsigned n;
  } counts[4];
} published[] = {
    {&llama_8b, "q4_k_m", {{TB_FMT_q4_k, 193}, {TB_FMT_q6_k, 33}}},
    {&llama_8b, "q5_k_m", {{TB_FMT_q5_k, 193}, {TB_FMT_q6_k, 33}}},
    {&llama_7b, "q3_k_m", {{TB_FMT_q3_k, 129}, {TB_FMT_q4_k, 92}, {TB_FMT_q5_k, 4}, {TB_FMT_q6_k, 1}}},
    {&llama_7b, "q4_k_s", {{TB_FMT_q4_k, 217}, {TB_FMT_q5_k, 8}, {TB_FMT_q6_k, 1}}},
    {&qwen_half, "q4_k_m", {{TB_FMT_q5_0, 132}, {TB_FMT_q8_0, 13}, {TB_FMT_q4_k, 12}, {TB_FMT_q6_k, 12}}},
    {&llama_8b, "q2_k_m", {{TB_FMT_q2_k, 129}, {TB_FMT_q3_k, 64}, {TB_FMT_q4_k, 32}, {TB_FMT_q6_k, 1}}},
    {&llama_8b, "q8_0", {{TB_FMT_q8_0, 226}}},
    {&llama_8b, "q4_0+q6_k", {{TB_FMT_q4_0, 224}, {TB_FMT_q6_k, 2}}},
    {&qwen_half, "iq4_xs", {{TB_FMT_iq4_nl, 145}, {TB_FMT_iq4_xs, 24}}},
};

static void test_mixes(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
    const struct tb_synth_shape *s = published[i].shape;
    struct tb_synth_type type;
    unsigned counts[TB_FMT_COUNT] = {0};
    assert_int_equal(tb_synth_read_type(&type, published[i].type, NULL), TB_OK);
    counts[tb_synth_format(&type, s, TB_ROLE_EMBEDDING, 0, s->n_embd)]++;
    if (!s->tied) counts[tb_synth_format(&type, s, TB_ROLE_OUTPUT, 0, s->n_embd)]++;
    for (uint32_t l = 0; l < s->n_layer; l++)
      for (int role = TB_ROLE_Q; role <= TB_ROLE_DOWN; role++)
        counts[tb_synth_format(&type, s, (enum tb_synth_role)role, l, role == TB_ROLE_DOWN ? s->n_ff : s->n_embd)]++;
    for (int k = 0; k < 4 && published[i].counts[k].n; k++) {
      enum tb_format f = published[i].counts[k].format;
      if (counts[f] != published[i].counts[k].n)
        fail_msg("%s: %u matrices of %s, expected %u", published[i].type, counts[f], tb_formats[f].name,
                 published[i].counts[k].n);
    }
  }
}

/* --------------------------------------------------------------------------------------------------------- weights */

static void test_block_statistics(void **state) {
  (void)state;
  enum { N = 1 << 16 };
  struct tb_kernels kernels;
  tb_kernels_init(&kernels, 0);
  unsigned char *blocks = malloc(4 * N);
  float *y = malloc(N * sizeof *y);
  for (int f = 0; f < TB_FMT_COUNT; f++) {
    struct tb_rng rng = {7};
    tb_synth_fill((enum tb_format)f, 0.02f, &rng, blocks, tb_row_bytes((enum tb_format)f, N));
    kernels.dequant[f](y, blocks, N);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < N; i++) {
      assert_true(isfinite(y[i]));
      sum += (double)y[i];
      squares += (double)y[i] * (double)y[i];
    }
    double mean = sum / N, deviation = sqrt(squares / N);
    if (fabs(deviation / 0.02 - 1) > 0.05) fail_msg("%s: deviation %g, expected 0.02", tb_formats[f].name, deviation);
    if (fabs(mean) > 0.1 * 0.02) fail_msg("%s: mean %g", tb_formats[f].name, mean);
  }
  free(blocks);
  free(y);
}

static void test_norms_biases_divisors(void **state) {
  (void)state;
  struct tb_gguf *g = synth("tiny-qwen2", "qk_norm = yes\nrope_freqs = yes\nrope_factor = 8\nrope_orig_ctx = 128", "q8_0");
  static const struct {
    const char *name;
    float low, high;
  } ranges[] = {{"output_norm.weight", 0.9f, 1.1f},       {"blk.1.attn_norm.weight", 0.9f, 1.1f},
                {"blk.1.attn_q.bias", -0.1f, 0.1f},        {"blk.1.attn_v.bias", -0.1f, 0.1f},
                {"blk.0.attn_k_norm.weight", 0.9f, 1.1f},  {"rope_freqs.weight", 1, 8}};
  for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
    const struct tb_gguf_tensor *t = tb_gguf_tensor_find(g, ranges[i].name);
    if (!t) fail_msg("%s is missing", ranges[i].name);
    assert_int_equal(t->format, TB_FMT_f32);
    float first, v;
    memcpy(&first, t->data, sizeof first);
    bool constant = true;
    for (uint64_t k = 0; k < t->ne[0]; k++) {
      memcpy(&v, t->data + 4 * k, sizeof v);
      assert_true(v >= ranges[i].low && v <= ranges[i].high);
      constant = constant && v == first;
    }
    assert_false(constant);
  }
  tb_gguf_free(g);
}

/* Llama 3.1: base 500000, 128 values, factor 8, 8192 tokens. The ends follow from the definition. */
static void test_llama3_divisors(void **state) {
  (void)state;
  struct tb_gguf *g = synth("llama-3.1-8b", "n_layer = 1\nn_vocab = 320\nn_embd = 256\nn_ff = 256\nn_head = 2\n"
                                            "n_head_kv = 1\nhead_dim = 128", "f16");
  const struct tb_gguf_tensor *t = tb_gguf_tensor_find(g, "rope_freqs.weight");
  assert_int_equal(t->ne[0], 64);
  float v[64];
  memcpy(v, t->data, sizeof v);
  for (int i = 1; i < 64; i++) assert_true(v[i] >= v[i - 1]);
  assert_true(v[0] == 1 && v[28] == 1 && v[29] > 1 && v[34] < 8 && v[35] == 8 && v[63] == 8);
  tb_gguf_free(g);
}

/* ------------------------------------------------------------------------------------------------------- vocabulary */

static int by_text(const void *a, const void *b) {
  const struct tb_str *x = a, *y = b;
  size_t n = x->len < y->len ? x->len : y->len;
  int order = memcmp(x->ptr, y->ptr, n);
  return order ? order : (x->len > y->len) - (x->len < y->len);
}

static void test_vocabulary(void **state) {
  (void)state;
  struct tb_gguf *g = synth("tiny-llama", "n_vocab = 20000", "q8_0");
  const struct tb_gguf_kv *tokens = tb_gguf_kv_find(g, "tokenizer.ggml.tokens");
  const struct tb_gguf_kv *types = tb_gguf_kv_find(g, "tokenizer.ggml.token_type");
  const struct tb_gguf_kv *merges = tb_gguf_kv_find(g, "tokenizer.ggml.merges");
  assert_int_equal(tokens->count, 20000);
  assert_int_equal(types->count, 20000);
  struct tb_str *sorted = malloc(20000 * sizeof *sorted);
  const unsigned char *cursor = tokens->data;
  for (size_t i = 0; i < 20000; i++) {
    sorted[i] = tb_gguf_next_str(&cursor);
    bool control = sorted[i].len > 2 && memcmp(sorted[i].ptr, "<|", 2) == 0;
    assert_int_equal(tb_gguf_array_int(types, i), control ? 3 : 1);
  }
  assert_true(tb_str_is(sorted['A'], "A"));
  assert_true(tb_str_is(sorted[' '], "\xc4\xa0"));
  assert_true(tb_str_is(sorted['\n'], "\xc4\x8a"));
  assert_true(tb_str_is(sorted[0xff], "\xc3\xbf"));
  assert_true(tb_str_is(sorted[0xad], "\xc5\x83"));
  uint32_t eos = 0;
  assert_int_equal(tb_gguf_get_u32(g, "tokenizer.ggml.eos_token_id", true, &eos, NULL), TB_OK);
  assert_true(tb_str_is(sorted[eos], "<|im_end|>"));
  qsort(sorted, 20000, sizeof *sorted, by_text);
  for (size_t i = 1; i < 20000; i++) assert_true(by_text(&sorted[i - 1], &sorted[i]) < 0);
  /* Both halves of a merge and their sum are tokens. */
  cursor = merges->data;
  for (uint64_t i = 0; i < merges->count; i++) {
    struct tb_str m = tb_gguf_next_str(&cursor);
    const char *space = memchr(m.ptr, ' ', m.len);
    assert_non_null(space);
    size_t left = (size_t)(space - m.ptr);
    char sum[32];
    memcpy(sum, m.ptr, left);
    memcpy(sum + left, space + 1, m.len - left - 1);
    const struct tb_str parts[] = {{m.ptr, left}, {space + 1, m.len - left - 1}, {sum, m.len - 1}};
    for (int k = 0; k < 3; k++)
      if (!bsearch(&parts[k], sorted, 20000, sizeof *sorted, by_text))
        fail_msg("'%.*s' is no token", (int)parts[k].len, parts[k].ptr);
  }
  free(sorted);
  tb_gguf_free(g);
}

/* --------------------------------------------------------------------------------------------------------- options */

static void test_overrides(void **state) {
  (void)state;
  struct tb_gguf *g = synth("tiny-llama", "n_layer = 5\nrope_scaling = yarn\nrope_factor = 4.5e0\nrope_orig_ctx = 128\n"
                                          "tied = yes\nbias = yes\nhead_dim = 24\nhead_dim_v = 32\nrope_dim = 16\n", "f32");
  uint32_t u = 0;
  float f = 0;
  struct tb_str s;
  assert_int_equal(tb_gguf_get_u32(g, "llama.block_count", true, &u, NULL), TB_OK);
  assert_int_equal(u, 5);
  assert_int_equal(tb_gguf_get_str(g, "llama.rope.scaling.type", true, &s, NULL), TB_OK);
  assert_true(tb_str_is(s, "yarn"));
  assert_int_equal(tb_gguf_get_f32(g, "llama.rope.scaling.factor", true, &f, NULL), TB_OK);
  assert_true(f == 4.5f);
  assert_int_equal(tb_gguf_get_u32(g, "llama.rope.scaling.original_context_length", true, &u, NULL), TB_OK);
  assert_int_equal(u, 128);
  assert_null(tb_gguf_tensor_find(g, "output.weight"));
  assert_int_equal(tb_gguf_tensor_find(g, "blk.4.attn_q.bias")->ne[0], 4 * 24);
  assert_int_equal(tb_gguf_tensor_find(g, "blk.4.attn_v.weight")->ne[1], 2 * 32);
  assert_int_equal(tb_gguf_tensor_find(g, "blk.4.attn_output.weight")->ne[0], 4 * 32);
  assert_int_equal(tb_gguf_get_u32(g, "llama.rope.dimension_count", true, &u, NULL), TB_OK);
  assert_int_equal(u, 16);
  tb_gguf_free(g);
}

static void read_file(const char *name, unsigned char **data, size_t *n) {
  FILE *f = fopen(tmpdir_file(&dir, name), "rb");
  assert_non_null(f);
  *data = malloc(8 << 20);
  *n = fread(*data, 1, 8 << 20, f);
  fclose(f);
}

static void test_seed(void **state) {
  (void)state;
  static const char *const names[] = {"a", "b", "c"};
  unsigned char *data[3];
  size_t n[3];
  for (int i = 0; i < 3; i++) {
    struct tb_synth_options options = {shape_text("tiny-qwen3", ""), "q4_k_m", i == 2 ? 2 : 1};
    assert_int_equal(tb_synth(tmpdir_file(&dir, names[i]), &options, NULL, NULL), TB_OK);
    read_file(names[i], &data[i], &n[i]);
  }
  assert_int_equal(n[0], n[1]);
  assert_int_equal(n[0], n[2]);
  assert_memory_equal(data[0], data[1], n[0]);
  assert_true(memcmp(data[0], data[2], n[0]) != 0);
  for (int i = 0; i < 3; i++) free(data[i]);
}

#define MINIMAL "architecture = llama\nn_layer = 1\nn_embd = 64\nn_head = 2\nn_ff = 64\nn_vocab = 320\nn_ctx = 64\n"

static void test_wrong_shapes(void **state) {
  (void)state;
  static const struct {
    const char *shape, *type, *text;
  } cases[] = {
      {MINIMAL "nlayer = 3", "q8_0", "shape, line 8: unknown key 'nlayer'"},
      {MINIMAL "n_layer 3", "q8_0", "shape, line 8: expected 'key = value'"},
      {MINIMAL "n_layer = three", "q8_0", "shape, line 8: n_layer cannot be 'three'"},
      {MINIMAL "n_layer = 0", "q8_0", "n_layer cannot be '0'"},
      {MINIMAL "n_layer = 99999999999999999999", "q8_0", "n_layer cannot be '99999999999999999999'"},
      {MINIMAL "n_layer =", "q8_0", "n_layer cannot be ''"},
      {MINIMAL "rope_base = -1", "q8_0", "rope_base cannot be '-1'"},
      {MINIMAL "rope_base = 1.5.5", "q8_0", "rope_base cannot be '1.5.5'"},
      {MINIMAL "rope_base = 0", "q8_0", "rope_base cannot be '0'"},
      {MINIMAL "rope_base = 1e99", "q8_0", "rope_base cannot be '1e99'"},
      {MINIMAL "rope_base = e5", "q8_0", "rope_base cannot be 'e5'"},
      {MINIMAL "tied = maybe", "q8_0", "tied cannot be 'maybe'"},
      {MINIMAL "pre = 0123456789012345678901234567890123", "q8_0", "pre cannot be"},
      {MINIMAL "n_head_kv = 3", "q8_0", "n_head is not a multiple of n_head_kv"},
      {MINIMAL "rope_dim = 34", "q8_0", "rope_dim must be even and at most head_dim"},
      {MINIMAL "rope_dim = 31", "q8_0", "rope_dim must be even and at most head_dim"},
      {MINIMAL "n_vocab = 288", "q8_0", "n_vocab must be at least 289"},
      {"", "q8_0", "shape: architecture is missing"},
      {"architecture = llama\nn_layer = 2", "q8_0", "shape: n_embd is missing"},
      {MINIMAL, "q9_0", "unknown type 'q9_0'"},
      {MINIMAL, "q4_0+", "unknown type 'q4_0+'"},
      {MINIMAL, "q4_0+q4_k_m", "unknown type 'q4_0+q4_k_m'"},
      {MINIMAL, "a_name_that_is_far_too_long_for_a_type", "unknown type"},
      {NULL, "q8_0", "a path, a shape and a type are needed"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct tb_synth_options options = {cases[i].shape, cases[i].type, 0};
    struct tb_error err = {0};
    assert_int_equal(tb_synth(tmpdir_file(&dir, "x"), &options, NULL, &err), TB_E_ARG);
    if (!strstr(err.text, cases[i].text)) fail_msg("expected '%s', got '%s'", cases[i].text, err.text);
  }
  assert_int_equal(tmpdir_count(&dir), 0);
  struct tb_synth_options good = {"# comment\r\n\r\n  " MINIMAL, "q8_0", 0};
  struct tb_error err = {0};
  assert_int_equal(tb_synth(tmpdir_file(&dir, "no/x"), &good, NULL, &err), TB_E_IO);
  assert_int_equal(tb_synth(tmpdir_file(&dir, "x"), &good, NULL, &err), TB_OK);
}

/* Each allocation fails in turn: typed error, no leak, no file. And a large model takes no more memory than a small. */
static void test_memory(void **state) {
  (void)state;
  struct tb_synth_options options = {shape_text("tiny-llama", ""), "q4_0", 0};
  size_t peak[2];
  for (size_t at = 1;; at++) {
    struct count_alloc c;
    count_alloc_init(&c);
    c.fail_at = at;
    struct tb_error err = {0};
    enum tb_status s = tb_synth(tmpdir_file(&dir, "x"), &options, &c.hooks, &err);
    assert_int_equal(c.blocks, 0);
    assert_int_equal(tmpdir_count(&dir), s ? 0 : 1);
    peak[0] = c.peak;
    if (!s) break;
    assert_int_equal(s, TB_E_NOMEM);
  }
  struct count_alloc c;
  count_alloc_init(&c);
  options.shape = shape_text("tiny-llama", "n_embd = 1024\nn_ff = 4096");
  assert_int_equal(tb_synth(tmpdir_file(&dir, "x"), &options, &c.hooks, NULL), TB_OK);
  peak[1] = c.peak;
  assert_true(peak[1] < peak[0] + 4096);
}

/* In memory it is the file, byte for byte, tensors of many pieces included; and a model opens from it. */
static void test_image(void **state) {
  (void)state;
  static const char *const types[] = {"q8_0", "q6_k", "f16"};
  for (int i = 0; i < 3; i++) {
    struct tb_synth_options options = {shape_text("tiny-k256", "n_vocab = 3000"), types[i], 7};
    struct tb_error err = {0};
    unsigned char *file;
    size_t n_file, n;
    void *image;
    assert_int_equal(tb_synth(tmpdir_file(&dir, "f"), &options, NULL, NULL), TB_OK);
    read_file("f", &file, &n_file);
    assert_int_equal(tb_synth_image(&image, &n, &options, &tb_system_allocator, &err), TB_OK);
    assert_int_equal(n, n_file);
    assert_memory_equal(image, file, n);
    tb_free(&tb_system_allocator, image);
    free(file);
    struct tb_model *model;
    assert_int_equal(tb_model_open_synthetic(&model, &options, NULL, &err), TB_OK);
    struct tb_model_info info;
    tb_model_get_info(model, &info);
    assert_int_equal(info.file_bytes, n);
    assert_int_equal(info.n_vocab, 3000);
    tb_model_free(model);
  }
}

/* Each allocation fails in turn. */
static void test_image_memory(void **state) {
  (void)state;
  struct tb_synth_options options = {shape_text("tiny-llama", ""), "q4_0", 0};
  for (size_t at = 1;; at++) {
    struct count_alloc c;
    count_alloc_init(&c);
    c.fail_at = at;
    struct tb_error err = {0};
    struct tb_model_options model_options = {.allocator = &c.hooks};
    struct tb_model *model = NULL;
    enum tb_status s = tb_model_open_synthetic(&model, &options, &model_options, &err);
    if (!s) tb_model_free(model);
    assert_int_equal(c.blocks, 0);
    if (!s) break;
    assert_int_equal(s, TB_E_NOMEM);
  }
  struct tb_error err;
  struct tb_model *model = NULL;
  options.type = "q99";
  assert_int_equal(tb_model_open_synthetic(&model, &options, NULL, &err), TB_E_ARG);
  options.shape = NULL;
  assert_int_equal(tb_model_open_synthetic(&model, &options, NULL, &err), TB_E_ARG);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(test_real_shapes),           TEST(test_tiny_shapes),     TEST(test_all_shapes_are_tested),
      TEST(test_mixes),                 TEST(test_block_statistics), TEST(test_norms_biases_divisors),
      TEST(test_llama3_divisors),       TEST(test_vocabulary),      TEST(test_overrides),
      TEST(test_seed),                  TEST(test_wrong_shapes),    TEST(test_memory),
      TEST(test_image),                 TEST(test_image_memory),
  };
  return cmocka_run_group_tests_name("synth", tests, NULL, NULL);
}
