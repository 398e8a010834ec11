#include "io/session_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER = 72, TRAILER = 8, CRC = 4, VERSION = 1, BUFFER = 64 << 10 };

static const char magic[8] = {'T', 'B', 'S', 'E', 'S', 'S', '0', '1'};
static const uint32_t endian_mark = 0x01020304;

/* Payload bytes, or false when the sum does not fit. */
static bool payload_bytes(const struct tb_session_header *h, uint64_t *out) {
  uint64_t n = 4 * ((uint64_t)h->n_tokens + h->n_state);
  return !__builtin_add_overflow(n, h->extra_bytes, &n) && !__builtin_add_overflow(n, h->cache_bytes, out) &&
         *out < UINT64_MAX / 2;
}

static uint64_t total_bytes(uint64_t payload) {
  uint64_t blocks = (payload + TB_SESSION_BLOCK - 1) / TB_SESSION_BLOCK;
  return HEADER + payload + CRC * blocks + TRAILER;
}

static uint64_t crc32_of(const void *data, size_t n) {
  struct tb_crc c;
  tb_crc32c_start(&c);
  tb_crc_add(&c, data, n);
  return tb_crc_value(&c);
}

static void put32(unsigned char *p, uint64_t v) { memcpy(p, &(uint32_t){(uint32_t)v}, 4); }
static void put64(unsigned char *p, uint64_t v) { memcpy(p, &v, 8); }

static uint32_t get32(const unsigned char *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}

static uint64_t get64(const unsigned char *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return v;
}

/* ---------------------------------------------------------------------------------------------------------- writing */

/* Raw bytes to the file and into the whole file's checksum. */
static enum tb_status emit(struct tb_session_writer *w, const void *data, size_t n, struct tb_error *err) {
  tb_crc_add(&w->whole, data, n);
  return tb_outfile_write(&w->file, data, n, err);
}

static enum tb_status end_block(struct tb_session_writer *w, struct tb_error *err) {
  unsigned char crc[CRC];
  put32(crc, tb_crc_value(&w->block));
  tb_crc_restart(&w->block);
  w->in_block = 0;
  return emit(w, crc, sizeof crc, err);
}

enum tb_status tb_session_write_start(struct tb_session_writer *w, const char *path, const struct tb_session_header *h,
                                      const struct tb_allocator *a, struct tb_error *err) {
  uint64_t payload;
  unsigned char b[HEADER] = {0};
  if (!payload_bytes(h, &payload) || h->extra_bytes > TB_SESSION_EXTRA_MAX)
    return tb_fail(err, TB_E_LIMIT, "%s: the session is too large", path);
  memcpy(b, magic, sizeof magic);
  put32(b + 8, VERSION);
  put32(b + 12, endian_mark);
  put64(b + 16, total_bytes(payload));
  put64(b + 24, h->model);
  put64(b + 32, h->plan);
  put32(b + 40, h->n_tokens);
  put32(b + 44, h->n_state);
  put64(b + 48, h->extra_bytes);
  put64(b + 56, h->cache_bytes);
  put32(b + 64, crc32_of(b, 64));
  tb_crc64_start(&w->whole);
  tb_crc32c_start(&w->block);
  w->in_block = 0;
  enum tb_status status = tb_outfile_create(&w->file, path, 0600, a, err);
  if (status) return status;
  status = tb_outfile_reserve(&w->file, total_bytes(payload), err);
  if (!status) status = emit(w, b, sizeof b, err);
  if (status) tb_outfile_abort(&w->file);
  return status;
}

enum tb_status tb_session_write(struct tb_session_writer *w, const void *data, size_t n, struct tb_error *err) {
  const unsigned char *p = data;
  while (n > 0) {
    size_t room = TB_SESSION_BLOCK - w->in_block, take = n < room ? n : room;
    tb_crc_add(&w->block, p, take);
    enum tb_status status = emit(w, p, take, err);
    w->in_block += take;
    if (!status && w->in_block == TB_SESSION_BLOCK) status = end_block(w, err);
    if (status) return status;
    p += take;
    n -= take;
  }
  return TB_OK;
}

enum tb_status tb_session_write_finish(struct tb_session_writer *w, struct tb_error *err) {
  unsigned char trailer[TRAILER];
  enum tb_status status = w->in_block ? end_block(w, err) : TB_OK;
  put64(trailer, tb_crc_value(&w->whole));
  if (!status) status = tb_outfile_write(&w->file, trailer, sizeof trailer, err);
  if (!status) return tb_outfile_commit(&w->file, true, err);
  tb_outfile_abort(&w->file);
  return status;
}

void tb_session_write_abort(struct tb_session_writer *w) { tb_outfile_abort(&w->file); }

/* ---------------------------------------------------------------------------------------------------------- reading */

static enum tb_status read_exact(int fd, void *data, size_t n, struct tb_error *err) {
  unsigned char *p = data;
  while (n > 0) {
    ssize_t got = read(fd, p, n);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tb_fail(err, TB_E_IO, "cannot read: %s", strerror(errno));
    if (got == 0) return tb_fail(err, TB_E_FORMAT, "ends too early");
    p += got;
    n -= (size_t)got;
  }
  return TB_OK;
}

