/* thimble: a CPU-only inference engine for language models.
 *
 * This is the one public header. Objects are opaque; each is created by a function that fills a pointer and freed by
 * the matching *_free (NULL is fine). Fallible functions return enum tb_status and fill the caller's struct tb_error
 * (which may be NULL) with one printable line; on failure nothing has changed and nothing has to be freed. The library
 * never prints, aborts, reads the environment or keeps mutable globals. An object may be used by one thread at a time;
 * a model is read-only and may be shared by contexts. */
#ifndef THIMBLE_H
#define THIMBLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TB_VERSION "0.1.0"

/* ---------------------------------------------------------------------------------------------- status and errors */

/* Stable values. */
enum tb_status {
  TB_OK = 0,
  TB_E_ARG = 1,         /* the caller asked for something that cannot be: out of range, contradictory */
  TB_E_NOMEM = 2,       /* an allocation failed */
  TB_E_IO = 3,          /* the system refused a file operation */
  TB_E_FORMAT = 4,      /* a file does not hold what its format promises */
  TB_E_UNSUPPORTED = 5, /* valid, but a type, architecture or feature this version does not know */
  TB_E_LIMIT = 6,       /* over a limit: too large, too deep, does not fit in memory */
  TB_E_CONTEXT = 7,     /* the context is full */
  TB_E_CANCELLED = 8,   /* the caller's callback asked to stop */
  TB_E_NUMERIC = 9,     /* the model produced a non-finite number */
};

struct tb_error {
  enum tb_status status;
  char text[496]; /* one line without newline: file, field, what was wrong */
};

/* A short English name of a status. */
const char *tb_status_name(enum tb_status status);

/* ------------------------------------------------------------------------------------------------------ allocation */

/* Hooks for all memory of the library (the mapped model file apart). alloc returns a block aligned to 64 bytes or
 * NULL; free gets what alloc gave. `user` is passed through. */
struct tb_allocator {
  void *(*alloc)(void *user, size_t bytes);
  void (*free)(void *user, void *block);
  void *user;
};

/* ----------------------------------------------------------------------------------------------------------- model */

enum { TB_MAX_THREADS = 256 };

typedef int32_t tb_token;

struct tb_model;

struct tb_model_options {
  const struct tb_allocator *allocator; /* NULL: malloc. Must outlive the model and its contexts. */
  const char *isa;                      /* NULL or "auto": the best the CPU has; or a name of tb_isa_names() */
};

/* Maps and validates a GGUF file (for a split model: its first part). */
enum tb_status tb_model_open(struct tb_model **out, const char *path, const struct tb_model_options *options,
                             struct tb_error *err);
void tb_model_free(struct tb_model *model);

struct tb_model_info {
  const char *architecture; /* "llama"; owned by the model, like the other strings */
  const char *name;         /* general.name or "" */
  const char *chat_template;/* tokenizer.chat_template or NULL */
  const char *isa;          /* the tier its kernels come from */
  uint32_t n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv;
  uint64_t n_params;        /* elements of all tensors */
  uint64_t file_bytes;      /* of all parts */
  uint32_t n_batch;         /* prompt tokens computed together, where tb_context_options says nothing */
  uint64_t bytes_per_token; /* of weights read to compute one token */
  uint64_t macs_per_token;  /* multiplications with weights to compute one token of a prompt, whose logits nobody wants */
  bool shared_storage;      /* the file lies on Android's storage for all apps, which is slow to map: better a copy */
};
void tb_model_get_info(const struct tb_model *model, struct tb_model_info *info);

/* TB_E_IO, naming the file, when it was truncated, grown or rewritten since it was opened: what was computed since then
 * cannot be trusted. (A file that was replaced by rename lives on.) Costs a system call per part. */
enum tb_status tb_model_check(const struct tb_model *model, struct tb_error *err);

/* Where part i of the model's file is mapped; false when there is no such part. A mapped file that is truncated, or whose
 * disk fails, shows as SIGBUS in whoever reads it. The library installs no handlers; a program that wants to survive maps
 * readable pages over the range in its own, finds out with tb_model_check or by itself, forgets what was computed
 * (tb_truncate), and can still save the conversation. */
struct tb_model_mapping {
  const void *data;
  size_t size;
};
bool tb_model_get_mapping(const struct tb_model *model, size_t i, struct tb_model_mapping *out);

