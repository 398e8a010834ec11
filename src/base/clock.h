#ifndef TB_BASE_CLOCK_H
#define TB_BASE_CLOCK_H

/* Seconds of a monotonic clock; the zero point is arbitrary. */
double tb_now(void);

#endif
