#include "io/unicode.h"

size_t tb_utf8_decode(const unsigned char *s, size_t n, uint32_t *cp) {
  if (n == 0) return 0;
  unsigned char c = s[0];
  *cp = c;
  if (c < 0x80) return 1;
  if (c < 0xc2 || c > 0xf4) return 0;
  size_t len = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
  if (n < len) return 0;
  uint32_t v = c & (0x7fu >> len);
  for (size_t i = 1; i < len; i++) {
    if ((s[i] & 0xc0) != 0x80) return 0;
    v = v << 6 | (s[i] & 0x3fu);
  }
  /* Overlong forms, surrogates and what lies beyond U+10FFFF are no characters. */
  if ((len == 3 && v < 0x800) || (len == 4 && (v < 0x10000 || v > 0x10ffff)) || (v >= 0xd800 && v < 0xe000)) return 0;
  *cp = v;
  return len;
}

size_t tb_utf8_encode(uint32_t cp, char out[4]) {
  if (cp < 0x80) {
    out[0] = (char)cp;
    return 1;
  }
  size_t len = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
  for (size_t i = len - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3f));
  out[0] = (char)((0xf00u >> len & 0xf0) | cp);
  return len;
}

/* Index of the range that holds cp: the last one that starts at or before it. */
static size_t range_of(uint32_t cp) {
  size_t lo = 0, hi = tb_unicode_n_ranges;
  while (hi - lo > 1) {
    size_t mid = (lo + hi) / 2;
    if (tb_unicode_ranges[mid] >> 8 <= cp) lo = mid;
    else hi = mid;
  }
  return lo;
}

uint8_t tb_unicode_class(uint32_t cp) {
  return (uint8_t)(cp < 0x80 ? cp : tb_unicode_ranges[range_of(cp)]);
}

size_t tb_unicode_classify(const char *text, size_t n, uint8_t *cls) {
  const unsigned char *s = (const unsigned char *)text;
  size_t count = 0;
  /* Text stays in one script for long: the range found last is tried first. */
  uint32_t first = 1, last = 0;
  uint8_t found = 0;
  for (size_t i = 0; i < n;) {
    if (s[i] < 0x80) {
      cls[count++] = s[i++];
      continue;
    }
    uint32_t cp;
    size_t len = tb_utf8_decode(s + i, n - i, &cp);
    if (len == 0) {
      cls[count++] = tb_unicode_invalid;
      i++;
      continue;
    }
    if (cp < first || cp > last) {
      size_t r = range_of(cp);
      found = (uint8_t)tb_unicode_ranges[r];
      first = tb_unicode_ranges[r] >> 8;
      last = r + 1 < tb_unicode_n_ranges ? (tb_unicode_ranges[r + 1] >> 8) - 1 : 0x10ffff;
    }
    cls[count++] = found;
    i += len;
  }
  return count;
}

static int prints(unsigned c) { return (c >= 33 && c <= 126) || (c >= 161 && c != 173); }

uint32_t tb_byte_to_char(unsigned char byte) {
  if (prints(byte)) return byte;
  /* The unprintable ones: 0 … 32, 127 … 160, 173. */
  return 0x100u + (byte <= 32 ? byte : byte <= 160 ? byte - 127u + 33u : 67u);
}

int tb_char_to_byte(uint32_t cp) {
  if (cp < 0x100) return prints(cp) ? (int)cp : -1;
  if (cp > 0x143) return -1;
  uint32_t k = cp - 0x100;
  return (int)(k <= 32 ? k : k <= 66 ? k - 33 + 127 : 173);
}
