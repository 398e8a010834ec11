/* Writes GGUF v3 files: metadata and tensor table first, collected in memory, then the tensor data as a stream.
 *
 *   tb_gguf_writer_create(&w, allocator, err)
 *   tb_gguf_add_…(w, …)                          metadata, in the order of the calls
 *   tb_gguf_add_tensor(w, …)                     tensor table, likewise
 *   tb_gguf_writer_open(w, path, err)            opens a temporary file and writes the header
 *   tb_gguf_writer_put(w, bytes, n, err) …       data of all tensors, in order; padding is inserted
 *   tb_gguf_writer_close(w, durable, err)        renames to `path`
 *   tb_gguf_writer_free(w)                       at any time; an unfinished file is removed
 *
 * The add functions return nothing: the first failure (out of memory, a wrong shape) is kept and returned by
 * tb_gguf_writer_open or tb_gguf_writer_header. Duplicate keys and names are the caller's mistake and not noticed. */
#ifndef TB_IO_GGUF_WRITE_H
#define TB_IO_GGUF_WRITE_H

#include "io/gguf.h"

struct tb_gguf_writer;

enum tb_status tb_gguf_writer_create(struct tb_gguf_writer **out, const struct tb_allocator *a, struct tb_error *err);
void tb_gguf_writer_free(struct tb_gguf_writer *w);

/* Alignment of the tensor data, a power of two; writes general.alignment. Before the first tensor. */
void tb_gguf_set_alignment(struct tb_gguf_writer *w, uint32_t alignment);

void tb_gguf_add_u32(struct tb_gguf_writer *w, const char *key, uint32_t value);
void tb_gguf_add_u64(struct tb_gguf_writer *w, const char *key, uint64_t value);
void tb_gguf_add_i32(struct tb_gguf_writer *w, const char *key, int32_t value);
void tb_gguf_add_f32(struct tb_gguf_writer *w, const char *key, float value);
void tb_gguf_add_bool(struct tb_gguf_writer *w, const char *key, bool value);
void tb_gguf_add_str(struct tb_gguf_writer *w, const char *key, const char *value);
/* A scalar of any type but string and array: `value` points to it. */
void tb_gguf_add_scalar(struct tb_gguf_writer *w, const char *key, enum tb_gguf_type type, const void *value);
/* An array of `count` scalars. values NULL: they follow by calls of tb_gguf_add_values. */
void tb_gguf_add_array(struct tb_gguf_writer *w, const char *key, enum tb_gguf_type elem, const void *values,
                       uint64_t count);
void tb_gguf_add_values(struct tb_gguf_writer *w, enum tb_gguf_type elem, const void *values, uint64_t count);
/* An array of `count` strings, whose strings follow by as many calls of tb_gguf_add_element. */
void tb_gguf_add_strings(struct tb_gguf_writer *w, const char *key, uint64_t count);
void tb_gguf_add_element(struct tb_gguf_writer *w, const char *text, size_t len);

/* ne: n_dims extents, fastest first; rows must be whole blocks. Its data comes behind that of the tensor before. */
void tb_gguf_add_tensor(struct tb_gguf_writer *w, const char *name, enum tb_format format, uint32_t n_dims,
                        const uint64_t *ne);

/* Bytes of tensor data with padding: what follows the header. */
uint64_t tb_gguf_writer_data_bytes(const struct tb_gguf_writer *w);

/* The finished header, padded to the alignment: *size bytes that live as long as w. Nothing may be added afterwards. */
enum tb_status tb_gguf_writer_header(struct tb_gguf_writer *w, const unsigned char **data, size_t *size,
                                     struct tb_error *err);

enum tb_status tb_gguf_writer_open(struct tb_gguf_writer *w, const char *path, struct tb_error *err);
/* n bytes of the current tensor; the last byte of a tensor moves on to the next. */
enum tb_status tb_gguf_writer_put(struct tb_gguf_writer *w, const void *data, size_t n, struct tb_error *err);
/* TB_E_ARG when data is missing. `durable`: waits for the disk (io/outfile.h). */
enum tb_status tb_gguf_writer_close(struct tb_gguf_writer *w, bool durable, struct tb_error *err);

#endif
