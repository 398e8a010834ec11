/* The vocabulary of a GGUF file: texts, types, special ids, flags. Keys are those of llama.cpp's converter. */
#include "io/tokenizer_impl.h"

#define KEY "tokenizer.ggml."

enum tb_status tb_vocab_array(const struct tb_gguf *g, const char *key, uint64_t need, bool required,
                              const struct tb_gguf_kv **kv, struct tb_error *err) {
  *kv = tb_gguf_kv_find(g, key);
  if (!*kv) return required ? tb_fail(err, TB_E_FORMAT, "%s is missing", key) : TB_OK;
  if ((*kv)->type != TB_GGUF_ARRAY)
    return tb_fail(err, TB_E_FORMAT, "%s: expected an array, found %s", key, tb_gguf_type_name((*kv)->type));
  if ((*kv)->count < need)
    return tb_fail(err, TB_E_FORMAT, "%s has %llu elements for %llu tokens", key, (unsigned long long)(*kv)->count,
                   (unsigned long long)need);
  return TB_OK;
}

static enum tb_status read_texts(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err) {
  const struct tb_gguf_kv *kv;
  enum tb_status s = tb_vocab_array(g, KEY "tokens", 1, true, &kv, err);
  if (s != TB_OK) return s;
  if (kv->elem != TB_GGUF_STRING)
    return tb_fail(err, TB_E_FORMAT, KEY "tokens: expected strings, found %s", tb_gguf_type_name(kv->elem));
  if (kv->count > TB_VOCAB_MAX)
    return tb_fail(err, TB_E_LIMIT, KEY "tokens: %llu tokens, at most %d are supported", (unsigned long long)kv->count,
                   TB_VOCAB_MAX);
  if (kv->bytes > UINT32_MAX - sizeof(uint64_t))
    return tb_fail(err, TB_E_LIMIT, KEY "tokens: %llu bytes of text, at most 4 GiB are supported",
                   (unsigned long long)kv->bytes);
  t->n_vocab = t->n_sym = (uint32_t)kv->count;
  uint32_t *at = tb_alloc(t->a, (size_t)t->n_vocab + 1, sizeof *at);
  t->texts = (struct tb_texts){.strings = (const char *)kv->data, .at = at, .n = t->n_vocab};
  t->attr = tb_calloc(t->a, t->n_vocab, sizeof *t->attr);
  if (!at || !t->attr) return tb_fail(err, TB_E_NOMEM, "tokenizer: out of memory");
  const unsigned char *cursor = kv->data;
  for (uint32_t i = 0; i < t->n_vocab; i++)
    at[i] = (uint32_t)(tb_gguf_next_str(&cursor).ptr - t->texts.strings);
  at[t->n_vocab] = (uint32_t)((const char *)cursor - t->texts.strings + (ptrdiff_t)sizeof(uint64_t));
  return TB_OK;
}

static bool is_integer(enum tb_gguf_type type) {
  return type <= TB_GGUF_I32 || type == TB_GGUF_U64 || type == TB_GGUF_I64;
}

static enum tb_status read_types(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err) {
  static const uint16_t attr_of[] = {0, TB_ATTR_NORMAL, TB_ATTR_UNKNOWN, TB_ATTR_CONTROL, TB_ATTR_USER, TB_ATTR_UNUSED,
                                     TB_ATTR_BYTE};
  const struct tb_gguf_kv *kv;
  enum tb_status s = tb_vocab_array(g, KEY "token_type", t->n_vocab, false, &kv, err);
  if (s != TB_OK) return s;
  if (kv && !is_integer(kv->elem))
    return tb_fail(err, TB_E_FORMAT, KEY "token_type: expected integers, found %s", tb_gguf_type_name(kv->elem));
  for (uint32_t i = 0; i < t->n_vocab; i++) {
    int64_t type = kv ? tb_gguf_array_int(kv, i) : 1;
    t->attr[i] = type >= 0 && type < 7 ? attr_of[type] : 0;
  }
  return TB_OK;
}

