#include "tests/support/count_alloc.h"

#include <string.h>

/* The size is kept in front of the block. */
static void *count(void *user, size_t bytes) {
  struct count_alloc *c = user;
  c->calls++;
  if (c->fail_at && (c->calls == c->fail_at || (c->fail_after && c->calls > c->fail_at))) return NULL;
  unsigned char *p = tb_system_allocator.alloc(NULL, bytes + TB_ALIGN);
  if (!p) return NULL;
  memcpy(p, &bytes, sizeof bytes);
  c->live += bytes;
  c->blocks++;
  if (c->live > c->peak) c->peak = c->live;
  return p + TB_ALIGN;
}

static void uncount(void *user, void *block) {
  struct count_alloc *c = user;
  size_t bytes;
  unsigned char *p = (unsigned char *)block - TB_ALIGN;
  memcpy(&bytes, p, sizeof bytes);
  c->live -= bytes;
  c->blocks--;
  tb_system_allocator.free(NULL, p);
}

void count_alloc_init(struct count_alloc *c) {
  memset(c, 0, sizeof *c);
  c->hooks = (struct tb_allocator){.alloc = count, .free = uncount, .user = c};
}
