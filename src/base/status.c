#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Error texts quote names from untrusted files: keep them on one line and printable. */
static void sanitise(char *s) {
  for (; *s; s++)
    if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = '?';
}

enum tb_status tb_fail(struct tb_error *err, enum tb_status status, const char *fmt, ...) {
  if (!err) return status;
  err->status = status;
  va_list args;
  va_start(args, fmt);
  vsnprintf(err->text, sizeof err->text, fmt, args);
  va_end(args);
  sanitise(err->text);
  return status;
}

enum tb_status tb_fail_prefix(struct tb_error *err, enum tb_status status, const char *prefix) {
  if (!err) return status;
  char old[sizeof err->text];
  memcpy(old, err->text, sizeof old);
  return tb_fail(err, status, "%s: %s", prefix, old);
}

enum tb_status tb_fail_errno(struct tb_error *err, int errnum, const char *path, const char *what) {
  char text[128];
  if (strerror_r(errnum, text, sizeof text) != 0) snprintf(text, sizeof text, "error %d", errnum);
  return tb_fail(err, errnum == ENOMEM ? TB_E_NOMEM : TB_E_IO, "%s: %s: %s", path, what, text);
}

const char *tb_status_name(enum tb_status status) {
  static const char *const names[] = {
      [TB_OK] = "ok",
      [TB_E_ARG] = "wrong argument",
      [TB_E_NOMEM] = "out of memory",
      [TB_E_IO] = "input/output error",
      [TB_E_FORMAT] = "malformed data",
      [TB_E_UNSUPPORTED] = "not supported",
      [TB_E_LIMIT] = "limit exceeded",
      [TB_E_CONTEXT] = "context is full",
      [TB_E_CANCELLED] = "cancelled",
      [TB_E_NUMERIC] = "non-finite number",
  };
  size_t i = (size_t)status;
  return i < sizeof names / sizeof names[0] && names[i] ? names[i] : "unknown status";
}
