/* Loops, macros and call blocks of the template language. */
#include "io/template_parse.h"

#define TRY(x)                                                                                                         \
  do {                                                                                                                 \
    enum tb_status try_ = (x);                                                                                         \
    if (try_) return try_;                                                                                             \
  } while (0)

static enum tb_status emit(struct tb_tpl_parser *p, enum tb_tpl_op op, int64_t arg) {
  return tb_tpl_emit(p, op, arg, 0, p->cur.line);
}

/* --------------------------------------------------------------------------------------------------------------- loops */

/* "if condition" of a loop, as the code of its filter:
 *   jump over it; SOURCE; store the target; condition; ACCEPT, back to SOURCE. */
static enum tb_status loop_filter(struct tb_tpl_parser *p, const struct tb_tpl_cut *target, struct tb_tpl_cut *out) {
  size_t from = p->t->n_code;
  TRY(emit(p, TB_OP_JUMP, 0));
  size_t source = p->t->n_code;
  TRY(emit(p, TB_OP_SOURCE, 0));
  TRY(tb_tpl_paste(p, target));
  TRY(tb_tpl_expression(p, true));
  TRY(tb_tpl_jump_back(p, TB_OP_ACCEPT, source));
  tb_tpl_land(p, from);
  return tb_tpl_cut(p, from, out);
}

static enum tb_status loop_body(struct tb_tpl_parser *p, const struct tb_tpl_cut *target, bool *has_else) {
  static const char *const ends[] = {"endfor", "else", NULL};
  struct tb_tpl_loop_code loop = {.outer = p->frame->loop, .start = p->t->n_code};
  p->frame->loop = &loop;
  TRY(emit(p, TB_OP_NEXT, 0));
  TRY(tb_tpl_paste(p, target));
  TRY(tb_tpl_body(p, ends));
  *has_else = tb_tpl_at_name(p, "else");
  if (*has_else) TRY(emit(p, TB_OP_RAN, 0));
  TRY(tb_tpl_jump_back(p, TB_OP_JUMP, loop.start));
  tb_tpl_land(p, loop.start);
  while (loop.exits) {
    size_t at = loop.exits - 1;
    loop.exits = (size_t)p->t->code[at].arg;
    tb_tpl_land(p, at);
  }
  p->frame->loop = loop.outer;
  return TB_OK;
}

/* As in Jinja2, the else part runs when no pass reached the end of the body, so also after a break in the first. */
static enum tb_status loop_else(struct tb_tpl_parser *p, bool has_else) {
  size_t end = p->t->n_code;
  TRY(emit(p, TB_OP_END_FOR, 1));
  TRY(tb_tpl_advance(p));
  if (!has_else) return TB_OK;
  TRY(tb_tpl_open_scope(p));
  TRY(tb_tpl_body_to(p, "endfor"));
  TRY(tb_tpl_close_scope(p));
  tb_tpl_land(p, end);
  return TB_OK;
}

static enum tb_status loop_code(struct tb_tpl_parser *p, const struct tb_tpl_cut *target, const struct tb_tpl_cut *filter,
                                bool recursive) {
  bool has_else;
  TRY(tb_tpl_emit(p, TB_OP_FOR, 0, (filter->n ? TB_FOR_FILTER : 0u) | (recursive ? TB_FOR_RECURSIVE : 0u), p->cur.line));
  TRY(tb_tpl_paste(p, filter));
  TRY(loop_body(p, target, &has_else));
  return loop_else(p, has_else);
}

/* A recursive loop is a function that is called with the iterable; loop(…) in its body calls it again. */
static enum tb_status recursive_loop(struct tb_tpl_parser *p, const struct tb_tpl_cut *target,
                                     const struct tb_tpl_cut *filter) {
  struct tb_tpl_frame frame = {.outer = p->frame};
  TRY(emit(p, TB_OP_LOOP_CALL, 3));
  TRY(emit(p, TB_OP_OUTPUT, 0));
  size_t over = p->t->n_code;
  TRY(emit(p, TB_OP_JUMP, 0));
  p->frame = &frame;
  TRY(loop_code(p, target, filter, true));
  p->frame = frame.outer;
  TRY(emit(p, TB_OP_RETURN, 0));
  tb_tpl_land(p, over);
  return TB_OK;
}

