#include "cache/policy/plain.h"

#include <string.h>

/* ------------------------------------------------------------------------------------------------------- making */

static const char *args_of(const char *type) {
  const char *colon = strchr(type, ':');
  return colon ? colon + 1 : NULL;
}

/* Tokens that main must hold. The newest are in the tail, but a context may also be filled in one call. */
static uint32_t main_cap(uint32_t n_ctx, uint32_t granule) {
  return (uint32_t)tb_round_up(n_ctx, granule);
}

static struct tb_store_config store_config(const struct tb_policy_layer *l, enum tb_side side, const char *type,
                                           uint32_t cap) {
  return (struct tb_store_config){
      .side = side,
      .n_heads = l->shape->n_kv,
      .d = side == TB_SIDE_K ? l->shape->d_k : l->shape->d_v,
      .cap = cap,
      .layer = l->shape->layer,
      .profile = l->shape->profile,
      .rope = side == TB_SIDE_K ? l->shape->rope : NULL,
      .args = args_of(type),
  };
}

static const char *type_of(const struct tb_policy_layer *l, enum tb_side side) {
  return side == TB_SIDE_K ? l->plan->type_k : l->plan->type_v;
}

static enum tb_status check_side(const struct tb_policy_layer *l, enum tb_side side, struct tb_error *err) {
  const char *type = type_of(l, side);
  const struct tb_store_ops *ops = tb_store_find(type);
  if (!ops) return tb_fail(err, TB_E_UNSUPPORTED, "cache type '%s' is not known", type);
  struct tb_store_config config = store_config(l, side, type, main_cap(l->n_ctx, ops->granule));
  return ops->check(&config, err);
}

enum tb_status tb_plain_check(const struct tb_policy_layer *l, struct tb_error *err) {
  enum tb_status status = check_side(l, TB_SIDE_K, err);
  return status ? status : check_side(l, TB_SIDE_V, err);
}

struct tb_store tb_plain_store(struct tb_arena *arena, const struct tb_policy_layer *l, enum tb_side side,
                               const char *type, uint32_t cap, const struct tb_kernels *kernels, uint64_t *stored) {
  struct tb_store st = {.ops = tb_store_find(type), .kernels = kernels, .config = store_config(l, side, type, cap)};
  size_t bytes = st.ops->bytes(&st.config);
  st.mem = tb_carve(arena, bytes, 1);
  *stored += bytes;
  if (st.mem && st.ops->init) st.ops->init(&st, l->init_work);
  return st;
}

/* What window, sinks and the step's tokens are kept in. */
static const char *window_type(const struct tb_store_ops *ops, const struct tb_store_config *config) {
  if (ops->granule == 1) return ops->name;
  return ops->fine && ops->fine(config) ? "f32" : "f16";
}

void tb_plain_window(struct tb_plain_side *s, struct tb_arena *arena, const struct tb_policy_layer *l,
                     enum tb_side side, uint32_t wait, const struct tb_kernels *kernels, uint64_t *stored) {
  s->sinks = l->plan->sinks < l->n_ctx ? l->plan->sinks : l->n_ctx;
  s->window = l->plan->window;
  const char *exact = window_type(s->main.ops, &s->main.config);
  s->sink = tb_plain_store(arena, l, side, exact, s->sinks, kernels, stored);
  /* window + wait - 1 tokens may wait to be encoded together when the next one arrives. */
  s->tail = tb_plain_store(arena, l, side, exact, s->window + wait, kernels, stored);
  s->chunk = s->tail;
  s->chunk.config.cap = l->n_batch;
}

static struct tb_plain_side make_side(struct tb_arena *arena, const struct tb_policy_layer *l, enum tb_side side,
                                      uint32_t wait, uint32_t rows, const struct tb_kernels *kernels,
                                      uint64_t *stored) {
  const char *type = type_of(l, side);
  const uint32_t granule = tb_store_find(type)->granule;
  struct tb_plain_side s = {.direct = granule == 1 && !rows};
  s.main = tb_plain_store(arena, l, side, type, rows ? rows : main_cap(l->n_ctx, granule), kernels, stored);
  if (!s.direct) tb_plain_window(&s, arena, l, side, wait, kernels, stored);
  return s;
}

struct tb_plain tb_plain_make(struct tb_arena *arena, const struct tb_policy_layer *l, uint32_t wait, uint32_t rows,
                              const struct tb_kernels *kernels, uint64_t *stored) {
  struct tb_plain made = {.base = {&tb_policy_plain}, .shape = l->shape};
  made.k = make_side(arena, l, TB_SIDE_K, wait, rows, kernels, stored);
  made.v = make_side(arena, l, TB_SIDE_V, wait, rows, kernels, stored);
  return made;
}

