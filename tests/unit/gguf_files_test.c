/* GGUF on disk: the writer and what the reader makes of its files, split models, mapped files, whole-file writes. */
#include "tests/check/check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "io/gguf_write.h"
#include "io/mapfile.h"
#include "io/outfile.h"
#include "tests/support/count_alloc.h"
#include "tests/support/gguf_make.h"
#include "tests/support/gguf_walk.h"
#include "tests/support/tmpdir.h"

static struct tmpdir dir;

static int setup(void **state) {
  (void)state;
  tmpdir_make(&dir);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  tmpdir_remove(&dir);
  return 0;
}

static void expect_open_failure(const char *path, enum tb_status status, const char *text) {
  struct tb_gguf *g = (void *)1;
  struct tb_error err = {0};
  enum tb_status s = tb_gguf_open(&g, path, &tb_system_allocator, &err);
  if (s != status || !strstr(err.text, text)) fail_msg("expected %d '%s', got %d '%s'", status, text, s, err.text);
  assert_null(g);
}

/* ---------------------------------------------------------------------------------------------------- round trip */

static void add_all_types(struct tb_gguf_writer *w) {
  static const char *const words[] = {"x", "", "yz"};
  tb_gguf_add_str(w, "s", "text");
  tb_gguf_add_u32(w, "u32", 4000000000u);
  tb_gguf_add_u64(w, "u64", 1ull << 63);
  tb_gguf_add_i32(w, "i32", -1);
  tb_gguf_add_f32(w, "f32", 0.1f);
  tb_gguf_add_bool(w, "yes", true);
  tb_gguf_add_bool(w, "no", false);
  tb_gguf_add_scalar(w, "i8", TB_GGUF_I8, &(int8_t){-128});
  tb_gguf_add_scalar(w, "u16", TB_GGUF_U16, &(uint16_t){65535});
  tb_gguf_add_scalar(w, "f64", TB_GGUF_F64, &(double){1e300});
  tb_gguf_add_array(w, "a16", TB_GGUF_I16, (const int16_t[]){-1, 2, -3}, 3);
  tb_gguf_add_array(w, "later", TB_GGUF_F32, NULL, 2);
  tb_gguf_add_values(w, TB_GGUF_F32, &(float){1}, 1);
  tb_gguf_add_values(w, TB_GGUF_F32, &(float){2}, 1);
  tb_gguf_add_strings(w, "words", 3);
  for (int i = 0; i < 3; i++) tb_gguf_add_element(w, words[i], strlen(words[i]));
}

/* One tensor of each format, with 1 to 4 dimensions. */
static void add_all_formats(struct tb_gguf_writer *w) {
  for (int f = 0; f < TB_FMT_COUNT; f++)
    tb_gguf_add_tensor(w, tb_formats[f].name, (enum tb_format)f, 1 + (unsigned)f % 4,
                       (const uint64_t[]){tb_formats[f].block_values, 3, 2, 1});
}

static void put_all(struct tb_gguf_writer *w) {
  for (int f = 0; f < TB_FMT_COUNT; f++) {
    size_t rows = f % 4 == 0 ? 1 : f % 4 == 1 ? 3 : 6;
    unsigned char byte = (unsigned char)f;
    for (size_t i = 0; i < rows * tb_formats[f].block_bytes; i++)
      assert_int_equal(tb_gguf_writer_put(w, &byte, 1, NULL), TB_OK);
  }
}