/* Names of the cache types, NULL-terminated. */
const char *const *tb_cache_types(void);

/* "ref", "avx2", … : the tiers this program was built with, NULL-terminated. */
const char *const *tb_isa_names(void);

/* ---------------------------------------------------------------------------------------------------------- tokens */

enum tb_tokenize_flags {
  TB_TOKENIZE_SPECIAL_ADD = 1,   /* add BOS / EOS as the file's flags say */
  TB_TOKENIZE_SPECIAL_PARSE = 2, /* text that spells a special token becomes that token */
};

/* Text (UTF-8, any bytes are accepted) to ids. *n is set to the number of ids; at most `cap` are stored, so a second
 * call with a larger buffer gets all of them. */
enum tb_status tb_tokenize(const struct tb_model *model, const char *text, size_t length, unsigned flags, tb_token *ids,
                           size_t cap, size_t *n, struct tb_error *err);

/* The bytes of one token, not NUL-terminated; at most `cap` are stored, the full length is returned. Control tokens
 * give nothing unless `special` is set. A token may be a part of a UTF-8 character. */
size_t tb_token_text(const struct tb_model *model, tb_token token, bool special, char *buf, size_t cap);

/* True for every token that ends an answer (<|im_end|>, <|eot_id|>, </s>, …). */
bool tb_token_ends(const struct tb_model *model, tb_token token);

/* --------------------------------------------------------------------------------------------------------- context */

struct tb_context;

struct tb_context_options {
  uint32_t n_ctx;      /* tokens of context; 0: the model's, but never more than fits in memory */
  uint32_t n_batch;    /* prompt tokens computed together; 0: 512, for small models 256 (tb_model_info.n_batch) */
  uint32_t n_threads;  /* 0: the performance cores */
  const char *type_k;  /* cache types, llama.cpp's names and ours; NULL: "f16" */
  const char *type_v;
  const char *kv_plan; /* text of a plan file (cache/plan/plan_file.h) that says it layer by layer; NULL: none. Excludes type_k, type_v */
  const char *kv_profile; /* path of a profile that was measured on this model, for the types that use one; NULL: none */
  int32_t kv_window;   /* newest tokens kept in f16 beside a type that packs blocks; 0: 128, -1: none */
  int32_t kv_sinks;    /* first tokens likewise; 0: 5, -1: none */
  uint32_t kv_merge;   /* from this layer on, pairs of layers share the directions of their keys and values; 0: none */
  uint32_t kv_recall;  /* while generating, attend to so many tokens chosen by clusters, and to the newest; 0: to all */
  /* Folder of a file for the clusters that are not in memory: with kv_recall, or a plan that recalls. The file has no
   * name and ends with the context; its room is taken at once. A failure of its disk then fails the call that needs it
   * (TB_E_IO, TB_E_FORMAT), and what was evaluated before that call's last batch is kept: see n_past. Such a
   * conversation is not saved. */
  const char *kv_spill;
  uint32_t kv_resident; /* tokens of each KV head's clusters that are in memory, those used last; 0: 4 · kv_recall */
};

/* The model must outlive the context. All memory is taken here; nothing is allocated afterwards. */
enum tb_status tb_context_create(struct tb_context **out, const struct tb_model *model,
                                 const struct tb_context_options *options, struct tb_error *err);
void tb_context_free(struct tb_context *context);

struct tb_context_info {
  uint32_t n_ctx, n_past, n_threads;
  uint32_t n_encoded;      /* tokens whose keys and values are both in their final type, not in the window */
  bool n_ctx_reduced;      /* n_ctx was chosen below the model's because memory did not allow more */
  const char *n_ctx_limit; /* what limited it, or NULL */
  uint64_t cache_bytes;    /* KV cache, all layers, at n_ctx */
  uint64_t memory_bytes;   /* everything the context allocated, the cache included */
};
void tb_context_get_info(const struct tb_context *context, struct tb_context_info *info);

/* What recall (tb_context_options.kv_recall) did since the context was made, summed over generated tokens, layers and KV
 * heads; all 0 without it. */
struct tb_recall_stats {
  uint64_t choices;        /* generated tokens × layers × KV heads */
  uint64_t attended, held; /* tokens that were attended to (sinks and the newest included), tokens there were */
  uint64_t chosen, again;  /* clusters chosen; of these, those that the token before had chosen too */
  uint64_t bytes;          /* of keys, values and centroids read */
  uint64_t pages, pages_read; /* with kv_spill: pieces that hold chosen clusters; of these, read from the file */
  uint64_t bytes_read;     /* from the file by that */
};
void tb_recall_get_stats(const struct tb_context *context, struct tb_recall_stats *stats);

