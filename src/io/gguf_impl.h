/* Inside of the GGUF reader: shared by gguf*.c only.
 *
 * A file is read in two walks over its header. The first allocates nothing and proves that each length lies inside the
 * file; the second fills tables of exactly the size that the first counted. So memory follows from bytes that exist,
 * never from a number that a file claims. */
#ifndef TB_IO_GGUF_IMPL_H
#define TB_IO_GGUF_IMPL_H

#include "io/gguf.h"
#include "io/mapfile.h"

enum {
  TB_GGUF_HEADER_BYTES = 24, /* magic, version, tensor count, key count */
  TB_GGUF_MAX_KEY = 65535,   /* both limits: gguf.md */
  TB_GGUF_MAX_NAME = 64,
  TB_GGUF_MAX_PARTS = 1024,
  TB_GGUF_ALIGNMENT = 32, /* without general.alignment */
};

/* Every read of a header goes through this cursor; pos ≤ size always. */
struct tb_gguf_reader {
  const unsigned char *base;
  size_t size, pos;
  const char *kind;      /* "key", "tensor" or NULL: what `subject` is, for messages */
  struct tb_str subject;
  struct tb_error *err;
};

enum tb_status tb_gguf_fail(const struct tb_gguf_reader *r, enum tb_status status, const char *fmt, ...)
    TB_PRINTF(3, 4);

struct tb_gguf_header {
  uint32_t version;
  uint64_t n_tensors, n_kvs;
};

enum tb_status tb_gguf_read_header(struct tb_gguf_reader *r, struct tb_gguf_header *h);
enum tb_status tb_gguf_read_kv(struct tb_gguf_reader *r, struct tb_gguf_kv *kv);
/* Fills all but data and part; *offset is the position inside the tensor data. */
enum tb_status tb_gguf_read_tensor(struct tb_gguf_reader *r, struct tb_gguf_tensor *t, uint64_t *offset);

/* Finds entries of an array by name. Entries are `stride` bytes apart and begin with their struct tb_str. */
struct tb_gguf_index {
  uint32_t *slot; /* entry number + 1; 0: free */
  size_t n_slots;
};

/* `kind` ("key") names the entries in messages. TB_E_FORMAT on a duplicate. index->slot is the caller's to free with
 * tb_free, after a failure too. */
enum tb_status tb_gguf_index_build(struct tb_gguf_index *index, const void *entries, size_t stride, size_t n,
                                   const struct tb_allocator *a, const char *kind, struct tb_error *err);
const void *tb_gguf_index_find(const struct tb_gguf_index *index, const void *entries, size_t stride, const char *name,
                               size_t len);

struct tb_gguf_kvs {
  struct tb_gguf_kv *at;
  size_t n;
  struct tb_gguf_index index;
};

struct tb_gguf_part {
  struct tb_mapfile file; /* of a mapped part; fd -1 for one in memory */
  const unsigned char *base;
  size_t size;
  struct tb_gguf_header header;
  size_t tensors_pos; /* of the tensor table */
  size_t header_end;
  size_t data_pos;    /* header_end rounded up to the alignment; may lie behind the end of a file without tensors */
  size_t alignment;
};

struct tb_gguf {
  const struct tb_allocator *a;
  struct tb_gguf_part *parts;
  unsigned n_parts;
  struct tb_gguf_kvs kvs; /* of part 0 */
  struct tb_gguf_tensor *tensors;
  size_t n_tensors;
  struct tb_gguf_index tensor_index;
  char *names; /* of the tensors, after tb_gguf_keep_names */
};

/* gguf.c: validates the header of part->base, size and finds its sections. */
enum tb_status tb_gguf_scan(struct tb_gguf_part *part, struct tb_error *err);
enum tb_status tb_gguf_kvs_build(struct tb_gguf_kvs *kvs, const struct tb_gguf_part *part, const struct tb_allocator *a,
                                 struct tb_error *err);
void tb_gguf_kvs_free(struct tb_gguf_kvs *kvs, const struct tb_allocator *a);
/* Reads general.alignment and places the data section. */
enum tb_status tb_gguf_place(struct tb_gguf_part *part, const struct tb_gguf_kvs *kvs, struct tb_error *err);

/* gguf_get.c: as the public getters, on one part's keys. */
const struct tb_gguf_kv *tb_gguf_kvs_find(const struct tb_gguf_kvs *kvs, const char *key);
enum tb_status tb_gguf_kvs_u32(const struct tb_gguf_kvs *kvs, const char *key, bool required, uint32_t *out,
                               struct tb_error *err);

/* gguf_split.c: opens parts 1 … of the model whose part 0 is g->parts[0] and checks that they belong together.
 * Errors name the file; path NULL: the model is in memory and must not be split. */
enum tb_status tb_gguf_open_parts(struct tb_gguf *g, const char *path, struct tb_error *err);

/* "-00001-of-00003.gguf" for part 0 of 3; returns buf. */
const char *tb_gguf_part_name(char buf[32], unsigned part, unsigned count);

/* gguf_extent.c: the n tensors of one part, read from its table: extents inside the file, aligned, disjoint. */
enum tb_status tb_gguf_fill_tensors(struct tb_gguf_tensor *t, const struct tb_gguf *g, unsigned part,
                                    struct tb_error *err);

#endif
