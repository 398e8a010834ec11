/* Statements of the template language (loops, macros and their like: template_block.c). */
#include "io/template_parse.h"

#include <string.h>

#define TRY(x)                                                                                                         \
  do {                                                                                                                 \
    enum tb_status try_ = (x);                                                                                         \
    if (try_) return try_;                                                                                             \
  } while (0)

enum { WITH_MAX = 32 }; /* variables of one with tag */

static enum tb_status emit(struct tb_tpl_parser *p, enum tb_tpl_op op, int64_t arg) {
  return tb_tpl_emit(p, op, arg, 0, p->cur.line);
}

/* -------------------------------------------------------------------------------------------------------------- scopes */

enum tb_status tb_tpl_open_scope(struct tb_tpl_parser *p) {
  p->inner++;
  if (p->frame->loop) p->frame->loop->scopes++;
  return emit(p, TB_OP_SCOPE, 0);
}

enum tb_status tb_tpl_close_scope(struct tb_tpl_parser *p) {
  p->inner--;
  if (p->frame->loop) p->frame->loop->scopes--;
  return emit(p, TB_OP_END_SCOPE, 0);
}

static enum tb_status open_capture(struct tb_tpl_parser *p) {
  TRY(emit(p, TB_OP_CAPTURE, 0));
  if (p->frame->loop) p->frame->loop->buffers++;
  return tb_tpl_open_scope(p);
}

/* Leaves the captured text, run through `filters`, on the stack. */
static enum tb_status close_capture(struct tb_tpl_parser *p, const struct tb_tpl_cut *filters) {
  TRY(emit(p, TB_OP_END_CAPTURE, 0));
  if (p->frame->loop) p->frame->loop->buffers--;
  TRY(tb_tpl_paste(p, filters));
  return tb_tpl_close_scope(p);
}

/* ---------------------------------------------------------------------------------------------------------- statements */

static enum tb_status if_statement(struct tb_tpl_parser *p) {
  static const char *const ends[] = {"elif", "else", "endif", NULL};
  size_t exits = 0; /* place + 1 of the last jump to the end, chained through arg */
  p->soft++;
  do {
    TRY(tb_tpl_advance(p));
    TRY(tb_tpl_tuple(p, false, NULL));
    size_t to_next = p->t->n_code;
    TRY(emit(p, TB_OP_JUMP_FALSE, 0));
    TRY(tb_tpl_body(p, ends));
    TRY(emit(p, TB_OP_JUMP, (int64_t)exits));
    exits = p->t->n_code;
    tb_tpl_land(p, to_next);
  } while (tb_tpl_at_name(p, "elif"));
  bool has_else = tb_tpl_at_name(p, "else");
  TRY(tb_tpl_advance(p));
  if (has_else) TRY(tb_tpl_body_to(p, "endif"));
  while (exits) {
    size_t at = exits - 1;
    exits = (size_t)p->t->code[at].arg;
    tb_tpl_land(p, at);
  }
  p->soft--;
  return TB_OK;
}

/* Stores the value on the stack with a target's code that was cut out. */
static enum tb_status store(struct tb_tpl_parser *p, const struct tb_tpl_cut *target) {
  for (size_t i = 0; i < target->n; i++) {
    if (target->at[i].op != TB_OP_STORE) continue;
    if (p->fors && target->at[i].arg == TB_NAME_LOOP)
      return tb_tpl_error(p, TB_E_FORMAT, target->at[i].line, "cannot assign to 'loop' in a for loop");
    tb_tpl_used(p, (uint32_t)target->at[i].arg, TB_USE_STORE);
  }
  return tb_tpl_paste(p, target);
}

static enum tb_status cut_target(struct tb_tpl_parser *p, bool ns, struct tb_tpl_cut *cut) {
  size_t from = p->t->n_code;
  TRY(tb_tpl_target(p, ns, NULL));
  return tb_tpl_cut(p, from, cut);
}

static enum tb_status cut_filters(struct tb_tpl_parser *p, bool bare, struct tb_tpl_cut *cut) {
  size_t from = p->t->n_code;
  TRY(tb_tpl_filters(p, bare));
  return tb_tpl_cut(p, from, cut);
}

