#include "profile_make.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "io/gguf_write.h"
#include "tmpdir.h"

struct tb_profile *profile_make(const struct profile_entry *entries, size_t n) {
  struct tb_gguf_writer *w;
  struct tb_error err;
  struct tmpdir dir;
  struct tb_profile *p = NULL;
  tmpdir_make(&dir);
  const char *path = tmpdir_file(&dir, "profile.gguf");
  assert_int_equal(tb_gguf_writer_create(&w, &tb_system_allocator, &err), TB_OK);
  tb_gguf_add_u32(w, "thimble.profile.version", 1);
  tb_gguf_add_u64(w, "thimble.profile.model", 1);
  tb_gguf_add_u64(w, "thimble.profile.tokens", 1);
  for (size_t i = 0; i < n; i++) {
    const uint64_t ne = entries[i].n;
    tb_gguf_add_tensor(w, entries[i].name, TB_FMT_f32, 1, &ne);
  }
  enum tb_status s = tb_gguf_writer_open(w, path, &err);
  for (size_t i = 0; !s && i < n; i++)
    s = tb_gguf_writer_put(w, entries[i].values, entries[i].n * sizeof(float), &err);
  if (!s) s = tb_gguf_writer_close(w, false, &err);
  if (!s) s = tb_profile_open(&p, path, &tb_system_allocator, &err);
  if (s) fail_msg("%s", err.text);
  tb_gguf_writer_free(w);
  tmpdir_remove(&dir);
  return p;
}

/* The cross moment's value i. */
static float *cross(size_t n, size_t step, size_t d) {
  float *v = malloc(n * sizeof *v);
  assert_non_null(v);
  for (size_t i = 0; i < n; i++)
    v[i] = ((float)(i * step % 64) / 32 - 1) / (float)d;
  return v;
}

struct tb_profile *profile_complete(uint32_t n_layer, uint32_t n_kv, uint32_t d, float (*moment)(size_t i, size_t j)) {
  static const char *const names[] = {"k.moment", "v.moment", "kr.moment", "q.moment", "o.metric", "kr.mean", "v.mean"};
  enum { JOINT = 2, HEADS = 5, NAMES = 7 }; /* the first have n_joint values, those after them n_heads, the last n_kv·d */
  static const float cosine[4] = {0};
  const size_t all = (size_t)n_kv * d, n_heads = all * d, n_joint = all * all;
  float *joint = malloc(n_joint * sizeof *joint), *heads = malloc(n_heads * sizeof *heads);
  float *mean = malloc(all * sizeof *mean), *k_cross = cross(n_kv * all, 31, d), *v_cross = cross(n_kv * n_heads, 51, d);
  struct profile_entry *entries = calloc(n_layer * NAMES + 3, sizeof *entries);
  assert_true(joint && heads && mean && entries);
  for (size_t i = 0; i < all; i++) {
    mean[i] = 0;
    for (size_t j = 0; j < all; j++)
      joint[i * all + j] = moment(i, j);
    for (size_t j = 0; j < d; j++)
      heads[i * d + j] = moment(i % d, j);
  }
  for (uint32_t i = 0; i < n_layer * NAMES; i++) {
    const uint32_t which = i % NAMES;
    snprintf(entries[i].name, sizeof entries[i].name, "blk.%u.%s", i / NAMES, names[which]);
    entries[i].values = which < JOINT ? joint : which < HEADS ? heads : mean;
    entries[i].n = which < JOINT ? n_joint : which < HEADS ? n_heads : all;
  }
  entries[n_layer * NAMES] = (struct profile_entry){"blk.1.k.cross", k_cross, n_kv * all};
  entries[n_layer * NAMES + 1] = (struct profile_entry){"blk.1.v.cross", v_cross, n_kv * n_heads};
  entries[n_layer * NAMES + 2] = (struct profile_entry){"blk.1.merge.cosine", cosine, 4};
  struct tb_profile *p = profile_make(entries, n_layer * NAMES + 3);
  free(entries);
  free(v_cross);
  free(k_cross);
  free(mean);
  free(heads);
  free(joint);
  return p;
}

void profile_moment(float *m, const float *x, size_t ldx, size_t n, size_t d, double of) {
  for (size_t i = 0; i < d; i++)
    for (size_t j = 0; j < d; j++) {
      double sum = 0;
      for (size_t t = 0; t < n; t++)
        sum += (double)x[t * ldx + i] * x[t * ldx + j];
      m[i * d + j] += (float)(sum / of);
    }
}
