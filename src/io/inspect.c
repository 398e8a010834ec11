/* tb_inspect: what is in a GGUF file, as text. Names and values come from an untrusted file, so nothing of it reaches
 * the terminal unescaped. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "io/gguf.h"

enum {
  MAX_TEXT = 160,   /* bytes shown of a string … */
  MAX_ELEMENT = 32, /* … and of one in an array */
  MAX_ELEMENTS = 8, /* shown of an array */
};

struct out {
  tb_text_fn write;
  void *user;
  bool stopped; /* the caller's function asked to stop: nothing more is written */
};

static void put(struct out *o, const char *text, size_t n) {
  if (!o->stopped && n > 0) o->stopped = !o->write(o->user, text, n);
}

static void TB_PRINTF(2, 3) print(struct out *o, const char *fmt, ...) {
  char text[256];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (n > 0) put(o, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* -------------------------------------------------------------------------------------------------------- escaping */

/* Bytes of the well-formed UTF-8 character at s that a terminal may see, or 0: control characters (C0, C1, DEL) and
 * those that turn the direction of writing (U+200E/F, U+202A-E, U+2066-9) are for escaping. */
static size_t printable(const unsigned char *s, size_t n) {
  static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7f;
  size_t len = s[0] >= 0xf0 && s[0] < 0xf8 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 0;
  if (len == 0 || len > n || s[0] >= 0xf8) return 0;
  uint32_t c = s[0] & (0xffu >> (len + 1));
  for (size_t i = 1; i < len; i++) {
    if ((s[i] & 0xc0) != 0x80) return 0;
    c = c << 6 | (s[i] & 0x3f);
  }
  if (c < smallest[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || c < 0xa0) return 0;
  if (c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069)) return 0;
  return len;
}

static void put_byte(struct out *o, unsigned char c) {
  switch (c) {
  case '\n': put(o, "\\n", 2); break;
  case '\t': put(o, "\\t", 2); break;
  case '\r': put(o, "\\r", 2); break;
  default: print(o, "\\x%02x", c);
  }
}

/* At most `max` bytes of s; returns how many were shown. */
static size_t put_escaped(struct out *o, struct tb_str s, size_t max) {
  const unsigned char *p = (const unsigned char *)s.ptr;
  size_t i = 0;
  while (i < s.len && i < max) {
    size_t n = printable(p + i, s.len - i);
    if (n == 1 && (p[i] == '"' || p[i] == '\\')) put(o, "\\", 1);
    if (n > 0) put(o, s.ptr + i, n);
    else put_byte(o, p[i]);
    i += n > 0 ? n : 1;
  }
  return i;
}

static void put_string(struct out *o, struct tb_str s, size_t max) {
  put(o, "\"", 1);
  size_t shown = put_escaped(o, s, max);
  put(o, "\"", 1);
  if (shown < s.len) print(o, "... (%zu bytes)", s.len);
}

/* -------------------------------------------------------------------------------------------------------- metadata */

static void put_scalar(struct out *o, const struct tb_gguf_kv *kv, uint64_t i) {
  switch (kv->elem) {
  case TB_GGUF_BOOL: print(o, "%s", tb_gguf_array_int(kv, i) ? "true" : "false"); break;
  case TB_GGUF_F32: print(o, "%.7g", tb_gguf_array_float(kv, i)); break;
  case TB_GGUF_F64: print(o, "%.15g", tb_gguf_array_float(kv, i)); break;
  case TB_GGUF_U64: print(o, "%" PRIu64, (uint64_t)tb_gguf_array_int(kv, i)); break;
  default: print(o, "%" PRId64, tb_gguf_array_int(kv, i));
  }
}

static void put_value(struct out *o, const struct tb_gguf_kv *kv) {
  bool array = kv->type == TB_GGUF_ARRAY;
  uint64_t n = kv->count < MAX_ELEMENTS ? kv->count : MAX_ELEMENTS;
  const unsigned char *cursor = kv->data;
  if (array) put(o, "[", 1);
  for (uint64_t i = 0; i < n; i++) {
    if (i > 0) put(o, ", ", 2);
    if (kv->elem == TB_GGUF_STRING) put_string(o, tb_gguf_next_str(&cursor), array ? MAX_ELEMENT : MAX_TEXT);
    else put_scalar(o, kv, i);
  }
  if (n < kv->count) put(o, ", ...", 5);
  if (array) put(o, "]", 1);
}

/* A name, padded to `width` bytes. */
static void put_name(struct out *o, struct tb_str name, size_t width) {
  size_t shown = put_escaped(o, name, MAX_TEXT);
  if (shown < name.len) put(o, "...", 3);
  print(o, "%*s", shown < width ? (int)(width - shown) : 0, "");
}

static size_t widest(size_t w, struct tb_str name) {
  size_t len = name.len < 48 ? name.len : 48;
  return len > w ? len : w;
}

static void put_metadata(struct out *o, const struct tb_gguf *g) {
  size_t n = tb_gguf_kv_count(g), width = 0;
  for (size_t i = 0; i < n; i++) width = widest(width, tb_gguf_kv_at(g, i)->key);
  print(o, "\nmetadata: %zu keys\n", n);
  for (size_t i = 0; i < n && !o->stopped; i++) {
    const struct tb_gguf_kv *kv = tb_gguf_kv_at(g, i);
    char type[48];
    if (kv->type == TB_GGUF_ARRAY) snprintf(type, sizeof type, "%s[%" PRIu64 "]", tb_gguf_type_name(kv->elem), kv->count);
    else snprintf(type, sizeof type, "%s", tb_gguf_type_name(kv->type));
    put(o, "  ", 2);
    put_name(o, kv->key, width);
    print(o, "  %-14s  ", type);
    put_value(o, kv);
    put(o, "\n", 1);
  }
}

/* --------------------------------------------------------------------------------------------------------- tensors */

static uint64_t values_of(const struct tb_gguf_tensor *t) { return t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]; }

static void put_tensors(struct out *o, const struct tb_gguf *g) {
  size_t n = tb_gguf_tensor_count(g), width = 0;
  for (size_t i = 0; i < n; i++) width = widest(width, tb_gguf_tensor_at(g, i)->name);
  print(o, "\ntensors: %zu (extents: fastest first)\n", n);
  for (size_t i = 0; i < n && !o->stopped; i++) {
    const struct tb_gguf_tensor *t = tb_gguf_tensor_at(g, i);
    char shape[96];
    int at = snprintf(shape, sizeof shape, "%" PRIu64, t->ne[0]);
    for (uint32_t d = 1; d < t->n_dims; d++)
      at += snprintf(shape + at, sizeof shape - (size_t)at, " x %" PRIu64, t->ne[d]);
    put(o, "  ", 2);
    put_name(o, t->name, width);
    print(o, "  %-7s  %-20s  %12" PRIu64, tb_formats[t->format].name, shape, t->bytes);
    if (tb_gguf_parts(g) > 1) print(o, "  part %u", t->part + 1);
    put(o, "\n", 1);
  }
}

struct total {
  uint64_t tensors, values, bytes;
};

static void put_totals(struct out *o, const struct tb_gguf *g) {
  struct total by_type[TB_FMT_COUNT] = {{0}}, all = {0};
  for (size_t i = 0; i < tb_gguf_tensor_count(g); i++) {
    const struct tb_gguf_tensor *t = tb_gguf_tensor_at(g, i);
    struct total *sums[] = {&by_type[t->format], &all};
    for (int j = 0; j < 2; j++) {
      sums[j]->tensors++;
      sums[j]->values += values_of(t);
      sums[j]->bytes += t->bytes;
    }
  }
  print(o, "\ntotals\n  %-7s  %8s  %15s  %15s\n", "type", "tensors", "values", "bytes");
  for (int f = 0; f < TB_FMT_COUNT; f++)
    if (by_type[f].tensors)
      print(o, "  %-7s  %8" PRIu64 "  %15" PRIu64 "  %15" PRIu64 "\n", tb_formats[f].name, by_type[f].tensors,
            by_type[f].values, by_type[f].bytes);
  print(o, "  %-7s  %8" PRIu64 "  %15" PRIu64 "  %15" PRIu64 "\n", "all", all.tensors, all.values, all.bytes);
  if (all.values)
    print(o, "\nparameters       %.1f million\nbits per weight  %.3f\n", (double)all.values * 1e-6,
          8 * (double)all.bytes / (double)all.values);
}

enum tb_status tb_inspect(const char *path, const struct tb_allocator *allocator, tb_text_fn write, void *user,
                          struct tb_error *err) {
  if (!path || !write) return tb_fail(err, TB_E_ARG, "a path and a function for the text are needed");
  struct tb_gguf *g;
  enum tb_status s = tb_gguf_open(&g, path, allocator ? allocator : &tb_system_allocator, err);
  if (s) return s;
  struct out o = {.write = write, .user = user};
  print(&o, "GGUF version     %" PRIu32 "\nfiles            %u\nsize             %" PRIu64 " bytes (%.1f MiB)\n",
        tb_gguf_version(g), tb_gguf_parts(g), tb_gguf_file_bytes(g), (double)tb_gguf_file_bytes(g) / (1 << 20));
  put_metadata(&o, g);
  put_tensors(&o, g);
  put_totals(&o, g);
  tb_gguf_free(g);
  return o.stopped ? tb_fail(err, TB_E_CANCELLED, "the description was not wanted to its end") : TB_OK;
}
