/* The cursor over a GGUF header: each length is compared with the bytes that really follow before it is used. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "io/gguf_impl.h"

enum tb_status tb_gguf_fail(const struct tb_gguf_reader *r, enum tb_status status, const char *fmt, ...) {
  char what[320];
  va_list args;
  va_start(args, fmt);
  vsnprintf(what, sizeof what, fmt, args);
  va_end(args);
  if (!r->kind) return tb_fail(r->err, status, "offset %zu: %s", r->pos, what);
  int len = r->subject.len > 96 ? 96 : (int)r->subject.len;
  return tb_fail(r->err, status, "offset %zu: %s '%.*s': %s", r->pos, r->kind, len, r->subject.ptr, what);
}

/* The next n bytes, or an error that names the field they were meant for. */
static enum tb_status take(struct tb_gguf_reader *r, uint64_t n, const char *field, const unsigned char **at) {
  size_t left = r->size - r->pos;
  *at = r->base + r->pos;
  if (n > left)
    return tb_gguf_fail(r, TB_E_FORMAT, "%s takes %" PRIu64 " bytes, but only %zu follow", field, n, left);
  r->pos += (size_t)n;
  return TB_OK;
}

static enum tb_status take_u32(struct tb_gguf_reader *r, const char *field, uint32_t *out) {
  const unsigned char *p;
  enum tb_status s = take(r, sizeof *out, field, &p);
  if (!s) memcpy(out, p, sizeof *out);
  return s;
}

static enum tb_status take_u64(struct tb_gguf_reader *r, const char *field, uint64_t *out) {
  const unsigned char *p;
  enum tb_status s = take(r, sizeof *out, field, &p);
  if (!s) memcpy(out, p, sizeof *out);
  return s;
}

static enum tb_status take_name(struct tb_gguf_reader *r, const char *field, size_t limit, struct tb_str *out) {
  uint64_t len;
  const unsigned char *p;
  enum tb_status s = take_u64(r, field, &len);
  if (s) return s;
  if (len == 0) return tb_gguf_fail(r, TB_E_FORMAT, "%s is empty", field);
  if (len > limit)
    return tb_gguf_fail(r, TB_E_FORMAT, "%s has %" PRIu64 " bytes, at most %zu are allowed", field, len, limit);
  if ((s = take(r, len, field, &p))) return s;
  *out = (struct tb_str){(const char *)p, (size_t)len};
  return TB_OK;
}

/* ----------------------------------------------------------------------------------------------------- the preamble */

/* What people feed to a GGUF reader by mistake. */
static const char *guess(const unsigned char *p, size_t n) {
  static const struct {
    const char *start, *what;
  } known[] = {
      {"lmgg", "an old GGML file; convert the model to GGUF"},
      {"fmgg", "an old GGMF file; convert the model to GGUF"},
      {"tjgg", "an old GGJT file; convert the model to GGUF"},
      {"version https://git-lfs", "a Git LFS pointer; the model itself was not downloaded"},
      {"<", "a web page; the download went wrong"},
      {"PK", "a zip or PyTorch file; convert the model to GGUF"},
      {"FUGG", "a byte-swapped file"},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    size_t len = strlen(known[i].start);
    if (n >= len && memcmp(p, known[i].start, len) == 0) return known[i].what;
  }
  return NULL;
}

static enum tb_status check_magic(struct tb_gguf_reader *r) {
  if (r->size >= 4 && memcmp(r->base, "GGUF", 4) == 0) return TB_OK;
  if (r->size == 0) return tb_fail(r->err, TB_E_FORMAT, "not a GGUF file: it is empty");
  const char *what = guess(r->base, r->size);
  if (what) return tb_fail(r->err, TB_E_FORMAT, "not a GGUF file: it looks like %s", what);
  return tb_fail(r->err, TB_E_FORMAT, "not a GGUF file: it does not begin with the bytes GGUF");
}

static enum tb_status check_version(const struct tb_gguf_reader *r, uint32_t v) {
  if (v == 2 || v == 3) return TB_OK;
  if ((v & 0xffff) == 0 && v != 0)
    return tb_gguf_fail(r, TB_E_UNSUPPORTED, "a big-endian GGUF file: only little-endian files can be read");
  return tb_gguf_fail(r, TB_E_UNSUPPORTED, "GGUF version %" PRIu32 ", supported are 2 and 3", v);
}

/* A count is refused at once when even the shortest entries would not fit: the rest of the file is not walked then. */
static enum tb_status check_count(const struct tb_gguf_reader *r, const char *what, uint64_t n, size_t shortest) {
  size_t left = r->size - r->pos;
  if (n <= left / shortest && n < INT32_MAX) return TB_OK;
  return tb_gguf_fail(r, TB_E_FORMAT, "%" PRIu64 " %s cannot be in the %zu bytes that follow", n, what, left);
}