static void check_round_trip(const struct tb_gguf *g, size_t alignment) {
  uint32_t u;
  float f;
  bool b;
  struct tb_str s;
  assert_int_equal(tb_gguf_get_u32(g, "u32", true, &u, NULL), TB_OK);
  assert_int_equal(u, 4000000000u);
  assert_int_equal((uint64_t)tb_gguf_array_int(tb_gguf_kv_find(g, "u64"), 0), 1ull << 63);
  assert_int_equal(tb_gguf_array_int(tb_gguf_kv_find(g, "i32"), 0), -1);
  assert_int_equal(tb_gguf_get_f32(g, "f32", true, &f, NULL), TB_OK);
  assert_true(f == 0.1f);
  assert_int_equal(tb_gguf_get_bool(g, "no", true, &b, NULL), TB_OK);
  assert_false(b);
  assert_int_equal(tb_gguf_get_str(g, "s", true, &s, NULL), TB_OK);
  assert_true(tb_str_is(s, "text"));
  assert_int_equal(tb_gguf_array_int(tb_gguf_kv_find(g, "a16"), 2), -3);
  assert_true(tb_gguf_array_float(tb_gguf_kv_find(g, "later"), 1) == 2);
  assert_int_equal(tb_gguf_kv_find(g, "words")->count, 3);
  assert_int_equal(tb_gguf_tensor_count(g), TB_FMT_COUNT);
  for (int i = 0; i < TB_FMT_COUNT; i++) {
    const struct tb_gguf_tensor *t = tb_gguf_tensor_find(g, tb_formats[i].name);
    assert_int_equal(t->format, i);
    assert_int_equal(t->n_dims, 1 + i % 4);
    assert_int_equal((uintptr_t)t->data % alignment, 0);
    for (uint64_t k = 0; k < t->bytes; k++) assert_int_equal(t->data[k], i);
  }
}

static void test_round_trip(void **state) {
  (void)state;
  static const uint32_t alignments[] = {0, 8, 256};
  for (size_t i = 0; i < 3; i++) {
    struct tb_gguf_writer *w;
    struct tb_error err = {0};
    const char *path = tmpdir_file(&dir, "round.gguf");
    assert_int_equal(tb_gguf_writer_create(&w, &tb_system_allocator, &err), TB_OK);
    if (alignments[i]) tb_gguf_set_alignment(w, alignments[i]);
    add_all_types(w);
    add_all_formats(w);
    assert_int_equal(tb_gguf_writer_open(w, path, &err), TB_OK);
    put_all(w);
    if (tb_gguf_writer_close(w, i == 0, &err)) fail_msg("%s", err.text);
    tb_gguf_writer_free(w);
    struct tb_gguf *g;
    if (tb_gguf_open(&g, path, &tb_system_allocator, &err)) fail_msg("%s", err.text);
    check_round_trip(g, alignments[i] ? alignments[i] : 32);
    gguf_walk(g);
    const struct tb_mapfile *map = tb_gguf_mapping(g, 0);
    assert_non_null(map);
    assert_null(tb_gguf_mapping(g, 1));
    tb_mapfile_advise(map, 0, SIZE_MAX, TB_ADVISE_WILLNEED);
    tb_mapfile_advise(map, 100, 5000, TB_ADVISE_DONTNEED);
    tb_mapfile_advise(map, map->size, 1, TB_ADVISE_NORMAL);
    check_round_trip(g, 8);
    tb_gguf_free(g);
    assert_int_equal(tmpdir_count(&dir), 1);
  }
}

