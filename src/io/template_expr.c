/* Expressions of the template language, compiled by precedence climbing. Jinja2's precedences: or, and, not,
 * comparisons, + -, ~, * / // %, **, unary, filters and tests. */
#include "io/template_parse.h"
#include "io/template_number.h"

#include <string.h>

#define TRY(x)                                                                                                         \
  do {                                                                                                                 \
    enum tb_status try_ = (x);                                                                                         \
    if (try_) return try_;                                                                                             \
  } while (0)

enum level { OR = 1, AND, NOT, COMPARE, ADD, CONCAT, MUL, POW, UNARY };

enum { INLINE_IFS = 64 }; /* of one expression: each copies the code before it */

static enum tb_status binary(struct tb_tpl_parser *p, enum level min);
static enum tb_status unary(struct tb_tpl_parser *p, bool with_filters);
static enum tb_status postfix(struct tb_tpl_parser *p);

static size_t here(const struct tb_tpl_parser *p) { return p->t->n_code; }

static enum tb_status emit(struct tb_tpl_parser *p, enum tb_tpl_op op, int64_t arg, uint32_t line) {
  return tb_tpl_emit(p, op, arg, 0, line);
}

static struct tb_tpl_str token_text(const struct tb_tpl_tok *tok) {
  return (struct tb_tpl_str){.s = tok->s, .n = tok->n, .trusted = true};
}

static enum tb_status push_const(struct tb_tpl_parser *p, struct tb_val v, uint32_t line) {
  uint32_t id;
  TRY(tb_tpl_const(p, v, &id));
  return emit(p, TB_OP_CONST, id, line);
}

static enum tb_status push_text(struct tb_tpl_parser *p, struct tb_tpl_str s, uint32_t line) {
  uint32_t id;
  TRY(tb_tpl_const_text(p, s, &id));
  return emit(p, TB_OP_CONST, id, line);
}

/* ------------------------------------------------------------------------------------------------------------ literals */

/* Adjacent strings are one. */
static enum tb_status string(struct tb_tpl_parser *p) {
  uint32_t line = p->cur.line;
  struct tb_tpl_text text;
  tb_tpl_text_init(&text, &p->t->arena);
  while (p->cur.type == TB_TOK_STRING) {
    struct tb_tpl_str part;
    TRY(tb_tpl_unescape(&p->t->arena, &p->cur, &part, p->err));
    if (!tb_tpl_text_put_str(&text, part)) return tb_tpl_error(p, TB_E_NOMEM, line, "no memory for a string");
    TRY(tb_tpl_advance(p));
  }
  return push_text(p, tb_tpl_text_str(&text), line);
}

static enum tb_status number(struct tb_tpl_parser *p) {
  struct tb_tpl_tok tok = p->cur;
  struct tb_val v = tb_tpl_int(0);
  if (tok.type == TB_TOK_FLOAT) {
    v.kind = TB_VAL_FLOAT;
    if (!tb_num_parse_float(tok.s, tok.n, &v.u.f))
      return tb_tpl_error(p, TB_E_LIMIT, tok.line, "number is too long");
  } else if (!tb_num_parse_int(tok.s, tok.n, 0, &v.u.i)) {
    return tb_tpl_error(p, TB_E_LIMIT, tok.line, "integer does not fit in 64 bits");
  }
  TRY(tb_tpl_advance(p));
  return push_const(p, v, tok.line);
}

/* Names that ask for what a macro was called with, in every macro around. */
static void note_macro_name(struct tb_tpl_parser *p, uint32_t name) {
  for (struct tb_tpl_frame *f = p->frame; f; f = f->outer) {
    f->caller |= name == TB_NAME_CALLER;
    f->varargs |= name == TB_NAME_VARARGS;
    f->kwargs |= name == TB_NAME_KWARGS;
  }
}

