/* session: any bytes as a session file, loaded into a live conversation (plain, with recall, with merged layers).
 * Whatever is wrong is refused with one line and the conversation stays as it was; what is accepted can be continued and
 * cut. The mutator keeps the checksums right, so that the fields behind them are reached. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>
#include "base/checksum.h"
#include "base/rng.h"
#include "thimble.h"

enum { HEADER = 72, CRC = 4, TRAILER = 8, BLOCK = 1 << 20, LIVE = 5, PLAN = 32 /* where a file names its plan */ };

static const char shape[] =
    "architecture = llama\nname = test\nn_embd = 64\nn_head = 2\nn_head_kv = 1\nn_ff = 32\n"
    "n_vocab = 300\nn_ctx = 192\nrope_base = 10000\nrms_eps = 1e-5\ntied = yes\npre = smollm\n";

/* A conversation for each way of keeping things; a file goes to the one whose plan it names. */
static struct kind {
  const char *layers, *plan;
  uint32_t n_ctx;
  int saved; /* tokens of the sample */
  struct tb_model *model;
  struct tb_context *live;
  double want; /* what the live conversation answers */
  uint8_t sample[1 << 14];
  size_t sample_size;
} kinds[] = {
    {.layers = "n_layer = 1\n", .plan = "thimble-plan 1\n0 q8_0 f16\n", .n_ctx = 32, .saved = 3},
    {.layers = "n_layer = 1\n", .n_ctx = 192, .saved = 165,
     .plan = "thimble-plan 1\n0 q8_0 q4_0 window=0 sinks=1 recall=16 cluster=8 segment=160\n"},
    {.layers = "n_layer = 2\n", .n_ctx = 192, .saved = 165,
     .plan = "thimble-plan 1\n0 q4_0 q4_0 window=0 sinks=1 merge=up cosine=0\n1 q4_0 q4_0 window=0 sinks=1 merge=down cosine=0\n"},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };
static const char *path;

static void feed(const struct kind *k, tb_token first, int n) {
  struct tb_error err;
  for (tb_token i = 0; i < n; i++) FUZZ_CHECK(tb_eval(k->live, &(tb_token){(first + i) % 300}, 1, NULL, NULL, &err) == TB_OK);
}

static uint32_t length(const struct kind *k) {
  struct tb_context_info info;
  tb_context_get_info(k->live, &info);
  return info.n_past;
}

/* A sum over the logits of one more token, which is taken back. */
static double answer(const struct kind *k) {
  const uint32_t n = length(k);
  feed(k, 42, 1);
  double sum = 0;
  for (int i = 0; i < 300; i++) sum += (double)tb_logits(k->live)[i] * (i + 1);
  FUZZ_CHECK(tb_truncate(k->live, n, NULL) == TB_OK);
  return sum;
}

static const char *profile_of(const struct tb_model *model, const char *file) {
  static char text[4000];
  struct tb_error err;
  for (size_t i = 0; i < sizeof text; i++) text[i] = "the quick brown fox "[i * i % 20];
  const struct tb_calibrate_options o = {.n_tokens = 600, .n_ctx = 128, .n_threads = 1, .no_losses = true};
  FUZZ_CHECK(tb_calibrate(model, text, sizeof text, file, &o, NULL, NULL, &err) == TB_OK);
  return file;
}

static void start(struct kind *k, const char *file, const char *profile) {
  struct tb_error err;
  char text[1024];
  snprintf(text, sizeof text, "%s%s", shape, k->layers);
  const struct tb_synth_options options = {.shape = text, .type = "q8_0", .seed = 3};
  FUZZ_CHECK(tb_synth(file, &options, NULL, &err) == TB_OK);
  FUZZ_CHECK(tb_model_open(&k->model, file, NULL, &err) == TB_OK);
  struct tb_context_options co = {.n_ctx = k->n_ctx, .n_threads = 1, .kv_plan = k->plan};
  if (strstr(k->plan, "merge")) co.kv_profile = profile_of(k->model, profile);
  FUZZ_CHECK(tb_context_create(&k->live, k->model, &co, &err) == TB_OK);
  feed(k, 100, k->saved);
  FUZZ_CHECK(tb_session_save(k->live, path, "words", 5, &err) == TB_OK);
  FILE *f = fopen(path, "rb");
  FUZZ_CHECK(f);
  k->sample_size = fread(k->sample, 1, sizeof k->sample, f);
  FUZZ_CHECK(k->sample_size < sizeof k->sample);
  fclose(f);
  FUZZ_CHECK(tb_truncate(k->live, 0, &err) == TB_OK);
  feed(k, 7, LIVE);
  k->want = answer(k);
}

static void set_up(void) {
  if (path) return;
  const char *file = fuzz_scratch("gguf"), *profile = fuzz_scratch("profile");
  path = fuzz_scratch("session");
  for (size_t i = 0; i < KINDS; i++) start(&kinds[i], file, profile);
}

/* The cache may hold any numbers, so that logits may be refused; taking tokens back unpacks what was packed. */
static void check_accepted(const struct kind *k, void *extra, size_t n) {
  struct tb_error err;
  volatile unsigned char sum = 0;
  for (size_t i = 0; i < n; i++) sum = (unsigned char)(sum + ((unsigned char *)extra)[i]);
  tb_session_free_extra(k->live, extra);
  FUZZ_CHECK(length(k) <= k->n_ctx);
  for (uint32_t more = 2; more-- > 0;) {
    if (length(k) < k->n_ctx) {
      enum tb_status s = tb_eval(k->live, &(tb_token){1}, 1, NULL, NULL, &err);
      FUZZ_CHECK(s == TB_OK || s == TB_E_NUMERIC);
    }
    FUZZ_CHECK(tb_truncate(k->live, more ? length(k) / 2 : 0, &err) == TB_OK);
  }
  feed(k, 7, LIVE);
}

