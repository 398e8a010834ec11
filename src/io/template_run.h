/* The machine that renders a template, and what its parts share: failing, budgets, Python's notions of truth, order,
 * iteration and text. Every function that returns bool here says false when it failed; the machine then holds the
 * status and the message. */
#ifndef TB_IO_TEMPLATE_RUN_H
#define TB_IO_TEMPLATE_RUN_H

#include "io/template_code.h"

struct tb_tpl_var {
  uint32_t name;
  struct tb_val v;
};

struct tb_tpl_scope {
  struct tb_tpl_scope *outer;
  struct tb_tpl_var *vars;
  size_t n, cap;
};

/* Walks over a value. */
struct tb_tpl_walk {
  struct tb_val of;
  size_t at; /* next index, or next byte of text */
};

/* A for loop that runs; also the value of `loop`. */
struct tb_tpl_loop {
  struct tb_tpl_loop *outer;
  struct tb_tpl_scope *scope;   /* of the body, emptied for every pass */
  struct tb_tpl_scope *filter_scope;
  struct tb_tpl_walk source;
  size_t source_from;           /* where a one-pass source stood when the loop began */
  struct tb_tpl_list ready;     /* items that were looked ahead to, from ready_at on */
  size_t ready_at;
  struct tb_val candidate;      /* in the filter: the item being judged */
  struct tb_val current, before;
  int64_t index0;               /* -1 before the first pass */
  size_t want;                  /* how many ready items the filter is to find before it returns */
  size_t filter_pc, entry;      /* of the filter's code; of the FOR of a recursive loop */
  uint32_t depth0;
  bool filtered, recursive, done, ran;
  struct tb_val *changed; /* arguments of the last loop.changed() */
  size_t n_changed;
  bool has_changed;
};

struct tb_tpl_macro {
  const struct tb_tpl_macro_code *code;
  struct tb_tpl_scope *scope; /* where it was defined */
};

struct tb_tpl_method {
  struct tb_val self;
  struct tb_tpl_str name;
};

enum tb_tpl_function {
  TB_FUN_RANGE,
  TB_FUN_DICT,
  TB_FUN_NAMESPACE,
  TB_FUN_JOINER,
  TB_FUN_CYCLER,
  TB_FUN_RAISE,
  TB_FUN_STRFTIME,
  TB_FUN_LIPSUM,
  TB_FUN_COUNT,
};

/* Arguments of a native call. */
struct tb_tpl_kw {
  struct tb_tpl_str name;
  struct tb_val v;
};
struct tb_tpl_args {
  const struct tb_val *pos;
  const struct tb_tpl_kw *kw;
  size_t n, n_kw;
};

/* What RETURN, or the end of a loop's filter, goes back to. */
struct tb_tpl_return {
  size_t pc;
  struct tb_tpl_scope *scope;
  struct tb_tpl_loop *loop;      /* innermost loop of the caller */
  struct tb_tpl_loop *filtering; /* the loop whose filter runs; NULL for calls */
};

struct tb_tpl_vm {
  const struct tb_template *t;
  const struct tb_template_input *in;
  struct tb_error *err;
  enum tb_status status;
  struct tb_tpl_arena arena;
  uint64_t steps; /* left */
  size_t output;  /* most bytes of one buffer */
  uint32_t line;  /* of the instruction that runs */
  size_t pc;
  struct tb_val *stack;
  size_t n_stack, cap_stack;
  struct tb_val *globals; /* per name: the context's or the environment's value, or TB_VAL_MISSING */
  struct tb_tpl_scope *scope;
  struct tb_tpl_loop *loop;
  uint32_t loop_depth; /* of the recursive loop that is being called */
  struct tb_tpl_return *calls;
  size_t n_calls, cap_calls;
  struct tb_tpl_text **buffers; /* the last one is written to */
  size_t n_buffers, cap_buffers;
};

enum { TB_TPL_NESTING = 1000 }; /* deepest value that is printed or compared */

