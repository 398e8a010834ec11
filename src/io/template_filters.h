/* The filters, by the file they are in. Parameters are Jinja2's. */
#ifndef TB_IO_TEMPLATE_FILTERS_H
#define TB_IO_TEMPLATE_FILTERS_H

#include "io/template_run.h"

#define TB_FILTER(name)                                                                                                \
  bool tb_tpl_filter_##name(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args, struct tb_val *out)

/* template_filter_seq.c */
TB_FILTER(batch);
TB_FILTER(first);
TB_FILTER(items);
TB_FILTER(join);
TB_FILTER(last);
TB_FILTER(list);
TB_FILTER(reverse);
TB_FILTER(slice);
TB_FILTER(sum);

/* template_filter_sort.c */
TB_FILTER(dictsort);
TB_FILTER(groupby);
TB_FILTER(max);
TB_FILTER(min);
TB_FILTER(sort);
TB_FILTER(unique);

/* template_filter_text.c */
TB_FILTER(capitalize);
TB_FILTER(center);
TB_FILTER(escape);
TB_FILTER(forceescape);
TB_FILTER(format);
TB_FILTER(indent);
TB_FILTER(lower);
TB_FILTER(replace);
TB_FILTER(safe);
TB_FILTER(string);
TB_FILTER(title);
TB_FILTER(trim);
TB_FILTER(truncate);
TB_FILTER(upper);
TB_FILTER(wordcount);

/* template_filter_number.c */
TB_FILTER(abs);
TB_FILTER(float);
TB_FILTER(int);
TB_FILTER(round);

#endif
