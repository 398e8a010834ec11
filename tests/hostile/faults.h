/* Faults on demand: every system call of the library passes through a table (syscalls.def, by the linker's --wrap) that
 * can make the n-th one fail, or all from there on, and tells who listens what was done. */
#ifndef TB_TESTS_FAULTS_H
#define TB_TESTS_FAULTS_H

#include <stdbool.h>
#include <stddef.h>

enum fault_call {
#define X(name) FAULT_##name,
#include "tests/hostile/syscalls.def"
#undef X
  FAULT_CALLS,
};

/* One call, after it was made (or refused: result < 0). */
struct fault_event {
  enum fault_call call;
  int fd;            /* the descriptor it was given, or the directory's */
  const char *name;  /* paths */
  const char *to;    /* of a rename */
  const void *data;  /* written bytes */
  long long size;    /* of data, of a truncation or an allocation */
  long long result;
  int flags;
};

struct faults {
  bool on;           /* count, and fail as said below; off: everything passes */
  size_t count;      /* calls so far */
  size_t fail_at;    /* the one that fails, from 1; 0: none */
  bool for_ever;     /* so do all later ones */
  int error;         /* its errno; 0: it reads or writes one byte only */
  size_t failed;     /* calls that were made to fail */
  void (*listen)(void *user, const struct fault_event *e);
  void *user;
};

extern struct faults faults;

const char *fault_call_name(enum fault_call call);
/* Zero, then on. */
void faults_start(size_t fail_at, bool for_ever, int error);
void faults_stop(void);

#endif