enum tb_status tb_gguf_read_header(struct tb_gguf_reader *r, struct tb_gguf_header *h) {
  enum tb_status s = check_magic(r);
  if (s) return s;
  r->pos = 4;
  if ((s = take_u32(r, "the version", &h->version))) return s;
  if ((s = check_version(r, h->version))) return s;
  if ((s = take_u64(r, "the number of tensors", &h->n_tensors))) return s;
  if ((s = take_u64(r, "the number of keys", &h->n_kvs))) return s;
  /* length, one byte, type, one byte; and: length, one byte, dimensions, one extent, type, offset */
  if ((s = check_count(r, "keys", h->n_kvs, 8 + 1 + 4 + 1))) return s;
  return check_count(r, "tensors", h->n_tensors, 8 + 1 + 4 + 8 + 4 + 8);
}

/* --------------------------------------------------------------------------------------------------------- metadata */

/* Bytes of a value of fixed size; 0 for strings, arrays and unknown types. */
static size_t scalar_bytes(uint32_t type) {
  static const unsigned char bytes[] = {
      [TB_GGUF_U8] = 1,  [TB_GGUF_I8] = 1,   [TB_GGUF_U16] = 2, [TB_GGUF_I16] = 2, [TB_GGUF_U32] = 4, [TB_GGUF_I32] = 4,
      [TB_GGUF_F32] = 4, [TB_GGUF_BOOL] = 1, [TB_GGUF_U64] = 8, [TB_GGUF_I64] = 8, [TB_GGUF_F64] = 8,
  };
  return type < sizeof bytes ? bytes[type] : 0;
}

static enum tb_status read_strings(struct tb_gguf_reader *r, uint64_t n) {
  if (n > (r->size - r->pos) / 8)
    return tb_gguf_fail(r, TB_E_FORMAT, "an array of %" PRIu64 " strings, but only %zu bytes follow", n,
                        r->size - r->pos);
  for (; n > 0; n--) {
    uint64_t len;
    const unsigned char *p;
    enum tb_status s = take_u64(r, "a string's length", &len);
    if (s || (s = take(r, len, "a string", &p))) return s;
  }
  return TB_OK;
}

/* gguf.md: a boolean other than 0 and 1 makes the file invalid. */
static enum tb_status check_bools(const struct tb_gguf_reader *r, const unsigned char *p, uint64_t n) {
  for (uint64_t i = 0; i < n; i++)
    if (p[i] > 1) return tb_gguf_fail(r, TB_E_FORMAT, "a boolean has the value %u", p[i]);
  return TB_OK;
}

static enum tb_status read_scalars(struct tb_gguf_reader *r, uint32_t type, uint64_t n) {
  size_t each = scalar_bytes(type), left = r->size - r->pos;
  if (each == 0) return tb_gguf_fail(r, TB_E_FORMAT, "unknown value type %" PRIu32, type);
  if (n > left / each)
    return tb_gguf_fail(r, TB_E_FORMAT, "%" PRIu64 " values of %zu bytes, but only %zu bytes follow", n, each, left);
  const unsigned char *p;
  enum tb_status s = take(r, n * each, "the value", &p);
  return !s && type == TB_GGUF_BOOL ? check_bools(r, p, n) : s;
}

static enum tb_status read_array_head(struct tb_gguf_reader *r, uint32_t *elem, uint64_t *count) {
  enum tb_status s = take_u32(r, "the element type", elem);
  if (s) return s;
  if (*elem == TB_GGUF_ARRAY) return tb_gguf_fail(r, TB_E_UNSUPPORTED, "an array of arrays");
  return take_u64(r, "the number of elements", count);
}

enum tb_status tb_gguf_read_kv(struct tb_gguf_reader *r, struct tb_gguf_kv *kv) {
  r->kind = NULL;
  enum tb_status s = take_name(r, "a key", TB_GGUF_MAX_KEY, &kv->key);
  if (s) return s;
  r->kind = "key";
  r->subject = kv->key;
  uint32_t type, elem;
  uint64_t count = 1;
  if ((s = take_u32(r, "the value type", &type))) return s;
  elem = type;
  if (type == TB_GGUF_ARRAY && (s = read_array_head(r, &elem, &count))) return s;
  size_t start = r->pos;
  if ((s = elem == TB_GGUF_STRING ? read_strings(r, count) : read_scalars(r, elem, count))) return s;
  kv->type = (enum tb_gguf_type)type;
  kv->elem = (enum tb_gguf_type)elem;
  kv->count = count;
  kv->data = r->base + start;
  kv->bytes = r->pos - start;
  r->kind = NULL;
  return TB_OK;
}

