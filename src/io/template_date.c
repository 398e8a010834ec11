/* strftime in the C locale over the date the caller gave: what a template's strftime_now needs, without the process's
 * locale or time zone. */
#include "io/template_run.h"

#include <stdio.h>
#include <string.h>

static const char *const weekdays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const months[] = {"January", "February", "March",     "April",   "May",      "June",
                                     "July",    "August",   "September", "October", "November", "December"};

static bool leap(int y) { return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0; }

/* Day of the year, from 0. */
static int year_day(const struct tb_template_date *d) {
  static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  return before[d->month - 1] + (d->month > 2 && leap(d->year)) + d->day - 1;
}

/* Sunday is 0. Days since 1 January of year 1, a Monday. */
static int week_day(const struct tb_template_date *d) {
  long y = d->year - 1L;
  return (int)((y * 365 + y / 4 - y / 100 + y / 400 + year_day(d) + 1) % 7);
}

/* ISO 8601 week and its year. */
static int iso_week(const struct tb_template_date *d, int *year) {
  int monday0 = (week_day(d) + 6) % 7, week = (year_day(d) - monday0 + 10) / 7;
  *year = d->year;
  if (week < 1) {
    struct tb_template_date last = {.year = d->year - 1, .month = 12, .day = 31};
    return iso_week(&last, year);
  }
  int days = 365 + leap(d->year);
  if (week == 53 && year_day(d) - monday0 + 3 >= days) {
    ++*year;
    return 1;
  }
  return week;
}

enum { FIELD = 64 };

static bool names(const struct tb_template_date *d, char c, char out[FIELD]) {
  const char *day = weekdays[week_day(d)], *month = months[d->month - 1];
  switch (c) {
  case 'a': snprintf(out, FIELD, "%.3s", day); return true;
  case 'A': snprintf(out, FIELD, "%s", day); return true;
  case 'b':
  case 'h': snprintf(out, FIELD, "%.3s", month); return true;
  case 'B': snprintf(out, FIELD, "%s", month); return true;
  case 'p': snprintf(out, FIELD, "%s", d->hour < 12 ? "AM" : "PM"); return true;
  case 'P': snprintf(out, FIELD, "%s", d->hour < 12 ? "am" : "pm"); return true;
  case 'z':
  case 'Z': out[0] = '\0'; return true; /* the date has no time zone */
  case 'n': snprintf(out, FIELD, "\n"); return true;
  case 't': snprintf(out, FIELD, "\t"); return true;
  case '%': snprintf(out, FIELD, "%%"); return true;
  default: return false;
  }
}

static bool composed(const struct tb_template_date *d, char c, char out[FIELD]) {
  const char *day = weekdays[week_day(d)], *month = months[d->month - 1];
  int h12 = (d->hour + 11) % 12 + 1;
  switch (c) {
  case 'c':
    snprintf(out, FIELD, "%.3s %.3s %2d %02d:%02d:%02d %d", day, month, d->day, d->hour, d->minute, d->second, d->year);
    return true;
  case 'x':
  case 'D': snprintf(out, FIELD, "%02d/%02d/%02d", d->month, d->day, d->year % 100); return true;
  case 'X':
  case 'T': snprintf(out, FIELD, "%02d:%02d:%02d", d->hour, d->minute, d->second); return true;
  case 'r': snprintf(out, FIELD, "%02d:%02d:%02d %s", h12, d->minute, d->second, d->hour < 12 ? "AM" : "PM"); return true;
  case 'R': snprintf(out, FIELD, "%02d:%02d", d->hour, d->minute); return true;
  case 'F': snprintf(out, FIELD, "%d-%02d-%02d", d->year, d->month, d->day); return true;
  default: return false;
  }
}

/* Conversions that are one number; `pad` is '0', ' ' or '-' (none). */
static bool number(const struct tb_template_date *d, char c, char pad, char out[FIELD]) {
  int iso_year, week = iso_week(d, &iso_year), wd = week_day(d), yd = year_day(d), width = 2, v;
  switch (c) {
  case 'd': v = d->day; break;
  case 'e': v = d->day, pad = pad ? pad : ' '; break;
  case 'm': v = d->month; break;
  case 'y': v = d->year % 100; break;
  case 'Y': v = d->year, width = 1; break;
  case 'C': v = d->year / 100; break;
  case 'G': v = iso_year, width = 1; break;
  case 'g': v = iso_year % 100; break;
  case 'V': v = week; break;
  case 'U': v = (yd + 7 - wd) / 7; break;
  case 'W': v = (yd + 7 - (wd + 6) % 7) / 7; break;
  case 'u': v = wd ? wd : 7, width = 1; break;
  case 'w': v = wd, width = 1; break;
  case 'j': v = yd + 1, width = 3; break;
  case 'H': v = d->hour; break;
  case 'k': v = d->hour, pad = pad ? pad : ' '; break;
  case 'I': v = (d->hour + 11) % 12 + 1; break;
  case 'l': v = (d->hour + 11) % 12 + 1, pad = pad ? pad : ' '; break;
  case 'M': v = d->minute; break;
  case 'S': v = d->second; break;
  case 'f': v = d->microsecond, width = 6, pad = '0'; break;
  default: return false;
  }
  if (pad == '-') snprintf(out, FIELD, "%d", v);
  else if (pad == ' ') snprintf(out, FIELD, "%*d", width, v);
  else snprintf(out, FIELD, "%0*d", width, v);
  return true;
}

static bool valid(const struct tb_template_date *d) {
  return d->year >= 1 && d->year <= 9999 && d->month >= 1 && d->month <= 12 && d->day >= 1 && d->day <= 31 &&
         d->hour >= 0 && d->hour < 24 && d->minute >= 0 && d->minute < 60 && d->second >= 0 && d->second <= 60 &&
         d->microsecond >= 0 && d->microsecond < 1000000;
}

bool tb_tpl_strftime(struct tb_tpl_vm *vm, struct tb_tpl_str f, struct tb_tpl_text *out) {
  const struct tb_template_date *d = &vm->in->now;
  bool trusted = tb_tpl_all_trusted(f);
  if (!valid(d)) return tb_tpl_fail(vm, TB_E_ARG, "strftime_now: the program gave no valid date");
  for (size_t i = 0; i < f.n; i++) {
    char text[FIELD], c = f.s[i];
    if (c != '%' || i + 1 == f.n) {
      if (!tb_tpl_text_put(out, &c, 1, trusted)) return tb_tpl_no_room(vm);
      continue;
    }
    char pad = f.s[i + 1] == '-' || f.s[i + 1] == '_' ? f.s[i + 1] : '\0';
    i += pad ? 2 : 1;
    if (pad == '_') pad = ' ';
    c = i < f.n ? f.s[i] : '\0';
    if (!number(d, c, pad, text) && (pad || !(names(d, c, text) || composed(d, c, text))))
      return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "strftime_now: conversion '%%%c' is not supported", c);
    if (!tb_tpl_text_put(out, text, strlen(text), trusted)) return tb_tpl_no_room(vm);
  }
  return tb_tpl_pay(vm, f.n + out->n);
}
