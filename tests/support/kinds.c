#include "tests/support/kinds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/rng.h"

const struct tb_kind kinds[KINDS + KINDS_SPILLED] = {
    {"skvqx", "thimble-plan 1\n0-2 skvqx2 skvqx1.5 window=16 sinks=3\n"},
    {"skvq", "thimble-plan 1\n0-2 skvq2 skvq1.5 window=16 sinks=3\n"},
    {"lowrank", "thimble-plan 1\n0-2 lowrank:16:4 lowrank:16:4 window=16 sinks=3\n"},
    {"cskv", "thimble-plan 1\n0-2 cskv:32:8 cskv:32:8 window=16 sinks=3\n"},
    {"recall of rows", "thimble-plan 1\n0-2 q8_0 f16 recall=32 cluster=8 segment=160 window=8 sinks=3\n"},
    {"recall of blocks", "thimble-plan 1\n0-2 skvqx2 q4_0 recall=32 cluster=8 segment=160 window=8 sinks=3\n"},
    {"recall as published", "thimble-plan 1\n0-2 f16 q8_0 recall=32 segment=160 window=8 sinks=3 form=1\n"},
    {"merge", "thimble-plan 1\n0 f16 f16\n1 q8_0 q4_0 window=8 sinks=3 merge=up cosine=0\n"
              "2 q8_0 q4_0 window=8 sinks=3 merge=down cosine=0\n"},
    {"merge of blocks", "thimble-plan 1\n0 f16 f16\n1 skvqx2 skvqx2 merge=up cosine=0 window=0\n"
                        "2 skvqx2 skvqx2 merge=down cosine=0 window=0\n"},
    {"spilled rows",
     "thimble-plan 1\n0 f16 f16\n1-2 q8_0 f16 recall=32 cluster=8 segment=160 window=8 sinks=3 resident=160\n"},
    {"spilled blocks",
     "thimble-plan 1\n0-2 skvqx2 skvqx2 recall=32 cluster=8 segment=160 window=8 sinks=3 resident=160\n"},
    {"spilled rows and blocks",
     "thimble-plan 1\n0-2 f16 skvqx2 recall=32 cluster=8 segment=160 window=8 sinks=3 resident=160\n"},
};

struct tb_model *kinds_model(const char *model_path, const char *profile_path, const struct tb_allocator *a) {
  static const char shape[] =
      "architecture = llama\nname = kinds\npre = smollm\nn_layer = 3\nn_embd = 64\nn_head = 4\nn_head_kv = 2\n"
      "head_dim = 32\nn_ff = 96\nn_vocab = 400\nn_ctx = 512\nrope_base = 10000\nrms_eps = 1e-5\ntied = yes\n";
  static char text[6000];
  struct tb_rng rng = {20260801};
  struct tb_error err;
  struct tb_model *model;
  const char *tier = getenv("TB_ISA");
  const struct tb_synth_options options = {.shape = shape, .type = "q8_0", .seed = 3};
  const struct tb_model_options mo = {.allocator = a, .isa = tier && *tier ? tier : NULL};
  const struct tb_calibrate_options brief = {.n_tokens = 1200, .n_ctx = 256, .n_threads = 2, .no_losses = true};
  if (tb_synth(model_path, &options, NULL, &err) || tb_model_open(&model, model_path, &mo, &err))
    fail_msg("%s", err.text);
  for (size_t i = 0; i < sizeof text; i++)
    text[i] = "etaoin shrdlu cmf.wyp, vbgkqjxz"[tb_rng_next(&rng) >> 59];
  if (tb_calibrate(model, text, sizeof text, profile_path, &brief, NULL, NULL, &err)) fail_msg("%s", err.text);
  return model;
}

struct tb_context_options kinds_options(const struct tb_kind *k, const char *profile_path, const char *folder) {
  return (struct tb_context_options){.n_ctx = KINDS_CTX,
                                     .n_batch = 64,
                                     .n_threads = 1,
                                     .kv_plan = k->plan,
                                     .kv_profile = profile_path,
                                     .kv_spill = folder};
}