/* ---------------------------------------------------------------------------------------------------------- tensors */

/* Names of the types that are known but not supported, for the message; by number in the file. */
static const char *foreign_type(uint32_t id) {
  static const char *const names[] = {
      [4] = "q4_2",      [5] = "q4_3",      [9] = "q8_1",         [15] = "q8_k",        [16] = "iq2_xxs",
      [17] = "iq2_xs",   [18] = "iq3_xxs",  [19] = "iq1_s",       [21] = "iq3_s",       [22] = "iq2_s",
      [24] = "i8",       [25] = "i16",      [26] = "i32",         [27] = "i64",         [28] = "f64",
      [29] = "iq1_m",    [31] = "q4_0_4_4", [32] = "q4_0_4_8",    [33] = "q4_0_8_8",    [34] = "tq1_0",
      [35] = "tq2_0",    [36] = "iq4_nl_4_4", [37] = "iq4_nl_4_8", [38] = "iq4_nl_8_8", [39] = "mxfp4",
      [40] = "nvfp4",    [41] = "q1_0",     [42] = "q2_0",
  };
  return id < sizeof names / sizeof names[0] ? names[id] : NULL;
}

static enum tb_status read_format(struct tb_gguf_reader *r, enum tb_format *format) {
  uint32_t id;
  enum tb_status s = take_u32(r, "the type", &id);
  if (s) return s;
  *format = tb_format_of_gguf(id);
  if (*format != TB_FMT_COUNT) return TB_OK;
  const char *name = foreign_type(id);
  if (name) return tb_gguf_fail(r, TB_E_UNSUPPORTED, "type %" PRIu32 " (%s) is not supported", id, name);
  return tb_gguf_fail(r, TB_E_UNSUPPORTED, "unknown type %" PRIu32, id);
}

static enum tb_status read_shape(struct tb_gguf_reader *r, struct tb_gguf_tensor *t) {
  enum tb_status s = take_u32(r, "the number of dimensions", &t->n_dims);
  if (s) return s;
  if (t->n_dims < 1 || t->n_dims > 4)
    return tb_gguf_fail(r, TB_E_FORMAT, "%" PRIu32 " dimensions, 1 to 4 are supported", t->n_dims);
  for (uint32_t i = 0; i < 4; i++) {
    t->ne[i] = 1;
    if (i < t->n_dims && (s = take_u64(r, "a dimension", &t->ne[i]))) return s;
    if (t->ne[i] == 0 || t->ne[i] > INT64_MAX)
      return tb_gguf_fail(r, TB_E_FORMAT, "dimension %" PRIu32 " is %" PRIu64, i, t->ne[i]);
  }
  return TB_OK;
}

/* Bytes of the tensor; false when they do not fit in 63 bits, or the number of its values does not. */
static bool tensor_bytes(const struct tb_gguf_tensor *t, uint64_t *bytes) {
  const struct tb_format_info *f = &tb_formats[t->format];
  size_t values = (size_t)t->ne[0], n;
  if (!tb_mul((size_t)t->ne[0] / f->block_values, f->block_bytes, &n)) return false;
  for (int i = 1; i < 4; i++)
    if (!tb_mul(n, (size_t)t->ne[i], &n) || !tb_mul(values, (size_t)t->ne[i], &values)) return false;
  *bytes = n;
  return n <= INT64_MAX && values <= INT64_MAX;
}

enum tb_status tb_gguf_read_tensor(struct tb_gguf_reader *r, struct tb_gguf_tensor *t, uint64_t *offset) {
  r->kind = NULL;
  enum tb_status s = take_name(r, "a tensor name", TB_GGUF_MAX_NAME, &t->name);
  if (s) return s;
  r->kind = "tensor";
  r->subject = t->name;
  if ((s = read_shape(r, t)) || (s = read_format(r, &t->format))) return s;
  const struct tb_format_info *f = &tb_formats[t->format];
  if (t->ne[0] % f->block_values != 0)
    return tb_gguf_fail(r, TB_E_FORMAT, "rows of %" PRIu64 " values are not whole blocks of %" PRIu32 " (%s)", t->ne[0],
                        f->block_values, f->name);
  if (!tensor_bytes(t, &t->bytes)) return tb_gguf_fail(r, TB_E_FORMAT, "its size overflows");
  if ((s = take_u64(r, "the offset", offset))) return s;
  r->kind = NULL;
  return TB_OK;
}