static enum tb_status name(struct tb_tpl_parser *p) {
  struct tb_tpl_tok tok = p->cur;
  struct tb_tpl_str s = token_text(&tok);
  TRY(tb_tpl_advance(p));
  if (tb_tpl_str_is(s, "true") || tb_tpl_str_is(s, "True")) return push_const(p, tb_tpl_bool(true), tok.line);
  if (tb_tpl_str_is(s, "false") || tb_tpl_str_is(s, "False")) return push_const(p, tb_tpl_bool(false), tok.line);
  if (tb_tpl_str_is(s, "none") || tb_tpl_str_is(s, "None")) return push_const(p, tb_tpl_none(), tok.line);
  uint32_t id;
  TRY(tb_tpl_name(p, s, &id));
  tb_tpl_used(p, id, TB_USE_OTHER);
  note_macro_name(p, id);
  return emit(p, TB_OP_LOAD, id, tok.line);
}

/* "[a, b]" behind the bracket, "{k: v}" behind the brace. */
static enum tb_status items(struct tb_tpl_parser *p, char close, bool pairs, enum tb_tpl_op op) {
  uint32_t line = p->cur.line;
  int64_t n = 0;
  while (!tb_tpl_at_op(p, (unsigned char)close)) {
    if (n) TRY(tb_tpl_expect_op(p, ','));
    if (tb_tpl_at_op(p, (unsigned char)close)) break;
    TRY(tb_tpl_expression(p, true));
    if (pairs) {
      TRY(tb_tpl_expect_op(p, ':'));
      TRY(tb_tpl_expression(p, true));
    }
    n++;
  }
  TRY(tb_tpl_advance(p));
  return emit(p, op, n, line);
}

static bool tuple_ends(const struct tb_tpl_parser *p, const char *end) {
  return p->cur.type == TB_TOK_VAR_END || p->cur.type == TB_TOK_BLOCK_END || tb_tpl_at_op(p, ')') ||
         (end && tb_tpl_at_name(p, end));
}

static enum tb_status tuple(struct tb_tpl_parser *p, bool inline_if, const char *end, bool parenthesised) {
  uint32_t line = p->cur.line;
  int64_t n = 0;
  bool comma = false;
  while (!tuple_ends(p, end)) {
    TRY(tb_tpl_expression(p, inline_if));
    n++;
    if (!tb_tpl_at_op(p, ',')) break;
    comma = true;
    TRY(tb_tpl_advance(p));
  }
  if (!comma && n == 1) return TB_OK;
  if (!comma && !parenthesised) return tb_tpl_unexpected(p, "an expression");
  return emit(p, TB_OP_TUPLE, n, line);
}

enum tb_status tb_tpl_tuple(struct tb_tpl_parser *p, bool inline_if, const char *end) {
  return tuple(p, inline_if, end, false);
}

static enum tb_status primary(struct tb_tpl_parser *p) {
  switch (p->cur.type) {
  case TB_TOK_NAME: return name(p);
  case TB_TOK_STRING: return string(p);
  case TB_TOK_INT:
  case TB_TOK_FLOAT: return number(p);
  default: break;
  }
  unsigned op = p->cur.type == TB_TOK_OP ? p->cur.op : 0;
  if (op != '(' && op != '[' && op != '{') return tb_tpl_unexpected(p, "an expression");
  TRY(tb_tpl_advance(p));
  if (op == '[') return items(p, ']', false, TB_OP_LIST);
  if (op == '{') return items(p, '}', true, TB_OP_DICT);
  TRY(tuple(p, true, NULL, true));
  return tb_tpl_expect_op(p, ')');
}

/* --------------------------------------------------------------------------------------------- subscripts and calls */

static bool subscript_ends(const struct tb_tpl_parser *p) {
  return tb_tpl_at_op(p, ':') || tb_tpl_at_op(p, ']') || tb_tpl_at_op(p, ',');
}

/* One part of a subscript: an index, or a slice (*mask: the parts that are there, see TB_OP_SLICE). */
static enum tb_status subscript_part(struct tb_tpl_parser *p, bool *slice, int64_t *mask) {
  *slice = false;
  *mask = 0;
  for (int64_t part = 0; part < 3; part++) {
    if (!subscript_ends(p)) {
      TRY(tb_tpl_expression(p, true));
      *mask |= (int64_t)1 << part;
    }
    if (!tb_tpl_at_op(p, ':') || part == 2) break;
    *slice = true;
    TRY(tb_tpl_advance(p));
  }
  return *slice || *mask ? TB_OK : tb_tpl_unexpected(p, "an index");
}

