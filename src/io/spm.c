/* SentencePiece BPE (Kudo and Richardson 2018): blanks become U+2581, every character is a symbol, and neighbours whose
 * joined text is a token merge in the order of that token's score. Characters that are no token are spelt in bytes.
 *
 * Merging goes over the whole text, not over words. But where two characters are neighbours in no token, no merge can
 * ever cross: there the text is cut, and each segment (a word, as a rule) is merged for itself with the same result. */
#include "io/tokenizer_impl.h"

#define KEY "tokenizer.ggml.scores"

static const char blank[] = "\xe2\x96\x81";

static enum tb_status no_memory(struct tb_error *err) { return tb_fail(err, TB_E_NOMEM, "tokenizer: out of memory"); }

/* One character at s: its bytes and a number that tells it from others; a stray byte is a character, too. */
static size_t character(const char *s, size_t n, uint32_t *cp) {
  size_t w = tb_utf8_decode((const unsigned char *)s, n, cp);
  if (w > 0) return w;
  *cp = 0x110000u + (unsigned char)s[0];
  return 1;
}

static uint32_t join_bit(const struct tb_tokenizer *t, uint32_t a, uint32_t b) {
  return (uint32_t)(((uint64_t)a << 32 | b) * 0x9e3779b97f4a7c15u >> 34) & t->joins_mask;
}

/* Notes all neighbours inside all tokens. A wrong "may join" (two pairs on one bit) only makes a segment longer. */
static enum tb_status build_joins(struct tb_tokenizer *t, struct tb_error *err) {
  size_t chars = 0;
  for (uint32_t i = 0; i < t->n_vocab; i++) chars += tb_symbol_text(t, i).len;
  t->joins_mask = 1023; /* bits - 1: at least 8 for a pair, at most 1 MiB in all */
  while (t->joins_mask < (1u << 23) - 1 && t->joins_mask < 8 * chars) t->joins_mask = t->joins_mask * 2 + 1;
  t->joins = tb_calloc(t->a, (t->joins_mask + 1) / 32, sizeof *t->joins);
  if (!t->joins) return no_memory(err);
  for (uint32_t i = 0; i < t->n_vocab; i++) {
    struct tb_str s = tb_symbol_text(t, i);
    uint32_t prev = 0, cp;
    for (size_t k = 0, w; k < s.len && tb_token_is_text(t, (tb_token)i); k += w, prev = cp) {
      w = character(s.ptr + k, s.len - k, &cp);
      uint32_t bit = join_bit(t, prev, cp);
      if (k > 0) t->joins[bit / 32] |= 1u << bit % 32;
    }
  }
  return TB_OK;
}

static bool may_join(const struct tb_tokenizer *t, uint32_t a, uint32_t b) {
  uint32_t bit = join_bit(t, a, b);
  return t->joins[bit / 32] >> bit % 32 & 1;
}

/* Falling scores as rising integers: the bits of a float order like the number once the sign is dealt with. */
static uint32_t rank_of(float score) {
  uint32_t u;
  score += 0.0f; /* -0 and 0 are equal */
  memcpy(&u, &score, 4);
  return u >> 31 ? u : ~u & 0x7fffffffu;
}

static enum tb_status read_scores(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err) {
  const struct tb_gguf_kv *kv;
  enum tb_status s = tb_vocab_array(g, KEY, t->n_vocab, false, &kv, err);
  if (s != TB_OK) return s;
  if (kv && kv->elem != TB_GGUF_F32 && kv->elem != TB_GGUF_F64)
    return tb_fail(err, TB_E_FORMAT, KEY ": expected floats, found %s", tb_gguf_type_name(kv->elem));
  for (uint32_t i = 0; i < t->n_vocab; i++) {
    float score = kv ? (float)tb_gguf_array_float(kv, i) : 0.0f;
    if (!(score - score == 0.0f)) return tb_fail(err, TB_E_FORMAT, KEY "[%u] is not a finite number", (unsigned)i);
    t->rank[i] = rank_of(score);
  }
  return TB_OK;
}

