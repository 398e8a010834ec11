/* Matrix products of a pass, cut over the rows of the output: a task computes some rows for all tokens and finishes
 * them (bias, residual, gate) while they are in cache. How rows are cut changes no bit (kernel contracts), so tasks are
 * sized for speed only. */
#include "core/ops.h"

enum {
  MAX_LINEARS = 3,
  /* A product of one token that reads fewer bytes than this takes some microseconds: less than waking a thread. */
  SERIAL_BYTES = 192 * 1024,
  ROW_STEP = 32, /* tasks begin at multiples of it: quantisation groups of swiglu stay whole */
  ROUNDS = 4,
  /* Of one task for one token: two tiles of it fit the scratch that gemv does not use. */
  MOST_ROWS = TB_GEMM_SCRATCH / (2 * sizeof(float)),
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
  size_t rows, n_tasks; /* rows of all linears, cut into tasks */
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

/* Rows [row, row+rows) of W for all tokens: token t at y + t·ldy. */
static void multiply(const struct job *j, const struct tb_weight *w, size_t row, size_t rows, float *y, size_t ldy,
                     unsigned char *scratch) {
  const struct tb_kernels *k = &j->p->model->kernels;
  const unsigned char *data = w->data + row * w->row_bytes;
  if (j->n == 1)
    k->gemv[w->format](y, data, w->row_bytes, rows, &j->x);
  else
    k->gemm[w->format](y, ldy, data, w->row_bytes, rows, &j->x, j->n, scratch);
}

/* Where a task's results wait to be finished. */
static float *tile_of(const struct job *j, unsigned char *scratch) {
  return (float *)(void *)(j->n == 1 ? scratch : scratch + TB_GEMM_SCRATCH);
}

static void finish_swiglu(const struct job *j, size_t row, size_t rows, unsigned char *scratch) {
  const struct tb_kernels *kernels = &j->p->model->kernels;
  float *gate = tile_of(j, scratch), *up = gate + (size_t)j->n * rows;
  const struct tb_act_buffer *out = &j->p->gated;
  multiply(j, j->linears[0].w, row, rows, gate, rows, scratch);
  multiply(j, j->linears[1].w, row, rows, up, rows, scratch);
  for (size_t t = 0; t < j->n; t++) {
    const size_t at = t * out->k + row;
    float *y = out->f ? out->f + at : gate + t * rows;
    if (out->k % 32 == 0)
      kernels->silu_mul_q8(y, out->q + at, out->d + at / 32, out->s + at / 16, gate + t * rows, up + t * rows, rows);
    else
      kernels->silu_mul(y, gate + t * rows, up + t * rows, rows);
  }
}

static void add_to(float *y, const float *x, size_t n) {
  for (size_t i = 0; i < n; i++)
    y[i] += x[i];
}

static void finish_plain(const struct job *j, const struct linear *l, size_t row, size_t rows, unsigned char *scratch) {
  float *tile = tile_of(j, scratch);
  const bool add = j->finish == FINISH_ADD;
  float *y = add ? tile : l->y + row;
  const size_t ldy = add ? rows : l->ldy;
  multiply(j, l->w, row, rows, y, ldy, scratch);
  for (size_t t = 0; t < j->n; t++) {
    if (l->bias) add_to(y + t * ldy, l->bias + row, rows);
    if (add) add_to(l->y + t * l->ldy + row, tile + t * rows, rows);
  }
}

/* The first row of a task. A batch is cut into even tiles. One token is bound by the memory's speed, which is best where
 * a thread reads far without a jump: in every round but the last the threads share half of the rows that are left, so
 * that the first tasks are long, and the last short enough to finish together on cores of different speed. */
static size_t first_row(const struct job *j, size_t task) {
  if (j->n > 1) return task * TB_TILE_ROWS;
  const size_t threads = tb_team_threads(j->p->team), round = task / threads, left = j->rows >> round;
  const size_t share = (round + 1 < ROUNDS ? left / 2 : left) / threads;
  return (j->rows - left + task % threads * share) / ROW_STEP * ROW_STEP;
}

static void linear_task(void *arg, size_t task, unsigned thread) {
  const struct job *j = arg;
  unsigned char *scratch = j->p->scratch + thread * j->p->scratch_bytes;
  size_t row = first_row(j, task), end = task + 1 < j->n_tasks ? first_row(j, task + 1) : j->rows;
  for (int i = 0; i < j->n_linears && row < end; i++) {
    const struct linear *l = &j->linears[i];
    const size_t here = l->w->rows < end ? l->w->rows : end; /* rows are counted from this linear on */
    for (size_t rows; row < here; row += rows) {
      rows = here - row < MOST_ROWS ? here - row : MOST_ROWS;
      if (j->finish == FINISH_SWIGLU)
        finish_swiglu(j, row, rows, scratch);
      else
        finish_plain(j, l, row, rows, scratch);
    }
    if (here == end) return;
    row -= l->w->rows;
    end -= l->w->rows;
  }
}

static void run(struct job *j) {
  if (j->finish == FINISH_SWIGLU) j->n_linears = 1; /* gate and up share their tasks */
  for (int i = 0; i < j->n_linears; i++)
    j->rows += j->linears[i].w->rows;
  j->n_tasks = j->n > 1 ? (j->rows + TB_TILE_ROWS - 1) / TB_TILE_ROWS : ROUNDS * (size_t)tb_team_threads(j->p->team);
  if (j->n == 1 && j->rows * j->linears[0].w->row_bytes < SERIAL_BYTES) {
    for (size_t i = 0; i < j->n_tasks; i++)
      linear_task(j, i, 0);
    return;
  }
  tb_parallel_for(j->p->team, j->n_tasks, linear_task, j);
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