static enum tb_status subscript(struct tb_tpl_parser *p) {
  uint32_t line = p->cur.line;
  int64_t n = 0, mask = 0;
  bool slice = false;
  TRY(tb_tpl_advance(p));
  while (!tb_tpl_at_op(p, ']')) {
    if (n) TRY(tb_tpl_expect_op(p, ','));
    TRY(subscript_part(p, &slice, &mask));
    n++;
    if (slice && (n > 1 || !tb_tpl_at_op(p, ']')))
      return tb_tpl_error(p, TB_E_UNSUPPORTED, line, "slices of several dimensions are not supported");
  }
  TRY(tb_tpl_advance(p));
  if (slice) return emit(p, TB_OP_SLICE, mask, line);
  if (n != 1) TRY(emit(p, TB_OP_TUPLE, n, line));
  return emit(p, TB_OP_GETITEM, 0, line);
}

static enum tb_status attribute(struct tb_tpl_parser *p) {
  uint32_t line = p->cur.line, id;
  TRY(tb_tpl_advance(p));
  if (p->cur.type == TB_TOK_INT) {
    TRY(number(p));
    return emit(p, TB_OP_GETITEM, 0, line);
  }
  if (p->cur.type != TB_TOK_NAME) return tb_tpl_unexpected(p, "a name or number");
  TRY(tb_tpl_const_text(p, token_text(&p->cur), &id));
  TRY(tb_tpl_advance(p));
  return emit(p, TB_OP_GETATTR, id, line);
}

static enum tb_status argument(struct tb_tpl_parser *p, struct tb_tpl_shape *shape, struct tb_tpl_words *kw) {
  uint32_t id;
  bool star = tb_tpl_at_op(p, '*'), star2 = tb_tpl_at_op(p, TB_OP2('*', '*'));
  bool keyword = p->cur.type == TB_TOK_NAME && p->next.type == TB_TOK_OP && p->next.op == '=';
  if (shape->star2 || (star && (shape->star || kw->n)) || (!star && !star2 && !keyword && (shape->star || kw->n)))
    return tb_tpl_error(p, TB_E_FORMAT, p->cur.line, "arguments of a call in a wrong order");
  if (star || star2) {
    shape->star |= star;
    shape->star2 |= star2;
    TRY(tb_tpl_advance(p));
  } else if (keyword) {
    TRY(tb_tpl_name(p, token_text(&p->cur), &id));
    TRY(tb_tpl_add_word(p, kw, id));
    TRY(tb_tpl_advance(p));
    TRY(tb_tpl_advance(p));
  } else {
    shape->n_pos++;
  }
  return tb_tpl_expression(p, true);
}

/* "(…)" of a call, filter or test; *id is its shape. */
static enum tb_status arguments(struct tb_tpl_parser *p, uint32_t *id) {
  struct tb_tpl_shape shape = {0};
  struct tb_tpl_words kw = {0};
  TRY(tb_tpl_expect_op(p, '('));
  for (bool first = true; !tb_tpl_at_op(p, ')'); first = false) {
    if (!first) TRY(tb_tpl_expect_op(p, ','));
    if (tb_tpl_at_op(p, ')')) break;
    TRY(argument(p, &shape, &kw));
  }
  TRY(tb_tpl_advance(p));
  shape.n_kw = kw.n;
  TRY(tb_tpl_keywords(p, &kw, &shape.kw));
  return tb_tpl_shape(p, shape, id);
}

static enum tb_status call(struct tb_tpl_parser *p) {
  uint32_t line = p->cur.line, shape;
  TRY(arguments(p, &shape));
  TRY(emit(p, TB_OP_CALL, shape, line));
  p->call_end = here(p);
  return TB_OK;
}

