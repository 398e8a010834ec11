/* The template compiler's tools: tokens in, instructions, constants and names out. */
#include "io/template_parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TRY(x)                                                                                                         \
  do {                                                                                                                 \
    enum tb_status try_ = (x);                                                                                         \
    if (try_) return try_;                                                                                             \
  } while (0)

enum tb_status tb_tpl_error(struct tb_tpl_parser *p, enum tb_status status, uint32_t line, const char *fmt, ...) {
  char text[400];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  return tb_fail(p->err, status, "line %u: %s", line, text);
}

static enum tb_status no_memory(struct tb_tpl_parser *p) {
  return tb_tpl_error(p, TB_E_NOMEM, p->cur.line, "no memory to compile the template");
}

/* ------------------------------------------------------------------------------------------------------------- tokens */

enum tb_status tb_tpl_advance(struct tb_tpl_parser *p) {
  p->cur = p->next;
  return tb_tpl_lex(&p->lexer, &p->next, p->err);
}

static bool token_is(const struct tb_tpl_tok *tok, const char *name) {
  return tok->type == TB_TOK_NAME && strlen(name) == tok->n && memcmp(tok->s, name, tok->n) == 0;
}

bool tb_tpl_at_name(const struct tb_tpl_parser *p, const char *name) { return token_is(&p->cur, name); }
bool tb_tpl_next_is_name(const struct tb_tpl_parser *p, const char *name) { return token_is(&p->next, name); }

enum tb_status tb_tpl_unexpected(struct tb_tpl_parser *p, const char *what) {
  static const char *const names[] = {
      [TB_TOK_EOF] = "end of template", [TB_TOK_DATA] = "text", [TB_TOK_VAR_BEGIN] = "'{{'", [TB_TOK_VAR_END] = "'}}'",
      [TB_TOK_BLOCK_BEGIN] = "'{%'",    [TB_TOK_BLOCK_END] = "'%}'"};
  const struct tb_tpl_tok *c = &p->cur;
  if (c->type <= TB_TOK_BLOCK_END)
    return tb_tpl_error(p, TB_E_FORMAT, c->line, "unexpected %s, expected %s", names[c->type], what);
  return tb_tpl_error(p, TB_E_FORMAT, c->line, "unexpected '%.*s', expected %s", c->n < 80 ? (int)c->n : 80, c->s, what);
}

enum tb_status tb_tpl_expect_op(struct tb_tpl_parser *p, char op) {
  char what[] = {'\'', op, '\'', '\0'};
  if (!tb_tpl_at_op(p, (unsigned char)op)) return tb_tpl_unexpected(p, what);
  return tb_tpl_advance(p);
}

enum tb_status tb_tpl_expect_name(struct tb_tpl_parser *p, const char *name) {
  char what[32];
  snprintf(what, sizeof what, "'%s'", name);
  if (!tb_tpl_at_name(p, name)) return tb_tpl_unexpected(p, what);
  return tb_tpl_advance(p);
}

enum tb_status tb_tpl_enter(struct tb_tpl_parser *p) {
  if (p->depth >= TB_TEMPLATE_DEPTH)
    return tb_tpl_error(p, TB_E_LIMIT, p->cur.line, "nested deeper than %d levels", TB_TEMPLATE_DEPTH);
  p->depth++;
  return TB_OK;
}

/* --------------------------------------------------------------------------------------------------------------- code */

/* Room for one more element of a template's table. */
#define ROOM(p, list, n, cap)                                                                                          \
  do {                                                                                                                 \
    void *room_ = (list);                                                                                              \
    if (!tb_grow((p)->t->alloc, &room_, &(cap), (n) + 1, sizeof *(list))) return no_memory(p);                         \
    (list) = room_;                                                                                                    \
  } while (0)

enum tb_status tb_tpl_emit(struct tb_tpl_parser *p, enum tb_tpl_op op, int64_t arg, uint32_t b, uint32_t line) {
  struct tb_template *t = p->t;
  ROOM(p, t->code, t->n_code, t->cap_code);
  t->code[t->n_code++] = (struct tb_tpl_ins){.op = (uint8_t)op, .b = b, .arg = (int32_t)arg, .line = line};
  return TB_OK;
}

void tb_tpl_land(struct tb_tpl_parser *p, size_t from) {
  struct tb_tpl_ins *ins = &p->t->code[from];
  int32_t to = (int32_t)(p->t->n_code - from);
  if (ins->op == TB_OP_PARAM) ins->b = (uint32_t)to;
  else ins->arg = to;
}

enum tb_status tb_tpl_jump_back(struct tb_tpl_parser *p, enum tb_tpl_op op, size_t to) {
  return tb_tpl_emit(p, op, (int64_t)to - (int64_t)p->t->n_code, 0, p->cur.line);
}

