/* detokenise: any ids. The text of a token has one length whatever the room, never a byte behind the room, and special
 * tokens show only when asked for. Byte 0 chooses the vocabulary, byte 1 the room. */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include "tests/support/vocab_make.h"

static struct opened opened[2];

static void check(const struct tb_tokenizer *t, tb_token id, size_t room) {
  char whole[256], part[256];
  memset(part, 0x5a, sizeof part);
  for (int special = 0; special < 2; special++) {
    size_t n = tb_tokenizer_piece(t, id, special, whole, sizeof whole);
    FUZZ_CHECK(n <= sizeof whole);
    FUZZ_CHECK(tb_tokenizer_piece(t, id, special, part, room) == n);
    FUZZ_CHECK(memcmp(part, whole, n < room ? n : room) == 0);
    for (size_t i = room; i < sizeof part; i++) FUZZ_CHECK(part[i] == 0x5a);
    FUZZ_CHECK(tb_tokenizer_piece(t, id, special, NULL, 0) == n);
    if (id < 0 || (uint32_t)id >= tb_tokenizer_size(t)) FUZZ_CHECK(n == 0);
  }
  tb_tokenizer_ends(t, id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct vocab v;
  struct fuzz_input in = {data, size};
  if (!opened[0].t) {
    vocab_bpe(&v, "qwen2");
    vocab_add(&v, "", VOCAB_UNUSED, 0);
    vocab_add(&v, "\xff\xc3", VOCAB_NORMAL, 0);
    vocab_open(&opened[0], &v, TB_PRETOK_BEST);
    vocab_spm(&v);
    vocab_open(&opened[1], &v, TB_PRETOK_BEST);
  }
  const struct tb_tokenizer *t = opened[fuzz_u8(&in) % 2].t;
  const size_t room = fuzz_u8(&in) % 32;
  while (in.n > 0) {
    uint32_t id = fuzz_u32(&in);
    if (id >> 31) id %= 1024; /* often one that exists */
    check(t, (tb_token)id, room);
  }
  return 0;
}