static enum tb_status postfix(struct tb_tpl_parser *p) {
  for (;;) {
    if (tb_tpl_at_op(p, '.')) TRY(attribute(p));
    else if (tb_tpl_at_op(p, '[')) TRY(subscript(p));
    else if (tb_tpl_at_op(p, '(')) TRY(call(p));
    else return TB_OK;
  }
}

/* --------------------------------------------------------------------------------------------------- filters and tests */

/* "name" or "dotted.name" as one text. */
static enum tb_status dotted(struct tb_tpl_parser *p, struct tb_tpl_str *out) {
  if (p->cur.type != TB_TOK_NAME) return tb_tpl_unexpected(p, "a name");
  *out = token_text(&p->cur);
  TRY(tb_tpl_advance(p));
  while (tb_tpl_at_op(p, '.')) {
    TRY(tb_tpl_advance(p));
    if (p->cur.type != TB_TOK_NAME) return tb_tpl_unexpected(p, "a name");
    out->n = (size_t)(p->cur.s + p->cur.n - out->s);
    TRY(tb_tpl_advance(p));
  }
  return TB_OK;
}

/* A filter or test this version does not have: an error now, or when it runs where Jinja2 is that lenient. */
static enum tb_status missing(struct tb_tpl_parser *p, const char *kind, struct tb_tpl_str name_text, bool exists,
                              uint32_t line) {
  struct tb_tpl_text text;
  tb_tpl_text_init(&text, &p->t->arena);
  if (name_text.n > 100) name_text.n = 100;
  const char *head = exists ? "" : "no ", *mid = exists ? " '" : " named '", *tail = exists ? "' is not supported" : "'";
  if (!p->soft)
    return tb_tpl_error(p, TB_E_UNSUPPORTED, line, "%s%s%s%.*s%s", head, kind, mid, (int)name_text.n,
                        name_text.s, tail);
  bool ok = tb_tpl_text_put_str(&text, tb_tpl_literal(head)) && tb_tpl_text_put_str(&text, tb_tpl_literal(kind)) &&
            tb_tpl_text_put_str(&text, tb_tpl_literal(mid)) && tb_tpl_text_put_str(&text, name_text) &&
            tb_tpl_text_put_str(&text, tb_tpl_literal(tail));
  uint32_t id;
  if (!ok) return tb_tpl_error(p, TB_E_NOMEM, line, "no memory to compile the template");
  TRY(tb_tpl_const_text(p, tb_tpl_text_str(&text), &id));
  return emit(p, TB_OP_FAIL, id, line);
}

enum tb_status tb_tpl_filters(struct tb_tpl_parser *p, bool bare) {
  for (; bare || tb_tpl_at_op(p, '|'); bare = false) {
    struct tb_tpl_str filter;
    uint32_t line = p->cur.line, shape = 0, id;
    bool known;
    if (!bare) TRY(tb_tpl_advance(p));
    TRY(dotted(p, &filter));
    bool exists = tb_tpl_filter_id(filter, &id, &known);
    if (tb_tpl_at_op(p, '(')) TRY(arguments(p, &shape));
    TRY(exists && known ? tb_tpl_emit(p, TB_OP_FILTER, shape, id, line) : missing(p, "filter", filter, exists, line));
  }
  return TB_OK;
}

/* A test's argument may stand without parentheses: "x is divisibleby 3". */
static bool bare_argument(const struct tb_tpl_parser *p) {
  if (p->cur.type == TB_TOK_OP) return p->cur.op == '[' || p->cur.op == '{';
  if (p->cur.type < TB_TOK_NAME) return false;
  return !tb_tpl_at_name(p, "else") && !tb_tpl_at_name(p, "or") && !tb_tpl_at_name(p, "and");
}

