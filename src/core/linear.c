/* Matrix products of a pass, cut over the rows of the output: whoever computes some rows finishes them (bias, residual,
 * gate) while they are in cache. How rows are cut changes no bit (kernel contracts), so they are cut for speed only. */
#include "core/ops.h"

#include <stdatomic.h>

enum {
  MAX_LINEARS = 3,
  /* A product of one token that reads fewer bytes than this takes some microseconds: less than waking a thread. */
  SERIAL_BYTES = 192 * 1024,
  GROUP = 32, /* rows at least of a task: swiglu's output is quantised in groups of so many */
};

enum finish { FINISH_SET, FINISH_ADD, FINISH_SWIGLU };

struct linear {
  const struct tb_weight *w;
  const float *bias;
  float *y; /* token t at y + t·ldy */
  size_t ldy;
};

struct job {
  struct tb_pass *p;
  struct tb_acts x;
  uint32_t n; /* tokens */
  enum finish finish;
  size_t rows; /* of all linears */
  int n_linears;
  struct linear linears[MAX_LINEARS];
};

static struct tb_acts columns(const struct tb_act_buffer *a, uint32_t first) {
  return (struct tb_acts){.k = a->k,
                          .f = a->f ? a->f + first * a->k : NULL,
                          .ldf = a->k,
                          .q = a->q + first * a->k,
                          .d = a->d + first * (a->k / 32),
                          .s = a->s + first * (a->k / 16)};
}

static unsigned char *scratch_of(const struct job *j, size_t thread) {
  return j->p->scratch + thread * j->p->scratch_bytes;
}

static void add_to(float *y, const float *x, size_t n) {
  for (size_t i = 0; i < n; i++)
    y[i] += x[i];
}

/* Activated gates times up, n rows from `row` on, into the next matrix's activations. y: n floats that may be lost. */
static void finish_swiglu(const struct job *j, size_t token, size_t row, size_t n, float *gate, const float *up) {
  const struct tb_kernels *kernels = &j->p->model->kernels;
  const struct tb_act_buffer *out = &j->p->gated;
  const size_t at = token * out->k + row;
  float *y = out->f ? out->f + at : gate;
  if (out->k % 32 == 0)
    kernels->silu_mul_q8(y, out->q + at, out->d + at / 32, out->s + at / 16, gate, up, n);
  else
    kernels->silu_mul(y, gate, up, n);
}

/* n products, from `row` on. They may be where they belong already. */
static void finish_plain(const struct job *j, const struct linear *l, size_t token, size_t row, size_t n, float *products) {
  if (l->bias) add_to(products, l->bias + row, n);
  if (j->finish == FINISH_ADD) add_to(l->y + token * l->ldy + row, products, n);
}

/* -------------------------------------------------------------------------------------------------- many tokens */

static void multiply(const struct job *j, const struct tb_weight *w, size_t row, size_t rows, float *y, size_t ldy,
                     unsigned char *scratch) {
  j->p->model->kernels.gemm[w->format](y, ldy, w->data + row * w->row_bytes, w->row_bytes, rows, &j->x, j->n, scratch);
}

/* Rows [row, row+rows) for all tokens: a tile. */
static void compute_tile(const struct job *j, const struct linear *l, size_t row, size_t rows, unsigned char *scratch) {
  float *y = (float *)(void *)(scratch + TB_GEMM_SCRATCH), *up = y + (size_t)j->n * rows;
  size_t ldy = rows;
  if (j->finish == FINISH_SET) {
    y = l->y + row;
    ldy = l->ldy;
  }
  multiply(j, l->w, row, rows, y, ldy, scratch);
  if (j->finish == FINISH_SWIGLU) multiply(j, l[1].w, row, rows, up, rows, scratch);
  for (size_t t = 0; t < j->n; t++)
    if (j->finish == FINISH_SWIGLU)
      finish_swiglu(j, t, row, rows, y + t * ldy, up + t * rows);
    else
      finish_plain(j, l, t, row, rows, y + t * ldy);
}

/* Tiles of TB_TILE_ROWS rows, and shorter ones of the last rows, about a tile for every thread: threads end together. */
static size_t whole_tiles(const struct job *j) {
  const size_t tiles = j->rows / TB_TILE_ROWS, threads = tb_team_threads(j->p->team);
  return tiles > threads ? tiles - threads : 0;
}

static size_t tile_first(const struct job *j, size_t task) {
  const size_t whole = whole_tiles(j);
  return task <= whole ? task * TB_TILE_ROWS : whole * TB_TILE_ROWS + (task - whole) * GROUP;
}

static size_t tiles(const struct job *j) {
  const size_t whole = whole_tiles(j);
  return whole + (j->rows - whole * TB_TILE_ROWS + GROUP - 1) / GROUP;
}

