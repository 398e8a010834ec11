/* What the tokenizers need of Unicode: UTF-8 steps, and one class byte per character, on which the pre-tokenizer
 * expressions run. An ASCII character is its own class; the others share the classes 128 … of unicode_table.c (Unicode
 * 15.1). A byte that is not part of a well-formed character counts as one character with the properties of U+FFFD. */
#ifndef TB_IO_UNICODE_H
#define TB_IO_UNICODE_H

#include <stddef.h>
#include <stdint.h>

/* Properties of a class; unicode_gen.py writes them in this order. */
enum {
  TB_UC_L = 1 << 0, /* \p{L} */
  TB_UC_M = 1 << 1,
  TB_UC_N = 1 << 2,
  TB_UC_P = 1 << 3,
  TB_UC_S = 1 << 4,
  TB_UC_WHITE = 1 << 5, /* White_Space; such a character has no other property */
  /* Literal ranges that single expressions spell out. */
  TB_UC_CASED = 1 << 6,
  TB_UC_WIDE_PUNCT = 1 << 7,
  TB_UC_CJK = 1 << 8,
  TB_UC_HAN_KANA = 1 << 9,
  TB_UC_STOP = 1 << 10,
};

extern const uint16_t tb_unicode_props[256];
extern const uint8_t tb_unicode_invalid;
extern const uint32_t tb_unicode_ranges[];
extern const size_t tb_unicode_n_ranges;

/* Bytes (1 … 4) of the well-formed character at s, 0 when the first byte does not start one. *cp is its code point. */
size_t tb_utf8_decode(const unsigned char *s, size_t n, uint32_t *cp);

/* Writes the code point (at most U+10FFFF) as UTF-8; returns the bytes written, at most 4. */
size_t tb_utf8_encode(uint32_t cp, char out[4]);

uint8_t tb_unicode_class(uint32_t cp);

/* Writes one class per character of text[0 … n) (at most n of them); returns how many. */
size_t tb_unicode_classify(const char *text, size_t n, uint8_t *cls);

/* Bytes of the character whose first byte is `lead` and whose class is `cls`, as tb_unicode_classify saw it. */
static inline size_t tb_unicode_width(unsigned char lead, uint8_t cls) {
  if (lead < 0x80 || cls == tb_unicode_invalid) return 1;
  return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* The byte-level alphabet of GPT-2: each byte is written as one printable character, 33 … 126, 161 … 172 and 174 … 255
 * as themselves, the other 68 in order as U+0100 … U+0143. */
uint32_t tb_byte_to_char(unsigned char byte);
int tb_char_to_byte(uint32_t cp); /* -1: not of that alphabet */

#endif