static struct tb_policy *plain_create(struct tb_arena *arena, const struct tb_policy_layer *l, struct tb_policy *before,
                                      const struct tb_kernels *kernels, uint64_t *stored) {
  (void)before;
  struct tb_plain *p = tb_carve(arena, 1, sizeof *p);
  struct tb_plain made = tb_plain_make(arena, l, TB_ATTN_BLOCK, 0, kernels, stored);
  if (!p) return NULL;
  *p = made;
  return &p->base;
}

static struct tb_plain *plain_of(struct tb_policy *p) {
  return (struct tb_plain *)(void *)p;
}

static const struct tb_plain *plain_of_const(const struct tb_policy *p) {
  return (const struct tb_plain *)(const void *)p;
}

/* Bytes of a step's rows of a side, in the type of its window. */
size_t tb_plain_chunk(const struct tb_policy_layer *l, enum tb_side side) {
  const struct tb_store_ops *ops = tb_store_find(type_of(l, side));
  const struct tb_store_config config = store_config(l, side, type_of(l, side), l->n_batch);
  return tb_store_find(window_type(ops, &config))->bytes(&config);
}

struct side_need {
  size_t chunk, init, flush; /* bytes */
};

static struct side_need side_need(const struct tb_policy_layer *l, enum tb_side side) {
  const char *type = type_of(l, side);
  const struct tb_store_ops *ops = tb_store_find(type);
  struct tb_store_config config = store_config(l, side, type, main_cap(l->n_ctx, ops->granule));
  struct side_need need = {.init = ops->init_bytes ? ops->init_bytes(&config) : 0};
  need.flush = (size_t)ops->granule * config.d * (ops->joint ? config.n_heads : 1) * sizeof(float);
  if (ops->granule > 1) need.chunk = tb_plain_chunk(l, side);
  return need;
}

struct tb_policy_need tb_plain_need(const struct tb_policy_layer *l) {
  size_t decode = tb_plain_decode_scratch(l->shape), prefill = tb_plain_prefill_scratch(l->shape);
  const struct side_need k = side_need(l, TB_SIDE_K), v = side_need(l, TB_SIDE_V);
  size_t flush = tb_round_up(k.flush > v.flush ? k.flush : v.flush, TB_ALIGN) + TB_STORE_SCRATCH;
  size_t most = decode > prefill ? decode : prefill;
  return (struct tb_policy_need){.scratch_bytes = most > flush ? most : flush,
                                 .partials = tb_plain_partials(l->shape, l->n_ctx),
                                 .chunk = {k.chunk, v.chunk},
                                 .init_bytes = k.init > v.init ? k.init : v.init};
}

/* ----------------------------------------------------------------------------------------------------- locating */

static struct tb_plain_run run(const struct tb_store *store, uint32_t row, uint32_t left, uint32_t limit) {
  return (struct tb_plain_run){store, row, left < limit ? left : limit};
}

/* Row `at` of main. */
static struct tb_plain_run run_in_main(const struct tb_plain_side *s, uint32_t at, uint32_t limit) {
  if (!s->slots) return run(&s->main, at, s->encoded - at, limit);
  const uint32_t page = at % TB_ATTN_BLOCK / s->page, within = at % s->page;
  return run(&s->main, s->slots[page] * s->page + within, s->page - within, limit);
}

struct tb_plain_run tb_plain_locate(const struct tb_plain_side *s, uint32_t pos, uint32_t limit) {
  if (s->direct) return run(&s->main, pos, limit, limit);
  if (pos < s->sinks) return run(&s->sink, pos, s->sinks - pos, limit);
  uint32_t after = pos - s->sinks;
  if (after < s->encoded) return run_in_main(s, after, limit);
  after -= s->encoded;
  if (after < s->tail_rows) return run(&s->tail, after, s->tail_rows - after, limit);
  return run(&s->chunk, after - s->tail_rows, limit, limit);
}

/* ---------------------------------------------------------------------------------------------------- appending */

struct encode_job {
  struct tb_cache_work *w;
  struct tb_store *to;
  const struct tb_plain_side *from; /* the rows at positions pos … of this side, or … */
  const float *x;                   /* … these, row i at x + i·ldx */
  size_t ldx;
  uint32_t row, n, pos;
  uint32_t piece, pieces; /* rows per task, tasks per head */
};

