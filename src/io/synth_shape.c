#include <stddef.h>
#include <string.h>
#include "io/synth_impl.h"

enum kind { TEXT, COUNT, NUMBER, FLAG };

struct field {
  const char *key;
  enum kind kind;
  size_t offset;
  uint32_t min, max; /* of a COUNT; characters of a TEXT; a NUMBER must be positive */
};

#define FIELD(member, kind, min, max) {#member, kind, offsetof(struct tb_synth_shape, member), min, max}

/* The upper limits keep every product below 2^63 and are far above real models. */
static const struct field fields[] = {
    FIELD(architecture, TEXT, 1, 31),    FIELD(name, TEXT, 1, 63),          FIELD(pre, TEXT, 1, 31),
    FIELD(rope_scaling, TEXT, 1, 15),    FIELD(n_layer, COUNT, 1, 1024),    FIELD(n_embd, COUNT, 8, 65536),
    FIELD(n_head, COUNT, 1, 1024),       FIELD(n_head_kv, COUNT, 1, 1024),  FIELD(n_ff, COUNT, 8, 1 << 20),
    FIELD(n_vocab, COUNT, 1, 1 << 20),   FIELD(n_ctx, COUNT, 1, 1 << 30),   FIELD(head_dim, COUNT, 2, 8192),
    FIELD(head_dim_v, COUNT, 2, 8192),   FIELD(rope_dim, COUNT, 2, 8192),   FIELD(rope_orig_ctx, COUNT, 1, 1 << 30),
    FIELD(rope_base, NUMBER, 0, 0),      FIELD(rope_factor, NUMBER, 0, 0),  FIELD(rms_eps, NUMBER, 0, 0),
    FIELD(tied, FLAG, 0, 0),             FIELD(bias, FLAG, 0, 0),           FIELD(qk_norm, FLAG, 0, 0),
    FIELD(rope_freqs, FLAG, 0, 0),       FIELD(add_bos, FLAG, 0, 0),
};

static struct tb_str trim(const char *s, const char *end) {
  while (s < end && (*s == ' ' || *s == '\t' || *s == '\r')) s++;
  while (end > s && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r')) end--;
  return (struct tb_str){s, (size_t)(end - s)};
}

static bool read_count(struct tb_str s, uint32_t *out) {
  uint32_t v = 0;
  for (size_t i = 0; i < s.len; i++) {
    if (s.ptr[i] < '0' || s.ptr[i] > '9' || v > 200000000) return false;
    v = 10 * v + (uint32_t)(s.ptr[i] - '0');
  }
  *out = v;
  return s.len > 0;
}

/* Digits with an optional fraction and exponent, "1e-05": unlike strtod independent of the locale. */
static bool read_number(struct tb_str s, float *out) {
  double v = 0, unit = 1;
  size_t i = 0, digits = 0;
  bool fraction = false;
  for (; i < s.len && (s.ptr[i] == '.' || (s.ptr[i] >= '0' && s.ptr[i] <= '9')); i++) {
    if (s.ptr[i] == '.' && fraction) return false;
    if (s.ptr[i] == '.') {
      fraction = true;
      continue;
    }
    v = 10 * v + (s.ptr[i] - '0');
    if (fraction) unit *= 10;
    digits++;
  }
  uint32_t exponent = 0;
  bool negative = false;
  if (i < s.len && (s.ptr[i] == 'e' || s.ptr[i] == 'E')) {
    i++;
    if (i < s.len && (s.ptr[i] == '-' || s.ptr[i] == '+')) negative = s.ptr[i++] == '-';
    if (!read_count((struct tb_str){s.ptr + i, s.len - i}, &exponent) || exponent > 30) return false;
    i = s.len;
  }
  for (; exponent > 0; exponent--) negative ? (unit *= 10) : (v *= 10);
  *out = (float)(v / unit);
  return i == s.len && digits > 0 && digits < 20 && *out > 0;
}

static bool read_flag(struct tb_str s, bool *out) {
  *out = tb_str_is(s, "yes");
  return *out || tb_str_is(s, "no");
}

static bool store(struct tb_synth_shape *shape, const struct field *f, struct tb_str value) {
  void *at = (char *)shape + f->offset;
  uint32_t n;
  switch (f->kind) {
  case TEXT:
    if (value.len < f->min || value.len > f->max) return false;
    memcpy(at, value.ptr, value.len);
    ((char *)at)[value.len] = '\0';
    return true;
  case COUNT:
    if (!read_count(value, &n) || n < f->min || n > f->max) return false;
    memcpy(at, &n, sizeof n);
    return true;
  case NUMBER: return read_number(value, at);
  default: return read_flag(value, at);
  }
}

static enum tb_status read_line(struct tb_synth_shape *shape, struct tb_str line, unsigned number,
                                struct tb_error *err) {
  const char *end = line.ptr + line.len, *equals = memchr(line.ptr, '=', line.len);
  if (line.len == 0 || *line.ptr == '#') return TB_OK;
  if (!equals) return tb_fail(err, TB_E_ARG, "shape, line %u: expected 'key = value'", number);
  struct tb_str key = trim(line.ptr, equals), value = trim(equals + 1, end);
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    if (!tb_str_is(key, fields[i].key)) continue;
    if (store(shape, &fields[i], value)) return TB_OK;
    return tb_fail(err, TB_E_ARG, "shape, line %u: %s cannot be '%.*s'", number, fields[i].key,
                   value.len > 64 ? 64 : (int)value.len, value.ptr);
  }
  return tb_fail(err, TB_E_ARG, "shape, line %u: unknown key '%.*s'", number, key.len > 64 ? 64 : (int)key.len, key.ptr);
}

