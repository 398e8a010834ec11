/* Values of the template interpreter: arena, containers, public constructors (template_value.h, template.h). */
#include "io/template_value.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------------- arena */

struct tb_tpl_chunk {
  struct tb_tpl_chunk *below;
  char pad[TB_ALIGN - sizeof(struct tb_tpl_chunk *)]; /* what follows is aligned as the allocator aligns */
};

enum { CHUNK_FIRST = 4096, CHUNK_MAX = 1 << 20, INDEX_FROM = 8 };

void tb_tpl_arena_init(struct tb_tpl_arena *a, const struct tb_allocator *alloc, size_t limit) {
  *a = (struct tb_tpl_arena){.alloc = alloc, .limit = limit};
}

void tb_tpl_arena_free(struct tb_tpl_arena *a) {
  for (struct tb_tpl_chunk *c = a->head, *below; c; c = below) {
    below = c->below;
    tb_free(a->alloc, c);
  }
  a->head = NULL;
  a->next = a->end = NULL;
}

static bool arena_grow(struct tb_tpl_arena *a, size_t need) {
  size_t bytes = a->total < CHUNK_FIRST ? CHUNK_FIRST : a->total < CHUNK_MAX ? a->total : CHUNK_MAX;
  const size_t head = sizeof(struct tb_tpl_chunk), left = a->limit - a->total;
  if (left < head || left - head < need) {
    a->failed = TB_E_LIMIT;
    return false;
  }
  if (bytes < need) bytes = need;
  if (bytes > left - head) bytes = (left - head) & ~(size_t)15; /* up to the limit; need is a multiple of 16 too */
  const size_t with_head = head + bytes;
  struct tb_tpl_chunk *c = tb_alloc(a->alloc, with_head, 1);
  if (!c) {
    a->failed = TB_E_NOMEM;
    return false;
  }
  c->below = a->head;
  a->head = c;
  a->next = (char *)(c + 1);
  a->end = a->next + bytes;
  a->total += with_head;
  return true;
}

void *tb_tpl_alloc(struct tb_tpl_arena *a, size_t count, size_t size) {
  size_t bytes;
  if (a->failed) return NULL;
  if (!tb_mul(count, size, &bytes) || bytes > a->limit) {
    a->failed = TB_E_LIMIT;
    return NULL;
  }
  bytes = tb_round_up(bytes ? bytes : 1, 16);
  if ((size_t)(a->end - a->next) < bytes && !arena_grow(a, bytes)) return NULL;
  void *p = a->next;
  a->next += bytes;
  return memset(p, 0, bytes);
}

/* -------------------------------------------------------------------------------------------------------------- lists */

/* Doubles *p (elements of `size` bytes) inside the arena; the old block stays until the arena goes. */
static bool widen(struct tb_tpl_arena *a, void **p, size_t old, size_t grown, size_t size) {
  void *q = tb_tpl_alloc(a, grown, size);
  if (!q) return false;
  if (old) memcpy(q, *p, old * size);
  *p = q;
  return true;
}

struct tb_tpl_list *tb_tpl_list_new(struct tb_tpl_arena *a, size_t cap) {
  struct tb_tpl_list *l = tb_tpl_alloc(a, 1, sizeof *l);
  if (!l) return NULL;
  if (cap && !(l->at = tb_tpl_alloc(a, cap, sizeof *l->at))) return NULL;
  l->cap = cap;
  return l;
}

bool tb_tpl_list_push(struct tb_tpl_arena *a, struct tb_tpl_list *l, struct tb_val v) {
  if (l->n == l->cap) {
    void *p = l->at;
    size_t cap = l->cap ? l->cap * 2 : 4;
    if (!widen(a, &p, l->n, cap, sizeof *l->at)) return false;
    l->at = p;
    l->cap = cap;
  }
  l->at[l->n++] = v;
  return true;
}

/* -------------------------------------------------------------------------------------------------------------- dicts */

static bool scalar_hashable(struct tb_val v) { return v.kind >= TB_VAL_NONE && v.kind <= TB_VAL_STR; }

bool tb_tpl_hashable(struct tb_val v) {
  if (!tb_tpl_is(v, TB_VAL_TUPLE)) return scalar_hashable(v);
  const struct tb_tpl_list *l = tb_tpl_list_of(v);
  for (size_t i = 0; i < l->n; i++)
    if (!scalar_hashable(l->at[i])) return false;
  return true;
}

/* FNV-1a. Equal keys hash equal: 1, 1.0 and true are one key, as in Python. */
static uint64_t hash_bytes(uint64_t h, const void *p, size_t n) {
  const unsigned char *s = p;
  for (size_t i = 0; i < n; i++) h = (h ^ s[i]) * 1099511628211u;
  return h;
}

