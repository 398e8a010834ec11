#include "cache/plan/plan_file.h"

#include <stdio.h>
#include <string.h>

struct cursor {
  const char *p, *end; /* of the current line */
  uint32_t number;     /* of the line, from 1 */
};

struct word {
  const char *p;
  size_t n;
};

static bool blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

static struct word next_word(struct cursor *c) {
  while (c->p < c->end && blank(*c->p))
    c->p++;
  struct word w = {c->p, 0};
  while (c->p < c->end && !blank(*c->p) && *c->p != '#')
    c->p++;
  w.n = (size_t)(c->p - w.p);
  if (c->p < c->end && *c->p == '#') c->p = c->end;
  return w;
}

static bool is_word(struct word w, const char *text) {
  return w.n == strlen(text) && memcmp(w.p, text, w.n) == 0;
}

/* Digits only, at most `most`. */
static bool number(struct word w, uint32_t most, uint32_t *out) {
  uint64_t v = 0;
  for (size_t i = 0; i < w.n; i++) {
    if (w.p[i] < '0' || w.p[i] > '9') return false;
    v = 10 * v + (uint64_t)(w.p[i] - '0');
    if (v > most) return false;
  }
  *out = (uint32_t)v;
  return w.n > 0;
}

/* "3" or "2-13" within the model's layers. */
static bool layer_range(struct word w, uint32_t n_layer, uint32_t *first, uint32_t *last) {
  const char *dash = memchr(w.p, '-', w.n);
  struct word a = {w.p, dash ? (size_t)(dash - w.p) : w.n}, b = dash ? (struct word){dash + 1, w.n - a.n - 1} : a;
  return number(a, n_layer - 1, first) && number(b, n_layer - 1, last) && *first <= *last;
}

static int shown(struct word w) {
  return (int)(w.n < 40 ? w.n : 40);
}

static enum tb_status store_name(struct cursor *c, const char *field, uint32_t layer, char out[TB_TYPE_NAME],
                                 struct tb_error *err) {
  struct word w = next_word(c);
  char name[TB_TYPE_NAME] = {0};
  if (w.n > 0 && w.n < TB_TYPE_NAME) memcpy(name, w.p, w.n);
  if (!name[0] || !tb_store_find(name))
    return tb_fail(err, TB_E_FORMAT, "plan line %u: layer %u: %s: '%.*s' is not a cache type", c->number, layer, field,
                   shown(w), w.p);
  memcpy(out, name, sizeof name);
  return TB_OK;
}

/* "name=" and a number, or one of two words. */
struct option_row {
  const char *name;
  uint32_t *target;
  uint32_t most;
  const char *words[2]; /* mean 1 and 2; then `most` does not count */
};

static bool option_value(const struct option_row *o, struct word value) {
  if (!o->words[0]) return number(value, o->most, o->target);
  for (uint32_t i = 0; i < 2; i++)
    if (is_word(value, o->words[i])) {
      *o->target = i + 1;
      return true;
    }
  return false;
}

static enum tb_status option(const struct cursor *c, struct word w, uint32_t layer, struct tb_plan_layer *line,
                             struct tb_error *err) {
  struct tb_merge_plan *m = &line->merge;
  const struct option_row rows[] = {{"window=", &line->window, 1u << 24, {NULL, NULL}},
                                    {"sinks=", &line->sinks, 1u << 24, {NULL, NULL}},
                                    {"recall=", &line->recall, 1u << 24, {NULL, NULL}},
                                    {"cluster=", &line->cluster, 1u << 24, {NULL, NULL}},
                                    {"segment=", &line->segment, 1u << 24, {NULL, NULL}},
                                    {"form=", &line->form, 1u << 24, {NULL, NULL}},
                                    {"resident=", &line->resident, 1u << 24, {NULL, NULL}},
                                    {"merge=", &m->with, 0, {"up", "down"}},
                                    {"retain=", &m->retain, TB_ATTN_BLOCK, {NULL, NULL}},
                                    {"similar=", &m->similar, 1, {NULL, NULL}},
                                    {"unaligned=", &m->unaligned, 1, {NULL, NULL}},
                                    {"cosine=", &m->cosine, 100, {NULL, NULL}}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const size_t n = strlen(rows[i].name);
    if (w.n < n || memcmp(w.p, rows[i].name, n) != 0) continue;
    if (option_value(&rows[i], (struct word){w.p + n, w.n - n})) return TB_OK;
    if (rows[i].words[0])
      return tb_fail(err, TB_E_FORMAT, "plan line %u: layer %u: '%.*s' is not %s%s or %s%s", c->number, layer, shown(w),
                     w.p, rows[i].name, rows[i].words[0], rows[i].name, rows[i].words[1]);
    return tb_fail(err, TB_E_FORMAT, "plan line %u: layer %u: '%.*s' is not %s0..%u", c->number, layer, shown(w), w.p,
                   rows[i].name, rows[i].most);
  }
  return tb_fail(
      err, TB_E_FORMAT,
      "plan line %u: layer %u: unknown option '%.*s' (window, sinks, recall, cluster, segment, form, resident, merge, "
      "retain, similar, unaligned, cosine)",
      c->number, layer, shown(w), w.p);
}