void tb_plain_rows(const struct tb_plain_side *s, uint32_t head, uint32_t pos, uint32_t n, float *x, size_t ldx,
                   void *scratch) {
  for (uint32_t done = 0; done < n;) {
    struct tb_plain_run r = tb_plain_locate(s, pos + done, n - done);
    r.store->ops->expand(r.store, head, r.row, r.n, pos + done, x + done * ldx, ldx, scratch);
    done += r.n;
  }
}

static void encode_task(void *arg, size_t task, unsigned thread) {
  const struct encode_job *j = arg;
  unsigned char *scratch = j->w->scratch + thread * j->w->scratch_bytes;
  uint32_t head = (uint32_t)(task / j->pieces), first = (uint32_t)(task % j->pieces) * j->piece;
  uint32_t n = j->n - first < j->piece ? j->n - first : j->piece, d = j->to->config.d;
  const float *x = j->x ? j->x + first * j->ldx + (size_t)head * d : NULL;
  size_t ldx = j->ldx;
  if (!x) {
    float *rows = (float *)(void *)(scratch + TB_STORE_SCRATCH);
    const uint32_t heads = j->to->ops->joint ? j->to->config.n_heads : 1;
    ldx = (size_t)heads * d;
    for (uint32_t h = 0; h < heads; h++)
      tb_plain_rows(j->from, head + h, j->pos + first, n, rows + (size_t)h * d, ldx, scratch);
    x = rows;
  }
  j->to->ops->encode(j->to, head, j->row + first, n, j->pos + first, x, ldx, scratch);
}

/* A task holds one granule, or 64 rows, in the staging rows of its scratch. */
static void encode(struct encode_job *j) {
  if (j->n == 0) return;
  const uint32_t granule = j->to->ops->granule;
  j->piece = granule > 1 ? granule : 64;
  j->pieces = (j->n + j->piece - 1) / j->piece;
  const size_t tasks = (size_t)j->pieces * (j->to->ops->joint ? 1 : j->to->config.n_heads);
  if (j->n > 1)
    tb_parallel_for(j->w->team, tasks, encode_task, j);
  else /* one row takes less time than waking a thread */
    for (size_t i = 0; i < tasks; i++)
      encode_task(j, i, 0);
}

static void drop_front(struct tb_store *tail, uint32_t drop, uint32_t held) {
  for (uint32_t h = 0; h < tail->config.n_heads; h++) {
    size_t at, dropped, all;
    tail->ops->span(&tail->config, h, drop, &at, &dropped);
    tail->ops->span(&tail->config, h, held, &at, &all);
    memmove(tail->mem + at, tail->mem + at + dropped, all - dropped);
  }
}

/* Rows of the chunk, from `first` on, to the end of the tail. */
static void keep_chunk(struct tb_plain_side *s, uint32_t first) {
  size_t at, row;
  s->tail.ops->span(&s->tail.config, 0, 1, &at, &row);
  const uint32_t n = s->chunk_rows - first;
  for (uint32_t h = 0; h < s->tail.config.n_heads; h++)
    memcpy(s->tail.mem + ((size_t)h * s->tail.config.cap + s->tail_rows) * row,
           s->chunk.mem + ((size_t)h * s->chunk.config.cap + first) * row, n * row);
  s->tail_rows += n;
}

void tb_plain_leave(struct tb_plain_side *s, uint32_t n) {
  s->encoded += n;
  const uint32_t from_tail = n < s->tail_rows ? n : s->tail_rows;
  if (from_tail) drop_front(&s->tail, from_tail, s->tail_rows);
  s->tail_rows -= from_tail;
  if (s->chunk_rows) keep_chunk(s, n - from_tail);
  s->chunk_rows = 0;
}

uint32_t tb_plain_due(const struct tb_plain_side *s) {
  const uint32_t granule = s->main.ops->granule, held = s->tail_rows + s->chunk_rows;
  return held > s->window ? (held - s->window) / granule * granule : 0;
}

/* After a step: encodes what has left the window, in whole granules, and leaves the rest in the tail. */
static void settle(struct tb_plain_side *s, struct tb_cache_work *w) {
  if (s->direct) return;
  const uint32_t n = tb_plain_due(s);
  struct encode_job j = {.w = w, .to = &s->main, .from = s, .row = s->encoded, .n = n, .pos = s->sinks + s->encoded};
  encode(&j);
  tb_plain_leave(s, n);
}

