/* hparams: edits of a good model's metadata and tensors, as bytes: what to change, how, with which value. The file stays
 * well-formed GGUF. Refused with one line that names the file, or it opens and decodes to finite logits or a typed error;
 * nothing leaks. */
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "tests/support/count_alloc.h"
#include "tests/support/gguf_edit.h"
#include "thimble.h"

static const char *const more[] = {
    "architecture = llama\nrope_freqs = yes\nrope_factor = 8\nrope_orig_ctx = 32\n",
    "architecture = qwen2\nbias = yes\ntied = yes\n",
    "architecture = qwen3\nqk_norm = yes\nrope_scaling = yarn\nrope_factor = 2\nrope_orig_ctx = 32\n",
};
enum { BASES = sizeof more / sizeof more[0] };
static struct gguf_edit bases[BASES];
static const char *path;

static void set_up(void) {
  path = fuzz_scratch("gguf");
  for (int i = 0; i < BASES; i++) {
    char shape[512];
    struct tb_gguf *g;
    struct tb_error err;
    snprintf(shape, sizeof shape, "%spre = qwen2\nn_layer = 2\nn_embd = 32\nn_head = 4\nn_head_kv = 2\nhead_dim = 16\nn_ff = 64\n"
                                  "n_vocab = 300\nn_ctx = 64\n", more[i]);
    const struct tb_synth_options options = {shape, "q8_0", 1};
    FUZZ_CHECK(tb_synth(path, &options, NULL, &err) == TB_OK);
    FUZZ_CHECK(tb_gguf_open(&g, path, &tb_system_allocator, &err) == TB_OK);
    edit_read(&bases[i], g);
    tb_gguf_free(g);
  }
}

static uint64_t any_number(struct fuzz_input *in) {
  static const uint64_t odd[] = {0, 1, 2, 3, 4, 16, 32, 33, 64, 255, 1024, 65536, 0x3fffffff, 0x7fffffff, 0x80000000, 0xffffffff,
                                 0x7f800000, 0x7fc00000, 0x00000001, 0xff7fffff, (uint64_t)1 << 63, UINT64_MAX};
  const uint8_t how = fuzz_u8(in);
  if (how < 128) return odd[how % (sizeof odd / sizeof odd[0])];
  return how < 192 ? fuzz_u8(in) : (uint64_t)fuzz_u32(in) << (how % 2 ? 32 : 0) | fuzz_u32(in);
}

static void edit_key(struct gguf_edit *e, struct fuzz_input *in) {
  static const char *const optional[] = {"attention.scale", "expert_count", "rope.scaling.attn_factor", "rope.scaling.yarn_beta_fast",
                                         "rope.scaling.yarn_beta_slow", "attention.sliding_window", "attention.value_length"};
  static const uint8_t bytes[13] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  char key[96];
  const uint32_t i = fuzz_below(in, (uint32_t)e->n_kvs + 8);
  if (i < e->n_kvs) {
    snprintf(key, sizeof key, "%s", e->kvs[i].key);
  } else {
    char arch[32] = "llama";
    for (size_t k = 0; k < e->n_kvs; k++)
      if (strcmp(e->kvs[k].key, "general.architecture") == 0 && e->kvs[k].n > 8 && e->kvs[k].n < 24)
        snprintf(arch, sizeof arch, "%.*s", (int)e->kvs[k].n - 8, (const char *)e->kvs[k].data + 8);
    snprintf(key, sizeof key, "%s.%s", arch, optional[(i - e->n_kvs) % 7]);
  }
  const uint8_t how = fuzz_u8(in) % 8;
  if (how == 0 && i < e->n_kvs) {
    edit_remove_kv(e, key);
  } else if (how < 4 && i < e->n_kvs && e->kvs[i].n) { /* a number in place */
    const uint64_t v = any_number(in);
    const size_t at = fuzz_below(in, (uint32_t)e->kvs[i].n) & ~(size_t)3, n = e->kvs[i].n - at < 8 ? e->kvs[i].n - at : 8;
    memcpy(e->kvs[i].data + at, &v, n < 4 || e->kvs[i].type != TB_GGUF_STRING ? n : 0);
  } else if (how < 6) { /* a scalar of any type */
    const uint32_t type = fuzz_below(in, 13);
    const uint64_t v = any_number(in);
    if (bytes[type]) edit_set(e, key, type, type, 1, &v, bytes[type]);
  } else { /* an array */
    uint64_t values[8];
    const uint32_t type = fuzz_below(in, 13), n = fuzz_below(in, 8);
    for (uint32_t k = 0; k < n; k++) values[k] = any_number(in);
    unsigned char packed[64];
    for (uint32_t k = 0; k < n; k++) memcpy(packed + k * bytes[type], &values[k], bytes[type]);
    if (bytes[type]) edit_set(e, key, TB_GGUF_ARRAY, type, n, packed, n * bytes[type]);
  }
}

