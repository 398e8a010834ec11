#include "io/unicode_case.h"

struct map {
  uint32_t first, last, stride;
  int32_t delta;
};

struct special {
  uint32_t cp;
  uint32_t to[3];
};

#include "io/unicode_case_data.h"

enum { CLASS_BITS = 10 }; /* a class run is code point << 10 | flags */

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

unsigned tb_ch_class(uint32_t cp) {
  if (cp > 0x10ffff) return 0;
  size_t lo = 0, hi = COUNT(class_runs);
  while (hi - lo > 1) {
    size_t mid = lo + (hi - lo) / 2;
    if (class_runs[mid] >> CLASS_BITS <= cp) lo = mid;
    else hi = mid;
  }
  return class_runs[lo] & ((1u << CLASS_BITS) - 1);
}

bool tb_ch_space(uint32_t cp) {
  if (cp < 0x80) return (cp >= 9 && cp <= 13) || (cp >= 28 && cp <= 32);
  return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 ||
         cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

bool tb_ch_line_end(uint32_t cp) {
  return (cp >= 10 && cp <= 13) || (cp >= 28 && cp <= 30) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
}

static size_t map_case(uint32_t cp, const struct map *maps, size_t n_maps, const struct special *specials,
                       size_t n_specials, uint32_t out[3]) {
  size_t lo = 0, hi = n_specials;
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    if (specials[mid].cp < cp) lo = mid + 1;
    else hi = mid;
  }
  if (lo < n_specials && specials[lo].cp == cp) {
    size_t k = 0;
    for (; k < 3 && specials[lo].to[k]; k++) out[k] = specials[lo].to[k];
    return k;
  }
  /* Runs of stride 2 interleave with others, so a hit is looked for in all runs that may hold cp; they are sorted by
   * their first code point. */
  out[0] = cp;
  for (size_t i = 0; i < n_maps && maps[i].first <= cp; i++)
    if (cp <= maps[i].last && (cp - maps[i].first) % maps[i].stride == 0) out[0] = (uint32_t)((int32_t)cp + maps[i].delta);
  return 1;
}

size_t tb_ch_upper(uint32_t cp, uint32_t out[3]) {
  if (cp < 0x80) return out[0] = cp >= 'a' && cp <= 'z' ? cp - 32 : cp, 1;
  return map_case(cp, upper_map, COUNT(upper_map), upper_special, COUNT(upper_special), out);
}

size_t tb_ch_lower(uint32_t cp, uint32_t out[3]) {
  if (cp < 0x80) return out[0] = cp >= 'A' && cp <= 'Z' ? cp + 32 : cp, 1;
  return map_case(cp, lower_map, COUNT(lower_map), lower_special, COUNT(lower_special), out);
}

size_t tb_ch_title(uint32_t cp, uint32_t out[3]) {
  if (cp < 0x80) return tb_ch_upper(cp, out);
  return map_case(cp, title_map, COUNT(title_map), title_special, COUNT(title_special), out);
}

static bool continues(unsigned char c) { return (c & 0xc0) == 0x80; }

uint32_t tb_ch_decode(const char *text, size_t n, size_t *used) {
  const unsigned char *s = (const unsigned char *)text;
  *used = 1;
  if (s[0] < 0x80) return s[0];
  if (s[0] >= 0xc2 && s[0] < 0xe0 && n > 1 && continues(s[1])) {
    *used = 2;
    return (uint32_t)(s[0] & 0x1f) << 6 | (s[1] & 0x3f);
  }
  if (s[0] >= 0xe0 && s[0] < 0xf0 && n > 2 && continues(s[1]) && continues(s[2])) {
    uint32_t cp = (uint32_t)(s[0] & 0x0f) << 12 | (uint32_t)(s[1] & 0x3f) << 6 | (s[2] & 0x3f);
    if (cp >= 0x800 && (cp < 0xd800 || cp > 0xdfff)) return *used = 3, cp;
  }
  if (s[0] >= 0xf0 && s[0] < 0xf5 && n > 3 && continues(s[1]) && continues(s[2]) && continues(s[3])) {
    uint32_t cp = (uint32_t)(s[0] & 7) << 18 | (uint32_t)(s[1] & 0x3f) << 12 | (uint32_t)(s[2] & 0x3f) << 6 |
                  (s[3] & 0x3f);
    if (cp >= 0x10000 && cp <= 0x10ffff) return *used = 4, cp;
  }
  return TB_CH_BAD_BYTE + s[0];
}

size_t tb_ch_encode(uint32_t cp, char out[4]) {
  if (cp >= TB_CH_BAD_BYTE) return out[0] = (char)(cp - TB_CH_BAD_BYTE), 1;
  if (cp < 0x80) return out[0] = (char)cp, 1;
  if (cp < 0x800) {
    out[0] = (char)(0xc0 | cp >> 6);
    out[1] = (char)(0x80 | (cp & 0x3f));
    return 2;
  }
  if (cp < 0x10000) {
    out[0] = (char)(0xe0 | cp >> 12);
    out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[2] = (char)(0x80 | (cp & 0x3f));
    return 3;
  }
  out[0] = (char)(0xf0 | cp >> 18);
  out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
  out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
  out[3] = (char)(0x80 | (cp & 0x3f));
  return 4;
}
