/* Inside of the planner: plan_subject.c (what is planned for), plan_count.c (every byte of it), plan_search.c (types
 * and context within limits), plan.c (the public calls). */
#ifndef TB_CORE_PLAN_H
#define TB_CORE_PLAN_H

#include "base/sysinfo.h"
#include "core/context.h"

/* The model that a plan is for: dimensions, and what its file and tables take. */
struct tb_plan_subject {
  struct tb_model model; /* alloc, hp and layers only; layers owned */
  char name[96], arch[32];
  uint64_t identity;          /* of the model; 0: a shape */
  struct tb_profile *profile; /* owned; NULL: none */
  uint64_t file_bytes;        /* mapped */
  uint64_t per_token;         /* weights read for one token */
  uint64_t heap;              /* allocated while the model is open: tokenizer, tables of keys and tensors */
  uint64_t sampler;           /* allocated to draw tokens */
  uint64_t profile_bytes;     /* mapped, by plan and context each */
  uint64_t profile_heap;      /* of both */
  uint64_t heap_peak;         /* the most while it is being opened */
};
enum tb_status tb_plan_subject_file(struct tb_plan_subject *s, const char *path, const struct tb_allocator *a,
                                    struct tb_error *err);
enum tb_status tb_plan_subject_shape(struct tb_plan_subject *s, const char *shape, const char *type,
                                     const struct tb_allocator *a, struct tb_error *err);
/* Opens and counts a profile of the model. */
enum tb_status tb_plan_subject_profile(struct tb_plan_subject *s, const char *path, struct tb_error *err);
void tb_plan_subject_free(struct tb_plan_subject *s);

enum tb_plan_total { TB_TOTAL_FAST, TB_TOTAL_HARD, TB_TOTAL_ADDRESS, TB_TOTAL_DATA, TB_TOTALS };
enum { TB_PLAN_CLASSES = 20, TB_PLAN_LIMITS = 2 * TB_MEMORY_LIMITS + 1 };

/* All memory of a process that runs the subject. */
struct tb_plan_count {
  struct tb_plan_class classes[TB_PLAN_CLASSES];
  size_t n;
  uint64_t total[TB_TOTALS];
  uint64_t anonymous;
};

struct tb_plan_size {
  uint32_t n_ctx, n_batch, n_threads;
};
/* plan NULL: everything but the cache. */
void tb_plan_count_all(const struct tb_plan_subject *s, struct tb_plan_size size, const struct tb_kv_shape *shapes,
                       const struct tb_plan_layer *plan, struct tb_plan_count *out);
/* The most bytes a cache may take so that no total passes `limit`. 0 when nothing is left. */
uint64_t tb_plan_cache_room(const struct tb_plan_count *without, enum tb_plan_total total, uint64_t limit);

struct tb_plan_bound {
  const char *source;
  enum tb_plan_total total;
  uint64_t bytes;
  bool soft; /* passing it costs speed only */
};

/* A folder for clusters was named (kv_spill), but no recall: which layers use it is chosen. */
static inline bool tb_plan_may_spill(const struct tb_context_options *o) {
  return o->kv_spill && !o->kv_recall && !o->kv_plan && !(o->type_k && o->type_v);
}

/* What is asked. The options are checked; n_batch and n_threads are filled in. */
struct tb_plan_ask {
  const struct tb_plan_subject *subject;
  const struct tb_context_options *options;
  enum tb_prefer prefer;
  const struct tb_plan_bound *bounds;
  size_t n_bounds;
};

/* What comes out; lines (n_layer) are the caller's. */
struct tb_plan_answer {
  struct tb_plan_layer *lines;
  uint32_t n_ctx, n_batch;
  bool fits, paging;
  double loss;
  uint64_t cache; /* all the cache takes */
  const char *limited_by;
};
enum tb_status tb_plan_search(const struct tb_plan_ask *ask, struct tb_plan_answer *out, const struct tb_allocator *a,
                              struct tb_error *err);

/* A setting that was tried, and its words. */
struct tb_plan_tried {
  struct tb_plan_setting setting; /* its options point to text */
  char text[128];
};
enum { TB_PLAN_SETTINGS = 3 };

struct tb_plan {
  struct tb_allocator alloc;
  struct tb_plan_subject subject;
  struct tb_plan_options options;
  struct tb_plan_bound bounds[TB_PLAN_LIMITS];
  size_t n_bounds;
  struct tb_plan_answer answer; /* its lines are owned */
  struct tb_kv_shape *shapes;   /* owned */
  struct tb_rope_table rope;    /* empty: stores look at n_rot only */
  struct tb_plan_count count;
  char *text; /* owned */
  struct tb_plan_tried tried[TB_PLAN_SETTINGS];
  size_t n_tried;
};

/* Text that grows as it is written; data is NULL or NUL-terminated. */
struct tb_plan_text {
  const struct tb_allocator *a;
  void *data; /* owned by whoever made the struct */
  size_t n, cap;
};
bool tb_plan_text_append(void *user, const char *s, size_t n); /* user: struct tb_plan_text */

/* plan_settings.c: fills plan->tried. */
enum tb_status tb_plan_try_settings(struct tb_plan *plan, struct tb_error *err);

#endif