/* --- template_run.c */
bool tb_tpl_fail(struct tb_tpl_vm *vm, enum tb_status status, const char *fmt, ...) TB_PRINTF(3, 4);
/* Reports the arena's failure. */
bool tb_tpl_no_room(struct tb_tpl_vm *vm);
/* Pays for handling `bytes`. */
bool tb_tpl_pay(struct tb_tpl_vm *vm, size_t bytes);
bool tb_tpl_push(struct tb_tpl_vm *vm, struct tb_val v);
/* Sets a variable of a scope. */
bool tb_tpl_set(struct tb_tpl_vm *vm, struct tb_tpl_scope *scope, uint32_t name, struct tb_val v);
struct tb_val *tb_tpl_get(struct tb_tpl_scope *scope, uint32_t name); /* of this scope alone, or NULL */
struct tb_tpl_scope *tb_tpl_scope_new(struct tb_tpl_vm *vm, struct tb_tpl_scope *outer);
bool tb_tpl_buffer_push(struct tb_tpl_vm *vm);
/* Begins a call: output goes to a new buffer, RETURN comes back behind the current instruction. */
bool tb_tpl_enter_call(struct tb_tpl_vm *vm, size_t entry, struct tb_tpl_scope *scope);

/* Runs a loop's filter; the current instruction runs again afterwards. */
bool tb_tpl_enter_filter(struct tb_tpl_vm *vm, struct tb_tpl_loop *loop);
/* Goes back to where the call or filter was entered. */
void tb_tpl_leave(struct tb_tpl_vm *vm);

/* --- template_call.c: vm->stack holds the callee and its arguments; leaves the result, or has entered a macro */
bool tb_tpl_do_call(struct tb_tpl_vm *vm, const struct tb_tpl_shape *shape);
/* Takes the arguments of a shape from the stack. */
bool tb_tpl_take_args(struct tb_tpl_vm *vm, const struct tb_tpl_shape *shape, struct tb_tpl_args *args);
/* Fits arguments to parameters: out[i] gets the value, or stays as it was (a default). `params` is "a,b,c", the first
 * `required` of which must be given. */
bool tb_tpl_bind(struct tb_tpl_vm *vm, const char *what, const struct tb_tpl_args *args, const char *params,
                 size_t required, struct tb_val *out);
/* Arguments of a given type; an absent one (TB_VAL_MISSING) leaves *out alone. */
bool tb_tpl_arg_int(struct tb_tpl_vm *vm, const char *what, struct tb_val v, int64_t *out);
bool tb_tpl_arg_str(struct tb_tpl_vm *vm, const char *what, struct tb_val v, struct tb_tpl_str *out);
static inline struct tb_val tb_tpl_missing(void) { return (struct tb_val){.kind = TB_VAL_MISSING}; }

/* --- template_loop.c */
/* FOR over a value; NEXT: *more says whether there was an item. SOURCE and ACCEPT run a loop's filter. */
bool tb_tpl_loop_begin(struct tb_tpl_vm *vm, struct tb_val over, unsigned bits);
bool tb_tpl_loop_next(struct tb_tpl_vm *vm, struct tb_val *item, bool *more, bool *again);
bool tb_tpl_loop_source(struct tb_tpl_vm *vm);
bool tb_tpl_loop_accept(struct tb_tpl_vm *vm, struct tb_val verdict, int32_t back);
/* Attributes of `loop`. *again: the filter has been entered, the instruction is to run again. */
bool tb_tpl_loop_attr(struct tb_tpl_vm *vm, struct tb_tpl_loop *loop, struct tb_tpl_str name, struct tb_val *out,
                      bool *again);
bool tb_tpl_loop_length(struct tb_tpl_vm *vm, struct tb_tpl_loop *loop, size_t *n, bool *again);
bool tb_tpl_loop_method(struct tb_tpl_vm *vm, struct tb_tpl_loop *loop, struct tb_tpl_str name,
                        const struct tb_tpl_args *args, struct tb_val *out);

