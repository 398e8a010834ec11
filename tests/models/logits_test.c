/* The engine's logits against an independent double-precision decoder (naive.h), for every architecture × tensor type.
 *
 * Two comparisons, each as relative error ||engine - naive|| / ||naive|| over the logits of a position:
 *
 *  1. against the decoder that rounds its matrix inputs to the same 8-bit codes. What is left is float rounding: FLOATS
 *     = 2e-5 (about 4·L products of relative error k·2^-24 each, k ≤ 512). But a value that lies within that error of a
 *     rounding boundary takes the neighbouring code, and one flipped code shifts everything behind it, later tokens
 *     included, so only a part of the positions can be held to it. The tokens are cut into eight short sequences, so that
 *     a flip spoils one of them, and a quarter of all positions must agree. A wrong rotation, mask or tensor would spoil
 *     all but the first positions, which are a sixth.
 *
 *  2. every position against the exact decoder: this is what activation rounding costs. Codes have a step d = max/127
 *     over 32 values; for normal activations max is about 2.1 sigma, so the rounding noise is d/sqrt(12) = 0.0048 sigma: a
 *     relative error of 0.5 % per matrix product (of pairs of bf16: 2^-8 / sqrt(12) = 0.0011). Products follow each other
 *     4 times per layer and once at the head; their noises are independent and the residual stream carries all of them:
 *     sqrt(4·L + 1) · 0.0048 = 1.4 % for L = 2. The worst of 48 positions, where logits cancel most, is allowed four
 *     times that.
 *
 * The KV cache is f32 in these runs, so that it adds nothing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "models/naive.h"
#include "thimble.h"

#define FLOATS 2e-5

enum { SEQUENCES = 8, LENGTH = 6, TOKENS = SEQUENCES * LENGTH };

static const char llama[] =
    "architecture = llama\nname = test\nn_layer = 2\nn_embd = 256\nn_head = 4\nn_head_kv = 2\n"
    "n_ff = 512\nn_vocab = 512\nn_ctx = 256\nrope_base = 10000\nrms_eps = 1e-5\ntied = yes\npre = smollm\n";

static const struct {
  const char *name, *extra; /* lines after the llama shape: later keys win */
} variants[] = {
    {"llama", ""},
    {"llama-untied", "tied = no\n"},
    {"llama-mha", "n_head_kv = 4\n"},
    {"llama-mqa-d128", "n_head_kv = 1\nhead_dim = 128\n"},
    {"llama-rope-freqs", "rope_freqs = yes\n"},
    {"llama-linear", "rope_scaling = linear\nrope_factor = 4\n"},
    {"llama-yarn", "rope_scaling = yarn\nrope_factor = 4\nrope_orig_ctx = 64\n"},
    {"qwen2", "architecture = qwen2\nbias = yes\npre = qwen2\n"},
    {"qwen3", "architecture = qwen3\nqk_norm = yes\nhead_dim = 128\npre = qwen2\n"},
};

static const char *const types[] = {"f32",  "f16",  "bf16", "q8_0", "q4_0", "q4_1",   "q5_0",   "q5_1",
                                    "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "q4_k_m"};

static const char *isa(void) {
  const char *tier = getenv("TB_ISA");
  return tier && *tier ? tier : NULL;
}

struct collected {
  float *logits; /* TOKENS × vocab */
  size_t vocab;
  bool pairs; /* the kernels of this CPU round a batch's columns to bf16 for such weights (simd/gemm/gemm.h) */
};

static bool collect(void *user, size_t position, const float *logits) {
  struct collected *c = user;
  memcpy(c->logits + position * c->vocab, logits, c->vocab * sizeof *logits);
  return true;
}

static double relative_error(const float *got, const double *want, size_t n) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < n; i++) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  return sqrt(error / norm);
}

static void make_file(char path[64], const char *extra, const char *type) {
  char shape[1024];
  struct tb_error err;
  snprintf(shape, sizeof shape, "%s%s", llama, extra);
  snprintf(path, 64, "logits_test.%ld.gguf", (long)getpid());
  struct tb_synth_options options = {.shape = shape, .type = type, .seed = 7};
  if (tb_synth(path, &options, NULL, &err) != TB_OK) fail_msg("synth: %s", err.text);
}