enum tb_status tb_spm_build(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err) {
  t->rank = tb_alloc(t->a, t->n_vocab, sizeof *t->rank);
  t->len = tb_alloc(t->a, (size_t)t->n_vocab + 4, sizeof *t->len);
  if (!t->rank || !t->len) return no_memory(err);
  enum tb_status s = read_scores(t, g, err);
  if (s != TB_OK) return s;
  for (uint32_t i = 0; i < t->n_vocab; i++) {
    size_t len = tb_symbol_text(t, i).len;
    t->len[i] = len < UINT32_MAX ? (uint32_t)len : UINT32_MAX;
    if (len > t->max_len) t->max_len = len;
  }
  /* Symbols behind the tokens: an unknown character of 1 … 4 bytes. */
  for (uint32_t k = 0; k < 4; k++) t->len[t->n_vocab + k] = k + 1;
  t->n_sym = t->n_vocab + 4;
  for (unsigned b = 0; b < 256; b++) {
    static const char digits[] = "0123456789ABCDEF";
    char text[] = {'<', '0', 'x', digits[b >> 4], digits[b & 15], '>'}, byte = (char)b;
    t->byte_id[b] = tb_tokenizer_find(t, text, sizeof text);
    if (t->byte_id[b] < 0) t->byte_id[b] = tb_tokenizer_find(t, &byte, 1);
  }
  return build_joins(t, err);
}

/* The token that text may become, or -1. */
static tb_token token_of(const struct tb_tokenizer *t, const char *text, size_t n) {
  if (n > t->max_len) return -1;
  tb_token id = tb_text_map_find(&t->map, &t->texts, text, n);
  return id >= 0 && tb_token_is_text(t, id) ? id : -1;
}

static struct tb_merge_pair merge_of(const void *ctx, size_t pos, int32_t left, int32_t right) {
  const struct tb_encoder *e = ctx;
  tb_token id = token_of(e->t, e->text + pos, (size_t)e->t->len[left] + e->t->len[right]);
  return (struct tb_merge_pair){id >= 0 ? e->t->rank[id] : 0, id};
}

/* A character that is no token: its bytes, else the unknown token, else nothing. */
static bool push_unknown(struct tb_encoder *e, const char *s, size_t n) {
  const struct tb_tokenizer *t = e->t;
  bool all = true;
  for (size_t i = 0; i < n; i++) all = all && t->byte_id[(unsigned char)s[i]] >= 0;
  if (!all) return t->unk < 0 || tb_encoder_push(e, t->unk);
  for (size_t i = 0; i < n; i++)
    if (!tb_encoder_push(e, t->byte_id[(unsigned char)s[i]])) return false;
  return true;
}

/* Merges the segment in e->text, whose symbols are set, and starts a new one. */
static bool flush(struct tb_encoder *e) {
  const struct tb_tokenizer *t = e->t;
  size_t n = e->n_text;
  e->n_text = 0;
  if (n == 0) return true;
  if (!tb_merge_run(&e->merger, n, merge_of, e)) return false;
  for (size_t i = 0; i < n; i += t->len[e->merger.sym[i]]) {
    tb_token id = e->merger.sym[i];
    bool ok = (uint32_t)id < t->n_vocab ? tb_encoder_push(e, id) : push_unknown(e, e->text + i, t->len[id]);
    if (!ok) return false;
  }
  return true;
}

static bool append(struct tb_encoder *e, const char *s, size_t n) {
  void *text = e->text;
  bool ok = tb_grow(e->t->a, &text, &e->cap_text, e->n_text + n, 1);
  e->text = text;
  if (!ok || !tb_merge_reserve(&e->merger, e->n_text + n)) return false;
  memcpy(e->text + e->n_text, s, n);
  tb_token id = token_of(e->t, s, n);
  tb_merge_set(&e->merger, e->n_text, id >= 0 ? id : (tb_token)(e->t->n_vocab + n - 1));
  e->n_text += n;
  return true;
}

/* One character of the normalised text; *prev is the one before it. */
static bool feed(struct tb_encoder *e, const char *s, size_t n, uint32_t cp, uint32_t *prev) {
  if (e->n_text > 0 && (!may_join(e->t, *prev, cp) || e->n_text + n > TB_WORD_MAX) && !flush(e)) return false;
  *prev = cp;
  return append(e, s, n);
}

enum tb_status tb_spm_encode(struct tb_encoder *e, const char *text, size_t n, bool space_prefix) {
  bool squeeze = e->t->remove_extra_whitespaces;
  while (squeeze && n > 0 && text[n - 1] == ' ') n--;
  uint32_t prev = 0, cp;
  e->n_text = 0;
  if (space_prefix && n > 0 && !feed(e, blank, 3, 0x2581, &prev)) return TB_E_NOMEM;
  bool after_blank = true;
  for (size_t i = 0, w; i < n; i += w) {
    w = character(text + i, n - i, &cp);
    bool is_blank = cp == ' ', skip = squeeze && is_blank && after_blank;
    after_blank = is_blank;
    if (skip) continue;
    if (!(is_blank ? feed(e, blank, 3, 0x2581, &prev) : feed(e, text + i, w, cp, &prev))) return TB_E_NOMEM;
  }
  return flush(e) ? TB_OK : TB_E_NOMEM;
}