static enum tb_status set_statement(struct tb_tpl_parser *p) {
  struct tb_tpl_cut target, filters;
  TRY(tb_tpl_advance(p));
  TRY(cut_target(p, true, &target));
  if (tb_tpl_at_op(p, '=')) {
    TRY(tb_tpl_advance(p));
    TRY(tb_tpl_tuple(p, true, NULL));
    return store(p, &target);
  }
  TRY(cut_filters(p, false, &filters));
  TRY(open_capture(p));
  TRY(tb_tpl_body_to(p, "endset"));
  TRY(close_capture(p, &filters));
  return store(p, &target);
}

static enum tb_status filter_statement(struct tb_tpl_parser *p) {
  struct tb_tpl_cut filters;
  TRY(tb_tpl_advance(p));
  TRY(cut_filters(p, true, &filters));
  TRY(open_capture(p));
  TRY(tb_tpl_body_to(p, "endfilter"));
  TRY(close_capture(p, &filters));
  return emit(p, TB_OP_OUTPUT, 0);
}

/* All values are computed in the outer scope before the first variable is set. */
static enum tb_status with_statement(struct tb_tpl_parser *p) {
  struct tb_tpl_cut targets[WITH_MAX];
  size_t n = 0;
  TRY(tb_tpl_advance(p));
  for (; p->cur.type != TB_TOK_BLOCK_END; n++) {
    if (n == WITH_MAX) return tb_tpl_error(p, TB_E_LIMIT, p->cur.line, "more than %d variables in with", WITH_MAX);
    if (n) TRY(tb_tpl_expect_op(p, ','));
    TRY(cut_target(p, false, &targets[n]));
    TRY(tb_tpl_expect_op(p, '='));
    TRY(tb_tpl_expression(p, true));
  }
  TRY(tb_tpl_open_scope(p));
  while (n) TRY(store(p, &targets[--n]));
  TRY(tb_tpl_body_to(p, "endwith"));
  return tb_tpl_close_scope(p);
}

static enum tb_status print_statement(struct tb_tpl_parser *p) {
  TRY(tb_tpl_advance(p));
  for (bool first = true; p->cur.type != TB_TOK_BLOCK_END; first = false) {
    if (!first) TRY(tb_tpl_expect_op(p, ','));
    TRY(tb_tpl_expression(p, true));
    TRY(emit(p, TB_OP_OUTPUT, 0));
  }
  return TB_OK;
}

static enum tb_status leave_loop(struct tb_tpl_parser *p) {
  bool leave = tb_tpl_at_name(p, "break");
  struct tb_tpl_loop_code *loop = p->frame->loop;
  if (!loop)
    return tb_tpl_error(p, TB_E_FORMAT, p->cur.line, "'%s' outside of a loop", leave ? "break" : "continue");
  TRY(tb_tpl_advance(p));
  for (unsigned i = 0; i < loop->scopes; i++) TRY(emit(p, TB_OP_END_SCOPE, 0));
  for (unsigned i = 0; i < loop->buffers; i++) TRY(emit(p, TB_OP_DROP_CAPTURE, 0));
  if (!leave) return tb_tpl_jump_back(p, TB_OP_JUMP, loop->start);
  TRY(emit(p, TB_OP_JUMP, (int64_t)loop->exits));
  loop->exits = p->t->n_code;
  return TB_OK;
}

static enum tb_status unknown_tag(struct tb_tpl_parser *p) {
  static const char *const of_jinja[] = {"block", "extends", "include", "import", "from", "autoescape",
                                         "trans", "do",      "debug"};
  for (size_t i = 0; i < sizeof of_jinja / sizeof of_jinja[0]; i++)
    if (tb_tpl_at_name(p, of_jinja[i]))
      return tb_tpl_error(p, TB_E_UNSUPPORTED, p->cur.line, "tag '%s' is not supported", of_jinja[i]);
  return tb_tpl_error(p, TB_E_FORMAT, p->cur.line, "unexpected tag '%.*s'", p->cur.n < 80 ? (int)p->cur.n : 80, p->cur.s);
}

static enum tb_status statement(struct tb_tpl_parser *p) {
  static const struct {
    const char *name;
    enum tb_status (*parse)(struct tb_tpl_parser *);
  } tags[] = {{"if", if_statement},         {"for", tb_tpl_for},          {"set", set_statement},
              {"macro", tb_tpl_macro},      {"call", tb_tpl_call_block},  {"filter", filter_statement},
              {"with", with_statement},     {"print", print_statement},   {"generation", tb_tpl_generation},
              {"break", leave_loop},        {"continue", leave_loop}};
  if (p->cur.type != TB_TOK_NAME) return tb_tpl_unexpected(p, "a tag name");
  for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++)
    if (tb_tpl_at_name(p, tags[i].name)) return tags[i].parse(p);
  return unknown_tag(p);
}

