/* Checksums of saved files. CRC-32C (Castagnoli, RFC 3720) finds every single-bit and every burst error up to 32 bits of
 * a block; CRC-64/XZ (ECMA-182, reflected) binds a whole file together. Same values on every machine. */
#ifndef TB_BASE_CHECKSUM_H
#define TB_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* A CRC in progress; made by one of the two starters, fed, read with tb_crc_value. */
struct tb_crc {
  uint64_t table[4][256]; /* [k]: of a byte that k bytes follow */
  uint64_t state, invert;
};

void tb_crc32c_start(struct tb_crc *c);
void tb_crc64_start(struct tb_crc *c);
/* Back to the state after the starter. */
void tb_crc_restart(struct tb_crc *c);
void tb_crc_add(struct tb_crc *c, const void *data, size_t n);
uint64_t tb_crc_value(const struct tb_crc *c);

#endif