static void test_writer_misuse(void **state) {
  (void)state;
  struct tb_gguf_writer *w;
  struct tb_error err = {0};
  const char *path = tmpdir_file(&dir, "m.gguf");
  assert_int_equal(tb_gguf_writer_create(&w, &tb_system_allocator, &err), TB_OK);
  assert_int_equal(tb_gguf_writer_put(w, "x", 1, &err), TB_E_ARG);
  assert_int_equal(tb_gguf_writer_close(w, false, &err), TB_E_ARG);
  tb_gguf_add_tensor(w, "a", TB_FMT_f32, 1, (const uint64_t[]){2});
  assert_int_equal(tb_gguf_writer_open(w, path, &err), TB_OK);
  assert_int_equal(tmpdir_count(&dir), 1); /* the temporary file */
  assert_int_equal(tb_gguf_writer_put(w, "0123456789", 9, &err), TB_E_ARG); /* more than the tensor has */
  assert_int_equal(tb_gguf_writer_put(w, "0123", 4, &err), TB_OK);
  assert_int_equal(tb_gguf_writer_close(w, false, &err), TB_E_ARG); /* half a tensor is missing */
  assert_non_null(strstr(err.text, "the data of tensor 0 is missing"));
  assert_int_equal(tmpdir_count(&dir), 0);
  tb_gguf_writer_free(w);

  assert_int_equal(tb_gguf_writer_create(&w, &tb_system_allocator, &err), TB_OK);
  tb_gguf_add_tensor(w, "odd", TB_FMT_q4_0, 1, (const uint64_t[]){33});
  assert_int_equal(tb_gguf_writer_open(w, path, &err), TB_E_ARG);
  assert_string_equal(err.text, "tensor 'odd': a shape that q4_0 cannot have");
  tb_gguf_writer_free(w);

  assert_int_equal(tb_gguf_writer_create(&w, &tb_system_allocator, &err), TB_OK);
  tb_gguf_add_tensor(w, "a", TB_FMT_f32, 1, (const uint64_t[]){2});
  assert_int_equal(tb_gguf_writer_open(w, path, &err), TB_OK);
  tb_gguf_writer_free(w); /* given up: nothing stays behind */
  tb_gguf_writer_free(NULL);
  assert_int_equal(tmpdir_count(&dir), 0);
}

static void test_writer_out_of_memory(void **state) {
  (void)state;
  const char *path = tmpdir_file(&dir, "m.gguf");
  for (size_t at = 1;; at++) {
    struct count_alloc c;
    count_alloc_init(&c);
    c.fail_at = at;
    struct tb_gguf_writer *w = NULL;
    struct tb_error err = {0};
    enum tb_status s = tb_gguf_writer_create(&w, &c.hooks, &err);
    if (!s) {
      add_all_types(w);
      add_all_formats(w);
      s = tb_gguf_writer_open(w, path, &err);
      if (!s) {
        put_all(w);
        s = tb_gguf_writer_close(w, false, &err);
      }
    }
    tb_gguf_writer_free(w);
    assert_int_equal(c.blocks, 0);
    assert_int_equal(tmpdir_count(&dir), s ? 0 : 1);
    if (!s) {
      assert_true(at > 5);
      break;
    }
    assert_int_equal(s, TB_E_NOMEM);
  }
}

/* ---------------------------------------------------------------------------------------------------- split models */

/* What a part of a split model says about itself; negative: the key is absent. */
struct part_keys {
  int no, count, total;
};

static void write_part(const char *name, struct part_keys k, const char *const *tensors, unsigned n_tensors) {
  struct gguf_make m;
  make_begin(&m, 3, n_tensors, (uint64_t)(k.no >= 0) + (k.count >= 0) + (k.total >= 0));
  if (k.no >= 0) make_kv_u16(&m, "split.no", (uint16_t)k.no);
  if (k.count >= 0) make_kv_u16(&m, "split.count", (uint16_t)k.count);
  if (k.total >= 0) make_kv(&m, "split.tensors.count", TB_GGUF_I32, &k.total, 4);
  for (unsigned i = 0; i < n_tensors; i++) make_tensor(&m, tensors[i], 1, (const uint64_t[]){8}, 0, 32 * i);
  make_data(&m, 32, 32 * n_tensors);
  tmpdir_write(&dir, name, m.data, m.n);
  make_free(&m);
}

#define PART(no, of) "m-0000" #no "-of-0000" #of ".gguf"

static void write_good_parts(void) {
  write_part(PART(1, 3), (struct part_keys){0, 3, 4}, (const char *const[]){"a", "b"}, 2);
  write_part(PART(2, 3), (struct part_keys){1, 3, 4}, NULL, 0);
  write_part(PART(3, 3), (struct part_keys){2, 3, -1}, (const char *const[]){"c", "d"}, 2);
}

