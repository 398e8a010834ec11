/* A folder for the files of one test. */
#ifndef TB_TESTS_TMPDIR_H
#define TB_TESTS_TMPDIR_H

#include <stddef.h>

struct tmpdir {
  char path[256];
};

/* Below $TMPDIR or the system's folder for temporary files; a test failure when that is impossible. */
void tmpdir_make(struct tmpdir *d);
/* Removes the files in it and the folder. */
void tmpdir_remove(struct tmpdir *d);
/* "<folder>/<name>"; the text lives until the eighth next call. */
const char *tmpdir_file(const struct tmpdir *d, const char *name);
/* Removes the files with `part` in their name. */
void tmpdir_erase(const struct tmpdir *d, const char *part);
/* How many entries it has. */
size_t tmpdir_count(const struct tmpdir *d);
/* Creates a file there and returns its path as tmpdir_file does. */
const char *tmpdir_write(const struct tmpdir *d, const char *name, const void *data, size_t n);

#endif
