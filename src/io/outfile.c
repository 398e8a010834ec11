#include "io/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/rng.h"

static enum tb_status refuse(const struct tb_outfile *f, const char *what, struct tb_error *err) {
  return tb_fail_errno(err, errno, f->path, what);
}

/* Opens the directory of f->path and finds the last component. */
static enum tb_status open_dir(struct tb_outfile *f, struct tb_error *err) {
  char *slash = strrchr(f->path, '/');
  f->name = slash ? slash + 1 : f->path;
  if (*f->name == '\0') return tb_fail(err, TB_E_ARG, "'%s': not the name of a file", f->path);
  const char *dir = slash ? f->path : ".";
  char kept = 0;
  if (slash && slash != f->path) *slash = '\0';
  else if (slash) kept = slash[1], slash[1] = '\0'; /* "/name": the root */
  do f->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  while (f->dir < 0 && errno == EINTR);
  if (slash && slash != f->path) *slash = '/';
  else if (slash) slash[1] = kept;
  return f->dir < 0 ? refuse(f, "cannot open its directory", err) : TB_OK;
}

/* A device or a pipe would be replaced by the rename: refuse rather than surprise. */
static enum tb_status check_target(const struct tb_outfile *f, struct tb_error *err) {
  struct stat st;
  if (fstatat(f->dir, f->name, &st, AT_SYMLINK_NOFOLLOW) != 0) return TB_OK;
  if (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode)) return TB_OK;
  return tb_fail(err, TB_E_ARG, "%s: exists and is not a regular file", f->path);
}

static enum tb_status open_temp(struct tb_outfile *f, unsigned mode, struct tb_error *err) {
  /* Unlikely names are enough: O_EXCL decides. */
  struct tb_rng rng = {(uint64_t)(tb_now() * 1e9) ^ (uint64_t)getpid() << 32};
  for (int attempt = 0; attempt < 100; attempt++) {
    snprintf(f->temp, sizeof f->temp, ".tmp-%016llx", (unsigned long long)tb_rng_next(&rng));
    f->fd = openat(f->dir, f->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode_t)mode);
    if (f->fd >= 0) return TB_OK;
    if (errno != EEXIST && errno != EINTR) break;
  }
  return refuse(f, "cannot create a file in its directory", err);
}

/* Closes what is open; keeps the temporary file. */
static void release(struct tb_outfile *f) {
  if (f->fd >= 0) close(f->fd);
  if (f->dir >= 0) close(f->dir);
  tb_free(f->a, f->path);
  memset(f, 0, sizeof *f);
  f->fd = f->dir = -1;
}

enum tb_status tb_outfile_create(struct tb_outfile *f, const char *path, unsigned mode, const struct tb_allocator *a,
                                 struct tb_error *err) {
  memset(f, 0, sizeof *f);
  f->a = a;
  f->fd = f->dir = -1;
  f->path = tb_strndup(a, path, strlen(path));
  if (!f->path) return tb_fail(err, TB_E_NOMEM, "no memory for a path");
  enum tb_status s = open_dir(f, err);
  if (s || (s = check_target(f, err)) || (s = open_temp(f, mode, err))) release(f);
  return s;
}

enum tb_status tb_outfile_reserve(struct tb_outfile *f, uint64_t bytes, struct tb_error *err) {
  if (bytes == 0) return TB_OK;
  if (bytes > INT64_MAX) return tb_fail(err, TB_E_LIMIT, "%s: too large for a file", f->path);
  int e;
  do e = posix_fallocate(f->fd, 0, (off_t)bytes);
  while (e == EINTR);
  if (e == 0 || e == EOPNOTSUPP || e == ENOSYS || e == EINVAL) return TB_OK;
  return tb_fail_errno(err, e, f->path, "no room for the file");
}

enum tb_status tb_outfile_write(struct tb_outfile *f, const void *data, size_t n, struct tb_error *err) {
  const char *p = data;
  while (n > 0) {
    ssize_t done = write(f->fd, p, n);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return refuse(f, "cannot write", err);
    p += done;
    n -= (size_t)done;
    f->written += (uint64_t)done;
  }
  return TB_OK;
}

static enum tb_status finish(struct tb_outfile *f, bool durable, struct tb_error *err) {
  if (ftruncate(f->fd, (off_t)f->written) != 0) return refuse(f, "cannot set its size", err);
  if (durable && fsync(f->fd) != 0) return refuse(f, "cannot write to the disk", err);
  int closed = close(f->fd);
  f->fd = -1;
  if (closed != 0 && errno != EINTR) return refuse(f, "cannot write", err);
  if (renameat(f->dir, f->temp, f->dir, f->name) != 0) return refuse(f, "cannot rename to it", err);
  return TB_OK;
}

enum tb_status tb_outfile_commit(struct tb_outfile *f, bool durable, struct tb_error *err) {
  enum tb_status s = finish(f, durable, err);
  if (s) {
    tb_outfile_abort(f);
    return s;
  }
  if (durable && fsync(f->dir) != 0) s = refuse(f, "the file is in place, but may not survive a power cut", err);
  release(f);
  return s;
}

void tb_outfile_abort(struct tb_outfile *f) {
  if (f->dir >= 0 && f->temp[0]) unlinkat(f->dir, f->temp, 0);
  if (f->path) release(f);
}