static void tile_task(void *arg, size_t task, unsigned thread) {
  const struct job *j = arg;
  size_t row = tile_first(j, task), end = tile_first(j, task + 1);
  if (end > j->rows) end = j->rows;
  for (int i = 0; i < j->n_linears && row < end; i++) {
    const struct linear *l = &j->linears[i];
    const size_t here = l->w->rows < end ? l->w->rows : end; /* rows are counted from this linear on */
    if (row < here) compute_tile(j, l, row, here - row, scratch_of(j, thread));
    if (here == end) return;
    row = row > here ? row - here : 0;
    end -= here;
  }
}

/* ---------------------------------------------------------------------------------------------------- one token */

/* One token is bound by the memory's speed, which is best where a thread reads far without a jump, and without a locked
 * instruction, which waits for all that was asked for. So every thread has its share of the rows, in runs that are read
 * side by side where the kernel likes it, and takes half of it, half of the rest and so on, each piece where the one
 * before ended. Who is done takes pieces of the others, which are short by then: cores of different speed finish
 * together. */

enum { PIECES = 5 };

/* What a thread's share has of one matrix: `runs` runs of steps · unit rows from `first` on, and what is left behind
 * them, up to `end`. */
struct segment {
  size_t first, end;
  size_t runs, steps, unit;
};

/* Rows of all matrices together where a thread's share begins. */
static size_t share_first(const struct job *j, size_t thread) {
  const size_t threads = tb_team_threads(j->p->team);
  return thread < threads ? j->rows * thread / threads / GROUP * GROUP : j->rows;
}

/* before: rows of the matrices before this one. */
static struct segment segment_of(const struct job *j, const struct linear *l, size_t before, size_t thread) {
  const size_t first = share_first(j, thread), end = share_first(j, thread + 1), behind = before + l->w->rows;
  struct segment s = {.runs = j->p->model->kernels.gemv_runs[l->w->format] ? TB_GEMV_RUNS : 1};
  if (end <= before || first >= behind) return s;
  s.first = first > before ? first - before : 0;
  s.end = end < behind ? end - before : l->w->rows;
  s.unit = j->finish == FINISH_SWIGLU || s.runs == 1 ? GROUP : 8;
  s.steps = (s.end - s.first) / (s.runs * s.unit);
  return s;
}

static void multiply_runs(const struct job *j, const struct tb_weight *w, size_t row, size_t runs, size_t rows,
                          size_t apart, float *y, size_t ldy) {
  const struct tb_kernels *k = &j->p->model->kernels;
  const unsigned char *data = w->data + row * w->row_bytes;
  if (runs > 1)
    k->gemv_runs[w->format](y, ldy, data, w->row_bytes, rows, apart, &j->x);
  else
    k->gemv[w->format](y, data, w->row_bytes, rows, &j->x);
}

/* Runs of `rows` rows each, `apart` rows from each other. tile: 2 · runs · rows floats. */
static void compute_runs(const struct job *j, const struct linear *l, size_t row, size_t runs, size_t rows, size_t apart,
                         float *tile) {
  float *y = j->finish == FINISH_SET ? l->y + row : tile, *up = tile + runs * rows;
  const size_t ldy = j->finish == FINISH_SET ? apart : rows;
  multiply_runs(j, l->w, row, runs, rows, apart, y, ldy);
  if (j->finish == FINISH_SWIGLU) multiply_runs(j, l[1].w, row, runs, rows, apart, up, ldy);
  for (size_t r = 0; r < runs; r++)
    if (j->finish == FINISH_SWIGLU)
      finish_swiglu(j, 0, row + r * apart, rows, y + r * ldy, up + r * ldy);
    else
      finish_plain(j, l, 0, row + r * apart, rows, y + r * ldy);
}

/* Where piece i of n steps begins. */
static size_t piece_first(size_t n, size_t i) {
  return i < PIECES ? n - (n >> i) : n;
}

/* Pieces of a thread's share that were given out; in its scratch, which gemv has no use for, behind what is gemm's. */
static atomic_size_t *given(const struct job *j, size_t thread) {
  return (atomic_size_t *)(void *)(scratch_of(j, thread) + TB_GEMM_KEPT);
}

static void compute_steps(const struct job *j, const struct linear *l, const struct segment *s, size_t from, size_t to,
                          float *tile) {
  enum { MOST_ROWS = (TB_GEMM_SCRATCH - TB_GEMM_KEPT - TB_ALIGN) / (2 * TB_GEMV_RUNS * sizeof(float)) / GROUP * GROUP };
  const size_t end = to * s->unit;
  for (size_t row = from * s->unit, n; row < end; row += n) {
    n = end - row < MOST_ROWS ? end - row : MOST_ROWS;
    compute_runs(j, l, s->first + row, s->runs, n, s->steps * s->unit, tile);
  }
}

