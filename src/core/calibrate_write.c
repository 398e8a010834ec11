/* The profile (cache/profile.h lists its tensors): what was summed, and what follows from the weights. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "cache/plan/loss.h"
#include "core/calibrate.h"
#include "io/gguf_write.h"

/* Shapes of tensors: D = n_kv · d. */
enum shape { K, V, K_K, V_V, HEADS_K, HEADS_V };

static const struct {
  const char *name;
  enum shape shape;
} statistics[] = {{"k.min", K},           {"k.max", K},      {"k.mean", K},         {"kr.mean", K},
                  {"v.min", V},           {"v.max", V},      {"v.mean", V},         {"k.moment", K_K},
                  {"kr.moment", HEADS_K}, {"v.moment", V_V}, {"q.moment", HEADS_K}, {"o.metric", HEADS_V},
                  {"k.gram", K_K},        {"v.gram", V_V},   {"k.asvd", K_K},       {"v.asvd", V_V}};
enum statistic {
  K_MIN,
  K_MAX,
  K_MEAN,
  KR_MEAN,
  V_MIN,
  V_MAX,
  V_MEAN,
  K_MOMENT,
  KR_MOMENT,
  V_MOMENT,
  Q_MOMENT,
  O_METRIC,
  K_GRAM,
  V_GRAM,
  K_ASVD,
  V_ASVD,
  STATISTICS
};

static uint32_t shape_of(const struct tb_layer *l, enum shape shape, uint64_t ne[3]) {
  const uint64_t dk = (uint64_t)l->n_kv * l->d_k, dv = (uint64_t)l->n_kv * l->d_v;
  switch (shape) {
  case K:
    ne[0] = dk;
    return 1;
  case V:
    ne[0] = dv;
    return 1;
  case K_K:
    ne[0] = ne[1] = dk;
    return dk <= TB_CALIBRATE_JOINT ? 2 : 0;
  case V_V:
    ne[0] = ne[1] = dv;
    return dv <= TB_CALIBRATE_JOINT ? 2 : 0;
  case HEADS_K:
  case HEADS_V:
    ne[0] = ne[1] = shape == HEADS_K ? l->d_k : l->d_v;
    ne[2] = l->n_kv;
    return 3;
  }
  return 0;
}

/* Floats of a tensor; 0: left out. */
static size_t values_of(const struct tb_layer *l, enum shape shape) {
  uint64_t ne[3] = {0};
  size_t n = 1;
  const uint32_t dims = shape_of(l, shape, ne);
  for (uint32_t i = 0; i < dims; i++)
    n *= ne[i];
  return dims ? n : 0;
}

struct writing {
  const struct tb_calibration *c;
  const struct tb_layer *l;
  const struct tb_layer_sums *sums;
  float *out;     /* the tensor */
  float *weights; /* rows of a matrix as floats */
};

/* ------------------------------------------------------------------------------------------------------------ weights
 */

struct weight_job {
  const struct writing *w;
  const struct tb_weight *matrix;
  const double *scale; /* per input, or NULL */
  double count;
  size_t first; /* row of the matrix that is row 0 of the buffer */
  struct tb_moment *heads;
  size_t n; /* rows in the buffer */
};

static void dequant_task(void *arg, size_t row, unsigned thread) {
  (void)thread;
  const struct weight_job *j = arg;
  float *out = j->w->weights + row * j->matrix->k;
  j->w->c->model->kernels.dequant[j->matrix->format](out, j->matrix->data + (j->first + row) * j->matrix->row_bytes,
                                                     j->matrix->k);
  for (size_t i = 0; j->scale && i < j->matrix->k; i++)
    out[i] *= (float)sqrt(j->scale[i] / j->count);
}

static void gram_task(void *arg, size_t row, unsigned thread) {
  (void)thread;
  const struct weight_job *j = arg;
  const uint32_t rows = (uint32_t)j->matrix->rows;
  tb_gram_row(&j->w->c->model->kernels, tb_moment_rows(rows) - 1 - (uint32_t)row, j->w->weights, rows, j->matrix->k,
              j->w->out);
}

