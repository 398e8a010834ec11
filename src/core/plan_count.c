/* Every byte of a process that runs a model. What the library allocates is counted by the code that allocates it; what
 * the system adds (program, libraries, stacks, page tables) follows from constants that were measured on glibc and
 * x86-64 and rounded up; tests/cli/plan_test.py holds all of it against real processes. */
#include "core/plan.h"

#include <string.h>
#include <sys/resource.h>
#include "cache/plan/bytes.h"

/* Measured with `thimble run --stats`, see above. */
enum {
  PROGRAM_DATA = 544 << 10, /* anonymous pages of program, libraries and heap before a model is open, and their slack */
  PROGRAM_CODE = 6 << 20,   /* pages of program and libraries that a run touches */
  FILE_ROOM = 32 << 20, /* for pages of the model that are read again and again: with less the kernel kills, it does not wait */
  PROGRAM_ADDRESS = 12 << 20, /* their address space, the heap's slack included */
  PROGRAM_WRITABLE = 2 << 20, /* the writable part of it */
  THREAD_TOUCHED = 24 << 10,  /* anonymous pages of a worker: the stack's top, thread-local storage */
  THREAD_KERNEL = 32 << 10,   /* kernel stack and task structures */
  THREAD_STACK = 8 << 20,     /* where RLIMIT_STACK says nothing */
  KERNEL_OBJECTS = 640 << 10, /* page tables of program and libraries, task, files */
  TEXT_PER_TOKEN = 32,        /* a conversation's text and ids while it is read */
};

static void add(struct tb_plan_count *c, struct tb_plan_class class) {
  uint64_t parts[TB_TOTALS] = {class.fast, class.hard, class.address, class.data};
  c->classes[c->n++] = class;
  for (int i = 0; i < TB_TOTALS; i++)
    c->total[i] += parts[i];
  if (class.kind == TB_MEMORY_ANONYMOUS) c->anonymous += class.bytes;
}

/* Memory that the process writes to: it counts everywhere, with as much address space as it has pages. */
static void add_anonymous(struct tb_plan_count *c, const char *name, uint64_t bytes) {
  if (bytes == 0) return;
  add(c, (struct tb_plan_class){.name = name,
                                .kind = TB_MEMORY_ANONYMOUS,
                                .bytes = bytes,
                                .fast = bytes,
                                .hard = bytes,
                                .address = bytes,
                                .data = bytes});
}

static void add_cache(struct tb_plan_count *c, const struct tb_plan_subject *s, struct tb_plan_size size,
                      const struct tb_kv_shape *shapes, const struct tb_plan_layer *plan) {
  struct tb_plan_bytes bytes;
  struct tb_cache_config config = {.n_layer = s->model.hp.n_layer,
                                   .shapes = shapes,
                                   .plan = plan,
                                   .n_ctx = size.n_ctx,
                                   .n_batch = size.n_batch,
                                   .n_threads = size.n_threads};
  tb_plan_cache_bytes(&config, &bytes);
  add_anonymous(c, "keys and values", bytes.main);
  add_anonymous(c, "window and sinks", bytes.window);
  add_anonymous(c, "attention workspace", bytes.shared);
  add_anonymous(c, "tables being made", tb_cache_init_bytes(&config));
}

static uint64_t stack_bytes(void) {
  struct rlimit l;
  return getrlimit(RLIMIT_STACK, &l) != 0 || l.rlim_cur == RLIM_INFINITY ? THREAD_STACK : (uint64_t)l.rlim_cur;
}

static void add_system(struct tb_plan_count *c, const struct tb_plan_subject *s, uint32_t n_threads) {
  const uint64_t workers = n_threads - 1, stacks = workers * (stack_bytes() + 64 * 1024);
  add(c, (struct tb_plan_class){.name = "program data",
                                .kind = TB_MEMORY_ANONYMOUS,
                                .bytes = PROGRAM_DATA,
                                .fast = PROGRAM_DATA,
                                .hard = PROGRAM_DATA,
                                .address = PROGRAM_ADDRESS,
                                .data = PROGRAM_WRITABLE});
  if (workers)
    add(c, (struct tb_plan_class){.name = "stacks of workers",
                                  .kind = TB_MEMORY_ANONYMOUS,
                                  .bytes = workers * THREAD_TOUCHED,
                                  .fast = workers * THREAD_TOUCHED,
                                  .hard = workers * THREAD_TOUCHED,
                                  .address = stacks,
                                  .data = stacks});
  add(c, (struct tb_plan_class){.name = "program code",
                                .kind = TB_MEMORY_FILE,
                                .bytes = PROGRAM_CODE,
                                .fast = PROGRAM_CODE,
                                .hard = PROGRAM_CODE});
  add(c, (struct tb_plan_class){.name = "weights (mapped file)",
                                .kind = TB_MEMORY_FILE,
                                .bytes = s->file_bytes,
                                .fast = s->per_token,
                                .hard = s->file_bytes < FILE_ROOM ? s->file_bytes : FILE_ROOM,
                                .address = s->file_bytes});
  if (s->profile_bytes)
    add(c, (struct tb_plan_class){.name = "profile (mapped file)",
                                  .kind = TB_MEMORY_FILE,
                                  .bytes = s->profile_bytes,
                                  .address = s->profile_bytes});
}

/* A table of 8 bytes per page of 4 KiB, rounded up; one part in 512. */
static void add_kernel(struct tb_plan_count *c, const struct tb_plan_subject *s, uint32_t n_threads) {
  uint64_t bytes = KERNEL_OBJECTS + (uint64_t)n_threads * THREAD_KERNEL + (c->anonymous + s->file_bytes + s->profile_bytes) / 512;
  add(c, (struct tb_plan_class){.name = "kernel (page tables, tasks)",
                                .kind = TB_MEMORY_KERNEL,
                                .bytes = bytes,
                                .fast = bytes,
                                .hard = bytes});
}

void tb_plan_count_all(const struct tb_plan_subject *s, struct tb_plan_size size, const struct tb_kv_shape *shapes,
                       const struct tb_plan_layer *plan, struct tb_plan_count *out) {
  struct tb_context_need need;
  *out = (struct tb_plan_count){0};
  if (size.n_batch > size.n_ctx) size.n_batch = size.n_ctx;
  tb_context_count(&s->model, size.n_ctx, size.n_batch, size.n_threads, &need);
  if (plan) add_cache(out, s, size, shapes, plan);
  add_anonymous(out, "activations of a batch", need.activations);
  add_anonymous(out, "workspace of threads", need.scratch);
  add_anonymous(out, "logits", need.logits);
  add_anonymous(out, "rotations and history", need.tables);
  add_anonymous(out, "sampler", s->sampler);
  add_anonymous(out, "conversation text", (uint64_t)size.n_ctx * TEXT_PER_TOKEN);
  add_anonymous(out, "tokenizer and tables", s->heap + need.objects + s->profile_heap);
  /* While the tokenizer is built it may take more than a small context does later. */
  const uint64_t building = s->heap_peak > s->heap ? s->heap_peak - s->heap : 0, later = out->anonymous - s->heap;
  if (building > later) add_anonymous(out, "tokenizer being built", building - later);
  add_system(out, s, size.n_threads);
  add_kernel(out, s, size.n_threads);
}

uint64_t tb_plan_cache_room(const struct tb_plan_count *without, enum tb_plan_total total, uint64_t limit) {
  if (limit <= without->total[total]) return 0;
  const uint64_t left = limit - without->total[total];
  return left / 513 * 512; /* page tables grow with it */
}
