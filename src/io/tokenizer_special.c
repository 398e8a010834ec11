/* Special tokens in text. At each position the longest one counts (leftmost-longest, as the tokenizers that models are
 * trained with do); llama.cpp looks for the longest in all of the text first, which differs only where the end of one
 * special token is the start of another. */
#include "io/tokenizer_impl.h"

static int compare(struct tb_str a, struct tb_str b) {
  size_t n = a.len < b.len ? a.len : b.len;
  int c = memcmp(a.ptr, b.ptr, n);
  return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* Heap sort: no memory, no recursion, n log n whatever the vocabulary. */
static void sift(uint32_t *v, size_t n, size_t i, const struct tb_texts *texts) {
  for (size_t c; (c = 2 * i + 1) < n; i = c) {
    if (c + 1 < n && compare(tb_text(texts, v[c]), tb_text(texts, v[c + 1])) < 0) c++;
    if (compare(tb_text(texts, v[i]), tb_text(texts, v[c])) >= 0) return;
    uint32_t x = v[i];
    v[i] = v[c];
    v[c] = x;
  }
}

static void sort(uint32_t *v, size_t n, const struct tb_texts *texts) {
  for (size_t i = n / 2; i-- > 0;) sift(v, n, i, texts);
  while (n > 1) {
    uint32_t x = v[--n];
    v[n] = v[0];
    v[0] = x;
    sift(v, n, 0, texts);
  }
}

/* Of tokens with the same text only the one that the table knows. */
static bool is_special(const struct tb_tokenizer *t, uint32_t id) {
  struct tb_str s = tb_symbol_text(t, id);
  return s.len > 0 && t->attr[id] & (TB_ATTR_CONTROL | TB_ATTR_UNKNOWN | TB_ATTR_USER) &&
         tb_text_map_find(&t->map, &t->texts, s.ptr, s.len) == (tb_token)id;
}

static bool is_control(const struct tb_tokenizer *t, uint32_t id) {
  return t->attr[id] & (TB_ATTR_CONTROL | TB_ATTR_UNKNOWN);
}

static unsigned char byte_at(const struct tb_tokenizer *t, uint32_t i, size_t depth) {
  return (unsigned char)tb_symbol_text(t, t->special[i]).ptr[depth];
}

enum tb_status tb_specials_build(struct tb_tokenizer *t, struct tb_error *err) {
  for (uint32_t id = 0; id < t->n_vocab; id++) t->n_special += is_special(t, id);
  t->special = tb_alloc(t->a, t->n_special, sizeof *t->special);
  if (!t->special) return tb_fail(err, TB_E_NOMEM, "tokenizer: out of memory");
  uint32_t n = 0;
  for (uint32_t id = 0; id < t->n_vocab; id++) {
    if (!is_special(t, id)) continue;
    struct tb_str text = tb_symbol_text(t, id);
    if (text.len > TB_SPECIAL_MAX)
      return tb_fail(err, TB_E_LIMIT, "tokenizer.ggml.tokens[%u]: a special token of %zu bytes, at most %d are supported",
                     id, text.len, TB_SPECIAL_MAX);
    t->special[n++] = id;
    unsigned char c = (unsigned char)text.ptr[0];
    t->special_starts[1][c] = true;
    if (!is_control(t, id)) t->special_starts[0][c] = true;
  }
  sort(t->special, n, &t->texts);
  for (uint32_t c = 0, i = 0; c <= 256; c++) {
    while (i < n && byte_at(t, i, 0) < c) i++;
    t->special_first[c] = i;
  }
  return TB_OK;
}

/* First of special[lo … hi), all of them longer than depth and equal before it, whose byte there is at least c. */
static uint32_t lower_bound(const struct tb_tokenizer *t, uint32_t lo, uint32_t hi, size_t depth, unsigned c) {
  while (lo < hi) {
    uint32_t mid = lo + (hi - lo) / 2;
    if (byte_at(t, mid, depth) < c) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

tb_token tb_specials_at(const struct tb_tokenizer *t, const char *s, size_t n, bool control) {
  unsigned c = n > 0 ? (unsigned char)s[0] : 0;
  if (n == 0 || !t->special_starts[control][c]) return -1;
  uint32_t lo = t->special_first[c], hi = t->special_first[c + 1];
  tb_token found = -1;
  for (size_t depth = 1; lo < hi; depth++) {
    for (; lo < hi && tb_symbol_text(t, t->special[lo]).len == depth; lo++)
      if (control || !is_control(t, t->special[lo])) found = (tb_token)t->special[lo];
    if (depth == n) break;
    c = (unsigned char)s[depth];
    lo = lower_bound(t, lo, hi, depth, c);
    hi = lower_bound(t, lo, hi, depth, c + 1);
  }
  return found;
}
