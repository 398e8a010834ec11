#include "io/mapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/alloc.h"

static struct tb_file_id id_of(const struct stat *st) {
  return (struct tb_file_id){.device = (uint64_t)st->st_dev,
                             .inode = (uint64_t)st->st_ino,
                             .size = (uint64_t)st->st_size,
                             .mtime_s = (int64_t)st->st_mtim.tv_sec,
                             .mtime_ns = (int64_t)st->st_mtim.tv_nsec};
}

static enum tb_status map(struct tb_mapfile *m, const char *path, struct tb_error *err) {
  struct stat st;
  if (fstat(m->fd, &st) != 0) return tb_fail_errno(err, errno, path, "cannot stat");
  if (S_ISDIR(st.st_mode)) return tb_fail(err, TB_E_IO, "%s: is a directory", path);
  if (!S_ISREG(st.st_mode)) return tb_fail(err, TB_E_IO, "%s: is not a regular file", path);
  m->id = id_of(&st);
  if ((uint64_t)st.st_size > PTRDIFF_MAX) return tb_fail(err, TB_E_LIMIT, "%s: too large to be mapped", path);
  m->size = (size_t)st.st_size;
  if (m->size == 0) return TB_OK;
  void *data = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, m->fd, 0);
  if (data == MAP_FAILED) return tb_fail_errno(err, errno, path, "cannot map");
  m->data = data;
  tb_wish_huge(data, m->size); /* file systems with large folios read a cold file into huge pages then */
  return TB_OK;
}

enum tb_status tb_mapfile_open(struct tb_mapfile *m, const char *path, struct tb_error *err) {
  memset(m, 0, sizeof *m);
  /* Without O_NONBLOCK the open of a FIFO would wait for a writer, before its type can be seen. */
  do m->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  while (m->fd < 0 && errno == EINTR);
  if (m->fd < 0) return tb_fail_errno(err, errno, path, "cannot open");
  enum tb_status s = map(m, path, err);
  if (s) tb_mapfile_close(m);
  return s;
}

void tb_mapfile_close(struct tb_mapfile *m) {
  if (m->data) munmap((void *)(uintptr_t)m->data, m->size);
  /* A zeroed object has fd 0 but no identity: descriptor 0 belongs to somebody else then. */
  if (m->fd > 0 || (m->fd == 0 && m->id.inode != 0)) close(m->fd);
  memset(m, 0, sizeof *m);
  m->fd = -1;
}

enum tb_status tb_mapfile_check(const struct tb_mapfile *m, struct tb_error *err) {
  struct stat st;
  if (fstat(m->fd, &st) != 0) return tb_fail_errno(err, errno, "mapped file", "cannot stat");
  struct tb_file_id now = id_of(&st);
  if (now.size != m->id.size)
    return tb_fail(err, TB_E_IO, "the file changed while it was in use: %llu bytes, had %llu",
                   (unsigned long long)now.size, (unsigned long long)m->id.size);
  if (now.mtime_s != m->id.mtime_s || now.mtime_ns != m->id.mtime_ns)
    return tb_fail(err, TB_E_IO, "the file was rewritten while it was in use");
  return TB_OK;
}

void tb_mapfile_advise(const struct tb_mapfile *m, size_t offset, size_t length, enum tb_advice advice) {
  static const int posix[] = {POSIX_MADV_NORMAL, POSIX_MADV_WILLNEED, POSIX_MADV_DONTNEED};
  if (!m->data || offset >= m->size) return;
  if (length > m->size - offset) length = m->size - offset;
  size_t page = (size_t)sysconf(_SC_PAGESIZE), slack = offset % page;
  /* glibc's posix_madvise ignores DONTNEED; a private read-only file mapping loses nothing by madvise. */
  void *at = (void *)(uintptr_t)(m->data + offset - slack);
#ifdef MADV_DONTNEED
  if (advice == TB_ADVISE_DONTNEED) {
    (void)madvise(at, length + slack, MADV_DONTNEED);
    return;
  }
#endif
  (void)posix_madvise(at, length + slack, posix[advice]);
}

bool tb_mapfile_shared_path(const char *path) {
  /* Where Android shows it to programs (source.android.com, "Traditional storage"); /data/media has the same files
   * without FUSE. */
  static const char *const mounts[] = {"/storage/", "/sdcard/"};
  for (size_t i = 0; i < sizeof mounts / sizeof mounts[0]; i++)
    if (strncmp(path, mounts[i], strlen(mounts[i])) == 0) return true;
  return false;
}

bool tb_mapfile_on_shared_storage(const char *path) {
  char resolved[PATH_MAX];
  return realpath(path, resolved) && tb_mapfile_shared_path(resolved);
}
