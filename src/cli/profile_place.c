/* Where a model's profile is: <model>.profile.gguf beside it, else in the user's cache, named by the model's identity.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cli/cli.h"

static bool beside(const char *model, char *buf, size_t cap) {
  const char *dot = strrchr(model, '.');
  const size_t stem = dot && strcmp(dot, ".gguf") == 0 ? (size_t)(dot - model) : strlen(model);
  return snprintf(buf, cap, "%.*s.profile.gguf", (int)stem, model) < (int)cap;
}

/* The folder is made when it is missing (`make`). */
static bool in_cache(const char *model, bool make, char *buf, size_t cap) {
  const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  char dir[3072];
  uint64_t identity;
  if (xdg && *xdg == '/')
    snprintf(dir, sizeof dir, "%s", xdg);
  else if (home && *home)
    snprintf(dir, sizeof dir, "%s/.cache", home);
  else
    return false;
  if (tb_file_identity(model, NULL, &identity, NULL) != TB_OK) return false;
  if (make) mkdir(dir, 0700);
  if (snprintf(buf, cap, "%s/thimble", dir) >= (int)cap) return false;
  if (make) mkdir(buf, 0700);
  return snprintf(buf, cap, "%s/thimble/%016llx.profile.gguf", dir, (unsigned long long)identity) < (int)cap;
}

const char *cli_profile_place(const char *model, char *buf, size_t cap) {
  char dir[4096];
  if (!beside(model, buf, cap)) return NULL;
  snprintf(dir, sizeof dir, "%s", buf);
  char *slash = strrchr(dir, '/');
  if (slash) *slash = '\0';
  if (access(slash ? (*dir ? dir : "/") : ".", W_OK) == 0) return buf;
  return in_cache(model, true, buf, cap) ? buf : NULL;
}

/* Whether the file is a profile of this model; one that is not is passed over with a line. */
static bool usable(const char *verb, const char *path, uint64_t identity) {
  struct tb_profile_info info;
  struct tb_error err;
  if (access(path, F_OK) != 0) return false;
  cli_reading_profile(path);
  if (tb_profile_read_info(path, NULL, &info, &err) != TB_OK)
    fprintf(stderr, "thimble %s: %s is left alone: %s\n", verb, path, err.text);
  else if (info.model != identity)
    fprintf(stderr, "thimble %s: %s is left alone: it belongs to another model\n", verb, path);
  else
    return true;
  cli_reading_profile(NULL);
  return false;
}

const char *cli_profile_find(const char *verb, const char *model, char *buf, size_t cap) {
  uint64_t identity;
  char bundled[4096];
  if (!model && cli_bundled_model(bundled, sizeof bundled)) model = bundled;
  if (!model || tb_file_identity(model, NULL, &identity, NULL) != TB_OK) return NULL; /* opening it says why */
  if (beside(model, buf, cap) && usable(verb, buf, identity)) return buf;
  return in_cache(model, false, buf, cap) && usable(verb, buf, identity) ? buf : NULL;
}
