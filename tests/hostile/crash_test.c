/* A power cut at any moment of a save. Every system call of one save is recorded and played on a model of a disk that
 * keeps apart what is in memory and what is on the platter; after each call the disk stops, in every combination of names
 * and data that had reached it or not. Under the session's name then stands the old file or the new one, whole. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <utime.h>
#include <cmocka.h>
#include "tests/hostile/faults.h"
#include "tests/hostile/live.h"

/* ----------------------------------------------------------------------------------------------------------- the disk */

enum { NAMES = 8, INODES = 8, SIZE = 1 << 18, FDS = 64 };

struct content {
  unsigned char data[SIZE];
  size_t n;
};

struct inode {
  struct content now, durable;
};

struct names {
  char name[NAMES][64]; /* "": free */
  int inode[NAMES];
};

static struct disk {
  struct inode inodes[INODES];
  int n_inodes;
  struct names now, durable;
  int inode_of_fd[FDS]; /* -1: none; DIRECTORY: the folder */
  size_t at[FDS];
} disk;
enum { DIRECTORY = -2 };

static int find(const struct names *n, const char *name) {
  for (int i = 0; i < NAMES; i++)
    if (strcmp(n->name[i], name) == 0) return i;
  return -1;
}

static void set_name(struct names *n, const char *name, int inode) {
  int i = find(n, name);
  if (i < 0) i = find(n, "");
  assert_true(i >= 0 && strlen(name) < sizeof n->name[0]);
  snprintf(n->name[i], sizeof n->name[i], "%s", name);
  n->inode[i] = inode;
}

static void remove_name(struct names *n, const char *name) {
  int i = find(n, name);
  if (i >= 0) n->name[i][0] = '\0';
}

static void disk_format(const struct live_file *old) {
  memset(&disk, 0, sizeof disk);
  for (int i = 0; i < FDS; i++) disk.inode_of_fd[i] = -1;
  memcpy(disk.inodes[0].now.data, old->data, old->n);
  disk.inodes[0].now.n = old->n;
  disk.inodes[0].durable = disk.inodes[0].now;
  disk.n_inodes = 1;
  set_name(&disk.now, "session", 0);
  set_name(&disk.durable, "session", 0);
}

static void resize(struct content *c, size_t n) {
  assert_true(n <= SIZE);
  if (n > c->n) memset(c->data + c->n, 0, n - c->n);
  c->n = n;
}

static void play(const struct fault_event *e) {
  if (e->result < 0 || (e->call == FAULT_posix_fallocate && e->result != 0)) return;
  const int fd = e->call == FAULT_open || e->call == FAULT_openat ? (int)e->result : e->fd;
  assert_in_range(fd, 0, FDS - 1);
  struct inode *file = disk.inode_of_fd[fd] >= 0 ? &disk.inodes[disk.inode_of_fd[fd]] : NULL;
  switch (e->call) {
  case FAULT_open:
  case FAULT_openat:
    disk.at[fd] = 0;
    disk.inode_of_fd[fd] = -1;
    if (e->flags & O_DIRECTORY) disk.inode_of_fd[fd] = DIRECTORY;
    if (e->flags & O_CREAT) {
      assert_true(disk.n_inodes < INODES);
      disk.inode_of_fd[fd] = disk.n_inodes++;
      set_name(&disk.now, e->name, disk.inode_of_fd[fd]);
    }
    break;
  case FAULT_write:
    assert_non_null(file);
    if (disk.at[fd] + (size_t)e->size > file->now.n) resize(&file->now, disk.at[fd] + (size_t)e->size);
    memcpy(file->now.data + disk.at[fd], e->data, (size_t)e->size);
    disk.at[fd] += (size_t)e->size;
    break;
  case FAULT_posix_fallocate:
    if ((size_t)e->size > file->now.n) resize(&file->now, (size_t)e->size);
    break;
  case FAULT_ftruncate: resize(&file->now, (size_t)e->size); break;
  case FAULT_fsync:
    if (disk.inode_of_fd[fd] == DIRECTORY) disk.durable = disk.now;
    else if (file) file->durable = file->now;
    break;
  case FAULT_close: disk.inode_of_fd[fd] = -1; break;
  case FAULT_renameat:
    set_name(&disk.now, e->to, disk.now.inode[find(&disk.now, e->name)]);
    remove_name(&disk.now, e->name);
    break;
  case FAULT_unlinkat: remove_name(&disk.now, e->name); break;
  default: break;
  }
}