/* W·Wᵀ, or W·S²·Wᵀ with S² = the mean absolute input of each channel. */
static void gram(const struct writing *w, const struct tb_weight *matrix, bool scaled) {
  struct weight_job j = {
      .w = w, .matrix = matrix, .scale = scaled ? w->sums->input : NULL, .count = (double)w->c->tokens};
  tb_parallel_for(w->c->team, matrix->rows, dequant_task, &j);
  tb_parallel_for(w->c->team, tb_moment_rows((uint32_t)matrix->rows), gram_task, &j);
}

enum { METRIC_ROWS = 128 }; /* rows of Wo at a time */

static void metric_task(void *arg, size_t task, unsigned thread) {
  const struct weight_job *j = arg;
  const struct tb_layer *l = j->w->l;
  const uint32_t rows = tb_moment_rows(l->d_v), group = l->n_head / l->n_kv;
  const uint32_t head = (uint32_t)task / rows, row = (uint32_t)task % rows;
  for (uint32_t g = 0; g < group; g++)
    tb_moment_add(&j->heads[head], &j->w->c->model->kernels, row, j->w->weights + (size_t)(head * group + g) * l->d_v,
                  j->matrix->k, j->n, j->w->c->scratch + thread * j->w->c->scratch_floats);
}

/* Σ Wₒᵀ·Wₒ: the second moment of Wₒ's rows. */
static enum tb_status metric(const struct writing *w, struct tb_error *err) {
  const struct tb_layer *l = w->l;
  const struct tb_allocator *a = &w->c->model->alloc;
  const size_t values = tb_moment_values(l->d_v);
  struct tb_moment *heads = tb_calloc(a, l->n_kv, sizeof *heads);
  double *sums = tb_calloc(a, l->n_kv * values, sizeof *sums);
  const bool ok = heads && sums;
  struct weight_job j = {.w = w, .matrix = &l->wo, .heads = heads};
  for (uint32_t h = 0; ok && h < l->n_kv; h++)
    heads[h] = (struct tb_moment){.d = l->d_v, .tiles = sums + h * values};
  const size_t step = METRIC_ROWS < w->c->n_batch ? METRIC_ROWS : w->c->n_batch; /* the scratch is for n_batch */
  for (j.first = 0; ok && j.first < l->wo.rows; j.first += step) {
    j.n = l->wo.rows - j.first < step ? l->wo.rows - j.first : step;
    tb_parallel_for(w->c->team, j.n, dequant_task, &j);
    tb_parallel_for(w->c->team, (size_t)l->n_kv * tb_moment_rows(l->d_v), metric_task, &j);
  }
  for (uint32_t h = 0; ok && h < l->n_kv; h++)
    tb_moment_get(&heads[h], 1, w->out + (size_t)h * l->d_v * l->d_v);
  tb_free(a, sums);
  tb_free(a, heads);
  return ok ? TB_OK : tb_fail(err, TB_E_NOMEM, "calibrate: out of memory");
}

/* ------------------------------------------------------------------------------------------------------------ tensors
 */

static void mean(const struct writing *w, const double *sum, size_t n) {
  for (size_t i = 0; i < n; i++)
    w->out[i] = (float)(sum[i] / (double)w->c->tokens);
}

static void head_moments(const struct writing *w, const struct tb_moment *heads) {
  for (uint32_t h = 0; h < w->l->n_kv; h++)
    tb_moment_get(&heads[h], (double)w->c->tokens, w->out + (size_t)h * heads[h].d * heads[h].d);
}

