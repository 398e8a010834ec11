/* cluster: every row against the reference, bit for bit; the reference against plain sums in double. */
#include "tests/check/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "simd/kernels.h"

static const size_t all_d[] = {64, 16, 32, 80, 128, 256, 512}, short_d[] = {64, 16, 128};
static const size_t all_n[] = {1, 15, 16, 17, 40, 100, 257}, short_n[] = {1, 17, 40};
static const size_t queries[] = {1, 2, 3, 4, 5, 7, 9};

static size_t n_sizes(void) { return tb_check_short() ? 3 : 7; }
static size_t size_d(size_t i) { return tb_check_short() ? short_d[i] : all_d[i]; }
static size_t size_n(size_t i) { return tb_check_short() ? short_n[i] : all_n[i]; }

static int8_t *codes(size_t n, size_t align, bool extreme, struct tb_rng *rng) {
  int8_t *q = tb_guard_new(n, align);
  for (size_t i = 0; i < n; i++)
    q[i] = (int8_t)(extreme ? (tb_rng_next(rng) & 1 ? 127 : -127) : (int)(tb_rng_next(rng) % 255) - 127);
  return q;
}

static float *floats(size_t n, struct tb_rng *rng) {
  float *x = tb_guard_new(n * sizeof *x, 4);
  for (size_t i = 0; i < n; i++) x[i] = tb_rng_normal(rng);
  return x;
}

/* ------------------------------------------------------------------------------------------------------ codes */

static void test_cluster_code(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  struct tb_rng rng = {3};
  for (int gen = 0; gen < TB_GEN_COUNT; gen++)
    for (size_t i = 0; i < n_sizes(); i++) {
      const size_t d = size_d(i), n = 5, ldx = d + 3;
      tb_check_case("d %zu, %s", d, tb_gen_name(gen));
      float *x = tb_guard_new(((n - 1) * ldx + d) * sizeof *x, 4), *centre = tb_guard_new(d * sizeof *centre, 4);
      float *scale = tb_guard_new(n * sizeof *scale, 4), *want = tb_guard_new(n * sizeof *want, 4);
      int8_t *code = tb_guard_new(n * d, 1), *right = tb_guard_new(n * d, 1);
      tb_gen_floats(x, (n - 1) * ldx + d, gen, &rng);
      tb_gen_floats(centre, d, gen % 2 ? TB_GEN_ZEROS : gen, &rng);
      ((tb_cluster_code_t *)row->kernel)(code, scale, x, ldx, centre, n, d);
      tb_cluster_code_ref(right, want, x, ldx, centre, n, d);
      tb_check_same("scale", scale, want, n, sizeof *scale);
      tb_check_same("code", code, right, n * d, 1);
      for (size_t r = 0; r < n && row->isa == 0; r++)
        for (size_t c = 0; c < d; c++) {
          const float got = scale[r] * (float)code[r * d + c];
          const double exact = (double)(x[r * ldx + c] - centre[c]);
          const double bound = 0.5001 * (double)scale[r] + 0x1p-99;
          tb_check_bound("value", &got, &exact, &bound, 1);
        }
      void *all[] = {x, centre, scale, want, code, right};
      for (int k = 0; k < 6; k++) tb_guard_free(all[k]);
    }
}

/* ------------------------------------------------------------------------------------------------------ scores */

struct problem {
  size_t n_q, n, whole, d;
  int8_t *q, *x;
  float *dq, *eq, *dx, *bx;
};

static struct problem problem_new(size_t n_q, size_t n, size_t d, bool extreme, struct tb_rng *rng) {
  struct problem p = {.n_q = n_q, .n = n, .whole = tb_cluster_tiles(n) * TB_CLUSTER_TILE, .d = d};
  p.q = codes(n_q * d, 1, extreme, rng);
  p.x = codes(p.whole * d, 64, extreme, rng);
  p.dq = floats(n_q, rng);
  p.eq = floats(n_q, rng);
  p.dx = floats(p.whole, rng);
  p.bx = floats(p.whole, rng);
  return p;
}

static void problem_free(struct problem *p) {
  void *all[] = {p->q, p->x, p->dq, p->eq, p->dx, p->bx};
  for (int i = 0; i < 6; i++) tb_guard_free(all[i]);
}

static void each_problem(const struct tb_check_row *row, void (*check)(const struct tb_check_row *, const struct problem *)) {
  struct tb_rng rng = {5};
  for (size_t i = 0; i < n_sizes(); i++)
    for (size_t j = 0; j < n_sizes(); j++)
      for (size_t k = (i + j) % 3; k < sizeof queries / sizeof *queries; k += 3) {
        const bool extreme = (i + j + k) % 4 == 0;
        tb_check_case("%zu queries, %zu rows, d %zu%s", queries[k], size_n(j), size_d(i), extreme ? ", extreme" : "");
        struct problem p = problem_new(queries[k], size_n(j), size_d(i), extreme, &rng);
        check(row, &p);
        problem_free(&p);
      }
}

static void check_score(const struct tb_check_row *row, const struct problem *p) {
  const size_t lds = p->whole + 1, out = (p->n_q - 1) * lds + p->whole;
  float *got = tb_guard_new(out * sizeof *got, 4), *want = tb_guard_new(out * sizeof *want, 4);
  ((tb_cluster_score_t *)row->kernel)(got, lds, p->q, p->dq, p->eq, p->n_q, p->x, p->dx, p->bx, p->n, p->d);
  tb_cluster_score_ref(want, lds, p->q, p->dq, p->eq, p->n_q, p->x, p->dx, p->bx, p->n, p->d);
  for (size_t g = 0; g < p->n_q; g++) {
    tb_check_same("s", got + g * lds, want + g * lds, p->whole, sizeof *got);
    for (size_t i = 0; i < p->n && row->isa == 0; i++) {
      double dot = 0;
      for (size_t c = 0; c < p->d; c++)
        dot += p->q[g * p->d + c] * p->x[i / 16 * 16 * p->d + c / 4 * 64 + i % 16 * 4 + c % 4];
      const double a = (double)p->dq[g] * p->dx[i] * dot, b = (double)p->eq[g] * p->bx[i], exact = a + b;
      const double bound = 0x1p-22 * (fabs(a) + fabs(b)) + 0x1p-120;
      tb_check_bound("s", got + g * lds + i, &exact, &bound, 1);
    }
  }
  tb_guard_free(got);
  tb_guard_free(want);
}

