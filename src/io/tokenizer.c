#include "io/tokenizer_impl.h"

/* tokenizer.ggml.model and .pre decide how the rest of the file is read. */
static enum tb_status read_kind(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err) {
  struct tb_str model, pre = {"default", 7};
  enum tb_status s = tb_gguf_get_str(g, "tokenizer.ggml.model", true, &model, err);
  if (s == TB_OK) s = tb_gguf_get_str(g, "tokenizer.ggml.pre", false, &pre, err);
  if (s != TB_OK) return s;
  t->is_spm = tb_str_is(model, "llama");
  if (t->is_spm) return TB_OK;
  if (!tb_str_is(model, "gpt2"))
    return tb_fail(err, TB_E_UNSUPPORTED, "tokenizer.ggml.model: '%.*s' is not supported (gpt2 and llama are)",
                   (int)(model.len < 64 ? model.len : 64), model.ptr);
  /* Files from before the key existed are read as "default", as llama.cpp does. */
  t->rule = tb_pretok_find(pre.ptr, pre.len);
  if (t->rule) return TB_OK;
  return tb_fail(err, TB_E_UNSUPPORTED, "tokenizer.ggml.pre: unknown pre-tokenizer '%.*s'",
                 (int)(pre.len < 64 ? pre.len : 64), pre.ptr);
}

enum tb_status tb_tokenizer_create_with(struct tb_tokenizer **out, const struct tb_gguf *g,
                                        enum tb_pretok_engine engine, const struct tb_allocator *a,
                                        struct tb_error *err) {
  struct tb_tokenizer *t = tb_calloc(a, 1, sizeof *t);
  if (!t) return tb_fail(err, TB_E_NOMEM, "tokenizer: out of memory");
  t->a = a;
  enum tb_status s = read_kind(t, g, err);
  if (s == TB_OK) s = tb_vocab_read(t, g, err);
  if (s == TB_OK) s = t->is_spm ? tb_spm_build(t, g, err) : tb_bpe_build(t, g, err);
  if (s == TB_OK && !t->is_spm) s = tb_pretok_create(&t->pretok, t->rule, engine, a, err);
  if (s != TB_OK) {
    tb_tokenizer_free(t);
    return s;
  }
  *out = t;
  return TB_OK;
}

enum tb_status tb_tokenizer_create(struct tb_tokenizer **out, const struct tb_gguf *g, const struct tb_allocator *a,
                                   struct tb_error *err) {
  return tb_tokenizer_create_with(out, g, TB_PRETOK_BEST, a, err);
}

void tb_tokenizer_free(struct tb_tokenizer *t) {
  if (!t) return;
  tb_pretok_free(t->pretok);
  void *const blocks[] = {t->texts.at, t->texts.more,      t->map.slots, t->len,  t->attr, t->special,
                          t->pairs.all, t->pairs.map.slots, t->joined,    t->rank, t->joins};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) tb_free(t->a, blocks[i]);
  tb_free(t->a, t);
}

static struct tb_str text_of(const struct tb_tokenizer *t, tb_token id) { return tb_symbol_text(t, (uint32_t)id); }

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Where special tokens may be: the run that position `at` is in. */
struct trust {
  const struct tb_text_run *runs;
  size_t n_runs, end; /* end of runs[0] in the text */
};

static void trust_seek(struct trust *tr, size_t at) {
  while (tr->n_runs > 1 && at >= tr->end) {
    tr->runs++;
    tr->n_runs--;
    tr->end += tr->runs->length;
  }
}

/* User-defined tokens are words of the vocabulary, but some files give the marks of a chat this type, too. */
static bool is_mark(const struct tb_tokenizer *t, tb_token id) {
  static const char *const openings[] = {"<|", "<\xef\xbd\x9c"};
  for (size_t i = 0; id >= 0 && i < sizeof openings / sizeof *openings; i++) {
    size_t n = strlen(openings[i]);
    struct tb_str text = text_of(t, id);
    if (text.len > n && memcmp(text.ptr, openings[i], n) == 0) return true;
  }
  return false;
}

/* The special token at text[i], or -1: a control token of the trusted run around it, or a user-defined one. */
static tb_token special_at(const struct tb_tokenizer *t, const char *text, size_t i, size_t len, const struct trust *tr) {
  bool trusted = tr->runs->trusted;
  tb_token word = tb_specials_at(t, text + i, len - i, false);
  if (is_mark(t, word) && (!trusted || text_of(t, word).len > tr->end - i)) word = -1;
  tb_token control = trusted ? tb_specials_at(t, text + i, tr->end - i, true) : -1;
  return control >= 0 && (word < 0 || text_of(t, control).len >= text_of(t, word).len) ? control : word;
}

/* Walks over text and special tokens in turn. */
static enum tb_status encode(struct tb_encoder *e, const char *text, size_t len, struct trust *tr, bool control) {
  const struct tb_tokenizer *t = e->t;
  size_t from = 0;
  bool after_special = true; /* SentencePiece: the blank in front of a text */
  for (size_t i = 0; i <= len;) {
    tb_token id = -1;
    if (i < len && tr) trust_seek(tr, i);
    if (i < len) id = tr ? special_at(t, text, i, len, tr) : tb_specials_at(t, text + i, len - i, control);
    if (id < 0 && i < len) {
      i++;
      continue;
    }
    if (i > from) {
      enum tb_status s = t->is_spm ? tb_spm_encode(e, text + from, i - from, t->add_space_prefix && after_special)
                                   : tb_bpe_encode(e, text + from, i - from);
      if (s != TB_OK) return s;
      after_special = false;
    }
    if (id < 0) break;
    if (!tb_encoder_push(e, id)) return tb_fail(e->err, TB_E_NOMEM, "tokenizer: out of memory");
    after_special = true;
    i += text_of(t, id).len;
    if (t->attr[id] & TB_ATTR_RSTRIP)
      while (i < len && is_blank(text[i])) i++;
    from = i;
  }
  return TB_OK;
}

