/* Numbers to text and back as Python writes and reads them, whatever the C locale's decimal point is. */
#ifndef TB_IO_TEMPLATE_NUMBER_H
#define TB_IO_TEMPLATE_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TB_NUM_TEXT = 32 };

/* repr(f): the shortest digits that read back as f ("1.0", "1e+16", "inf"). Returns the length. */
size_t tb_num_repr(double f, char out[TB_NUM_TEXT]);
size_t tb_num_int(int64_t i, char out[TB_NUM_TEXT]);

/* printf conversion `conv` (one of eEfFgG) with a precision ≥ 0 and optional '#', decimal point '.'. Returns the length
 * (cut to cap - 1, always terminated). */
size_t tb_num_printf(double f, char conv, int precision, bool alternate, char *out, size_t cap);

/* float(text) and int(text, base) of Python: surrounding white space, sign, underscores between digits; base 0 looks at
 * the prefix. False when the text is not such a number (for an int also when it does not fit). */
bool tb_num_parse_float(const char *s, size_t n, double *out);
bool tb_num_parse_int(const char *s, size_t n, int base, int64_t *out);

/* round(f, digits) of Python: exact decimal value, ties to even. */
double tb_num_round(double f, int digits);

#endif
