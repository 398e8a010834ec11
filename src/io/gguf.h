/* GGUF v2/v3 files (github.com/ggml-org/ggml/blob/master/docs/gguf.md): the only weight format.
 *
 * tb_gguf_open maps the file (and, for a split model, its other parts) and validates everything before it returns:
 * each length against the bytes that really exist, types, alignment, tensor extents, duplicate names. Whatever a
 * getter returns afterwards points into the mapping and lives as long as the object. Little-endian hosts only. */
#ifndef TB_IO_GGUF_H
#define TB_IO_GGUF_H

#include "base/alloc.h"
#include "base/status.h"
#include "simd/formats.h"

/* A piece of the mapped file; not NUL-terminated. */
struct tb_str {
  const char *ptr;
  size_t len;
};

bool tb_str_is(struct tb_str s, const char *text);

/* Value types as numbered in the file. */
enum tb_gguf_type {
  TB_GGUF_U8, TB_GGUF_I8, TB_GGUF_U16, TB_GGUF_I16, TB_GGUF_U32, TB_GGUF_I32, TB_GGUF_F32, TB_GGUF_BOOL,
  TB_GGUF_STRING, TB_GGUF_ARRAY, TB_GGUF_U64, TB_GGUF_I64, TB_GGUF_F64,
};

struct tb_gguf_kv {
  struct tb_str key;
  enum tb_gguf_type type;      /* TB_GGUF_ARRAY for arrays */
  enum tb_gguf_type elem;      /* element type of an array, else == type. Arrays of arrays are refused at open. */
  uint64_t count;              /* elements of an array, else 1 */
  const unsigned char *data;   /* first element, unaligned; strings are u64 length + bytes */
  uint64_t bytes;              /* of data */
};

struct tb_gguf_tensor {
  struct tb_str name;
  enum tb_format format;
  uint32_t n_dims;             /* 1 … 4 */
  uint64_t ne[4];              /* elements per dimension, fastest first; missing ones are 1 */
  const unsigned char *data;   /* in the mapping, aligned as the file says */
  uint64_t bytes;
  unsigned part;               /* 0 … parts-1 of a split model */
};

struct tb_gguf;

enum tb_status tb_gguf_open(struct tb_gguf **out, const char *path, const struct tb_allocator *a, struct tb_error *err);
/* One unsplit file that the caller holds in memory (it must stay): for tests and fuzzing. */
enum tb_status tb_gguf_open_memory(struct tb_gguf **out, const void *data, size_t size, const struct tb_allocator *a,
                                   struct tb_error *err);
void tb_gguf_free(struct tb_gguf *g);
/* Copies the names of the tensors, so that finding one never reads the file again, whatever becomes of it: what is there stays
 * there, and where it was. */
enum tb_status tb_gguf_keep_names(struct tb_gguf *g, struct tb_error *err);

/* TB_E_IO when a part was changed in place since it was opened: what is mapped can no longer be trusted. */
enum tb_status tb_gguf_check(const struct tb_gguf *g, struct tb_error *err);
/* The mapping of a part, for hints (io/mapfile.h); NULL for a file in memory. */
struct tb_mapfile;
const struct tb_mapfile *tb_gguf_mapping(const struct tb_gguf *g, unsigned part);

uint32_t tb_gguf_version(const struct tb_gguf *g);
uint64_t tb_gguf_file_bytes(const struct tb_gguf *g); /* all parts */
unsigned tb_gguf_parts(const struct tb_gguf *g);
size_t tb_gguf_kv_count(const struct tb_gguf *g); /* of the first part */
const struct tb_gguf_kv *tb_gguf_kv_at(const struct tb_gguf *g, size_t i);
const struct tb_gguf_kv *tb_gguf_kv_find(const struct tb_gguf *g, const char *key);
size_t tb_gguf_tensor_count(const struct tb_gguf *g); /* of all parts */
const struct tb_gguf_tensor *tb_gguf_tensor_at(const struct tb_gguf *g, size_t i);
const struct tb_gguf_tensor *tb_gguf_tensor_find(const struct tb_gguf *g, const char *name);

/* Typed getters. A key that is absent leaves *out as it is and returns TB_OK, or TB_E_FORMAT when `required`. Any
 * integer type that holds the value in range is accepted for integers; F32/F64 (and integers) for floats, which must be
 * finite. A key of another type is TB_E_FORMAT naming key, expected and found type. */
enum tb_status tb_gguf_get_u32(const struct tb_gguf *g, const char *key, bool required, uint32_t *out, struct tb_error *err);
enum tb_status tb_gguf_get_f32(const struct tb_gguf *g, const char *key, bool required, float *out, struct tb_error *err);
enum tb_status tb_gguf_get_bool(const struct tb_gguf *g, const char *key, bool required, bool *out, struct tb_error *err);
enum tb_status tb_gguf_get_str(const struct tb_gguf *g, const char *key, bool required, struct tb_str *out, struct tb_error *err);

/* n values from a scalar (repeated) or an array of at least n: per-layer hyper-parameters. Absent: as above. */
enum tb_status tb_gguf_get_u32s(const struct tb_gguf *g, const char *key, bool required, uint32_t *out, size_t n,
                                struct tb_error *err);

/* Element i of an array of numbers (kv->elem is the caller's business): integers and bools, floats. */
int64_t tb_gguf_array_int(const struct tb_gguf_kv *kv, uint64_t i);
double tb_gguf_array_float(const struct tb_gguf_kv *kv, uint64_t i);

/* Walks the strings of a string array: start with cursor = kv->data, call kv->count times. */
struct tb_str tb_gguf_next_str(const unsigned char **cursor);

const char *tb_gguf_type_name(enum tb_gguf_type type);

#endif
