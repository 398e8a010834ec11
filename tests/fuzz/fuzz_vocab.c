/* vocab: any bytes as a file with a vocabulary. What is accepted must take any text: ids within the vocabulary, the same
 * from both pre-tokenizer engines. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include "tests/support/count_alloc.h"
#include "tests/support/vocab_make.h"

static const char text[] = "hello the \xc3\xa9 12345 <|im_end|> aaaaaaa \xe2\x96\x81 \xff <tool>x </s>\n\n  x\xf0\x9f\x98\x80";

static void use(const struct tb_tokenizer *t, struct count_alloc *c, struct tb_tokens *ids) {
  struct tb_error err;
  enum tb_status s = tb_tokenizer_encode(t, text, sizeof text, 3, ids, &err);
  FUZZ_CHECK(s == TB_OK);
  for (size_t i = 0; i < ids->n; i++) {
    char piece[64];
    FUZZ_CHECK(ids->data[i] >= 0 && (uint32_t)ids->data[i] < tb_tokenizer_size(t));
    tb_tokenizer_piece(t, ids->data[i], true, piece, sizeof piece);
    tb_tokenizer_ends(t, ids->data[i]);
  }
  (void)c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct tb_gguf *g;
  struct tb_error err = {0};
  if (tb_gguf_open_memory(&g, data, size, &tb_system_allocator, NULL) != TB_OK) return 0;
  struct tb_tokens ids[2] = {{0}};
  static const enum tb_pretok_engine engines[2] = {TB_PRETOK_BEST, TB_PRETOK_OWN};
  enum tb_status status[2];
  for (int i = 0; i < 2; i++) {
    struct count_alloc c;
    struct tb_tokenizer *t = NULL;
    count_alloc_init(&c);
    status[i] = tb_tokenizer_create_with(&t, g, engines[i], &c.hooks, &err);
    FUZZ_CHECK(status[i] == TB_OK || status[i] == TB_E_FORMAT || status[i] == TB_E_UNSUPPORTED || status[i] == TB_E_LIMIT);
    FUZZ_CHECK((status[i] == TB_OK) == (t != NULL));
    if (status[i]) FUZZ_CHECK(err.text[0] && !strchr(err.text, '\n'));
    else use(t, &c, &ids[i]);
    tb_token *kept = malloc(ids[i].n * sizeof *kept + 1);
    FUZZ_CHECK(kept);
    if (ids[i].n) memcpy(kept, ids[i].data, ids[i].n * sizeof *kept);
    tb_free(&c.hooks, ids[i].data);
    ids[i].data = kept;
    tb_tokenizer_free(t);
    FUZZ_CHECK(c.blocks == 0);
  }
  FUZZ_CHECK(status[0] == status[1] && ids[0].n == ids[1].n);
  FUZZ_CHECK(memcmp(ids[0].data, ids[1].data, ids[0].n * sizeof(tb_token)) == 0);
  free(ids[0].data);
  free(ids[1].data);
  tb_gguf_free(g);
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
  static struct gguf_make samples[2];
  static struct vocab v;
  if (!samples[0].data) {
    vocab_bpe(&v, "qwen2");
    samples[0] = vocab_file(&v);
    vocab_spm(&v);
    samples[1] = vocab_file(&v);
  }
  const struct gguf_make *m = &samples[seed % 2];
  return fuzz_mutate_gguf(data, size, max_size, seed, m->data, m->n);
}
