/* Builds GGUF files byte by byte, right or wrong, and remembers where each field lies: the tests then change one field
 * of a good file. For files that are meant to be good there is io/gguf_write.h. */
#ifndef TB_TESTS_GGUF_MAKE_H
#define TB_TESTS_GGUF_MAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum make_kind {
  MAKE_MAGIC, MAKE_VERSION, MAKE_N_TENSORS, MAKE_N_KVS,
  MAKE_KEY_LEN, MAKE_KEY, MAKE_TYPE, MAKE_ELEM, MAKE_COUNT, MAKE_STR_LEN, MAKE_STR, MAKE_VALUE,
  MAKE_NAME_LEN, MAKE_NAME, MAKE_N_DIMS, MAKE_NE, MAKE_FORMAT, MAKE_OFFSET,
};

struct make_field {
  enum make_kind kind;
  char owner[48]; /* the key or tensor it belongs to, "" for the preamble */
  unsigned index; /* of dimensions and strings */
  size_t at, len; /* bytes in the file */
};

struct gguf_make {
  unsigned char *data;
  size_t n, cap;
  struct make_field *fields;
  size_t n_fields, cap_fields;
  char owner[48];
  size_t header_end;  /* set by make_data */
};

void make_free(struct gguf_make *m);
void make_begin(struct gguf_make *m, uint32_t version, uint64_t n_tensors, uint64_t n_kvs);
/* Scalars: `value` points to `len` bytes. */
void make_kv(struct gguf_make *m, const char *key, uint32_t type, const void *value, size_t len);
void make_kv_u32(struct gguf_make *m, const char *key, uint32_t value);
void make_kv_u16(struct gguf_make *m, const char *key, uint16_t value);
void make_kv_f32(struct gguf_make *m, const char *key, float value);
void make_kv_str(struct gguf_make *m, const char *key, const char *value);
void make_array(struct gguf_make *m, const char *key, uint32_t elem, uint64_t count, const void *values, size_t len);
void make_strings(struct gguf_make *m, const char *key, uint64_t count, const char *const *values);
void make_tensor(struct gguf_make *m, const char *name, uint32_t n_dims, const uint64_t *ne, uint32_t type,
                 uint64_t offset);
/* Pads to `alignment` and appends n bytes of tensor data. */
void make_data(struct gguf_make *m, size_t alignment, size_t n);
void make_bytes(struct gguf_make *m, const void *data, size_t n);

/* The field, or a test failure. owner "" for the preamble. */
const struct make_field *make_find(const struct gguf_make *m, enum make_kind kind, const char *owner, unsigned index);
/* Overwrites a field of 4 or 8 bytes (or the first bytes of a value). */
void make_set(struct gguf_make *m, const struct make_field *f, uint64_t value);
/* A copy that can be changed. */
struct gguf_make make_copy(const struct gguf_make *m);

/* Keys of each type, arrays, two tensors of 32 floats and one of 64 q4_0 values: valid, about 1 kB. */
struct gguf_make make_sample(void);

#endif
