/* The engine's logits against an independent double-precision decoder (naive.h), for every architecture × tensor type.
 *
 * Two comparisons, each as relative error ||engine - naive|| / ||naive|| over the logits of a position:
 *
 *  1. against the decoder that rounds its matrix inputs to the same 8-bit codes. What is left is float rounding, and the
 *     codes that it flips: a value within 2^-20 of a rounding boundary takes the neighbouring code, which costs 1/127 of
 *     the group's maximum. About one code in 10^4 flips, so the error stays below 1e-2 · sqrt(1e-4 · flips in depth) ~ 2e-3.
 *     Bound: FLIPS = 4e-3; float formats (no codes at all): FLOATS = 2e-5.
 *
 *  2. against the exact decoder: this is what activation rounding costs. Codes have a step d = max/127 over 32 values; for
 *     normal activations max ≈ 2.1 sigma, so the rounding noise is d/sqrt(12) = 0.0048 sigma: relative error 0.5 % per
 *     matrix product. Products follow each other 4 times per layer and once at the head; their noises are independent and
 *     the residual stream carries all of them: sqrt(4·L + 1) · 0.0048. Values that cancel raise it; factor 3 on top.
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

#define FLIPS 4e-3
#define FLOATS 2e-5

enum { TOKENS = 24 };

static const char llama[] = "architecture = llama\nname = test\nn_layer = 2\nn_embd = 256\nn_head = 4\nn_head_kv = 2\n"
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

static const char *const types[] = {"f32",  "f16",  "bf16", "q8_0", "q4_0", "q4_1", "q5_0",   "q5_1",
                                    "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "q4_k_m"};

static const char *isa(void) {
  const char *tier = getenv("TB_ISA");
  return tier && *tier ? tier : NULL;
}

struct collected {
  float *logits; /* TOKENS × vocab */
  size_t vocab;
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

/* Largest relative error over the positions of logits against the naive decoder. */
static double worst_error(const struct tb_gguf *g, bool rounded, const tb_token *tokens, const float *logits, size_t vocab) {
  struct naive *naive = naive_open(g, rounded);
  double *want = malloc(vocab * sizeof *want), worst = 0;
  assert_int_equal(naive_vocab(naive), vocab);
  for (int i = 0; i < TOKENS; i++) {
    naive_step(naive, tokens[i], want);
    worst = fmax(worst, relative_error(logits + (size_t)i * vocab, want, vocab));
  }
  free(want);
  naive_free(naive);
  return worst;
}

/* The same tokens in one batch, or one by one. */
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
  out->logits = malloc((size_t)TOKENS * info.n_vocab * sizeof *out->logits);
  if (tb_context_create(&ctx, model, &co, &err) != TB_OK) fail_msg("%s", err.text);
  for (size_t i = 0; i < (batch ? 1 : TOKENS); i++) {
    struct collected at = {out->logits + i * out->vocab, out->vocab};
    if (tb_eval_all(ctx, tokens + i, batch ? TOKENS : 1, collect, &at, &err) != TB_OK) fail_msg("%s", err.text);
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
  for (int i = 0; i < TOKENS; i++) tokens[i] = (i * 37 + 11) % 300;
  make_file(path, extra, type);
  run_engine(path, tokens, true, 1, &batch);
  run_engine(path, tokens, false, 1, &single);
  run_engine(path, tokens, true, 3, &threads);
  assert_memory_equal(batch.logits, threads.logits, TOKENS * batch.vocab * sizeof(float));
  assert_int_equal(tb_gguf_open(&g, path, &tb_system_allocator, &err), TB_OK);
  const bool floats = type[0] == 'f' || type[0] == 'b';
  const double same = floats ? FLOATS : FLIPS, exact = floats ? FLOATS : 3 * 0.0048 * sqrt(4 * 2 + 1);
  double e[3] = {worst_error(g, true, tokens, batch.logits, batch.vocab), worst_error(g, true, tokens, single.logits, batch.vocab),
                 worst_error(g, false, tokens, batch.logits, batch.vocab)};
  tb_gguf_free(g);
  unlink(path);
  print_message("%-18s %-7s batch %.1e  single %.1e  exact %.1e\n", name, type, e[0], e[1], e[2]);
  if (!(e[0] <= same && e[1] <= same && e[2] <= exact))
    fail_msg("%s %s: bounds are %.1e and %.1e", name, type, same, exact);
  free(batch.logits);
  free(single.logits);
  free(threads.logits);
}

static void every_type(void **state) {
  (void)state;
  for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) check("llama", "", types[t]);
  for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) check("qwen2", variants[7].extra, types[t]);
  for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) check("qwen3", variants[8].extra, types[t]);
}

static void every_variant(void **state) {
  (void)state;
  for (size_t v = 0; v < sizeof variants / sizeof variants[0]; v++) {
    check(variants[v].name, variants[v].extra, "f32");
    check(variants[v].name, variants[v].extra, "q8_0");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_variant), cmocka_unit_test(every_type)};
  return cmocka_run_group_tests_name("logits", tests, NULL, NULL);
}