enum tb_status tb_tpl_for(struct tb_tpl_parser *p) {
  struct tb_tpl_cut target, filter = {0};
  size_t from = p->t->n_code;
  TRY(tb_tpl_advance(p));
  TRY(tb_tpl_target(p, false, "in"));
  TRY(tb_tpl_cut(p, from, &target));
  for (size_t i = 0; i < target.n; i++)
    if (target.at[i].op == TB_OP_STORE && target.at[i].arg == TB_NAME_LOOP)
      return tb_tpl_error(p, TB_E_FORMAT, target.at[i].line, "cannot assign to 'loop' in a for loop");
  TRY(tb_tpl_expect_name(p, "in"));
  TRY(tb_tpl_tuple(p, false, "recursive"));
  p->inner++;
  if (tb_tpl_at_name(p, "if")) {
    TRY(tb_tpl_advance(p));
    TRY(loop_filter(p, &target, &filter));
  }
  bool recursive = tb_tpl_at_name(p, "recursive");
  if (recursive) TRY(tb_tpl_advance(p));
  p->fors++;
  TRY(recursive ? recursive_loop(p, &target, &filter) : loop_code(p, &target, &filter, false));
  p->fors--;
  p->inner--;
  return TB_OK;
}

/* -------------------------------------------------------------------------------------------------------------- macros */

/* "(a, b=1)": code that gives every parameter that was not passed its default. */
static enum tb_status signature(struct tb_tpl_parser *p, struct tb_tpl_words *params) {
  bool defaults = false;
  TRY(tb_tpl_expect_op(p, '('));
  while (!tb_tpl_at_op(p, ')')) {
    uint32_t name, line = p->cur.line;
    if (params->n) TRY(tb_tpl_expect_op(p, ','));
    TRY(tb_tpl_target_name(p, &name));
    TRY(tb_tpl_add_word(p, params, name));
    size_t given = p->t->n_code;
    TRY(tb_tpl_emit(p, TB_OP_PARAM, name, 0, line));
    if (tb_tpl_at_op(p, '=')) {
      defaults = true;
      TRY(tb_tpl_advance(p));
      TRY(tb_tpl_expression(p, true));
      TRY(tb_tpl_emit(p, TB_OP_STORE, name, 0, line));
    } else if (defaults) {
      return tb_tpl_error(p, TB_E_FORMAT, line, "a parameter without default follows one with a default");
    } else {
      TRY(tb_tpl_emit(p, TB_OP_NO_PARAM, name, 0, line));
    }
    tb_tpl_land(p, given);
  }
  return tb_tpl_advance(p);
}

/* The code of a macro or call block behind its signature, and its row in the table. */
static enum tb_status macro_body(struct tb_tpl_parser *p, struct tb_tpl_macro_code *m, const struct tb_tpl_cut *sig,
                                 const struct tb_tpl_words *params, const char *end) {
  struct tb_tpl_frame frame = {.outer = p->frame};
  size_t over = p->t->n_code;
  TRY(emit(p, TB_OP_JUMP, 0));
  m->entry = (uint32_t)p->t->n_code;
  TRY(tb_tpl_paste(p, sig));
  p->frame = &frame;
  TRY(tb_tpl_body_to(p, end));
  p->frame = frame.outer;
  TRY(emit(p, TB_OP_RETURN, 0));
  tb_tpl_land(p, over);
  m->varargs = frame.varargs;
  m->kwargs = frame.kwargs;
  m->caller = frame.caller;
  m->n_params = params->n;
  for (uint32_t i = 0; i < params->n; i++) {
    m->caller_param |= params->at[i] == TB_NAME_CALLER;
    m->varargs &= params->at[i] != TB_NAME_VARARGS;
    m->kwargs &= params->at[i] != TB_NAME_KWARGS;
  }
  return tb_tpl_keywords(p, params, &m->params);
}

