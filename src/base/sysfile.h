/* Small readers for the text files of /proc and /sys. `root` is put before every path: "" on a real system, a folder
 * with a made-up /proc and /sys in tests. No allocation. A file that is missing, empty or odd reads as nothing. */
#ifndef TB_BASE_SYSFILE_H
#define TB_BASE_SYSFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TB_SYS_PATH = 4096 };

/* The file's first cap-1 bytes, NUL-terminated; false (and an empty buf) when it cannot be read. Trailing line ends
 * and NULs are cut. */
bool tb_sys_read(const char *root, const char *path, char *buf, size_t cap);

/* A decimal number at the start of s, after blanks; a larger one than fits reads as UINT64_MAX. False when there is no
 * digit, as in "max". *end, if asked for, points behind the last digit. */
bool tb_sys_number(const char *s, uint64_t *value, const char **end);

/* The number that is the content of a file. */
bool tb_sys_read_number(const char *root, const char *path, uint64_t *value);

/* A file line by line. */
struct tb_sys_lines {
  int fd;
  size_t pos, len;   /* unread part of buf */
  char buf[1024];
  char line[TB_SYS_PATH + 256]; /* the current line; what is longer is cut */
};

bool tb_sys_open(struct tb_sys_lines *l, const char *root, const char *path);
/* The next line, without its end, or NULL. Valid until the next call. */
char *tb_sys_next(struct tb_sys_lines *l);
void tb_sys_close(struct tb_sys_lines *l);

/* The text after "<key>" and blanks and colons when the line starts with that whole key, else NULL. */
const char *tb_sys_field(const char *line, const char *key);

#endif