static enum tb_status test(struct tb_tpl_parser *p) {
  struct tb_tpl_str test_name;
  uint32_t line = p->cur.line, shape = 0, id;
  bool known;
  TRY(tb_tpl_advance(p));
  bool negated = tb_tpl_at_name(p, "not");
  if (negated) TRY(tb_tpl_advance(p));
  TRY(dotted(p, &test_name));
  if (tb_tpl_at_op(p, '(')) {
    TRY(arguments(p, &shape));
  } else if (bare_argument(p)) {
    if (tb_tpl_at_name(p, "is"))
      return tb_tpl_error(p, TB_E_FORMAT, p->cur.line, "tests with 'is' cannot be chained");
    TRY(tb_tpl_enter(p));
    TRY(primary(p));
    TRY(postfix(p));
    p->depth--;
    TRY(tb_tpl_shape(p, (struct tb_tpl_shape){.n_pos = 1}, &shape));
  }
  bool exists = tb_tpl_test_id(test_name, &id, &known);
  TRY(exists && known ? tb_tpl_emit(p, TB_OP_TEST, shape, id, line) : missing(p, "test", test_name, exists, line));
  return negated ? emit(p, TB_OP_NOT, 0, line) : TB_OK;
}

static enum tb_status filters_and_tests(struct tb_tpl_parser *p) {
  for (;;) {
    if (tb_tpl_at_op(p, '|')) TRY(tb_tpl_filters(p, false));
    else if (tb_tpl_at_name(p, "is")) TRY(test(p));
    else if (tb_tpl_at_op(p, '(')) TRY(call(p));
    else return TB_OK;
  }
}

/* ----------------------------------------------------------------------------------------------------------- operators */

static enum tb_status unary(struct tb_tpl_parser *p, bool with_filters) {
  uint32_t line = p->cur.line;
  if (tb_tpl_at_op(p, '-') || tb_tpl_at_op(p, '+')) {
    enum tb_tpl_op op = tb_tpl_at_op(p, '-') ? TB_OP_NEG : TB_OP_POS;
    TRY(tb_tpl_enter(p));
    TRY(tb_tpl_advance(p));
    TRY(unary(p, false));
    TRY(emit(p, op, 0, line));
    p->depth--;
  } else {
    TRY(primary(p));
  }
  TRY(postfix(p));
  return with_filters ? filters_and_tests(p) : TB_OK;
}

/* The comparison at the current token (which may be "not in"), if any. */
static bool comparison(const struct tb_tpl_parser *p, enum tb_tpl_compare *op) {
  static const struct {
    unsigned token;
    enum tb_tpl_compare op;
  } ops[] = {{TB_OP2('=', '='), TB_CMP_EQ}, {TB_OP2('!', '='), TB_CMP_NE}, {'<', TB_CMP_LT},
             {TB_OP2('<', '='), TB_CMP_LE}, {'>', TB_CMP_GT},              {TB_OP2('>', '='), TB_CMP_GE}};
  for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
    if (tb_tpl_at_op(p, ops[i].token)) return *op = ops[i].op, true;
  if (tb_tpl_at_name(p, "in")) return *op = TB_CMP_IN, true;
  return *op = TB_CMP_NOT_IN, tb_tpl_at_name(p, "not") && tb_tpl_next_is_name(p, "in");
}

/* "a < b < c" is "a < b and b < c" with b evaluated once. The false exits are chained through their jump fields until
 * the end is known. */
static enum tb_status comparisons(struct tb_tpl_parser *p) {
  enum tb_tpl_compare op, following;
  size_t exits = 0; /* place + 1 of the last CHAIN */
  for (bool more = comparison(p, &op); more; op = following) {
    uint32_t line = p->cur.line;
    if (op == TB_CMP_NOT_IN) TRY(tb_tpl_advance(p));
    TRY(tb_tpl_advance(p));
    TRY(binary(p, ADD));
    more = comparison(p, &following);
    TRY(tb_tpl_emit(p, more ? TB_OP_CHAIN : TB_OP_COMPARE, more ? (int64_t)exits : 0, op, line));
    if (more) exits = here(p);
  }
  while (exits) {
    size_t at = exits - 1;
    exits = (size_t)p->t->code[at].arg;
    tb_tpl_land(p, at);
  }
  return TB_OK;
}