static enum tb_status parse_header(struct tb_session_reader *r, const unsigned char b[HEADER], uint64_t size, struct tb_error *err) {
  if (memcmp(b, magic, sizeof magic) != 0) return tb_fail(err, TB_E_FORMAT, "not a session file");
  if (get32(b + 12) != endian_mark) return tb_fail(err, TB_E_UNSUPPORTED, "written on a machine of other byte order");
  if (get32(b + 8) != VERSION) return tb_fail(err, TB_E_UNSUPPORTED, "session version %u is not supported", get32(b + 8));
  if (get32(b + 64) != crc32_of(b, 64) || get32(b + 68) != 0) return tb_fail(err, TB_E_FORMAT, "header checksum does not match");
  struct tb_session_header *h = &r->header;
  *h = (struct tb_session_header){get64(b + 24), get64(b + 32), get32(b + 40), get32(b + 44), get64(b + 48), get64(b + 56)};
  uint64_t payload;
  if (!payload_bytes(h, &payload) || total_bytes(payload) != size || get64(b + 16) != size)
    return tb_fail(err, TB_E_FORMAT, "the file has %llu bytes, its header says otherwise", (unsigned long long)size);
  if (h->extra_bytes > TB_SESSION_EXTRA_MAX)
    return tb_fail(err, TB_E_LIMIT, "%llu bytes of the program's own data, at most %d are accepted",
                   (unsigned long long)h->extra_bytes, TB_SESSION_EXTRA_MAX);
  r->left = payload;
  return TB_OK;
}

/* At the end of a block: its checksum. */
static enum tb_status check_block(struct tb_session_reader *r, struct tb_crc *whole, struct tb_error *err) {
  unsigned char crc[CRC];
  enum tb_status status = read_exact(r->fd, crc, sizeof crc, err);
  if (status) return status;
  if (tb_crc_value(&r->crc) != get32(crc))
    return tb_fail(err, TB_E_FORMAT, "a block's checksum does not match: the file is damaged");
  if (whole) tb_crc_add(whole, crc, sizeof crc);
  tb_crc_restart(&r->crc);
  r->in_block = 0;
  return TB_OK;
}

/* The next part of a block into the buffer; with the last part the block is verified. */
static enum tb_status fill(struct tb_session_reader *r, struct tb_crc *whole, struct tb_error *err) {
  size_t n = TB_SESSION_BLOCK - r->in_block;
  if (n > BUFFER) n = BUFFER;
  if (n > r->left) n = (size_t)r->left;
  enum tb_status status = read_exact(r->fd, r->buffer, n, err);
  if (status) return status;
  tb_crc_add(&r->crc, r->buffer, n);
  if (whole) tb_crc_add(whole, r->buffer, n);
  r->left -= n;
  r->in_block += n;
  r->used = 0;
  r->filled = n;
  return r->in_block == TB_SESSION_BLOCK || r->left == 0 ? check_block(r, whole, err) : TB_OK;
}

static enum tb_status verify(struct tb_session_reader *r, const unsigned char header[HEADER], struct tb_error *err) {
  struct tb_crc whole;
  unsigned char trailer[TRAILER];
  const uint64_t payload = r->left;
  tb_crc64_start(&whole);
  tb_crc_add(&whole, header, HEADER);
  enum tb_status status = TB_OK;
  while (!status && r->left > 0) status = fill(r, &whole, err);
  if (!status) status = read_exact(r->fd, trailer, sizeof trailer, err);
  if (!status && get64(trailer) != tb_crc_value(&whole)) status = tb_fail(err, TB_E_FORMAT, "the file's checksum does not match: it is damaged");
  if (!status && lseek(r->fd, HEADER, SEEK_SET) < 0) status = tb_fail(err, TB_E_IO, "cannot seek: %s", strerror(errno));
  r->left = payload;
  r->used = r->filled = r->in_block = 0;
  tb_crc_restart(&r->crc);
  return status;
}

static enum tb_status open_verified(struct tb_session_reader *r, const char *path, struct tb_error *err) {
  struct stat st;
  unsigned char header[HEADER];
  /* Without O_NONBLOCK the open of a FIFO would wait for a writer, before its type can be seen. */
  do r->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  while (r->fd < 0 && errno == EINTR);
  if (r->fd < 0 || fstat(r->fd, &st) != 0) return tb_fail(err, TB_E_IO, "cannot open: %s", strerror(errno));
  if (!S_ISREG(st.st_mode)) return tb_fail(err, TB_E_IO, "not a regular file");
  r->buffer = tb_alloc(r->a, BUFFER, 1);
  if (!r->buffer) return tb_fail(err, TB_E_NOMEM, "out of memory");
  tb_crc32c_start(&r->crc);
  if ((uint64_t)st.st_size < HEADER + TRAILER) return tb_fail(err, TB_E_FORMAT, "not a session file: %lld bytes", (long long)st.st_size);
  enum tb_status status = read_exact(r->fd, header, sizeof header, err);
  if (!status) status = parse_header(r, header, (uint64_t)st.st_size, err);
  return status ? status : verify(r, header, err);
}

enum tb_status tb_session_read_start(struct tb_session_reader *r, const char *path, const struct tb_allocator *a,
                                     struct tb_error *err) {
  *r = (struct tb_session_reader){.a = a, .fd = -1};
  enum tb_status status = open_verified(r, path, err);
  if (!status) return TB_OK;
  tb_session_read_end(r);
  return tb_fail_prefix(err, status, path);
}

enum tb_status tb_session_read(struct tb_session_reader *r, void *data, size_t n, struct tb_error *err) {
  unsigned char *p = data;
  while (n > 0) {
    if (r->used == r->filled) {
      if (r->left == 0) return tb_fail(err, TB_E_FORMAT, "session: the payload is shorter than its parts");
      enum tb_status status = fill(r, NULL, err);
      if (status) return status;
    }
    size_t have = r->filled - r->used, take = n < have ? n : have;
    memcpy(p, r->buffer + r->used, take);
    r->used += take;
    p += take;
    n -= take;
  }
  return TB_OK;
}

void tb_session_read_end(struct tb_session_reader *r) {
  if (r->fd >= 0) close(r->fd);
  tb_free(r->a, r->buffer);
  r->fd = -1;
  r->buffer = NULL;
}