static uint64_t hash_scalar(uint64_t h, struct tb_val v) {
  if (tb_tpl_is(v, TB_VAL_STR)) return hash_bytes(h, tb_tpl_str_of(v).s, tb_tpl_str_of(v).n);
  if (!tb_tpl_is_number(v)) return hash_bytes(h, "none", 4);
  double f = tb_tpl_float_of(v);
  if (f == 0) f = 0; /* -0 equals 0 */
  return hash_bytes(h, &f, sizeof f);
}

static uint64_t hash_key(struct tb_val v) {
  uint64_t h = 14695981039346656037u;
  if (!tb_tpl_is(v, TB_VAL_TUPLE)) return hash_scalar(h, v);
  const struct tb_tpl_list *l = tb_tpl_list_of(v);
  for (size_t i = 0; i < l->n; i++) h = hash_scalar(h, l->at[i]);
  return h;
}

static bool scalar_equal(struct tb_val a, struct tb_val b) {
  if (tb_tpl_is(a, TB_VAL_STR) || tb_tpl_is(b, TB_VAL_STR))
    return a.kind == b.kind && tb_tpl_str_eq(tb_tpl_str_of(a), tb_tpl_str_of(b));
  if (tb_tpl_is_int(a) && tb_tpl_is_int(b)) return tb_tpl_int_of(a) == tb_tpl_int_of(b);
  if (tb_tpl_is_number(a) && tb_tpl_is_number(b)) return tb_tpl_float_of(a) == tb_tpl_float_of(b);
  return a.kind == b.kind;
}

static bool key_equal(struct tb_val a, struct tb_val b) {
  if (!tb_tpl_is(a, TB_VAL_TUPLE) || !tb_tpl_is(b, TB_VAL_TUPLE))
    return !tb_tpl_is(a, TB_VAL_TUPLE) && !tb_tpl_is(b, TB_VAL_TUPLE) && scalar_equal(a, b);
  const struct tb_tpl_list *x = tb_tpl_list_of(a), *y = tb_tpl_list_of(b);
  if (x->n != y->n) return false;
  for (size_t i = 0; i < x->n; i++)
    if (!scalar_equal(x->at[i], y->at[i])) return false;
  return true;
}

struct tb_tpl_dict *tb_tpl_dict_new(struct tb_tpl_arena *a, size_t cap) {
  struct tb_tpl_dict *d = tb_tpl_alloc(a, 1, sizeof *d);
  if (!d || !cap) return d;
  d->keys = tb_tpl_alloc(a, cap, sizeof *d->keys);
  d->vals = tb_tpl_alloc(a, cap, sizeof *d->vals);
  if (!d->keys || !d->vals) return NULL;
  d->cap = cap;
  return d;
}

static const struct tb_val *find_linear(const struct tb_tpl_dict *d, struct tb_val key) {
  for (size_t i = 0; i < d->n; i++)
    if (key_equal(d->keys[i], key)) return &d->vals[i];
  return NULL;
}

const struct tb_val *tb_tpl_dict_get(const struct tb_tpl_dict *d, struct tb_val key) {
  if (!d->index) return find_linear(d, key);
  size_t mask = d->index_size - 1;
  for (size_t i = (size_t)hash_key(key) & mask; d->index[i]; i = (i + 1) & mask)
    if (key_equal(d->keys[d->index[i] - 1], key)) return &d->vals[d->index[i] - 1];
  return NULL;
}

const struct tb_val *tb_tpl_dict_find(const struct tb_tpl_dict *d, struct tb_tpl_str key) {
  return tb_tpl_dict_get(d, tb_tpl_ref(TB_VAL_STR, &key));
}

static void index_add(struct tb_tpl_dict *d, size_t entry) {
  size_t mask = d->index_size - 1, i = (size_t)hash_key(d->keys[entry]) & mask;
  while (d->index[i]) i = (i + 1) & mask;
  d->index[i] = (uint32_t)(entry + 1);
}

/* Room for one more entry, in the arrays and (at most half full) in the index. */
static bool dict_widen(struct tb_tpl_arena *a, struct tb_tpl_dict *d) {
  if (d->n < d->cap) return true;
  size_t cap = d->cap ? d->cap * 2 : 4;
  void *k = d->keys, *v = d->vals;
  if (cap > UINT32_MAX / 2 || !widen(a, &k, d->n, cap, sizeof *d->keys) || !widen(a, &v, d->n, cap, sizeof *d->vals))
    return false;
  d->keys = k;
  d->vals = v;
  d->cap = cap;
  return true;
}

