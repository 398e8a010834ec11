/* One step of recall, shared by choosing (recall_choose.c) and attending (recall_decode.c). */
#ifndef TB_CACHE_POLICY_RECALL_DECODE_H
#define TB_CACHE_POLICY_RECALL_DECODE_H

#include "cache/policy/recall.h"

enum { TB_RECALL_PARTS = TB_ATTN_BLOCK / TB_ATTN_PART };

/* Rows of a chosen cluster; its number in `first` until they are looked up. */
struct tb_recall_pick {
  uint32_t first, end;
};

/* A block to attend to. */
struct tb_recall_item {
  uint32_t block;
  uint32_t pick;                  /* the first chosen cluster that reaches into it */
  uint32_t rows[TB_RECALL_PARTS]; /* bit i of rows[p]: row 32·p + i of it was chosen */
  bool all;                       /* all rows count: sinks, newest */
  uint16_t pages;                 /* of a spilled block: those with chosen rows (tb_spill_block) */
};

struct tb_recall_step {
  struct tb_recall *r;
  struct tb_cache_work *w;
  float *out;
  uint32_t pos, heads; /* heads: query heads of a choice */
  uint32_t per_choice; /* items there is room for */
  uint32_t split;      /* items of one */
  uint32_t most_picks; /* of a choice; its picks end where its room ends */
  struct tb_recall_item *items;
  uint32_t *n_items;
  struct tb_recall_pick *picks;
  float *dots; /* q · centroid of each pick for each head of the choice */
  int8_t *q;   /* codes of all query heads, their scales */
  float *dq;
};

/* The part of a thread's scratch that stores leave. */
struct tb_recall_memory {
  float *eq, *s, *best; /* choosing */
  uint8_t *bin;
  uint32_t *pages;     /* of spilled rows, that hold what was chosen */
  float *scores, *acc; /* attending */
};

/* The memory of a thread. */
struct tb_recall_memory tb_recall_memory_of(const struct tb_recall_step *j, unsigned thread);

/* The parts of a block from the first to the last that hold chosen rows, in rows. */
static inline struct tb_block tb_recall_parts(const struct tb_recall_item *item) {
  uint32_t first = 0, end = TB_RECALL_PARTS;
  while (!item->rows[first])
    first++;
  while (!item->rows[end - 1])
    end--;
  return (struct tb_block){first * TB_ATTN_PART, end * TB_ATTN_PART};
}

/* Chooses the clusters of a choice: their picks, with dots where keys are kept less their centroids, the items that
 * hold them and, of spilled ones, the pages; counts what the step reads. */
void tb_recall_choose(const struct tb_recall_step *j, uint32_t choice, unsigned thread);

#endif
