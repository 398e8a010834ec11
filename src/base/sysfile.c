#include "base/sysfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int open_below(const char *root, const char *path) {
  char full[TB_SYS_PATH];
  int n = snprintf(full, sizeof full, "%s%s", root, path);
  if (n < 0 || (size_t)n >= sizeof full) return -1;
  return open(full, O_RDONLY | O_CLOEXEC);
}

/* As read(2), but not disturbed by signals; 0 at the end and on errors. */
static size_t read_some(int fd, char *buf, size_t cap) {
  ssize_t n;
  do n = read(fd, buf, cap);
  while (n < 0 && errno == EINTR);
  return n > 0 ? (size_t)n : 0;
}

bool tb_sys_read(const char *root, const char *path, char *buf, size_t cap) {
  buf[0] = 0;
  int fd = open_below(root, path);
  if (fd < 0) return false;
  size_t len = 0;
  for (size_t n; len + 1 < cap && (n = read_some(fd, buf + len, cap - 1 - len)) > 0;) len += n;
  close(fd);
  while (len && (buf[len - 1] == '\n' || buf[len - 1] == '\r' || buf[len - 1] == 0)) len--;
  buf[len] = 0;
  return true;
}

bool tb_sys_number(const char *s, uint64_t *value, const char **end) {
  while (*s == ' ' || *s == '\t') s++;
  if (*s < '0' || *s > '9') return false;
  uint64_t v = 0;
  for (; *s >= '0' && *s <= '9'; s++) {
    unsigned digit = (unsigned)(*s - '0');
    v = v > (UINT64_MAX - digit) / 10 ? UINT64_MAX : v * 10 + digit;
  }
  *value = v;
  if (end) *end = s;
  return true;
}

bool tb_sys_read_number(const char *root, const char *path, uint64_t *value) {
  char text[64];
  return tb_sys_read(root, path, text, sizeof text) && tb_sys_number(text, value, NULL);
}

bool tb_sys_open(struct tb_sys_lines *l, const char *root, const char *path) {
  l->pos = l->len = 0;
  l->fd = open_below(root, path);
  return l->fd >= 0;
}

char *tb_sys_next(struct tb_sys_lines *l) {
  size_t n = 0;
  bool any = false;
  for (;;) {
    if (l->pos == l->len) {
      l->pos = 0;
      l->len = read_some(l->fd, l->buf, sizeof l->buf);
      if (l->len == 0) break;
    }
    char c = l->buf[l->pos++];
    any = true;
    if (c == '\n') break;
    if (n + 1 < sizeof l->line) l->line[n++] = c;
  }
  l->line[n] = 0;
  return any ? l->line : NULL;
}

void tb_sys_close(struct tb_sys_lines *l) {
  if (l->fd >= 0) close(l->fd);
  l->fd = -1;
}

const char *tb_sys_field(const char *line, const char *key) {
  size_t n = strlen(key);
  if (strncmp(line, key, n) != 0 || !(line[n] == ' ' || line[n] == '\t' || line[n] == ':')) return NULL;
  for (line += n; *line == ' ' || *line == '\t' || *line == ':'; line++) continue;
  return line;
}
