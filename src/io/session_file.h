/* Session files: a header, a payload in checksummed blocks, a checksum of the whole. All numbers little-endian.
 *
 *    0  "TBSESS01"                     40  u32 tokens
 *    8  u32 version (1)                44  u32 state words
 *   12  u32 0x01020304                 48  u64 bytes of the caller's data
 *   16  u64 bytes of the whole file    56  u64 bytes of the cache
 *   24  u64 identity of the model      64  u32 CRC-32C of bytes 0 … 63
 *   32  u64 identity of the plan       68  u32 0
 *   72  payload: tokens (i32), state words (u32), caller's data, cache; after each full MiB of it, and after the rest,
 *       a u32 CRC-32C of that block
 *  end  u64 CRC-64 of everything before
 *
 * Reading verifies every checksum in a first pass before anything is handed out, and the blocks again in the second: a
 * file that changes in between is noticed at the end of the block, when the caller still can throw away what it got. */
#ifndef TB_IO_SESSION_FILE_H
#define TB_IO_SESSION_FILE_H

#include "base/checksum.h"
#include "io/outfile.h"

enum { TB_SESSION_BLOCK = 1 << 20, TB_SESSION_EXTRA_MAX = 64 << 20 /* bytes of the caller's data */ };

struct tb_session_header {
  uint64_t model, plan; /* identities */
  uint32_t n_tokens, n_state;
  uint64_t extra_bytes, cache_bytes;
};

/* ---------------------------------------------------------------------------------------------------------- writing */

struct tb_session_writer {
  struct tb_outfile file;
  struct tb_crc whole, block;
  size_t in_block;
};

/* Creates the temporary file, takes the disk space and writes the header. */
enum tb_status tb_session_write_start(struct tb_session_writer *w, const char *path, const struct tb_session_header *h,
                                      const struct tb_allocator *a, struct tb_error *err);
/* The payload, in order. */
enum tb_status tb_session_write(struct tb_session_writer *w, const void *data, size_t n, struct tb_error *err);
/* Trailer, to the disk, rename. Frees everything in every case. */
enum tb_status tb_session_write_finish(struct tb_session_writer *w, struct tb_error *err);
void tb_session_write_abort(struct tb_session_writer *w);

/* ---------------------------------------------------------------------------------------------------------- reading */

struct tb_session_reader {
  const struct tb_allocator *a;
  int fd;
  unsigned char *buffer; /* a part of a block; owned */
  size_t used, filled;   /* of the buffer */
  size_t in_block;       /* bytes of the current block that were read */
  uint64_t left;         /* payload bytes not yet in the buffer */
  struct tb_crc crc;
  struct tb_session_header header;
};

/* Opens and verifies the whole file; the payload can be read afterwards. Errors name the path. */
enum tb_status tb_session_read_start(struct tb_session_reader *r, const char *path, const struct tb_allocator *a,
                                     struct tb_error *err);
enum tb_status tb_session_read(struct tb_session_reader *r, void *data, size_t n, struct tb_error *err);
void tb_session_read_end(struct tb_session_reader *r);

#endif
