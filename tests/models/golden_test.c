/* Greedy text of a real trained model (stories260K) against the golden file of its reference program. The data is
 * beside the repository (../shared/data) or where TB_SHARED_DATA says; without it the test says so and is counted as
 * skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "thimble.h"

static bool data_file(char path[4096], const char *name) {
  const char *dir = getenv("TB_SHARED_DATA");
  snprintf(path, 4096, "%s/%s", dir && *dir ? dir : TB_SOURCE_DIR "/../shared/data", name);
  return access(path, R_OK) == 0;
}

static void generate(struct tb_model *model, uint32_t threads, const char *type, char *text, size_t cap) {
  struct tb_error err;
  struct tb_context *ctx;
  struct tb_sampler *sampler;
  struct tb_context_options co = {.n_ctx = 512, .n_threads = threads, .type_k = type, .type_v = type};
  struct tb_sampler_options so = {.temperature = 0, .repeat_penalty = 1, .top_p = 1};
  if (tb_context_create(&ctx, model, &co, &err) != TB_OK) fail_msg("%s", err.text);
  assert_int_equal(tb_sampler_create(&sampler, model, &so, &err), TB_OK);
  tb_token token = 1; /* BOS */
  size_t used = 0;
  for (int i = 0; i < 200; i++) {
    if (tb_eval(ctx, &token, 1, NULL, NULL, &err) != TB_OK) fail_msg("%s", err.text);
    token = tb_sampler_pick(sampler, tb_logits(ctx));
    if (tb_token_ends(model, token)) break;
    used += tb_token_text(model, token, false, text + used, cap - used - 1);
  }
  text[used] = '\0';
  tb_sampler_free(sampler);
  tb_context_free(ctx);
}

static void stories260k(void **state) {
  (void)state;
  char path[4096];
  static char golden[16384], got[16384];
  if (!data_file(path, "models/stories260K/golden_greedy_n200.txt")) {
    print_message("SKIPPED: no shared test data (set TB_SHARED_DATA to its folder)\n");
    skip();
  }
  FILE *f = fopen(path, "rb");
  size_t n = fread(golden, 1, sizeof golden - 1, f);
  fclose(f);
  while (n > 0 && (golden[n - 1] == '\n' || golden[n - 1] == ' '))
    n--;
  golden[n] = '\0';
  assert_true(data_file(path, "models/stories260K/stories260Ktok512.gguf"));
  struct tb_model *model;
  struct tb_error err;
  const char *tier = getenv("TB_ISA");
  struct tb_model_options mo = {.isa = tier && *tier ? tier : NULL};
  if (tb_model_open(&model, path, &mo, &err) != TB_OK) fail_msg("%s", err.text);
  for (uint32_t threads = 1; threads <= 3; threads++) {
    generate(model, threads, threads == 2 ? "f32" : "f16", got, sizeof got);
    const char *text = got[0] == ' ' ? got + 1 : got; /* the first word's blank */
    assert_memory_equal(text, golden, n);
    assert_true(strlen(text) - n < 24); /* nothing but the last word may follow */
  }
  tb_model_free(model);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(stories260k)};
  return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
