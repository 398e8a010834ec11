#include "io/gguf_write.h"

#include <inttypes.h>
#include <string.h>
#include "io/outfile.h"

/* Bytes that grow. */
struct buffer {
  unsigned char *data;
  size_t n, cap;
};

struct tb_gguf_writer {
  const struct tb_allocator *a;
  struct tb_error error;     /* the first failure of an add function */
  struct buffer kvs, tensors, header;
  uint64_t n_kvs, n_tensors;
  size_t alignment;
  uint64_t *tensor_bytes;    /* of each tensor, without padding */
  size_t tensor_cap;
  uint64_t data_bytes;       /* padded, of all tensors so far */
  struct tb_outfile file;
  size_t current;            /* tensor that is being written … */
  uint64_t current_done;     /* … and how much of it is */
};

enum tb_status tb_gguf_writer_create(struct tb_gguf_writer **out, const struct tb_allocator *a, struct tb_error *err) {
  struct tb_gguf_writer *w = *out = tb_calloc(a, 1, sizeof *w);
  if (!w) return tb_fail(err, TB_E_NOMEM, "no memory for a GGUF writer");
  w->a = a;
  w->alignment = 32;
  w->file.fd = w->file.dir = -1;
  return TB_OK;
}

void tb_gguf_writer_free(struct tb_gguf_writer *w) {
  if (!w) return;
  tb_outfile_abort(&w->file);
  tb_free(w->a, w->kvs.data);
  tb_free(w->a, w->tensors.data);
  tb_free(w->a, w->header.data);
  tb_free(w->a, w->tensor_bytes);
  tb_free(w->a, w);
}

static void out_of_memory(struct tb_gguf_writer *w) {
  if (!w->error.status) tb_fail(&w->error, TB_E_NOMEM, "no memory for a GGUF header");
}

static void append(struct tb_gguf_writer *w, struct buffer *b, const void *data, size_t n) {
  size_t need;
  if (w->error.status) return;
  if (!tb_add(b->n, n, &need) || !tb_grow(w->a, (void **)&b->data, &b->cap, need, 1)) {
    out_of_memory(w);
    return;
  }
  if (n) memcpy(b->data + b->n, data, n);
  b->n = need;
}

static void append_u32(struct tb_gguf_writer *w, struct buffer *b, uint32_t v) { append(w, b, &v, sizeof v); }

static void append_u64(struct tb_gguf_writer *w, struct buffer *b, uint64_t v) { append(w, b, &v, sizeof v); }

static void append_str(struct tb_gguf_writer *w, struct buffer *b, const char *s, size_t n) {
  append_u64(w, b, n);
  append(w, b, s, n);
}

/* --------------------------------------------------------------------------------------------------------- metadata */

static size_t scalar_bytes(enum tb_gguf_type type) {
  switch (type) {
  case TB_GGUF_U8:
  case TB_GGUF_I8:
  case TB_GGUF_BOOL: return 1;
  case TB_GGUF_U16:
  case TB_GGUF_I16: return 2;
  case TB_GGUF_U32:
  case TB_GGUF_I32:
  case TB_GGUF_F32: return 4;
  case TB_GGUF_U64:
  case TB_GGUF_I64:
  case TB_GGUF_F64: return 8;
  default: return 0;
  }
}

static void begin_kv(struct tb_gguf_writer *w, const char *key, enum tb_gguf_type type) {
  append_str(w, &w->kvs, key, strlen(key));
  append_u32(w, &w->kvs, type);
  w->n_kvs++;
}

static void begin_array(struct tb_gguf_writer *w, const char *key, enum tb_gguf_type elem, uint64_t count) {
  begin_kv(w, key, TB_GGUF_ARRAY);
  append_u32(w, &w->kvs, elem);
  append_u64(w, &w->kvs, count);
}

void tb_gguf_add_scalar(struct tb_gguf_writer *w, const char *key, enum tb_gguf_type type, const void *value) {
  begin_kv(w, key, type);
  append(w, &w->kvs, value, scalar_bytes(type));
}

