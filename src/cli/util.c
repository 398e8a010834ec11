#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "cli/cli.h"

int cli_report(const char *verb, const struct tb_error *err) {
  fprintf(stderr, "thimble %s: %s\n", verb, err->text);
  return err->status == TB_E_ARG || err->status == TB_E_LIMIT ? CLI_USAGE : CLI_FAILED;
}

const char *cli_isa(void) {
  const char *isa = getenv("TB_ISA");
  return isa && *isa ? isa : NULL;
}

/* ------------------------------------------------------------------------------------------------------- models */

/* Directory of the running program into buf (empty when unknown). */
static void program_directory(char *buf, size_t cap) {
  ssize_t n = readlink("/proc/self/exe", buf, cap - 1);
  buf[n > 0 ? n : 0] = '\0';
  char *slash = strrchr(buf, '/');
  if (slash) *slash = '\0';
}

/* The first of the places that exists: installed, beside the program, in the source tree of this build. */
static bool find_file(const char *installed, const char *source, char *buf, size_t cap) {
  char dir[3072];
  program_directory(dir, sizeof dir);
  snprintf(buf, cap, "%s/../share/thimble/%s", dir, installed);
  if (access(buf, R_OK) == 0) return true;
  snprintf(buf, cap, "%s/%s", dir, installed);
  if (access(buf, R_OK) == 0) return true;
#ifdef TB_SOURCE_DIR
  snprintf(buf, cap, "%s/%s", TB_SOURCE_DIR, source);
  if (access(buf, R_OK) == 0) return true;
#endif
  (void)source;
  return false;
}

bool cli_bundled_model(char *buf, size_t cap) {
  return find_file("tiny-chat.gguf", "models/tiny/tiny-chat.gguf", buf, cap);
}

bool cli_data_file(const char *folder, const char *name, const char *suffix, char *buf, size_t cap) {
  char installed[512], source[512];
  snprintf(installed, sizeof installed, "%s/%s%s", folder, name, suffix);
  snprintf(source, sizeof source, "bench/%s/%s%s", folder, name, suffix);
  return find_file(installed, source, buf, cap);
}

struct tb_model *cli_open_model(const char *verb, const char *path) {
  char bundled[4096];
  if (!path) {
    if (!cli_bundled_model(bundled, sizeof bundled)) {
      fprintf(stderr, "thimble %s: no model: give one with -m FILE (the bundled one is not installed)\n", verb);
      return NULL;
    }
    path = bundled;
  }
  cli_reading(path);
  struct tb_model_options options = {.isa = cli_isa()};
  struct tb_model *model;
  struct tb_error err;
  if (tb_model_open(&model, path, &options, &err) != TB_OK) {
    cli_report(verb, &err);
    return NULL;
  }
  struct tb_model_info info;
  tb_model_get_info(model, &info);
  if (info.shared_storage)
    fprintf(stderr, "thimble %s: %s is on Android's shared storage, which is slow to map: copy it into the home folder\n",
            verb, path);
  return model;
}

/* -------------------------------------------------------------------------------------------------------- input */

char *cli_read_file(const char *verb, const char *path, size_t *length) {
  FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
  char *text = NULL;
  size_t n = 0, cap = 0;
  while (f && n <= CLI_TEXT_MAX) {
    if (cap - n < 4097) {
      char *grown = realloc(text, cap = cap * 2 + 65536);
      if (!grown) {
        errno = ENOMEM;
        break;
      }
      text = grown;
    }
    size_t got = fread(text + n, 1, cap - n - 1, f);
    n += got;
    if (got == 0) break;
  }
  bool ok = f && !ferror(f) && text;
  if (ok && n > CLI_TEXT_MAX) {
    ok = false;
    errno = EFBIG;
  }
  if (!ok) {
    fprintf(stderr, "thimble %s: cannot read %s: %s\n", verb, f == stdin ? "standard input" : path, strerror(errno));
    free(text);
    text = NULL;
  } else {
    text[n] = '\0';
    *length = n;
  }
  if (f && f != stdin) fclose(f);
  return text;
}