static bool dict_index(struct tb_tpl_arena *a, struct tb_tpl_dict *d) {
  if (d->n < INDEX_FROM || d->n * 2 < d->index_size) return true;
  size_t size = d->index_size ? d->index_size * 2 : INDEX_FROM * 4;
  if (!(d->index = tb_tpl_alloc(a, size, sizeof *d->index))) return false;
  d->index_size = size;
  for (size_t i = 0; i < d->n; i++) index_add(d, i);
  return true;
}

bool tb_tpl_dict_put(struct tb_tpl_arena *a, struct tb_tpl_dict *d, struct tb_val key, struct tb_val v) {
  const struct tb_val *old = tb_tpl_dict_get(d, key);
  if (old) {
    d->vals[old - d->vals] = v;
    return true;
  }
  if (!dict_widen(a, d) || !dict_index(a, d)) return false;
  d->keys[d->n] = key;
  d->vals[d->n] = v;
  if (d->index) index_add(d, d->n);
  d->n++;
  return true;
}

/* --------------------------------------------------------------------------------------------- public constructors */

struct tb_vals {
  const struct tb_allocator *alloc;
  struct tb_tpl_arena arena;
};

enum tb_status tb_vals_create(struct tb_vals **out, const struct tb_allocator *a, struct tb_error *err) {
  *out = NULL;
  struct tb_vals *pool = tb_calloc(a, 1, sizeof *pool);
  if (!pool) return tb_fail(err, TB_E_NOMEM, "no memory for template values");
  pool->alloc = a;
  tb_tpl_arena_init(&pool->arena, a, SIZE_MAX / 2);
  *out = pool;
  return TB_OK;
}

void tb_vals_free(struct tb_vals *pool) {
  if (!pool) return;
  tb_tpl_arena_free(&pool->arena);
  tb_free(pool->alloc, pool);
}

bool tb_vals_ok(const struct tb_vals *pool) { return pool->arena.failed == TB_OK; }

struct tb_val tb_val_none(void) { return tb_tpl_none(); }
struct tb_val tb_val_bool(bool b) { return (struct tb_val){.kind = TB_VAL_BOOL, .u.b = b}; }
struct tb_val tb_val_int(int64_t i) { return (struct tb_val){.kind = TB_VAL_INT, .u.i = i}; }
struct tb_val tb_val_float(double f) { return (struct tb_val){.kind = TB_VAL_FLOAT, .u.f = f}; }

static struct tb_val text(struct tb_vals *pool, const char *s, size_t n, bool trusted) {
  char *copy = tb_tpl_alloc(&pool->arena, n, 1);
  if (!copy) return tb_tpl_none();
  if (n) memcpy(copy, s, n);
  struct tb_val v = tb_tpl_of_str(&pool->arena, (struct tb_tpl_str){.s = copy, .n = n, .trusted = trusted}, 0);
  return tb_vals_ok(pool) ? v : tb_tpl_none();
}

struct tb_val tb_val_text(struct tb_vals *pool, const char *s, size_t n) { return text(pool, s, n, false); }
struct tb_val tb_val_trusted_text(struct tb_vals *pool, const char *s, size_t n) { return text(pool, s, n, true); }

struct tb_val tb_val_role(struct tb_vals *pool, const char *s, size_t n) {
  static const char *const known[] = {"system", "user", "assistant", "tool", "developer"};
  bool trusted = false;
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    trusted |= strlen(known[i]) == n && memcmp(known[i], s, n) == 0;
  return text(pool, s, n, trusted);
}

struct tb_val tb_val_list(struct tb_vals *pool) {
  struct tb_tpl_list *l = tb_tpl_list_new(&pool->arena, 0);
  return l ? tb_tpl_ref(TB_VAL_LIST, l) : tb_tpl_none();
}

struct tb_val tb_val_dict(struct tb_vals *pool) {
  struct tb_tpl_dict *d = tb_tpl_dict_new(&pool->arena, 0);
  return d ? tb_tpl_ref(TB_VAL_DICT, d) : tb_tpl_none();
}

/* The pool made these containers and they are not shared yet: writing to them is what the constructors are for. */
static void *writable(struct tb_val v) {
  union {
    const void *in;
    void *out;
  } u = {.in = v.u.p};
  return u.out;
}

void tb_val_push(struct tb_vals *pool, struct tb_val list, struct tb_val item) {
  if (tb_tpl_is(list, TB_VAL_LIST)) tb_tpl_list_push(&pool->arena, writable(list), item);
}

void tb_val_put(struct tb_vals *pool, struct tb_val dict, const char *key, size_t n, struct tb_val value) {
  if (!tb_tpl_is(dict, TB_VAL_DICT)) return;
  struct tb_val k = tb_val_text(pool, key, n);
  if (tb_vals_ok(pool)) tb_tpl_dict_put(&pool->arena, writable(dict), k, value);
}
