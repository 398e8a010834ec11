/* A file that appears whole or not at all: written under a temporary name in the same directory, then renamed over its
 * final one. Until tb_outfile_commit succeeds, whatever stood under the final name is untouched.
 *
 * A process that is killed while it writes leaves its temporary file behind. Writers hold a lock on theirs (flock), which
 * ends with them; the next tb_outfile_create in the same directory removes those that nobody holds. */
#ifndef TB_IO_OUTFILE_H
#define TB_IO_OUTFILE_H

#include "base/alloc.h"
#include "base/status.h"

struct tb_outfile {
  const struct tb_allocator *a;
  char *path;       /* final path, for messages */
  const char *name; /* its last component, inside path */
  char temp[40];    /* temporary name in the same directory */
  int dir, fd;      /* -1: closed */
  uint64_t written; /* bytes */
};

/* Creates the temporary file with permissions `mode` (less the umask). TB_E_ARG when something other than a regular
 * file stands at `path`; TB_E_IO names path and cause. On failure nothing has to be freed. */
enum tb_status tb_outfile_create(struct tb_outfile *f, const char *path, unsigned mode, const struct tb_allocator *a,
                                 struct tb_error *err);

/* Takes disk space for a file of `bytes`, so that a full disk is noticed before the work; where the file system cannot
 * do that, nothing happens. */
enum tb_status tb_outfile_reserve(struct tb_outfile *f, uint64_t bytes, struct tb_error *err);

enum tb_status tb_outfile_write(struct tb_outfile *f, const void *data, size_t n, struct tb_error *err);

/* Cuts a reservation that was not used up, closes, renames. `durable`: waits until file and name are on the disk; when
 * only the last step of that fails, the file is in place and the text says so. Frees *f in every case; on failure the
 * temporary file is removed. */
enum tb_status tb_outfile_commit(struct tb_outfile *f, bool durable, struct tb_error *err);

/* Removes the temporary file. Fine after a failure of create or after commit. */
void tb_outfile_abort(struct tb_outfile *f);

#endif
