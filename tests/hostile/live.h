/* A small model and live conversations with it, for tests of sessions and faults. */
#ifndef TB_TESTS_LIVE_H
#define TB_TESTS_LIVE_H

#include "tests/support/tmpdir.h"
#include "thimble.h"

enum { LIVE_VOCAB = 300, LIVE_CTX = 64 };

struct live {
  struct tb_model *model;
  struct tb_context *ctx;
};

/* Writes the model; returns its path in `dir`. `seed` makes other weights under the same header. */
const char *live_model(const struct tmpdir *dir, const char *name, uint64_t seed);
enum tb_status live_try(struct live *l, const char *path, const struct tb_allocator *a, struct tb_error *err);
/* Fails the test when it cannot be opened. */
struct live live_open(const char *path);
void live_close(struct live *l);
/* Evaluates n tokens that follow from `first`. */
void live_feed(const struct live *l, int first, int n);
uint32_t live_length(const struct live *l);
/* Logits after one more token, which is taken back: what tells one conversation from another. */
void live_probe(const struct live *l, float logits[LIVE_VOCAB]);
/* tb_session_load, which frees the extra bytes; they must be "extra" on success. */
enum tb_status live_load(const struct live *l, const char *path, struct tb_error *err);
/* Saves with the extra bytes "extra", or fails the test. */
void live_save(const struct live *l, const char *path);

struct live_file {
  unsigned char *data;
  size_t n;
};
struct live_file live_read(const char *path);

#endif
