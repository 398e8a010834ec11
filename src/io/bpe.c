/* Byte-level BPE (Radford et al. 2019; merges as in Sennrich et al. 2016): the pre-tokenizer cuts words, each byte of a
 * word is a symbol, and the merge list joins neighbours in the order of its lines.
 *
 * Everything works on symbol ids. A merge may name texts that are no tokens (vocabularies that were cut down have such
 * lines); they become symbols behind the tokens, so that merging goes on as the list says. What is left of them in the
 * end is spelt with the tokens of its single characters, as llama.cpp does. */
#include "io/tokenizer_impl.h"

#define KEY "tokenizer.ggml.merges"

static enum tb_status no_memory(struct tb_error *err) { return tb_fail(err, TB_E_NOMEM, "tokenizer: out of memory"); }

static enum tb_status crowded(struct tb_error *err) {
  return tb_fail(err, TB_E_LIMIT, KEY ": too many texts share one hash");
}

/* Rebuilds the table of texts with room for twice as many. */
static enum tb_status grow_map(struct tb_tokenizer *t, struct tb_error *err) {
  struct tb_map m;
  if (!tb_map_init(&m, t->a, (size_t)t->n_sym * 2)) return no_memory(err);
  tb_free(t->a, t->map.slots);
  t->map = m;
  return tb_text_map_fill(&t->map, &t->texts, t->n_sym) == t->n_sym ? TB_OK : crowded(err);
}

/* The symbol of a text, made when there is none. `s` must live as long as the tokenizer. */
static enum tb_status symbol(struct tb_tokenizer *t, struct tb_str s, uint32_t *id, struct tb_error *err) {
  struct tb_texts *texts = &t->texts;
  tb_token found = tb_text_map_find(&t->map, texts, s.ptr, s.len);
  if (found >= 0) {
    *id = (uint32_t)found;
    return TB_OK;
  }
  void *more = texts->more;
  const size_t n_more = t->n_sym - texts->n;
  if (!tb_grow(t->a, &more, &texts->cap_more, n_more + 1, sizeof *texts->more)) return no_memory(err);
  texts->more = more;
  texts->more[n_more] = s;
  *id = t->n_sym++;
  if (tb_map_is_full(&t->map, *id)) return grow_map(t, err);
  return tb_text_map_put(&t->map, texts, *id) ? TB_OK : crowded(err);
}

/* left + right as one text: that of its token, or a copy in `joined`, whose `used` bytes grow. */
static enum tb_status join(struct tb_tokenizer *t, struct tb_str left, struct tb_str right, size_t *used, uint32_t *id,
                           struct tb_error *err) {
  char *at = t->joined + *used;
  memcpy(at, left.ptr, left.len);
  memcpy(at + left.len, right.ptr, right.len);
  uint32_t before = t->n_sym;
  enum tb_status s = symbol(t, (struct tb_str){at, left.len + right.len}, id, err);
  if (t->n_sym > before) *used += left.len + right.len;
  return s;
}

static enum tb_status read_merge(struct tb_tokenizer *t, struct tb_str line, uint32_t rank, size_t *used,
                                 struct tb_error *err) {
  /* The blank that parts the two; a left side may itself start with one. */
  const char *cut = line.len > 1 ? memchr(line.ptr + 1, ' ', line.len - 1) : NULL;
  if (!cut || cut + 1 == line.ptr + line.len)
    return tb_fail(err, TB_E_FORMAT, KEY "[%u]: '%.*s' is not two texts", (unsigned)rank,
                   (int)(line.len < 64 ? line.len : 64), line.ptr);
  struct tb_str left = {line.ptr, (size_t)(cut - line.ptr)};
  struct tb_str right = {cut + 1, line.len - left.len - 1};
  struct tb_pair pair = {0};
  enum tb_status s = symbol(t, left, &pair.left, err);
  if (s == TB_OK) s = symbol(t, right, &pair.right, err);
  if (s == TB_OK) s = join(t, left, right, used, &pair.id, err);
  if (s != TB_OK) return s;
  if (tb_pair_map_put(&t->pairs, rank, pair)) return TB_OK;
  return tb_fail(err, TB_E_LIMIT, KEY "[%u]: too many pairs share one hash", (unsigned)rank);
}

static enum tb_status read_merges(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err) {
  const struct tb_gguf_kv *kv;
  enum tb_status s = tb_vocab_array(g, KEY, 0, true, &kv, err);
  if (s != TB_OK) return s;
  if (kv->elem != TB_GGUF_STRING)
    return tb_fail(err, TB_E_FORMAT, KEY ": expected strings, found %s", tb_gguf_type_name(kv->elem));
  if (kv->count > TB_MERGES_MAX)
    return tb_fail(err, TB_E_LIMIT, KEY ": %llu merges, at most %d are supported", (unsigned long long)kv->count,
                   TB_MERGES_MAX);
  t->joined = tb_alloc(t->a, kv->bytes, 1); /* never more than all lines together */
  if (!t->joined || !tb_pair_map_init(&t->pairs, t->a, kv->count)) return no_memory(err);
  size_t used = 0;
  const unsigned char *cursor = kv->data;
  for (uint32_t i = 0; i < kv->count && s == TB_OK; i++) s = read_merge(t, tb_gguf_next_str(&cursor), i, &used, err);
  if (used > 0) return s;
  tb_free(t->a, t->joined); /* the usual vocabulary: all that merges is a token */
  t->joined = NULL;
  return s;
}

