/* Where a group's folder is: /proc/self/cgroup names the group as a path in its hierarchy, /proc/self/mountinfo says
 * which part of that hierarchy is mounted where (cgroups(7), proc(5)). In a container the mounted part may start at the
 * group itself, or the path may point outside of what is mounted; then the top of the mount stands for the group. */
#include "base/cgroup.h"

#include <stdio.h>
#include <string.h>

/* Whether a comma-separated list holds the word. */
static bool list_has(const char *list, const char *word) {
  size_t n = strlen(word);
  for (;;) {
    size_t len = strcspn(list, ",");
    if (len == n && memcmp(list, word, n) == 0) return true;
    if (!list[len]) return false;
    list += len + 1;
  }
}

/* "4:memory:/docker/0815" or, for version 2, "0::/user.slice". */
static bool own_path(const char *root, bool v2, const char *controller, char *path, size_t cap) {
  struct tb_sys_lines l;
  bool found = false;
  if (!tb_sys_open(&l, root, "/proc/self/cgroup")) return false;
  for (char *line; !found && (line = tb_sys_next(&l));) {
    char *list = strchr(line, ':'), *group = list ? strchr(list + 1, ':') : NULL;
    if (!group || group[1] != '/') continue;
    *list++ = 0;
    *group++ = 0;
    if (v2 ? strcmp(line, "0") != 0 || *list : !list_has(list, controller)) continue;
    found = (size_t)snprintf(path, cap, "%s", group) < cap;
  }
  tb_sys_close(&l);
  return found;
}

/* Undoes the octal escapes of mountinfo ("\040" is a blank), in place. */
static void unescape(char *s) {
  char *out = s;
  for (; *s; out++) {
    bool octal = s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7';
    *out = octal ? (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + s[3] - '0') : *s;
    s += octal ? 4 : 1;
  }
  *out = 0;
}

/* Splits a line of mountinfo: "36 35 98:0 ROOT POINT options - TYPE source SUPER". */
static bool split_mount(char *line, char *field[4]) {
  char *word[6], *rest = strstr(line, " - ");
  if (!rest) return false;
  *rest = 0;
  rest += 3;
  for (int i = 0; i < 6; i++) {
    word[i] = line;
    line += strcspn(line, " ");
    if (*line) *line++ = 0;
  }
  field[0] = word[3];
  field[1] = word[4];
  field[2] = rest;
  rest += strcspn(rest, " ");
  if (*rest) *rest++ = 0;
  rest += strcspn(rest, " ");
  field[3] = *rest ? rest + 1 : rest;
  return *field[0] == '/' && *field[1] == '/';
}

bool tb_cgroup_find(struct tb_cgroup *g, const char *root, bool v2, const char *controller) {
  char path[TB_SYS_PATH];
  struct tb_sys_lines l;
  bool found = false;
  if (!own_path(root, v2, controller, path, sizeof path)) return false;
  if (!tb_sys_open(&l, root, "/proc/self/mountinfo")) return false;
  for (char *line, *field[4]; !found && (line = tb_sys_next(&l));) {
    if (!split_mount(line, field)) continue;
    if (v2 ? strcmp(field[2], "cgroup2") != 0 : strcmp(field[2], "cgroup") != 0 || !list_has(field[3], controller)) continue;
    unescape(field[0]);
    unescape(field[1]);
    size_t shown = strcmp(field[0], "/") == 0 ? 0 : strlen(field[0]);
    const char *below = path + shown;
    if (strncmp(path, field[0], shown) != 0 || (*below && *below != '/') || strstr(path, "/..")) below = "";
    g->root = root;
    g->v2 = v2;
    g->top = strlen(field[1]);
    size_t len = (size_t)snprintf(g->dir, sizeof g->dir, "%s%s", field[1], below);
    if (len >= sizeof g->dir) continue;
    while (len > g->top && g->dir[len - 1] == '/') g->dir[--len] = 0;
    found = true;
  }
  tb_sys_close(&l);
  return found;
}

bool tb_cgroup_up(struct tb_cgroup *g) {
  size_t len = strlen(g->dir);
  if (len <= g->top) return false;
  while (len > g->top && g->dir[len - 1] != '/') len--;
  while (len > g->top && g->dir[len - 1] == '/') len--;
  g->dir[len] = 0;
  return true;
}

bool tb_cgroup_read(const struct tb_cgroup *g, const char *file, char *buf, size_t cap) {
  char path[TB_SYS_PATH];
  buf[0] = 0;
  if ((size_t)snprintf(path, sizeof path, "%s/%s", g->dir, file) >= sizeof path) return false;
  return tb_sys_read(g->root, path, buf, cap);
}

bool tb_cgroup_number(const struct tb_cgroup *g, const char *file, uint64_t *value) {
  char text[64];
  return tb_cgroup_read(g, file, text, sizeof text) && tb_sys_number(text, value, NULL);
}

uint64_t tb_cgroup_stat(const struct tb_cgroup *g, const char *file, const char *key) {
  char path[TB_SYS_PATH];
  struct tb_sys_lines l;
  uint64_t value = 0;
  if ((size_t)snprintf(path, sizeof path, "%s/%s", g->dir, file) >= sizeof path) return 0;
  if (!tb_sys_open(&l, g->root, path)) return 0;
  for (char *line; (line = tb_sys_next(&l));) {
    const char *field = tb_sys_field(line, key);
    if (field && tb_sys_number(field, &value, NULL)) break;
  }
  tb_sys_close(&l);
  return value;
}
