/* A file without a name, for what a process keeps outside of its memory: unlinked before anything is written, so that it
 * ends with the process however that ends. Its size is fixed and its room taken at the beginning: a full disk shows then.
 * Reading and writing at distinct places may go on in several threads. */
#ifndef TB_IO_SPILLFILE_H
#define TB_IO_SPILLFILE_H

#include "base/alloc.h"
#include "base/status.h"

struct tb_spillfile {
  int fd; /* -1: closed */
  uint64_t bytes;
  char dir[200]; /* for messages: its beginning */
};

/* One of the two pieces of memory that lie side by side in the file. */
struct tb_spill_part {
  void *data;
  size_t bytes;
};

/* Creates the file in folder `dir`, readable by its owner alone. TB_E_IO names folder and cause. On failure nothing has
 * to be freed; nothing stays allocated either way. */
enum tb_status tb_spillfile_open(struct tb_spillfile *f, const char *dir, uint64_t bytes, const struct tb_allocator *a,
                                 struct tb_error *err);

/* Both parts, at `offset`. TB_E_IO when the system refuses; TB_E_FORMAT when the file ends before what is to be read. */
enum tb_status tb_spillfile_write(const struct tb_spillfile *f, uint64_t offset, const struct tb_spill_part part[2],
                                  struct tb_error *err);
enum tb_status tb_spillfile_read(const struct tb_spillfile *f, uint64_t offset, const struct tb_spill_part part[2],
                                 struct tb_error *err);

/* Closes; the file is gone. Fine after a failure of open. */
void tb_spillfile_close(struct tb_spillfile *f);

#endif
