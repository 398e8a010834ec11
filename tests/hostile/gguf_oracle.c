#include "tests/hostile/gguf_oracle.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned __int128 wide;

/* Reading past the end sets `why` and gives zeros. */
struct scan {
  const unsigned char *data;
  size_t n;
  wide at;
  const char *why;
};

static void broken(struct scan *s, const char *why) {
  if (!s->why) s->why = why;
}

static uint64_t number(struct scan *s, unsigned bytes) {
  uint64_t v = 0;
  if (s->at + bytes > s->n) {
    broken(s, "the file ends too early");
    return 0;
  }
  for (unsigned i = 0; i < bytes; i++) v |= (uint64_t)s->data[(size_t)s->at + i] << 8 * i;
  s->at += bytes;
  return v;
}

struct range {
  wide at, n;
};

static struct range text(struct scan *s) {
  struct range r;
  r.n = number(s, 8);
  r.at = s->at;
  if (s->at + r.n > s->n) broken(s, "a string ends behind the file");
  s->at += r.n;
  return r;
}

static bool same(const struct scan *s, struct range a, struct range b) {
  return a.n == b.n && memcmp(s->data + (size_t)a.at, s->data + (size_t)b.at, (size_t)a.n) == 0;
}

static bool equals(const struct scan *s, struct range a, const char *b) {
  return a.n == strlen(b) && memcmp(s->data + (size_t)a.at, b, strlen(b)) == 0;
}

/* u8 i8 u16 i16 u32 i32 f32 bool string array u64 i64 f64 */
static const unsigned width[13] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static void values(struct scan *s, uint64_t type, uint64_t count) {
  if (type > 12 || type == 9) {
    broken(s, "no such type");
    return;
  }
  if (type != 8) {
    wide bytes = (wide)count * width[type];
    if (s->at + bytes > s->n) {
      broken(s, "values end behind the file");
      return;
    }
    for (wide i = 0; type == 7 && i < bytes; i++)
      if (s->data[(size_t)(s->at + i)] > 1) broken(s, "a boolean is neither 0 nor 1");
    s->at += bytes;
    return;
  }
  for (uint64_t i = 0; i < count && !s->why; i++) text(s);
}

struct settings {
  uint64_t alignment, split_count;
};

/* The value of an integer scalar at s->at, for the keys that the reader itself looks at. */
static bool small_integer(const struct scan *s, uint64_t type, uint64_t *out) {
  struct scan copy = *s;
  bool is_signed = type == 1 || type == 3 || type == 5 || type == 11;
  if (type > 12 || type == 6 || type == 7 || type == 8 || type == 9 || type == 12) return false;
  uint64_t v = number(&copy, width[type]);
  if (is_signed && v >> (8 * width[type] - 1)) return false;
  *out = v;
  return v <= UINT32_MAX;
}

static void key_value(struct scan *s, struct range *key, struct settings *set) {
  *key = text(s);
  if (s->why) return;
  if (key->n == 0 || key->n > 65535) broken(s, "a key's length");
  uint64_t type = number(s, 4), elem = type, count = 1;
  if (s->why) return;
  uint64_t *wanted = equals(s, *key, "general.alignment")                                   ? &set->alignment
                     : equals(s, *key, "split.count") || equals(s, *key, "split.no") ? &set->split_count
                                                                                            : NULL;
  uint64_t unused;
  if (wanted && !small_integer(s, type, equals(s, *key, "split.no") ? &unused : wanted)) broken(s, "a key of the reader");
  if (type == 9) {
    elem = number(s, 4);
    count = number(s, 8);
  }
  if (!s->why) values(s, elem, count);
}

static const struct {
  unsigned id, values, bytes;
} formats[] = {{0, 1, 4},      {1, 1, 2},      {2, 32, 18},    {3, 32, 20},    {6, 32, 22},
               {7, 32, 24},    {8, 32, 34},    {10, 256, 84},  {11, 256, 110}, {12, 256, 144},
               {13, 256, 176}, {14, 256, 210}, {20, 32, 18},   {23, 256, 136}, {30, 1, 2}};