static int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 32;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t cli_unescape(char *text) {
  static const char from[] = "ntr\\\"'0", to[] = "\n\t\r\\\"'";
  char *w = text;
  for (const char *r = text; *r;) {
    const char *at = r[0] == '\\' && r[1] ? strchr(from, r[1]) : NULL;
    if (at) {
      *w++ = to[at - from]; /* "0" gives the NUL behind `to` */
      r += 2;
    } else if (r[0] == '\\' && r[1] == 'x' && hex(r[2]) >= 0 && hex(r[3]) >= 0) {
      *w++ = (char)(hex(r[2]) * 16 + hex(r[3]));
      r += 4;
    } else {
      *w++ = *r++;
    }
  }
  *w = '\0';
  return (size_t)(w - text);
}

/* ------------------------------------------------------------------------------------------------------- output */

/* Bytes at the end of s that begin a UTF-8 character which is not complete. */
static size_t incomplete_tail(const char *s, size_t n) {
  for (size_t back = 1; back <= 3 && back <= n; back++) {
    unsigned char c = (unsigned char)s[n - back];
    if (c < 0x80) return 0;
    if (c < 0xc0) continue;
    size_t need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    return need > back ? back : 0;
  }
  return 0;
}

/* Bytes at the end of s that a stop string begins with. */
static size_t stop_tail(const struct cli_list *stops, const char *s, size_t n) {
  size_t most = 0;
  for (size_t i = 0; stops && i < stops->n; i++) {
    size_t len = strlen(stops->items[i]);
    for (size_t k = len < n ? len : n; k > most; k--)
      if (memcmp(s + n - k, stops->items[i], k) == 0) most = k;
  }
  return most;
}

static const char *find_stop(const struct cli_list *stops, const char *s, size_t n) {
  const char *first = NULL;
  for (size_t i = 0; stops && i < stops->n; i++) {
    size_t len = strlen(stops->items[i]);
    for (size_t at = 0; len && at + len <= n; at++)
      if (memcmp(s + at, stops->items[i], len) == 0 && (!first || s + at < first)) first = s + at;
  }
  return first;
}

void cli_stream_put(struct cli_stream *s, const char *text, size_t n) {
  while (n > 0 && !s->stopped) {
    size_t room = sizeof s->held - s->n_held, take = n < room ? n : room;
    memcpy(s->held + s->n_held, text, take);
    s->n_held += take;
    text += take;
    n -= take;
    const char *stop = find_stop(s->stops, s->held, s->n_held);
    size_t ready = stop ? (size_t)(stop - s->held) : s->n_held;
    if (!stop) {
      size_t stops = stop_tail(s->stops, s->held, s->n_held), tail = incomplete_tail(s->held, s->n_held);
      size_t keep = stops > tail ? stops : tail;
      ready = keep < s->n_held ? s->n_held - keep : 0;
      if (ready == 0 && s->n_held == sizeof s->held) ready = s->n_held; /* a stop string longer than the buffer */
    }
    fwrite(s->held, 1, ready, stdout);
    memmove(s->held, s->held + ready, s->n_held - ready);
    s->n_held -= ready;
    s->stopped = stop != NULL;
  }
  fflush(stdout);
}

void cli_stream_end(struct cli_stream *s) {
  if (!s->stopped) fwrite(s->held, 1, s->n_held, stdout);
  s->n_held = 0;
  fflush(stdout);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool cli_progress_show(void *user, size_t done, size_t total) {
  struct cli_progress *p = user;
  cli_cool_down();
  double t = now();
  if (p->started == 0) p->started = t;
  if (isatty(STDERR_FILENO) && total > 64 && (t - p->shown > 0.2 || done == total)) {
    if (done == total)
      fprintf(stderr, "\r\033[K");
    else
      fprintf(stderr, "\r\033[Kreading the prompt: %zu / %zu tokens", done, total);
    p->shown = t;
  }
  return !cli_interrupted();
}

/* ------------------------------------------------------------------------------------------------------- saving */

bool cli_autosave_due(const struct cli_autosave *a, size_t tokens) {
  enum { TOKENS = 256, SECONDS = 30, SHARE = 20 /* at most this part of the time goes into saving */ };
  const double since = now() - a->last;
  return (tokens - a->tokens >= TOKENS || since >= SECONDS) && since >= (SHARE - 1) * a->took;
}

void cli_autosave_begin(struct cli_autosave *a, size_t tokens) {
  a->last = now();
  a->tokens = tokens;
}

void cli_autosave_end(struct cli_autosave *a) {
  const double t = now();
  a->took = t - a->last;
  a->last = t;
}
