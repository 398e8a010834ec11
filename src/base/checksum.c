#include "base/checksum.h"

/* `poly` is bit-reversed, as the shift goes to the right. */
static void start(struct tb_crc *c, uint64_t poly, uint64_t ones) {
  for (unsigned i = 0; i < 256; i++) {
    uint64_t v = i;
    for (int bit = 0; bit < 8; bit++) v = v & 1 ? v >> 1 ^ poly : v >> 1;
    c->table[i] = v;
  }
  c->invert = c->state = ones;
}

void tb_crc32c_start(struct tb_crc *c) { start(c, 0x82f63b78u, 0xffffffffu); }
void tb_crc64_start(struct tb_crc *c) { start(c, 0xc96c5795d7870f42u, UINT64_MAX); }
void tb_crc_restart(struct tb_crc *c) { c->state = c->invert; }

void tb_crc_add(struct tb_crc *c, const void *data, size_t n) {
  const unsigned char *p = data;
  uint64_t v = c->state;
  for (size_t i = 0; i < n; i++) v = c->table[(v ^ p[i]) & 0xff] ^ v >> 8;
  c->state = v;
}

uint64_t tb_crc_value(const struct tb_crc *c) { return c->state ^ c->invert; }
