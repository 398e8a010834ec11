/* Saving and restoring a context: what goes into a session file, and to what it is bound. */
#include <string.h>
#include "core/context.h"
#include "io/session_file.h"

enum { SAMPLE = 64 }; /* bytes from the middle of each tensor: two trainings of one model differ in all of them */

uint64_t tb_session_identity(const struct tb_model *m) {
  const struct tb_gguf *g = m->gguf;
  const uint64_t header = tb_model_identity(g);
  struct tb_crc crc;
  tb_crc64_start(&crc);
  tb_crc_add(&crc, &header, sizeof header);
  for (size_t i = 0; i < tb_gguf_tensor_count(g); i++) {
    const struct tb_gguf_tensor *t = tb_gguf_tensor_at(g, i);
    const size_t n = t->bytes < SAMPLE ? (size_t)t->bytes : SAMPLE;
    tb_crc_add(&crc, t->data + (t->bytes - n) / 2, n);
  }
  return tb_crc_value(&crc);
}

static enum tb_status add_bytes(void *user, unsigned char *piece, size_t bytes, struct tb_error *err) {
  (void)piece, (void)err;
  *(uint64_t *)user += bytes;
  return TB_OK;
}

static enum tb_status write_piece(void *user, unsigned char *piece, size_t bytes, struct tb_error *err) {
  return tb_session_write(user, piece, bytes, err);
}

static enum tb_status read_piece(void *user, unsigned char *piece, size_t bytes, struct tb_error *err) {
  return tb_session_read(user, piece, bytes, err);
}

static enum tb_status refuse_spilled(const char *path, struct tb_error *err) {
  return tb_fail(err, TB_E_UNSUPPORTED, "%s: a conversation whose clusters are in a file (kv_spill) is not saved", path);
}

enum tb_status tb_session_save(struct tb_context *c, const char *path, const void *extra, size_t extra_bytes,
                               struct tb_error *err) {
  const struct tb_allocator *alloc = &c->model->alloc;
  struct tb_cache_config config = tb_context_cache_config(c);
  if (tb_cache_spilled(&config)) return refuse_spilled(path, err);
  struct tb_session_header h = {.model = c->model->identity,
                                .plan = tb_cache_identity(&config),
                                .n_tokens = tb_cache_length(c->cache),
                                .n_state = tb_cache_state_words(c->cache),
                                .extra_bytes = extra_bytes};
  tb_cache_pieces(c->cache, add_bytes, &h.cache_bytes, err);
  uint32_t *state = tb_alloc(alloc, h.n_state, sizeof *state);
  if (!state) return tb_fail(err, TB_E_NOMEM, "%s: out of memory", path);
  tb_cache_get_state(c->cache, state);
  struct tb_session_writer w;
  enum tb_status s = tb_session_write_start(&w, path, &h, alloc, err);
  if (!s) {
    if ((s = tb_session_write(&w, c->history, h.n_tokens * sizeof *c->history, err)) ||
        (s = tb_session_write(&w, state, h.n_state * sizeof *state, err)) ||
        (s = tb_session_write(&w, extra, extra_bytes, err)) || (s = tb_cache_pieces(c->cache, write_piece, &w, err)))
      tb_session_write_abort(&w);
    else
      s = tb_session_write_finish(&w, err);
  }
  tb_free(alloc, state);
  return s;
}

/* What a load builds before it is swapped in. */
struct loaded {
  struct tb_cache *cache; /* a fresh one; the context's own when that is empty: then there is nothing to be lost */
  tb_token *tokens;
  uint32_t *state;
  void *extra;
};

static enum tb_status check_header(const struct tb_context *c, const struct tb_session_header *h,
                                   struct tb_error *err) {
  struct tb_cache_config config = tb_context_cache_config(c);
  if (h->model != c->model->identity) return tb_fail(err, TB_E_ARG, "the session belongs to another model");
  if (h->plan != tb_cache_identity(&config) || h->n_state != tb_cache_state_words(c->cache))
    return tb_fail(err, TB_E_ARG,
                   "the session was made with other cache types (-ctk, -ctv), another profile or another version");
  if (h->n_tokens > c->n_ctx)
    return tb_fail(err, TB_E_CONTEXT, "the session has %u tokens, the context holds %u", h->n_tokens, c->n_ctx);
  return TB_OK;
}