/* Called between batches with tokens done so far; return false to stop (the call then fails with TB_E_CANCELLED and
 * keeps what was computed: see tb_context_info.n_past). */
typedef bool (*tb_progress_fn)(void *user, size_t done, size_t total);

/* Appends tokens and computes the logits after the last one. TB_E_CONTEXT, with nothing done, when they do not fit. */
enum tb_status tb_eval(struct tb_context *context, const tb_token *tokens, size_t n, tb_progress_fn progress, void *user,
                       struct tb_error *err);

/* As tb_eval, but `tokens` is the whole conversation: the longest prefix that the context already holds is kept, the rest
 * is forgotten, and only what is new is computed. *reused (may be NULL): tokens that were kept. TB_E_CONTEXT, with nothing
 * changed, when n is more than the context. */
enum tb_status tb_eval_prompt(struct tb_context *context, const tb_token *tokens, size_t n, size_t *reused,
                              tb_progress_fn progress, void *user, struct tb_error *err);

/* Called with the logits (n_vocab floats, valid during the call) of each position of a tb_eval_all, in order. */
typedef bool (*tb_logits_fn)(void *user, size_t position, const float *logits);

/* As tb_eval, but hands out the logits of every position: n × n_vocab of work more. */
enum tb_status tb_eval_all(struct tb_context *context, const tb_token *tokens, size_t n, tb_logits_fn each, void *user,
                           struct tb_error *err);

/* n_vocab floats after the last evaluated token, valid until the next tb_eval; NULL before the first. */
const float *tb_logits(const struct tb_context *context);

/* Forgets everything after the first n tokens (n ≤ n_past). With kv_spill it may have to read the file. */
enum tb_status tb_truncate(struct tb_context *context, uint32_t n, struct tb_error *err);

/* Writes the conversation — tokens, the cache as it is stored, and the caller's `extra` bytes (at most 64 MiB) — to a file
 * that appears whole or not at all. A program that limits the size of its files (RLIMIT_FSIZE) must ignore SIGXFSZ. */
enum tb_status tb_session_save(struct tb_context *context, const char *path, const void *extra, size_t extra_bytes,
                               struct tb_error *err);
/* Replaces the context's conversation by a saved one: of the same model and the same cache types; the context may be of
 * another size. *extra (free it with tb_session_free_extra; NULL when there were none) receives the caller's bytes. On any
 * failure the conversation is what it was. Evaluate at least one token before asking for logits. Memory: 64 KiB, and where
 * there is a conversation to be replaced its cache a second time, until one of the two is given up. */
enum tb_status tb_session_load(struct tb_context *context, const char *path, void **extra, size_t *extra_bytes,
                               struct tb_error *err);
void tb_session_free_extra(const struct tb_context *context, void *extra);

/* Appends n tokens' worth of pseudo-random keys and values without computing anything, so that speed at a depth can be
 * measured in moments. Logits are not changed. */
enum tb_status tb_fill_synthetic(struct tb_context *context, uint32_t n, uint64_t seed, struct tb_error *err);

/* Best read bandwidth in bytes per second that `threads` threads (0: the performance cores) reach on a buffer of `bytes`
 * bytes, or of half of the memory that is free if that is less: take more than the caches hold. Takes a fraction of a
 * second. TB_E_NOMEM where less than 128 MiB are free. */
enum tb_status tb_read_bandwidth(uint32_t threads, uint64_t bytes, double *bytes_per_second, struct tb_error *err);

/* The most multiplications of bytes per second, each with an addition, that `threads` threads (0: the performance cores)
 * reach with the instructions of the model's kernels, on registers alone. Takes a fraction of a second. */
enum tb_status tb_multiply_peak(const struct tb_model *model, uint32_t threads, double *per_second, struct tb_error *err);

/* --------------------------------------------------------------------------------------------------------- machine */

/* Keeps the calling thread, and every thread it starts later (so the contexts it makes afterwards), on the CPUs of a
 * hexadecimal mask, bit 0 for CPU 0: "f0" is CPUs 4 to 7. NULL: on the fast cores where the system has slow ones too
 * (phones, hybrid laptops); where all are alike nothing changes. TB_E_ARG when the mask is none, or has a CPU that this
 * process may not use. */
