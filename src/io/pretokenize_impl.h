/* The two engines behind pretokenize.h. Both look for the leftmost match of a stage in one piece. */
#ifndef TB_IO_PRETOKENIZE_IMPL_H
#define TB_IO_PRETOKENIZE_IMPL_H

#include "io/pretokenize.h"

/* Finds the first match that starts at or after `from` in the piece s[0 … n): [*begin, *end), never empty. False: none,
 * or (PCRE2 only, *failed set) the library gave up. */
bool tb_pretok_own_find(enum tb_pretok_stage stage, const uint8_t *s, size_t n, size_t from, size_t *begin, size_t *end);

/* PCRE2: compiled stages and what one walk needs. */
struct tb_pretok_pcre2;
enum tb_status tb_pretok_pcre2_create(struct tb_pretok_pcre2 **out, const struct tb_pretok_rule *rule,
                                      const struct tb_allocator *a, struct tb_error *err);
void tb_pretok_pcre2_free(struct tb_pretok_pcre2 *p);
void *tb_pretok_pcre2_scratch(const struct tb_pretok_pcre2 *p); /* NULL: out of memory */
void tb_pretok_pcre2_scratch_free(void *scratch);
bool tb_pretok_pcre2_find(const struct tb_pretok_pcre2 *p, void *scratch, unsigned stage, const uint8_t *s, size_t n,
                          size_t from, size_t *begin, size_t *end, bool *failed);

#endif
