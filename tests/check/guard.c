/* Buffers that end at an inaccessible page. One mapping per buffer:
 *   [ header page | poison … | buffer | poison up to the alignment | PROT_NONE page ]
 * The header page holds the sizes and is read-only while the buffer lives. */
#include "tests/check/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct header {
  unsigned char *base; /* the mapping */
  size_t mapped;
  unsigned char *data;
  size_t bytes;
};

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }
static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

static void check(bool ok, const char *what) {
  if (ok) return;
  perror(what);
  abort();
}

/* The header is found from the data pointer through a small table, so that no byte near the buffer is special. */
enum { MAX_LIVE = 256 };
static struct header *live[MAX_LIVE];

void *tb_guard_new(size_t bytes, size_t align) {
  const size_t page = page_size();
  const size_t inner = round_up(round_up(bytes, align) + 64, page); /* at least 64 bytes of poison before the buffer */
  const size_t mapped = page + inner + page;
  unsigned char *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(base != MAP_FAILED, "guarded buffer: mmap");
  unsigned char *end = base + page + inner;
  memset(base + page, TB_CHECK_POISON, inner);
  struct header *h = (struct header *)(void *)base;
  *h = (struct header){base, mapped, end - round_up(bytes, align), bytes};
  check(mprotect(end, page, PROT_NONE) == 0 && mprotect(base, page, PROT_READ) == 0, "guarded buffer: mprotect");
  int slot = 0;
  while (slot < MAX_LIVE && live[slot]) slot++;
  check(slot < MAX_LIVE, "guarded buffer: too many at once");
  live[slot] = h;
  return h->data;
}

void tb_guard_free(void *p) {
  if (!p) return;
  int slot = 0;
  while (slot < MAX_LIVE && !(live[slot] && live[slot]->data == p)) slot++;
  check(slot < MAX_LIVE, "guarded buffer: unknown pointer");
  struct header h = *live[slot];
  live[slot] = NULL;
  const size_t page = page_size();
  long bad = 0;
  bool found = false;
  for (unsigned char *b = h.base + page; b < h.base + h.mapped - page; b++) {
    if (b >= h.data && b < h.data + h.bytes) continue;
    if (*b == TB_CHECK_POISON) continue;
    bad = (long)(b - h.data);
    found = true;
    break;
  }
  munmap(h.base, h.mapped);
  if (found) fail_msg("byte %ld of a buffer of %zu bytes was overwritten", bad, h.bytes);
}