static void test_split(void **state) {
  (void)state;
  write_good_parts();
  struct tb_gguf *g;
  struct tb_error err = {0};
  struct count_alloc c;
  count_alloc_init(&c);
  if (tb_gguf_open(&g, tmpdir_file(&dir, PART(1, 3)), &c.hooks, &err)) fail_msg("%s", err.text);
  assert_int_equal(tb_gguf_parts(g), 3);
  assert_int_equal(tb_gguf_tensor_count(g), 4);
  assert_int_equal(tb_gguf_tensor_find(g, "a")->part, 0);
  assert_int_equal(tb_gguf_tensor_find(g, "d")->part, 2);
  uint64_t bytes = 0;
  for (unsigned i = 0; i < 3; i++) bytes += tb_gguf_mapping(g, i)->size;
  assert_int_equal(tb_gguf_file_bytes(g), bytes);
  gguf_walk(g);
  tb_gguf_free(g);
  assert_int_equal(c.blocks, 0);
}

static void test_split_defects(void **state) {
  (void)state;
  const char *const cd[] = {"c", "d"}, *const ac[] = {"c", "a"};
  char first[512];
  snprintf(first, sizeof first, "%s", tmpdir_file(&dir, PART(1, 3)));
  write_good_parts();
  expect_open_failure(tmpdir_file(&dir, PART(3, 3)), TB_E_ARG,
                      "part 3 of 3 of a split model; open the first part (...-00001-of-00003.gguf)");
  remove(tmpdir_file(&dir, PART(3, 3)));
  expect_open_failure(first, TB_E_IO, PART(3, 3) ": cannot open");
  write_part(PART(3, 3), (struct part_keys){1, 3, -1}, cd, 2);
  expect_open_failure(first, TB_E_FORMAT, PART(3, 3) ": it says that it is part 2 of 3, expected part 3 of 3");
  write_part(PART(3, 3), (struct part_keys){2, 4, -1}, cd, 2);
  expect_open_failure(first, TB_E_FORMAT, "it says that it is part 3 of 4, expected part 3 of 3");
  write_part(PART(3, 3), (struct part_keys){-1, -1, -1}, cd, 2);
  expect_open_failure(first, TB_E_FORMAT, PART(3, 3) ": key 'split.no' is missing");
  write_part(PART(3, 3), (struct part_keys){2, -1, -1}, cd, 2);
  expect_open_failure(first, TB_E_FORMAT, "key 'split.count' is missing");
  write_part(PART(3, 3), (struct part_keys){2, 3, -1}, cd, 1);
  expect_open_failure(first, TB_E_FORMAT, "key 'split.tensors.count': 4 tensors, but the parts hold 3");
  write_part(PART(3, 3), (struct part_keys){2, 3, -1}, ac, 2);
  expect_open_failure(first, TB_E_FORMAT, "tensor 'a' occurs twice");
  tmpdir_write(&dir, PART(3, 3), "", 0);
  expect_open_failure(first, TB_E_FORMAT, PART(3, 3) ": not a GGUF file: it is empty");
  write_part("renamed.gguf", (struct part_keys){0, 3, -1}, cd, 2);
  expect_open_failure(tmpdir_file(&dir, "renamed.gguf"), TB_E_FORMAT,
                      "the first of 3 parts, so its name must end in -00001-of-00003.gguf");
  write_part("x.gguf", (struct part_keys){0, 2000, -1}, cd, 2);
  expect_open_failure(tmpdir_file(&dir, "x.gguf"), TB_E_LIMIT, "2000 parts, at most 1024 are supported");
}

