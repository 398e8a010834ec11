/* Options about the KV cache that verbs share: a struct that holds them, rows for their option tables, and one function
 * that hands them to the library. */
#ifndef TB_CLI_CACHE_OPTIONS_H
#define TB_CLI_CACHE_OPTIONS_H

#include "cli/args.h"
#include "thimble.h"

struct cli_cache {
  const char *type_k, *type_v, *plan, *profile;
  int32_t window, sinks;
  uint32_t recall, merge, resident;
  const char *spill;
  char *plan_text; /* the plan file's text; owned */
  char found[4096]; /* path of a profile at its usual place */
};

/* Rows for a table of options; c: a struct cli_cache. */
/* clang-format off */
#define CLI_CACHE_TYPE_OPTIONS(c)                                                                                      \
  {"-ctk", "--cache-type-k", CLI_STRING, &(c).type_k, 0, 0, "TYPE", "type of cached keys"},                            \
  {"-ctv", "--cache-type-v", CLI_STRING, &(c).type_v, 0, 0, "TYPE", "type of cached values"},                          \
  {NULL, "--kv-plan", CLI_STRING, &(c).plan, 0, 0, "FILE", "cache types layer by layer, from a plan file"}
#define CLI_CACHE_OPTIONS(c)                                                                                           \
  {NULL, "--kv-window", CLI_I32, &(c).window, -1, 1 << 24, "N",                                                        \
   "newest tokens kept in f16 beside packed types (128; -1: none)"},                                                   \
  {NULL, "--kv-sinks", CLI_I32, &(c).sinks, -1, 1 << 24, "N",                                                          \
   "first tokens kept in f16 beside packed types (5; -1: none)"},                                                      \
  {NULL, "--kv-recall", CLI_U32, &(c).recall, 0, 1 << 24, "N",                                                         \
   "while generating, attend to N tokens in chosen clusters and to the newest (0: to all)"},                           \
  {NULL, "--kv-spill", CLI_STRING, &(c).spill, 0, 0, "DIR",                                                            \
   "clusters that were not used for long are in a file there: with --kv-recall, or where the planner needs it"},       \
  {NULL, "--kv-resident", CLI_U32, &(c).resident, 0, 1 << 24, "N",                                                     \
   "with --kv-spill: tokens in clusters that are in memory, per KV head (4 times --kv-recall)"},                       \
  {NULL, "--kv-merge", CLI_U32, &(c).merge, 0, 1 << 24, "N",                                                           \
   "from layer N on, pairs of layers share the directions of keys and values (0: none)"},                              \
  {NULL, "--kv-profile", CLI_STRING, &(c).profile, 0, 0, "FILE", "what calibrate measured (default: found by itself), or none"}
/* clang-format on */

/* Sets the cache fields of `out`, which point into c until cli_cache_close; reads --kv-plan and looks for the profile of
 * `model` (NULL: the bundled one); reports errors itself. */
bool cli_cache_open(const char *verb, struct cli_cache *c, const char *model, struct tb_context_options *out);
void cli_cache_close(struct cli_cache *c);
/* Reports when a conversation is to be saved (session: --session or NULL) that cannot be. */
bool cli_cache_saved(const char *verb, const struct cli_cache *c, const char *session);

#endif
