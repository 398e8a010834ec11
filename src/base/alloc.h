/* Every allocation of the library goes through the caller's hooks (thimble.h: struct tb_allocator), so that tests can
 * count and fail them. Blocks are aligned to TB_ALIGN. None of these functions aborts; NULL means out of memory. */
#ifndef TB_BASE_ALLOC_H
#define TB_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "thimble.h"

enum { TB_ALIGN = 64 }; /* a cache line and an AVX-512 register */

/* The default hooks: posix_memalign / free. */
extern const struct tb_allocator tb_system_allocator;

/* count × size bytes, uninitialised; NULL on overflow or failure. A zero-byte request returns a valid block. */
void *tb_alloc(const struct tb_allocator *a, size_t count, size_t size);
/* The same, zeroed. */
void *tb_calloc(const struct tb_allocator *a, size_t count, size_t size);
/* Uninitialised, in huge pages where the system has them and the block is large. */
void *tb_alloc_large(const struct tb_allocator *a, size_t bytes);
/* Asks for huge pages for memory or a mapped file of 8 MiB or more that is read from end to end for every token: they save
 * most of the page faults now and of the address translation later. Refusals are ignored. */
void tb_wish_huge(const void *p, size_t bytes);
/* Frees what tb_alloc gave; NULL is fine. */
void tb_free(const struct tb_allocator *a, void *p);
/* Grows *p (elements of `size` bytes, *cap of them) so that at least `need` fit: false and unchanged when out of memory. */
bool tb_grow(const struct tb_allocator *a, void **p, size_t *cap, size_t need, size_t size);
/* Copy of n bytes plus a terminating NUL. */
char *tb_strndup(const struct tb_allocator *a, const char *s, size_t n);

/* Checked arithmetic: true when the result fits, as __builtin_*_overflow negated. */
static inline bool tb_add(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool tb_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }

static inline size_t tb_round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

#endif
