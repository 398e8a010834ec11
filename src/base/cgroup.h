/* The control groups that this process lives in: version 2 and the older version 1, side by side on some systems. */
#ifndef TB_BASE_CGROUP_H
#define TB_BASE_CGROUP_H

#include "base/sysfile.h"

struct tb_cgroup {
  const char *root;     /* as in sysfile.h */
  bool v2;
  char dir[TB_SYS_PATH];/* of the group under consideration, starts with the mount point */
  size_t top;           /* length of the mount point within dir */
};

/* Finds the process's own group: of version 2, or the one of `controller` ("memory", "cpu") of version 1. */
bool tb_cgroup_find(struct tb_cgroup *g, const char *root, bool v2, const char *controller);

/* Goes to the parent group; false at the top of what is mounted here. */
bool tb_cgroup_up(struct tb_cgroup *g);

/* Files of the group. */
bool tb_cgroup_read(const struct tb_cgroup *g, const char *file, char *buf, size_t cap);
bool tb_cgroup_number(const struct tb_cgroup *g, const char *file, uint64_t *value);
/* The value of a "key value" line, 0 when there is none. */
uint64_t tb_cgroup_stat(const struct tb_cgroup *g, const char *file, const char *key);

#endif
