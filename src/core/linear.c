/* Matrix products of a pass, cut over the rows of the output: a task computes some rows for all tokens and finishes
 * them (bias, residual, gate) while they are in cache. How rows are cut changes no bit (kernel contracts), so tasks are
 * sized for balance only. */
#include "core/ops.h"

enum {
  MAX_LINEARS = 3,
  /* A product of one token that reads fewer bytes than this takes some microseconds: less than waking a thread. */
  SERIAL_BYTES = 192 * 1024,
};

enum finish { FINISH_SET, FINISH_ADD, FINISH_SWIGLU };

struct linear {
  const struct tb_weight *w;
  const float *bias;
  float *y; /* token t at y + t·ldy */
  size_t ldy;
  size_t first_task;
};

struct job {
  struct tb_pass *p;
  struct tb_acts x;
  uint32_t n; /* tokens */
  enum finish finish;
  size_t rows_per_task, n_tasks;
  int n_linears;
  struct linear linears[MAX_LINEARS];
};

static struct tb_acts columns(const struct tb_act_buffer *a, uint32_t first) {
  return (struct tb_acts){.k = a->k,
                          .f = a->f + first * a->k,
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

static void finish_swiglu(const struct job *j, size_t row, size_t rows, unsigned char *scratch) {
  const struct tb_kernels *kernels = &j->p->model->kernels;
  float *gate = (float *)(void *)(scratch + TB_GEMM_SCRATCH), *up = gate + (size_t)j->n * rows;
  struct tb_act_buffer *out = &j->p->act2;
  multiply(j, j->linears[0].w, row, rows, gate, rows, scratch);
  multiply(j, j->linears[1].w, row, rows, up, rows, scratch);
  for (size_t t = 0; t < j->n; t++) {
    const size_t at = t * out->k + row;
    if (out->k % 32 == 0)
      kernels->silu_mul_q8(out->f + at, out->q + at, out->d + at / 32, out->s + at / 16, gate + t * rows, up + t * rows,
                           rows);
    else
      kernels->silu_mul(out->f + at, gate + t * rows, up + t * rows, rows);
  }
}

static void add_to(float *y, const float *x, size_t n) {
  for (size_t i = 0; i < n; i++)
    y[i] += x[i];
}

static void finish_plain(const struct job *j, const struct linear *l, size_t row, size_t rows, unsigned char *scratch) {
  float *tile = (float *)(void *)(scratch + TB_GEMM_SCRATCH);
  const bool add = j->finish == FINISH_ADD;
  float *y = add ? tile : l->y + row;
  const size_t ldy = add ? rows : l->ldy;
  multiply(j, l->w, row, rows, y, ldy, scratch);
  for (size_t t = 0; t < j->n; t++) {
    if (l->bias) add_to(y + t * ldy, l->bias + row, rows);
    if (add) add_to(l->y + t * l->ldy + row, tile + t * rows, rows);
  }
}

static void linear_task(void *arg, size_t task, unsigned thread) {
  const struct job *j = arg;
  unsigned char *scratch = j->p->scratch + thread * j->p->scratch_bytes;
  int i = j->n_linears - 1;
  while (j->linears[i].first_task > task)
    i--;
  const struct linear *l = &j->linears[i];
  const size_t row = (task - l->first_task) * j->rows_per_task;
  const size_t rows = l->w->rows - row < j->rows_per_task ? l->w->rows - row : j->rows_per_task;
  if (j->finish == FINISH_SWIGLU)
    finish_swiglu(j, row, rows, scratch);
  else
    finish_plain(j, l, row, rows, scratch);
}

/* About eight tasks per thread for one token (they are short); fixed tiles for a batch. Multiples of 32 rows keep the
 * quantisation groups of swiglu whole. */
static size_t choose_rows(const struct job *j, size_t total_rows) {
  if (j->n > 1) return TB_TILE_ROWS;
  size_t tasks = 8 * (size_t)tb_team_threads(j->p->team);
  size_t rows = tb_round_up((total_rows + tasks - 1) / tasks, 32);
  const size_t most = TB_TILE_ROWS; /* the tile's size bounds it */
  return j->finish == FINISH_SET ? rows : rows < most ? rows : most;
}

static void run(struct job *j) {
  size_t total = 0;
  const int counted = j->finish == FINISH_SWIGLU ? 1 : j->n_linears; /* gate and up share their tasks */
  for (int i = 0; i < counted; i++)
    total += j->linears[i].w->rows;
  j->rows_per_task = choose_rows(j, total);
  for (int i = 0; i < counted; i++) {
    j->linears[i].first_task = j->n_tasks;
    j->n_tasks += (j->linears[i].w->rows + j->rows_per_task - 1) / j->rows_per_task;
  }
  if (j->finish == FINISH_SWIGLU) j->n_linears = 1;
  if (j->n == 1 && total * j->linears[0].w->row_bytes < SERIAL_BYTES) {
    for (size_t i = 0; i < j->n_tasks; i++)
      linear_task(j, i, 0);
    return;
  }
  tb_parallel_for(j->p->team, j->n_tasks, linear_task, j);
}

void tb_op_qkv(struct tb_pass *p, const struct tb_layer *l) {
  struct job j = {.p = p,
                  .x = columns(&p->act, 0),
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
                  .x = columns(&p->act, 0),
                  .n = p->n,
                  .finish = FINISH_ADD,
                  .n_linears = 1,
                  .linears = {{.w = w, .bias = bias, .y = p->x, .ldy = w->rows}}};
  run(&j);
}

void tb_op_swiglu(struct tb_pass *p, const struct tb_weight *gate, const struct tb_weight *up) {
  struct job j = {.p = p,
                  .x = columns(&p->act, 0),
                  .n = p->n,
                  .finish = FINISH_SWIGLU,
                  .n_linears = 2,
                  .linears = {{.w = gate}, {.w = up}}};
  p->act2.k = gate->rows;
  run(&j);
  struct tb_act_buffer swap = p->act;
  p->act = p->act2;
  p->act2 = swap;
}

void tb_op_head(struct tb_pass *p, const struct tb_weight *w, uint32_t first, uint32_t n_cols, float *y) {
  struct job j = {.p = p,
                  .x = columns(&p->act, first),
                  .n = n_cols,
                  .finish = FINISH_SET,
                  .n_linears = 1,
                  .linears = {{.w = w, .y = y, .ldy = w->rows}}};
  run(&j);
}