static enum tb_status read_id(const struct tb_tokenizer *t, const struct tb_gguf *g, const char *key, tb_token *id,
                              struct tb_error *err) {
  uint32_t v = UINT32_MAX;
  if (!tb_gguf_kv_find(g, key)) return TB_OK;
  enum tb_status s = tb_gguf_get_u32(g, key, true, &v, err);
  if (s != TB_OK) return s;
  if (v >= t->n_vocab)
    return tb_fail(err, TB_E_FORMAT, "%s: token %u of a vocabulary of %u", key, (unsigned)v, (unsigned)t->n_vocab);
  *id = (tb_token)v;
  return TB_OK;
}

static tb_token find(const struct tb_tokenizer *t, const char *text) {
  return tb_tokenizer_find(t, text, strlen(text));
}

/* A token with one of these texts ends an answer, whatever its type says. */
static const char *const end_texts[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>",
    "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence"
    "\xef\xbd\x9c>", "[e~[",
};

/* Tokens around code to be filled in. Only the first text of a row that exists counts, and none when the file gives an
 * id itself. The first three are control tokens, the others also end an answer. */
static const struct {
  const char *key;
  bool ends;
  const char *texts[8];
} fill_in[] = {
    {KEY "fim_pre_token_id", false, {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<\xef\xbd\x9c" "fim\xe2\x96\x81" "begin"
     "\xef\xbd\x9c>", "<PRE>", "\xe2\x96\x81<PRE>", "<|code_prefix|>", "<|prefix|>"}},
    {KEY "fim_suf_token_id", false, {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<\xef\xbd\x9c" "fim\xe2\x96\x81hole"
     "\xef\xbd\x9c>", "<SUF>", "\xe2\x96\x81<SUF>", "<|code_suffix|>", "<|suffix|>"}},
    {KEY "fim_mid_token_id", false, {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<\xef\xbd\x9c" "fim\xe2\x96\x81" "end"
     "\xef\xbd\x9c>", "<MID>", "\xe2\x96\x81<MID>", "<|code_middle|>", "<|middle|>"}},
    {KEY "fim_pad_token_id", true, {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {KEY "fim_rep_token_id", true, {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {KEY "fim_sep_token_id", true, {"<|file_sep|>"}},
};

static void mark(struct tb_tokenizer *t, tb_token id, unsigned attr) {
  if (id >= 0) t->attr[id] |= (uint16_t)attr;
}

static enum tb_status mark_fill_in(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err) {
  for (size_t i = 0; i < sizeof fill_in / sizeof *fill_in; i++) {
    tb_token id = -1;
    enum tb_status s = read_id(t, g, fill_in[i].key, &id, err);
    if (s != TB_OK) return s;
    for (size_t k = 0; k < 8 && fill_in[i].texts[k] && id < 0; k++)
      mark(t, id = find(t, fill_in[i].texts[k]), TB_ATTR_CONTROL);
    if (fill_in[i].ends) mark(t, id, TB_ATTR_END);
  }
  return TB_OK;
}

static bool ends(const struct tb_tokenizer *t, const char *text) { return tb_tokenizer_ends(t, find(t, text)); }

/* Formats with several channels: the end of one message is not the end of the answer. */
static void unmark_inner_ends(struct tb_tokenizer *t) {
  static const char *const shown[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"};
  for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) mark(t, find(t, shown[i]), TB_ATTR_SHOWN);
  bool call = ends(t, "<|call|>") || ends(t, "<|calls|>");
  if (call && (ends(t, "<|return|>") || ends(t, "<|flush|>")) && ends(t, "<|end|>")) {
    tb_token end = find(t, "<|end|>");
    t->attr[end] &= (uint16_t)~TB_ATTR_END;
    mark(t, end, TB_ATTR_SHOWN);
  }
  if (ends(t, "<|tool_response>") && ends(t, "</s>")) t->attr[find(t, "</s>")] = TB_ATTR_NORMAL;
}

static enum tb_status read_ends(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err) {
  enum tb_status s = mark_fill_in(t, g, err);
  for (size_t i = 0; i < sizeof end_texts / sizeof *end_texts; i++)
    mark(t, find(t, end_texts[i]), TB_ATTR_CONTROL | TB_ATTR_END);
  tb_token eot = -1, eom = -1;
  if (s == TB_OK) s = read_id(t, g, KEY "eot_token_id", &eot, err);
  if (s == TB_OK) s = read_id(t, g, KEY "eom_token_id", &eom, err);
  if (s != TB_OK) return s;
  mark(t, t->eos, TB_ATTR_END);
  mark(t, eot, TB_ATTR_END);
  mark(t, eom, TB_ATTR_END);
  unmark_inner_ends(t);
  return TB_OK;
}

static bool contains_folded(struct tb_str s, const char *word) {
  size_t n = strlen(word);
  for (size_t i = 0; i + n <= s.len; i++) {
    size_t k = 0;
    while (k < n && (s.ptr[i + k] | (s.ptr[i + k] >= 'A' && s.ptr[i + k] <= 'Z' ? 0x20 : 0)) == word[k]) k++;
    if (k == n) return true;
  }
  return false;
}

/* Phi-3's special tokens swallow the white space after them; GGUF has no field for that, so the model's name decides. */
static enum tb_status mark_rstrip(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err) {
  struct tb_str name = {"", 0};
  enum tb_status s = tb_gguf_get_str(g, "general.name", false, &name, err);
  if (s != TB_OK || !(contains_folded(name, "phi-3") || contains_folded(name, "phi3"))) return s;
  for (uint32_t i = 0; i < t->n_vocab; i++)
    if (t->attr[i] & (TB_ATTR_CONTROL | TB_ATTR_USER | TB_ATTR_UNKNOWN)) t->attr[i] |= TB_ATTR_RSTRIP;
  static const char *const keep[] = {"<unk>", "<s>", "<|endoftext|>"};
  for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
    tb_token id = find(t, keep[i]);
    if (id >= 0) t->attr[id] &= (uint16_t)~TB_ATTR_RSTRIP;
  }
  return TB_OK;
}

static enum tb_status read_flags(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err) {
  t->add_bos = t->is_spm || t->rule->add_bos;
  t->add_space_prefix = t->is_spm;
  enum tb_status s = tb_gguf_get_bool(g, KEY "add_bos_token", false, &t->add_bos, err);
  if (s == TB_OK) s = tb_gguf_get_bool(g, KEY "add_eos_token", false, &t->add_eos, err);
  if (s == TB_OK && t->is_spm) s = tb_gguf_get_bool(g, KEY "add_space_prefix", false, &t->add_space_prefix, err);
  if (s == TB_OK && t->is_spm)
    s = tb_gguf_get_bool(g, KEY "remove_extra_whitespaces", false, &t->remove_extra_whitespaces, err);
  return s;
}

/* SentencePiece models without these keys have <unk> <s> </s> in front; nothing is assumed for BPE. */
static enum tb_status read_ids(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err) {
  bool usual = t->is_spm && t->n_vocab > 2;
  t->unk = usual ? 0 : -1;
  t->bos = usual ? 1 : -1;
  t->eos = usual ? 2 : -1;
  enum tb_status s = read_id(t, g, KEY "bos_token_id", &t->bos, err);
  if (s == TB_OK) s = read_id(t, g, KEY "eos_token_id", &t->eos, err);
  return s == TB_OK ? read_id(t, g, KEY "unknown_token_id", &t->unk, err) : s;
}

static enum tb_status build_map(struct tb_tokenizer *t, struct tb_error *err) {
  if (!tb_map_init(&t->map, t->a, t->n_vocab)) return tb_fail(err, TB_E_NOMEM, "tokenizer: out of memory");
  const uint32_t filled = tb_text_map_fill(&t->map, &t->texts, t->n_vocab);
  if (filled == t->n_vocab) return TB_OK;
  return tb_fail(err, TB_E_LIMIT, KEY "tokens[%u]: too many texts share one hash", (unsigned)filled);
}

enum tb_status tb_vocab_read(struct tb_tokenizer *t, const struct tb_gguf *g, struct tb_error *err) {
  enum tb_status s = read_texts(t, g, err);
  if (s == TB_OK) s = read_types(t, g, err);
  if (s == TB_OK) s = build_map(t, err);
  if (s == TB_OK) s = read_flags(t, g, err);
  if (s == TB_OK) s = read_ids(t, g, err);
  if (s == TB_OK) s = read_ends(t, g, err);
  if (s == TB_OK) s = mark_rstrip(t, g, err);
  return s == TB_OK ? tb_specials_build(t, err) : s;
}
