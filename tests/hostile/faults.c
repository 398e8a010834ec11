#include "tests/hostile/faults.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct faults faults;

const char *fault_call_name(enum fault_call call) {
  static const char *const names[] = {
#define X(name) #name,
#include "tests/hostile/syscalls.def"
#undef X
  };
  return names[call];
}

void faults_start(size_t fail_at, bool for_ever, int error) {
  faults = (struct faults){.on = true, .fail_at = fail_at, .for_ever = for_ever, .error = error};
}

void faults_stop(void) { faults.on = false; }

/* What a signal can interrupt. */
static bool waits(enum fault_call call) {
  return call == FAULT_open || call == FAULT_openat || call == FAULT_read || call == FAULT_write || call == FAULT_flock ||
         call == FAULT_posix_fallocate || call == FAULT_ftruncate || call == FAULT_fsync || call == FAULT_close ||
         call == FAULT_preadv || call == FAULT_pwritev;
}

/* True when this call is to fail. */
static bool hit(enum fault_call call) {
  if (!faults.on) return false;
  faults.count++;
  if (faults.error == EINTR && !waits(call)) return false;
  bool now = faults.fail_at && (faults.count == faults.fail_at || (faults.for_ever && faults.count > faults.fail_at));
  faults.failed += now;
  return now;
}

static long long tell(struct fault_event e) {
  if (faults.on && faults.listen) {
    const int kept = errno;
    faults.listen(faults.user, &e);
    errno = kept;
  }
  return e.result;
}

/* -1 with the wanted errno. A short count is no failure of calls that have none. */
#define REFUSED(plain) (faults.error ? (errno = faults.error, -1) : (plain))

int __real_open(const char *path, int flags, ...);
int __real_openat(int dir, const char *path, int flags, ...);
ssize_t __real_read(int fd, void *data, size_t n);
ssize_t __real_write(int fd, const void *data, size_t n);
void *__real_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);
int __real_fstat(int fd, struct stat *st);
int __real_fstatat(int dir, const char *path, struct stat *st, int flags);
off_t __real_lseek(int fd, off_t to, int whence);
int __real_flock(int fd, int what);
int __real_posix_fallocate(int fd, off_t from, off_t n);
int __real_ftruncate(int fd, off_t n);
int __real_fsync(int fd);
int __real_close(int fd);
int __real_renameat(int dir, const char *from, int to_dir, const char *to);
int __real_unlinkat(int dir, const char *path, int flags);
ssize_t __real_preadv(int fd, const struct iovec *parts, int n, off_t at);
ssize_t __real_pwritev(int fd, const struct iovec *parts, int n, off_t at);
int __real_mkstemp(char *name);
int __real_unlink(const char *path);

int __wrap_open(const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);
ssize_t __wrap_read(int fd, void *data, size_t n);
ssize_t __wrap_write(int fd, const void *data, size_t n);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);
int __wrap_fstat(int fd, struct stat *st);
int __wrap_fstatat(int dir, const char *path, struct stat *st, int flags);
off_t __wrap_lseek(int fd, off_t to, int whence);
int __wrap_flock(int fd, int what);
int __wrap_posix_fallocate(int fd, off_t from, off_t n);
int __wrap_ftruncate(int fd, off_t n);
int __wrap_fsync(int fd);
int __wrap_close(int fd);
int __wrap_renameat(int dir, const char *from, int to_dir, const char *to);
int __wrap_unlinkat(int dir, const char *path, int flags);
ssize_t __wrap_preadv(int fd, const struct iovec *parts, int n, off_t at);
ssize_t __wrap_pwritev(int fd, const struct iovec *parts, int n, off_t at);
int __wrap_mkstemp(char *name);
int __wrap_unlink(const char *path);

static mode_t mode_of(int flags, va_list args) { return flags & O_CREAT ? (mode_t)va_arg(args, int) : 0; }

int __wrap_open(const char *path, int flags, ...) {
  va_list args;
  va_start(args, flags);
  const mode_t mode = mode_of(flags, args);
  va_end(args);
  int r = hit(FAULT_open) ? REFUSED(__real_open(path, flags, mode)) : __real_open(path, flags, mode);
  return (int)tell((struct fault_event){.call = FAULT_open, .fd = -1, .name = path, .flags = flags, .result = r});
}

int __wrap_openat(int dir, const char *path, int flags, ...) {
  va_list args;
  va_start(args, flags);
  const mode_t mode = mode_of(flags, args);
  va_end(args);
  int r = hit(FAULT_openat) ? REFUSED(__real_openat(dir, path, flags, mode)) : __real_openat(dir, path, flags, mode);
  return (int)tell((struct fault_event){.call = FAULT_openat, .fd = dir, .name = path, .flags = flags, .result = r});
}

