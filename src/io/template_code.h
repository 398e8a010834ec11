/* A compiled template: instructions for the stack machine of template_run.c, and the lexer that feeds its compiler.
 *
 * The compiler emits code while it parses. Jumps are relative, so that a piece of expression code may be cut out and put
 * back elsewhere (a loop's target is written before its iterable, but runs after it). */
#ifndef TB_IO_TEMPLATE_CODE_H
#define TB_IO_TEMPLATE_CODE_H

#include "io/template_value.h"

/* --------------------------------------------------------------------------------------------------------- tokens */

enum tb_tpl_token {
  TB_TOK_EOF,
  TB_TOK_DATA,      /* text outside of tags */
  TB_TOK_VAR_BEGIN, /* {{ */
  TB_TOK_VAR_END,
  TB_TOK_BLOCK_BEGIN, /* {% */
  TB_TOK_BLOCK_END,
  TB_TOK_NAME,
  TB_TOK_STRING, /* text still escaped, without quotes */
  TB_TOK_INT,
  TB_TOK_FLOAT,
  TB_TOK_OP, /* one or two characters: `op` */
};

/* A two-character operator as one number. */
#define TB_OP2(a, b) ((unsigned)(a) << 8 | (unsigned)(b))

struct tb_tpl_tok {
  enum tb_tpl_token type;
  uint32_t line;
  unsigned op; /* OP: the character, or TB_OP2 */
  const char *s;
  size_t n; /* the token's text, in the source */
};

enum { TB_TPL_BALANCE = 256 }; /* open brackets at once; the parser's own depth is smaller */

struct tb_tpl_lexer {
  const char *s; /* source with \n line ends */
  size_t n, at;
  uint32_t line;
  enum { TB_LEX_TEXT, TB_LEX_VAR, TB_LEX_BLOCK, TB_LEX_RAW } state;
  enum tb_tpl_token pending; /* a tag begin that follows the text just given; EOF: none */
  uint32_t pending_line;
  char open[TB_TPL_BALANCE]; /* closing brackets that are due */
  unsigned n_open;
};

/* The next token. On failure *err says what is wrong. */
enum tb_status tb_tpl_lex(struct tb_tpl_lexer *lx, struct tb_tpl_tok *tok, struct tb_error *err);
/* Text of a STRING token with its escapes resolved; the arena's. */
enum tb_status tb_tpl_unescape(struct tb_tpl_arena *a, const struct tb_tpl_tok *tok, struct tb_tpl_str *out,
                               struct tb_error *err);

/* --------------------------------------------------------------------------------------------------- instructions */

/* In the comments: x, y are popped, -> is what is pushed, arg and b are the instruction's fields. */
enum tb_tpl_op {
  TB_OP_TEXT,       /* write constant arg */
  TB_OP_OUTPUT,     /* x; write str(x) */
  TB_OP_CONST,      /* -> constant arg */
  TB_OP_LOAD,       /* -> variable arg (a name) */
  TB_OP_STORE,      /* x; variable arg of the innermost scope = x */
  TB_OP_NS_STORE,   /* x; namespace variable arg, attribute constant b */
  TB_OP_UNPACK,     /* x; -> its arg items, the first on top */
  TB_OP_GETATTR,    /* x -> x.constant */
  TB_OP_GETITEM,    /* x, y -> x[y] */
  TB_OP_SLICE,      /* x, [start], [stop], [step] -> x[start:stop:step]; bits 1, 2, 4 of arg: which are there */
  TB_OP_LIST,       /* arg items -> list */
  TB_OP_TUPLE,      /* arg items -> tuple */
  TB_OP_DICT,       /* arg key-value pairs -> dict */
  TB_OP_NEG,
  TB_OP_POS,
  TB_OP_NOT,
  TB_OP_BINARY,     /* x, y -> x op y; arg: enum tb_tpl_binary */
  TB_OP_CONCAT,     /* arg values -> text */
  TB_OP_COMPARE,    /* x, y -> bool; b: enum tb_tpl_compare */
  TB_OP_CHAIN,      /* x, y: as COMPARE; true: -> y; false: -> false and jump arg */
  TB_OP_JUMP,       /* jump arg (relative to this instruction) */
  TB_OP_JUMP_FALSE, /* x; jump when false */
  TB_OP_AND,        /* x: when false keep it and jump, else drop it */
  TB_OP_OR,         /* x: when true keep it and jump, else drop it */
  TB_OP_NO_ELSE,    /* -> undefined (inline if without else) */
  TB_OP_CALL,       /* callee, arguments -> result; arg: call shape */
  TB_OP_FILTER,     /* x, arguments -> result; b: filter, arg: call shape */
  TB_OP_TEST,       /* x, arguments -> bool; b: test, arg: call shape */
  TB_OP_FOR,        /* x; begins a loop over x; b: enum tb_tpl_for bits */
  TB_OP_NEXT,       /* -> next item, or jump arg at the end */
  TB_OP_SOURCE,     /* in a loop's filter: -> next candidate, or end of the filter */
  TB_OP_ACCEPT,     /* x; in a loop's filter: true takes the candidate, else jump arg */
  TB_OP_RAN,        /* the loop body ran to its end once: no else */
  TB_OP_END_FOR,    /* ends the loop; jump arg when RAN was seen */
  TB_OP_LOOP_CALL,  /* x; calls the recursive loop at arg with x -> text */
  TB_OP_SCOPE,      /* opens a scope */
  TB_OP_END_SCOPE,
  TB_OP_CAPTURE,    /* output goes to a new buffer */
  TB_OP_END_CAPTURE,/* -> text of that buffer */
  TB_OP_DROP_CAPTURE,
  TB_OP_MACRO,      /* -> macro arg, closed over the scope */
  TB_OP_PARAM,      /* parameter arg (a name) of this call was given: jump b */
  TB_OP_NO_PARAM,   /* variable arg = undefined (not provided) */
  TB_OP_RETURN,     /* ends a macro or recursive loop -> its output */
  TB_OP_FAIL,       /* fails: what constant arg says is not supported */
};

