/* tokenise: any text, through vocabularies of both kinds and both pre-tokenizer engines. Byte 0 chooses the vocabulary,
 * byte 1 the flags and where trust begins. Ids are in the vocabulary, both engines agree, plain text comes back. */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include "tests/support/vocab_make.h"

static const char *const pre[] = {"gpt-2", "llama-bpe", "qwen2", "smollm", "default", NULL /* SentencePiece */};
enum { KINDS = sizeof pre / sizeof pre[0] };
static struct opened opened[KINDS][2];

static void open_all(void) {
  static struct vocab v;
  static const enum tb_pretok_engine engines[2] = {TB_PRETOK_BEST, TB_PRETOK_OWN};
  if (opened[0][0].t) return;
  for (int k = 0; k < KINDS; k++)
    for (int e = 0; e < 2; e++) {
      if (pre[k]) vocab_bpe(&v, pre[k]);
      else vocab_spm(&v);
      vocab_open(&opened[k][e], &v, engines[e]);
    }
}

/* SentencePiece writes a blank as U+2581: one that stands in the text comes back as a blank. */
static int has_mark(const char *text, size_t n) {
  for (size_t i = 0; i + 3 <= n; i++)
    if (memcmp(text + i, "\xe2\x96\x81", 3) == 0) return 1;
  return 0;
}

static void check_round_trip(const struct tb_tokenizer *t, const struct tb_tokens *ids, const char *text, size_t n) {
  size_t at = 0, skip = n > 0 && tb_tokenizer_space_prefix(t);
  for (size_t i = 0; i < ids->n; i++) {
    char piece[64];
    size_t len = tb_tokenizer_piece(t, ids->data[i], false, piece, sizeof piece), from = 0;
    FUZZ_CHECK(len <= sizeof piece);
    if (skip && len) from = 1, skip = 0;
    FUZZ_CHECK(len - from <= n - at && memcmp(text + at, piece + from, len - from) == 0);
    at += len - from;
  }
  FUZZ_CHECK(at == n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct fuzz_input in = {data, size};
  open_all();
  const int kind = fuzz_u8(&in) % KINDS;
  const uint8_t how = fuzz_u8(&in);
  const char *text = (const char *)in.p;
  struct tb_tokens ids[2] = {{0}};
  struct tb_error err;
  const size_t cut = how >> 2 < in.n ? how >> 2 : in.n;
  const struct tb_text_run runs[] = {{cut, true}, {in.n - cut, false}};
  for (int e = 0; e < 2; e++) {
    const struct tb_tokenizer *t = opened[kind][e].t;
    enum tb_status s = how & 2 ? tb_tokenizer_encode_runs(t, text, runs, 2, &ids[e], &err)
                               : tb_tokenizer_encode(t, text, in.n, how & 1 ? 3 : 0, &ids[e], &err);
    FUZZ_CHECK(s == TB_OK);
    for (size_t i = 0; i < ids[e].n; i++)
      FUZZ_CHECK(ids[e].data[i] >= 0 && (uint32_t)ids[e].data[i] < tb_tokenizer_size(t));
  }
  FUZZ_CHECK(ids[0].n == ids[1].n && (!ids[0].n || memcmp(ids[0].data, ids[1].data, ids[0].n * sizeof(tb_token)) == 0));
  if (!(how & 3) && (pre[kind] || !has_mark(text, in.n))) check_round_trip(opened[kind][0].t, &ids[0], text, in.n);
  tb_free(&tb_system_allocator, ids[0].data);
  tb_free(&tb_system_allocator, ids[1].data);
  return 0;
}
