/* Changes fields of a GGUF header. The walk is loose on purpose: it stops at the first thing it does not understand and
 * offers what it has seen so far. */
#include <string.h>
#include "base/rng.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_FIELDS = 2048, STRING = 8, ARRAY = 9 };

struct field {
  size_t at, len; /* len 4 or 8: a number; of text: its bytes, with the u64 length in front */
  int text;
};

struct walk {
  const uint8_t *data;
  size_t n, at;
  struct field fields[MAX_FIELDS];
  size_t n_fields;
};

static int number(struct walk *w, size_t len, uint64_t *value) {
  if (w->n - w->at < len || w->n_fields == MAX_FIELDS) return 0;
  w->fields[w->n_fields++] = (struct field){w->at, len, 0};
  *value = 0;
  memcpy(value, w->data + w->at, len);
  w->at += len;
  return 1;
}

static int text(struct walk *w) {
  uint64_t n;
  if (!number(w, 8, &n) || n > w->n - w->at || w->n_fields == MAX_FIELDS) return 0;
  w->fields[w->n_fields++] = (struct field){w->at, (size_t)n, 1};
  w->at += (size_t)n;
  return 1;
}

static int value(struct walk *w, uint64_t type) {
  static const uint8_t sizes[13] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  uint64_t elem = type, count = 1, ignored;
  if (type == ARRAY && (!number(w, 4, &elem) || !number(w, 8, &count))) return 0;
  if (elem > 12 || elem == ARRAY) return 0;
  for (uint64_t i = 0; i < count; i++) {
    if (elem == STRING) {
      if (!text(w)) return 0;
    } else if (count > 16) { /* long arrays: one field in the middle is enough */
      if (count > (w->n - w->at) / sizes[elem]) return 0;
      w->at += (size_t)count * sizes[elem];
      return 1;
    } else if (!number(w, sizes[elem], &ignored)) {
      return 0;
    }
  }
  return 1;
}

static void walk(struct walk *w) {
  uint64_t version, n_tensors, n_kvs, type, dims, ignored;
  w->at = 4;
  if (!number(w, 4, &version) || !number(w, 8, &n_tensors) || !number(w, 8, &n_kvs)) return;
  for (uint64_t i = 0; i < n_kvs; i++)
    if (!text(w) || !number(w, 4, &type) || !value(w, type)) return;
  for (uint64_t i = 0; i < n_tensors; i++) {
    if (!text(w) || !number(w, 4, &dims) || dims > 8) return;
    for (uint64_t d = 0; d < dims; d++)
      if (!number(w, 8, &ignored)) return;
    if (!number(w, 4, &type) || !number(w, 8, &ignored)) return;
  }
}

static uint64_t odd_number(struct tb_rng *rng, uint64_t now, size_t n) {
  static const uint64_t odd[] = {0, 1, 2, 3, 4, 8, 9, 12, 31, 32, 33, 64, 255, 256, 4096, 65535, 65536, INT32_MAX, UINT32_MAX,
                                 (uint64_t)1 << 32, (uint64_t)1 << 62, INT64_MAX, (uint64_t)1 << 63, UINT64_MAX};
  switch (tb_rng_next(rng) % 6) {
  case 0: return odd[tb_rng_next(rng) % (sizeof odd / sizeof odd[0])];
  case 1: return now + 1 - tb_rng_next(rng) % 3;
  case 2: return now ^ (uint64_t)1 << tb_rng_next(rng) % 64;
  case 3: return tb_rng_next(rng) % (n + 1);
  case 4: return tb_rng_next(rng) % 16;
  default: return now * 2;
  }
}

/* New bytes for a text, its length field kept right. */
static size_t change_text(uint8_t *data, size_t size, size_t max_size, const struct field *f) {
  uint8_t piece[512];
  if (f->len > sizeof piece) return LLVMFuzzerMutate(data, size, max_size);
  memcpy(piece, data + f->at, f->len);
  const size_t room = max_size - size + f->len;
  size_t n = LLVMFuzzerMutate(piece, f->len, room < sizeof piece ? room : sizeof piece);
  memmove(data + f->at + n, data + f->at + f->len, size - f->at - f->len);
  memcpy(data + f->at, piece, n);
  const uint64_t length = n;
  memcpy(data + f->at - 8, &length, 8);
  return size - f->len + n;
}

size_t fuzz_mutate_gguf(uint8_t *data, size_t size, size_t max_size, unsigned seed, const uint8_t *sample,
                        size_t sample_size) {
  static struct walk w;
  struct tb_rng rng = {seed};
  if ((size < 24 || memcmp(data, "GGUF", 4) != 0) && sample_size <= max_size && tb_rng_next(&rng) % 16) {
    memcpy(data, sample, sample_size);
    size = sample_size;
  }
  for (uint64_t i = 1 + tb_rng_next(&rng) % 3; i > 0; i--) {
    w.data = data;
    w.n = size;
    w.n_fields = 0;
    if (size >= 24) walk(&w);
    if (w.n_fields == 0 || tb_rng_next(&rng) % 8 == 0) {
      size = LLVMFuzzerMutate(data, size, max_size);
      continue;
    }
    const struct field *f = &w.fields[tb_rng_next(&rng) % w.n_fields];
    if (f->text) {
      size = change_text(data, size, max_size, f);
    } else {
      uint64_t now = 0;
      memcpy(&now, data + f->at, f->len);
      now = odd_number(&rng, now, size);
      memcpy(data + f->at, &now, f->len);
    }
  }
  return size;
}