static enum tb_status compute(const struct writing *w, enum statistic s, size_t n, struct tb_error *err) {
  const struct tb_layer_sums *sums = w->sums;
  const double tokens = (double)w->c->tokens;
  const float *bounds[] = {[K_MIN] = sums->k.min, [K_MAX] = sums->k.max, [V_MIN] = sums->v.min, [V_MAX] = sums->v.max};
  switch (s) {
  case K_MIN:
  case K_MAX:
  case V_MIN:
  case V_MAX:
    memcpy(w->out, bounds[s], n * sizeof *w->out);
    break;
  case K_MEAN:
    mean(w, sums->k.sum, n);
    break;
  case KR_MEAN:
    mean(w, sums->kr.sum, n);
    break;
  case V_MEAN:
    mean(w, sums->v.sum, n);
    break;
  case K_MOMENT:
    tb_moment_get(&sums->k_joint, tokens, w->out);
    break;
  case V_MOMENT:
    tb_moment_get(&sums->v_joint, tokens, w->out);
    break;
  case KR_MOMENT:
    head_moments(w, sums->kr_heads);
    break;
  case Q_MOMENT:
    head_moments(w, sums->q_heads);
    break;
  case O_METRIC:
    return metric(w, err);
  case K_GRAM:
  case K_ASVD:
    gram(w, &w->l->wk, s == K_ASVD);
    break;
  case V_GRAM:
  case V_ASVD:
    gram(w, &w->l->wv, s == V_ASVD);
    break;
  case STATISTICS:
    break;
  }
  return TB_OK;
}

static void describe_head(struct tb_gguf_writer *g, const struct tb_model *model, uint64_t tokens) {
  tb_gguf_add_str(g, "general.type", "thimble.profile");
  tb_gguf_add_u32(g, "thimble.profile.version", 1);
  tb_gguf_add_u64(g, "thimble.profile.model", tb_model_identity(model->gguf));
  tb_gguf_add_u64(g, "thimble.profile.tokens", tokens);
}

static void describe(struct tb_gguf_writer *g, const struct tb_calibration *c) {
  describe_head(g, c->model, c->tokens);
  for (uint32_t i = 0; i < c->model->hp.n_layer; i++) {
    for (int s = 0; s < STATISTICS; s++) {
      uint64_t ne[3];
      char name[64];
      const uint32_t dims = shape_of(&c->model->layers[i], statistics[s].shape, ne);
      snprintf(name, sizeof name, "blk.%u.%s", i, statistics[s].name);
      if (dims) tb_gguf_add_tensor(g, name, TB_FMT_f32, dims, ne);
    }
    tb_pairs_describe(c, i, g);
  }
}

static enum tb_status put_layer(struct tb_gguf_writer *g, const struct writing *w, struct tb_error *err) {
  enum tb_status status = TB_OK;
  for (int s = 0; !status && s < STATISTICS; s++) {
    const size_t n = values_of(w->l, statistics[s].shape);
    if (n == 0) continue;
    status = compute(w, (enum statistic)s, n, err);
    if (!status) status = tb_gguf_writer_put(g, w->out, n * sizeof *w->out, err);
  }
  return status;
}

/* The largest tensor, and the largest matrix that is made of floats. */
static void largest(const struct tb_model *m, size_t *values, size_t *weights) {
  *values = *weights = 0;
  for (uint32_t i = 0; i < m->hp.n_layer; i++) {
    const struct tb_layer *l = &m->layers[i];
    const size_t rows[] = {l->wk.rows, l->wv.rows, METRIC_ROWS}, k[] = {l->wk.k, l->wv.k, l->wo.k};
    for (int s = 0; s < STATISTICS; s++) {
      const size_t n = values_of(l, statistics[s].shape);
      if (n > *values) *values = n;
    }
    for (int j = 0; j < 3; j++)
      if (rows[j] * k[j] > *weights) *weights = rows[j] * k[j];
  }
}

enum tb_status tb_calibration_write(const struct tb_calibration *c, const char *path, struct tb_error *err) {
  const struct tb_allocator *a = &c->model->alloc;
  struct tb_gguf_writer *g = NULL;
  struct writing w = {.c = c};
  size_t values, weights;
  largest(c->model, &values, &weights);
  enum tb_status status = tb_gguf_writer_create(&g, a, err);
  w.out = tb_alloc(a, values, sizeof *w.out);
  w.weights = tb_alloc(a, weights, sizeof *w.weights);
  if (!status && (!w.out || !w.weights)) status = tb_fail(err, TB_E_NOMEM, "calibrate: out of memory");
  if (!status) {
    describe(g, c);
    status = tb_gguf_writer_open(g, path, err);
  }
  for (uint32_t i = 0; !status && i < c->model->hp.n_layer; i++) {
    w.l = &c->model->layers[i];
    w.sums = &c->layers[i];
    status = put_layer(g, &w, err);
    if (!status) status = tb_pairs_put(c, i, g, err);
  }
  if (!status) status = tb_gguf_writer_close(g, true, err);
  tb_gguf_writer_free(g);
  tb_free(a, w.weights);
  tb_free(a, w.out);
  return status;
}

