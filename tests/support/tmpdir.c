#include "tests/support/tmpdir.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

void tmpdir_make(struct tmpdir *d) {
  const char *base = getenv("TMPDIR");
  snprintf(d->path, sizeof d->path, "%s/thimble-test-XXXXXX", base && *base ? base : P_tmpdir);
  assert_non_null(mkdtemp(d->path));
}

const char *tmpdir_file(const struct tmpdir *d, const char *name) {
  static char text[8][512];
  static unsigned next;
  char *s = text[next++ % 8];
  snprintf(s, sizeof text[0], "%s/%s", d->path, name);
  return s;
}

/* Counts the entries with `part` in their name; removes them when asked to. */
static size_t visit(const struct tmpdir *d, const char *part, int erase) {
  size_t n = 0;
  DIR *dir = opendir(d->path);
  assert_non_null(dir);
  for (struct dirent *e; (e = readdir(dir));) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || !strstr(e->d_name, part)) continue;
    n++;
    if (erase) remove(tmpdir_file(d, e->d_name));
  }
  closedir(dir);
  return n;
}

size_t tmpdir_count(const struct tmpdir *d) { return visit(d, "", 0); }

void tmpdir_erase(const struct tmpdir *d, const char *part) { visit(d, part, 1); }

void tmpdir_remove(struct tmpdir *d) {
  visit(d, "", 1);
  assert_int_equal(rmdir(d->path), 0);
}

const char *tmpdir_write(const struct tmpdir *d, const char *name, const void *data, size_t n) {
  const char *path = tmpdir_file(d, name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(data, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
  return path;
}