enum tb_tpl_binary { TB_BIN_ADD, TB_BIN_SUB, TB_BIN_MUL, TB_BIN_DIV, TB_BIN_FLOORDIV, TB_BIN_MOD, TB_BIN_POW };
enum tb_tpl_compare { TB_CMP_EQ, TB_CMP_NE, TB_CMP_LT, TB_CMP_LE, TB_CMP_GT, TB_CMP_GE, TB_CMP_IN, TB_CMP_NOT_IN };
enum tb_tpl_for { TB_FOR_FILTER = 1, TB_FOR_RECURSIVE = 2 }; /* the filter's code begins two instructions further */

struct tb_tpl_ins {
  uint8_t op;
  uint32_t b;
  int32_t arg;
  uint32_t line;
};

/* How a call is laid out on the stack: n_pos values, [*list], then the keyword values, [**dict]. */
struct tb_tpl_shape {
  uint32_t n_pos, n_kw;
  uint32_t kw; /* first of n_kw entries of the keyword table */
  bool star, star2;
};

struct tb_tpl_macro_code {
  uint32_t name; /* a name, or TB_TPL_ANONYMOUS for a call block's body */
  uint32_t entry;
  uint32_t n_params;
  uint32_t params; /* first of n_params entries of the keyword table */
  bool varargs, kwargs, caller; /* what the body asks for beyond its parameters */
  bool caller_param;            /* a parameter is called caller */
};
#define TB_TPL_ANONYMOUS UINT32_MAX

struct tb_template {
  const struct tb_allocator *alloc;
  struct tb_tpl_arena arena; /* constants and source */
  struct tb_tpl_ins *code;
  size_t n_code, cap_code;
  struct tb_val *consts;
  size_t n_consts, cap_consts;
  struct tb_tpl_str *names; /* variables, parameters and keywords by number */
  size_t n_names, cap_names;
  uint32_t *name_index; /* hash of names, number + 1 */
  uint8_t *hidden;      /* per name: assigned at top level before any use, so never taken from the context */
  size_t cap_hidden;
  uint32_t *keywords; /* names of keyword arguments and parameters */
  size_t n_keywords, cap_keywords;
  struct tb_tpl_shape *shapes;
  size_t n_shapes, cap_shapes;
  struct tb_tpl_macro_code *macros;
  size_t n_macros, cap_macros;
};

/* Names every template has, so that the machine knows their numbers. */
enum tb_tpl_name { TB_NAME_LOOP, TB_NAME_CALLER, TB_NAME_VARARGS, TB_NAME_KWARGS, TB_NAME_FIXED };
enum { TB_TPL_NAMES = 4096, TB_TPL_NAME_INDEX = 16384 }; /* most names; slots of their hash */

/* Parses t's source into code (template_stmt.c). */
enum tb_status tb_tpl_parse(struct tb_template *t, const char *source, size_t n, struct tb_error *err);

/* Numbers of filters and tests; false for a name Jinja2 does not have. *known: this version has it. */
bool tb_tpl_filter_id(struct tb_tpl_str name, uint32_t *id, bool *known);
bool tb_tpl_test_id(struct tb_tpl_str name, uint32_t *id, bool *known);

#endif