/* ------------------------------------------------------------------------------------------------------------- losses
 */

static void loss_name(char name[64], uint32_t layer, size_t row) {
  snprintf(name, 64, "blk.%u.loss.%s", layer, tb_loss_row(row));
}

static void describe_losses(struct tb_gguf_writer *g, const struct tb_loss_table *t) {
  char name[64];
  const uint64_t two = 2;
  float checks[2 * TB_LOSS_CHECKS];
  for (int i = 0; i < TB_LOSS_CHECKS; i++) {
    checks[2 * i] = t->check[i].predicted;
    checks[2 * i + 1] = t->check[i].measured;
  }
  tb_gguf_add_array(g, "thimble.profile.loss.scale", TB_GGUF_F32, &t->scale, 1);
  tb_gguf_add_array(g, "thimble.profile.loss.check", TB_GGUF_F32, checks, 2 * TB_LOSS_CHECKS);
  for (uint32_t i = 0; i < t->n_layer; i++)
    for (size_t row = 0; row < t->n_rows; row++) {
      loss_name(name, i, row);
      tb_gguf_add_tensor(g, name, TB_FMT_f32, 1, &two);
    }
}

static enum tb_status copy_tensors(struct tb_gguf_writer *g, const struct tb_gguf *from, struct tb_error *err) {
  enum tb_status status = TB_OK;
  for (size_t i = 0; !status && i < tb_gguf_tensor_count(from); i++) {
    const struct tb_gguf_tensor *t = tb_gguf_tensor_at(from, i);
    status = tb_gguf_writer_put(g, t->data, t->bytes, err);
  }
  return status;
}

static enum tb_status put_losses(struct tb_gguf_writer *g, const struct tb_loss_table *t, struct tb_error *err) {
  enum tb_status status = TB_OK;
  for (size_t i = 0; !status && i < t->n_layer * t->n_rows; i++) {
    const float pair[2] = {(float)t->values[2 * i], (float)t->values[2 * i + 1]};
    status = tb_gguf_writer_put(g, pair, sizeof pair, err);
  }
  return status;
}

static enum tb_status write_join(struct tb_gguf_writer *g, const struct tb_loss_table *t, const struct tb_model *model,
                                 const struct tb_profile *p, const struct tb_gguf *from, const char *path,
                                 struct tb_error *err) {
  char name[64];
  describe_head(g, model, tb_profile_tokens(p));
  for (size_t i = 0; i < tb_gguf_tensor_count(from); i++) {
    const struct tb_gguf_tensor *tensor = tb_gguf_tensor_at(from, i);
    snprintf(name, sizeof name, "%.*s", (int)tensor->name.len, tensor->name.ptr);
    tb_gguf_add_tensor(g, name, tensor->format, tensor->n_dims, tensor->ne);
  }
  describe_losses(g, t);
  enum tb_status status = tb_gguf_writer_open(g, path, err);
  if (!status) status = copy_tensors(g, from, err);
  if (!status) status = put_losses(g, t, err);
  return status ? status : tb_gguf_writer_close(g, true, err);
}

enum tb_status tb_calibrate_join(const struct tb_loss_table *t, const struct tb_model *model, const char *from,
                                 const char *path, struct tb_error *err) {
  const struct tb_allocator *a = &model->alloc;
  struct tb_gguf_writer *g = NULL;
  struct tb_gguf *file = NULL;
  struct tb_profile *p = NULL;
  enum tb_status status = tb_gguf_writer_create(&g, a, err);
  if (!status) status = tb_profile_open(&p, from, a, err);
  if (!status) status = tb_gguf_open(&file, from, a, err);
  if (!status) status = write_join(g, t, model, p, file, path, err);
  tb_gguf_free(file);
  tb_profile_free(p);
  tb_gguf_writer_free(g);
  return status;
}
