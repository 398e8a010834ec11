#include "profile_make.h"

#include <setjmp.h>
#include <stdarg.h>
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

void profile_moment(float *m, const float *x, size_t ldx, size_t n, size_t d, double of) {
  for (size_t i = 0; i < d; i++)
    for (size_t j = 0; j < d; j++) {
      double sum = 0;
      for (size_t t = 0; t < n; t++)
        sum += (double)x[t * ldx + i] * x[t * ldx + j];
      m[i * d + j] += (float)(sum / of);
    }
}
