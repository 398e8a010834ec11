/* Uses every getter on everything in an open file, so that a sanitizer or a guard page sees each byte that the reader
 * hands out. */
#ifndef TB_TESTS_GGUF_WALK_H
#define TB_TESTS_GGUF_WALK_H

#include "io/gguf.h"

/* A sum over all bytes and values; its value means nothing. */
uint64_t gguf_walk(const struct tb_gguf *g);

#endif