static enum level level_of(const struct tb_tpl_parser *p, enum tb_tpl_binary *bin) {
  enum tb_tpl_compare op;
  if (p->cur.type == TB_TOK_NAME) {
    if (tb_tpl_at_name(p, "or")) return OR;
    if (tb_tpl_at_name(p, "and")) return AND;
    return comparison(p, &op) ? COMPARE : 0;
  }
  if (p->cur.type != TB_TOK_OP) return 0;
  switch (p->cur.op) {
  case '+': return *bin = TB_BIN_ADD, ADD;
  case '-': return *bin = TB_BIN_SUB, ADD;
  case '~': return CONCAT;
  case '*': return *bin = TB_BIN_MUL, MUL;
  case '/': return *bin = TB_BIN_DIV, MUL;
  case '%': return *bin = TB_BIN_MOD, MUL;
  case TB_OP2('/', '/'): return *bin = TB_BIN_FLOORDIV, MUL;
  case TB_OP2('*', '*'): return *bin = TB_BIN_POW, POW;
  default: return comparison(p, &op) ? COMPARE : 0;
  }
}

/* "and", "or": the left value decides whether the right side runs. */
static enum tb_status logical(struct tb_tpl_parser *p, enum level level, uint32_t line) {
  size_t jump = here(p);
  TRY(emit(p, level == OR ? TB_OP_OR : TB_OP_AND, 0, line));
  TRY(tb_tpl_advance(p));
  TRY(binary(p, level + 1));
  tb_tpl_land(p, jump);
  p->call_end = 0;
  return TB_OK;
}

static enum tb_status concat(struct tb_tpl_parser *p, uint32_t line) {
  int64_t n = 1;
  for (; tb_tpl_at_op(p, '~'); n++) {
    TRY(tb_tpl_advance(p));
    TRY(binary(p, MUL));
  }
  return emit(p, TB_OP_CONCAT, n, line);
}

static enum tb_status binary(struct tb_tpl_parser *p, enum level min) {
  enum tb_tpl_binary bin = TB_BIN_ADD;
  uint32_t line = p->cur.line;
  if (min <= NOT && tb_tpl_at_name(p, "not")) {
    TRY(tb_tpl_enter(p));
    TRY(tb_tpl_advance(p));
    TRY(binary(p, NOT));
    TRY(emit(p, TB_OP_NOT, 0, line));
    p->depth--;
  } else {
    TRY(unary(p, true));
  }
  for (enum level level; (level = level_of(p, &bin)) && level >= min;) {
    line = p->cur.line;
    if (level <= AND) {
      TRY(logical(p, level, line));
    } else if (level == COMPARE) {
      TRY(comparisons(p));
    } else if (level == CONCAT) {
      TRY(concat(p, line));
    } else {
      TRY(tb_tpl_advance(p));
      TRY(binary(p, level + 1));
      TRY(emit(p, TB_OP_BINARY, bin, line));
    }
  }
  return TB_OK;
}

/* "value if condition else other": the value was compiled first and runs second. */
static enum tb_status inline_if(struct tb_tpl_parser *p, size_t from) {
  struct tb_tpl_cut value;
  uint32_t line = p->cur.line;
  TRY(tb_tpl_cut(p, from, &value));
  TRY(tb_tpl_advance(p));
  TRY(binary(p, OR));
  size_t to_other = here(p);
  TRY(emit(p, TB_OP_JUMP_FALSE, 0, line));
  TRY(tb_tpl_paste(p, &value));
  size_t to_end = here(p);
  TRY(emit(p, TB_OP_JUMP, 0, line));
  tb_tpl_land(p, to_other);
  if (tb_tpl_at_name(p, "else")) {
    TRY(tb_tpl_advance(p));
    TRY(tb_tpl_expression(p, true));
  } else {
    TRY(emit(p, TB_OP_NO_ELSE, 0, line));
  }
  tb_tpl_land(p, to_end);
  p->call_end = 0;
  return TB_OK;
}

