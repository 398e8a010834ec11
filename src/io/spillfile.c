#define _GNU_SOURCE /* Android declares preadv and pwritev with it alone */
#include "io/spillfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static enum tb_status refuse(const struct tb_spillfile *f, int errnum, const char *what, struct tb_error *err) {
  return tb_fail_errno(err, errnum, f->dir, what);
}

/* A file in `dir`, opened and already unlinked; -1 with errno. */
static int open_nameless(const char *dir, const struct tb_allocator *a) {
  static const char name[] = "/.thimble-spill-XXXXXX";
  const size_t n = strlen(dir);
  char *path = tb_alloc(a, n + sizeof name, 1);
  if (!path) {
    errno = ENOMEM;
    return -1;
  }
  memcpy(path, dir, n);
  memcpy(path + n, name, sizeof name);
  const int fd = mkstemp(path);
  if (fd >= 0) {
    unlink(path);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  const int kept = errno;
  tb_free(a, path);
  errno = kept;
  return fd;
}

/* Where a file system cannot take room ahead, the file has its size at least. */
static int reserve(int fd, uint64_t bytes) {
  int e;
  if (bytes > INT64_MAX) return EFBIG;
  do e = bytes ? posix_fallocate(fd, 0, (off_t)bytes) : 0;
  while (e == EINTR);
  if (e != EOPNOTSUPP && e != ENOSYS && e != EINVAL) return e;
  do e = ftruncate(fd, (off_t)bytes) == 0 ? 0 : errno;
  while (e == EINTR);
  return e;
}

enum tb_status tb_spillfile_open(struct tb_spillfile *f, const char *dir, uint64_t bytes, const struct tb_allocator *a,
                                 struct tb_error *err) {
  *f = (struct tb_spillfile){.bytes = bytes};
  snprintf(f->dir, sizeof f->dir, "%s", dir);
  f->fd = open_nameless(dir, a);
  enum tb_status s = TB_OK;
  if (f->fd < 0) s = refuse(f, errno, "cannot create a file for what the memory does not hold", err);
  const int e = s ? 0 : reserve(f->fd, bytes);
  if (e) {
    char what[96];
    snprintf(what, sizeof what, "no room for a file of %.1f MiB", (double)bytes / 0x1p20);
    s = refuse(f, e, what, err);
  }
  if (s) tb_spillfile_close(f);
  return s;
}

void tb_spillfile_close(struct tb_spillfile *f) {
  if (f->fd >= 0) close(f->fd);
  f->fd = -1;
}

typedef ssize_t transfer_fn(int fd, const struct iovec *iov, int n, off_t offset);

/* Repeats `fn` until both parts are through; 0, an errno, or -1 at the end of the file. */
static int transfer(transfer_fn *fn, int fd, uint64_t offset, const struct tb_spill_part part[2]) {
  struct iovec left[2] = {{part[0].data, part[0].bytes}, {part[1].data, part[1].bytes}};
  for (int first = 0;;) {
    while (first < 2 && left[first].iov_len == 0)
      first++;
    if (first == 2) return 0;
    const ssize_t done = fn(fd, left + first, 2 - first, (off_t)offset);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return done < 0 ? errno : -1;
    offset += (uint64_t)done;
    size_t n = (size_t)done;
    for (int i = first; i < 2 && n; i++) {
      const size_t of = n < left[i].iov_len ? n : left[i].iov_len;
      left[i].iov_base = (char *)left[i].iov_base + of;
      left[i].iov_len -= of;
      n -= of;
    }
  }
}

enum tb_status tb_spillfile_write(const struct tb_spillfile *f, uint64_t offset, const struct tb_spill_part part[2],
                                  struct tb_error *err) {
  const int e = transfer(pwritev, f->fd, offset, part);
  return e == 0 ? TB_OK : refuse(f, e < 0 ? EIO : e, "cannot write what the memory does not hold", err);
}

enum tb_status tb_spillfile_read(const struct tb_spillfile *f, uint64_t offset, const struct tb_spill_part part[2],
                                 struct tb_error *err) {
  const int e = transfer(preadv, f->fd, offset, part);
  if (e < 0)
    return tb_fail(err, TB_E_FORMAT, "%s: the file for what the memory does not hold was shortened", f->dir);
  return e == 0 ? TB_OK : refuse(f, e, "cannot read what the memory does not hold", err);
}