ssize_t __wrap_read(int fd, void *data, size_t n) {
  return hit(FAULT_read) ? REFUSED(__real_read(fd, data, n ? 1 : 0)) : __real_read(fd, data, n);
}

ssize_t __wrap_write(int fd, const void *data, size_t n) {
  ssize_t r = hit(FAULT_write) ? REFUSED(__real_write(fd, data, n ? 1 : 0)) : __real_write(fd, data, n);
  return (ssize_t)tell((struct fault_event){.call = FAULT_write, .fd = fd, .data = data, .size = r, .result = r});
}

void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset) {
  if (!hit(FAULT_mmap) || !faults.error) return __real_mmap(at, n, prot, flags, fd, offset);
  errno = faults.error;
  return MAP_FAILED;
}

int __wrap_fstat(int fd, struct stat *st) { return hit(FAULT_fstat) ? REFUSED(__real_fstat(fd, st)) : __real_fstat(fd, st); }

int __wrap_fstatat(int dir, const char *path, struct stat *st, int flags) {
  return hit(FAULT_fstatat) ? REFUSED(__real_fstatat(dir, path, st, flags)) : __real_fstatat(dir, path, st, flags);
}

off_t __wrap_lseek(int fd, off_t to, int whence) {
  return hit(FAULT_lseek) ? REFUSED(__real_lseek(fd, to, whence)) : __real_lseek(fd, to, whence);
}

int __wrap_flock(int fd, int what) { return hit(FAULT_flock) ? REFUSED(__real_flock(fd, what)) : __real_flock(fd, what); }

int __wrap_posix_fallocate(int fd, off_t from, off_t n) {
  int r = hit(FAULT_posix_fallocate) && faults.error ? faults.error : __real_posix_fallocate(fd, from, n);
  return (int)tell((struct fault_event){.call = FAULT_posix_fallocate, .fd = fd, .size = from + n, .result = r});
}

int __wrap_ftruncate(int fd, off_t n) {
  int r = hit(FAULT_ftruncate) ? REFUSED(__real_ftruncate(fd, n)) : __real_ftruncate(fd, n);
  return (int)tell((struct fault_event){.call = FAULT_ftruncate, .fd = fd, .size = n, .result = r});
}

int __wrap_fsync(int fd) {
  int r = hit(FAULT_fsync) ? REFUSED(__real_fsync(fd)) : __real_fsync(fd);
  return (int)tell((struct fault_event){.call = FAULT_fsync, .fd = fd, .result = r});
}

/* The descriptor is gone whatever the call returns, as Linux has it. */
int __wrap_close(int fd) {
  const bool fail = hit(FAULT_close);
  int r = __real_close(fd);
  if (fail) r = REFUSED(r);
  return (int)tell((struct fault_event){.call = FAULT_close, .fd = fd, .result = r});
}

int __wrap_renameat(int dir, const char *from, int to_dir, const char *to) {
  int r = hit(FAULT_renameat) ? REFUSED(__real_renameat(dir, from, to_dir, to)) : __real_renameat(dir, from, to_dir, to);
  return (int)tell((struct fault_event){.call = FAULT_renameat, .fd = dir, .name = from, .to = to, .result = r});
}

int __wrap_unlinkat(int dir, const char *path, int flags) {
  int r = hit(FAULT_unlinkat) ? REFUSED(__real_unlinkat(dir, path, flags)) : __real_unlinkat(dir, path, flags);
  return (int)tell((struct fault_event){.call = FAULT_unlinkat, .fd = dir, .name = path, .result = r});
}

ssize_t __wrap_preadv(int fd, const struct iovec *parts, int n, off_t at) {
  const struct iovec one = {parts[0].iov_base, parts[0].iov_len ? 1 : 0};
  return hit(FAULT_preadv) ? REFUSED(__real_preadv(fd, &one, 1, at)) : __real_preadv(fd, parts, n, at);
}

ssize_t __wrap_pwritev(int fd, const struct iovec *parts, int n, off_t at) {
  const struct iovec one = {parts[0].iov_base, parts[0].iov_len ? 1 : 0};
  return hit(FAULT_pwritev) ? REFUSED(__real_pwritev(fd, &one, 1, at)) : __real_pwritev(fd, parts, n, at);
}

int __wrap_mkstemp(char *name) { return hit(FAULT_mkstemp) ? REFUSED(__real_mkstemp(name)) : __real_mkstemp(name); }

int __wrap_unlink(const char *path) { return hit(FAULT_unlink) ? REFUSED(__real_unlink(path)) : __real_unlink(path); }
