/* Values of the template interpreter: what struct tb_val holds, text with provenance, lists, dicts, and the arena they
 * live in. Values are immutable once shared, except namespaces, iterators and loops. */
#ifndef TB_IO_TEMPLATE_VALUE_H
#define TB_IO_TEMPLATE_VALUE_H

#include "io/template.h"

/* ------------------------------------------------------------------------------------------------------------- arena */

struct tb_tpl_chunk;

struct tb_tpl_arena {
  const struct tb_allocator *alloc;
  struct tb_tpl_chunk *head;
  char *next, *end;      /* free room of the head chunk */
  size_t total, limit;   /* bytes taken from the allocator, and how many may be */
  enum tb_status failed; /* TB_OK, TB_E_NOMEM or TB_E_LIMIT; sticky */
};

void tb_tpl_arena_init(struct tb_tpl_arena *a, const struct tb_allocator *alloc, size_t limit);
void tb_tpl_arena_free(struct tb_tpl_arena *a);
/* count × size bytes, aligned to 16, zeroed; NULL (and a->failed) when there is no room. */
void *tb_tpl_alloc(struct tb_tpl_arena *a, size_t count, size_t size);

/* -------------------------------------------------------------------------------------------------------------- kinds */

enum tb_tpl_kind {
  TB_VAL_UNDEFINED, /* u.p: struct tb_tpl_undef */
  TB_VAL_NONE,
  TB_VAL_BOOL,
  TB_VAL_INT,
  TB_VAL_FLOAT,
  TB_VAL_STR,       /* u.p: struct tb_tpl_str */
  TB_VAL_LIST,      /* u.p: struct tb_tpl_list, as for TUPLE */
  TB_VAL_TUPLE,
  TB_VAL_DICT,      /* u.p: struct tb_tpl_dict, as for NAMESPACE */
  TB_VAL_NAMESPACE,
  TB_VAL_RANGE,     /* u.p: struct tb_tpl_range */
  TB_VAL_VIEW,      /* u.p: struct tb_tpl_view: dict.items() and its like */
  TB_VAL_ITER,      /* u.p: struct tb_tpl_iter: what Python's generators are */
  TB_VAL_MACRO,     /* u.p: struct tb_tpl_macro */
  TB_VAL_FUNCTION,  /* u.i: enum tb_tpl_function */
  TB_VAL_METHOD,    /* u.p: struct tb_tpl_method */
  TB_VAL_LOOP,      /* u.p: struct tb_tpl_loop */
  TB_VAL_JOINER,    /* u.p: struct tb_tpl_joiner */
  TB_VAL_CYCLER,    /* u.p: struct tb_tpl_cycler */
  TB_VAL_MISSING = 255, /* not a value: an argument that was not given, a name that does not exist */
};

enum {
  TB_VAL_TRUSTED = 1, /* scalars: made by the template; text keeps its own marks */
  TB_VAL_GROUP = 4,   /* a tuple made by groupby: its parts are also called grouper and list */
  TB_VAL_MARKUP = 2,  /* text that went through safe or escape: mixing escapes the other side */
};

/* ------------------------------------------------------------------------------------------- text with provenance */

/* Growing text. Marks (one byte per byte, 1 = trusted) are kept only once trust is mixed. */
struct tb_tpl_text {
  struct tb_tpl_arena *arena;
  char *data;
  uint8_t *marks; /* NULL: all bytes are as `trusted` says */
  size_t n, cap;
  bool trusted;
};

/* Immutable text. */
struct tb_tpl_str {
  const char *s;
  const uint8_t *marks; /* per byte, or NULL: all as `trusted` says */
  size_t n;
  bool trusted;
  struct tb_tpl_text *tail; /* the growing text it is the end of, or NULL: lets s + x append in place */
};

void tb_tpl_text_init(struct tb_tpl_text *t, struct tb_tpl_arena *a);
bool tb_tpl_text_put(struct tb_tpl_text *t, const char *s, size_t n, bool trusted);
bool tb_tpl_text_put_str(struct tb_tpl_text *t, struct tb_tpl_str s);
bool tb_tpl_text_reserve(struct tb_tpl_text *t, size_t more);
/* A view of what is there now. */
struct tb_tpl_str tb_tpl_text_str(const struct tb_tpl_text *t);

/* Bytes [from, to) of s, sharing memory. */
struct tb_tpl_str tb_tpl_sub(struct tb_tpl_str s, size_t from, size_t to);
/* True when every byte is trusted. */
bool tb_tpl_all_trusted(struct tb_tpl_str s);
static inline bool tb_tpl_trusted_at(struct tb_tpl_str s, size_t i) { return s.marks ? s.marks[i] != 0 : s.trusted; }
/* a + b; reuses a's buffer where a is its end, so that building text piece by piece is linear. */
bool tb_tpl_concat(struct tb_tpl_arena *ar, struct tb_tpl_str a, struct tb_tpl_str b, struct tb_tpl_str *out);
/* A string of the interpreter itself, trusted, not copied. */
struct tb_tpl_str tb_tpl_literal(const char *s);
bool tb_tpl_str_eq(struct tb_tpl_str a, struct tb_tpl_str b);
bool tb_tpl_str_is(struct tb_tpl_str a, const char *literal);

