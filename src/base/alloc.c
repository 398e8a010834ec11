#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

static void *system_alloc(void *user, size_t bytes) {
  (void)user;
  void *p = NULL;
  return posix_memalign(&p, TB_ALIGN, bytes ? bytes : 1) == 0 ? p : NULL;
}

static void system_free(void *user, void *p) {
  (void)user;
  free(p);
}

const struct tb_allocator tb_system_allocator = {.alloc = system_alloc, .free = system_free, .user = NULL};

void *tb_alloc(const struct tb_allocator *a, size_t count, size_t size) {
  size_t bytes;
  if (!tb_mul(count, size, &bytes) || bytes > PTRDIFF_MAX) return NULL;
  return a->alloc(a->user, bytes ? bytes : 1);
}

void *tb_calloc(const struct tb_allocator *a, size_t count, size_t size) {
  void *p = tb_alloc(a, count, size);
  if (p) memset(p, 0, count * size);
  return p;
}

void tb_free(const struct tb_allocator *a, void *p) {
  if (p) a->free(a->user, p);
}

bool tb_grow(const struct tb_allocator *a, void **p, size_t *cap, size_t need, size_t size) {
  if (need <= *cap) return true;
  size_t grown = *cap + *cap / 2;
  if (grown < need) grown = need;
  if (grown < 16) grown = 16;
  void *q = tb_alloc(a, grown, size);
  if (!q) return false;
  if (*p) memcpy(q, *p, *cap * size);
  tb_free(a, *p);
  *p = q;
  *cap = grown;
  return true;
}

char *tb_strndup(const struct tb_allocator *a, const char *s, size_t n) {
  char *copy = n < SIZE_MAX ? tb_alloc(a, n + 1, 1) : NULL;
  if (!copy) return NULL;
  memcpy(copy, s, n);
  copy[n] = '\0';
  return copy;
}