static enum tb_status push_macro(struct tb_tpl_parser *p, const struct tb_tpl_macro_code *m) {
  struct tb_template *t = p->t;
  void *macros = t->macros;
  if (!tb_grow(t->alloc, &macros, &t->cap_macros, t->n_macros + 1, sizeof *t->macros))
    return tb_tpl_error(p, TB_E_NOMEM, p->cur.line, "no memory to compile the template");
  t->macros = macros;
  t->macros[t->n_macros] = *m;
  return emit(p, TB_OP_MACRO, (int64_t)t->n_macros++);
}

static enum tb_status cut_signature(struct tb_tpl_parser *p, struct tb_tpl_words *params, struct tb_tpl_cut *sig) {
  struct tb_tpl_frame frame = {.outer = p->frame}; /* names in defaults are the macro's */
  size_t from = p->t->n_code;
  p->frame = &frame;
  TRY(signature(p, params));
  p->frame = frame.outer;
  return tb_tpl_cut(p, from, sig);
}

enum tb_status tb_tpl_macro(struct tb_tpl_parser *p) {
  struct tb_tpl_macro_code m = {0};
  struct tb_tpl_words params = {0};
  struct tb_tpl_cut sig;
  TRY(tb_tpl_advance(p));
  TRY(tb_tpl_target_name(p, &m.name));
  tb_tpl_used(p, m.name, TB_USE_STORE);
  p->inner++;
  TRY(cut_signature(p, &params, &sig));
  TRY(macro_body(p, &m, &sig, &params, "endmacro"));
  p->inner--;
  TRY(push_macro(p, &m));
  return emit(p, TB_OP_STORE, m.name);
}

/* "call(params) f(args)": f gets one more argument, caller, a macro made of the block's body. */
enum tb_status tb_tpl_call_block(struct tb_tpl_parser *p) {
  struct tb_tpl_macro_code m = {.name = TB_TPL_ANONYMOUS};
  struct tb_tpl_words params = {0}, kw = {0};
  struct tb_tpl_cut sig = {0};
  uint32_t line = p->cur.line, shape_id;
  TRY(tb_tpl_advance(p));
  p->inner++;
  if (tb_tpl_at_op(p, '(')) TRY(cut_signature(p, &params, &sig));
  p->inner--;
  p->call_end = 0;
  TRY(tb_tpl_expression(p, true));
  struct tb_template *t = p->t;
  if (p->call_end != t->n_code) return tb_tpl_error(p, TB_E_FORMAT, line, "the call tag needs a call");
  struct tb_tpl_shape shape = t->shapes[t->code[--t->n_code].arg];
  if (shape.star2) return tb_tpl_error(p, TB_E_UNSUPPORTED, line, "'**' in a call block is not supported");
  p->inner++;
  TRY(macro_body(p, &m, &sig, &params, "endcall"));
  p->inner--;
  TRY(push_macro(p, &m));
  for (uint32_t i = 0; i < shape.n_kw; i++) TRY(tb_tpl_add_word(p, &kw, t->keywords[shape.kw + i]));
  TRY(tb_tpl_add_word(p, &kw, TB_NAME_CALLER));
  shape.n_kw++;
  TRY(tb_tpl_keywords(p, &kw, &shape.kw));
  TRY(tb_tpl_shape(p, shape, &shape_id));
  TRY(tb_tpl_emit(p, TB_OP_CALL, shape_id, 0, line));
  return emit(p, TB_OP_OUTPUT, 0);
}

/* Marks what the model wrote; it renders as its contents, in a scope of their own. */
enum tb_status tb_tpl_generation(struct tb_tpl_parser *p) {
  struct tb_tpl_frame frame = {.outer = p->frame};
  TRY(tb_tpl_advance(p));
  TRY(tb_tpl_open_scope(p));
  p->frame = &frame;
  TRY(tb_tpl_body_to(p, "endgeneration"));
  p->frame = frame.outer;
  return tb_tpl_close_scope(p);
}
