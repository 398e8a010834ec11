/* Small vocabularies for the tokenizer tests, as GGUF files in memory, and short forms for looking at token lists. */
#ifndef TB_TESTS_VOCAB_MAKE_H
#define TB_TESTS_VOCAB_MAKE_H

#include "io/tokenizer_impl.h"
#include "tests/support/gguf_make.h"

enum { VOCAB_NORMAL = 1, VOCAB_UNKNOWN, VOCAB_CONTROL, VOCAB_USER, VOCAB_UNUSED, VOCAB_BYTE };

struct vocab {
  const char *model, *pre; /* pre NULL: no such key */
  const char *name;        /* general.name; NULL: no such key */
  unsigned n, n_merges, n_extra;
  const char *text[640];
  int32_t type[640];
  float score[640];
  const char *merges[64];
  struct {
    const char *key;
    uint32_t type;
    uint32_t value;
  } extra[12];
  /* To make wrong files: a key to leave out, and what to write instead of it. */
  const char *omit;
  void (*instead)(struct gguf_make *m);
  char room[640][8]; /* texts of byte tokens */
};

/* 256 byte tokens (ids 0 … 255 in the order of the bytes), some English merges and
 * "<|im_start|>" "<|im_end|>" (control), "<tool>" "<tool>x" (user-defined). */
void vocab_bpe(struct vocab *v, const char *pre);
/* <unk> <s> </s>, the 256 byte tokens (ids 3 … 258), then single letters and words with scores. */
void vocab_spm(struct vocab *v);
unsigned vocab_add(struct vocab *v, const char *text, int32_t type, float score); /* its id */
void vocab_merge(struct vocab *v, const char *line); /* adds the token "left right" makes when it is missing */
void vocab_extra_u32(struct vocab *v, const char *key, uint32_t value);
void vocab_extra_bool(struct vocab *v, const char *key, bool value);

struct gguf_make vocab_file(const struct vocab *v);

/* A file with its tokenizer. */
struct opened {
  struct gguf_make file;
  struct tb_gguf *g;
  struct tb_tokenizer *t;
};
/* Fails the test when the vocabulary is refused. */
void vocab_open(struct opened *o, const struct vocab *v, enum tb_pretok_engine engine);
/* The tokenizer of a file, which must open: the status and text of tb_tokenizer_create. */
enum tb_status vocab_try(const struct gguf_make *file, struct tb_error *err);
void vocab_close(struct opened *o);

/* Pieces of the ids of `text`, joined by '|' (special ones included): valid until the next call. */
const char *vocab_pieces(const struct opened *o, const char *text, unsigned flags);
/* Encodes and decodes again; fails the test when that does not give the same bytes. */
void vocab_round_trip(const struct opened *o, const char *text, size_t n);

#endif