static struct kind *kind_of(const uint8_t *data, size_t size) {
  for (size_t i = 1; size >= HEADER && i < KINDS; i++)
    if (memcmp(data + PLAN, kinds[i].sample + PLAN, 8) == 0) return &kinds[i];
  return &kinds[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static unsigned refused;
  struct tb_error err = {0};
  void *extra = NULL;
  size_t n = 0;
  set_up();
  struct kind *k = kind_of(data, size);
  fuzz_write(path, data, size);
  enum tb_status s = tb_session_load(k->live, path, &extra, &n, &err);
  if (s == TB_OK) {
    check_accepted(k, extra, n);
    FUZZ_CHECK(answer(k) == k->want);
    return 0;
  }
  FUZZ_CHECK(s == TB_E_FORMAT || s == TB_E_UNSUPPORTED || s == TB_E_ARG || s == TB_E_CONTEXT || s == TB_E_NOMEM || s == TB_E_LIMIT);
  FUZZ_CHECK(err.status == s && strstr(err.text, path) == err.text && !strchr(err.text, '\n'));
  FUZZ_CHECK(length(k) == LIVE);
  if (refused++ % 8 == 0) FUZZ_CHECK(answer(k) == k->want);
  return 0;
}

/* ------------------------------------------------------------------------------------------------------- mutator */

static uint64_t get(const uint8_t *p, size_t n) {
  uint64_t v = 0;
  memcpy(&v, p, n);
  return v;
}

static uint64_t crc(const uint8_t *p, size_t n, bool wide) {
  static struct tb_crc narrow_crc, wide_crc;
  struct tb_crc *c = wide ? &wide_crc : &narrow_crc;
  if (!narrow_crc.invert) tb_crc32c_start(&narrow_crc), tb_crc64_start(&wide_crc);
  tb_crc_restart(c);
  tb_crc_add(c, p, n);
  return tb_crc_value(c);
}

/* Lengths and checksums agree with what the file now holds; inputs are smaller than a block. */
static size_t repair(uint8_t *data, size_t size, size_t max_size, bool lengths) {
  if (size < HEADER + CRC + TRAILER || size > max_size) return size;
  const uint64_t payload = size - HEADER - CRC - TRAILER, total = size;
  if (lengths) {
    const uint64_t words = 4 * (get(data + 40, 4) + get(data + 44, 4)), extra = get(data + 48, 8);
    memcpy(data + 16, &total, 8);
    if (words <= payload && extra <= payload - words) {
      const uint64_t cache = payload - words - extra;
      memcpy(data + 56, &cache, 8);
    }
  }
  uint64_t v = crc(data, 64, false);
  memcpy(data + 64, &v, 4);
  v = crc(data + HEADER, payload, false);
  memcpy(data + HEADER + payload, &v, 4);
  v = crc(data, size - TRAILER, true);
  memcpy(data + size - TRAILER, &v, 8);
  return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
  static const uint8_t fields[][2] = {{0, 8}, {8, 4}, {12, 4}, {16, 8}, {24, 8}, {32, 8}, {40, 4}, {44, 4}, {48, 8}, {56, 8}, {64, 4}, {68, 4}};
  static const uint64_t odd[] = {0, 1, 2, 3, 4, 5, 31, 32, 33, 64, 0x7fffffff, 0xffffffff, (uint64_t)1 << 32, INT64_MAX, UINT64_MAX};
  struct tb_rng rng = {seed};
  set_up();
  const struct kind *k = &kinds[tb_rng_next(&rng) % KINDS];
  if ((size < HEADER + CRC + TRAILER || memcmp(data, k->sample, 8) != 0) && k->sample_size <= max_size && tb_rng_next(&rng) % 16)
    memcpy(data, k->sample, size = k->sample_size);
  if (size < HEADER + CRC + TRAILER) return LLVMFuzzerMutate(data, size, max_size);
  const unsigned what = (unsigned)(tb_rng_next(&rng) % 8);
  if (what < 3) {
    const uint8_t *f = fields[tb_rng_next(&rng) % (sizeof fields / sizeof fields[0])];
    uint64_t v = tb_rng_next(&rng) % 3 ? odd[tb_rng_next(&rng) % 15] : get(data + f[0], f[1]) + 1 - tb_rng_next(&rng) % 3;
    memcpy(data + f[0], &v, f[1]);
  } else if (what < 7) { /* the payload: tokens, state words, the caller's bytes, the cache */
    size_t n = size - HEADER - CRC - TRAILER;
    const size_t from = n ? (size_t)(tb_rng_next(&rng) % (tb_rng_next(&rng) % 2 ? n : n < 64 ? n : 64)) : 0;
    n = LLVMFuzzerMutate(data + HEADER + from, n - from, tb_rng_next(&rng) % 2 ? n - from : max_size - size + n - from);
    size = HEADER + from + n + CRC + TRAILER;
  } else {
    return LLVMFuzzerMutate(data, size, max_size); /* the checksums themselves */
  }
  return tb_rng_next(&rng) % 8 ? repair(data, size, max_size, tb_rng_next(&rng) % 4 != 0) : size;
}