/* Piece i of a thread's share; the last has what is left of every matrix. */
static void compute_piece(const struct job *j, size_t owner, size_t i, unsigned thread) {
  float *tile = (float *)(void *)(scratch_of(j, thread) + TB_GEMM_KEPT + TB_ALIGN);
  struct segment s[MAX_LINEARS];
  size_t n = 0, before = 0;
  for (int m = 0; m < j->n_linears; before += j->linears[m++].w->rows) {
    s[m] = segment_of(j, &j->linears[m], before, owner);
    n += s[m].steps;
  }
  size_t from = piece_first(n, i), to = piece_first(n, i + 1);
  for (int m = 0; m < j->n_linears; m++) {
    const size_t end = to < s[m].steps ? to : s[m].steps, rest = s[m].first + s[m].runs * s[m].steps * s[m].unit;
    if (from < end) compute_steps(j, &j->linears[m], &s[m], from, end, tile);
    if (i + 1 == PIECES && rest < s[m].end) compute_runs(j, &j->linears[m], rest, 1, s[m].end - rest, 0, tile);
    from = from > s[m].steps ? from - s[m].steps : 0;
    to -= end;
  }
}

static bool take_piece(const struct job *j, size_t owner, size_t *i) {
  atomic_size_t *n = given(j, owner);
  if (atomic_load_explicit(n, memory_order_relaxed) >= PIECES) return false; /* no locked instruction for nothing */
  *i = atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
  return *i < PIECES;
}

/* A thread's own first piece needs no asking. */
static void share_task(void *arg, size_t task, unsigned thread) {
  const struct job *j = arg;
  const size_t threads = tb_team_threads(j->p->team);
  compute_piece(j, task, 0, thread);
  for (size_t t = 0; t < threads; t++) {
    const size_t owner = (task + t) % threads;
    for (size_t i; take_piece(j, owner, &i);)
      compute_piece(j, owner, i, thread);
  }
}

static void run(struct job *j) {
  if (j->finish == FINISH_SWIGLU) j->n_linears = 1; /* gate and up share their rows */
  for (int i = 0; i < j->n_linears; i++)
    j->rows += j->linears[i].w->rows;
  if (j->n > 1) {
    j->x.id = ++*j->p->ids;
    tb_parallel_for(j->p->team, tiles(j), tile_task, j);
    return;
  }
  const size_t threads = tb_team_threads(j->p->team);
  for (size_t t = 0; t < threads; t++)
    atomic_init(given(j, t), 1);
  if (j->rows * j->linears[0].w->row_bytes < SERIAL_BYTES)
    for (size_t t = 0; t < threads; t++)
      share_task(j, t, 0);
  else
    tb_parallel_for(j->p->team, threads, share_task, j);
}

void tb_op_qkv(struct tb_pass *p, const struct tb_layer *l) {
  struct job j = {.p = p,
                  .x = columns(p->in, 0),
                  .n = p->n,
                  .finish = FINISH_SET,
                  .n_linears = 3,
                  .linears = {{.w = &l->wq, .bias = l->bq, .y = p->q, .ldy = l->wq.rows},
                              {.w = &l->wk, .bias = l->bk, .y = p->k, .ldy = l->wk.rows},
                              {.w = &l->wv, .bias = l->bv, .y = p->v, .ldy = l->wv.rows}}};
  run(&j);
}

void tb_op_add_linear(struct tb_pass *p, const struct tb_weight *w, const float *bias) {
  struct job j = {.p = p,
                  .x = columns(p->in, 0),
                  .n = p->n,
                  .finish = FINISH_ADD,
                  .n_linears = 1,
                  .linears = {{.w = w, .bias = bias, .y = p->x, .ldy = w->rows}}};
  run(&j);
}

void tb_op_swiglu(struct tb_pass *p, const struct tb_weight *gate, const struct tb_weight *up) {
  struct job j = {.p = p,
                  .x = columns(p->in, 0),
                  .n = p->n,
                  .finish = FINISH_SWIGLU,
                  .n_linears = 2,
                  .linears = {{.w = gate}, {.w = up}}};
  p->gated.k = gate->rows;
  run(&j);
  p->in = &p->gated;
}

void tb_op_head(struct tb_pass *p, const struct tb_weight *w, uint32_t first, uint32_t n_cols, float *y) {
  struct job j = {.p = p,
                  .x = columns(p->in, first),
                  .n = n_cols,
                  .finish = FINISH_SET,
                  .n_linears = 1,
                  .linears = {{.w = w, .y = y, .ldy = w->rows}}};
  run(&j);
}
