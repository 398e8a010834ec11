/* session: any bytes as a session file, loaded into a live conversation. Whatever is wrong is refused with one line and
 * the conversation stays as it was; what is accepted can be continued and saved. The mutator keeps the checksums right,
 * so that the fields behind them are reached. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>
#include "base/checksum.h"
#include "base/rng.h"
#include "thimble.h"

enum { HEADER = 72, CRC = 4, TRAILER = 8, BLOCK = 1 << 20, LIVE = 5, N_CTX = 32 };

static const char shape[] =
    "architecture = llama\nname = test\nn_layer = 1\nn_embd = 64\nn_head = 2\nn_head_kv = 1\nn_ff = 32\n"
    "n_vocab = 300\nn_ctx = 32\nrope_base = 10000\nrms_eps = 1e-5\ntied = yes\npre = smollm\n";
static struct tb_model *model;
static struct tb_context *live;
static const char *path;
static uint8_t sample[1 << 16];
static size_t sample_size;

static void feed(tb_token first, int n) {
  struct tb_error err;
  for (tb_token i = 0; i < n; i++) FUZZ_CHECK(tb_eval(live, &(tb_token){(first + i) % 300}, 1, NULL, NULL, &err) == TB_OK);
}

static void set_up(void) {
  struct tb_error err;
  const struct tb_synth_options options = {.shape = shape, .type = "q8_0", .seed = 3};
  const struct tb_context_options co = {.n_ctx = N_CTX, .n_threads = 1, .type_k = "q8_0", .type_v = "f16"};
  const char *file = fuzz_scratch("gguf");
  path = fuzz_scratch("session");
  FUZZ_CHECK(tb_synth(file, &options, NULL, &err) == TB_OK);
  FUZZ_CHECK(tb_model_open(&model, file, NULL, &err) == TB_OK);
  FUZZ_CHECK(tb_context_create(&live, model, &co, &err) == TB_OK);
  feed(100, 3);
  FUZZ_CHECK(tb_session_save(live, path, "words", 5, &err) == TB_OK);
  FILE *f = fopen(path, "rb");
  FUZZ_CHECK(f);
  sample_size = fread(sample, 1, sizeof sample, f);
  fclose(f);
  FUZZ_CHECK(tb_truncate(live, 0, &err) == TB_OK);
  feed(7, LIVE);
}

/* What the live conversation answers: a sum over the logits of one more token, which is taken back. */
static double answer(void) {
  struct tb_error err;
  struct tb_context_info info;
  tb_context_get_info(live, &info);
  feed(42, 1);
  double sum = 0;
  for (int i = 0; i < 300; i++) sum += (double)tb_logits(live)[i] * (i + 1);
  FUZZ_CHECK(tb_truncate(live, info.n_past, &err) == TB_OK);
  return sum;
}

static void check_accepted(void *extra, size_t n) {
  struct tb_error err;
  struct tb_context_info info;
  volatile unsigned char sum = 0;
  for (size_t i = 0; i < n; i++) sum = (unsigned char)(sum + ((unsigned char *)extra)[i]);
  tb_session_free_extra(live, extra);
  tb_context_get_info(live, &info);
  FUZZ_CHECK(info.n_past <= N_CTX);
  if (info.n_past < N_CTX) { /* the cache may hold any numbers, so the logits may be refused */
    enum tb_status s = tb_eval(live, &(tb_token){1}, 1, NULL, NULL, &err);
    FUZZ_CHECK(s == TB_OK || s == TB_E_NUMERIC);
  }
  FUZZ_CHECK(tb_truncate(live, 0, &err) == TB_OK);
  feed(7, LIVE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static double want;
  static unsigned refused;
  struct tb_error err = {0};
  struct tb_context_info info;
  void *extra = NULL;
  size_t n = 0;
  if (!model) {
    set_up();
    want = answer();
  }
  fuzz_write(path, data, size);
  enum tb_status s = tb_session_load(live, path, &extra, &n, &err);
  if (s == TB_OK) {
    check_accepted(extra, n);
    FUZZ_CHECK(answer() == want);
    return 0;
  }
  FUZZ_CHECK(s == TB_E_FORMAT || s == TB_E_UNSUPPORTED || s == TB_E_ARG || s == TB_E_CONTEXT || s == TB_E_NOMEM || s == TB_E_LIMIT);
  FUZZ_CHECK(err.status == s && strstr(err.text, path) == err.text && !strchr(err.text, '\n'));
  tb_context_get_info(live, &info);
  FUZZ_CHECK(info.n_past == LIVE);
  if (refused++ % 8 == 0) FUZZ_CHECK(answer() == want);
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
  if (!model) set_up();
  if ((size < HEADER + CRC + TRAILER || memcmp(data, sample, 8) != 0) && sample_size <= max_size && tb_rng_next(&rng) % 16)
    memcpy(data, sample, size = sample_size);
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
