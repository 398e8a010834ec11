/* Which channels share a scale: k-means (Lloyd) on the points (min, max) of a layer's channels, as many clusters as
 * groups. Plain double arithmetic in a fixed order, so that every machine finds the same groups. */
#include <string.h>
#include "cache/store/skvq.h"

enum { ROUNDS = 30 };

static uint32_t width_of(const struct tb_store_config *c) {
  return c->n_heads * c->d;
}

uint32_t tb_skvq_groups(const struct tb_store_config *c, const struct tb_skvq *x) {
  return (width_of(c) + x->group - 1) / x->group;
}

static enum tb_status ranges(const struct tb_store_config *c, const float **lo, const float **hi,
                             struct tb_error *err) {
  const bool keys = c->side == TB_SIDE_K;
  enum tb_status s = tb_profile_get(c->profile, c->layer, keys ? "k.min" : "v.min", width_of(c), lo, err);
  return s ? s : tb_profile_get(c->profile, c->layer, keys ? "k.max" : "v.max", width_of(c), hi, err);
}

enum tb_status tb_skvq_check_profile(const struct tb_store_config *c, struct tb_error *err) {
  const float *lo, *hi;
  return ranges(c, &lo, &hi, err);
}

/* ------------------------------------------------------------------------------------------------------ tables */

struct tables {
  float *clip;
  uint16_t *ends;
  int16_t *order, *place;
};

static struct tables tables_of(unsigned char *mem, uint32_t width, uint32_t groups) {
  struct tables t;
  t.clip = (float *)(void *)mem;
  t.ends = (uint16_t *)(void *)(t.clip + groups);
  t.order = (int16_t *)(t.ends + groups);
  t.place = t.order + width;
  return t;
}

size_t tb_skvq_table_bytes(const struct tb_store_config *c, const struct tb_skvq *x) {
  const size_t groups = tb_skvq_groups(c, x);
  return tb_round_up(groups * (sizeof(float) + sizeof(uint16_t)) + 2 * sizeof(int16_t) * width_of(c), TB_ALIGN);
}

struct tb_kvrow tb_skvq_row(const struct tb_store *st, const struct tb_skvq *x) {
  const uint32_t width = width_of(&st->config), groups = tb_skvq_groups(&st->config, x);
  const struct tables t = tables_of(st->mem, width, groups);
  const bool ordered = st->config.profile != NULL && !x->hadamard;
  return (struct tb_kvrow){.levels = x->levels,
                           .width = width,
                           .n_groups = groups,
                           .ends = t.ends,
                           .clip = t.clip,
                           .order = ordered ? t.order : NULL,
                           .place = ordered ? t.place : NULL,
                           .shrink = x->shrink,
                           .f8 = !x->f16};
}

/* ---------------------------------------------------------------------------------------------------- clusters */

struct means {
  const float *lo, *hi; /* the points; n of them */
  uint32_t n, k;
  double *x, *y;   /* k centres */
  uint16_t *label; /* n */
  uint32_t *count; /* k */
};

size_t tb_skvq_init_bytes(const struct tb_store_config *c) {
  return width_of(c) * (2 * sizeof(double) + sizeof(uint32_t) + sizeof(uint16_t));
}

static struct means carve_means(void *work, uint32_t n, uint32_t k) {
  struct means m = {.n = n, .k = k, .x = work};
  m.y = m.x + n;
  m.count = (uint32_t *)(void *)(m.y + n);
  m.label = (uint16_t *)(m.count + n);
  return m;
}

/* The first centres: points at equal steps of the model's order, which every cluster then has. */
static void seed(struct means *m) {
  for (uint32_t j = 0; j < m->k; j++) {
    const uint32_t i = (uint32_t)((uint64_t)j * m->n / m->k);
    m->x[j] = (double)m->lo[i];
    m->y[j] = (double)m->hi[i];
  }
}

static double distance(const struct means *m, uint32_t i, uint32_t j) {
  const double dx = (double)m->lo[i] - m->x[j], dy = (double)m->hi[i] - m->y[j];
  return dx * dx + dy * dy;
}

static bool assign(struct means *m) {
  bool changed = false;
  memset(m->count, 0, m->k * sizeof *m->count);
  for (uint32_t i = 0; i < m->n; i++) {
    uint32_t best = 0;
    for (uint32_t j = 1; j < m->k; j++)
      if (distance(m, i, j) < distance(m, i, best)) best = j;
    changed |= m->label[i] != best;
    m->label[i] = (uint16_t)best;
    m->count[best]++;
  }
  return changed;
}

/* A cluster that lost all its points takes the one that is farthest from its centre, of those that are not alone. */
static void fill_empty(struct means *m) {
  for (uint32_t j = 0; j < m->k; j++) {
    if (m->count[j]) continue;
    uint32_t farthest = m->n;
    for (uint32_t i = 0; i < m->n; i++)
      if (m->count[m->label[i]] > 1 &&
          (farthest == m->n || distance(m, i, m->label[i]) > distance(m, farthest, m->label[farthest])))
        farthest = i;
    m->count[m->label[farthest]]--;
    m->label[farthest] = (uint16_t)j;
    m->count[j] = 1;
  }
}

static void move(struct means *m) {
  memset(m->x, 0, m->k * sizeof *m->x);
  memset(m->y, 0, m->k * sizeof *m->y);
  for (uint32_t i = 0; i < m->n; i++) {
    m->x[m->label[i]] += (double)m->lo[i];
    m->y[m->label[i]] += (double)m->hi[i];
  }
  for (uint32_t j = 0; j < m->k; j++) {
    m->x[j] /= m->count[j];
    m->y[j] /= m->count[j];
  }
}

static void cluster(struct means *m) {
  memset(m->label, 0, m->n * sizeof *m->label);
  seed(m);
  for (int round = 0; round < ROUNDS; round++) {
    const bool changed = assign(m);
    fill_empty(m);
    if (!changed && round > 0) break;
    move(m);
  }
}

void tb_skvq_init(struct tb_store *st, const struct tb_skvq *kind, void *work) {
  const uint32_t width = width_of(&st->config), groups = tb_skvq_groups(&st->config, kind);
  const struct tables t = tables_of(st->mem, width, groups);
  struct means m = carve_means(work, width, groups);
  for (uint32_t j = 0; j < groups; j++) {
    t.clip[j] = (float)kind->clip / 100;
    t.ends[j] = (uint16_t)(width < (j + 1) * kind->group ? width : (j + 1) * kind->group);
  }
  if (kind->hadamard || ranges(&st->config, &m.lo, &m.hi, NULL) || !m.lo || !m.hi) { /* or no profile, or no ranges */
    for (uint32_t c = 0; c < width; c++)
      t.order[c] = t.place[c] = (int16_t)c;
    return;
  }
  cluster(&m);
  uint32_t at = 0;
  for (uint32_t j = 0; j < groups; j++) { /* stable: channels of a group keep the model's order */
    for (uint32_t c = 0; c < width; c++)
      if (m.label[c] == j) {
        t.place[c] = (int16_t)at;
        t.order[at++] = (int16_t)c;
      }
    t.ends[j] = (uint16_t)at;
  }
}
