/* Inside of struct tb_tokenizer: what tokenizer.c, tokenizer_vocab.c, tokenizer_special.c, bpe.c and spm.c share. */
#ifndef TB_IO_TOKENIZER_IMPL_H
#define TB_IO_TOKENIZER_IMPL_H

#include "io/merge.h"
#include "io/pretokenize.h"
#include "io/textmap.h"
#include "io/tokenizer.h"
#include "io/unicode.h"

enum {
  TB_VOCAB_MAX = 1 << 22,   /* tokens; the largest vocabularies have 2^18 */
  TB_MERGES_MAX = (1 << 22) - 1,
  TB_SPECIAL_MAX = 1024,    /* bytes of a token that is looked for in text */
};

/* Attributes of a token. The first six are the types of tokenizer.ggml.token_type; a type this version does not know
 * has none of them and is never shown. */
enum {
  TB_ATTR_NORMAL = 1 << 0,
  TB_ATTR_UNKNOWN = 1 << 1,
  TB_ATTR_CONTROL = 1 << 2,
  TB_ATTR_USER = 1 << 3,
  TB_ATTR_UNUSED = 1 << 4,
  TB_ATTR_BYTE = 1 << 5,
  TB_ATTR_END = 1 << 6,    /* of the end-of-generation set */
  TB_ATTR_RSTRIP = 1 << 7, /* swallows the white space after it */
  TB_ATTR_SHOWN = 1 << 8,  /* part of the answer's text although it is a control token */
};

/* A merge makes at most three symbols. */
_Static_assert(TB_VOCAB_MAX + 3 * TB_MERGES_MAX <= TB_MAP_MAX, "every symbol has its slot");

struct tb_tokenizer {
  const struct tb_allocator *a;
  bool is_spm;
  bool add_bos, add_eos, add_space_prefix, remove_extra_whitespaces;
  tb_token bos, eos, unk;
  uint32_t n_vocab;

  /* Symbols: the tokens, then (BPE) texts that only occur inside merges, then placeholders for what is in no table. */
  uint32_t n_sym;
  struct tb_texts texts;
  uint32_t *len;    /* BPE: bytes that the symbol stands for; SPM: bytes of its text */
  uint16_t *attr;   /* of the tokens */
  struct tb_map map; /* of the texts */
  tb_token byte_id[256]; /* BPE: symbol of a byte; SPM: <0xXX> token. -1: none */

  /* Tokens that are looked for in text, sorted by text. */
  uint32_t *special;
  uint32_t n_special;
  uint32_t special_first[257]; /* index of the first one that starts with a byte, or a later one */
  bool special_starts[2][256]; /* [parse control tokens, too] */

  /* BPE */
  const struct tb_pretok_rule *rule;
  struct tb_pretok *pretok;
  struct tb_pair_map pairs;
  char *joined; /* texts of merged symbols that are no tokens */

  /* SPM */
  uint32_t *rank;   /* of a token: the order of falling scores; UINT32_MAX: never merged */
  size_t max_len;   /* bytes of the longest token */
  uint32_t *joins;  /* bit set over hashed pairs of characters that are neighbours in some token */
  uint32_t joins_mask;
};

static inline struct tb_str tb_symbol_text(const struct tb_tokenizer *t, uint32_t id) {
  return tb_text(&t->texts, id);
}

/* One call of tb_tokenizer_encode. */
struct tb_encoder {
  const struct tb_tokenizer *t;
  struct tb_tokens *ids;
  struct tb_error *err;
  struct tb_merger merger;
  struct tb_pretok_walk walk;
  uint8_t *cls;
  size_t cap_cls;
  char *text; /* SPM: the segment being built */
  size_t n_text, cap_text;
};

/* tb_tokenizer_create with a chosen engine, for tests. */
enum tb_status tb_tokenizer_create_with(struct tb_tokenizer **out, const struct tb_gguf *g,
                                        enum tb_pretok_engine engine, const struct tb_allocator *a,
                                        struct tb_error *err);

/* tokenizer_vocab.c: texts, attributes, special ids, flags. */
enum tb_status tb_vocab_read(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err);
/* Finds an array of at least `need` elements; *kv stays NULL when it is absent and not required. */
enum tb_status tb_vocab_array(const struct tb_gguf *g, const char *key, uint64_t need, bool required,
                              const struct tb_gguf_kv **kv, struct tb_error *err);

/* tokenizer_special.c */
enum tb_status tb_specials_build(struct tb_tokenizer *t, struct tb_error *err);
/* The longest special token at the front of s[0 … n), or -1; control tokens only when `control`. */
tb_token tb_specials_at(const struct tb_tokenizer *t, const char *s, size_t n, bool control);

/* bpe.c, spm.c: what the model needs beside the vocabulary, and the ids of a text without special tokens. */
enum tb_status tb_bpe_build(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err);
enum tb_status tb_bpe_encode(struct tb_encoder *e, const char *text, size_t n);
enum tb_status tb_spm_build(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err);
enum tb_status tb_spm_encode(struct tb_encoder *e, const char *text, size_t n, bool space_prefix);

static inline bool tb_encoder_push(struct tb_encoder *e, tb_token id) {
  void *data = e->ids->data;
  if (!tb_grow(e->t->a, &data, &e->ids->cap, e->ids->n + 1, sizeof *e->ids->data)) return false;
  e->ids->data = data;
  e->ids->data[e->ids->n++] = id;
  return true;
}

/* Text of a user may not become one of these, whatever the tables say. */
static inline bool tb_token_is_text(const struct tb_tokenizer *t, tb_token id) {
  return !(t->attr[id] & (TB_ATTR_CONTROL | TB_ATTR_UNKNOWN | TB_ATTR_BYTE));
}

#endif