/* A tensor of the second part that lies outside: the message names the part. */
static void test_split_extent(void **state) {
  (void)state;
  struct gguf_make m;
  write_part(PART(1, 2), (struct part_keys){0, 2, -1}, (const char *const[]){"a"}, 1);
  make_begin(&m, 3, 1, 2);
  make_kv_u16(&m, "split.no", 1);
  make_kv_u16(&m, "split.count", 2);
  make_tensor(&m, "b", 1, (const uint64_t[]){8}, 0, 0);
  tmpdir_write(&dir, PART(2, 2), m.data, m.n);
  make_free(&m);
  expect_open_failure(tmpdir_file(&dir, PART(1, 2)), TB_E_FORMAT, "-00002-of-00002.gguf: ");
}

/* --------------------------------------------------------------------------------------------------- mapped files */

static void test_open_errors(void **state) {
  (void)state;
  expect_open_failure(tmpdir_file(&dir, "absent"), TB_E_IO, "absent: cannot open: No such file");
  expect_open_failure(dir.path, TB_E_IO, ": is a directory");
  expect_open_failure(tmpdir_write(&dir, "empty", "", 0), TB_E_FORMAT, "empty: not a GGUF file: it is empty");
  const char *fifo = tmpdir_file(&dir, "fifo");
  assert_int_equal(mkfifo(fifo, 0600), 0);
  expect_open_failure(fifo, TB_E_IO, "fifo: is not a regular file");
}

static void test_changed_file(void **state) {
  (void)state;
  struct gguf_make m = make_sample();
  struct tb_gguf *g;
  struct tb_error err = {0};
  const char *path = tmpdir_write(&dir, "a.gguf", m.data, m.n);
  assert_int_equal(tb_gguf_open(&g, path, &tb_system_allocator, &err), TB_OK);
  assert_int_equal(tb_gguf_check(g, &err), TB_OK);
  /* Replaced by rename: what is mapped lives on. */
  assert_int_equal(rename(tmpdir_write(&dir, "b.gguf", "x", 1), path), 0);
  assert_int_equal(tb_gguf_check(g, &err), TB_OK);
  gguf_walk(g);
  tb_gguf_free(g);
  /* Written to in place. */
  tmpdir_write(&dir, "a.gguf", m.data, m.n);
  assert_int_equal(tb_gguf_open(&g, path, &tb_system_allocator, &err), TB_OK);
  FILE *f = fopen(path, "ab");
  fputc(0, f);
  fclose(f);
  assert_int_equal(tb_gguf_check(g, &err), TB_E_IO);
  assert_non_null(strstr(err.text, "the file changed while it was in use"));
  tb_gguf_free(g);
  /* The same size, another time. */
  assert_int_equal(tb_gguf_open(&g, path, &tb_system_allocator, &err), TB_OK);
  struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
  assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
  assert_int_equal(tb_gguf_check(g, &err), TB_E_IO);
  assert_non_null(strstr(err.text, "the file was rewritten"));
  tb_gguf_free(g);
  make_free(&m);
}

/* -------------------------------------------------------------------------------------------------- whole-file writes */

static void expect_content(const char *path, const char *text) {
  char buf[64] = {0};
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  size_t n = fread(buf, 1, sizeof buf - 1, f);
  fclose(f);
  assert_int_equal(n, strlen(text));
  assert_string_equal(buf, text);
}

static void test_outfile(void **state) {
  (void)state;
  struct tb_outfile f;
  struct tb_error err = {0};
  const char *path = tmpdir_write(&dir, "f", "old", 3);
  for (int durable = 0; durable < 2; durable++) {
    assert_int_equal(tb_outfile_create(&f, path, 0600, &tb_system_allocator, &err), TB_OK);
    assert_int_equal(tb_outfile_reserve(&f, 1000, &err), TB_OK); /* more than is written: cut at the end */
    assert_int_equal(tb_outfile_write(&f, "ne", 2, &err), TB_OK);
    assert_int_equal(tb_outfile_write(&f, "w", 1, &err), TB_OK);
    if (!durable) expect_content(path, "old");
    assert_int_equal(tb_outfile_commit(&f, durable, &err), TB_OK);
    expect_content(path, "new");
    tb_outfile_abort(&f);
    expect_content(path, "new");
  }
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  assert_int_equal(tb_outfile_create(&f, path, 0600, &tb_system_allocator, &err), TB_OK);
  assert_int_equal(tb_outfile_write(&f, "newer", 5, &err), TB_OK);
  tb_outfile_abort(&f);
  expect_content(path, "new");
  assert_int_equal(tmpdir_count(&dir), 1);
}