static void append_side(struct tb_plain_side *s, struct tb_cache_work *w, enum tb_side side, uint32_t pos, uint32_t n,
                        const float *x) {
  const size_t ldx = (size_t)s->main.config.n_heads * s->main.config.d;
  struct encode_job all = {.w = w, .to = &s->main, .x = x, .ldx = ldx, .row = pos, .n = n, .pos = pos};
  if (s->direct) {
    encode(&all);
    return;
  }
  uint32_t to_sink = pos < s->sinks ? s->sinks - pos : 0;
  if (to_sink > n) to_sink = n;
  struct encode_job first = all, rest = all;
  first.to = &s->sink;
  first.n = to_sink;
  encode(&first);
  rest.x += to_sink * ldx;
  rest.n -= to_sink;
  rest.pos += to_sink;
  const bool room = rest.n <= s->tail.config.cap - s->tail_rows;
  s->chunk.mem = w->chunk[side];
  rest.to = room ? &s->tail : &s->chunk;
  rest.row = room ? s->tail_rows : 0;
  encode(&rest);
  if (room)
    s->tail_rows += rest.n;
  else
    s->chunk_rows = rest.n;
}

/* -------------------------------------------------------------------------------------------------------- turning */

struct turn_job {
  const struct tb_store *st;
  struct tb_cache_work *w;
  float *x;
  size_t ldx;
  uint32_t n, pieces;
};

enum { TURN_ROWS = 64 }; /* rows of a task */

static void turn_task(void *arg, size_t task, unsigned thread) {
  const struct turn_job *j = arg;
  const uint32_t head = (uint32_t)(task / j->pieces), first = (uint32_t)(task % j->pieces) * TURN_ROWS;
  const uint32_t n = j->n - first < TURN_ROWS ? j->n - first : TURN_ROWS;
  j->st->ops->turn(j->st, head, n, j->x + first * j->ldx + (size_t)head * j->st->config.d, j->ldx,
                   j->w->scratch + thread * j->w->scratch_bytes);
}

static void turn(const struct tb_store *st, struct tb_cache_work *w, uint32_t n, float *x) {
  if (!st->ops->turn) return;
  struct turn_job j = {st, w, x, (size_t)st->config.n_heads * st->config.d, n, (n + TURN_ROWS - 1) / TURN_ROWS};
  const size_t tasks = (size_t)j.pieces * st->config.n_heads;
  if (n > 1)
    tb_parallel_for(w->team, tasks, turn_task, &j);
  else
    for (size_t i = 0; i < tasks; i++)
      turn_task(&j, i, 0);
}

void tb_plain_turn_query(const struct tb_plain *p, uint32_t kv, uint32_t n, float *q, void *scratch) {
  const struct tb_store *st = &p->k.main;
  if (st->ops->turn_query) st->ops->turn_query(st, kv, n, q, st->config.d, scratch);
}

void tb_plain_turn_output(const struct tb_plain *p, uint32_t kv, uint32_t n, float *o, void *scratch) {
  const struct tb_store *st = &p->v.main;
  if (st->ops->turn_output) st->ops->turn_output(st, kv, n, o, st->config.d, scratch);
}

/* ------------------------------------------------------------------------------------------------------- the steps */

void tb_plain_append(struct tb_policy *self, struct tb_cache_work *w, uint32_t pos, uint32_t n, float *k, float *v) {
  struct tb_plain *p = plain_of(self);
  turn(&p->k.main, w, n, k);
  turn(&p->v.main, w, n, v);
  append_side(&p->k, w, TB_SIDE_K, pos, n, k);
  append_side(&p->v, w, TB_SIDE_V, pos, n, v);
  p->length = pos + n;
}

void tb_plain_look(struct tb_plain *p, struct tb_cache_work *w, uint32_t pos, uint32_t n, const float *q, float *out) {
  if (q && n == 1)
    tb_plain_decode(p, w, pos, q, out);
  else if (q)
    tb_plain_prefill(p, w, pos, n, q, out);
}

static void plain_attend(struct tb_policy *self, struct tb_cache_work *w, uint32_t pos, uint32_t n, const float *q,
                         float *out) {
  struct tb_plain *p = plain_of(self);
  tb_plain_look(p, w, pos, n, q, out);
  settle(&p->k, w);
  settle(&p->v, w);
}

/* --------------------------------------------------------------------------------------------------- truncating */

/* What a side holds of n tokens beside sinks and main. */
uint32_t tb_plain_rows_in_tail(const struct tb_plain_side *s, uint32_t n) {
  return n > s->sinks + s->encoded ? n - s->sinks - s->encoded : 0;
}