/* --- template_object.c: types, undefined values, attributes and items */
const char *tb_tpl_type(struct tb_val v); /* Python's name of the type */
/* Fails as Python does when the undefined value v is used. */
bool tb_tpl_fail_undefined(struct tb_tpl_vm *vm, struct tb_val v);
struct tb_val tb_tpl_undefined_hint(struct tb_tpl_vm *vm, const char *hint);
struct tb_val tb_tpl_undefined_name(struct tb_tpl_vm *vm, struct tb_tpl_str name);
/* object.name and object[key], falling back on each other as Jinja2 does. */
bool tb_tpl_attr(struct tb_tpl_vm *vm, struct tb_val object, struct tb_val name, struct tb_val *out, bool *again);
bool tb_tpl_item(struct tb_tpl_vm *vm, struct tb_val object, struct tb_val key, struct tb_val *out, bool *again);
/* object.name without falling back on items (the filter attr). */
bool tb_tpl_attr_only(struct tb_tpl_vm *vm, struct tb_val object, struct tb_val name, struct tb_val *out);
/* "a.b.0" looked up item by item, as the attribute arguments of filters are. An integer or none works too. */
bool tb_tpl_path(struct tb_tpl_vm *vm, struct tb_val object, struct tb_val path, const struct tb_val *fallback,
                 struct tb_val *out);
/* object[start:stop:step]; parts that are none are absent. */
bool tb_tpl_slice(struct tb_tpl_vm *vm, struct tb_val object, const struct tb_val part[3], struct tb_val *out);

/* --- template_walk.c */
bool tb_tpl_iterable(struct tb_val v);
bool tb_tpl_walk(struct tb_tpl_vm *vm, struct tb_val v, struct tb_tpl_walk *w);
/* The next item; *more is false at the end. */
bool tb_tpl_walk_next(struct tb_tpl_vm *vm, struct tb_tpl_walk *w, struct tb_val *item, bool *more);
/* All items. */
bool tb_tpl_to_list(struct tb_tpl_vm *vm, struct tb_val v, struct tb_tpl_list **out);
bool tb_tpl_has_length(struct tb_val v);
bool tb_tpl_length(struct tb_tpl_vm *vm, struct tb_val v, size_t *n);
struct tb_val tb_tpl_range_at(const struct tb_tpl_range *r, size_t i);
/* A one-pass sequence over a list. */
struct tb_val tb_tpl_iter_of(struct tb_tpl_vm *vm, const struct tb_tpl_list *l);

/* --- template_compare.c */
bool tb_tpl_truth(struct tb_val v);
bool tb_tpl_equal(struct tb_tpl_vm *vm, struct tb_val a, struct tb_val b, bool *out);
bool tb_tpl_compare(struct tb_tpl_vm *vm, enum tb_tpl_compare op, struct tb_val a, struct tb_val b, bool *out);
bool tb_tpl_contains(struct tb_tpl_vm *vm, struct tb_val in, struct tb_val what, bool *out);
/* Sorts by keys (both permuted), stable; `reverse` keeps equal items in order too. */
bool tb_tpl_sort(struct tb_tpl_vm *vm, struct tb_val *items, struct tb_val *keys, size_t n, bool reverse);

/* --- template_arith.c */
bool tb_tpl_binary(struct tb_tpl_vm *vm, enum tb_tpl_binary op, struct tb_val a, struct tb_val b, struct tb_val *out);
bool tb_tpl_unary(struct tb_tpl_vm *vm, bool negate, struct tb_val v, struct tb_val *out);

/* --- template_repr.c */
/* str(v) and repr(v), appended. */
bool tb_tpl_put_str(struct tb_tpl_vm *vm, struct tb_tpl_text *t, struct tb_val v);
bool tb_tpl_put_repr(struct tb_tpl_vm *vm, struct tb_tpl_text *t, struct tb_val v);
/* str(v); text is itself. */
bool tb_tpl_str(struct tb_tpl_vm *vm, struct tb_val v, struct tb_tpl_str *out);
/* What a growing text holds, as a value. */
bool tb_tpl_result(struct tb_tpl_vm *vm, const struct tb_tpl_text *t, unsigned flags, struct tb_val *out);
bool tb_tpl_result_str(struct tb_tpl_vm *vm, struct tb_tpl_str s, unsigned flags, struct tb_val *out);