static enum tb_status finish(struct tb_encoder *e, size_t before, enum tb_status s) {
  const struct tb_tokenizer *t = e->t;
  if (s != TB_OK) e->ids->n = before;
  tb_pretok_stop(&e->walk);
  tb_free(t->a, e->merger.sym);
  tb_free(t->a, e->merger.heap);
  tb_free(t->a, e->cls);
  tb_free(t->a, e->text);
  return s == TB_E_NOMEM ? tb_fail(e->err, s, "tokenizer: out of memory") : s;
}

enum tb_status tb_tokenizer_encode(const struct tb_tokenizer *t, const char *text, size_t len, unsigned flags,
                                   struct tb_tokens *ids, struct tb_error *err) {
  struct tb_encoder e = {.t = t, .ids = ids, .err = err, .merger = {.a = t->a, .len = t->len}};
  size_t before = ids->n;
  bool add = flags & TB_TOKENIZE_SPECIAL_ADD;
  enum tb_status s = TB_OK;
  if (add && t->add_bos && t->bos >= 0 && !tb_encoder_push(&e, t->bos)) s = TB_E_NOMEM;
  if (s == TB_OK) s = encode(&e, text, len, NULL, flags & TB_TOKENIZE_SPECIAL_PARSE);
  if (s == TB_OK && add && t->add_eos && t->eos >= 0 && !tb_encoder_push(&e, t->eos)) s = TB_E_NOMEM;
  return finish(&e, before, s);
}

enum tb_status tb_tokenizer_encode_runs(const struct tb_tokenizer *t, const char *text, const struct tb_text_run *runs,
                                        size_t n_runs, struct tb_tokens *ids, struct tb_error *err) {
  struct tb_encoder e = {.t = t, .ids = ids, .err = err, .merger = {.a = t->a, .len = t->len}};
  struct trust tr = {.runs = runs, .n_runs = n_runs, .end = n_runs ? runs[0].length : 0};
  size_t before = ids->n, len = 0;
  for (size_t i = 0; i < n_runs; i++) len += runs[i].length;
  return finish(&e, before, encode(&e, text, len, n_runs ? &tr : NULL, false));
}

struct out {
  char *buf;
  size_t cap, n;
};

static void put(struct out *o, const char *s, size_t n) {
  if (o->n < o->cap) memcpy(o->buf + o->n, s, n < o->cap - o->n ? n : o->cap - o->n);
  o->n += n;
}

/* Byte-level text back to bytes; a character outside the alphabet stands for itself. */
static void put_bytes(struct out *o, struct tb_str s) {
  uint32_t cp;
  for (size_t i = 0, w; i < s.len; i += w) {
    w = tb_utf8_decode((const unsigned char *)s.ptr + i, s.len - i, &cp);
    int byte = w > 0 ? tb_char_to_byte(cp) : -1;
    if (w == 0) w = 1;
    char c = (char)byte;
    if (byte >= 0) put(o, &c, 1);
    else put(o, s.ptr + i, w);
  }
}

/* SentencePiece writes a blank as U+2581. */
static void put_blanks(struct out *o, struct tb_str s) {
  for (size_t i = 0; i < s.len;) {
    bool blank = s.len - i >= 3 && memcmp(s.ptr + i, "\xe2\x96\x81", 3) == 0;
    put(o, blank ? " " : s.ptr + i, 1);
    i += blank ? 3 : 1;
  }
}

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

/* The value of "<0xXX>", -1 when that is not the text. */
static int byte_of(struct tb_str s) {
  if (s.len != 6 || memcmp(s.ptr, "<0x", 3) != 0 || s.ptr[5] != '>') return -1;
  int high = hex(s.ptr[3]), low = hex(s.ptr[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

size_t tb_tokenizer_piece(const struct tb_tokenizer *t, tb_token id, bool special, char *buf, size_t cap) {
  if (id < 0 || (uint32_t)id >= t->n_vocab) return 0;
  struct out o = {.buf = buf, .cap = cap};
  unsigned attr = t->attr[id];
  struct tb_str s = text_of(t, id);
  if (attr & (TB_ATTR_CONTROL | TB_ATTR_UNKNOWN)) {
    if (special || attr & TB_ATTR_SHOWN) put(&o, s.ptr, s.len);
  } else if (attr & TB_ATTR_USER) {
    put(&o, s.ptr, s.len);
  } else if (attr & TB_ATTR_BYTE) {
    char c = (char)byte_of(s);
    if (byte_of(s) >= 0) put(&o, &c, 1);
  } else if (attr & TB_ATTR_NORMAL) {
    if (t->is_spm) put_blanks(&o, s);
    else put_bytes(&o, s);
  }
  return o.n;
}

bool tb_tokenizer_ends(const struct tb_tokenizer *t, tb_token id) {
  return id >= 0 && (uint32_t)id < t->n_vocab && t->attr[id] & TB_ATTR_END;
}
uint32_t tb_tokenizer_size(const struct tb_tokenizer *t) { return t->n_vocab; }
tb_token tb_tokenizer_bos(const struct tb_tokenizer *t) { return t->bos; }
tb_token tb_tokenizer_eos(const struct tb_tokenizer *t) { return t->eos; }
bool tb_tokenizer_space_prefix(const struct tb_tokenizer *t) { return t->add_space_prefix; }

tb_token tb_tokenizer_find(const struct tb_tokenizer *t, const char *text, size_t len) {
  tb_token id = tb_text_map_find(&t->map, &t->texts, text, len);
  return (uint32_t)id < t->n_vocab ? id : -1;
}
