/* A GGUF file taken apart, to be changed and put together again: lengths and offsets always agree, whatever nonsense
 * the entries say. */
#ifndef TB_TESTS_GGUF_EDIT_H
#define TB_TESTS_GGUF_EDIT_H

#include "io/gguf.h"

struct edit_kv {
  char key[64];
  uint32_t type, elem; /* elem == type unless type is TB_GGUF_ARRAY */
  uint64_t count;
  unsigned char *data;
  size_t n;
};

struct edit_tensor {
  char name[64];
  uint32_t id, n_dims; /* id: number of the type in the file */
  uint64_t ne[4];
  unsigned char *data;
  size_t n;
};

struct gguf_edit {
  struct edit_kv *kvs;
  size_t n_kvs;
  struct edit_tensor *tensors;
  size_t n_tensors;
};

void edit_read(struct gguf_edit *e, const struct tb_gguf *g);
void edit_free(struct gguf_edit *e);
struct gguf_edit edit_copy(const struct gguf_edit *e);

/* The entry, or a test failure. */
struct edit_kv *edit_kv(struct gguf_edit *e, const char *key);
struct edit_tensor *edit_tensor(struct gguf_edit *e, const char *name);
void edit_remove_kv(struct gguf_edit *e, const char *key);
void edit_remove_tensor(struct gguf_edit *e, const char *name);
/* Replaces the value (a scalar: elem == type, count 1); adds the key when it is absent. */
void edit_set(struct gguf_edit *e, const char *key, uint32_t type, uint32_t elem, uint64_t count, const void *data,
              size_t n);
void edit_set_u32(struct gguf_edit *e, const char *key, uint32_t value);
void edit_set_f32(struct gguf_edit *e, const char *key, float value);
void edit_set_str(struct gguf_edit *e, const char *key, const char *text, size_t len);
void edit_set_strings(struct gguf_edit *e, const char *key, const char *const *texts, uint64_t count);
/* New bytes for element i of an array of strings. */
void edit_set_element(struct gguf_edit *e, const char *key, uint64_t i, const char *text, size_t len);
/* Other data of n bytes (zeros), for a tensor whose shape or type was changed. */
void edit_resize(struct edit_tensor *t, size_t n);

/* Writes the file. */
void edit_write(const struct gguf_edit *e, const char *path);

#endif