/* -------------------------------------------------------------------------------------------------------------- bodies */

static enum tb_status output(struct tb_tpl_parser *p) {
  TRY(tb_tpl_advance(p));
  TRY(tb_tpl_tuple(p, true, NULL));
  TRY(emit(p, TB_OP_OUTPUT, 0));
  if (p->cur.type != TB_TOK_VAR_END) return tb_tpl_unexpected(p, "'}}'");
  return tb_tpl_advance(p);
}

static enum tb_status data(struct tb_tpl_parser *p) {
  uint32_t id;
  TRY(tb_tpl_const_text(p, (struct tb_tpl_str){.s = p->cur.s, .n = p->cur.n, .trusted = true}, &id));
  TRY(emit(p, TB_OP_TEXT, id));
  return tb_tpl_advance(p);
}

static bool at_end_tag(const struct tb_tpl_parser *p, const char *const *ends) {
  for (; *ends; ends++)
    if (tb_tpl_at_name(p, *ends)) return true;
  return false;
}

/* Text and tags until an end tag (the current token then), or the end of the template when there are none. */
static enum tb_status contents(struct tb_tpl_parser *p, const char *const *ends) {
  while (p->cur.type != TB_TOK_EOF) {
    if (p->cur.type == TB_TOK_DATA) {
      TRY(data(p));
    } else if (p->cur.type == TB_TOK_VAR_BEGIN) {
      TRY(output(p));
    } else {
      TRY(tb_tpl_advance(p)); /* a block begins: the lexer gives nothing else between tags */
      if (at_end_tag(p, ends)) return TB_OK;
      TRY(statement(p));
      if (p->cur.type != TB_TOK_BLOCK_END) return tb_tpl_unexpected(p, "'%}'");
      TRY(tb_tpl_advance(p));
    }
  }
  if (!*ends) return TB_OK;
  size_t last = 0;
  while (ends[last + 1]) last++;
  return tb_tpl_error(p, TB_E_FORMAT, p->cur.line, "unexpected end of template, expected tag '%s'", ends[last]);
}

enum tb_status tb_tpl_body(struct tb_tpl_parser *p, const char *const *ends) {
  TRY(tb_tpl_enter(p));
  if (tb_tpl_at_op(p, ':')) TRY(tb_tpl_advance(p));
  if (p->cur.type != TB_TOK_BLOCK_END) return tb_tpl_unexpected(p, "'%}'");
  TRY(tb_tpl_advance(p));
  TRY(contents(p, ends));
  p->depth--;
  return TB_OK;
}

enum tb_status tb_tpl_body_to(struct tb_tpl_parser *p, const char *end) {
  const char *const ends[] = {end, NULL};
  TRY(tb_tpl_body(p, ends));
  return tb_tpl_advance(p);
}

/* ------------------------------------------------------------------------------------------------------------ template */

static enum tb_status fixed_names(struct tb_tpl_parser *p) {
  static const char *const names[] = {"loop", "caller", "varargs", "kwargs"};
  uint32_t id, shape;
  for (size_t i = 0; i < TB_NAME_FIXED; i++) TRY(tb_tpl_name(p, tb_tpl_literal(names[i]), &id));
  return tb_tpl_shape(p, (struct tb_tpl_shape){0}, &shape); /* shape 0: no arguments */
}

static enum tb_status parse(struct tb_tpl_parser *p) {
  static const char *const no_end[] = {NULL};
  TRY(fixed_names(p));
  TRY(tb_tpl_lex(&p->lexer, &p->next, p->err));
  TRY(tb_tpl_advance(p));
  TRY(contents(p, no_end));
  return emit(p, TB_OP_RETURN, 0);
}

enum tb_status tb_tpl_parse(struct tb_template *t, const char *source, size_t n, struct tb_error *err) {
  struct tb_tpl_frame frame = {0};
  struct tb_tpl_parser p = {.t = t, .err = err, .frame = &frame, .lexer = {.s = source, .n = n, .line = 1}};
  tb_tpl_arena_init(&p.scratch, t->alloc, SIZE_MAX / 2);
  enum tb_status st = parse(&p);
  for (size_t i = 0; i < t->n_names; i++) t->hidden[i] = t->hidden[i] == TB_USE_STORE;
  tb_tpl_arena_free(&p.scratch);
  return st;
}
