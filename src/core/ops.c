#include "core/ops.h"

#include <string.h>

/* ----------------------------------------------------------------------------------------------------- by token */

/* Tokens of a task, at most: threads that ask for one token at a time wait for each other more than they compute. */
enum { MOST_TOKENS = 16 };

struct tokens_job {
  tb_task_fn fn;
  void *arg;
  size_t n, per_task;
};

static void tokens_task(void *arg, size_t task, unsigned thread) {
  const struct tokens_job *j = arg;
  const size_t first = task * j->per_task, end = first + j->per_task < j->n ? first + j->per_task : j->n;
  for (size_t i = first; i < end; i++)
    j->fn(j->arg, i, thread);
}

/* Runs fn for each token of the pass; a single token stays in the caller. */
static void each_token(struct tb_pass *p, tb_task_fn fn, void *arg) {
  if (p->n == 1) {
    fn(arg, 0, 0);
    return;
  }
  const size_t share = p->n / (4 * tb_team_threads(p->team));
  struct tokens_job j = {fn, arg, p->n, share < 1 ? 1 : share < MOST_TOKENS ? share : MOST_TOKENS};
  tb_parallel_for(p->team, (p->n + j.per_task - 1) / j.per_task, tokens_task, &j);
}

static void quantize_token(const struct tb_kernels *kernels, struct tb_act_buffer *a, size_t token) {
  const size_t k = a->k;
  if (k % 32 == 0)
    kernels->quant_q8(a->q + token * k, a->d + token * (k / 32), a->s + token * (k / 16), a->f + token * k, k);
}

static void embed_task(void *arg, size_t i, unsigned thread) {
  (void)thread;
  struct tb_pass *p = arg;
  const struct tb_weight *w = &p->model->embedding;
  p->model->kernels.dequant[w->format](p->x + i * w->k, w->data + (size_t)p->tokens[i] * w->row_bytes, w->k);
}

void tb_op_embed(struct tb_pass *p) {
  each_token(p, embed_task, p);
}

struct norm_job {
  struct tb_pass *p;
  const float *w;
};

static void norm_task(void *arg, size_t i, unsigned thread) {
  (void)thread;
  const struct norm_job *j = arg;
  const struct tb_hparams *hp = &j->p->model->hp;
  const size_t n = hp->n_embd;
  const struct tb_kernels *kernels = &j->p->model->kernels;
  const struct tb_act_buffer *a = &j->p->act;
  const float *x = j->p->x + i * n;
  if (n % 32 == 0)
    kernels->norm_rms_q8(a->f + i * n, a->q + i * n, a->d + i * (n / 32), a->s + i * (n / 16), x, j->w, n,
                         hp->norm_eps);
  else
    kernels->norm_rms(a->f + i * n, x, j->w, n, hp->norm_eps);
}

void tb_op_norm(struct tb_pass *p, const float *w) {
  struct norm_job j = {p, w};
  p->act.k = p->model->hp.n_embd;
  p->in = &p->act;
  each_token(p, norm_task, &j);
}

struct quantize_job {
  struct tb_pass *p;
  struct tb_act_buffer *a;
};

static void quantize_task(void *arg, size_t i, unsigned thread) {
  (void)thread;
  const struct quantize_job *j = arg;
  quantize_token(&j->p->model->kernels, j->a, i);
}

void tb_act_quantize(struct tb_pass *p, struct tb_act_buffer *a) {
  struct quantize_job j = {p, a};
  each_token(p, quantize_task, &j);
}

/* ---------------------------------------------------------------------------------------------------- attention */

struct heads_job {
  struct tb_pass *p;
  const struct tb_layer *l;
};

static void head_norm_task(void *arg, size_t i, unsigned thread) {
  (void)thread;
  const struct heads_job *j = arg;
  const struct tb_layer *l = j->l;
  const float eps = j->p->model->hp.norm_eps;
  float *q = j->p->q + i * l->n_head * l->d_k, *k = j->p->k + i * l->n_kv * l->d_k;
  for (uint32_t h = 0; h < l->n_head; h++, q += l->d_k)
    j->p->model->kernels.norm_rms(q, q, l->q_norm, l->d_k, eps);
  for (uint32_t h = 0; h < l->n_kv; h++, k += l->d_k)
    j->p->model->kernels.norm_rms(k, k, l->k_norm, l->d_k, eps);
}

void tb_op_head_norm(struct tb_pass *p, const struct tb_layer *l) {
  struct heads_job j = {p, l};
  each_token(p, head_norm_task, &j);
}

static void rope_task(void *arg, size_t i, unsigned thread) {
  (void)thread;
  const struct heads_job *j = arg;
  const struct tb_layer *l = j->l;
  const struct tb_rope_table *t = j->p->rope;
  const size_t at = (j->p->pos + i) * (t->n_rot / 2);
  const struct tb_kernels *kernels = &j->p->model->kernels;
  float *q = j->p->q + i * l->n_head * l->d_k, *k = j->p->k + i * l->n_kv * l->d_k;
  for (uint32_t h = 0; h < l->n_head + l->n_kv; h++) {
    float *x = h < l->n_head ? q + h * l->d_k : k + (h - l->n_head) * l->d_k;
    if (t->neox)
      kernels->rope_neox(x, t->cos + at, t->sin + at, t->n_rot);
    else
      kernels->rope_norm(x, t->cos + at, t->sin + at, t->n_rot);
  }
}

void tb_op_rope(struct tb_pass *p, const struct tb_layer *l) {
  struct heads_job j = {p, l};
  each_token(p, rope_task, &j);
}

/* The last n of the pass's rows, of `width` floats, to the front. */
static void keep_rows(const struct tb_pass *p, float *rows, uint32_t n, size_t width) {
  memmove(rows, rows + (size_t)(p->n - n) * width, n * width * sizeof *rows);
}

static void keep_wanted(struct tb_pass *p) {
  keep_rows(p, p->x, p->wanted, p->model->hp.n_embd);
  keep_rows(p, p->attended.f, p->wanted, p->attended.k);
  p->n = p->wanted;
}

void tb_op_attention(struct tb_pass *p, uint32_t il) {
  const struct tb_layer *l = &p->model->layers[il];
  if (p->observe) p->observe(p->observer, p, il);
  tb_cache_append(p->cache, il, p->k, p->v);
  p->attended = p->act;
  p->attended.k = (size_t)l->n_head * l->d_v;
  if (l->d_k == l->d_v) p->attended.f = p->q;
  tb_cache_attend(p->cache, il, p->q, p->attended.f);
  if (il + 1 == p->model->hp.n_layer && p->wanted < p->n) keep_wanted(p);
  tb_act_quantize(p, &p->attended);
  p->in = &p->attended;
}
