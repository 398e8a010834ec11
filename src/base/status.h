/* Status codes are public (thimble.h); this header adds the internal way to report one.
 *
 * Convention: a fallible function returns enum tb_status and takes a `struct tb_error *err` last. It fails with
 *     return tb_fail(err, TB_E_FORMAT, "tensor '%s': %u dimensions, at most 4 are supported", name, n);
 * The text is one line, names the file/field/offset and says what was wrong. `err` may be NULL. */
#ifndef TB_BASE_STATUS_H
#define TB_BASE_STATUS_H

#include "thimble.h"

#if defined(__GNUC__)
#define TB_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define TB_PRINTF(fmt, args)
#endif

/* Fills *err (text cut at its size, control bytes replaced by '?') and returns `status`. */
enum tb_status tb_fail(struct tb_error *err, enum tb_status status, const char *fmt, ...) TB_PRINTF(3, 4);

/* Puts "<prefix>: " in front of a text that is already there (used when a file name is known one level up). */
enum tb_status tb_fail_prefix(struct tb_error *err, enum tb_status status, const char *prefix);

/* A refused file operation: "<path>: <what>: <the system's text for errnum>". TB_E_NOMEM for ENOMEM, else TB_E_IO. */
enum tb_status tb_fail_errno(struct tb_error *err, int errnum, const char *path, const char *what);

#endif
