#include "base/checksum.h"

/* `poly` is bit-reversed, as the shift goes to the right. */
static void start(struct tb_crc *c, uint64_t poly, uint64_t ones) {
  for (unsigned i = 0; i < 256; i++) {
    uint64_t v = i;
    for (int bit = 0; bit < 8; bit++) v = v & 1 ? v >> 1 ^ poly : v >> 1;
    c->table[0][i] = v;
  }
  for (int k = 1; k < 4; k++)
    for (unsigned i = 0; i < 256; i++) {
      const uint64_t v = c->table[k - 1][i];
      c->table[k][i] = c->table[0][v & 0xff] ^ v >> 8;
    }
  c->invert = c->state = ones;
}

void tb_crc32c_start(struct tb_crc *c) { start(c, 0x82f63b78u, 0xffffffffu); }
void tb_crc64_start(struct tb_crc *c) { start(c, 0xc96c5795d7870f42u, UINT64_MAX); }
void tb_crc_restart(struct tb_crc *c) { c->state = c->invert; }

void tb_crc_add(struct tb_crc *c, const void *data, size_t n) {
  const unsigned char *p = data;
  uint64_t v = c->state;
  /* Four bytes at a time (Kounavis and Berry, "A Systematic Approach to Building High Performance, Software-based, CRC
   * Generators", 2005): sessions have up to gigabytes. */
  for (; n >= 4; p += 4, n -= 4) {
    const uint64_t x = v ^ (p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24);
    v = x >> 32 ^ c->table[3][x & 0xff] ^ c->table[2][x >> 8 & 0xff] ^ c->table[1][x >> 16 & 0xff] ^
        c->table[0][x >> 24 & 0xff];
  }
  for (; n > 0; p++, n--) v = c->table[0][(v ^ *p) & 0xff] ^ v >> 8;
  c->state = v;
}

uint64_t tb_crc_value(const struct tb_crc *c) { return c->state ^ c->invert; }