/* What is under the name when the disk comes up again. names: had they reached it; data: all, none, or only the length. */
static bool after_a_cut(bool names, int data, const struct live_file *a, const struct live_file *b) {
  static struct content c;
  const struct names *n = names ? &disk.now : &disk.durable;
  const int i = find(n, "session");
  if (i < 0) return false;
  const struct inode *f = &disk.inodes[n->inode[i]];
  c = data == 0 ? f->now : f->durable;
  if (data == 2) resize(&c, f->now.n);
  return (c.n == a->n && memcmp(c.data, a->data, a->n) == 0) || (c.n == b->n && memcmp(c.data, b->data, b->n) == 0);
}

/* ---------------------------------------------------------------------------------------------------------- the tests */

struct recording {
  struct live_file old, new;
  size_t calls, states;
};

static void check_states(struct recording *r) {
  for (int names = 0; names < 2; names++)
    for (int data = 0; data < 3; data++, r->states++)
      if (!after_a_cut(names, data, &r->old, &r->new))
        fail_msg("after call %zu, names %d, data %d: neither the old nor the new session", r->calls, names, data);
}

static void on_call(void *user, const struct fault_event *e) {
  struct recording *r = user;
  play(e);
  r->calls++;
  check_states(r);
}

static void every_moment_of_a_save(void **state) {
  (void)state;
  struct tmpdir dir;
  struct recording r = {0};
  tmpdir_make(&dir);
  struct live l = live_open(live_model(&dir, "model.gguf", 3));
  char path[600];
  snprintf(path, sizeof path, "%s", tmpdir_file(&dir, "session"));
  live_feed(&l, 30, 20);
  live_save(&l, path);
  r.new = live_read(path);
  assert_int_equal(tb_truncate(l.ctx, 4, NULL), TB_OK);
  live_save(&l, path);
  r.old = live_read(path);
  live_feed(&l, 34, 16); /* the new conversation again */
  disk_format(&r.old);
  faults_start(0, false, 0);
  faults.listen = on_call;
  faults.user = &r;
  live_save(&l, path);
  faults_stop();
  faults.listen = NULL;
  struct live_file now = live_read(path);
  assert_int_equal(now.n, r.new.n);
  assert_memory_equal(now.data, r.new.data, now.n);
  /* In the end the new one is there, whatever is cut. */
  assert_true(after_a_cut(false, 1, &r.new, &r.new));
  print_message("%zu calls, %zu states of the disk\n", r.calls, r.states);
  assert_true(r.calls > 10);
  free(now.data);
  free(r.old.data);
  free(r.new.data);
  live_close(&l);
  tmpdir_remove(&dir);
}

/* What killed processes left behind goes with the next save; what somebody may still be writing stays. */
static void leftovers_are_removed(void **state) {
  (void)state;
  struct tmpdir dir;
  tmpdir_make(&dir);
  struct live l = live_open(live_model(&dir, "model.gguf", 3));
  char path[600];
  snprintf(path, sizeof path, "%s", tmpdir_file(&dir, "session"));
  const struct utimbuf long_ago = {.actime = 1000, .modtime = 1000};
  static const char *const names[] = {".thimble-0123456789abcdef.tmp", ".thimble-fedcba9876543210.tmp", ".thimble-short.tmp", "session.tmp"};
  for (size_t i = 0; i < 4; i++) tmpdir_write(&dir, names[i], "x", 1);
  for (size_t i = 0; i < 4; i++)
    if (i != 1) assert_int_equal(utime(tmpdir_file(&dir, names[i]), &long_ago), 0); /* the second one is new */
  live_feed(&l, 1, 2);
  live_save(&l, path);
  struct stat st;
  assert_int_not_equal(stat(tmpdir_file(&dir, names[0]), &st), 0);
  for (size_t i = 1; i < 4; i++) assert_int_equal(stat(tmpdir_file(&dir, names[i]), &st), 0);
  live_close(&l);
  tmpdir_remove(&dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_moment_of_a_save), cmocka_unit_test(leftovers_are_removed)};
  return cmocka_run_group_tests_name("crash", tests, NULL, NULL);
}