static int ascending(const void *a, const void *b) {
  const double *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

/* Relative errors of all positions against the naive decoder, sorted. */
static void errors(const struct tb_gguf *g, enum naive_rounding rounding, const tb_token *tokens, const float *logits,
                   size_t vocab, double e[TOKENS]) {
  struct naive *naive = naive_open(g, rounding);
  double *want = malloc(vocab * sizeof *want);
  assert_int_equal(naive_vocab(naive), vocab);
  for (int i = 0; i < TOKENS; i++) {
    if (i % LENGTH == 0) naive_restart(naive);
    naive_step(naive, tokens[i], want);
    e[i] = relative_error(logits + (size_t)i * vocab, want, vocab);
  }
  qsort(e, TOKENS, sizeof *e, ascending);
  free(want);
  naive_free(naive);
}

/* The same tokens, a sequence in one batch or one by one. */
static void run_engine(const char *path, const tb_token *tokens, bool batch, uint32_t threads, struct collected *out) {
  struct tb_model *model;
  struct tb_context *ctx;
  struct tb_error err;
  struct tb_model_options mo = {.isa = isa()};
  struct tb_context_options co = {.n_ctx = 64, .n_threads = threads, .type_k = "f32", .type_v = "f32"};
  if (tb_model_open(&model, path, &mo, &err) != TB_OK) fail_msg("%s", err.text);
  struct tb_model_info info;
  tb_model_get_info(model, &info);
  out->vocab = info.n_vocab;
  out->pairs = strcmp(info.isa, "avx512bf16") == 0;
  out->logits = malloc((size_t)TOKENS * info.n_vocab * sizeof *out->logits);
  if (tb_context_create(&ctx, model, &co, &err) != TB_OK) fail_msg("%s", err.text);
  const size_t step = batch ? LENGTH : 1;
  for (size_t i = 0; i < TOKENS; i += step) {
    struct collected at = {.logits = out->logits + i * out->vocab, .vocab = out->vocab};
    if (i % LENGTH == 0) assert_int_equal(tb_truncate(ctx, 0, &err), TB_OK);
    if (tb_eval_all(ctx, tokens + i, step, collect, &at, &err) != TB_OK) fail_msg("%s", err.text);
  }
  tb_context_free(ctx);
  tb_model_free(model);
}

static void check(const char *name, const char *extra, const char *type) {
  char path[64];
  struct tb_gguf *g;
  struct tb_error err;
  struct collected batch, single, threads;
  tb_token tokens[TOKENS];
  for (int i = 0; i < TOKENS; i++)
    tokens[i] = (i * 37 + 11) % 300;
  make_file(path, extra, type);
  run_engine(path, tokens, true, 1, &batch);
  run_engine(path, tokens, false, 1, &single);
  run_engine(path, tokens, true, 3, &threads);
  assert_memory_equal(batch.logits, threads.logits, TOKENS * batch.vocab * sizeof(float));
  assert_int_equal(tb_gguf_open(&g, path, &tb_system_allocator, &err), TB_OK);
  const bool floats = type[0] == 'f' || type[0] == 'b';
  const bool pairs = batch.pairs && strcmp(type, "bf16") == 0;
  const double rounding = floats && !pairs ? FLOATS : 4 * (pairs ? 0.0011 : 0.0048) * sqrt(4 * 2 + 1);
  double same[TOKENS], one_by_one[TOKENS], exact[TOKENS];
  errors(g, pairs ? NAIVE_PAIRS : NAIVE_CODES, tokens, batch.logits, batch.vocab, same);
  errors(g, NAIVE_CODES, tokens, single.logits, batch.vocab, one_by_one);
  errors(g, NAIVE_EXACT, tokens, batch.logits, batch.vocab, exact);
  tb_gguf_free(g);
  unlink(path);
  print_message("%-18s %-7s quarter: batch %.1e  single %.1e  worst, exact: %.1e\n", name, type, same[TOKENS / 4],
                one_by_one[TOKENS / 4], exact[TOKENS - 1]);
  if (!(same[TOKENS / 4] <= FLOATS && one_by_one[TOKENS / 4] <= FLOATS && exact[TOKENS - 1] <= rounding))
    fail_msg("%s %s: bounds are %.1e and %.1e", name, type, FLOATS, rounding);
  free(batch.logits);
  free(single.logits);
  free(threads.logits);
}

/* Under an emulator, hundreds of times slower: one variant of each kind. */
static bool emulated(void) { return getenv("QEMU_CPU") != NULL; }

static void every_type(void **state) {
  (void)state;
  if (emulated()) {
    check("llama", "", "q4_k_m");
    check("qwen3", variants[8].extra, "q4_0");
    return;
  }
  for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
    check("llama", "", types[t]);
  for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
    check("qwen2", variants[7].extra, types[t]);
  for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
    check("qwen3", variants[8].extra, types[t]);
}

static void every_variant(void **state) {
  (void)state;
  for (size_t v = 0; v < sizeof variants / sizeof variants[0]; v += emulated() ? 7 : 1) {
    if (!emulated()) check(variants[v].name, variants[v].extra, "f32");
    check(variants[v].name, variants[v].extra, "q8_0");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_variant), cmocka_unit_test(every_type)};
  return cmocka_run_group_tests_name("logits", tests, NULL, NULL);
}