enum tb_status tb_use_cpus(const char *mask, struct tb_error *err);

/* A thermal zone of the device. */
struct tb_temperature {
  float celsius, limit;
  char zone[32]; /* the system's name for it */
};
/* The zone that is nearest to its limit or farthest above it. `limit` 0: the zone's own, which is its "hot" trip point or
 * 10 degrees below "critical", whichever is lower; otherwise that many degrees Celsius for every zone. False when the
 * system shows no zone, or none with a limit. */
bool tb_temperature_read(float limit, struct tb_temperature *out);

/* -------------------------------------------------------------------------------------------------------- sampling */

struct tb_sampler;

/* Filters apply in this order: repeat penalty, top-k, top-p, min-p, temperature. */
struct tb_sampler_options {
  uint64_t seed;
  float temperature;      /* 0: greedy */
  uint32_t top_k;         /* 0: off */
  float top_p;            /* 1: off */
  float min_p;            /* 0: off */
  float repeat_penalty;   /* 1: off */
  uint32_t repeat_last_n; /* tokens the penalty looks back on */
};

/* llama.cpp's defaults: temperature 0.8, top_k 40, top_p 0.95, min_p 0.05, no penalty over 64. */
struct tb_sampler_options tb_sampler_defaults(void);
enum tb_status tb_sampler_create(struct tb_sampler **out, const struct tb_model *model,
                                 const struct tb_sampler_options *options, struct tb_error *err);
void tb_sampler_free(struct tb_sampler *sampler);
/* Picks the next token from n_vocab logits and remembers it for the penalty. */
tb_token tb_sampler_pick(struct tb_sampler *sampler, const float *logits);
/* Remembers a token that was not picked here (the prompt's). */
void tb_sampler_accept(struct tb_sampler *sampler, tb_token token);

/* ------------------------------------------------------------------------------------------------------------ chat */

/* Receives text piece by piece; return false to stop. */
typedef bool (*tb_text_fn)(void *user, const char *text, size_t length);

/* A conversation as a list of messages, rendered through the model's chat template (src/core/chat.c). */
struct tb_chat;

struct tb_chat_options {
  const char *template_text; /* Jinja text that replaces the model's own; NULL: none */
  const char *template_name; /* a built-in one (tb_chat_template_names) instead; NULL: none */
  int thinking;              /* enable_thinking: 0 off, 1 on, -1 as the template decides */
  int64_t time;              /* local time in seconds since 1970 for strftime_now */
};

/* TB_E_UNSUPPORTED when the model has no template and none was given. The model must outlive the chat. */
enum tb_status tb_chat_create(struct tb_chat **out, const struct tb_model *model, const struct tb_chat_options *options,
                              struct tb_error *err);
void tb_chat_free(struct tb_chat *chat);

/* Appends a message; role: "system", "user", "assistant", "tool". The text is copied. */
enum tb_status tb_chat_add(struct tb_chat *chat, const char *role, const char *text, size_t length, struct tb_error *err);
size_t tb_chat_count(const struct tb_chat *chat);
/* Message i: role and text stay valid until the chat changes. */
void tb_chat_get(const struct tb_chat *chat, size_t i, const char **role, const char **text, size_t *length);
/* Keeps the first n messages. */
void tb_chat_keep(struct tb_chat *chat, size_t n);

/* The whole conversation as text. `generate` adds the opening of the assistant's answer. */
enum tb_status tb_chat_render(const struct tb_chat *chat, bool generate, tb_text_fn write, void *user, struct tb_error *err);
/* The whole conversation as ids, as tb_tokenize returns them. Only what the template itself wrote can become a special
 * token; the text of messages never does. */
enum tb_status tb_chat_encode(const struct tb_chat *chat, bool generate, tb_token *ids, size_t cap, size_t *n,
                              struct tb_error *err);

/* Built-in templates: "chatml", "llama3", …; NULL-terminated. */
const char *const *tb_chat_template_names(void);

/* -------------------------------------------------------------------------------------------------------- planning */

/* What a model and a context will take, and which cache types fit best, before anything is loaded: the planner reads a
 * file's header (or only a shape), counts with the code that allocates, and chooses for every layer. */
struct tb_plan;