/* Bytes a symbol stands for: one per character. */
static uint32_t bytes_of(struct tb_str s) {
  uint32_t n = 0, cp;
  for (size_t i = 0; i < s.len; n++) {
    size_t w = tb_utf8_decode((const unsigned char *)s.ptr + i, s.len - i, &cp);
    i += w ? w : 1;
  }
  return n;
}

enum tb_status tb_bpe_build(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err) {
  enum tb_status s = read_merges(t, g, err);
  if (s != TB_OK) return s;
  /* One more symbol: a byte that no text spells. */
  t->len = tb_alloc(t->a, (size_t)t->n_sym + 1, sizeof *t->len);
  if (!t->len) return no_memory(err);
  for (uint32_t i = 0; i < t->n_sym; i++) t->len[i] = bytes_of(tb_symbol_text(t, i));
  t->len[t->n_sym] = 1;
  for (unsigned b = 0; b < 256; b++) {
    char c[4];
    t->byte_id[b] = tb_text_map_find(&t->map, &t->texts, c, tb_utf8_encode(tb_byte_to_char((unsigned char)b), c));
  }
  return TB_OK;
}

static struct tb_merge_pair merge_of(const void *ctx, size_t pos, int32_t left, int32_t right) {
  (void)pos;
  const struct tb_pair_map *pairs = ctx;
  const int32_t rank = tb_pair_map_find(pairs, (uint32_t)left, (uint32_t)right);
  return rank >= 0 ? (struct tb_merge_pair){(uint32_t)rank, (int32_t)pairs->all[rank].id} : (struct tb_merge_pair){0, -1};
}

/* A symbol that is no token: the tokens of its ASCII characters are all that can stand for it. */
static bool push_spelt(struct tb_encoder *e, uint32_t sym) {
  const struct tb_tokenizer *t = e->t;
  struct tb_str s = sym < t->n_sym ? tb_symbol_text(t, sym) : (struct tb_str){"", 0};
  for (size_t i = 0; i < s.len; i++) {
    tb_token id = tb_tokenizer_find(t, s.ptr + i, 1);
    if (id >= 0 && !tb_encoder_push(e, id)) return false;
  }
  return true;
}

static bool merge_word(struct tb_encoder *e, const unsigned char *word, size_t n) {
  const struct tb_tokenizer *t = e->t;
  struct tb_merger *m = &e->merger;
  if (!tb_merge_reserve(m, n)) return false;
  for (size_t i = 0; i < n; i++) m->sym[i] = t->byte_id[word[i]] >= 0 ? t->byte_id[word[i]] : (tb_token)t->n_sym;
  if (!tb_merge_run(m, n, merge_of, &t->pairs)) return false;
  for (size_t i = 0; i < n; i += t->len[m->sym[i]]) {
    uint32_t sym = (uint32_t)m->sym[i];
    if (!(sym < t->n_vocab ? tb_encoder_push(e, m->sym[i]) : push_spelt(e, sym))) return false;
  }
  return true;
}

/* The token that is the whole word, or -1. */
static tb_token whole(const struct tb_tokenizer *t, const unsigned char *word, size_t n) {
  char text[1024];
  if (n > sizeof text / 2) return -1; /* a character of the byte alphabet has at most two bytes */
  size_t len = 0;
  for (size_t i = 0; i < n; i++) len += tb_utf8_encode(tb_byte_to_char(word[i]), text + len);
  tb_token id = tb_tokenizer_find(t, text, len);
  return id >= 0 && tb_token_is_text(t, id) ? id : -1;
}

static bool encode_word(struct tb_encoder *e, const unsigned char *word, size_t n) {
  tb_token id = n == 1 ? e->t->byte_id[word[0]] : e->t->rule->ignore_merges ? whole(e->t, word, n) : -1;
  if (id >= 0 && (uint32_t)id < e->t->n_vocab) return tb_encoder_push(e, id);
  while (n > TB_WORD_MAX) {
    size_t part = TB_WORD_MAX;
    while (part > TB_WORD_MAX - 3 && (word[part] & 0xc0) == 0x80) part--;
    if (!merge_word(e, word, part)) return false;
    word += part;
    n -= part;
  }
  return merge_word(e, word, n);
}

enum tb_status tb_bpe_encode(struct tb_encoder *e, const char *text, size_t n) {
  void *cls = e->cls;
  bool ok = tb_grow(e->t->a, &cls, &e->cap_cls, n, 1);
  e->cls = cls;
  if (!ok) return TB_E_NOMEM;
  size_t chars = tb_unicode_classify(text, n, e->cls);
  enum tb_status s = tb_pretok_start(&e->walk, e->t->pretok, e->cls, chars, e->err);
  if (s != TB_OK) return s;
  const unsigned char *p = (const unsigned char *)text;
  const uint8_t *c = e->cls;
  for (size_t k; (k = tb_pretok_next(&e->walk)) > 0;) {
    const unsigned char *word = p;
    for (; k > 0; k--) p += tb_unicode_width(*p, *c++);
    if (!encode_word(e, word, (size_t)(p - word))) return TB_E_NOMEM;
  }
  return TB_OK;
}
