/* The template compiler's state, shared by its statement and expression halves. */
#ifndef TB_IO_TEMPLATE_PARSE_H
#define TB_IO_TEMPLATE_PARSE_H

#include "io/template_code.h"

/* An open loop, for break and continue. */
struct tb_tpl_loop_code {
  struct tb_tpl_loop_code *outer;
  size_t start;             /* place of its NEXT */
  size_t exits;             /* place + 1 of the last jump to its end; they are chained through their arg */
  unsigned scopes, buffers; /* open inside it: break and continue close them */
};

/* Where code is being emitted for: the template, or the body of a macro, call block or generation block. */
struct tb_tpl_frame {
  struct tb_tpl_frame *outer;
  struct tb_tpl_loop_code *loop;
  bool varargs, kwargs, caller; /* names its code mentions */
};

/* What a top-level name was first used for (see `hidden` in struct tb_template). */
enum tb_tpl_first_use { TB_USE_NONE, TB_USE_OTHER, TB_USE_STORE };

struct tb_tpl_parser {
  struct tb_template *t;
  struct tb_error *err;
  struct tb_tpl_lexer lexer;
  struct tb_tpl_tok cur, next;
  struct tb_tpl_arena scratch; /* code that was cut out, until it is put back */
  unsigned depth;              /* of TB_TEMPLATE_DEPTH */
  unsigned soft;               /* inside if or an inline if: unknown filters fail only when they run */
  unsigned inner;              /* inside scopes other than the template's own: uses there are not top-level uses */
  size_t call_end;             /* code size right after a call was emitted as a whole expression, else 0 */
  unsigned fors;               /* for loops around, those outside of a macro included: "loop" cannot be assigned */
  struct tb_tpl_frame *frame;
};

/* Names of keywords or parameters, collected before they go to the template's table together. */
struct tb_tpl_words {
  uint32_t *at;
  uint32_t n, cap;
};

/* A piece of code taken out of the stream. */
struct tb_tpl_cut {
  struct tb_tpl_ins *at;
  size_t n;
};

/* Fails with "line N: …" at the current token. */
enum tb_status tb_tpl_error(struct tb_tpl_parser *p, enum tb_status status, uint32_t line, const char *fmt, ...)
    TB_PRINTF(4, 5);

/* --- template_emit.c: tokens and code */

enum tb_status tb_tpl_advance(struct tb_tpl_parser *p);
static inline bool tb_tpl_at_op(const struct tb_tpl_parser *p, unsigned op) {
  return p->cur.type == TB_TOK_OP && p->cur.op == op;
}
bool tb_tpl_at_name(const struct tb_tpl_parser *p, const char *name);
bool tb_tpl_next_is_name(const struct tb_tpl_parser *p, const char *name);
enum tb_status tb_tpl_expect_op(struct tb_tpl_parser *p, char op);
enum tb_status tb_tpl_expect_name(struct tb_tpl_parser *p, const char *name);
/* Fails with "unexpected …, expected `what`". */
enum tb_status tb_tpl_unexpected(struct tb_tpl_parser *p, const char *what);

/* Appends an instruction; its place is t->n_code - 1 afterwards. */
enum tb_status tb_tpl_emit(struct tb_tpl_parser *p, enum tb_tpl_op op, int64_t arg, uint32_t b, uint32_t line);
/* Makes the jump at `from` go to the next instruction that is emitted. */
void tb_tpl_land(struct tb_tpl_parser *p, size_t from);
/* Emits a jump back to `to`. */
enum tb_status tb_tpl_jump_back(struct tb_tpl_parser *p, enum tb_tpl_op op, size_t to);
/* Cuts the code from `from` to the end; puts a piece back at the end. */
enum tb_status tb_tpl_cut(struct tb_tpl_parser *p, size_t from, struct tb_tpl_cut *cut);
enum tb_status tb_tpl_paste(struct tb_tpl_parser *p, const struct tb_tpl_cut *cut);

/* Numbers of a constant and of a name; notes the first top-level use of a name. */
enum tb_status tb_tpl_const(struct tb_tpl_parser *p, struct tb_val v, uint32_t *id);
enum tb_status tb_tpl_const_text(struct tb_tpl_parser *p, struct tb_tpl_str s, uint32_t *id);
enum tb_status tb_tpl_name(struct tb_tpl_parser *p, struct tb_tpl_str s, uint32_t *id);
void tb_tpl_used(struct tb_tpl_parser *p, uint32_t name, enum tb_tpl_first_use use);
enum tb_status tb_tpl_add_word(struct tb_tpl_parser *p, struct tb_tpl_words *words, uint32_t name);
/* Puts the words into the keyword table; *first is the place of the first. */
enum tb_status tb_tpl_keywords(struct tb_tpl_parser *p, const struct tb_tpl_words *words, uint32_t *first);
enum tb_status tb_tpl_shape(struct tb_tpl_parser *p, struct tb_tpl_shape shape, uint32_t *id);

/* One level down; the caller goes up again with p->depth--. */
enum tb_status tb_tpl_enter(struct tb_tpl_parser *p);

/* --- template_expr.c */

/* An expression that leaves its value on the stack. */
enum tb_status tb_tpl_expression(struct tb_tpl_parser *p, bool inline_if);
/* One or more of them; with commas they make a tuple. `end` (or NULL) is a name that ends it. */
enum tb_status tb_tpl_tuple(struct tb_tpl_parser *p, bool inline_if, const char *end);
/* "| filter" … on the value on the stack; `bare`: the first has no bar. */
enum tb_status tb_tpl_filters(struct tb_tpl_parser *p, bool bare);
/* "name", "(a, b)" or, with `ns`, "name.attr": code that stores the value on the stack. `end` as above. */
enum tb_status tb_tpl_target(struct tb_tpl_parser *p, bool ns, const char *end);
enum tb_status tb_tpl_target_name(struct tb_tpl_parser *p, uint32_t *name);

/* --- template_stmt.c and template_block.c */

/* "%}", then text and tags up to a tag named in `ends` (NULL-terminated), which becomes the current token. */
enum tb_status tb_tpl_body(struct tb_tpl_parser *p, const char *const *ends);
/* As tb_tpl_body for a single end tag, which is consumed. */
enum tb_status tb_tpl_body_to(struct tb_tpl_parser *p, const char *end);
/* Statements; the current token is the tag's name. */
enum tb_status tb_tpl_for(struct tb_tpl_parser *p);
enum tb_status tb_tpl_macro(struct tb_tpl_parser *p);
enum tb_status tb_tpl_call_block(struct tb_tpl_parser *p);
enum tb_status tb_tpl_generation(struct tb_tpl_parser *p);
/* Opens and closes a scope (in the code, and for what break and top-level names need). */
enum tb_status tb_tpl_open_scope(struct tb_tpl_parser *p);
enum tb_status tb_tpl_close_scope(struct tb_tpl_parser *p);

#endif