static void test_outfile_errors(void **state) {
  (void)state;
  struct tb_outfile f;
  struct tb_error err = {0};
  assert_int_equal(tb_outfile_create(&f, tmpdir_file(&dir, "no/such/f"), 0600, &tb_system_allocator, &err), TB_E_IO);
  assert_non_null(strstr(err.text, "no/such/f: cannot open its directory: No such file"));
  assert_int_equal(tb_outfile_create(&f, dir.path, 0600, &tb_system_allocator, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "exists and is not a regular file"));
  assert_int_equal(tb_outfile_create(&f, tmpdir_file(&dir, ""), 0600, &tb_system_allocator, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "not the name of a file"));
  tb_outfile_abort(&f); /* after a failure: nothing to do */
  assert_int_equal(tmpdir_count(&dir), 0);
  /* The target becomes a directory while the file is written. */
  const char *path = tmpdir_file(&dir, "f");
  assert_int_equal(tb_outfile_create(&f, path, 0600, &tb_system_allocator, &err), TB_OK);
  assert_int_equal(mkdir(path, 0700), 0);
  assert_int_equal(tb_outfile_commit(&f, false, &err), TB_E_IO);
  assert_non_null(strstr(err.text, "cannot rename to it"));
  assert_int_equal(tmpdir_count(&dir), 1);
}

/* A limit on the size of files stands for a full disk. */
static void test_outfile_full(void **state) {
  (void)state;
  struct rlimit old, small;
  struct tb_outfile f;
  struct tb_error err = {0};
  const char *path = tmpdir_write(&dir, "f", "old", 3);
  char block[8192] = {0};
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  small = old;
  small.rlim_cur = 4096;
  void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  assert_int_equal(tb_outfile_create(&f, path, 0600, &tb_system_allocator, &err), TB_OK);
  enum tb_status reserve = tb_outfile_reserve(&f, sizeof block, &err);
  enum tb_status write = tb_outfile_write(&f, block, sizeof block, &err);
  tb_outfile_abort(&f);
  setrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, handler);
  assert_int_equal(reserve, TB_E_IO);
  assert_int_equal(write, TB_E_IO);
  assert_non_null(strstr(err.text, "cannot write: File too large"));
  expect_content(path, "old");
  assert_int_equal(tmpdir_count(&dir), 1);
}

/* A path that leads there through a link is a matter of realpath; here only what the resolved path says. */
static void test_shared_storage(void **state) {
  (void)state;
  const char *const shared[] = {"/storage/emulated/0/Download/m.gguf", "/sdcard/m.gguf", "/storage/1A2B-3C4D/m.gguf"};
  const char *const own[] = {"/data/data/com.termux/files/home/m.gguf", "/data/local/tmp/m.gguf", "storage/m.gguf",
                             "/storages/m.gguf", "/data/media/0/m.gguf", ""};
  for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) assert_true(tb_mapfile_shared_path(shared[i]));
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) assert_false(tb_mapfile_shared_path(own[i]));
  assert_false(tb_mapfile_on_shared_storage("/storage/no such file"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(test_round_trip),     TEST(test_writer_misuse), TEST(test_writer_out_of_memory), TEST(test_split),
      TEST(test_split_defects),  TEST(test_split_extent),  TEST(test_open_errors),          TEST(test_changed_file),
      TEST(test_outfile),        TEST(test_outfile_errors), TEST(test_outfile_full),         TEST(test_shared_storage),
  };
  return cmocka_run_group_tests_name("gguf files", tests, NULL, NULL);
}
