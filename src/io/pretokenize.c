#include "io/pretokenize.h"

#include <string.h>
#include "io/pretokenize_impl.h"

/* Names are those of tokenizer.ggml.pre. A name belongs to the rule that its models were trained with, as llama.cpp
 * (whose converter writes the names) reads it. */
#define STAGES(...) \
  .n_stages = sizeof((enum tb_pretok_stage[]){__VA_ARGS__}) / sizeof(enum tb_pretok_stage), .stages = {__VA_ARGS__}
#define S(id) TB_STAGE_##id
static const struct tb_pretok_rule rules[] = {
    {"gpt-2 phi-2 mpt olmo exaone4 jais trillion granite-docling gigachat a.x-4.0 mellum", STAGES(S(GPT2))},
    {"smollm refact starcoder command-r codeshell exaone minerva-7b mellum2", STAGES(S(DIGIT), S(GPT2))},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral lfm2 midm-2.0", .ignore_merges = true, .add_bos = true,
     STAGES(S(LLAMA3))},
    {"dbrx smaug-bpe glm4 chatglm-bpe", STAGES(S(LLAMA3))},
    {"qwen2 deepseek-r1-qwen hunyuan stablelm2 megrez kormo grok-2 solar-open", STAGES(S(QWEN2))},
    {"qwen35", STAGES(S(QWEN35))},
    {"falcon", STAGES(S(FALCON_PUNCT), S(GPT2), S(ASCII_DIGITS_3))},
    {"default", STAGES(S(PUNCT_RUN), S(GPT2), S(DIGITS), S(ASCII_DIGITS_3))},
    {"tekken", .ignore_merges = true, .add_bos = true, STAGES(S(TEKKEN))},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", STAGES(S(GPT4O))},
    {"deepseek-llm", STAGES(S(NEWLINE), S(CASED_RUN), S(WIDE_PUNCT_RUN), S(TRAILING_BLANKS), S(CJK_RUN), S(DIGITS))},
    {"deepseek-coder", STAGES(S(NEWLINE), S(LETTER_RUN), S(PURE_PUNCT_RUN), S(CJK_RUN), S(DIGIT))},
    {"deepseek-v3 hunyuan-dense joyai-llm", STAGES(S(DIGITS_3), S(HAN_KANA_RUN), S(DEEPSEEK3))},
    {"minicpm5", .ignore_merges = true, STAGES(S(DIGITS_3), S(MINICPM5))},
    {"seed-coder", STAGES(S(SEED_CODER))},
    {"bailingmoe2 bailingmoe llada-moe", STAGES(S(QWEN2))},
    {"exaone-moe", STAGES(S(EXAONE_MOE))},
    {"bloom gpt3-finnish poro-chat", STAGES(S(BLOOM))},
    {"viking", STAGES(S(BLOOM), S(DIGIT))},
};
#undef S
#undef STAGES

const struct tb_pretok_rule *tb_pretok_rule_at(size_t i) { return i < sizeof rules / sizeof *rules ? &rules[i] : NULL; }

static bool has_name(const char *names, const char *name, size_t len) {
  while (*names) {
    size_t n = strcspn(names, " ");
    if (n == len && memcmp(names, name, len) == 0) return true;
    names += n + strspn(names + n, " ");
  }
  return false;
}

const struct tb_pretok_rule *tb_pretok_find(const char *name, size_t len) {
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
    if (has_name(rules[i].names, name, len)) return &rules[i];
  return NULL;
}

struct tb_pretok {
  const struct tb_allocator *a;
  const struct tb_pretok_rule *rule;
  struct tb_pretok_pcre2 *pcre2; /* NULL: the own engine */
};

enum tb_status tb_pretok_create(struct tb_pretok **out, const struct tb_pretok_rule *rule, enum tb_pretok_engine engine,
                                const struct tb_allocator *a, struct tb_error *err) {
  struct tb_pretok *p = tb_calloc(a, 1, sizeof *p);
  if (!p) return tb_fail(err, TB_E_NOMEM, "pre-tokenizer: out of memory");
  p->a = a;
  p->rule = rule;
#if defined(TB_HAVE_PCRE2)
  enum tb_status s = engine == TB_PRETOK_OWN ? TB_OK : tb_pretok_pcre2_create(&p->pcre2, rule, a, err);
#else
  enum tb_status s = engine != TB_PRETOK_PCRE2 ? TB_OK : tb_fail(err, TB_E_UNSUPPORTED, "this build has no PCRE2");
#endif
  if (s != TB_OK) {
    tb_pretok_free(p);
    return s;
  }
  *out = p;
  return TB_OK;
}

void tb_pretok_free(struct tb_pretok *p) {
  if (!p) return;
#if defined(TB_HAVE_PCRE2)
  tb_pretok_pcre2_free(p->pcre2);
#endif
  tb_free(p->a, p);
}

enum tb_status tb_pretok_start(struct tb_pretok_walk *w, const struct tb_pretok *p, const uint8_t *cls, size_t n,
                               struct tb_error *err) {
#if defined(TB_HAVE_PCRE2)
  if (p->pcre2 && !w->scratch) w->scratch = tb_pretok_pcre2_scratch(p->pcre2);
  if (p->pcre2 && !w->scratch) return tb_fail(err, TB_E_NOMEM, "pre-tokenizer: out of memory");
#else
  (void)err;
#endif
  w->p = p;
  w->cls = cls;
  w->depth = 0;
  w->level[0] = (struct tb_pretok_level){.end = n};
  return TB_OK;
}

void tb_pretok_stop(struct tb_pretok_walk *w) {
#if defined(TB_HAVE_PCRE2)
  tb_pretok_pcre2_scratch_free(w->scratch);
#endif
  w->scratch = NULL;
}

/* Looks for the level's next match; none counts as an empty one at the end of the piece. */
static void find(const struct tb_pretok_walk *w, struct tb_pretok_level *l, unsigned stage) {
  const uint8_t *s = w->cls + l->begin;
  size_t n = l->end - l->begin, from = l->pos - l->begin, b = n, e = n;
  bool hit = false, own = true;
#if defined(TB_HAVE_PCRE2)
  if (w->p->pcre2) hit = tb_pretok_pcre2_find(w->p->pcre2, w->scratch, stage, s, n, from, &b, &e, &own);
#endif
  /* Where the library gives up (its match limit, no memory) the own engine finds the same. */
  if (own) hit = tb_pretok_own_find(w->p->rule->stages[stage], s, n, from, &b, &e);
  l->match = l->begin + (hit ? b : n);
  l->match_end = l->begin + (hit ? e : n);
  l->found = true;
}

size_t tb_pretok_next(struct tb_pretok_walk *w) {
  for (;;) {
    struct tb_pretok_level *l = &w->level[w->depth];
    if (l->pos == l->end) {
      if (w->depth == 0) return 0;
      w->depth--;
      continue;
    }
    if (!l->found) find(w, l, w->depth);
    size_t begin = l->pos;
    if (begin == l->match) l->found = false; /* its end may be the next piece's start */
    l->pos = begin < l->match ? l->match : l->match_end;
    if (w->depth + 1 == w->p->rule->n_stages) return l->pos - begin;
    w->level[++w->depth] = (struct tb_pretok_level){.begin = begin, .pos = begin, .end = l->pos};
  }
}