static void edit_one_tensor(struct gguf_edit *e, struct fuzz_input *in) {
  if (e->n_tensors == 0) return;
  struct edit_tensor *t = &e->tensors[fuzz_below(in, (uint32_t)e->n_tensors)];
  switch (fuzz_u8(in) % 6) {
  case 0: edit_remove_tensor(e, t->name); break;
  case 1: t->ne[fuzz_below(in, 4)] = any_number(in); break;
  case 2: t->id = (uint32_t)any_number(in) % 40; break;
  case 3: t->n_dims = fuzz_below(in, 6); break;
  case 4: edit_resize(t, fuzz_u32(in) % 65536); break;
  default:
    for (uint32_t k = 0, n = fuzz_below(in, 64); k < n && t->n > 4; k++) {
      const uint32_t v = (uint32_t)any_number(in);
      memcpy(t->data + fuzz_u32(in) % (t->n - 3), &v, 4);
    }
  }
}

static enum tb_status decode(const struct tb_model *model, struct tb_error *err) {
  struct tb_model_info info;
  struct tb_context *ctx;
  tb_model_get_info(model, &info);
  const struct tb_context_options options = {.n_ctx = 8, .n_threads = 1};
  enum tb_status s = tb_context_create(&ctx, model, &options, err);
  if (s) return s;
  const tb_token ids[] = {0, 5 % (tb_token)info.n_vocab, (tb_token)info.n_vocab - 1};
  s = tb_eval(ctx, ids, 3, NULL, NULL, err);
  const float *logits = s ? NULL : tb_logits(ctx);
  for (uint32_t i = 0; logits && i < info.n_vocab; i++) FUZZ_CHECK(isfinite(logits[i]));
  tb_context_free(ctx);
  return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct fuzz_input in = {data, size};
  struct count_alloc c;
  struct tb_error err = {0};
  struct tb_model *model = NULL;
  if (!path) set_up();
  struct gguf_edit e = edit_copy(&bases[fuzz_u8(&in) % BASES]);
  for (int i = 0; i < 16 && in.n > 0; i++) {
    if (fuzz_u8(&in) % 3) edit_key(&e, &in);
    else edit_one_tensor(&e, &in);
  }
  edit_write(&e, path);
  edit_free(&e);
  count_alloc_init(&c);
  const struct tb_model_options options = {.allocator = &c.hooks};
  enum tb_status s = tb_model_open(&model, path, &options, &err);
  if (s) {
    FUZZ_CHECK(s == TB_E_FORMAT || s == TB_E_UNSUPPORTED || s == TB_E_LIMIT);
    FUZZ_CHECK(err.status == s && strstr(err.text, path) == err.text && !strchr(err.text, '\n'));
  } else {
    s = decode(model, &err);
    FUZZ_CHECK(s == TB_OK || s == TB_E_NUMERIC || s == TB_E_LIMIT || s == TB_E_UNSUPPORTED);
    tb_model_free(model);
  }
  FUZZ_CHECK(c.blocks == 0);
  return 0;
}