/* Value of a string; flags may hold TB_VAL_MARKUP. An arena without room gives undefined (and a->failed). */
struct tb_val tb_tpl_of_str(struct tb_tpl_arena *a, struct tb_tpl_str s, unsigned flags);
static inline struct tb_tpl_str tb_tpl_str_of(struct tb_val v) { return *(const struct tb_tpl_str *)v.u.p; }

/* -------------------------------------------------------------------------------------------------------- containers */

struct tb_tpl_list {
  struct tb_val *at;
  size_t n, cap;
};

/* Insertion-ordered. An index is built when it grows beyond a few entries. */
struct tb_tpl_dict {
  struct tb_val *keys, *vals;
  size_t n, cap;
  uint32_t *index; /* open addressing, entry + 1, 0: free; size is a power of two */
  size_t index_size;
};

struct tb_tpl_range {
  int64_t start, stop, step;
  size_t n;
};

enum tb_tpl_view_kind { TB_VIEW_KEYS, TB_VIEW_VALUES, TB_VIEW_ITEMS };
struct tb_tpl_view {
  const struct tb_tpl_dict *dict;
  enum tb_tpl_view_kind kind;
};

/* A one-pass sequence whose items are computed already. */
struct tb_tpl_iter {
  const struct tb_tpl_list *list;
  size_t at;
};

struct tb_tpl_joiner {
  struct tb_tpl_str sep;
  bool used;
};

struct tb_tpl_cycler {
  const struct tb_val *items;
  size_t n, at;
};

/* Why a value is undefined; becomes the message when it is used. */
enum tb_tpl_undef_why { TB_UNDEF_NAME, TB_UNDEF_ATTR, TB_UNDEF_HINT, TB_UNDEF_UNSAFE };
struct tb_tpl_undef {
  enum tb_tpl_undef_why why;
  struct tb_val of;  /* ATTR, UNSAFE: the object */
  struct tb_val key; /* NAME, ATTR, UNSAFE: the name or element */
  const char *hint;  /* HINT */
};

static inline struct tb_val tb_tpl_none(void) { return (struct tb_val){.kind = TB_VAL_NONE}; }
static inline struct tb_val tb_tpl_bool(bool b) {
  return (struct tb_val){.kind = TB_VAL_BOOL, .flags = TB_VAL_TRUSTED, .u.b = b};
}
/* An integer the template computed from structure (lengths, positions): trusted. */
static inline struct tb_val tb_tpl_int(int64_t i) {
  return (struct tb_val){.kind = TB_VAL_INT, .flags = TB_VAL_TRUSTED, .u.i = i};
}
static inline bool tb_tpl_is(struct tb_val v, enum tb_tpl_kind k) { return v.kind == (uint8_t)k; }
static inline bool tb_tpl_is_number(struct tb_val v) { return v.kind >= TB_VAL_BOOL && v.kind <= TB_VAL_FLOAT; }
static inline bool tb_tpl_is_int(struct tb_val v) { return v.kind == TB_VAL_BOOL || v.kind == TB_VAL_INT; }
/* The number of a BOOL or INT. */
static inline int64_t tb_tpl_int_of(struct tb_val v) { return v.kind == TB_VAL_BOOL ? v.u.b : v.u.i; }
static inline double tb_tpl_float_of(struct tb_val v) {
  return v.kind == TB_VAL_FLOAT ? v.u.f : (double)tb_tpl_int_of(v);
}

static inline const struct tb_tpl_list *tb_tpl_list_of(struct tb_val v) { return v.u.p; }
static inline const struct tb_tpl_dict *tb_tpl_dict_of(struct tb_val v) { return v.u.p; }

/* New containers with room for `cap`; NULL without memory. */
struct tb_tpl_list *tb_tpl_list_new(struct tb_tpl_arena *a, size_t cap);
bool tb_tpl_list_push(struct tb_tpl_arena *a, struct tb_tpl_list *l, struct tb_val v);
struct tb_tpl_dict *tb_tpl_dict_new(struct tb_tpl_arena *a, size_t cap);
/* Keys are hashable values (see tb_tpl_hashable). */
bool tb_tpl_dict_put(struct tb_tpl_arena *a, struct tb_tpl_dict *d, struct tb_val key, struct tb_val v);
const struct tb_val *tb_tpl_dict_get(const struct tb_tpl_dict *d, struct tb_val key);
const struct tb_val *tb_tpl_dict_find(const struct tb_tpl_dict *d, struct tb_tpl_str key);
/* Numbers, text, none, booleans, and tuples of scalars. */
bool tb_tpl_hashable(struct tb_val v);

static inline struct tb_val tb_tpl_ref(enum tb_tpl_kind kind, const void *p) {
  return (struct tb_val){.kind = (uint8_t)kind, .u.p = p};
}

#endif