struct extent {
  struct range name;
  wide at, n;
};

static void tensor(struct scan *s, struct extent *e) {
  e->name = text(s);
  if (s->why) return;
  if (e->name.n == 0 || e->name.n > 64) broken(s, "a name's length");
  uint64_t dims = number(s, 4), ne[4] = {1, 1, 1, 1};
  if (dims < 1 || dims > 4) broken(s, "the number of dimensions");
  for (uint64_t i = 0; i < dims && !s->why; i++) {
    ne[i] = number(s, 8);
    if (ne[i] == 0 || ne[i] >> 63) broken(s, "a dimension");
  }
  uint64_t id = number(s, 4);
  e->at = number(s, 8);
  if (s->why) return;
  size_t f = 0;
  while (f < sizeof formats / sizeof formats[0] && formats[f].id != id) f++;
  if (f == sizeof formats / sizeof formats[0]) {
    broken(s, "no such format");
    return;
  }
  if (ne[0] % formats[f].values) broken(s, "rows of partial blocks");
  /* Each factor is below 2^63, so a product is compared before it is multiplied again. */
  wide n = (wide)(ne[0] / formats[f].values) * formats[f].bytes, count = ne[0];
  for (int i = 1; i < 4; i++) {
    if (n >> 63 || count >> 63) break;
    n *= ne[i];
    count *= ne[i];
  }
  if (n >> 63 || count >> 63) broken(s, "a size beyond 63 bits");
  e->n = n;
}

static void tensors(struct scan *s, struct extent *e, uint64_t n, uint64_t alignment) {
  for (uint64_t i = 0; i < n && !s->why; i++) tensor(s, &e[i]);
  if (s->why) return;
  wide data = (s->at + alignment - 1) / alignment * alignment;
  for (uint64_t i = 0; i < n; i++) {
    if (e[i].at % alignment) broken(s, "an offset is not aligned");
    if (data + e[i].at + e[i].n > s->n) broken(s, "a tensor ends behind the file");
    for (uint64_t k = 0; k < i; k++) {
      if (same(s, e[i].name, e[k].name)) broken(s, "two tensors of one name");
      if (e[i].at < e[k].at + e[k].n && e[k].at < e[i].at + e[i].n) broken(s, "tensors overlap");
    }
  }
}

static void file(struct scan *s) {
  if (s->n < 4 || memcmp(s->data, "GGUF", 4) != 0) broken(s, "magic");
  s->at = 4;
  uint64_t version = number(s, 4), n_tensors = number(s, 8), n_keys = number(s, 8);
  if (version != 2 && version != 3) broken(s, "version");
  if (s->why) return;
  /* No entry is shorter than 13 bytes: larger counts cannot be true. */
  if (n_keys > s->n / 13 || n_tensors > s->n / 13) broken(s, "impossible counts");
  if (s->why) return;
  struct settings set = {32, 1};
  struct range *keys = calloc(n_keys + 1, sizeof *keys);
  for (uint64_t i = 0; i < n_keys && !s->why; i++) {
    key_value(s, &keys[i], &set);
    for (uint64_t k = 0; k < i && !s->why; k++)
      if (same(s, keys[i], keys[k])) broken(s, "two keys of one name");
  }
  if (set.alignment < 8 || (set.alignment & (set.alignment - 1))) broken(s, "alignment");
  if (set.split_count > 1) broken(s, "split");
  struct extent *extents = calloc(n_tensors + 1, sizeof *extents);
  if (!s->why) tensors(s, extents, n_tensors, set.alignment);
  free(keys);
  free(extents);
}

bool gguf_oracle(const unsigned char *data, size_t n, const char **why) {
  struct scan s = {.data = data, .n = n};
  file(&s);
  *why = s.why ? s.why : "";
  return !s.why;
}