static void test_cluster_score(void **state) { each_problem(tb_check_begin(state), check_score); }

static void check_assign(const struct tb_check_row *row, const struct problem *p) {
  uint16_t *got = tb_guard_new(p->n_q * 2, 2), *want = tb_guard_new(p->n_q * 2, 2);
  float *s = tb_guard_new(p->n_q * p->whole * sizeof *s, 4);
  for (int equal = 0; equal < 2; equal++) {
    if (equal) { /* many equal scores: the lowest index wins */
      memset(p->dx, 0, p->whole * sizeof *p->dx);
      for (size_t i = 0; i < p->whole; i++) p->bx[i] = (float)(i % 3);
    }
    ((tb_cluster_assign_t *)row->kernel)(got, p->q, p->dq, p->eq, p->n_q, p->x, p->dx, p->bx, p->n, p->d);
    tb_cluster_assign_ref(want, p->q, p->dq, p->eq, p->n_q, p->x, p->dx, p->bx, p->n, p->d);
    tb_check_same("label", got, want, p->n_q, 2);
    tb_cluster_score_ref(s, p->whole, p->q, p->dq, p->eq, p->n_q, p->x, p->dx, p->bx, p->n, p->d);
    for (size_t g = 0; g < p->n_q; g++) {
      assert_true(got[g] < p->n);
      for (size_t i = 0; i < p->n; i++) {
        const float best = s[g * p->whole + got[g]], other = s[g * p->whole + i];
        assert_true(i < got[g] ? other < best : other <= best);
      }
    }
  }
  tb_guard_free(got);
  tb_guard_free(want);
  tb_guard_free(s);
}

static void test_cluster_assign(void **state) { each_problem(tb_check_begin(state), check_assign); }

/* ------------------------------------------------------------------------------------------- sums and histograms */

static void test_cluster_sum(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  struct tb_rng rng = {7};
  for (size_t i = 0; i < n_sizes(); i++)
    for (size_t j = 0; j < n_sizes(); j++) {
      const size_t d = size_d(i), n = size_n(j), clusters = 3;
      tb_check_case("d %zu, n %zu", d, n);
      int8_t *code = codes(n * d, 1, false, &rng);
      float *scale = floats(n, &rng), *got = floats(clusters * d, &rng), *want = tb_guard_new(clusters * d * 4, 4);
      uint16_t *label = tb_guard_new(n * 2, 2);
      memcpy(want, got, clusters * d * 4);
      for (size_t r = 0; r < n; r++) label[r] = (uint16_t)(tb_rng_next(&rng) % clusters);
      ((tb_cluster_sum_t *)row->kernel)(got, label, code, scale, n, d);
      tb_cluster_sum_ref(want, label, code, scale, n, d);
      tb_check_same("sum", got, want, clusters * d, 4);
      void *all[] = {code, scale, got, want, label};
      for (int k = 0; k < 5; k++) tb_guard_free(all[k]);
    }
}

static void test_cluster_hist(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  struct tb_rng rng = {8};
  for (size_t n = 1; n < 200; n += n < 40 ? 1 : 37) {
    const size_t n_q = 1 + n % 3;
    tb_check_case("n %zu", n);
    float *s = tb_guard_new(n_q * n * 4, 4), *best = tb_guard_new(n_q * 4, 4);
    double near[200];
    uint16_t *size = tb_guard_new(n * 2, 2);
    uint8_t *got = tb_guard_new(n, 1), *want = tb_guard_new(n, 1);
    uint32_t hist[TB_CLUSTER_BINS] = {0}, right[TB_CLUSTER_BINS] = {0};
    for (size_t i = 0; i < n; i++) {
      near[i] = 0;
      for (size_t g = 0; g < n_q; g++) {
        best[g] = 3 + (float)g;
        s[g * n + i] = best[g] - (i % 7 == 3 ? 0 : ldexpf(tb_rng_unit(&rng), 40 - (int)(tb_rng_next(&rng) % 60)));
        near[i] += pow(1 + (double)(best[g] - s[g * n + i]), -2);
      }
      size[i] = (uint16_t)tb_rng_next(&rng);
    }
    ((tb_cluster_hist_t *)row->kernel)(hist, got, s, n, best, n_q, size, n);
    tb_cluster_hist_ref(right, want, s, n, best, n_q, size, n);
    tb_check_same("bin", got, want, n, 1);
    tb_check_same("hist", hist, right, TB_CLUSTER_BINS, 4);
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++) assert_true(near[i] > near[j] * 0.99999 || got[i] <= got[j]);
    void *all[] = {s, best, size, got, want};
    for (int k = 0; k < 5; k++) tb_guard_free(all[k]);
  }
}

static const struct CMUnitTest tests[] = {
#define TB_ROW(fn, isa) TB_CHECK_ROW(fn, isa, test_##fn)
#include "simd/cluster/cluster.def"
#undef TB_ROW
};

int main(void) { return tb_check_main("cluster", tests, sizeof tests / sizeof *tests); }
