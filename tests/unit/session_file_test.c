/* Session files of several blocks (io/session_file.h): what was written comes back in pieces of any size, each block
 * has a checksum of its own, and a file that changes between the two passes is noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "base/rng.h"
#include "io/session_file.h"
#include "tests/support/tmpdir.h"

enum { HEADER = 72, CRC = 4, PAYLOAD = 2 * TB_SESSION_BLOCK + 70001, TOKENS = 100 };

static struct tmpdir dir;
static char path[600];
static unsigned char payload[PAYLOAD], back[PAYLOAD];
static const struct tb_session_header header = {
    .model = 1, .plan = 2, .n_tokens = TOKENS, .extra_bytes = 7, .cache_bytes = PAYLOAD - 4 * TOKENS - 7};

static int set_up(void **state) {
  struct tb_rng rng = {5};
  (void)state;
  tmpdir_make(&dir);
  snprintf(path, sizeof path, "%s", tmpdir_file(&dir, "session"));
  for (size_t i = 0; i < PAYLOAD; i++)
    payload[i] = (unsigned char)tb_rng_next(&rng);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  tmpdir_remove(&dir);
  return 0;
}

static void write_in_pieces(size_t piece) {
  struct tb_session_writer w;
  struct tb_error err;
  assert_int_equal(tb_session_write_start(&w, path, &header, &tb_system_allocator, &err), TB_OK);
  for (size_t at = 0; at < PAYLOAD; at += piece)
    assert_int_equal(tb_session_write(&w, payload + at, PAYLOAD - at < piece ? PAYLOAD - at : piece, &err), TB_OK);
  assert_int_equal(tb_session_write_finish(&w, &err), TB_OK);
}

static enum tb_status read_in_pieces(struct tb_session_reader *r, size_t piece, struct tb_error *err) {
  enum tb_status s = TB_OK;
  for (size_t at = 0; !s && at < PAYLOAD; at += piece)
    s = tb_session_read(r, back + at, PAYLOAD - at < piece ? PAYLOAD - at : piece, err);
  return s;
}

static void comes_back(void **state) {
  (void)state;
  static const size_t pieces[] = {PAYLOAD, TB_SESSION_BLOCK, TB_SESSION_BLOCK + 1, 65536, 4999};
  struct tb_error err;
  for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
    struct tb_session_reader r;
    write_in_pieces(pieces[i]);
    assert_int_equal(tb_session_read_start(&r, path, &tb_system_allocator, &err), TB_OK);
    assert_int_equal(r.header.cache_bytes, header.cache_bytes);
    memset(back, 0, sizeof back);
    assert_int_equal(read_in_pieces(&r, pieces[4 - i], &err), TB_OK);
    assert_memory_equal(back, payload, PAYLOAD);
    assert_int_equal(tb_session_read(&r, back, 1, &err), TB_E_FORMAT);
    assert_non_null(strstr(err.text, "shorter than its parts"));
    tb_session_read_end(&r);
  }
}

static void flip(long at) {
  FILE *f = fopen(path, "r+b");
  assert_non_null(f);
  assert_int_equal(fseek(f, at, SEEK_SET), 0);
  const int c = fgetc(f);
  assert_int_equal(fseek(f, at, SEEK_SET), 0);
  fputc(c ^ 4, f);
  fclose(f);
}

/* In each block, in the checksum of each, in the last one; before the file is opened and after it was verified. */
static void every_block_is_checked(void **state) {
  (void)state;
  static const long places[] = {HEADER,
                                HEADER + TB_SESSION_BLOCK,
                                HEADER + TB_SESSION_BLOCK + CRC,
                                HEADER + 2 * (TB_SESSION_BLOCK + CRC) - CRC,
                                HEADER + 2 * (TB_SESSION_BLOCK + CRC) + 70000,
                                HEADER + 2 * (TB_SESSION_BLOCK + CRC) + 70001};
  struct tb_error err;
  write_in_pieces(PAYLOAD);
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    struct tb_session_reader r;
    flip(places[i]);
    assert_int_equal(tb_session_read_start(&r, path, &tb_system_allocator, &err), TB_E_FORMAT);
    assert_non_null(strstr(err.text, "a block's checksum"));
    flip(places[i]);
    assert_int_equal(tb_session_read_start(&r, path, &tb_system_allocator, &err), TB_OK);
    flip(places[i]);
    assert_int_equal(read_in_pieces(&r, 1000, &err), TB_E_FORMAT);
    tb_session_read_end(&r);
    flip(places[i]);
  }
}

static void refusals(void **state) {
  (void)state;
  struct tb_session_writer w;
  struct tb_session_reader r;
  struct tb_error err;
  struct tb_session_header large = header;
  large.extra_bytes = (uint64_t)TB_SESSION_EXTRA_MAX + 1;
  assert_int_equal(tb_session_write_start(&w, path, &large, &tb_system_allocator, &err), TB_E_LIMIT);
  large = header;
  large.cache_bytes = UINT64_MAX - 3;
  assert_int_equal(tb_session_write_start(&w, path, &large, &tb_system_allocator, &err), TB_E_LIMIT);
  assert_int_equal(tb_session_read_start(&r, dir.path, &tb_system_allocator, &err), TB_E_IO);
  assert_non_null(strstr(err.text, "not a regular file"));
  const char *fifo = tmpdir_file(&dir, "fifo"); /* an open that waited for a writer would wait for ever */
  if (mkfifo(fifo, 0600) == 0) assert_int_equal(tb_session_read_start(&r, fifo, &tb_system_allocator, &err), TB_E_IO);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(comes_back), cmocka_unit_test(every_block_is_checked),
                                     cmocka_unit_test(refusals)};
  return cmocka_run_group_tests_name("session file", tests, set_up, tear_down);
}