void tb_gguf_add_u32(struct tb_gguf_writer *w, const char *key, uint32_t value) {
  tb_gguf_add_scalar(w, key, TB_GGUF_U32, &value);
}

void tb_gguf_add_u64(struct tb_gguf_writer *w, const char *key, uint64_t value) {
  tb_gguf_add_scalar(w, key, TB_GGUF_U64, &value);
}

void tb_gguf_add_i32(struct tb_gguf_writer *w, const char *key, int32_t value) {
  tb_gguf_add_scalar(w, key, TB_GGUF_I32, &value);
}

void tb_gguf_add_f32(struct tb_gguf_writer *w, const char *key, float value) {
  tb_gguf_add_scalar(w, key, TB_GGUF_F32, &value);
}

void tb_gguf_add_bool(struct tb_gguf_writer *w, const char *key, bool value) {
  unsigned char byte = value;
  tb_gguf_add_scalar(w, key, TB_GGUF_BOOL, &byte);
}

void tb_gguf_add_str(struct tb_gguf_writer *w, const char *key, const char *value) {
  begin_kv(w, key, TB_GGUF_STRING);
  append_str(w, &w->kvs, value, strlen(value));
}

void tb_gguf_add_array(struct tb_gguf_writer *w, const char *key, enum tb_gguf_type elem, const void *values,
                       uint64_t count) {
  begin_array(w, key, elem, count);
  if (values) tb_gguf_add_values(w, elem, values, count);
}

void tb_gguf_add_values(struct tb_gguf_writer *w, enum tb_gguf_type elem, const void *values, uint64_t count) {
  size_t bytes;
  if (tb_mul((size_t)count, scalar_bytes(elem), &bytes)) append(w, &w->kvs, values, bytes);
  else out_of_memory(w);
}

void tb_gguf_add_strings(struct tb_gguf_writer *w, const char *key, uint64_t count) {
  begin_array(w, key, TB_GGUF_STRING, count);
}

void tb_gguf_add_element(struct tb_gguf_writer *w, const char *text, size_t len) { append_str(w, &w->kvs, text, len); }

void tb_gguf_set_alignment(struct tb_gguf_writer *w, uint32_t alignment) {
  w->alignment = alignment;
  tb_gguf_add_u32(w, "general.alignment", alignment);
}

/* ---------------------------------------------------------------------------------------------------------- tensors */

static bool tensor_bytes(enum tb_format format, uint32_t n_dims, const uint64_t *ne, uint64_t *bytes) {
  const struct tb_format_info *f = &tb_formats[format];
  if (n_dims < 1 || n_dims > 4 || ne[0] % f->block_values != 0) return false;
  size_t n = f->block_bytes;
  if (!tb_mul(n, (size_t)(ne[0] / f->block_values), &n)) return false;
  for (uint32_t i = 1; i < n_dims; i++)
    if (!tb_mul(n, (size_t)ne[i], &n)) return false;
  *bytes = n;
  return n > 0 && n <= INT64_MAX / 2;
}

void tb_gguf_add_tensor(struct tb_gguf_writer *w, const char *name, enum tb_format format, uint32_t n_dims,
                        const uint64_t *ne) {
  uint64_t bytes;
  if (w->error.status) return;
  if (!tensor_bytes(format, n_dims, ne, &bytes)) {
    tb_fail(&w->error, TB_E_ARG, "tensor '%s': a shape that %s cannot have", name, tb_formats[format].name);
    return;
  }
  append_str(w, &w->tensors, name, strlen(name));
  append_u32(w, &w->tensors, n_dims);
  for (uint32_t i = 0; i < n_dims; i++) append_u64(w, &w->tensors, ne[i]);
  append_u32(w, &w->tensors, tb_formats[format].gguf_id);
  append_u64(w, &w->tensors, w->data_bytes);
  if (!tb_grow(w->a, (void **)&w->tensor_bytes, &w->tensor_cap, (size_t)w->n_tensors + 1, sizeof *w->tensor_bytes)) {
    out_of_memory(w);
    return;
  }
  w->tensor_bytes[w->n_tensors++] = bytes;
  w->data_bytes = tb_round_up((size_t)(w->data_bytes + bytes), w->alignment);
}