/* Whether the code since `from` holds a filter or test that does not exist. */
static enum tb_status reject_missing(struct tb_tpl_parser *p, size_t from) {
  for (size_t i = from; i < here(p); i++) {
    const struct tb_tpl_ins *ins = &p->t->code[i];
    if (ins->op != TB_OP_FAIL) continue;
    struct tb_tpl_str what = tb_tpl_str_of(p->t->consts[ins->arg]);
    return tb_tpl_error(p, TB_E_UNSUPPORTED, ins->line, "%.*s", (int)what.n, what.s);
  }
  return TB_OK;
}

enum tb_status tb_tpl_expression(struct tb_tpl_parser *p, bool with_inline_if) {
  size_t from = here(p);
  int n = 0;
  TRY(tb_tpl_enter(p));
  p->soft += with_inline_if; /* an inline if may follow: only then it is known whether this part always runs */
  TRY(binary(p, OR));
  for (; with_inline_if && tb_tpl_at_name(p, "if"); n++) {
    if (n == INLINE_IFS) return tb_tpl_error(p, TB_E_LIMIT, p->cur.line, "more than %d inline ifs", INLINE_IFS);
    TRY(inline_if(p, from));
  }
  p->soft -= with_inline_if;
  p->depth--;
  return p->soft || n ? TB_OK : reject_missing(p, from);
}

/* ------------------------------------------------------------------------------------------------------------- targets */

enum tb_status tb_tpl_target_name(struct tb_tpl_parser *p, uint32_t *id) {
  static const char *const constants[] = {"true", "false", "none", "True", "False", "None"};
  if (p->cur.type != TB_TOK_NAME) return tb_tpl_unexpected(p, "a name to assign to");
  for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++)
    if (tb_tpl_at_name(p, constants[i]))
      return tb_tpl_error(p, TB_E_FORMAT, p->cur.line, "cannot assign to '%s'", constants[i]);
  TRY(tb_tpl_name(p, token_text(&p->cur), id));
  return tb_tpl_advance(p);
}

static enum tb_status target_part(struct tb_tpl_parser *p) {
  uint32_t line = p->cur.line, id;
  if (!tb_tpl_at_op(p, '(')) {
    TRY(tb_tpl_target_name(p, &id));
    return emit(p, TB_OP_STORE, id, line);
  }
  TRY(tb_tpl_enter(p));
  TRY(tb_tpl_advance(p));
  TRY(tb_tpl_target(p, false, NULL));
  p->depth--;
  return tb_tpl_expect_op(p, ')');
}

static enum tb_status namespace_target(struct tb_tpl_parser *p) {
  uint32_t line = p->cur.line, id, attr;
  TRY(tb_tpl_target_name(p, &id));
  tb_tpl_used(p, id, TB_USE_OTHER);
  TRY(tb_tpl_advance(p));
  if (p->cur.type != TB_TOK_NAME) return tb_tpl_unexpected(p, "a name");
  TRY(tb_tpl_const_text(p, token_text(&p->cur), &attr));
  TRY(tb_tpl_advance(p));
  return tb_tpl_emit(p, TB_OP_NS_STORE, id, attr, line);
}

enum tb_status tb_tpl_target(struct tb_tpl_parser *p, bool ns, const char *end) {
  if (ns && p->next.type == TB_TOK_OP && p->next.op == '.') return namespace_target(p);
  size_t from = here(p);
  int64_t n = 0;
  bool comma = false;
  uint32_t line = p->cur.line;
  TRY(emit(p, TB_OP_UNPACK, 0, line)); /* becomes part of the code only when there are commas */
  while (!tuple_ends(p, end) && !tb_tpl_at_op(p, '=')) {
    TRY(target_part(p));
    n++;
    if (!tb_tpl_at_op(p, ',')) break;
    comma = true;
    TRY(tb_tpl_advance(p));
  }
  if (!n) return tb_tpl_unexpected(p, "a name to assign to");
  p->t->code[from].arg = (int32_t)n;
  if (comma) return TB_OK;
  struct tb_tpl_cut cut;
  TRY(tb_tpl_cut(p, from, &cut));
  cut.at++;
  cut.n--;
  return tb_tpl_paste(p, &cut);
}