static void truncate_side(struct tb_plain_side *s, struct tb_cache_work *w, uint32_t n) {
  const uint32_t granule = s->main.ops->granule;
  if (s->direct) return;
  if (n < s->sinks + s->encoded) {
    uint32_t after = n > s->sinks ? n - s->sinks : 0, keep = after / granule * granule;
    /* The part of a granule that stays goes back to the tail as floats of its codes. */
    struct encode_job back = {.w = w, .to = &s->tail, .from = s, .row = 0, .n = after - keep, .pos = s->sinks + keep};
    encode(&back);
    s->encoded = keep;
  }
  s->tail_rows = tb_plain_rows_in_tail(s, n);
}

static uint32_t side_encoded(const struct tb_plain_side *s, uint32_t length) {
  return s->direct ? length : s->encoded;
}

static uint32_t plain_encoded(const struct tb_policy *self) {
  const struct tb_plain *p = plain_of_const(self);
  uint32_t k = side_encoded(&p->k, p->length), v = side_encoded(&p->v, p->length);
  return k < v ? k : v;
}

static void plain_truncate(struct tb_policy *self, struct tb_cache_work *w, uint32_t n) {
  struct tb_plain *p = plain_of(self);
  truncate_side(&p->k, w, n);
  truncate_side(&p->v, w, n);
  p->length = n;
}

/* ------------------------------------------------------------------------------------------------------- saving */

enum { PLAIN_STATE = 2 }; /* encoded rows of keys and of values */

static uint32_t plain_state_words(const struct tb_policy *self) {
  (void)self;
  return PLAIN_STATE;
}

static void plain_get_state(const struct tb_policy *self, uint32_t words[PLAIN_STATE]) {
  const struct tb_plain *p = plain_of_const(self);
  words[0] = p->k.encoded;
  words[1] = p->v.encoded;
}

bool tb_plain_possible(const struct tb_plain_side *s, uint32_t length, uint32_t encoded) {
  const uint32_t granule = s->main.ops->granule;
  if (length > s->main.config.cap) return false;
  if (s->direct) return encoded == 0;
  if (encoded % granule != 0 || encoded > s->main.config.cap) return false;
  if (length < s->sinks) return encoded == 0;
  return encoded <= length - s->sinks && length - s->sinks - encoded <= s->tail.config.cap;
}

static bool plain_set_state(struct tb_policy *self, uint32_t length, const uint32_t words[PLAIN_STATE]) {
  struct tb_plain *p = plain_of(self);
  if (!tb_plain_possible(&p->k, length, words[0]) || !tb_plain_possible(&p->v, length, words[1])) return false;
  p->length = length;
  p->k.encoded = words[0];
  p->v.encoded = words[1];
  p->k.tail_rows = tb_plain_rows_in_tail(&p->k, length);
  p->v.tail_rows = tb_plain_rows_in_tail(&p->v, length);
  return true;
}

enum tb_status tb_plain_store_pieces(struct tb_store *st, uint32_t rows, tb_cache_piece_fn fn, void *user,
                                     struct tb_error *err) {
  enum tb_status status = TB_OK;
  for (uint32_t head = 0; !status && rows && head < st->config.n_heads; head++) {
    size_t offset, bytes;
    st->ops->span(&st->config, head, rows, &offset, &bytes);
    status = fn(user, st->mem + offset, bytes, err);
  }
  return status;
}

static enum tb_status side_pieces(struct tb_plain_side *s, uint32_t length, tb_cache_piece_fn fn, void *user,
                                  struct tb_error *err) {
  if (s->direct) return tb_plain_store_pieces(&s->main, length, fn, user, err);
  const uint32_t sinks = length < s->sinks ? length : s->sinks;
  enum tb_status status = tb_plain_store_pieces(&s->sink, sinks, fn, user, err);
  if (!status) status = tb_plain_store_pieces(&s->main, s->encoded, fn, user, err);
  return status ? status : tb_plain_store_pieces(&s->tail, s->tail_rows, fn, user, err);
}

enum tb_status tb_plain_pieces(struct tb_policy *self, tb_cache_piece_fn fn, void *user, struct tb_error *err) {
  struct tb_plain *p = plain_of(self);
  enum tb_status status = side_pieces(&p->k, p->length, fn, user, err);
  return status ? status : side_pieces(&p->v, p->length, fn, user, err);
}

const struct tb_policy_ops tb_policy_plain = {.name = "plain",
                                              .check = tb_plain_check,
                                              .need = tb_plain_need,
                                              .create = plain_create,
                                              .append = tb_plain_append,
                                              .attend = plain_attend,
                                              .truncate = plain_truncate,
                                              .encoded = plain_encoded,
                                              .state_words = plain_state_words,
                                              .get_state = plain_get_state,
                                              .set_state = plain_set_state,
                                              .pieces = tb_plain_pieces};
