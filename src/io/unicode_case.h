/* Characters as Python's str sees them: classes, and upper, lower and title case with their multi-character results
 * (Unicode 14.0, tables by tests/tools/unicode_case_gen.py). */
#ifndef TB_IO_UNICODE_CASE_H
#define TB_IO_UNICODE_CASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tb_ch_class {
  TB_CH_ALPHA = 1 << 0,
  TB_CH_DECIMAL = 1 << 1,
  TB_CH_DIGIT = 1 << 2,
  TB_CH_NUMERIC = 1 << 3,
  TB_CH_PRINTABLE = 1 << 4,
  TB_CH_UPPER = 1 << 5,
  TB_CH_LOWER = 1 << 6,
  TB_CH_TITLE = 1 << 7,
  TB_CH_CASED = 1 << 8,
  TB_CH_IGNORABLE = 1 << 9, /* skipped when the context of a final sigma is looked for */
  TB_CH_ALNUM = TB_CH_ALPHA | TB_CH_DECIMAL | TB_CH_DIGIT | TB_CH_NUMERIC,
};

/* enum tb_ch_class bits of a code point; 0 above U+10FFFF. */
unsigned tb_ch_class(uint32_t cp);
/* str.isspace of one character. */
bool tb_ch_space(uint32_t cp);
/* A line end of str.splitlines. */
bool tb_ch_line_end(uint32_t cp);

/* Each writes 1 to 3 code points and returns how many. Lower case is without the context rule for final sigma. */
size_t tb_ch_upper(uint32_t cp, uint32_t out[3]);
size_t tb_ch_lower(uint32_t cp, uint32_t out[3]);
size_t tb_ch_title(uint32_t cp, uint32_t out[3]);

/* Code point at s (n > 0 bytes left); *used is its length. A byte that starts no valid UTF-8 sequence is a character of
 * its own: TB_CH_BAD_BYTE + byte, one byte long. */
enum { TB_CH_BAD_BYTE = 0x110000 };
uint32_t tb_ch_decode(const char *s, size_t n, size_t *used);
/* Writes UTF-8 and returns its length (a TB_CH_BAD_BYTE code point gives its byte back). */
size_t tb_ch_encode(uint32_t cp, char out[4]);

#endif