static void set_defaults(struct tb_synth_shape *s) {
  if (!s->n_head_kv) s->n_head_kv = s->n_head;
  if (!s->head_dim) s->head_dim = s->n_embd / s->n_head;
  if (!s->head_dim_v) s->head_dim_v = s->head_dim;
  if (!s->rope_dim) s->rope_dim = s->head_dim;
  if (!s->rope_orig_ctx) s->rope_orig_ctx = s->n_ctx;
  if (!s->name[0]) memcpy(s->name, s->architecture, sizeof s->architecture);
}

static enum tb_status check(struct tb_synth_shape *s, struct tb_error *err) {
  const char *missing = !s->architecture[0] ? "architecture"
                        : !s->n_layer       ? "n_layer"
                        : !s->n_embd        ? "n_embd"
                        : !s->n_head        ? "n_head"
                        : !s->n_ff          ? "n_ff"
                        : !s->n_vocab       ? "n_vocab"
                        : !s->n_ctx         ? "n_ctx"
                                            : NULL;
  if (missing) return tb_fail(err, TB_E_ARG, "shape: %s is missing", missing);
  set_defaults(s);
  if (s->n_head % s->n_head_kv) return tb_fail(err, TB_E_ARG, "shape: n_head is not a multiple of n_head_kv");
  if (s->rope_dim > s->head_dim || s->rope_dim % 2)
    return tb_fail(err, TB_E_ARG, "shape: rope_dim must be even and at most head_dim");
  if (s->n_vocab < tb_synth_min_vocab())
    return tb_fail(err, TB_E_ARG, "shape: n_vocab must be at least %u", (unsigned)tb_synth_min_vocab());
  return TB_OK;
}

enum tb_status tb_synth_read_shape(struct tb_synth_shape *shape, const char *text, struct tb_error *err) {
  *shape = (struct tb_synth_shape){.pre = "gpt-2", .rope_base = 10000.0f, .rms_eps = 1e-5f, .rope_factor = 1.0f};
  unsigned number = 1;
  for (const char *line = text; *line; number++) {
    const char *end = strchr(line, '\n');
    if (!end) end = line + strlen(line);
    enum tb_status s = read_line(shape, trim(line, end), number, err);
    if (s) return s;
    line = *end ? end + 1 : end;
  }
  return check(shape, err);
}