enum tb_status tb_tpl_cut(struct tb_tpl_parser *p, size_t from, struct tb_tpl_cut *cut) {
  struct tb_template *t = p->t;
  cut->n = t->n_code - from;
  cut->at = tb_tpl_alloc(&p->scratch, cut->n, sizeof *cut->at);
  if (!cut->at) return no_memory(p);
  if (cut->n) memcpy(cut->at, t->code + from, cut->n * sizeof *cut->at);
  t->n_code = from;
  return TB_OK;
}

enum tb_status tb_tpl_paste(struct tb_tpl_parser *p, const struct tb_tpl_cut *cut) {
  for (size_t i = 0; i < cut->n; i++)
    TRY(tb_tpl_emit(p, (enum tb_tpl_op)cut->at[i].op, cut->at[i].arg, cut->at[i].b, cut->at[i].line));
  return TB_OK;
}

/* ------------------------------------------------------------------------------------------------- constants and names */

enum tb_status tb_tpl_const(struct tb_tpl_parser *p, struct tb_val v, uint32_t *id) {
  struct tb_template *t = p->t;
  ROOM(p, t->consts, t->n_consts, t->cap_consts);
  t->consts[t->n_consts] = v;
  *id = (uint32_t)t->n_consts++;
  return TB_OK;
}

enum tb_status tb_tpl_const_text(struct tb_tpl_parser *p, struct tb_tpl_str s, uint32_t *id) {
  struct tb_val v = tb_tpl_of_str(&p->t->arena, s, 0);
  if (p->t->arena.failed) return no_memory(p);
  return tb_tpl_const(p, v, id);
}

static uint32_t hash_name(struct tb_tpl_str s) {
  uint32_t h = 2166136261u;
  for (size_t i = 0; i < s.n; i++) h = (h ^ (unsigned char)s.s[i]) * 16777619u;
  return h;
}

static enum tb_status add_name(struct tb_tpl_parser *p, struct tb_tpl_str s, uint32_t *id) {
  struct tb_template *t = p->t;
  if (t->n_names == TB_TPL_NAMES)
    return tb_tpl_error(p, TB_E_LIMIT, p->cur.line, "more than %d names", TB_TPL_NAMES);
  ROOM(p, t->names, t->n_names, t->cap_names);
  ROOM(p, t->hidden, t->n_names, t->cap_hidden);
  t->hidden[t->n_names] = TB_USE_NONE;
  t->names[t->n_names] = s;
  *id = (uint32_t)t->n_names++;
  return TB_OK;
}

enum tb_status tb_tpl_name(struct tb_tpl_parser *p, struct tb_tpl_str s, uint32_t *id) {
  struct tb_template *t = p->t;
  uint32_t slot = hash_name(s) % TB_TPL_NAME_INDEX;
  for (; t->name_index[slot]; slot = (slot + 1) % TB_TPL_NAME_INDEX) {
    *id = t->name_index[slot] - 1;
    if (tb_tpl_str_eq(t->names[*id], s)) return TB_OK;
  }
  TRY(add_name(p, s, id));
  t->name_index[slot] = *id + 1;
  return TB_OK;
}

void tb_tpl_used(struct tb_tpl_parser *p, uint32_t name, enum tb_tpl_first_use use) {
  if (p->inner || p->t->hidden[name]) return;
  /* A store inside an if may not happen: then the context's value counts. */
  p->t->hidden[name] = (uint8_t)(p->soft ? TB_USE_OTHER : use);
}

enum tb_status tb_tpl_add_word(struct tb_tpl_parser *p, struct tb_tpl_words *words, uint32_t name) {
  if (words->n == words->cap) {
    uint32_t cap = words->cap ? words->cap * 2 : 8;
    uint32_t *at = tb_tpl_alloc(&p->scratch, cap, sizeof *at);
    if (!at) return no_memory(p);
    if (words->n) memcpy(at, words->at, words->n * sizeof *at);
    words->at = at;
    words->cap = cap;
  }
  words->at[words->n++] = name;
  return TB_OK;
}

enum tb_status tb_tpl_keywords(struct tb_tpl_parser *p, const struct tb_tpl_words *words, uint32_t *first) {
  struct tb_template *t = p->t;
  *first = (uint32_t)t->n_keywords;
  for (uint32_t i = 0; i < words->n; i++) {
    ROOM(p, t->keywords, t->n_keywords, t->cap_keywords);
    t->keywords[t->n_keywords++] = words->at[i];
  }
  return TB_OK;
}

enum tb_status tb_tpl_shape(struct tb_tpl_parser *p, struct tb_tpl_shape shape, uint32_t *id) {
  struct tb_template *t = p->t;
  ROOM(p, t->shapes, t->n_shapes, t->cap_shapes);
  t->shapes[t->n_shapes] = shape;
  *id = (uint32_t)t->n_shapes++;
  return TB_OK;
}