static enum tb_status check_ids(const struct tb_context *c, const tb_token *ids, uint32_t n, struct tb_error *err) {
  for (uint32_t i = 0; i < n; i++)
    if (ids[i] < -1 || (ids[i] >= 0 && (uint32_t)ids[i] >= c->model->hp.n_vocab))
      return tb_fail(err, TB_E_FORMAT, "token %u of the session is not in the vocabulary", i);
  return TB_OK;
}

static enum tb_status place_for(struct tb_context *c, struct tb_cache **cache, struct tb_error *err) {
  if (tb_cache_length(c->cache) == 0) {
    *cache = c->cache;
    return TB_OK;
  }
  struct tb_cache_config config = tb_context_cache_config(c);
  return tb_cache_create(cache, &config, &c->model->kernels, c->team, &c->model->alloc, err);
}

/* After a failure: the context's own cache is emptied again, another one is given back. */
static void give_up(struct tb_context *c, struct loaded *to) {
  if (to->cache == c->cache) tb_cache_truncate(c->cache, 0, NULL);
  else tb_cache_free(to->cache);
  tb_free(&c->model->alloc, to->extra);
}

static enum tb_status load(struct tb_context *c, struct tb_session_reader *r, struct loaded *to, struct tb_error *err) {
  const struct tb_allocator *alloc = &c->model->alloc;
  const struct tb_session_header *h = &r->header;
  enum tb_status s = check_header(c, h, err);
  if (s) return s;
  to->tokens = tb_alloc(alloc, h->n_tokens, sizeof *to->tokens);
  to->state = tb_alloc(alloc, h->n_state, sizeof *to->state);
  to->extra = h->extra_bytes ? tb_alloc(alloc, h->extra_bytes, 1) : NULL;
  if (!to->tokens || !to->state || (h->extra_bytes && !to->extra))
    return tb_fail(err, TB_E_NOMEM, "session: out of memory");
  uint64_t bytes = 0;
  if ((s = place_for(c, &to->cache, err)) ||
      (s = tb_session_read(r, to->tokens, h->n_tokens * sizeof *to->tokens, err)) ||
      (s = tb_session_read(r, to->state, h->n_state * sizeof *to->state, err)) ||
      (s = tb_session_read(r, to->extra, h->extra_bytes, err)) || (s = check_ids(c, to->tokens, h->n_tokens, err)) ||
      (s = tb_cache_set_state(to->cache, h->n_tokens, to->state, err)) ||
      (s = tb_cache_pieces(to->cache, add_bytes, &bytes, err)))
    return s;
  if (bytes != h->cache_bytes)
    return tb_fail(err, TB_E_FORMAT, "the session's cache has %llu bytes, expected %llu",
                   (unsigned long long)h->cache_bytes, (unsigned long long)bytes);
  s = tb_cache_pieces(to->cache, read_piece, r, err);
  return s ? s : tb_cache_verify(to->cache, err);
}

enum tb_status tb_session_load(struct tb_context *c, const char *path, void **extra, size_t *extra_bytes,
                               struct tb_error *err) {
  const struct tb_allocator *alloc = &c->model->alloc;
  struct tb_session_reader r;
  struct loaded to = {0};
  const struct tb_cache_config config = tb_context_cache_config(c);
  if (tb_cache_spilled(&config)) return refuse_spilled(path, err);
  enum tb_status s = tb_session_read_start(&r, path, alloc, err);
  if (s) return s;
  s = load(c, &r, &to, err);
  if (s) {
    tb_fail_prefix(err, s, path);
    give_up(c, &to);
  } else {
    if (to.cache != c->cache) tb_cache_free(c->cache);
    c->cache = c->pass.cache = to.cache;
    memcpy(c->history, to.tokens, r.header.n_tokens * sizeof *c->history);
    tb_context_reach(c, (uint32_t)r.header.n_tokens);
    c->has_logits = false;
    *extra = to.extra;
    *extra_bytes = (size_t)r.header.extra_bytes;
  }
  tb_free(alloc, to.tokens);
  tb_free(alloc, to.state);
  tb_session_read_end(&r);
  return s;
}

void tb_session_free_extra(const struct tb_context *c, void *extra) {
  tb_free(&c->model->alloc, extra);
}