static enum tb_status parse_line(struct cursor *c, struct word range, uint32_t n_layer,
                                 const struct tb_plan_layer *defaults, struct tb_plan_layer *plan,
                                 struct tb_error *err) {
  uint32_t first, last;
  if (!layer_range(range, n_layer, &first, &last))
    return tb_fail(err, TB_E_FORMAT, "plan line %u: '%.*s' is not a layer or a range within 0-%u", c->number,
                   shown(range), range.p, n_layer - 1);
  struct tb_plan_layer line = *defaults;
  line.merge = (struct tb_merge_plan){.retain = TB_MERGE_RETAIN, .cosine = TB_MERGE_COSINE};
  enum tb_status s = store_name(c, "keys", first, line.type_k, err);
  if (!s) s = store_name(c, "values", first, line.type_v, err);
  for (struct word w; !s && (w = next_word(c)).n > 0;)
    s = option(c, w, first, &line, err);
  for (uint32_t i = first; !s && i <= last; i++) {
    if (plan[i].type_k[0]) s = tb_fail(err, TB_E_FORMAT, "plan line %u: layer %u is planned twice", c->number, i);
    plan[i] = line;
  }
  return s;
}

enum tb_status tb_plan_parse(const char *text, size_t length, uint32_t n_layer, const struct tb_plan_layer *defaults,
                             struct tb_plan_layer *plan, struct tb_error *err) {
  if (length > TB_PLAN_FILE_BYTES)
    return tb_fail(err, TB_E_LIMIT, "plan: %zu bytes, at most %d are read", length, TB_PLAN_FILE_BYTES);
  memset(plan, 0, n_layer * sizeof *plan);
  bool header = false;
  struct cursor c = {.p = text};
  for (const char *next = text, *end = text + length; next < end;) {
    const char *newline = memchr(next, '\n', (size_t)(end - next));
    c.p = next;
    c.end = newline ? newline : end;
    c.number++;
    next = newline ? newline + 1 : end;
    struct word w = next_word(&c);
    if (w.n == 0) continue;
    if (!header) {
      struct word version = next_word(&c);
      header = is_word(w, "thimble-plan") && is_word(version, "1") && next_word(&c).n == 0;
      if (!header) return tb_fail(err, TB_E_FORMAT, "plan line %u: a plan begins with 'thimble-plan 1'", c.number);
      continue;
    }
    enum tb_status s = parse_line(&c, w, n_layer, defaults, plan, err);
    if (s) return s;
  }
  if (!header) return tb_fail(err, TB_E_FORMAT, "plan: empty; a plan begins with 'thimble-plan 1'");
  for (uint32_t i = 0; i < n_layer; i++)
    if (!plan[i].type_k[0]) return tb_fail(err, TB_E_FORMAT, "plan: layer %u is not planned", i);
  return TB_OK;
}

bool tb_plan_write(const struct tb_plan_layer *plan, uint32_t n_layer, tb_text_fn write, void *user) {
  static const char header[] = "thimble-plan 1\n# layers  keys  values  options\n";
  if (!write(user, header, sizeof header - 1)) return false;
  for (uint32_t i = 0; i < n_layer;) {
    uint32_t last = i;
    while (last + 1 < n_layer && memcmp(&plan[last + 1], &plan[i], sizeof *plan) == 0)
      last++;
    char line[320], range[24], recall[100] = "";
    if (last > i)
      snprintf(range, sizeof range, "%u-%u", i, last);
    else
      snprintf(range, sizeof range, "%u", i);
    if (plan[i].recall)
      snprintf(recall, sizeof recall, " recall=%u cluster=%u segment=%u form=%u resident=%u", plan[i].recall,
               plan[i].cluster, plan[i].segment, plan[i].form, plan[i].resident);
    int n = snprintf(line, sizeof line, "%-8s %-10s %-10s window=%u sinks=%u%s", range, plan[i].type_k, plan[i].type_v,
                     plan[i].window, plan[i].sinks, recall);
    const struct tb_merge_plan *m = &plan[i].merge;
    if (m->with)
      n += snprintf(line + n, sizeof line - (size_t)n, " merge=%s retain=%u similar=%u unaligned=%u cosine=%u",
                    m->with == TB_MERGE_UP ? "up" : "down", m->retain, m->similar, m->unaligned, m->cosine);
    line[n++] = '\n';
    if (!write(user, line, (size_t)n)) return false;
    i = last + 1;
  }
  return true;
}