enum tb_prefer {
  TB_PREFER_QUALITY, /* the largest context that 8-bit types allow, then the least loss; keys keep 8 bits or more */
  TB_PREFER_SPEED,   /* the least time that attention is estimated to take, within 0.01 nats of loss where that was
                        measured, else   with 8 bits or more for keys and 4 for values; a context of at most 8192 */
  TB_PREFER_CONTEXT, /* the largest context that any type allows, then the least loss */
};

struct tb_plan_options {
  const struct tb_allocator *allocator; /* NULL: malloc */
  /* What is fixed. n_ctx 0: chosen; a cache type that is NULL: chosen per layer; kv_plan: the types are as given.
   * kv_spill without kv_recall: whether and how layers recall and keep clusters in a file is chosen, where memory asks
   * for it. */
  struct tb_context_options context;
  const struct tb_sampler_options *sampler; /* how tokens will be drawn; NULL: as by default */
  uint64_t ram;    /* bytes that the fast total may take; 0: as the machine allows */
  bool elsewhere;  /* the plan is for another machine: the limits of this one do not count */
  enum tb_prefer prefer;
};

/* For a GGUF file. Its weights are not read. When nothing fits this succeeds too: see tb_plan_info.fits. */
enum tb_status tb_plan_file(struct tb_plan **out, const char *path, const struct tb_plan_options *options, struct tb_error *err);
/* For the text of a shape file and a weight type, as tb_synth takes them. */
enum tb_status tb_plan_shape(struct tb_plan **out, const char *shape, const char *type, const struct tb_plan_options *options,
                             struct tb_error *err);
void tb_plan_free(struct tb_plan *plan);

struct tb_plan_info {
  const char *name, *architecture;
  uint32_t n_layer, n_ctx, n_ctx_train, n_batch, n_threads;
  bool fits;              /* false: what follows is the smallest plan for these options, and it is too large */
  bool paging;            /* it runs, but the weights do not stay in memory and are read again from disk for every token */
  bool calibrated;        /* false: the loss is a prior, not measured on this model */
  enum tb_prefer prefer;
  double loss;       /* sum over layers and sides: nats, or before calibration weighted relative squared errors */
  double us, us_f16; /* what attention takes per token at the end of the context, and would take with f16: estimates, in
                        microseconds, for a memory of 20 GB/s */
  const char *limited_by; /* the limit that stands in the way of a better plan, or of any; NULL: nothing does */
  uint64_t fast;          /* anonymous memory, kernel, code, and the weights that every token reads: no slower than it can be */
  uint64_t hard;          /* what cannot be dropped, and room for code and file: a control group of this size is survived */
  uint64_t address;       /* address space, as RLIMIT_AS counts it */
  uint64_t data;          /* writable private address space, as RLIMIT_DATA counts it */
  uint64_t anonymous;     /* the most that RssAnon will be */
  uint64_t mapped;        /* of the model file */
  uint64_t cache;         /* of keys and values, windows included */
  uint32_t n_spilled;     /* layers that keep clusters in a file: a context for this plan needs kv_spill */
  const char *text;       /* the plan as a plan file */
  size_t n_classes, n_limits, n_settings;
};
void tb_plan_get_info(const struct tb_plan *plan, struct tb_plan_info *info);

enum tb_memory_kind { TB_MEMORY_ANONYMOUS, TB_MEMORY_FILE, TB_MEMORY_KERNEL };
struct tb_plan_class {
  const char *name;
  enum tb_memory_kind kind;
  uint64_t bytes;   /* all of it */
  uint64_t fast, hard, address, data; /* what it adds to these totals */
};
void tb_plan_get_class(const struct tb_plan *plan, size_t i, struct tb_plan_class *out); /* i < n_classes */

struct tb_plan_limit {
  const char *source;
  const char *total; /* "fast", "hard", "address", "data": the total that is held against it */
  uint64_t bytes;
};
void tb_plan_get_limit(const struct tb_plan *plan, size_t i, struct tb_plan_limit *out); /* i < n_limits */

struct tb_plan_layer_info {
  const char *type_k, *type_v;
  uint32_t window, sinks;
  uint32_t n_head, n_kv, d_k, d_v;
  uint32_t recall, resident; /* tokens attended to and in memory; 0: all */
  int merged;     /* 1, -1: shares the directions of keys and values with the layer above, below; 0: with none */
  uint64_t bytes; /* of this layer's cache; what two layers share counts with the lower one */
  double loss;
  double us; /* per token, estimated */
};
void tb_plan_get_layer(const struct tb_plan *plan, uint32_t layer, struct tb_plan_layer_info *out); /* layer < n_layer */

