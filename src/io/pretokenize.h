/* Cuts text into the words that byte-level BPE merges within. A rule (named by tokenizer.ggml.pre) is a list of
 * expressions applied one after the other: each one cuts every piece it gets into its matches and the gaps between
 * them. The text is given as class bytes (unicode.h), one per character, so an expression never sees UTF-8 and both
 * engines work from the same Unicode table.
 *
 * Two engines give the same pieces: PCRE2 runs the expressions as written in pretokenize_stages.def; where the library
 * is missing, the matchers of pretokenize_match.c do. Both need time linear in the text. */
#ifndef TB_IO_PRETOKENIZE_H
#define TB_IO_PRETOKENIZE_H

#include <stdbool.h>
#include "base/alloc.h"
#include "base/status.h"

enum tb_pretok_stage {
#define TB_STAGE(id, pattern, matcher) TB_STAGE_##id,
#include "io/pretokenize_stages.def"
#undef TB_STAGE
  TB_STAGE_COUNT
};

enum { TB_PRETOK_STAGES = 6 }; /* the longest rule */

struct tb_pretok_rule {
  const char *names; /* separated by blanks */
  bool ignore_merges; /* a word that is a token is taken whole, whatever the merges would give */
  bool add_bos;       /* unless the file says otherwise */
  unsigned n_stages;
  enum tb_pretok_stage stages[TB_PRETOK_STAGES];
};

/* NULL when no rule has that name. */
const struct tb_pretok_rule *tb_pretok_find(const char *name, size_t len);
/* All rules, for tests; NULL after the last. */
const struct tb_pretok_rule *tb_pretok_rule_at(size_t i);

enum tb_pretok_engine { TB_PRETOK_BEST, TB_PRETOK_OWN, TB_PRETOK_PCRE2 };

/* A rule made ready; read-only afterwards. TB_PRETOK_PCRE2 is TB_E_UNSUPPORTED in a build without the library. */
struct tb_pretok;
enum tb_status tb_pretok_create(struct tb_pretok **out, const struct tb_pretok_rule *rule, enum tb_pretok_engine engine,
                                const struct tb_allocator *a, struct tb_error *err);
void tb_pretok_free(struct tb_pretok *p);

/* One walk over a text. Zero-initialise; free after use. Several walks over one tb_pretok may run at a time. */
struct tb_pretok_walk {
  const struct tb_pretok *p;
  const uint8_t *cls;
  void *scratch; /* of the engine */
  unsigned depth;
  struct tb_pretok_level {
    size_t begin, pos, end;  /* the piece being cut, and how far it is */
    size_t match, match_end; /* the next match when `found` */
    bool found;
  } level[TB_PRETOK_STAGES];
};

/* Starts at the front of cls[0 … n), which must stay. May be called again for another text. */
enum tb_status tb_pretok_start(struct tb_pretok_walk *w, const struct tb_pretok *p, const uint8_t *cls, size_t n,
                               struct tb_error *err);
/* Characters in the next piece; pieces come in order and without holes. 0: the text is at its end. */
size_t tb_pretok_next(struct tb_pretok_walk *w);
void tb_pretok_stop(struct tb_pretok_walk *w);

#endif
