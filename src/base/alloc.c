#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

void tb_wish_huge(const void *p, size_t bytes) {
#ifdef MADV_HUGEPAGE
  enum { LARGE = 8 << 20 };
  const size_t page = (size_t)sysconf(_SC_PAGESIZE), head = tb_round_up((uintptr_t)p, page) - (uintptr_t)p;
  if (bytes >= LARGE) (void)madvise((char *)(uintptr_t)p + head, (bytes - head) / page * page, MADV_HUGEPAGE);
#else
  (void)p, (void)bytes;
#endif
}

void *tb_alloc_large(const struct tb_allocator *a, size_t bytes) {
  void *p = tb_alloc(a, bytes, 1);
  if (p && a->alloc == system_alloc) tb_wish_huge(p, bytes);
  return p;
}

/* Zeroing touches all of it: what was planned is held from the start, and no token is ever the one that the memory is
 * missing for. */
void *tb_calloc(const struct tb_allocator *a, size_t count, size_t size) {
  size_t bytes;
  void *p = tb_mul(count, size, &bytes) ? tb_alloc_large(a, bytes) : NULL;
  if (p) memset(p, 0, bytes);
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
