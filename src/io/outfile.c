#include "io/outfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/rng.h"

/* Temporary names: this, 16 digits, ".tmp". */
static const char temp_prefix[] = ".thimble-";
enum {
  TEMP_LENGTH = sizeof temp_prefix - 1 + 16 + 4,
  STALE_SECONDS = 10, /* between the creation of a file and its lock lie microseconds */
};

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

static bool is_temp(const char *name) {
  return strlen(name) == TEMP_LENGTH && strncmp(name, temp_prefix, sizeof temp_prefix - 1) == 0 &&
         strcmp(name + TEMP_LENGTH - 4, ".tmp") == 0;
}

/* Removes a temporary file whose writer is gone. */
static void remove_stale(int dir, const char *name) {
  struct stat st;
  int fd = openat(dir, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && time(NULL) - st.st_mtime > STALE_SECONDS &&
      flock(fd, LOCK_EX | LOCK_NB) == 0)
    unlinkat(dir, name, 0);
  close(fd);
}

/* Nothing depends on this: whatever fails is left for the next time. */
static void sweep(int dir) {
  int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *list = copy < 0 ? NULL : fdopendir(copy);
  if (!list) {
    if (copy >= 0) close(copy);
    return;
  }
  for (struct dirent *e; (e = readdir(list));)
    if (is_temp(e->d_name)) remove_stale(dir, e->d_name);
  closedir(list);
}

static enum tb_status open_temp(struct tb_outfile *f, unsigned mode, struct tb_error *err) {
  /* Unlikely names are enough: O_EXCL decides. */
  struct tb_rng rng = {(uint64_t)(tb_now() * 1e9) ^ (uint64_t)getpid() << 32};
  for (int attempt = 0; attempt < 100; attempt++) {
    snprintf(f->temp, sizeof f->temp, "%s%016llx.tmp", temp_prefix, (unsigned long long)tb_rng_next(&rng));
    f->fd = openat(f->dir, f->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode_t)mode);
    if (f->fd >= 0) {
      (void)flock(f->fd, LOCK_EX | LOCK_NB); /* where locks do not exist, nothing is swept either */
      return TB_OK;
    }
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
  if (!s) sweep(f->dir);
  if (s || (s = check_target(f, err)) || (s = open_temp(f, mode, err))) release(f);
  return s;
}

enum tb_status tb_outfile_reserve(struct tb_outfile *f, uint64_t bytes, struct tb_error *err) {
  if (bytes == 0) return TB_OK;
  if (bytes > INT64_MAX) return tb_fail(err, TB_E_LIMIT, "%s: too large for a file", f->path);
  int e;
  do e = posix_fallocate(f->fd, 0, (off_t)bytes);
  while (e == EINTR); /* a handled signal, such as the timer of a profiler */
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

/* fsync, undisturbed by signals. */
static int sync_fd(int fd) {
  int done;
  do done = fsync(fd);
  while (done != 0 && errno == EINTR);
  return done;
}

static enum tb_status finish(struct tb_outfile *f, bool durable, struct tb_error *err) {
  int done;
  do done = ftruncate(f->fd, (off_t)f->written);
  while (done != 0 && errno == EINTR);
  if (done != 0) return refuse(f, "cannot set its size", err);
  /* Not repeated when it fails: the pages that could not be written may be gone, and a second call would succeed. */
  if (durable && sync_fd(f->fd) != 0) return refuse(f, "cannot write to the disk", err);
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
  /* EINVAL: a file system whose directories cannot be synchronised; there is nothing more to be done then. */
  if (durable && sync_fd(f->dir) != 0 && errno != EINVAL)
    s = refuse(f, "the file is in place, but may not survive a power cut", err);
  release(f);
  return s;
}

void tb_outfile_abort(struct tb_outfile *f) {
  if (f->dir >= 0 && f->temp[0]) unlinkat(f->dir, f->temp, 0);
  if (f->path) release(f);
}