/* Other settings. When nothing fits: the nearest that do. Otherwise what more memory would buy (`ram` more than now). */
struct tb_plan_setting {
  const char *options; /* "-c 8192 --prefer context" */
  uint32_t n_ctx;
  uint64_t fast, hard, cache;
  double loss;
  uint64_t ram;        /* for --ram; 0: it fits already */
};
void tb_plan_get_setting(const struct tb_plan *plan, size_t i, struct tb_plan_setting *out); /* i < n_settings */

/* What this process really holds, from the system; fields that it does not tell are 0. */
struct tb_memory_usage {
  uint64_t anonymous; /* RssAnon */
  uint64_t file;      /* RssFile */
  uint64_t peak;      /* VmHWM: the most of both together */
  uint64_t address;   /* VmPeak */
  uint64_t data;      /* VmData */
  uint64_t page_tables;
};
void tb_memory_get_usage(struct tb_memory_usage *usage);

/* ----------------------------------------------------------------------------------------------------- calibration */

struct tb_calibrate_options {
  uint32_t n_tokens;  /* of the text that are looked at, at most; 0: 16384 */
  uint32_t n_ctx;     /* the text is cut into pieces of this many, each of which begins anew; 0: 2048 */
  uint32_t n_batch;   /* 0: 512 */
  uint32_t n_threads; /* 0: the performance cores */
  bool no_losses;     /* leave out what each cache type loses in each layer: eight runs over 1024 tokens */
};

/* Runs a text (UTF-8, special tokens are understood) through the model, measures what cache types and the planner can
 * use of it (cache/profile.h), and writes that as a profile, a file that appears whole or not at all. It takes about as
 * long as reading the text as a prompt does. `progress` counts tokens. TB_E_ARG when the text is too short. */
enum tb_status tb_calibrate(const struct tb_model *model, const char *text, size_t length, const char *path,
                            const struct tb_calibrate_options *options, tb_progress_fn progress, void *user,
                            struct tb_error *err);

/* What a model file is known by: profiles hold the same number. Only its header is read. */
enum tb_status tb_file_identity(const char *path, const struct tb_allocator *allocator, uint64_t *identity,
                                struct tb_error *err);

struct tb_profile_info {
  uint64_t model;  /* identity of the model it was measured on */
  uint64_t tokens; /* looked at */
  bool losses;     /* it says what each cache type loses */
  struct {
    double predicted, measured; /* nats, all layers on both sides coarse; 0: not done */
  } check[2];                   /* at about 2 and at about 4 bits */
};
/* Opens and checks a profile. */
enum tb_status tb_profile_read_info(const char *path, const struct tb_allocator *allocator, struct tb_profile_info *info,
                                    struct tb_error *err);

/* ------------------------------------------------------------------------------------------------ files and shapes */

/* Writes a readable description of a GGUF file (metadata, tensors, sizes) without loading a model. */
enum tb_status tb_inspect(const char *path, const struct tb_allocator *allocator, tb_text_fn write, void *user,
                          struct tb_error *err);

struct tb_synth_options {
  const char *shape; /* text of a shape file (bench/shapes/…): "key = value" lines */
  const char *type;  /* "q4_0", "f16", "q4_k_m", … */
  uint64_t seed;
};

/* Writes a valid GGUF with random weights and a toy vocabulary for a shape. */
enum tb_status tb_synth(const char *path, const struct tb_synth_options *options, const struct tb_allocator *allocator,
                        struct tb_error *err);

/* Opens the model that tb_synth would write, its weights in memory. */
enum tb_status tb_model_open_synthetic(struct tb_model **out, const struct tb_synth_options *synth,
                                       const struct tb_model_options *options, struct tb_error *err);

/* The machine that this process runs on. */
struct tb_machine {
  char cpu[128];              /* "AMD Ryzen 7 …"; "unknown CPU" when the system does not tell */
  uint32_t cpus;              /* that this process may run on */
  uint32_t performance_cores; /* the default number of threads */
};
void tb_get_machine(struct tb_machine *machine);

#ifdef __cplusplus
}
#endif

#endif
