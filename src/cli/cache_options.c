#include "cli/cache_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/cli.h"

/* --kv-profile FILE, or what is at its usual place. */
static const char *profile_of(const char *verb, struct cli_cache *c, const char *model) {
  if (!c->profile && model) cli_reading(model); /* its header tells which profile is its own */
  if (!c->profile) return cli_profile_find(verb, model, c->found, sizeof c->found);
  if (strcmp(c->profile, "none") == 0) return NULL;
  cli_reading_profile(c->profile);
  return c->profile;
}

bool cli_cache_open(const char *verb, struct cli_cache *c, const char *model, struct tb_context_options *out) {
  size_t length;
  c->plan_text = c->plan ? cli_read_file(verb, c->plan, &length) : NULL;
  if (c->plan && !c->plan_text) return false;
  out->type_k = c->type_k;
  out->type_v = c->type_v;
  out->kv_plan = c->plan_text;
  out->kv_profile = profile_of(verb, c, model);
  out->kv_window = c->window;
  out->kv_sinks = c->sinks;
  out->kv_recall = c->recall;
  out->kv_spill = c->spill;
  out->kv_resident = c->resident;
  out->kv_merge = c->merge;
  return true;
}

void cli_cache_close(struct cli_cache *c) {
  free(c->plan_text);
  c->plan_text = NULL;
}

bool cli_cache_saved(const char *verb, const struct cli_cache *c, const char *session) {
  if (!session || !c->spill) return true;
  fprintf(stderr, "thimble %s: --kv-spill: a conversation whose clusters are in a file is not saved (--session)\n", verb);
  return false;
}
