/* Text to token ids and back. Two models of tokenizer.ggml.model: "gpt2" (byte-level BPE with a pre-tokenizer named by
 * tokenizer.ggml.pre) and "llama" (SentencePiece: score-driven merges, byte fallback). An unknown model or
 * pre-tokenizer is an error that names it. */
#ifndef TB_IO_TOKENIZER_H
#define TB_IO_TOKENIZER_H

#include "io/gguf.h"

struct tb_tokenizer;

/* Reads and validates the vocabulary. Keeps pointers into g, which must outlive the tokenizer. */
enum tb_status tb_tokenizer_create(struct tb_tokenizer **out, const struct tb_gguf *g, const struct tb_allocator *a,
                                   struct tb_error *err);
void tb_tokenizer_free(struct tb_tokenizer *t);

/* A growing list of ids; zero-initialise, free `data` with tb_free. */
struct tb_tokens {
  tb_token *data;
  size_t n, cap;
};

/* Appends the ids of `text` to `ids` (flags: enum tb_tokenize_flags). Time and memory are linear in `len`. Any bytes
 * are accepted. */
enum tb_status tb_tokenizer_encode(const struct tb_tokenizer *t, const char *text, size_t len, unsigned flags,
                                   struct tb_tokens *ids, struct tb_error *err);

/* A piece of text with one provenance: trusted text may spell special tokens. */
struct tb_text_run {
  size_t length;
  bool trusted;
};

/* As tb_tokenizer_encode of the runs' joined text, nothing added, except that a control token counts only where all of it
 * is trusted, and an untrusted text never becomes a user-defined token that is spelled like one (<|…, <｜…). Text
 * between special tokens is tokenised as one, across the runs: ids do not depend on where trust changes. */
enum tb_status tb_tokenizer_encode_runs(const struct tb_tokenizer *t, const char *text, const struct tb_text_run *runs,
                                        size_t n_runs, struct tb_tokens *ids, struct tb_error *err);

/* As tb_token_text of thimble.h. An id outside the vocabulary gives nothing. */
size_t tb_tokenizer_piece(const struct tb_tokenizer *t, tb_token id, bool special, char *buf, size_t cap);

bool tb_tokenizer_ends(const struct tb_tokenizer *t, tb_token id); /* end-of-generation set */
/* True when a text's first piece begins with a blank that is not part of the text (SentencePiece's dummy prefix). */
bool tb_tokenizer_space_prefix(const struct tb_tokenizer *t);
uint32_t tb_tokenizer_size(const struct tb_tokenizer *t);          /* vocabulary */
tb_token tb_tokenizer_bos(const struct tb_tokenizer *t);           /* -1: none */
tb_token tb_tokenizer_eos(const struct tb_tokenizer *t);
tb_token tb_tokenizer_find(const struct tb_tokenizer *t, const char *text, size_t len); /* exact vocabulary text or -1 */

#endif