/* --- template_strings.c: on characters */
size_t tb_tpl_chars(struct tb_tpl_str s);
/* Byte offset of character i (≤ the number of characters). */
size_t tb_tpl_char_at(struct tb_tpl_str s, size_t i);
struct tb_tpl_str tb_tpl_strip(struct tb_tpl_str s, const struct tb_tpl_str *chars, bool left, bool right);
/* Offset of `what` in s at or after `from`, or SIZE_MAX; of its last occurrence (template_find.c). */
size_t tb_tpl_find(struct tb_tpl_str s, struct tb_tpl_str what, size_t from);
bool tb_tpl_find_last(struct tb_tpl_vm *vm, struct tb_tpl_str s, struct tb_tpl_str what, size_t *hit);
enum tb_tpl_case { TB_CASE_UPPER, TB_CASE_LOWER, TB_CASE_TITLE, TB_CASE_CAPITALIZE, TB_CASE_SWAP };
bool tb_tpl_case(struct tb_tpl_vm *vm, struct tb_tpl_str s, enum tb_tpl_case how, struct tb_tpl_text *out);
/* max < 0: all. */
bool tb_tpl_replace(struct tb_tpl_vm *vm, struct tb_tpl_str s, struct tb_tpl_str old, struct tb_tpl_str new_text,
                    int64_t max, struct tb_tpl_text *out);
bool tb_tpl_lines(struct tb_tpl_vm *vm, struct tb_tpl_str s, bool keep_ends, unsigned flags, struct tb_tpl_list **out);
/* HTML-escapes (& < > " '). */
bool tb_tpl_escape(struct tb_tpl_vm *vm, struct tb_tpl_str s, struct tb_tpl_text *out);
/* v as text that may stand beside markup: escaped unless it is markup already. */
bool tb_tpl_escaped(struct tb_tpl_vm *vm, struct tb_val v, struct tb_tpl_str *out);

/* --- template_method.c */
/* True when values of this type have a (public) attribute of this name; `unsafe`: the sandbox refuses it. */
bool tb_tpl_has_method(struct tb_val v, struct tb_tpl_str name, bool *unsafe);
bool tb_tpl_call_method(struct tb_tpl_vm *vm, const struct tb_tpl_method *m, const struct tb_tpl_args *args,
                        struct tb_val *out);
/* Methods of text; *known is false when this version does not have it. */
bool tb_tpl_str_method(struct tb_tpl_vm *vm, struct tb_val self, struct tb_tpl_str name, const struct tb_tpl_args *args,
                       struct tb_val *out, bool *known);

/* --- template_format.c */
/* "…" % values, and "…".format(…). */
bool tb_tpl_percent(struct tb_tpl_vm *vm, struct tb_tpl_str format, struct tb_val values, struct tb_tpl_text *out);
bool tb_tpl_format(struct tb_tpl_vm *vm, struct tb_tpl_str format, const struct tb_tpl_args *args,
                   struct tb_tpl_text *out);

/* --- template_json.c, template_date.c */
bool tb_tpl_json(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args, struct tb_val *out);
bool tb_tpl_strftime(struct tb_tpl_vm *vm, struct tb_tpl_str format, struct tb_tpl_text *out);

/* --- template_filter.c, template_test.c */
bool tb_tpl_filter(struct tb_tpl_vm *vm, uint32_t id, struct tb_val v, const struct tb_tpl_args *args,
                   struct tb_val *out);
bool tb_tpl_test(struct tb_tpl_vm *vm, uint32_t id, struct tb_val v, const struct tb_tpl_args *args, bool *out);

/* One filter: its value and its arguments. */
typedef bool (*tb_tpl_filter_fn)(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args,
                                 struct tb_val *out);

#endif
