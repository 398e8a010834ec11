/* Buffers that end at an inaccessible page. One mapping per buffer:
 *   [ read-only page | poison … | buffer | poison up to the alignment | PROT_NONE page ]
 * Mappings are kept and used again by buffers of as many pages: families make hundreds of thousands of buffers, and
 * four system calls each would take most of the time. */
#include "tests/check/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct mapping {
  unsigned char *base; /* NULL: the slot is free */
  size_t mapped;
  unsigned char *data; /* NULL: it waits for the next buffer */
  size_t bytes;
};

static size_t page_size(void) {
  return (size_t)sysconf(_SC_PAGESIZE);
}
static size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

static void check(bool ok, const char *what) {
  if (ok) return;
  perror(what);
  abort();
}

/* Found from the data pointer through a small table, so that no byte near the buffer is special. */
enum { MAPPINGS = 512 };
static struct mapping mappings[MAPPINGS];

static struct mapping *find(const unsigned char *base, const unsigned char *data, size_t mapped) {
  for (int i = 0; i < MAPPINGS; i++)
    if (!mappings[i].base == !base && mappings[i].data == data && (!mapped || mappings[i].mapped == mapped))
      return &mappings[i];
  return NULL;
}

/* Slots of mappings that wait; one of them, or NULL. */
static struct mapping *empty_slot(void) {
  struct mapping *m = find(NULL, NULL, 0);
  for (int i = 0; !m && i < MAPPINGS; i++) {
    if (mappings[i].data) continue;
    munmap(mappings[i].base, mappings[i].mapped);
    m = &mappings[i];
  }
  check(m != NULL, "guarded buffer: too many at once");
  return m;
}

void *tb_guard_new(size_t bytes, size_t align) {
  const size_t page = page_size();
  const size_t inner = round_up(round_up(bytes, align) + 64, page); /* at least 64 bytes of poison before the buffer */
  const size_t mapped = page + inner + page;
  static const unsigned char any;
  struct mapping *m = find(&any, NULL, mapped);
  if (!m) {
    m = empty_slot();
    unsigned char *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(base != MAP_FAILED, "guarded buffer: mmap");
    check(mprotect(base + page + inner, page, PROT_NONE) == 0 && mprotect(base, page, PROT_READ) == 0,
          "guarded buffer: mprotect");
    *m = (struct mapping){.base = base, .mapped = mapped};
  }
  memset(m->base + page, TB_CHECK_POISON, inner);
  m->data = m->base + page + inner - round_up(bytes, align);
  m->bytes = bytes;
  return m->data;
}

void tb_guard_free(void *p) {
  if (!p) return;
  struct mapping *m = find(p, p, 0);
  check(m != NULL, "guarded buffer: unknown pointer");
  const unsigned char *data = m->data;
  const size_t page = page_size();
  long bad = 0;
  bool found = false;
  for (const unsigned char *b = m->base + page; b < m->base + m->mapped - page; b++) {
    if (b >= data && b < data + m->bytes) continue;
    if (*b == TB_CHECK_POISON) continue;
    bad = (long)(b - data);
    found = true;
    break;
  }
  m->data = NULL;
  if (found) fail_msg("byte %ld of a buffer of %zu bytes was overwritten", bad, m->bytes);
}