uint64_t tb_gguf_writer_data_bytes(const struct tb_gguf_writer *w) { return w->data_bytes; }

/* ----------------------------------------------------------------------------------------------------------- output */

static void pad(struct tb_gguf_writer *w, struct buffer *b) {
  static const unsigned char zero[64];
  for (size_t n = tb_round_up(b->n, w->alignment) - b->n; n > 0 && !w->error.status;) {
    size_t part = n < sizeof zero ? n : sizeof zero;
    append(w, b, zero, part);
    n -= part;
  }
}

enum tb_status tb_gguf_writer_header(struct tb_gguf_writer *w, const unsigned char **data, size_t *size,
                                     struct tb_error *err) {
  if (w->header.n == 0) {
    append(w, &w->header, "GGUF", 4);
    append_u32(w, &w->header, 3);
    append_u64(w, &w->header, w->n_tensors);
    append_u64(w, &w->header, w->n_kvs);
    append(w, &w->header, w->kvs.data, w->kvs.n);
    append(w, &w->header, w->tensors.data, w->tensors.n);
    pad(w, &w->header);
  }
  if (w->error.status) return tb_fail(err, w->error.status, "%s", w->error.text);
  *data = w->header.data;
  *size = w->header.n;
  return TB_OK;
}

enum tb_status tb_gguf_writer_open(struct tb_gguf_writer *w, const char *path, struct tb_error *err) {
  const unsigned char *header = NULL;
  size_t size = 0;
  enum tb_status s = tb_gguf_writer_header(w, &header, &size, err);
  if (s || (s = tb_outfile_create(&w->file, path, 0666, w->a, err))) return s;
  if ((s = tb_outfile_reserve(&w->file, size + w->data_bytes, err))) return s;
  return tb_outfile_write(&w->file, header, size, err);
}

/* The current tensor is complete: fill up to the alignment. */
static enum tb_status end_tensor(struct tb_gguf_writer *w, struct tb_error *err) {
  static const unsigned char zero[64];
  size_t n = tb_round_up((size_t)w->current_done, w->alignment) - (size_t)w->current_done;
  enum tb_status s = TB_OK;
  for (; n > 0 && !s; n -= n < sizeof zero ? n : sizeof zero)
    s = tb_outfile_write(&w->file, zero, n < sizeof zero ? n : sizeof zero, err);
  w->current++;
  w->current_done = 0;
  return s;
}

enum tb_status tb_gguf_writer_put(struct tb_gguf_writer *w, const void *data, size_t n, struct tb_error *err) {
  if (w->file.fd < 0) return tb_fail(err, TB_E_ARG, "tensor data without an open file");
  if (w->current >= w->n_tensors || n > w->tensor_bytes[w->current] - w->current_done)
    return tb_fail(err, TB_E_ARG, "%s: more data than tensor %zu has", w->file.path, w->current);
  enum tb_status s = tb_outfile_write(&w->file, data, n, err);
  w->current_done += n;
  return !s && w->current_done == w->tensor_bytes[w->current] ? end_tensor(w, err) : s;
}

enum tb_status tb_gguf_writer_close(struct tb_gguf_writer *w, bool durable, struct tb_error *err) {
  if (w->file.fd < 0) return tb_fail(err, TB_E_ARG, "no file is open");
  if (w->current == w->n_tensors) return tb_outfile_commit(&w->file, durable, err);
  enum tb_status s = tb_fail(err, TB_E_ARG, "%s: the data of tensor %zu is missing", w->file.path, w->current);
  tb_outfile_abort(&w->file);
  return s;
}
