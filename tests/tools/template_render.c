/* Renders templates for template_oracle.py: reads one JSON object per line from standard input,
 *   {"template": "…", "context": {…}, "now": [year, month, day, hour, minute, second], "limits": [steps, output, memory]}
 * and writes one per line:
 *   {"text": "…", "segments": [[bytes, trusted], …]}   or   {"error": "…", "status": n}
 * Roles, bos_token and eos_token are the program's own words; everything else in the context is the caller's. */
#include "io/template.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 1500 };

static struct tb_val convert(struct tb_vals *pool, json_t *j, const char *key, int depth);

static struct tb_val convert_text(struct tb_vals *pool, json_t *j, const char *key, int depth) {
  const char *s = json_string_value(j);
  size_t n = json_string_length(j);
  if (key && depth == 1 && (strcmp(key, "bos_token") == 0 || strcmp(key, "eos_token") == 0))
    return tb_val_trusted_text(pool, s, n);
  return key && depth == 3 && strcmp(key, "role") == 0 ? tb_val_role(pool, s, n) : tb_val_text(pool, s, n);
}

static struct tb_val convert(struct tb_vals *pool, json_t *j, const char *key, int depth) {
  struct tb_val v = tb_val_none();
  if (depth > DEPTH_MAX) return v;
  if (json_is_boolean(j)) return tb_val_bool(json_is_true(j));
  if (json_is_integer(j)) return tb_val_int(json_integer_value(j));
  if (json_is_real(j)) return tb_val_float(json_real_value(j));
  if (json_is_string(j)) return convert_text(pool, j, key, depth);
  if (json_is_array(j)) {
    size_t i;
    json_t *item;
    v = tb_val_list(pool);
    json_array_foreach(j, i, item) tb_val_push(pool, v, convert(pool, item, NULL, depth + 1));
  } else if (json_is_object(j)) {
    const char *name;
    json_t *item;
    v = tb_val_dict(pool);
    json_object_foreach(j, name, item) tb_val_put(pool, v, name, strlen(name), convert(pool, item, name, depth + 1));
  }
  return v;
}

static long long number(json_t *list, size_t i) { return json_integer_value(json_array_get(list, i)); }

static json_t *failure(enum tb_status st, const struct tb_error *err) {
  json_t *out = json_object();
  json_t *text = json_string(err->text);
  json_object_set_new(out, "error", text ? text : json_string("(a message that is not UTF-8)"));
  json_object_set_new(out, "status", json_integer(st));
  return out;
}

static json_t *success(const struct tb_template_output *o) {
  json_t *out = json_object(), *segments = json_array();
  json_object_set_new(out, "text", json_stringn(o->text, o->length));
  for (size_t i = 0; i < o->n_segments; i++) {
    json_t *pair = json_array();
    json_array_append_new(pair, json_integer((json_int_t)o->segments[i].length));
    json_array_append_new(pair, json_boolean(o->segments[i].trusted));
    json_array_append_new(segments, pair);
  }
  json_object_set_new(out, "segments", segments);
  return out;
}

static json_t *render(json_t *job) {
  struct tb_template *t;
  struct tb_error err;
  struct tb_vals *pool;
  struct tb_template_output o;
  json_t *text = json_object_get(job, "template"), *now = json_object_get(job, "now"), *limits = json_object_get(job, "limits");
  enum tb_status st = tb_template_compile(&t, json_string_value(text), json_string_length(text), &tb_system_allocator, &err);
  if (st) return failure(st, &err);
  if (tb_vals_create(&pool, &tb_system_allocator, &err) != TB_OK) exit(1);
  struct tb_template_input in = {.pool = pool};
  in.now = (struct tb_template_date){.year = (int)number(now, 0), .month = (int)number(now, 1), .day = (int)number(now, 2),
                                     .hour = (int)number(now, 3), .minute = (int)number(now, 4), .second = (int)number(now, 5)};
  in.limits = (struct tb_template_limits){.steps = (uint64_t)number(limits, 0), .output = (size_t)number(limits, 1),
                                          .memory = (size_t)number(limits, 2)};
  in.context = convert(pool, json_object_get(job, "context"), NULL, 0);
  st = tb_template_render(t, &in, &o, &err);
  json_t *out = st ? failure(st, &err) : success(&o);
  tb_template_output_free(&o, &tb_system_allocator);
  tb_vals_free(pool);
  tb_template_free(t);
  return out;
}

int main(void) {
  for (;;) {
    json_error_t e;
    json_t *job = json_loadf(stdin, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &e);
    if (!job) return json_error_code(&e) == json_error_premature_end_of_input ? 0 : (fprintf(stderr, "%s\n", e.text), 1);
    json_t *out = render(job);
    json_dumpf(out, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(out);
    json_decref(job);
  }
}
