#include "cli/plot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool ends_with(const char *path, const char *suffix) {
  size_t n = strlen(path), m = strlen(suffix);
  return n > m && strcmp(path + n - m, suffix) == 0;
}

/* A program of that name in PATH. */
static bool in_path(const char *name) {
  const char *p = getenv("PATH");
  char file[4096];
  for (; p && *p; p += *p == ':') {
    size_t n = strcspn(p, ":");
    snprintf(file, sizeof file, "%.*s/%s", (int)(n < 3000 ? n : 0), p, name);
    if (access(file, X_OK) == 0) return true;
    p += n;
  }
  return false;
}

bool cli_plot_possible(const char *verb, const char *path) {
  if (!ends_with(path, ".svg") && !ends_with(path, ".png")) {
    fprintf(stderr, "thimble %s: --plot: '%s' does not end in .svg or .png\n", verb, path);
    return false;
  }
  if (strpbrk(path, "'\n")) {
    fprintf(stderr, "thimble %s: --plot: a file name without ' and line ends is needed\n", verb);
    return false;
  }
  if (in_path("gnuplot")) return true;
  fprintf(stderr, "thimble %s: --plot: gnuplot draws the picture and is not installed (Debian: gnuplot-nox)\n", verb);
  return false;
}

static void run_gnuplot(int input) {
  dup2(input, STDIN_FILENO);
  int quiet = open("/dev/null", O_WRONLY);
  if (quiet >= 0) dup2(quiet, STDOUT_FILENO);
  execlp("gnuplot", "gnuplot", "-", (char *)NULL);
  _exit(127);
}

bool cli_plot_begin(struct cli_plot *p, const char *verb, const char *path, const char *title) {
  int ends[2];
  *p = (struct cli_plot){0};
  fflush(NULL);
  if (!cli_output_begin(&p->picture, verb, "--plot", path)) return false;
  if (pipe(ends) != 0) {
    fprintf(stderr, "thimble %s: --plot: %s\n", verb, strerror(errno));
    return cli_output_end(&p->picture, false);
  }
  fcntl(ends[1], F_SETFD, FD_CLOEXEC);
  p->pid = fork();
  if (p->pid == 0) run_gnuplot(ends[0]);
  close(ends[0]);
  if (p->pid < 0 || !(p->script = fdopen(ends[1], "w"))) {
    fprintf(stderr, "thimble %s: --plot: cannot start gnuplot: %s\n", verb, strerror(errno));
    close(ends[1]);
    return cli_output_end(&p->picture, false);
  }
  fprintf(p->script, "set terminal %s\nset output '%s'\n",
          ends_with(path, ".svg") ? "svg size 800,500 dynamic background 'white' font 'sans,13'" : "png size 1200,750",
          p->picture.temp[0] ? p->picture.temp : path);
  fputs("set grid lc rgb '#dddddd'\nset border 3\nset tics nomirror\nset key noenhanced\n"
        "set linetype 1 lc rgb '#444444'\nset linetype 2 lc rgb '#1f77b4'\nset linetype 3 lc rgb '#d95f02'\n"
        "set linetype 4 lc rgb '#1b9e77'\nset linetype 5 lc rgb '#7570b3'\nset linetype 6 lc rgb '#e7298a'\n"
        "set title noenhanced \"",
        p->script);
  cli_plot_text(p, title);
  fputs("\"\n", p->script);
  return true;
}

void cli_plot_text(const struct cli_plot *p, const char *text) {
  for (; *text; text++) {
    unsigned char c = (unsigned char)*text;
    if (c == '"' || c == '\\' || c == '`') fputc('\\', p->script);
    if (c >= 0x20) fputc(c, p->script);
  }
}

/* Whether a picture is there to its end: gnuplot does not look at what becomes of its output. */
static bool is_complete(const struct cli_output *picture) {
  if (!picture->temp[0]) return true;
  FILE *f = fopen(picture->temp, "rb");
  char end[17] = "";
  const bool found = f && fseek(f, -16, SEEK_END) == 0 && fread(end, 1, 16, f) == 16 &&
                     (memcmp(end + 8, "IEND", 4) == 0 || strstr(end, "</svg>"));
  if (f) fclose(f);
  return found;
}

bool cli_plot_end(struct cli_plot *p) {
  int status = -1;
  bool ok = !ferror(p->script);
  if (fclose(p->script) != 0) ok = false;
  while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR) {
  }
  ok = ok && WIFEXITED(status) && WEXITSTATUS(status) == 0 && is_complete(&p->picture);
  if (!ok) fprintf(stderr, "thimble %s: --plot: gnuplot could not write %s\n", p->picture.verb, p->picture.path);
  return cli_output_end(&p->picture, ok);
}
