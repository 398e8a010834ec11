#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* error: an errno, or UNKNOWN when it was not kept. */
enum { UNKNOWN = -1 };
static bool refuse(const struct cli_output *o, int error) {
  fprintf(stderr, "thimble %s: %s: cannot write %s%s%s\n", o->verb, o->option, o->path, error == UNKNOWN ? "" : ": ",
          error == UNKNOWN ? "" : strerror(error));
  return false;
}

/* Named and locked as the library's temporary files are (io/outfile.h): one whose writer was killed is removed when a file is
 * next saved there. */
static int open_temp(struct cli_output *o) {
  const char *slash = strrchr(o->path, '/');
  const size_t folder = slash ? (size_t)(slash - o->path) + 1 : 0;
  if (folder + 64 > sizeof o->temp) {
    errno = ENAMETOOLONG;
    return -1;
  }
  int fd = -1;
  for (unsigned attempt = 0; attempt < 100 && fd < 0; attempt++) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    const unsigned long long name = (unsigned long long)t.tv_nsec + attempt + ((unsigned long long)getpid() << 32);
    snprintf(o->temp, sizeof o->temp, "%.*s.thimble-%016llx.tmp", (int)folder, o->path, name);
    fd = open(o->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno != EEXIST && errno != EINTR) break;
  }
  if (fd >= 0) (void)flock(fd, LOCK_EX | LOCK_NB);
  return fd;
}

bool cli_output_begin(struct cli_output *o, const char *verb, const char *option, const char *path) {
  struct stat st;
  *o = (struct cli_output){.verb = verb, .option = option, .path = path};
  const bool in_place = stat(path, &st) == 0 && !S_ISREG(st.st_mode);
  const int fd = in_place ? open(path, O_WRONLY | O_CLOEXEC) : open_temp(o);
  if (fd < 0) {
    o->temp[0] = '\0';
    return refuse(o, errno);
  }
  if ((o->file = fdopen(fd, "wb"))) return true;
  const int error = errno;
  close(fd);
  if (o->temp[0]) unlink(o->temp);
  return refuse(o, error);
}

bool cli_output_end(struct cli_output *o, bool complete) {
  int error = complete && ferror(o->file) ? UNKNOWN : 0;
  if (complete && !error && (fflush(o->file) != 0 || (o->temp[0] && fsync(fileno(o->file)) != 0))) error = errno;
  if (fclose(o->file) != 0 && complete && !error) error = errno;
  if (complete && !error && o->temp[0] && rename(o->temp, o->path) != 0) error = errno;
  if (complete && !error) return true;
  if (o->temp[0]) unlink(o->temp);
  return error ? refuse(o, error) : false;
}
