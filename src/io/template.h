/* Chat templates: a small interpreter of the Jinja2 subset that model files carry, rendering as the Hugging Face library
 * does (a sandboxed, immutable environment with trim_blocks, lstrip_blocks, loop controls, a tojson that escapes no
 * HTML, raise_exception, strftime_now and generation blocks).
 *
 * Specification: the Jinja2 template documentation, and the behaviour of Jinja2 3.1 on Python 3.11. What this interpreter
 * does not know is an error that names the construct and the line; nothing is skipped.
 *
 * Provenance. Every byte of the output is either *trusted* (it was written by the template itself, or is a value that
 * the program marked trusted) or not (it came from a message, a tool or any other caller data, whatever the template did
 * to it). Only trusted bytes may become special tokens; see tb_tokenizer_encode_runs.
 *
 * Hostile input. Template text and values may be anything. The compiler recurses at most TB_TEMPLATE_DEPTH levels (below
 * 128 KiB of stack); rendering does not recurse. Steps, memory and output are limited. */
#ifndef TB_IO_TEMPLATE_H
#define TB_IO_TEMPLATE_H

#include "base/alloc.h"
#include "base/status.h"
#include "io/tokenizer.h"

enum {
  TB_TEMPLATE_BYTES = 1 << 20, /* longest template text; the largest known one has 30 KB */
  TB_TEMPLATE_DEPTH = 64,      /* nested blocks and parentheses in a template */
  TB_TEMPLATE_CALLS = 256,     /* nested macro calls while rendering */
};

/* ----------------------------------------------------------------------------------------------------------- values */

/* A value as JSON knows it, owned by the pool that made it; copied freely. The fields are private. */
struct tb_val {
  uint8_t kind, flags;
  union {
    bool b;
    int64_t i;
    double f;
    const void *p;
  } u;
};

struct tb_vals; /* a pool of values, freed at once */

enum tb_status tb_vals_create(struct tb_vals **out, const struct tb_allocator *a, struct tb_error *err);
void tb_vals_free(struct tb_vals *pool);
/* False once a constructor ran out of memory: what was built since is incomplete (tb_template_render refuses it). */
bool tb_vals_ok(const struct tb_vals *pool);

/* Constructors. Text is copied; any bytes are accepted, UTF-8 is expected. Numbers and truth values are untrusted. */
struct tb_val tb_val_none(void);
struct tb_val tb_val_bool(bool b);
struct tb_val tb_val_int(int64_t i);
struct tb_val tb_val_float(double f);
struct tb_val tb_val_text(struct tb_vals *pool, const char *s, size_t n);         /* caller data: untrusted */
struct tb_val tb_val_trusted_text(struct tb_vals *pool, const char *s, size_t n); /* the program's own: BOS, EOS */
/* A message's role: trusted when it is one of system, user, assistant, tool, developer; any other text is not. */
struct tb_val tb_val_role(struct tb_vals *pool, const char *s, size_t n);
struct tb_val tb_val_list(struct tb_vals *pool);
struct tb_val tb_val_dict(struct tb_vals *pool);
/* Appends to a list; sets a key of a dict (keys keep their first position, as Python's). */
void tb_val_push(struct tb_vals *pool, struct tb_val list, struct tb_val item);
void tb_val_put(struct tb_vals *pool, struct tb_val dict, const char *key, size_t n, struct tb_val value);

/* -------------------------------------------------------------------------------------------------------- templates */

struct tb_template; /* compiled, read-only */

/* Compiles `len` bytes (copied). TB_E_FORMAT: not a valid template. TB_E_UNSUPPORTED: a tag this version does not know.
 * TB_E_LIMIT: too long or too deep. Messages begin "line N: ". */
enum tb_status tb_template_compile(struct tb_template **out, const char *text, size_t len, const struct tb_allocator *a,
                                   struct tb_error *err);
void tb_template_free(struct tb_template *t);

/* Local time, for strftime_now. */
struct tb_template_date {
  int year, month, day; /* month 1…12, day 1…31 */
  int hour, minute, second, microsecond;
};

/* 0 means the default. */
struct tb_template_limits {
  uint64_t steps;  /* instructions and blocks of 64 bytes handled; 50 million: about a second */
  size_t output;   /* bytes; 64 MiB */
  size_t memory;   /* bytes while rendering; 512 MiB */
};

struct tb_template_input {
  const struct tb_vals *pool; /* the values below are from this pool */
  struct tb_val context;      /* a dict: messages, tools, add_generation_prompt, bos_token, … by name */
  struct tb_template_date now;
  struct tb_template_limits limits;
};

struct tb_template_output {
  char *text; /* NUL-terminated for convenience; owned */
  size_t length;
  struct tb_text_run *segments; /* of one provenance each, neighbours differ; their lengths sum to `length`; owned */
  size_t n_segments;
};

/* Renders. TB_E_ARG: the template refused the conversation (raise_exception). TB_E_FORMAT: the template failed on it (an
 * undefined value, a wrong type). TB_E_UNSUPPORTED: it used something this version does not know. TB_E_LIMIT: over a
 * budget. Messages begin "line N: ". On failure *out is zeroed. */
enum tb_status tb_template_render(const struct tb_template *t, const struct tb_template_input *in,
                                  struct tb_template_output *out, struct tb_error *err);
void tb_template_output_free(struct tb_template_output *out, const struct tb_allocator *a);

/* ------------------------------------------------------------------------------------------------ built-in templates */

/* The text of a built-in template ("chatml", "llama3", …), or NULL when there is none of that name. */
const char *tb_template_builtin(const char *name);
/* Their names, NULL-terminated. */
const char *const *tb_template_builtin_names(void);

#endif
