/* A file mapped read-only. The descriptor stays open, so that a change of the file behind the mapping can be noticed:
 * replacing the file by rename is harmless (the old inode lives on), rewriting it in place is not. */
#ifndef TB_IO_MAPFILE_H
#define TB_IO_MAPFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

/* What identifies the content of an open file. */
struct tb_file_id {
  uint64_t device, inode, size;
  int64_t mtime_s, mtime_ns;
};

struct tb_mapfile {
  const unsigned char *data; /* page-aligned; NULL when the file is empty */
  size_t size;
  struct tb_file_id id;
  int fd; /* -1: nothing is open */
};

/* Opens and maps a regular file. TB_E_IO (or TB_E_NOMEM when the address space is exhausted) names path and cause. */
enum tb_status tb_mapfile_open(struct tb_mapfile *m, const char *path, struct tb_error *err);
/* Unmaps and closes; a zeroed or closed object is fine. */
void tb_mapfile_close(struct tb_mapfile *m);

/* TB_E_IO when the mapped file was truncated, grown or rewritten since it was opened. */
enum tb_status tb_mapfile_check(const struct tb_mapfile *m, struct tb_error *err);

enum tb_advice {
  TB_ADVISE_NORMAL,
  TB_ADVISE_WILLNEED, /* start reading it in */
  TB_ADVISE_DONTNEED, /* its pages may be dropped; they are read again when touched */
};

/* A hint on bytes offset … offset + length - 1; ranges outside the file are clipped, refusals ignored. */
void tb_mapfile_advise(const struct tb_mapfile *m, size_t offset, size_t length, enum tb_advice advice);

/* True for a path on Android's storage for all apps (/sdcard, memory cards). It is a FUSE file system that checks the
 * permission for every read, also of mapped pages. Links are followed; tb_mapfile_shared_path takes a resolved path. */
bool tb_mapfile_on_shared_storage(const char *path);
bool tb_mapfile_shared_path(const char *path);

#endif
